//! Whose turn it is when passes wait for room: migrations in a circle, mailboxes of each in a line.

use std::collections::{HashMap, VecDeque};

use crate::definition::MigrationName;
use crate::ledger::MailboxKey;

/// Mailboxes that are due and wait for room.
#[derive(Debug, Default)]
pub(super) struct Turns {
    circle: VecDeque<MigrationName>,
    lines: HashMap<MigrationName, VecDeque<MailboxKey>>,
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

    /// The next mailbox of the next migration that `has_room`; that migration goes to the end of
    /// the circle, so that one with six hundred mailboxes does not starve one with two.
    pub(super) fn next(&mut self, has_room: impl Fn(&MigrationName) -> bool) -> Option<MailboxKey> {
        let at = self.circle.iter().position(has_room)?;
        let migration = self.circle.remove(at)?;
        let line = self.lines.get_mut(&migration)?;
        let mailbox = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&migration);
        } else {
            self.circle.push_back(migration);
        }
        mailbox
    }

    /// Mailboxes that wait.
    pub(super) fn len(&self) -> usize {
        self.lines.values().map(VecDeque::len).sum()
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
