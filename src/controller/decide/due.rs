//! When a mailbox is due, and whose turn it is.

use chrono::TimeDelta;

use super::super::*;

/// A pass that has not begun after so long waits for a connection.
const CONNECTED: TimeDelta = TimeDelta::minutes(1);

impl Controller {
    /// The clock says that a migration is due; the schedule knows which mailboxes are.
    pub(in crate::controller) fn tick(&mut self, migration: &MigrationName) {
        for key in self.members.get(migration).cloned().unwrap_or_default() {
            self.reschedule(&key);
        }
    }

    /// The queue says that a mailbox is due, or that it is time to look again whether it is.
    pub(in crate::controller) fn due(&mut self, key: &MailboxKey) {
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
    pub(in crate::controller) fn hasten(&mut self, key: &MailboxKey) {
        let Some(entry) = self.herd.get_mut(key) else { return };
        if entry.lined_up {
            self.turns.remove(&entry.migration, key);
            self.turns.push_first(&entry.migration, key.clone());
        } else if entry.run.is_none() && entry.memory.is_some() {
            self.queue.add(key.clone(), Instant::now());
        }
    }

    /// Starts passes while there is room.
    pub(in crate::controller) fn fill(&mut self) {
        while !self.stopping && self.running.values().sum::<usize>() < self.settings.mailboxes {
            let Self { turns, running, snapshot, .. } = self;
            let has_room = |name: &MigrationName| {
                running.get(name).copied().unwrap_or(0) < most(snapshot, name)
            };
            let Some(key) = turns.next(has_room) else { return };
            self.start(&key);
        }
    }

    /// Ends a pass in good order that has had its turn while others wait for its room. It goes to
    /// the end of the line, and on where it stood. One at a time.
    pub(super) fn make_way(&mut self, now: DateTime<Utc>) {
        for run in self.herd.values_mut().filter_map(|entry| entry.run.as_mut()) {
            let stage = run.progress.read().stage;
            run.connected = run.connected.or((stage != sync::Stage::Waiting).then_some(now));
            run.carrying = run.carrying.or((stage == sync::Stage::Transferring).then_some(now));
        }
        let runs =
            || self.herd.values().filter_map(|entry| Some((&*entry.mailbox, entry.run.as_ref()?)));
        if runs().any(|(_, run)| run.stop.is_cancelled()) {
            return;
        }
        // Would anybody have room without it, or a connection?
        let is_in_the_way = |mailbox: &Mailbox, run: &herd::Run| {
            self.turns.any(|name| {
                let n = self.running.get(name).copied().unwrap_or(0);
                n - usize::from(n > 0 && *name == run.migration) < most(&self.snapshot, name)
            }) || runs().any(|(other, waiting)| {
                waiting.progress.read().stage == sync::Stage::Waiting
                    && now - waiting.began > CONNECTED
                    && share_a_server(mailbox, other)
            })
        };
        let has_had_its_turn = |(mailbox, run): &(&Mailbox, &herd::Run)| {
            let (Some(connected), Some(carrying)) = (run.connected, run.carrying) else {
                return false;
            };
            // What the survey took is not the mailbox's fault, and would be spent again.
            let turn = self.settings.turn.max((carrying - connected).to_std().unwrap_or_default());
            // Who asked for it waits for it; and what has carried nothing yet would not come further.
            run.asked.is_empty()
                && run.progress.read().messages > 0
                && (now - carrying).to_std().is_ok_and(|carried| carried >= turn)
                && is_in_the_way(mailbox, run)
        };
        let longest = runs().filter(has_had_its_turn).min_by_key(|(_, run)| run.began);
        if let Some((mailbox, run)) = longest {
            let (migration, mailbox) = (&run.migration.0, &mailbox.source.user);
            info!(%migration, %mailbox, "a pass that has had its turn makes way for others");
            run.stop.cancel();
        }
    }

    /// Computes when a mailbox is due and puts it there.
    pub(super) fn reschedule(&mut self, key: &MailboxKey) {
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
}

/// How many mailboxes of a migration may have passes at once.
fn most(snapshot: &catalog::Snapshot, migration: &MigrationName) -> usize {
    let declared = snapshot.migrations.get(migration);
    declared.map_or(1, |declared| declared.migration.sync.concurrency.max(1))
}

fn share_a_server(one: &Mailbox, other: &Mailbox) -> bool {
    let servers = |mailbox: &Mailbox| {
        [&mailbox.source, &mailbox.destination]
            .map(|account| (account.endpoint.host.clone(), account.endpoint.port))
    };
    let others = servers(other);
    servers(one).iter().any(|server| others.contains(server))
}
