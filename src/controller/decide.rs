//! What each event does. Nothing here waits.

use std::collections::{HashMap, hash_map};

use chrono::TimeDelta;

use super::book::Entry as Keep;
use super::catalog::{CatalogDiff, Snapshot};
use super::herd::{Entry, Memory, Trouble};
use super::*;
use crate::definition::{Login, Schedule};
use crate::ledger::MailboxState;

/// After the ledger could not be read, it is asked again so much later.
const RECALL_AGAIN: Duration = Duration::from_secs(5);

impl Controller {
    /// Makes the herd what the definitions say, touching only what differs.
    pub(super) fn declared(&mut self, snapshot: Snapshot, reload: bool) {
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
            tokio::time::sleep(after).await;
            for key in keys {
                let memory = recall(key.clone()).await;
                if events.send(Event::Recalled(key, memory)).await.is_err() {
                    return;
                }
            }
        });
    }

    pub(super) fn recalled(&mut self, key: &MailboxKey, memory: Result<Memory, String>) {
        let Some(entry) = self.herd.get_mut(key).filter(|entry| entry.memory.is_none()) else {
            return;
        };
        self.dirty.insert(entry.migration.clone());
        match memory {
            Ok(memory) => {
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

    /// The clock says that a migration is due; the schedule knows which mailboxes are.
    pub(super) fn tick(&mut self, migration: &MigrationName) {
        for key in self.members.get(migration).cloned().unwrap_or_default() {
            self.reschedule(&key);
        }
    }

    /// The queue says that a mailbox is due, or that it is time to look again whether it is.
    pub(super) fn due(&mut self, key: &MailboxKey) {
        let now = (self.settings.now)();
        let Some(next) = self.next(key, now) else { return self.queue.release(key) };
        let Some(entry) = self.herd.get_mut(key) else { return };
        entry.next = Some(next);
        if !entry.asked.is_empty() {
            entry.lined_up = true;
            self.turns.push_first(&entry.migration, key.clone());
        } else if !self.settings.on_demand && next.at.is_some_and(|at| at <= now) {
            entry.lined_up = true;
            self.turns.push(&entry.migration, key.clone());
        } else {
            self.queue.release(key);
            self.sleep_until(key, next.at);
        }
    }

    /// Somebody waits for a pass over this mailbox.
    pub(super) fn hasten(&mut self, key: &MailboxKey) {
        let Some(entry) = self.herd.get_mut(key) else { return };
        if entry.lined_up {
            self.turns.remove(&entry.migration, key);
            self.turns.push_first(&entry.migration, key.clone());
        } else if entry.run.is_none() && entry.memory.is_some() {
            self.queue.add(key.clone(), Instant::now());
        }
    }

    /// Starts passes while there is room.
    pub(super) fn fill(&mut self) {
        while !self.stopping && self.running.values().sum::<usize>() < self.settings.mailboxes {
            let (running, snapshot) = (&self.running, &self.snapshot);
            let has_room = |name: &MigrationName| {
                let declared = snapshot.migrations.get(name);
                let most = declared.map_or(1, |declared| declared.migration.sync.concurrency);
                running.get(name).copied().unwrap_or(0) < most.max(1)
            };
            let Some(key) = self.turns.next(has_room) else { return };
            self.start(&key);
        }
    }

    fn start(&mut self, key: &MailboxKey) {
        let now = (self.settings.now)();
        let Some(entry) = self.herd.get_mut(key) else { return self.queue.release(key) };
        entry.lined_up = false;
        let (Some(declared), Some(memory)) =
            (self.snapshot.migrations.get(&entry.migration), &mut entry.memory)
        else {
            return self.queue.release(key);
        };
        let migration = &declared.migration;
        let kind = phase::kind(&memory.state, migration, now);
        memory.state.last_began = Some(now);
        let state = memory.state.clone();
        self.n_passes += 1;
        let run = herd::Run {
            number: self.n_passes,
            migration: entry.migration.clone(),
            generation: migration.generation.clone(),
            kind,
            began: now,
            progress: Progress::default(),
            stop: CancellationToken::new(),
            under: seal::under(migration, &entry.mailbox, &self.snapshot.seals),
            asked: std::mem::take(&mut entry.asked),
        };
        info!(mailbox = entry.name(), %kind, "pass begins");
        for asked in &run.asked {
            let (mailbox, progress) = (entry.name(), run.progress.clone());
            let _ = asked.send(Update::Started { mailbox, kind, progress });
        }
        // An operator who asked does not care for windows, nor does a cutover.
        let closes = if run.asked.is_empty() && phase::windows_hold(&state, migration, now) {
            schedule::window_closes(&migration.sync, now)
        } else {
            None
        };
        let job = PassJob {
            key: key.clone(),
            mailbox: Arc::clone(&entry.mailbox),
            kind,
            progress: run.progress.clone(),
            stop: run.stop.clone(),
        };
        *self.running.entry(run.migration.clone()).or_default() += 1;
        let (number, stop, events) = (run.number, run.stop.clone(), self.events.clone());
        entry.run = Some(run);
        entry.next = Some(phase::next(&state, migration, &key.0, entry.pace, now));
        let open = closes.map(|closes| (closes - now).to_std().unwrap_or_default());
        let pass = (self.settings.runner)(job);
        let finished = key.clone();
        tokio::spawn(async move {
            // In a task of its own, so that a panic is an outcome.
            let mut pass = tokio::spawn(pass);
            let ended = match open {
                None => pass.await,
                Some(open) => tokio::select! {
                    ended = &mut pass => ended,
                    () = tokio::time::sleep(open) => {
                        stop.cancel();
                        pass.await
                    }
                },
            };
            let outcome = ended.map_or(Outcome::Panicked, Outcome::Returned);
            let _ = events.send(Event::Finished(finished, number, outcome)).await;
        });
        self.keep(Keep::State(key.clone(), state));
    }

    /// A pass has ended: what follows from it, in this one place.
    pub(super) fn finished(&mut self, key: &MailboxKey, number: u64, outcome: Outcome) {
        let now = (self.settings.now)();
        let Some(entry) = self.herd.get_mut(key) else { return };
        let Some(run) = entry.run.take_if(|run| run.number == number) else { return };
        if let Some(n) = self.running.get_mut(&run.migration) {
            *n -= 1;
            if *n == 0 {
                self.running.remove(&run.migration);
            }
        }
        self.dirty.insert(entry.migration.clone());
        let mailbox = entry.name();
        let Some(memory) = &mut entry.memory else { return };
        let result = match outcome {
            Outcome::Returned(Ok(report)) => {
                info!(mailbox, kind = %run.kind, copied = report.record.accounts.copied,
                    bytes = report.record.bytes, quiet = report.quiet, "pass ends");
                if let Some(declared) = self.snapshot.migrations.get(&entry.migration) {
                    memory.state =
                        phase::after_success(&memory.state, &declared.migration, run.kind, &report);
                }
                let noisy_final = run.kind == PassKind::Final && !report.quiet;
                let finals = if noisy_final { entry.pace.finals + 1 } else { 0 };
                entry.pace = phase::Pace { finals, ..phase::Pace::default() };
                entry.trouble = None;
                entry.observed = Some(run.generation.clone());
                memory.remember(report.record.clone());
                Ok(Box::new((report.record, report.notes)))
            }
            Outcome::Returned(Err(sync::Error::Stopped)) => {
                info!(mailbox, kind = %run.kind, "pass stopped");
                entry.pace.unfinished = true;
                Err(Failed {
                    reason: "Stopped".into(),
                    message: "the pass was stopped; what it carried is recorded".into(),
                    remedy: String::new(),
                })
            }
            Outcome::Returned(Err(error)) => Err(self.failed(key, &run, &error, now)),
            Outcome::Panicked => {
                let failed = Failed {
                    reason: "Panicked".into(),
                    message: "the pass ended by a defect of drover".into(),
                    remedy: "please report it, with the log; drover tries again".into(),
                };
                self.delay_after_failure(key, &run, &failed, now);
                Err(failed)
            }
        };
        self.conclude(key, run, result);
    }

    /// Records what an error means for the mailbox.
    fn failed(
        &mut self,
        key: &MailboxKey,
        run: &herd::Run,
        error: &sync::Error,
        now: DateTime<Utc>,
    ) -> Failed {
        use crate::platform::Retry;
        let (reason, message, remedy) = (error.reason(), error.to_string(), error.remedy());
        let failed = Failed { reason: reason.into(), message, remedy };
        let Some(entry) = self.herd.get_mut(key) else { return failed };
        warn!(mailbox = entry.name(), kind = %run.kind, reason, "pass failed: {error}");
        let Some(memory) = &mut entry.memory else { return failed };
        match error.retry() {
            Retry::Soon => self.delay_after_failure(key, run, &failed, now),
            Retry::After(wait) => {
                // A state, not a failure. A server that says "0 s" is still given a moment.
                let wait = wait.max(self.settings.backoff.first);
                let until = now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::days(1));
                entry.pace.not_before = Some(until);
                entry.pace.unfinished = true;
                entry.trouble = Some(Trouble {
                    reason: failed.reason.clone(),
                    message: failed.message.clone(),
                    remedy: failed.remedy.clone(),
                    throttled_until: Some(until),
                });
            }
            Retry::Never => {
                let message = match &*failed.remedy {
                    "" => failed.message.clone(),
                    remedy => format!("{}; {remedy}", failed.message),
                };
                let blocked = crate::ledger::Blocked {
                    reason: failed.reason.clone(),
                    message,
                    under: run.under.clone(),
                    since: now,
                };
                memory.remember(failed_pass(run, now, &failed));
                memory.state.blocked = Some(blocked.clone());
                entry.trouble = None;
                entry.pace = phase::Pace { unfinished: true, ..phase::Pace::default() };
                self.block_companions(key, error, &blocked);
            }
        }
        failed
    }

    fn delay_after_failure(
        &mut self,
        key: &MailboxKey,
        run: &herd::Run,
        failed: &Failed,
        now: DateTime<Utc>,
    ) {
        let Some(entry) = self.herd.get_mut(key) else { return };
        let Some(memory) = &mut entry.memory else { return };
        memory.state.failures_in_a_row = memory.state.failures_in_a_row.saturating_add(1);
        let failures = memory.state.failures_in_a_row;
        let jitter = schedule::fraction(&format!("{}{failures}", key.0));
        let wait = self.settings.backoff.delay(failures, jitter);
        entry.pace.not_before = Some(now + TimeDelta::from_std(wait).unwrap_or_default());
        entry.pace.unfinished = true;
        memory.remember(failed_pass(run, now, failed));
        entry.trouble = Some(Trouble {
            reason: failed.reason.clone(),
            message: failed.message.clone(),
            remedy: failed.remedy.clone(),
            throttled_until: None,
        });
    }

    /// One master login that is refused must not be tried six hundred times: it would be locked.
    fn block_companions(
        &mut self,
        key: &MailboxKey,
        error: &sync::Error,
        blocked: &crate::ledger::Blocked,
    ) {
        use crate::platform::Error::{Credentials, Secret};
        let sync::Error::Platform { side, error: Credentials { .. } | Secret(_) } = error else {
            return;
        };
        let account = |mailbox: &Mailbox| match side {
            sync::Side::Source => mailbox.source.clone(),
            sync::Side::Destination => mailbox.destination.clone(),
        };
        let Some(entry) = self.herd.get(key) else { return };
        let (migration, refused) = (entry.migration.clone(), account(&entry.mailbox));
        if !matches!(refused.login, Login::MasterUser { .. }) {
            return;
        }
        let Some(declared) = self.snapshot.migrations.get(&migration) else { return };
        let declared = Arc::clone(&declared.migration);
        for key in self.members.get(&migration).cloned().unwrap_or_default() {
            let Some(entry) = self.herd.get_mut(&key) else { continue };
            let other = account(&entry.mailbox);
            let same = other.login == refused.login && other.endpoint == refused.endpoint;
            let under = seal::under(&declared, &entry.mailbox, &self.snapshot.seals);
            let Some(memory) = &mut entry.memory else { continue };
            if same && entry.run.is_none() && memory.state.blocked.is_none() {
                memory.state.blocked = Some(crate::ledger::Blocked { under, ..blocked.clone() });
                let state = memory.state.clone();
                self.keep(Keep::State(key.clone(), state));
                self.reschedule(&key);
            }
        }
    }

    /// Tells who asked, gives the mailbox back to the queue, and looks when it is due next.
    fn conclude(
        &mut self,
        key: &MailboxKey,
        run: herd::Run,
        result: Result<Box<(PassRecord, Vec<String>)>, Failed>,
    ) {
        let Some(entry) = self.herd.get_mut(key) else { return };
        let was_stopped = matches!(&result, Err(failed) if failed.reason == "Stopped");
        let suspended = self
            .snapshot
            .migrations
            .get(&entry.migration)
            .is_none_or(|declared| declared.migration.suspend);
        if was_stopped && !self.stopping && !entry.gone && !suspended {
            // Stopped for a changed definition: who asked gets the pass that follows.
            entry.asked.extend(run.asked);
        } else {
            let mailbox = entry.name();
            for asked in run.asked {
                let _ =
                    asked.send(Update::Ended { mailbox: mailbox.clone(), result: result.clone() });
            }
        }
        if let Some(state) = entry.state().cloned() {
            self.keep(Keep::State(key.clone(), state));
        }
        if self.herd.get(key).is_some_and(|entry| entry.gone) {
            self.herd.remove(key);
            self.queue.cancel(key);
            return self.queue.release(key);
        }
        self.queue.release(key);
        self.reschedule(key);
    }

    /// Lets a blocked mailbox go on if what it was blocked under has changed, or if told to.
    fn lift_block(&mut self, key: &MailboxKey, told_to: bool) -> bool {
        let Some(entry) = self.herd.get_mut(key) else { return false };
        let Some(declared) = self.snapshot.migrations.get(&entry.migration) else { return false };
        let Some(memory) = &mut entry.memory else { return false };
        let Some(blocked) = &memory.state.blocked else { return false };
        let under = seal::under(&declared.migration, &entry.mailbox, &self.snapshot.seals);
        if !told_to && blocked.under == under {
            return false;
        }
        info!(
            mailbox = format!("{}/{}", entry.migration.0, entry.mailbox.source.user),
            "unblocked"
        );
        memory.state.blocked = None;
        memory.state.failures_in_a_row = 0;
        entry.pace.unfinished = true;
        let state = memory.state.clone();
        self.keep(Keep::State(key.clone(), state));
        true
    }

    /// Computes when a mailbox is due and puts it there.
    fn reschedule(&mut self, key: &MailboxKey) {
        let now = (self.settings.now)();
        let Some(next) = self.next(key, now) else { return };
        let Some(entry) = self.herd.get_mut(key) else { return };
        entry.next = Some(next);
        if entry.run.is_some() {
            return;
        }
        let by_itself = !self.settings.on_demand && next.at.is_some_and(|at| at <= now);
        let is_due = !entry.asked.is_empty() || by_itself;
        if entry.lined_up {
            if is_due {
                return;
            }
            entry.lined_up = false;
            self.turns.remove(&entry.migration, key);
            self.queue.release(key);
        }
        self.queue.cancel(key);
        if is_due {
            self.queue.add(key.clone(), Instant::now());
        } else {
            self.sleep_until(key, next.at);
        }
    }

    fn sleep_until(&mut self, key: &MailboxKey, at: Option<DateTime<Utc>>) {
        let now = (self.settings.now)();
        if let Some(at) = at.filter(|_| !self.settings.on_demand) {
            let wait = (at - now).to_std().unwrap_or_default();
            self.queue.add(key.clone(), Instant::now() + wait);
        }
    }

    fn next(&self, key: &MailboxKey, now: DateTime<Utc>) -> Option<phase::Next> {
        let entry = self.herd.get(key).filter(|entry| !entry.gone)?;
        let migration = &self.snapshot.migrations.get(&entry.migration)?.migration;
        Some(phase::next(entry.state()?, migration, &key.0, entry.pace, now))
    }

    /// Changes a mailbox's state from outside a pass.
    pub(super) fn change_state(
        &mut self,
        key: &MailboxKey,
        change: impl FnOnce(&mut MailboxState),
    ) {
        let Some(entry) = self.herd.get_mut(key) else { return };
        let Some(memory) = &mut entry.memory else { return };
        change(&mut memory.state);
        self.dirty.insert(entry.migration.clone());
        let state = memory.state.clone();
        self.keep(Keep::State(key.clone(), state));
    }

    pub(super) fn beat(&mut self) {
        let now = (self.settings.now)();
        for name in std::mem::take(&mut self.dirty) {
            self.observe(&name, now);
        }
        self.notifier.feed();
        let n_blocked = self
            .herd
            .values()
            .filter(|entry| entry.state().is_some_and(|state| state.blocked.is_some()));
        let status = format!(
            "{} migrations, {} mailboxes: {} passes under way, {} waiting, {} blocked{}",
            self.snapshot.migrations.len(),
            self.herd.len(),
            self.running.values().sum::<usize>(),
            self.turns.len(),
            n_blocked.count(),
            if self.snapshot.held.is_some() { "; definitions are held" } else { "" },
        );
        self.notifier.status(status);
    }

    fn keep(&self, entry: Keep) {
        if let Some(keep) = &self.keep {
            let _ = keep.send(entry);
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

fn failed_pass(run: &herd::Run, now: DateTime<Utc>, failed: &Failed) -> PassRecord {
    PassRecord {
        kind: run.kind,
        began: run.began,
        ended: now,
        accounts: crate::model::Accounts::default(),
        bytes: 0,
        flag_changes: 0,
        moves: 0,
        removed: 0,
        error: Some(failed.message.clone()),
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
