//! A message with several labels is carried over once, wherever it goes.

use std::sync::Arc;
use std::time::Duration;

use drover::definition::MaxDelete;
use drover::model::PassKind;

use crate::destination::{empty, labels, to_gmail};
use crate::support::mail::message;
use crate::support::proxy::{What, When};
use crate::support::standin::{MailboxBuilder, Standin};
use crate::support::{World, note, subjects};
use crate::{Stage, three};

/// From one Gmail to another.
async fn between(from: &Standin, to: &Standin) -> World {
    let mut world = to_gmail(to).await;
    let endpoint = Arc::make_mut(&mut world.mailbox.source.endpoint);
    (endpoint.host, endpoint.port) = ("127.0.0.1".into(), from.port());
    world.mailbox.carry.deletes = true;
    world.mailbox.carry.max_delete = MaxDelete::Percent(100.0);
    world
}

fn filled(fill: impl FnOnce(MailboxBuilder) -> MailboxBuilder + 'static) -> Standin {
    Standin::gmail().user("anna", |mailbox| fill(mailbox.password("pw"))).start()
}

/// Bytes that the source gave and the destination took.
fn spent(from: &Standin, to: &Standin) -> (u64, u64) {
    (from.spent("anna")[0], to.spent("anna")[1])
}

/// Mail with some of these labels each, in all combinations.
fn mixed(mailbox: MailboxBuilder, labels: &'static [&str]) -> MailboxBuilder {
    (0..120).fold(mailbox, |mailbox, n| {
        let of = labels.iter().enumerate().filter(|(bit, _)| n >> bit & 1 == 1);
        let of: Vec<&str> = of.map(|(_, label)| *label).collect();
        let mut mail = note(&format!("number {n}"));
        mail.bytes.extend(b"and so on\r\n".repeat(200));
        mailbox.message(&of, &mail)
    })
}

#[tokio::test]
async fn a_message_is_read_once_and_written_once_however_many_labels_it_has() {
    let (one, many) = (filled(|m| mixed(m, &[])), filled(|m| mixed(m, &["INBOX", "A", "B", "C"])));
    let (to_one, to_many) = (empty(), empty());
    between(&one, &to_one).await.seed().await;
    let report = between(&many, &to_many).await.seed().await;
    assert_eq!(to_many.stored("anna").len(), 120);
    assert!(report.record.accounts.copied > 240, "{:?}", report.record);
    let ((read_one, written_one), (read, written)) = (spent(&one, &to_one), spent(&many, &to_many));
    assert_eq!(written, written_one);
    // The labels themselves are read too.
    assert!(read < read_one + 120 * 40, "{read} bytes, and {read_one} without labels");
}

#[tokio::test]
async fn a_label_that_comes_later_costs_no_bytes() {
    let from = filled(|mailbox| mailbox.message(&["INBOX"], &message(1, 7)).folder("New"));
    let to = empty();
    let world = between(&from, &to).await;
    world.seed().await;
    let (read, written) = spent(&from, &to);
    let mut user = from.connect("anna");
    let uids = user.uids("INBOX");
    user.store("INBOX", &uids, "+X-GM-LABELS (New)");
    world.delta().await;
    assert_eq!(labels(&to), [["INBOX", "New"]]);
    let (read_then, written_then) = spent(&from, &to);
    assert_eq!(written_then, written);
    assert!(read_then - read < read / 4, "only what names it was read");
    assert!(world.delta().await.quiet);
}

#[tokio::test]
async fn each_folder_keeps_the_order_of_the_source() {
    let stage = Stage::new(|mailbox| {
        (0..40).fold(mailbox, |mailbox, n| {
            let labels: &[&str] = if n % 3 == 0 { &["INBOX", "Work"] } else { &["Work"] };
            mailbox.message(labels, &note(&format!("number {n}")))
        })
    })
    .await;
    stage.world.seed().await;
    let wanted: Vec<String> = (0..40).map(|n| format!("number {n}")).collect();
    assert_eq!(subjects(&mut stage.world.at_destination(), "Work"), wanted);
}

