//! Where a mailbox stands and what comes next: a pure function of what the ledger remembers, what
//! the definition says, and the time. Nothing here is remembered, so a restart changes nothing.
//!
//! Cut over is for ever. Once the destination is live, its user's deletes and moves are theirs
//! (law 5): a cutover that is later removed from the definition or put into the future must not
//! make drover mirror deletes again. To start over, a mailbox's ledger has to be dropped.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::schedule::{next_due, next_window};
use crate::definition::Migration;
use crate::ledger::MailboxState;
use crate::model::{PassKind, Phase};
use crate::sync::Report;

/// Final passes follow each other at once this often; after that they pause, for a mailbox that
/// is never quiet must not be hammered.
const FINALS_AT_ONCE: u32 = 3;
const FINAL_PAUSE: Duration = Duration::from_secs(10);
/// However short the tail, its passes keep this distance.
const SHORTEST_TAIL_STEP: Duration = Duration::from_secs(60);

/// What comes next for a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// Where it stands.
    pub phase: Phase,
    /// The pass that comes next, if any will without an operator.
    pub kind: Option<PassKind>,
    /// When, not before `now`.
    pub at: Option<DateTime<Utc>>,
}

/// What the controller knows of a mailbox beside the ledger, and forgets in a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pace {
    /// A server or the backoff asked to wait until then.
    pub not_before: Option<DateTime<Utc>>,
    /// The last pass was cut short: go on as soon as allowed, whatever the schedule says.
    pub unfinished: bool,
    /// Final passes in a row that were not quiet.
    pub finals: u32,
}

/// Where a mailbox stands.
pub fn phase(state: &MailboxState, migration: &Migration, now: DateTime<Utc>) -> Phase {
    if state.complete.is_some() {
        Phase::Complete
    } else if migration.suspend {
        Phase::Suspended
    } else if state.blocked.is_some() {
        Phase::Blocked
    } else if state.cut_over.is_some() {
        Phase::Draining
    } else if state.seeded.is_none() {
        if state.last_began.is_some() { Phase::Seeding } else { Phase::Pending }
    } else if is_cutover_due(migration, now) {
        Phase::Finalizing
    } else {
        Phase::Syncing
    }
}

/// The kind of pass that would be right now, whatever the phase says about running it by itself:
/// what an operator gets who asks for a pass. After completion that is another tail pass, which
/// brings what came late and mirrors nothing.
pub fn kind(state: &MailboxState, migration: &Migration, now: DateTime<Utc>) -> PassKind {
    if state.cut_over.is_some() || state.complete.is_some() {
        PassKind::Tail
    } else if state.seeded.is_none() {
        PassKind::Seed
    } else if is_cutover_due(migration, now) {
        PassKind::Final
    } else {
        PassKind::Delta
    }
}

/// What comes next, and when. `name` is what the jitter hangs on.
pub fn next(
    state: &MailboxState,
    migration: &Migration,
    name: &str,
    pace: Pace,
    now: DateTime<Utc>,
) -> Next {
    let phase = phase(state, migration, now);
    if matches!(phase, Phase::Complete | Phase::Suspended | Phase::Blocked) {
        return Next { phase, kind: None, at: None };
    }
    let kind = kind(state, migration, now);
    let scheduled = || next_due(&migration.sync, name, state.last_began);
    let due = if pace.unfinished || state.failures_in_a_row > 0 {
        Some(now)
    } else {
        match kind {
            PassKind::Seed => Some(now),
            // The schedule, or the cutover if that comes first.
            PassKind::Delta => {
                scheduled().into_iter().chain(migration.cutover.as_ref().map(|c| c.at)).min()
            }
            PassKind::Final => Some(match state.last_began {
                Some(began) if pace.finals >= FINALS_AT_ONCE => began + FINAL_PAUSE,
                _ => now,
            }),
            PassKind::Tail => tail_due(state, migration, scheduled()),
        }
    };
    let at = due.map(|due| due.max(now).max(pace.not_before.unwrap_or(now)));
    let windows_hold = windows_hold(state, migration, now);
    let at = if windows_hold { at.and_then(|at| next_window(&migration.sync, at)) } else { at };
    // … but a window that opens only after the cutover must not hold the cutover up.
    let at = match (&migration.cutover, state.cut_over) {
        (Some(cutover), None) if windows_hold => {
            let earliest = cutover.at.max(pace.not_before.unwrap_or(now));
            Some(at.map_or(earliest, |at| at.min(earliest)))
        }
        _ => at,
    };
    Next { phase, kind: Some(kind), at }
}

