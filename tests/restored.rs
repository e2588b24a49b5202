//! A ledger that was put back from an older copy, and what a pass that died left in doubt: drover
//! goes on from what both sides hold, and later changes are carried as if nothing had happened.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use drover::model::PassKind;
use drover::sync::{self, Context, Progress};
use support::mail::Mail;
use support::proxy::{What, When};
use support::{Options, World, note, subjects};
use tokio_util::sync::CancellationToken;

/// A backup of the ledger is made; drover goes on.
async fn back_up(world: &mut World) {
    world.close_ledger().await;
    world.copy_ledger();
    world.open_ledger().await;
}

fn nameless(body: &str) -> Mail {
    let mut mail = note("x");
    mail.bytes = format!("X-Nothing: here\r\n\r\n{body}\r\n").into_bytes();
    mail
}

#[track_caller]
fn assert_same(world: &World) {
    world.assert_same_but(&Options::any_order());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_moved_since_the_backup_is_known_where_it_is_now() {
    let mut world = World::mirroring().await;
    let mut here = world.at_source();
    here.create("Box");
    here.append_many("INBOX", &[note("a"), note("b"), note("c")]);
    world.seed().await;
    back_up(&mut world).await;
    let uids = here.uids("INBOX");
    here.uid_move("INBOX", &uids[1..2], "Box");
    world.delta().await;

    world.restore_ledger().await;
    let report = world.delta().await;
    assert_eq!((report.record.accounts.copied, report.record.moves), (0, 0));
    assert_same(&world);
    let uids = here.uids("Box");
    here.store("Box", &uids, "+FLAGS (\\Flagged $Later)");
    world.delta().await;
    assert_same(&world);
    here.uid_move("Box", &uids, "INBOX");
    world.delta().await;
    assert_same(&world);
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_moved_and_moved_back_since_the_backup_is_known() {
    let mut world = World::mirroring().await;
    let mut here = world.at_source();
    here.create("Box");
    here.append_many("INBOX", &[note("a"), note("b"), note("c")]);
    world.seed().await;
    back_up(&mut world).await;
    let uids = here.uids("INBOX");
    here.uid_move("INBOX", &uids[1..2], "Box");
    world.delta().await;
    let uids = here.uids("Box");
    here.uid_move("Box", &uids, "INBOX");
    world.delta().await;

    world.restore_ledger().await;
    world.delta().await;
    assert_same(&world);
    let uids = here.uids("INBOX");
    here.store("INBOX", &uids, "+FLAGS (\\Flagged)");
    world.delta().await;
    assert_same(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_the_user_deleted_before_the_backup_stays_deleted_though_it_is_moved() {
    let mut world = World::mirroring().await;
    let (mut here, mut there) = (world.at_source(), world.at_destination());
    here.create("Box");
    here.append_many("INBOX", &[note("a"), note("b")]);
    world.seed().await;
    let copies = there.uids("INBOX");
    there.expunge_uids("INBOX", &copies[1..]);
    back_up(&mut world).await;
    let uids = here.uids("INBOX");
    here.uid_move("INBOX", &uids[1..], "Box");
    here.append_many("Box", &[note("c")]);
    world.delta().await;
    world.restore_ledger().await;
    world.delta().await;
    assert_eq!(subjects(&mut there, "INBOX"), ["a"]);
    assert_eq!(subjects(&mut there, "Box"), ["c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_changed_while_a_source_folder_got_other_ids_is_carried_at_once() {
    let world = World::new().await;
    let mut here = world.at_source();
    here.create("Box");
    let mails = [note("a"), note("b")];
    here.append_many("INBOX", &[note("c")]);
    here.append_many("Box", &mails);
    world.seed().await;
    here.delete_folder("Box");
    let mut here = world.at_source();
    here.create("Box");
    here.append_many("Box", &mails);
    let uids = here.uids("Box");
    here.store("Box", &uids[..1], "+FLAGS (\\Flagged)");
    world.delta().await;
    assert_same(&world);
}

/// Seeds, changes flags at the source, lets the delta die at its `step`-th commit, and takes the
/// change back. Answers whether the delta was through.
async fn dies_while_flags_are_carried(
    world: &mut World,
    step: u64,
    change: &str,
    back: &str,
) -> bool {
    let user = format!("user{step}{}", change.len());
    world.mailbox.source.user.clone_from(&user);
    world.mailbox.destination.user.clone_from(&user);
    let mut here = world.source.connect(&user);
    let mut first = note("a");
    first.flags = "\\Seen".into();
    here.append_many("INBOX", &[first, note("b")]);
    world.seed().await;
    let uids = here.uids("INBOX");
    here.store("INBOX", &uids[..1], change);
    world.context().ledger.fail_after(step);
    let whole = world.try_pass(PassKind::Delta).await.is_ok();
    world.close_ledger().await;
    world.open_ledger().await;
    here.store("INBOX", &uids[..1], back);
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_stored_by_a_pass_that_died_is_taken_back_when_the_source_takes_it_back() {
    let mut world = World::new().await;
    let changes =
        [("+FLAGS (\\Flagged)", "-FLAGS (\\Flagged)"), ("-FLAGS (\\Seen)", "+FLAGS (\\Seen)")];
    for (change, back) in changes {
        for step in 0.. {
            assert!(step < 20, "a small delta takes fewer commits");
            let whole = dies_while_flags_are_carried(&mut world, step, change, back).await;
            world.delta().await;
            let mut there = world.destination.connect(&world.mailbox.destination.user);
            let flags = there.messages("INBOX")[0].flags.clone();
            assert_eq!(flags, ["\\seen".to_owned()].into(), "{change}, died at {step}");
            if whole {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_4_what_a_user_flags_after_a_pass_died_stays_as_they_want_it() {
    let mut world = World::new().await;
    for step in 0.. {
        assert!(step < 20, "a small delta takes fewer commits");
        let (change, back) = ("+FLAGS (\\Flagged)", "-FLAGS (\\Flagged)");
        let whole = dies_while_flags_are_carried(&mut world, step, change, back).await;
        let mut there = world.destination.connect(&world.mailbox.destination.user);
        let uids = there.uids("INBOX");
        there.store("INBOX", &uids[..1], "+FLAGS ($Mine)");
        there.store("INBOX", &uids[..1], "-FLAGS (\\Seen)");
        world.delta().await;
        let flags = there.messages("INBOX")[0].flags.clone();
        assert_eq!(flags, ["$mine".to_owned()].into(), "died at {step}");
        if whole {
            break;
        }
    }
}

/// Adoption adds the flags the copy lacks; that too can be cut short.
#[tokio::test(flavor = "multi_thread")]
async fn a_flag_added_to_adopted_mail_by_a_pass_that_died_is_taken_back_too() {
    let mut world = World::new().await;
    for step in 0.. {
        assert!(step < 20, "a small seed takes fewer commits");
        let user = format!("adopter{step}");
        world.mailbox.source.user.clone_from(&user);
        world.mailbox.destination.user.clone_from(&user);
        let (mut here, mut there) = (world.source.connect(&user), world.destination.connect(&user));
        let mut flagged = note("a");
        flagged.flags = "\\Flagged".into();
        here.append_many("INBOX", &[flagged]);
        there.append_many("INBOX", &[note("a")]);
        world.context().ledger.fail_after(step);
        let whole = world.try_pass(PassKind::Seed).await.is_ok();
        world.close_ledger().await;
        world.open_ledger().await;
        let uids = here.uids("INBOX");
        here.store("INBOX", &uids, "-FLAGS (\\Flagged)");
        world.seed().await;
        let messages = there.messages("INBOX");
        assert_eq!(messages.len(), 1);
        assert!(messages[0].flags.is_empty(), "died at {step}: {messages:?}");
        if whole {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_2_nameless_twins_that_landed_unanswered_and_moved_on_are_not_doubled() {
    let mut world = World::mirroring().await;
    let tap = world.tap_destination();
    let mut here = world.at_source();
    here.create("Box");
    let mails = [nameless("same"), nameless("same"), nameless("same"), nameless("else"), note("n")];
    here.append_many("INBOX", &mails);
    tap.cut_answers_of_appends(true);
    world.try_pass(PassKind::Seed).await.expect_err("the connection breaks");
    assert_eq!(world.at_destination().uids("INBOX").len(), 5, "all of it landed");
    world.close_ledger().await;
    world.open_ledger().await;
    tap.cut_answers_of_appends(false);
    let uids = here.uids("INBOX");
    here.uid_move("INBOX", &uids[1..4], "Box");
    let report = world.delta().await;
    assert_eq!(report.record.accounts.copied, 0, "{:?}", report.record.accounts);
    assert_same(&world);
    // They are drover's own: what happens to them later is carried.
    let uids = here.uids("Box");
    here.store("Box", &uids, "+FLAGS (\\Flagged)");
    here.expunge_uids("Box", &uids[..1]);
    world.delta().await;
    assert_same(&world);
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn law_2_what_lands_long_after_the_connection_broke_is_waited_for() {
    let mut world = World::mirroring().await;
    let tap = world.tap_destination();
    let mails: Vec<Mail> = (0..30).map(|n| note(&format!("late {n}"))).collect();
    world.at_source().append_many("INBOX", &mails);
    let late = Duration::from_millis(1_500);
    tap.set(When::verb("APPEND").in_literal(), What::Late(late));
    world.try_pass(PassKind::Seed).await.expect_err("the connection breaks");
    let began = Instant::now();
    assert_eq!(world.at_destination().uids("INBOX").len(), 0, "nothing has landed yet");

    let context = Context { settle_grace: 2 * late, ..world.context().clone() };
    let (mailbox, stop) = (Arc::new(world.mailbox.clone()), CancellationToken::new());
    let pass = sync::run(&context, &mailbox, PassKind::Seed, &Progress::default(), &stop).await;
    pass.expect("the pass");
    tokio::time::sleep((late + late / 2).saturating_sub(began.elapsed())).await;
    assert_same(&world);
}

#[tokio::test(flavor = "multi_thread")]
async fn law_2_what_lands_late_of_a_batch_that_was_long_on_its_way_is_waited_for() {
    let mut world = World::mirroring().await;
    let tap = world.tap_destination();
    world.at_source().append_many("INBOX", &[note("slow"), note("slower")]);
    let (late, grace) = (Duration::from_millis(1_200), Duration::from_millis(3_000));
    // When it breaks, the batch was noted longer ago than anything is waited for.
    tap.set(When::verb("APPEND").after_line(), What::Delay(grace + late));
    tap.set(When::verb("APPEND").in_literal(), What::Late(late));
    world.context_mut().settle_grace = grace;
    world.try_pass(PassKind::Seed).await.expect_err("the connection breaks");
    assert_eq!(world.at_destination().uids("INBOX").len(), 0, "nothing has landed yet");
    world.seed().await;
    tokio::time::sleep(2 * late).await;
    assert_same(&world);
}
