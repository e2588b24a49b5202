//! What others can ask of the controller, and how they reach it.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::catalog::is_wanted;
use super::conditions::Case;
use super::herd::Entry;
use super::status::{AcceptedLoss, DaemonStatus, MailboxStatus, MigrationStatus, Status};
use super::{Controller, EXPIRES_SOON, Event, Failed, Update};
use crate::auth::Expiry;
use crate::definition::{Acceptance, Mailbox, Migration, MigrationName};
use crate::ledger::MailboxKey;
use crate::model::{Condition, Phase};

/// A question or an order.
#[derive(Debug)]
pub enum Ask {
    /// How everything stands, or what a name selects.
    Status(Option<String>, oneshot::Sender<Result<Status, String>>),
    /// Which mailboxes names select.
    Select(Vec<String>, oneshot::Sender<Result<Vec<Selected>, String>>),
    /// Passes now.
    Sync(Vec<String>, mpsc::UnboundedSender<Update>, oneshot::Sender<Result<usize, String>>),
    /// What `drover verify` found: the number of differences.
    Verified(MailboxKey, DateTime<Utc>, u64, oneshot::Sender<()>),
    /// Tell when the ledger has told of every mailbox what it knows.
    Settled(oneshot::Sender<()>),
}

/// A mailbox that a name selected.
#[derive(Debug, Clone)]
pub struct Selected {
    /// Its ledger.
    pub key: MailboxKey,
    /// The migration that declares it.
    pub migration: Arc<Migration>,
    /// What it is.
    pub mailbox: Arc<Mailbox>,
}

/// How others reach the controller. Every method fails with a sentence when the daemon is on its
/// way down.
#[derive(Debug, Clone)]
pub struct Handle {
    events: mpsc::Sender<Event>,
}

/// Every refusal of a name begins so.
pub const UNKNOWN: &str = "there is no migration or mailbox ";

const GONE: &str = "the daemon is stopping";

impl Handle {
    pub(super) fn new(events: mpsc::Sender<Event>) -> Self {
        Self { events }
    }

    /// Hands in a look at the directory. Blocks while the controller is busy; false once it is
    /// gone. Not for async code: [`super::watch`] calls it from its thread.
    pub fn declare(&self, snapshot: super::catalog::Snapshot, reload: bool) -> bool {
        self.events.blocking_send(Event::Declared { snapshot: Box::new(snapshot), reload }).is_ok()
    }

    /// The same for async code.
    pub async fn declare_now(&self, snapshot: super::catalog::Snapshot, reload: bool) -> bool {
        self.events.send(Event::Declared { snapshot: Box::new(snapshot), reload }).await.is_ok()
    }

    /// How everything stands, or the migration or mailbox of this name.
    pub async fn status(&self, name: Option<String>) -> Result<Status, String> {
        self.ask(|reply| Ask::Status(name, reply)).await?
    }

    /// Which mailboxes these names select: a migration's all, or one as
    /// `acme-wave-1/alice@old.example`.
    pub async fn select(&self, names: Vec<String>) -> Result<Vec<Selected>, String> {
        self.ask(|reply| Ask::Select(names, reply)).await?
    }

    /// Runs passes now, also of blocked mailboxes and outside of windows. Answers with how many;
    /// each sends one `Ended`, and before it mostly a `Started`.
    pub async fn sync(
        &self,
        names: Vec<String>,
        updates: mpsc::UnboundedSender<Update>,
    ) -> Result<usize, String> {
        self.ask(|reply| Ask::Sync(names, updates, reply)).await?
    }

    /// Notes what `drover verify` found. Once it returns that is not forgotten, though the
    /// controller be stopped in the next moment.
    pub async fn verified(&self, key: MailboxKey, at: DateTime<Utc>, differences: u64) {
        // A controller that has stopped notes nothing any more.
        let _ = self.ask(|reply| Ask::Verified(key, at, differences, reply)).await;
    }

