//! Whose turn it is when passes wait for room: migrations in a circle, mailboxes of each in a line.
//! A migration that has used more time than others lets them go before it (start-time fair queueing,
//! Goyal, Vin and Cheng 1996, with time as the cost).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::definition::MigrationName;
use crate::ledger::MailboxKey;

/// Mailboxes that are due and wait for room.
#[derive(Debug, Default)]
pub(super) struct Turns {
    circle: VecDeque<MigrationName>,
    lines: HashMap<MigrationName, VecDeque<MailboxKey>>,
    /// Time used, of the migration that was called last when it was called.
    clock: Duration,
    /// Time used by those that have used more than that.
    used: HashMap<MigrationName, Duration>,
}

impl Turns {
    /// Lines up at the end.
    pub(super) fn push(&mut self, migration: &MigrationName, mailbox: MailboxKey) {
        self.line(migration).push_back(mailbox);
    }

    /// Lines up at the front: an operator waits for it.
    pub(super) fn push_first(&mut self, migration: &MigrationName, mailbox: MailboxKey) {
        self.line(migration).push_front(mailbox);
    }

    /// Leaves the line.
    pub(super) fn remove(&mut self, migration: &MigrationName, mailbox: &MailboxKey) {
        if let Some(line) = self.lines.get_mut(migration) {
            line.retain(|waiting| waiting != mailbox);
            if line.is_empty() {
                self.lines.remove(migration);
                self.circle.retain(|waiting| waiting != migration);
            }
        }
    }

    /// A pass of the migration has taken so long.
    pub(super) fn charge(&mut self, migration: &MigrationName, time: Duration) {
        let used = self.used(migration) + time;
        self.used.insert(migration.clone(), used);
    }

    /// The next mailbox of the next migration that `has_room`: of the one that has used least, and
    /// of those alike the one that has waited longest. It goes to the end of the circle, so that
    /// one with six hundred mailboxes does not starve one with two.
    pub(super) fn next(&mut self, has_room: impl Fn(&MigrationName) -> bool) -> Option<MailboxKey> {
        let with_room = self.circle.iter().enumerate().filter(|(_, migration)| has_room(migration));
        let (at, _) = with_room.min_by_key(|(at, migration)| (self.used(migration), *at))?;
        let migration = self.circle.remove(at)?;
        self.clock = self.used(&migration);
        let clock = self.clock;
        self.used.retain(|_, used| *used > clock);
        let line = self.lines.get_mut(&migration)?;
        let mailbox = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&migration);
        } else {
            self.circle.push_back(migration);
        }
        mailbox
    }

    /// Does a migration wait of which this is true?
    pub(super) fn any(&self, is: impl Fn(&MigrationName) -> bool) -> bool {
        self.circle.iter().any(is)
    }

    /// Mailboxes that wait.
    pub(super) fn len(&self) -> usize {
        self.lines.values().map(VecDeque::len).sum()
    }

    /// Who comes anew has used as much as the one called last.
    fn used(&self, migration: &MigrationName) -> Duration {
        self.used.get(migration).copied().unwrap_or_default().max(self.clock)
    }

    fn line(&mut self, migration: &MigrationName) -> &mut VecDeque<MailboxKey> {
        if !self.lines.contains_key(migration) {
            self.circle.push_back(migration.clone());
        }
        self.lines.entry(migration.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> MigrationName {
        MigrationName(text.into())
    }

    fn key(text: &str) -> MailboxKey {
        MailboxKey(text.into())
    }

    #[test]
    fn migrations_take_turns() {
        let mut turns = Turns::default();
        for mailbox in ["a1", "a2", "a3"] {
            turns.push(&name("a"), key(mailbox));
        }
        turns.push(&name("b"), key("b1"));
        turns.push_first(&name("a"), key("a0"));
        let order: Vec<_> =
            std::iter::from_fn(|| turns.next(|_| true)).map(|key| key.0.to_string()).collect();
        assert_eq!(order, ["a0", "b1", "a1", "a2", "a3"]);
    }

    #[test]
    fn a_migration_that_has_used_much_time_lets_others_go_first_but_not_for_ever() {
        let mut turns = Turns::default();
        let minute = Duration::from_secs(60);
        turns.push(&name("large"), key("l"));
        assert_eq!(turns.next(|_| true), Some(key("l")));
        turns.charge(&name("large"), 15 * minute);
        turns.push(&name("large"), key("l"));
        for n in 0..100 {
            turns.push(&name("small"), key(&format!("s{n}")));
        }
        let mut order = Vec::new();
        while let Some(next) = turns.next(|_| true) {
            let is_large = next == key("l");
            order.push(next);
            if !is_large {
                turns.charge(&name("small"), minute / 2);
            }
        }
        assert_eq!(order.iter().position(|next| *next == key("l")), Some(30));
    }

    #[test]
    fn a_migration_without_room_is_passed_over_and_keeps_its_place() {
        let mut turns = Turns::default();
        turns.push(&name("a"), key("a1"));
        turns.push(&name("b"), key("b1"));
        assert_eq!(turns.next(|migration| *migration != name("a")), Some(key("b1")));
        assert_eq!(turns.next(|migration| *migration != name("a")), None);
        assert_eq!(turns.next(|_| true), Some(key("a1")));
    }

    #[test]
    fn who_leaves_the_line_is_not_called() {
        let mut turns = Turns::default();
        turns.push(&name("a"), key("a1"));
        turns.remove(&name("a"), &key("a1"));
        turns.push(&name("a"), key("a2"));
        assert_eq!(turns.next(|_| true), Some(key("a2")));
        assert_eq!(turns.next(|_| true), None);
    }
}