#[tokio::test]
async fn a_label_that_comes_later_brings_the_flags_of_both_sides() {
    let stage = Stage::new(|mailbox| mailbox.message(&["INBOX"], &note("one")).folder("New")).await;
    stage.world.seed().await;
    let mut there = stage.world.at_destination();
    let uids = there.uids("INBOX");
    there.store("INBOX", &uids, "+FLAGS (\\Flagged)");
    let mut user = stage.gmail.connect("anna");
    let uids = user.uids("INBOX");
    user.store("INBOX", &uids, "+FLAGS (\\Seen)");
    user.store("INBOX", &uids, "+X-GM-LABELS (New)");
    stage.world.delta().await;
    // What is copied there is what its user made of it, and what changed at the source.
    let flags = &stage.world.at_destination().messages("New")[0].flags;
    assert!(flags.contains("\\flagged") && flags.contains("\\seen"), "{flags:?}");
    assert!(stage.world.delta().await.quiet);
}

#[tokio::test]
async fn what_the_destination_does_not_copy_is_carried_over() {
    let mut stage = Stage::new(three).await;
    let tap = stage.world.tap_destination();
    tap.always(When::verb("UID COPY"), What::answer("NO [CANNOT] not today"));
    let report = stage.world.seed().await;
    assert_eq!(report.record.accounts.copied, 8);
    assert!(stage.world.verify().await.is_equal());
}

#[tokio::test]
async fn a_first_copy_that_its_user_took_away_is_not_what_another_label_goes_by() {
    let stage = Stage::new(|mailbox| mailbox.message(&["INBOX"], &note("one")).folder("New")).await;
    stage.world.seed().await;
    let mut there = stage.world.at_destination();
    let uids = there.uids("INBOX");
    there.store("INBOX", &uids, "+FLAGS (\\Deleted)");
    there.expunge_uids("INBOX", &uids);
    let mut user = stage.gmail.connect("anna");
    let uids = user.uids("INBOX");
    user.store("INBOX", &uids, "+X-GM-LABELS (New)");
    stage.world.delta().await;
    stage.assert_there(&[("New", &["one"])]);
}

#[tokio::test]
async fn a_pass_that_dies_at_any_commit_leaves_nothing_doubled() {
    for died_after in 0.. {
        let mut stage = Stage::new(three).await;
        stage.world.context().ledger.fail_after(died_after);
        let outcome = stage.world.try_pass(PassKind::Seed).await;
        stage.world.close_ledger().await;
        stage.world.open_ledger().await;
        stage.settle(PassKind::Seed).await;
        let compared = stage.world.verify().await;
        assert!(compared.is_equal(), "died after {died_after} commits: {compared:?}");
        if outcome.is_ok() {
            assert!(died_after > 5, "it never died");
            break;
        }
    }
}

#[tokio::test]
async fn a_copy_that_was_made_and_never_answered_is_not_made_again() {
    let mut stage = Stage::new(three).await;
    let tap = stage.world.tap_destination();
    tap.set(When::verb("UID COPY").answered(), What::Cut);
    stage.world.try_pass(PassKind::Seed).await.expect_err("the connection was cut");
    stage.settle(PassKind::Seed).await;
    let compared = stage.world.verify().await;
    assert!(compared.is_equal(), "{compared:?}");
}

#[tokio::test]
async fn a_connection_that_only_waits_for_another_is_given_back() {
    let mut stage = Stage::new(|mailbox| {
        (0..20)
            .fold(mailbox, |mailbox, n| {
                let mut mail = note(&format!("number {n}"));
                mail.bytes.extend(b"and so on\r\n".repeat(100));
                mailbox.message(&["INBOX", "Work"], &mail)
            })
            .message(&["Work"], &note("alone"))
    })
    .await;
    // Long enough that waiting for it is not worth a connection.
    stage.world.mailbox.carry.rate = Some(1_500);
    let until = async |n| {
        while stage.gmail.connections("anna") != n {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // Long before the inbox is done, which takes a quarter of a minute.
    let given_back = async {
        until(2).await;
        tokio::time::timeout(Duration::from_secs(12), until(1)).await.expect("it is given back");
    };
    let mut seed = std::pin::pin!(stage.world.seed());
    tokio::select! {
        seed = &mut seed => panic!("it was over first: {:?}", seed.record),
        () = given_back => {}
    }
    let seed = seed.await;
    assert_eq!(seed.record.accounts.copied, 41);
    assert!(stage.world.verify().await.is_equal());
}