    /// Waits until the ledger has told of every declared mailbox what it knows.
    pub async fn settled(&self) -> Result<(), String> {
        self.ask(Ask::Settled).await
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, String> {
        let (reply, answer) = oneshot::channel();
        self.events.send(Event::Ask(ask(reply))).await.map_err(|_| GONE)?;
        answer.await.map_err(|_| GONE.into())
    }
}

impl Controller {
    pub(super) fn answer(&mut self, ask: Ask) {
        // Whoever asked may be gone by now: nobody minds.
        match ask {
            Ask::Status(name, reply) => {
                let _ = reply.send(self.status(name.as_deref()));
            }
            Ask::Select(names, reply) => {
                let selected = self
                    .select(&names)
                    .map(|keys| keys.into_iter().filter_map(|key| self.selected(key)).collect());
                let _ = reply.send(selected);
            }
            Ask::Sync(names, updates, reply) => {
                let selected = self.select(&names);
                let _ = reply.send(selected.as_ref().map(Vec::len).map_err(Clone::clone));
                for key in selected.unwrap_or_default() {
                    self.sync_now(&key, updates.clone());
                }
            }
            Ask::Verified(key, at, differences, reply) => {
                self.change_state(&key, |state| state.verified = Some((at, differences)));
                let _ = reply.send(());
            }
            Ask::Settled(reply) => self.settling.push(reply),
        }
    }

    /// Tells those who wait for it that the ledger has told of every mailbox.
    pub(super) fn tell_settled(&mut self) {
        let is_settled = |entry: &Entry| entry.memory.is_some() || entry.trouble.is_some();
        if !self.settling.is_empty() && self.herd.values().all(is_settled) {
            for reply in self.settling.drain(..) {
                let _ = reply.send(());
            }
        }
    }

    fn selected(&self, key: MailboxKey) -> Option<Selected> {
        let entry = self.herd.get(&key)?;
        let migration = Arc::clone(&self.snapshot.migrations.get(&entry.migration)?.migration);
        Some(Selected { key, migration, mailbox: Arc::clone(&entry.mailbox) })
    }

    /// A pass now, whatever schedule, windows and blocks say.
    fn sync_now(&mut self, key: &MailboxKey, updates: mpsc::UnboundedSender<Update>) {
        let Some(entry) = self.herd.get_mut(key) else { return };
        let suspended = self
            .snapshot
            .migrations
            .get(&entry.migration)
            .is_some_and(|declared| declared.migration.suspend);
        if suspended {
            let result = Err(Failed {
                reason: "Suspended".into(),
                message: "the definition says `suspend = true`".into(),
                remedy: "set `suspend = false`".into(),
            });
            let _ = updates.send(Update::Ended { mailbox: entry.name(), result });
            return;
        }
        entry.asked.push(updates);
        entry.pace.not_before = None;
        self.hasten(key);
    }

    /// Which mailboxes names select, each once, in order of name; none: all.
    fn select(&self, names: &[String]) -> Result<Vec<MailboxKey>, String> {
        let mut all: Vec<_> = self.herd.iter().filter(|(_, entry)| !entry.gone).collect();
        all.sort_by_key(|(_, entry)| entry.name());
        for name in names {
            let known = self.snapshot.known.iter().any(|known| &*known.0 == name)
                || all.iter().any(|(_, entry)| entry.name() == *name);
            if !known {
                return Err(self.unknown(name));
            }
        }
        let chosen =
            all.into_iter().filter(|(_, entry)| is_wanted(names, &entry.migration, &entry.mailbox));
        Ok(chosen.map(|(key, _)| key.clone()).collect())
    }

