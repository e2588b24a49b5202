//! A lost ledger, an old one, a second drover: adoption instead of duplicates.

mod support;

use support::mail::{self, FOLDERS};
use support::{World, note, subjects};

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
