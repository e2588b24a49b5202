//! What each event does. Nothing here waits.
//!
//! In reading order: `declared` (who is in the herd), `due` (when, and whose turn), `passes`
//! (begin and end), `failures` (what errors lead to).

use super::book::Entry as Keep;
use super::*;
use crate::ledger::MailboxState;

mod declared;
mod due;
mod failures;
mod passes;

impl Controller {
    /// Changes a mailbox's state from outside a pass.
    pub(in crate::controller) fn change_state(
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

    pub(in crate::controller) fn beat(&mut self) {
        let now = (self.settings.now)();
        for name in std::mem::take(&mut self.dirty) {
            self.observe(&name, now);
        }
        self.make_way(now);
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

    pub(super) fn keep(&self, entry: Keep) {
        if let Some(keep) = &self.keep {
            let _ = keep.send(entry);
        }
    }
}
