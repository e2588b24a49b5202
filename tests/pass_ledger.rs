//! A lost ledger, an old one, a second drover: adoption instead of duplicates.

mod support;

use std::time::Duration;

use drover::model::PassKind;
use support::mail::{self, FOLDERS, Mail};
use support::proxy::{What, When};
use support::{Options, Proxy, World, note, subjects};

#[tokio::test(flavor = "multi_thread")]
async fn with_a_lost_ledger_everything_is_adopted_and_nothing_doubled() {
    let mut world = World::new().await;
    mail::fill(&mut world.at_source(), 400, &FOLDERS[..10], 11);
    world.seed().await;
    world.lose_ledger().await;
    let report = world.seed().await;
    assert_eq!(report.record.accounts.copied, 0, "{:?}", report.record.accounts);
    assert_eq!(report.record.accounts.adopted, 400);
    world.assert_same();
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_ledger_changes_are_carried_as_before() {
    let mut world = World::new().await;
    let mut here = world.at_source();
    mail::fill(&mut here, 50, &["INBOX", "Box"], 12);
    world.seed().await;
    world.lose_ledger().await;
    here.append_many("INBOX", &[note("new")]);
    let uids = here.uids("Box");
    here.store("Box", &uids[..2], "+FLAGS ($After)");
    world.seed().await;
    world.assert_same();
    here.store("Box", &uids[..2], "-FLAGS ($After)");
    here.uid_move("Box", &uids[3..5], "INBOX");
    let report = world.delta().await;
    assert_eq!((report.record.accounts.copied, report.record.moves), (0, 2));
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_and_reopened_ledger_knows_everything() {
    let mut world = World::new().await;
    mail::fill(&mut world.at_source(), 100, &FOLDERS[..5], 13);
    world.seed().await;
    let mut there = world.at_destination();
    let uids = there.uids("INBOX");
    there.store("INBOX", &uids[..1], "+FLAGS (\\Deleted)");
    there.expunge_uids("INBOX", &uids[..1]);
    let left = there.uids("INBOX").len();
    world.close_ledger().await;
    world.open_ledger().await;
    let report = world.delta().await;
    assert!(report.quiet);
    assert_eq!(there.uids("INBOX").len(), left, "the deleted one is not brought back");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_without_names_and_twins_are_told_apart_by_content() {
    let mut world = World::new().await;
    let nameless = |body: &str| {
        let mut mail = note("x");
        mail.bytes = format!("X-Nothing: here\r\n\r\n{body}\r\n").into_bytes();
        mail
    };
    // Equal headers, equal lengths, different content, and genuine twins.
    let mails = [nameless("aaaa"), nameless("bbbb"), nameless("aaaa"), nameless("cccc")];
    world.at_source().append_many("INBOX", &mails);
    world.seed().await;
    world.lose_ledger().await;
    let mut there = world.at_destination();
    let uids = there.uids("INBOX");
    there.store("INBOX", &uids[1..2], "+FLAGS (\\Deleted)");
    there.expunge_uids("INBOX", &uids[1..2]);
    let report = world.seed().await;
    assert_eq!(report.record.accounts.adopted, 3);
    assert_eq!(report.record.accounts.copied, 1, "without a record the missing one is copied");
    let mut bodies: Vec<Vec<u8>> = there.messages("INBOX").into_iter().map(|m| m.body).collect();
    bodies.sort();
    let mut wanted: Vec<Vec<u8>> = mails.iter().map(|m| m.bytes.clone()).collect();
    wanted.sort();
    assert_eq!(bodies, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_that_reaches_both_sides_by_itself_is_not_doubled() {
    let world = World::new().await;
    world.at_source().append_many("INBOX", &[note("old")]);
    world.seed().await;
    // Dual delivery: the destination has it first, and drover passes in between.
    world.at_destination().append_many("INBOX", &[note("dual")]);
    world.at_source().append_many("INBOX", &[note("other")]);
    world.delta().await;
    world.at_source().append_many("INBOX", &[note("dual")]);
    let report = world.delta().await;
    assert_eq!((report.record.accounts.copied, report.record.accounts.adopted), (0, 1));
    assert_eq!(subjects(&mut world.at_destination(), "INBOX"), ["old", "dual", "other"]);
}

/// Mail for two folders, some of it with flags, twins among it.
fn some_mail(world: &World) {
    let mut here = world.at_source();
    let flagged = |text: &str, flags: &str| {
        let mut mail = note(text);
        mail.flags = flags.into();
        mail
    };
    here.create("Box");
    here.append_many("INBOX", &[note("a"), flagged("b", "\\Flagged $Work"), note("c"), note("d")]);
    here.append_many("INBOX", &[note("twin"), note("twin"), flagged("e", "\\Seen"), note("f")]);
    here.append_many("Box", &[note("g"), flagged("h", "$Work"), note("i")]);
}

/// A mirroring world whose seed landed, was never answered for, and died.
async fn unanswered_seed() -> (World, Proxy) {
    let mut world = World::mirroring().await;
    let tap = world.tap_destination();
    some_mail(&world);
    tap.cut_answers_of_appends(true);
    world.try_pass(PassKind::Seed).await.expect_err("the connection breaks");
    world.close_ledger().await;
    world.open_ledger().await;
    tap.cut_answers_of_appends(false);
    (world, tap)
}

/// Changes of flags, and new mail.
fn small_changes(world: &World) {
    let mut here = world.at_source();
    let (inbox, box_) = (here.uids("INBOX"), here.uids("Box"));
    here.store("INBOX", &inbox[1..2], "-FLAGS (\\Flagged)");
    here.store("INBOX", &inbox[2..3], "+FLAGS (\\Seen $Later)");
    here.store("Box", &box_[1..2], "-FLAGS ($Work)");
    here.append_many("Box", &[note("new one"), note("new two")]);
}

/// A move, and deletes.
fn large_changes(world: &World) {
    let mut here = world.at_source();
    let (inbox, box_) = (here.uids("INBOX"), here.uids("Box"));
    here.uid_move("INBOX", &inbox[3..4], "Box");
    here.expunge_uids("INBOX", &inbox[7..8]);
    here.expunge_uids("Box", &box_[..1]);
}

/// Changes that only a ledger that knows each message's copy, its flags as carried, and that
/// drover wrote it, can carry.
async fn assert_known(world: &World) {
    world.assert_same_but(&Options::any_order());
    let mut here = world.at_source();
    for folder in ["INBOX", "Box"] {
        let uids = here.uids(folder);
        here.store(folder, &uids, "+FLAGS ($Known)");
        here.store(folder, &uids, "-FLAGS (\\Seen $Later)");
        // In the inbox the second is one of the twins.
        here.expunge_uids(folder, &[uids[1], uids[uids.len() - 3]]);
    }
    let report = world.delta().await;
    assert_eq!(report.record.accounts.copied + report.record.accounts.adopted, 0);
    world.assert_same_but(&Options::any_order());
}

#[tokio::test(flavor = "multi_thread")]
async fn law_2_a_seed_that_dies_at_any_step_is_completed_by_the_next_pass() {
    for step in 0.. {
        assert!(step < 60, "a small seed takes fewer commits");
        let mut world = World::mirroring().await;
        some_mail(&world);
        world.context().ledger.fail_after(step);
        let whole = world.try_pass(PassKind::Seed).await.is_ok();
        world.close_ledger().await;
        world.open_ledger().await;
        println!("died at step {step}, or was through: {whole}");
        small_changes(&world);
        world.delta().await;
        large_changes(&world);
        world.delta().await;
        assert_known(&world).await;
        if whole {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_2_a_delta_that_dies_at_any_step_is_completed_by_the_next_pass() {
    for step in 0.. {
        assert!(step < 60, "a small delta takes fewer commits");
        let mut world = World::mirroring().await;
        some_mail(&world);
        world.seed().await;
        small_changes(&world);
        large_changes(&world);
        world.context().ledger.fail_after(step);
        let whole = world.try_pass(PassKind::Delta).await.is_ok();
        world.close_ledger().await;
        world.open_ledger().await;
        println!("died at step {step}, or was through: {whole}");
        world.delta().await;
        assert_known(&world).await;
        if whole {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_2_a_batch_that_landed_and_was_never_answered_is_found_again() {
    let mut world = World::mirroring().await;
    let tap = world.tap_destination();
    some_mail(&world);
    tap.cut_answers_of_appends(true);
    world.try_pass(PassKind::Seed).await.expect_err("the connection breaks");
    assert!(world.at_destination().uids("INBOX").len() > 1, "something landed");
    world.close_ledger().await;
    world.copy_ledger();
    world.open_ledger().await;
    tap.cut_answers_of_appends(false);
    small_changes(&world);
    world.delta().await;
    large_changes(&world);
    world.delta().await;
    assert_known(&world).await;

    // The same from the ledger as it was then: a backup that was put back.
    world.at_source().append_many("INBOX", &[note("after the backup")]);
    world.delta().await;
    world.restore_ledger().await;
    let report = world.delta().await;
    assert_eq!(report.record.accounts.copied, 0, "{:?}", report.record.accounts);
    world.assert_same_but(&Options::any_order());
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn law_2_a_message_that_was_found_again_claims_no_copy_of_its_twin() {
    let mut world = World::new().await;
    let tap = world.tap_destination();
    world.at_source().append_many("INBOX", &[note("twin")]);
    // Noted, and nothing lands.
    tap.set(When::verb("APPEND").after_line(), What::Cut);
    world.try_pass(PassKind::Seed).await.expect_err("the connection breaks");
    // Noted once more, and it lands.
    tap.cut_answers_of_appends(true);
    world.try_pass(PassKind::Seed).await.expect_err("the connection breaks");
    // One note finds it. Its twin comes and lands, and no pass came to its end.
    world.at_source().append_many("INBOX", &[note("twin")]);
    world.try_pass(PassKind::Seed).await.expect_err("the connection breaks");
    tap.clear();
    world.seed().await;
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn law_4_flags_changed_on_copies_that_were_never_answered_for_are_kept() {
    let (world, _tap) = unanswered_seed().await;
    let mut there = world.at_destination();
    let uids = there.uids("INBOX");
    assert_eq!(uids.len(), 8, "all of it landed");
    there.store("INBOX", &uids, "+FLAGS ($Mine)");
    there.store("INBOX", &uids[1..2], "-FLAGS (\\Flagged)");
    world.delta().await;
    let messages = there.messages("INBOX");
    assert!(messages.iter().all(|m| m.flags.contains("$mine")), "{messages:?}");
    assert!(!messages[1].flags.contains("\\flagged"), "{messages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn law_2_a_ledger_put_back_from_an_older_copy_doubles_nothing() {
    let mut world = World::mirroring().await;
    some_mail(&world);
    world.seed().await;
    world.close_ledger().await;
    world.copy_ledger();
    world.open_ledger().await;
    small_changes(&world);
    large_changes(&world);
    world.delta().await;
    world.restore_ledger().await;
    let report = world.delta().await;
    assert_eq!(report.record.accounts.copied, 0, "{:?}", report.record.accounts);
    world.assert_same_but(&Options::any_order());
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn law_2_what_landed_unanswered_and_then_left_its_folder_is_not_doubled() {
    let (world, _tap) = unanswered_seed().await;
    large_changes(&world);
    world.delta().await;
    world.assert_same_but(&Options::any_order());
}

#[tokio::test(flavor = "multi_thread")]
async fn law_2_what_landed_unanswered_in_a_folder_that_is_then_renamed_is_not_doubled() {
    let mut world = World::mirroring().await;
    let tap = world.tap_destination();
    let mut here = world.at_source();
    here.create("Box");
    here.append_many("Box", &[note("known")]);
    world.seed().await;
    // Without a name of its own a message is settled by its content, when it is met again.
    let mut nameless = note("nameless");
    nameless.bytes = b"Subject: something\r\n\r\nsomething\r\n".to_vec();
    here.append_many("Box", &[note("named"), nameless]);
    tap.cut_answers_of_appends(true);
    world.try_pass(PassKind::Delta).await.expect_err("the connection breaks");
    assert_eq!(world.at_destination().uids("Box").len(), 3, "it landed");
    tap.cut_answers_of_appends(false);
    world.at_source().rename_folder("Box", "Renamed");
    world.delta().await;
    world.assert_same();
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn nameless_copies_that_were_never_answered_for_go_with_their_source() {
    let mut world = World::mirroring().await;
    let tap = world.tap_destination();
    let nameless = |text: &str| Mail {
        bytes: format!("Subject: something\r\n\r\n{text}\r\n").into_bytes(),
        ..note("nameless")
    };
    let twin = note("a twin");
    let mail = [nameless("aaaa"), nameless("bbbb"), twin.clone(), twin, note("named")];
    world.at_source().append_many("INBOX", &mail);
    tap.cut_answers_of_appends(true);
    world.try_pass(PassKind::Seed).await.expect_err("the connection breaks");
    assert_eq!(world.at_destination().uids("INBOX").len(), 5, "they landed");
    tap.cut_answers_of_appends(false);
    let mut here = world.at_source();
    let uids = here.uids("INBOX");
    here.expunge_uids("INBOX", &[uids[1], uids[2]]);
    world.delta().await;
    world.assert_same_but(&Options::any_order());
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_the_destination_had_first_is_adopted_in_a_folder_that_is_renamed() {
    let world = World::new().await;
    let mut here = world.at_source();
    here.create("Box");
    here.append_many("Box", &[note("known")]);
    world.seed().await;
    world.at_destination().append_many("Box", &[note("both")]);
    here.append_many("Box", &[note("both")]);
    world.at_source().rename_folder("Box", "Renamed");
    let report = world.delta().await;
    assert_eq!((report.record.accounts.copied, report.record.accounts.adopted), (0, 1));
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn law_2_what_landed_unanswered_is_found_though_both_sides_went_on() {
    let mut world = World::mirroring().await;
    let tap = world.tap_destination();
    let mut here = world.at_source();
    here.create("Box");
    here.append_many("Box", &["a", "b", "c"].map(note));
    world.seed().await;
    here.append_many("Box", &[note("stays"), note("moves on")]);
    tap.cut_answers_of_appends(true);
    world.try_pass(PassKind::Delta).await.expect_err("the connection breaks");
    tap.cut_answers_of_appends(false);
    // The destination's folder gets other ids, and the message another folder.
    let there = world.at_destination().messages("Box");
    let landed = there.into_iter().rev();
    let landed: Vec<Mail> = landed
        .map(|m| Mail { bytes: m.body, flags: String::new(), date: m.date.fixed_offset() })
        .collect();
    assert_eq!(landed.len(), 5, "it landed");
    world.at_destination().delete_folder("Box");
    // UIDVALIDITY is made of the second.
    std::thread::sleep(Duration::from_millis(1100));
    world.at_destination().create("Box");
    world.at_destination().append_many("Box", &landed);
    let uids = here.uids("Box");
    here.uid_move("Box", &uids[4..], "INBOX");
    let report = world.delta().await;
    assert_eq!(report.record.accounts.copied, 0, "{:?}", report.record.accounts);
    world.assert_same_but(&Options::any_order());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rename_that_was_done_and_never_answered_is_known_though_the_source_renames_again() {
    let mut world = World::mirroring().await;
    let tap = world.tap_destination();
    let mut here = world.at_source();
    for folder in ["Box", "Box/Below"] {
        here.create(folder);
        here.append_many(folder, &[note(&format!("in {folder}"))]);
    }
    world.seed().await;
    here.rename_folder("Box", "First");
    tap.set(When::verb("RENAME").answered(), What::Cut);
    world.try_pass(PassKind::Delta).await.expect_err("the connection breaks");
    world.at_source().rename_folder("First", "Second");
    world.at_source().append_many("Second/Below", &[note("later")]);
    let report = world.delta().await;
    assert_eq!(report.record.accounts.copied, 1, "{:?}", report.record.accounts);
    world.assert_same();
    assert!(world.delta().await.quiet);
}
