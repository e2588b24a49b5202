//! The directory was read, or the ledger told of a mailbox: who is in the herd.

use std::collections::{HashMap, hash_map};

use super::super::book::Entry as Keep;
use super::super::catalog::{CatalogDiff, Snapshot};
use super::super::herd::{Entry, Memory, Trouble};
use super::super::*;
use crate::definition::Schedule;
use crate::ledger::Blocked;

/// After the ledger could not be read, it is asked again so much later.
const RECALL_AGAIN: Duration = Duration::from_secs(5);
/// To the operator of a mailbox whose state was lost.
const STATE_LOST: &str = "the ledger was damaged, and whether this mailbox was cut over is lost \
     with it; drover does nothing until you say: if it was not cut over, set `at` in [cutover] to a \
     time to come, or run `drover sync` to go on; if it was, remove the definition";

impl Controller {
    /// Makes the herd what the definitions say, touching only what differs.
    pub(in crate::controller) fn declared(&mut self, snapshot: Snapshot, reload: bool) {
        let diff = CatalogDiff::between(&self.snapshot, &snapshot);
        tell(&self.snapshot, &snapshot, &diff);
        if self.snapshot.known != snapshot.known {
            self.keep(Keep::Known(snapshot.known.iter().cloned().collect()));
        }
        self.snapshot = snapshot;

        let mut desired: HashMap<MailboxKey, (MigrationName, Arc<Mailbox>)> = HashMap::new();
        self.members.clear();
        for (name, declared) in &self.snapshot.migrations {
            for mailbox in &declared.migration.mailboxes {
                let key = (self.settings.key)(mailbox);
                // Within and between definitions this is an error that has been reported.
                if let hash_map::Entry::Vacant(vacant) = desired.entry(key) {
                    self.members.entry(name.clone()).or_default().push(vacant.key().clone());
                    vacant.insert((name.clone(), Arc::clone(mailbox)));
                }
            }
        }
        let gone: Vec<MailboxKey> =
            self.herd.keys().filter(|key| !desired.contains_key(*key)).cloned().collect();
        for key in gone {
            self.dismiss(&key);
        }
        let mut new = Vec::new();
        for (key, (name, mailbox)) in desired {
            if !self.herd.contains_key(&key) {
                self.herd.insert(key.clone(), Entry::new(name, mailbox));
                new.push(key);
            } else {
                self.adjust(&key, name, mailbox);
            }
        }
        let keys: Vec<MailboxKey> = self.herd.keys().cloned().collect();
        for key in keys {
            let lifted = self.lift_block(&key, reload);
            let entry = &self.herd[&key];
            if lifted || diff.changed.contains(&entry.migration) {
                self.reschedule(&key);
            }
        }
        self.recall(new, Duration::ZERO);
        if let Some(clock) = &self.clock {
            let strikes = self.snapshot.migrations.iter().filter_map(|(name, declared)| {
                let rules = &declared.migration.sync;
                match &rules.schedule {
                    Schedule::Cron(cron) if !declared.migration.suspend => {
                        Some((name.clone(), (cron.clone(), rules.timezone)))
                    }
                    Schedule::Cron(_) | Schedule::Every(_) => None,
                }
            });
            let _ = clock.send(strikes.collect());
        }
        self.since.retain(|(name, _), _| self.snapshot.known.contains(name));
        self.dirty.extend(self.snapshot.known.iter().cloned());
        self.notifier.ready(reload);
    }

    /// No definition has the mailbox any more: its pass stops, its ledger stays.
    fn dismiss(&mut self, key: &MailboxKey) {
        let Some(entry) = self.herd.get_mut(key) else { return };
        self.queue.cancel(key);
        self.turns.remove(&entry.migration, key);
        let mailbox = entry.name();
        for asked in entry.asked.drain(..) {
            let _ = asked.send(Update::Ended { mailbox: mailbox.clone(), result: Err(removed()) });
        }
        entry.gone = true;
        match &entry.run {
            Some(run) => run.stop.cancel(),
            None => {
                self.herd.remove(key);
                self.queue.release(key);
            }
        }
    }