    fn unknown(&self, name: &str) -> String {
        let migrations = self.snapshot.known.iter().map(|known| known.0.to_string());
        let names = migrations.chain(self.herd.values().map(Entry::name));
        let near = names
            .map(|known| (strsim::jaro_winkler(name, &known), known))
            .filter(|(likeness, _)| *likeness > 0.8)
            .max_by(|(a, _), (b, _)| a.total_cmp(b));
        match near {
            Some((_, near)) => format!("{UNKNOWN}`{name}`; did you mean `{near}`?"),
            None => format!("{UNKNOWN}`{name}`; there are: {}", self.some_names()),
        }
    }

    /// The migrations, unless they are too many to read.
    fn some_names(&self) -> String {
        const SHOWN: usize = 12;
        let known = self.snapshot.known.iter().map(|known| &*known.0);
        let names: Vec<&str> = known.take(SHOWN + 1).collect();
        match names.len() {
            0 => "none".into(),
            n if n > SHOWN => format!("{} …", names[..SHOWN].join(", ")),
            _ => names.join(", "),
        }
    }

    fn status(&mut self, name: Option<&str>) -> Result<Status, String> {
        let now = (self.settings.now)();
        let names: Vec<String> = name.into_iter().map(str::to_owned).collect();
        let mailboxes: Vec<MailboxStatus> = self
            .select(&names)?
            .iter()
            .filter_map(|key| Some(mailbox_status(self.herd.get(key)?, now)))
            .collect();
        let migrations: Vec<MigrationName> = self
            .snapshot
            .known
            .iter()
            .filter(|known| name.is_none_or(|name| name.split('/').next() == Some(&*known.0)))
            .cloned()
            .collect();
        let migrations = migrations.iter().map(|name| self.migration_status(name, now)).collect();
        let daemon = DaemonStatus {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started: self.started,
            generation: self.snapshot.generation(),
            held: self.snapshot.held.clone(),
            ledger_error: self.ledger_error.clone(),
            running: self.running.values().sum(),
            waiting: self.turns.len(),
        };
        Ok(Status { daemon, migrations, mailboxes })
    }

    fn migration_status(&mut self, name: &MigrationName, now: DateTime<Utc>) -> MigrationStatus {
        self.observe(name, now);
        let case = self.case(name, now);
        let findings = case.findings();
        let declared = self.snapshot.migrations.get(name);
        let generation = declared.map(|declared| declared.migration.generation.clone());
        let mut counts = BTreeMap::new();
        for entry in &case.entries {
            *counts.entry(entry.phase().to_string()).or_default() += 1;
        }
        let observed = || {
            let mut observed = case.entries.iter().map(|entry| entry.observed.clone());
            let first = observed.next()??;
            observed.all(|other| other.as_ref() == Some(&first)).then_some(first)
        };
        let observed_generation = observed();
        let summary = case.summary(&findings);
        let next_run = case.entries.iter().filter_map(|entry| entry.next?.at).min();
        let observed_text =
            observed_generation.as_ref().map_or_else(String::new, |g| g.0.to_string());
        let conditions = findings
            .into_iter()
            .map(|finding| Condition {
                kind: finding.kind,
                status: finding.status,
                reason: finding.reason.into(),
                message: finding.message,
                since: self
                    .since
                    .get(&(name.clone(), finding.kind))
                    .map_or(now, |(_, since)| *since),
                observed_generation: observed_text.clone(),
                expires: finding.expires,
            })
            .collect();
        let broken = self.snapshot.broken.get(name).into_iter().flatten();
        let warnings = declared.into_iter().flat_map(|declared| &declared.warnings);
        MigrationStatus {
            name: name.clone(),
            file: declared.map(|declared| declared.file.clone()),
            generation,
            observed_generation,
            summary,
            conditions,
            next_run,
            cutover_at: declared.and_then(|d| Some(d.migration.cutover.as_ref()?.at)),
            counts,
            problems: broken.chain(warnings).cloned().collect(),
        }
    }

