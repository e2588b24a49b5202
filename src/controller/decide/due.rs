//! When a mailbox is due, and whose turn it is.

use super::super::*;

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