    /// A known mailbox that the definitions may say something new about.
    fn adjust(&mut self, key: &MailboxKey, name: MigrationName, mailbox: Arc<Mailbox>) {
        let Some(entry) = self.herd.get_mut(key) else { return };
        entry.gone = false;
        let moved = entry.migration != name;
        if moved {
            self.turns.remove(&entry.migration, key);
            if entry.lined_up {
                self.turns.push(&name, key.clone());
            }
            entry.migration = name;
        }
        let suspended = self
            .snapshot
            .migrations
            .get(&entry.migration)
            .is_some_and(|declared| declared.migration.suspend);
        let changed = entry.mailbox != mailbox;
        if changed {
            entry.mailbox = mailbox;
            entry.trouble = None;
            entry.pace.not_before = None;
        }
        if let Some(run) = &entry.run
            && (changed || suspended)
        {
            run.stop.cancel();
        }
        if changed || moved {
            self.reschedule(key);
        }
    }

    /// Asks the ledger what it knows of mailboxes.
    fn recall(&self, keys: Vec<MailboxKey>, after: Duration) {
        if keys.is_empty() {
            return;
        }
        let (recall, events) = (Arc::clone(&self.settings.book.recall), self.events.clone());
        tokio::spawn(async move {
            // A timer would take a tick of its own for nothing.
            if !after.is_zero() {
                tokio::time::sleep(after).await;
            }
            for key in keys {
                let memory = recall(key.clone()).await;
                if events.send(Event::Recalled(key, memory)).await.is_err() {
                    return;
                }
            }
        });
    }

    pub(in crate::controller) fn recalled(
        &mut self,
        key: &MailboxKey,
        memory: Result<Memory, String>,
    ) {
        let Some(entry) = self.herd.get_mut(key).filter(|entry| entry.memory.is_none()) else {
            return;
        };
        self.dirty.insert(entry.migration.clone());
        match memory {
            Ok(mut memory) => {
                if let Some(declared) = self.snapshot.migrations.get(&entry.migration)
                    && phase::is_in_doubt(&memory.state, &declared.migration)
                    && memory.state.blocked.is_none()
                {
                    let (migration, mailbox) = (&declared.migration, &entry.mailbox);
                    memory.state.blocked = Some(Blocked {
                        reason: "StateLost".into(),
                        message: STATE_LOST.into(),
                        under: seal::under(migration, mailbox, &self.snapshot.seals),
                        since: memory.state.lost.unwrap_or_default(),
                    });
                }
                entry.memory = Some(memory);
                entry.trouble = None;
                self.lift_block(key, false);
                self.reschedule(key);
            }
            Err(cause) => {
                entry.trouble = Some(Trouble {
                    reason: "LedgerUnreadable".into(),
                    message: format!("the ledger cannot be read: {cause}"),
                    remedy: "check the disk that holds `state`".into(),
                    throttled_until: None,
                });
                self.recall(vec![key.clone()], RECALL_AGAIN);
            }
        }
    }
}

fn removed() -> Failed {
    Failed {
        reason: "Removed".into(),
        message: "no definition has this mailbox any more".into(),
        remedy: String::new(),
    }
}

/// Logs what is new about the definitions.
fn tell(old: &Snapshot, new: &Snapshot, diff: &CatalogDiff) {
    for (names, what) in
        [(&diff.added, "added"), (&diff.changed, "changed"), (&diff.removed, "removed")]
    {
        for name in names {
            info!(migration = &*name.0, "definition {what}");
        }
    }
    for problem in diff.broken.iter().filter_map(|name| new.broken.get(name)).flatten() {
        let (file, line, column) = (problem.file.display(), problem.line, problem.column);
        warn!("{file}:{line}:{column}: {}", problem.message);
    }
    match (&old.held, &new.held) {
        (old, Some(reason)) if old.as_ref() != Some(reason) => warn!("{reason}"),
        (Some(_), None) => info!("the directory of definitions is well again"),
        _ => {}
    }
}
