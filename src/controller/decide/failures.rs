//! What an error means for a mailbox: another try, a pause, or a block until something changes.

use chrono::TimeDelta;

use super::super::book::Entry as Keep;
use super::super::herd::Trouble;
use super::super::*;
use crate::definition::Login;
use crate::ledger::Blocked;

impl Controller {
    /// Records what an error means for the mailbox.
    pub(super) fn failed(
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
                let blocked = Blocked {
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

    pub(super) fn delay_after_failure(
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

    /// One login of all that is refused must not be tried six hundred times: it would be locked.
    fn block_companions(&mut self, key: &MailboxKey, error: &sync::Error, blocked: &Blocked) {
        use crate::platform::Error::{Credentials, Secret, Token};
        let sync::Error::Platform { side, error } = error else { return };
        let account = |mailbox: &Mailbox| match side {
            sync::Side::Source => mailbox.source.clone(),
            sync::Side::Destination => mailbox.destination.clone(),
        };
        let Some(entry) = self.herd.get(key) else { return };
        let (migration, refused) = (entry.migration.clone(), account(&entry.mailbox));
        let is_of_all = match (&refused.login, error) {
            (Login::MasterUser { .. }, Credentials { .. } | Secret(_)) => true,
            (Login::Token(_), Token(error)) => error.is_lasting() && error.is_of_all(),
            _ => false,
        };
        if !is_of_all {
            return;
        }
        let Some(declared) = self.snapshot.migrations.get(&migration) else { return };
        let declared = Arc::clone(&declared.migration);
        for key in self.members.get(&migration).cloned().unwrap_or_default() {
            let Some(entry) = self.herd.get_mut(&key) else { continue };
            let other = account(&entry.mailbox);
            let same =
                other.login.is_shared_with(&refused.login) && other.endpoint == refused.endpoint;
            let under = seal::under(&declared, &entry.mailbox, &self.snapshot.seals);
            let Some(memory) = &mut entry.memory else { continue };
            if same && entry.run.is_none() && memory.state.blocked.is_none() {
                memory.state.blocked = Some(Blocked { under, ..blocked.clone() });
                let state = memory.state.clone();
                self.keep(Keep::State(key.clone(), state));
                self.reschedule(&key);
            }
        }
    }

    /// Lets a blocked mailbox go on if what it was blocked under has changed, or if told to.
    pub(super) fn lift_block(&mut self, key: &MailboxKey, told_to: bool) -> bool {
        let Some(entry) = self.herd.get_mut(key) else { return false };
        let Some(declared) = self.snapshot.migrations.get(&entry.migration) else { return false };
        let Some(memory) = &mut entry.memory else { return false };
        let Some(blocked) = &memory.state.blocked else { return false };
        let under = seal::under(&declared.migration, &entry.mailbox, &self.snapshot.seals);
        if !told_to
            && (blocked.under == under || phase::is_in_doubt(&memory.state, &declared.migration))
        {
            return false;
        }
        info!(mailbox = entry.migration.of_mailbox(&entry.mailbox), "unblocked");
        memory.state.blocked = None;
        // An operator decided.
        memory.state.lost = None;
        memory.state.failures_in_a_row = 0;
        entry.pace.unfinished = true;
        let state = memory.state.clone();
        self.keep(Keep::State(key.clone(), state));
        true
    }
}

fn failed_pass(run: &herd::Run, now: DateTime<Utc>, failed: &Failed) -> PassRecord {
    PassRecord::failed(run.kind, run.began, now, failed.message.clone())
}