/// The state after a pass of `kind` that ran to its end.
pub fn after_success(
    state: &MailboxState,
    migration: &Migration,
    kind: PassKind,
    report: &Report,
) -> MailboxState {
    let (began, ended) = (report.record.began, report.record.ended);
    let mut next =
        MailboxState { blocked: None, failures_in_a_row: 0, lost: None, ..state.clone() };
    match kind {
        PassKind::Seed => {
            next.seeded.get_or_insert(ended);
        }
        PassKind::Delta => {}
        // Only a pass that looked after the cutover's moment proves that nothing is left, and
        // only while the operator has not taken the cutover back.
        PassKind::Final if report.quiet && is_cutover_due(migration, began) => {
            next.cut_over.get_or_insert(ended);
        }
        PassKind::Final => {}
        PassKind::Tail => {
            let over = tail_ends(state, migration).is_some_and(|end| began >= end);
            if over && report.quiet {
                next.complete.get_or_insert(ended);
            }
        }
    }
    next
}

/// True if the mailbox may have been cut over, and the ledger that knew was damaged. Until an
/// operator says, nothing is done: a pass as before the cutover would bring back what the
/// destination's users have deleted since.
pub fn is_in_doubt(state: &MailboxState, migration: &Migration) -> bool {
    let is_known = state.cut_over.is_some() || state.complete.is_some();
    let due = |lost| migration.cutover.as_ref().is_some_and(|cutover| cutover.at <= lost);
    !is_known && state.lost.is_some_and(due)
}

/// When the tail is over; `None` while not cut over, and while the definition has no `[cutover]`
/// any more: how long to drain is then not known, so draining goes on.
pub fn tail_ends(state: &MailboxState, migration: &Migration) -> Option<DateTime<Utc>> {
    let tail = TimeDelta::from_std(migration.cutover.as_ref()?.tail).ok()?;
    state.cut_over?.checked_add_signed(tail)
}

/// Do the windows hold now? The operator named the hour of the cutover: it is stronger, and so is
/// the rest of the seed that a late cutover finds undone.
pub fn windows_hold(state: &MailboxState, migration: &Migration, now: DateTime<Utc>) -> bool {
    state.cut_over.is_some() || !is_cutover_due(migration, now)
}

fn is_cutover_due(migration: &Migration, now: DateTime<Utc>) -> bool {
    migration.cutover.as_ref().is_some_and(|cutover| cutover.at <= now)
}

/// By the schedule, but at least four times during the tail, and once when it is over.
fn tail_due(
    state: &MailboxState,
    migration: &Migration,
    scheduled: Option<DateTime<Utc>>,
) -> Option<DateTime<Utc>> {
    let last = state.last_began.or(state.cut_over)?;
    let quarter = migration
        .cutover
        .as_ref()
        .and_then(|cutover| TimeDelta::from_std((cutover.tail / 4).max(SHORTEST_TAIL_STEP)).ok())
        .and_then(|quarter| last.checked_add_signed(quarter));
    let end = tail_ends(state, migration).filter(|end| *end > last);
    [scheduled, quarter, end].into_iter().flatten().min()
}

#[cfg(test)]
#[path = "phase_tests.rs"]
mod tests;
