use chrono::TimeDelta;

use super::super::testing::{at, migration, report};
use super::*;
use crate::definition::{Cutover, Window};
use crate::ledger::Blocked;

const NOW: &str = "2026-06-01T10:00:00Z";

fn pilot(cutover: Option<&str>) -> Migration {
    let cutover =
        cutover.map(|moment| Cutover { at: at(moment), tail: Duration::from_secs(72 * 3600) });
    Migration { cutover, ..migration("pilot", &["alice"]) }
}

fn seeded() -> MailboxState {
    MailboxState {
        seeded: Some(at("2026-05-01T00:00:00Z")),
        last_began: Some(at("2026-06-01T09:50:00Z")),
        ..MailboxState::default()
    }
}

fn look(state: &MailboxState, migration: &Migration) -> (Phase, Option<PassKind>, Option<String>) {
    let next = next(state, migration, "alice", Pace::default(), at(NOW));
    (next.phase, next.kind, next.at.map(|at| at.format("%d %H:%M").to_string()))
}

#[test]
fn a_new_mailbox_is_seeded_at_once() {
    let state = MailboxState::default();
    assert_eq!(
        look(&state, &pilot(None)),
        (Phase::Pending, Some(PassKind::Seed), Some("01 10:00".into()))
    );
}

#[test]
fn a_seed_that_was_cut_short_goes_on_at_once() {
    let state = MailboxState { seeded: None, ..seeded() };
    assert_eq!(
        look(&state, &pilot(None)),
        (Phase::Seeding, Some(PassKind::Seed), Some("01 10:00".into()))
    );
}

#[test]
fn a_seeded_mailbox_follows_the_schedule() {
    assert_eq!(
        look(&seeded(), &pilot(None)),
        (Phase::Syncing, Some(PassKind::Delta), Some("01 10:05".into()))
    );
}

#[test]
fn the_cutover_comes_before_the_schedule() {
    let migration = pilot(Some("2026-06-01T10:02:00Z"));
    assert_eq!(
        look(&seeded(), &migration),
        (Phase::Syncing, Some(PassKind::Delta), Some("01 10:02".into()))
    );
    let migration = pilot(Some("2026-06-01T09:00:00Z"));
    assert_eq!(
        look(&seeded(), &migration),
        (Phase::Finalizing, Some(PassKind::Final), Some("01 10:00".into()))
    );
}

#[test]
fn a_cutover_in_the_past_seeds_first() {
    let migration = pilot(Some("2026-05-01T00:00:00Z"));
    let fresh = MailboxState::default();
    assert_eq!(look(&fresh, &migration).1, Some(PassKind::Seed));
    let state =
        after_success(&fresh, &migration, PassKind::Seed, &report(PassKind::Seed, at(NOW), 9));
    assert_eq!(look(&state, &migration).1, Some(PassKind::Final));
}

#[test]
fn finals_repeat_until_one_is_quiet() {
    let migration = pilot(Some("2026-06-01T09:00:00Z"));
    let state =
        after_success(&seeded(), &migration, PassKind::Final, &report(PassKind::Final, at(NOW), 1));
    assert_eq!(look(&state, &migration).0, Phase::Finalizing);
    let state =
        after_success(&state, &migration, PassKind::Final, &report(PassKind::Final, at(NOW), 0));
    assert_eq!(
        (look(&state, &migration).0, state.cut_over),
        (Phase::Draining, Some(at(NOW) + TimeDelta::seconds(2)))
    );
}

#[test]
fn a_mailbox_that_is_never_quiet_pauses_between_finals() {
    let migration = pilot(Some("2026-06-01T09:00:00Z"));
    let state = MailboxState { last_began: Some(at(NOW) - TimeDelta::seconds(3)), ..seeded() };
    let due =
        |finals| next(&state, &migration, "a", Pace { finals, ..Pace::default() }, at(NOW)).at;
    assert_eq!(due(2), Some(at(NOW)));
    assert_eq!(due(3), Some(at(NOW) + TimeDelta::seconds(7)));
}

#[test]
fn a_final_that_began_before_the_cutover_proves_nothing() {
    let migration = pilot(Some("2026-06-01T10:00:01Z"));
    let state =
        after_success(&seeded(), &migration, PassKind::Final, &report(PassKind::Final, at(NOW), 0));
    assert_eq!(state.cut_over, None);
}