    /// Remembers since when each condition of a migration has been as it is.
    pub(super) fn observe(&mut self, name: &MigrationName, now: DateTime<Utc>) {
        for finding in self.case(name, now).findings() {
            if finding.reason == EXPIRES_SOON {
                let warned = self.warned.get(name);
                if warned.is_none_or(|warned| now - *warned >= TimeDelta::days(1)) {
                    warn!("{}: {}", name.0, finding.message);
                    self.warned.insert(name.clone(), now);
                }
            }
            let key = (name.clone(), finding.kind);
            match self.since.get(&key) {
                Some((status, _)) if *status == finding.status => {}
                _ => drop(self.since.insert(key, (finding.status, now))),
            }
        }
    }

    /// The credential of these mailboxes that ends first, and on which side.
    fn first_expiry(&self, entries: &[&Entry]) -> Option<(Expiry, &'static str)> {
        let is_over = |entry: &Entry| entry.state().is_some_and(|state| state.complete.is_some());
        let sides = entries.iter().filter(|entry| !is_over(entry)).flat_map(|entry| {
            [(&entry.mailbox.source, "source"), (&entry.mailbox.destination, "destination")]
        });
        let known =
            sides.filter_map(|(account, side)| Some(((self.settings.expiry)(account)?, side)));
        known.min_by_key(|(expiry, _)| *expiry)
    }

    fn case(&self, name: &MigrationName, now: DateTime<Utc>) -> Case<'_> {
        let declared = self.snapshot.migrations.get(name);
        let migration = declared.map(|declared| &*declared.migration);
        let mut entries: Vec<&Entry> =
            self.members.get(name).into_iter().flatten().filter_map(|k| self.herd.get(k)).collect();
        entries.sort_by(|a, b| a.mailbox.source.user.cmp(&b.mailbox.source.user));
        let concurrency = migration.map_or(1, |migration| migration.sync.concurrency);
        Case {
            migration,
            problems: self.snapshot.broken.get(name).map_or(&[], Vec::as_slice),
            expiry: self.first_expiry(&entries),
            entries,
            width: concurrency.min(self.settings.mailboxes),
            now,
        }
    }
}

impl Entry {
    fn phase(&self) -> Phase {
        self.next.map_or(Phase::Pending, |next| next.phase)
    }
}

fn accepted(one: &Acceptance) -> AcceptedLoss {
    AcceptedLoss { message: one.loss.to_string(), reason: one.reason.clone() }
}

fn mailbox_status(entry: &Entry, now: DateTime<Utc>) -> MailboxStatus {
    let blocked = entry.state().and_then(|state| state.blocked.as_ref());
    let (reason, message, remedy) = match (blocked, &entry.trouble) {
        (Some(blocked), _) => (Some(blocked.reason.clone()), Some(blocked.message.clone()), None),
        (None, Some(trouble)) => (
            Some(trouble.reason.clone()),
            Some(trouble.message.clone()),
            Some(trouble.remedy.clone()).filter(|remedy| !remedy.is_empty()),
        ),
        (None, None) => (None, None, None),
    };
    let is_over = entry.state().is_some_and(|state| state.complete.is_some());
    let as_of = entry.memory.as_ref().and_then(|memory| memory.in_sync_as_of());
    let lag = as_of.filter(|_| !is_over).map(|as_of| (now - as_of).num_seconds());
    let passes = entry.memory.as_ref().map(|memory| memory.passes.clone()).unwrap_or_default();
    MailboxStatus {
        migration: entry.migration.clone(),
        source: entry.mailbox.source.user.clone(),
        destination: entry.mailbox.destination.user.clone(),
        phase: entry.phase(),
        reason,
        message,
        remedy,
        lag_seconds: lag.map(|seconds| u64::try_from(seconds).unwrap_or(0)),
        last_pass: passes.last().cloned(),
        passes,
        running: entry.run.as_ref().map(|run| run.kind),
        progress: entry.run.as_ref().map(|run| run.progress.read()),
        accept: entry.mailbox.accept.iter().map(accepted).collect(),
        next_run: entry.next.and_then(|next| next.at).filter(|_| entry.run.is_none()),
    }
}