#[test]
fn cut_over_stays_cut_over_when_the_definition_takes_it_back() {
    let state = MailboxState { cut_over: Some(at(NOW)), ..seeded() };
    for migration in [pilot(None), pilot(Some("2027-01-01T00:00:00Z"))] {
        assert_eq!(look(&state, &migration).0, Phase::Draining);
        assert_eq!(look(&state, &migration).1, Some(PassKind::Tail));
    }
}

#[test]
fn the_tail_ends_with_a_quiet_pass_that_began_after_it() {
    let migration = pilot(Some("2026-06-01T09:00:00Z"));
    let state = MailboxState { cut_over: Some(at(NOW)), ..seeded() };
    let tail = |hours, copied| {
        let began = at(NOW) + TimeDelta::hours(hours);
        after_success(&state, &migration, PassKind::Tail, &report(PassKind::Tail, began, copied))
    };
    assert_eq!(tail(71, 0).complete, None);
    assert_eq!(tail(72, 1).complete, None);
    let done = tail(72, 0);
    assert!(done.complete.is_some());
    assert_eq!(look(&done, &migration), (Phase::Complete, None, None));
}

#[test]
fn a_tail_without_a_definition_of_its_length_goes_on() {
    let state = MailboxState { cut_over: Some(at(NOW)), ..seeded() };
    let late = report(PassKind::Tail, at("2027-06-01T10:00:00Z"), 0);
    assert_eq!(after_success(&state, &pilot(None), PassKind::Tail, &late).complete, None);
}

#[test]
fn tail_passes_come_at_least_four_times_and_at_the_end() {
    let mut migration = pilot(Some("2026-06-01T09:00:00Z"));
    migration.sync.schedule =
        crate::definition::Schedule::Every(Duration::from_secs(30 * 24 * 3600));
    let mut state = MailboxState { cut_over: Some(at(NOW)), last_began: Some(at(NOW)), ..seeded() };
    assert_eq!(look(&state, &migration).2.as_deref(), Some("02 04:00"));
    state.last_began = Some(at("2026-06-04T08:00:00Z"));
    assert_eq!(look(&state, &migration).2.as_deref(), Some("04 10:00"));
}

#[test]
fn suspended_and_blocked_mailboxes_rest() {
    let suspended = Migration { suspend: true, ..pilot(None) };
    assert_eq!(look(&seeded(), &suspended), (Phase::Suspended, None, None));
    let blocked = Blocked {
        reason: "CredentialsRefused".into(),
        message: "no".into(),
        under: "g1".into(),
        since: at(NOW),
    };
    let state = MailboxState { blocked: Some(blocked), ..seeded() };
    assert_eq!(look(&state, &pilot(None)), (Phase::Blocked, None, None));
}

#[test]
fn windows_hold_deltas_but_not_the_cutover() {
    let night = Window { days: (0..7).collect(), from: 19 * 60, to: 7 * 60 };
    let mut migration = pilot(None);
    migration.sync.windows = vec![night.clone()];
    assert_eq!(look(&seeded(), &migration).2.as_deref(), Some("01 19:00"));
    let mut migration = pilot(Some("2026-06-01T12:00:00Z"));
    migration.sync.windows = vec![night];
    assert_eq!(look(&seeded(), &migration).2.as_deref(), Some("01 12:00"));
    migration.cutover.as_mut().unwrap().at = at("2026-06-01T09:00:00Z");
    assert_eq!(look(&seeded(), &migration).2.as_deref(), Some("01 10:00"));
}

#[test]
fn a_wait_that_was_asked_for_is_obeyed_by_every_kind() {
    let pace = Pace { not_before: Some(at("2026-06-01T11:00:00Z")), ..Pace::default() };
    for (state, migration) in [
        (MailboxState::default(), pilot(None)),
        (seeded(), pilot(None)),
        (seeded(), pilot(Some("2026-06-01T09:00:00Z"))),
        (seeded(), pilot(Some("2026-06-01T10:30:00Z"))),
        (MailboxState { cut_over: Some(at("2026-05-01T00:00:00Z")), ..seeded() }, pilot(None)),
    ] {
        let due = next(&state, &migration, "a", pace, at(NOW)).at;
        assert_eq!(due, pace.not_before, "{state:?}");
    }
}

#[test]
fn what_was_cut_short_or_failed_does_not_wait_for_the_schedule() {
    let pace = Pace { unfinished: true, ..Pace::default() };
    assert_eq!(next(&seeded(), &pilot(None), "a", pace, at(NOW)).at, Some(at(NOW)));
    let state = MailboxState { failures_in_a_row: 2, ..seeded() };
    assert_eq!(look(&state, &pilot(None)).2.as_deref(), Some("01 10:00"));
}
