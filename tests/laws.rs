//! The laws of the design, each with a test that fails if the law is broken. Laws about the
//! daemon and its definitions (7, 8) and about secrets (9) and TLS (10) have theirs in
//! `daemon.rs`, `secrets.rs` and `tls.rs`.

mod support;

use drover::definition::MaxDelete;
use drover::model::PassKind;
use drover::sync::Error;
use support::mail::{self, FOLDERS};
use support::{World, note, snapshot, subjects};

/// Law 1.
#[tokio::test(flavor = "multi_thread")]
async fn law_1_the_source_is_never_written_to() {
    let world = World::new().await;
    mail::fill(&mut world.at_source(), 60, &FOLDERS[..6], 1);
    // Unread mail shows whether anybody read it without peeking.
    world.at_source().append_many("INBOX", &[note("unread")]);
    let before = snapshot(&mut world.at_source());
    let state = |world: &World| {
        let mut imap = world.at_source();
        let status = |f: &str| {
            imap.command(&format!(
                "STATUS \"{f}\" (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)"
            ))
            .untagged
            .first()
            .map(|line| format!("{line:?}"))
        };
        ["INBOX", "Sent", "Archive"].map(status)
    };
    let counters = state(&world);
    world.seed().await;
    world.delta().await;
    world.verify().await;
    assert_eq!(snapshot(&mut world.at_source()), before);
    assert_eq!(state(&world), counters, "not even a modification sequence moved");
}

/// Law 1, on the wire: what a lenient server would not show afterwards (a SELECT takes \\Recent
/// away, a fetch that does not peek does no harm in an examined folder) is heard.
#[tokio::test(flavor = "multi_thread")]
async fn law_1_only_commands_that_read_are_said_to_the_source() {
    const READING: [&str; 14] = [
        "AUTHENTICATE",
        "CAPABILITY",
        "ENABLE",
        "EXAMINE",
        "FETCH",
        "ID",
        "LIST",
        "LOGIN",
        "LOGOUT",
        "NAMESPACE",
        "NOOP",
        "SEARCH",
        "STATUS",
        "UNSELECT",
    ];
    let mut world = World::new().await;
    let tap = world.tap_source();
    world.mailbox.carry.deletes = true;
    world.mailbox.carry.max_delete = MaxDelete::Percent(100.0);
    let mut here = world.at_source();
    mail::fill(&mut here, 60, &FOLDERS[..6], 1);
    world.seed().await;
    let uids = here.uids("INBOX");
    here.uid_move("INBOX", &uids[..1], "Sent");
    here.store("INBOX", &uids[1..3], "+FLAGS (\\Flagged)");
    here.expunge_uids("INBOX", &uids[3..4]);
    here.append_many("INBOX", &[note("new")]);
    world.delta().await;
    world.verify().await;
    let heard = tap.heard();
    for line in &heard {
        let mut words = line.split(' ').skip(1).filter(|word| *word != "UID");
        let Some(verb) = words.next() else { continue };
        assert!(READING.contains(&verb), "{line}");
        for unread in ["BODY[", "RFC822 ", "RFC822)", "RFC822.TEXT"] {
            assert!(!line.contains(unread), "{line}");
        }
    }
    assert!(heard.iter().any(|line| line.contains(" EXAMINE ")), "{heard:?}");
    assert!(heard.iter().any(|line| line.contains("BODY.PEEK[]")), "{heard:?}");
}

/// Law 2, for passes that are cut short at the worst moment: see `crash.rs` for the rest.
#[tokio::test(flavor = "multi_thread")]
async fn law_2_a_message_arrives_exactly_once_however_often_passes_run() {
    let world = World::new().await;
    mail::fill(&mut world.at_source(), 200, &FOLDERS[..8], 2);
    world.seed().await;
    for _ in 0..3 {
        let report = world.delta().await;
        assert!(report.quiet, "nothing is left to do");
        assert_eq!(report.record.accounts.copied, 0);
    }
    world.assert_same();
}

/// Law 3.
#[tokio::test(flavor = "multi_thread")]
async fn law_3_mail_already_there_is_adopted_and_twins_stay_two() {
    let world = World::new().await;
    let twins = [
        note("twin"),
        note("twin"),
        note("single"),
        note("triplet"),
        note("triplet"),
        note("triplet"),
    ];
    world.at_source().append_many("INBOX", &twins);
    // Another tool has copied one twin, the single one and two of three.
    world
        .at_destination()
        .append_many("INBOX", &[note("twin"), note("single"), note("triplet"), note("triplet")]);
    let report = world.seed().await;
    assert_eq!(report.record.accounts.adopted, 4);
    assert_eq!(report.record.accounts.copied, 2);
    let mut there = subjects(&mut world.at_destination(), "INBOX");
    there.sort();
    assert_eq!(there, ["single", "triplet", "triplet", "triplet", "twin", "twin"]);
}

/// Law 3: what only looks the same is another message.
#[tokio::test(flavor = "multi_thread")]
async fn law_3_a_message_with_the_same_headers_and_another_text_is_not_adopted() {
    let world = World::new().await;
    let with = |headers: &str, text: &str| {
        let mut mail = note("x");
        mail.bytes = format!("{headers}\r\n\r\n{text}\r\n").into_bytes();
        mail
    };
    let (named, nameless) = ("Message-ID: <1@a.example>", "Subject: no name");
    world
        .at_source()
        .append_many("INBOX", &[with(named, "a text"), with(nameless, "aaaa"), note("both")]);
    world.at_destination().append_many(
        "INBOX",
        &[with(named, "a longer text"), with(nameless, "bbbb"), note("both")],
    );
    let report = world.seed().await;
    assert_eq!((report.record.accounts.copied, report.record.accounts.adopted), (2, 1));
    let bodies = world.at_destination().messages("INBOX").into_iter().map(|m| m.body);
    let bodies: Vec<String> = bodies.map(|b| String::from_utf8_lossy(&b).into_owned()).collect();
    for text in ["a text", "a longer text", "aaaa", "bbbb"] {
        assert!(bodies.iter().any(|b| b.ends_with(&format!("\r\n{text}\r\n"))), "{bodies:?}");
    }
}

/// Law 4: deleting.
#[tokio::test(flavor = "multi_thread")]
async fn law_4_a_message_the_user_deleted_is_not_brought_back() {
    let world = World::new().await;
    world.at_source().append_many("INBOX", &[note("one"), note("two")]);
    world.seed().await;
    let mut there = world.at_destination();
    let uids = there.uids("INBOX");
    there.store("INBOX", &uids[..1], "+FLAGS (\\Deleted)");
    there.expunge_uids("INBOX", &uids[..1]);
    // Something happens to it at the source, so that it is looked at again.
    let mut here = world.at_source();
    let uids = here.uids("INBOX");
    here.store("INBOX", &uids, "+FLAGS (\\Flagged)");
    world.delta().await;
    assert_eq!(subjects(&mut world.at_destination(), "INBOX"), ["two"]);
}

/// Law 4: flags.
#[tokio::test(flavor = "multi_thread")]
async fn law_4_a_flag_the_user_changed_is_not_reset() {
    let world = World::new().await;
    world.at_source().append_many("INBOX", &[note("one")]);
    let uid = world.at_source().uids("INBOX");
    world.at_source().store("INBOX", &uid, "+FLAGS (\\Seen $Work)");
    world.seed().await;
    let there = world.at_destination().uids("INBOX");
    world.at_destination().store("INBOX", &there, "-FLAGS (\\Seen)");
    world.at_destination().store("INBOX", &there, "+FLAGS ($Mine)");
    world.at_source().store("INBOX", &uid, "+FLAGS (\\Flagged)");
    world.at_source().store("INBOX", &uid, "-FLAGS ($Work)");
    world.delta().await;
    let message = world.at_destination().messages("INBOX").remove(0);
    let flags: Vec<&str> = message.flags.iter().map(String::as_str).collect();
    assert_eq!(flags, ["$mine", "\\flagged"], "the user's changes and the source's, side by side");
}

/// Law 4: flags that were there before drover.
#[tokio::test(flavor = "multi_thread")]
async fn law_4_an_adopted_message_keeps_the_flags_its_user_gave_it() {
    let world = World::new().await;
    let mut ours = note("one");
    ours.flags = "\\Seen $Work".into();
    let mut theirs = note("one");
    theirs.flags = "\\Flagged $Mine".into();
    world.at_source().append_many("INBOX", &[ours]);
    world.at_destination().append_many("INBOX", &[theirs]);
    world.seed().await;
    world.delta().await;
    let message = world.at_destination().messages("INBOX").remove(0);
    let flags: Vec<&str> = message.flags.iter().map(String::as_str).collect();
    assert_eq!(flags, ["$mine", "$work", "\\flagged", "\\seen"]);
}

/// Law 4: what drover did not write.
#[tokio::test(flavor = "multi_thread")]
async fn law_4_a_message_drover_did_not_write_is_never_touched() {
    let mut world = World::new().await;
    world.mailbox.carry.deletes = true;
    world.mailbox.carry.max_delete = MaxDelete::Percent(100.0);
    world.at_source().append_many("INBOX", &[note("ours"), note("stays")]);
    world.at_destination().append_many("INBOX", &[note("theirs")]);
    world.seed().await;
    let uids = world.at_source().uids("INBOX");
    world.at_source().store("INBOX", &uids[..1], "+FLAGS (\\Deleted)");
    world.at_source().expunge_uids("INBOX", &uids[..1]);
    world.delta().await;
    assert_eq!(subjects(&mut world.at_destination(), "INBOX"), ["theirs", "stays"]);
}

fn delete_at_source(world: &World, n: usize) {
    let mut here = world.at_source();
    let uids = here.uids("INBOX");
    here.store("INBOX", &uids[..n], "+FLAGS (\\Deleted)");
    here.expunge_uids("INBOX", &uids[..n]);
}

fn notes(n: usize) -> Vec<mail::Mail> {
    (0..n).map(|n| note(&format!("note {n}"))).collect()
}

/// Law 5: unless the definition says so.
#[tokio::test(flavor = "multi_thread")]
async fn law_5_deletes_are_ignored_by_default() {
    let world = World::new().await;
    world.at_source().append_many("INBOX", &notes(4));
    world.seed().await;
    delete_at_source(&world, 2);
    let report = world.delta().await;
    assert_eq!(report.record.removed, 0);
    assert_eq!(world.at_destination().uids("INBOX").len(), 4);
}

/// Law 5: if the definition says so.
#[tokio::test(flavor = "multi_thread")]
async fn law_5_deletes_are_carried_where_the_definition_says_so() {
    let mut world = World::new().await;
    world.mailbox.carry.deletes = true;
    world.at_source().append_many("INBOX", &notes(60));
    world.seed().await;
    delete_at_source(&world, 3);
    let report = world.delta().await;
    assert_eq!(report.record.removed, 3);
    world.assert_same();
}

/// Law 5: only what drover wrote.
#[tokio::test(flavor = "multi_thread")]
async fn law_5_an_adopted_message_is_not_removed() {
    let mut world = World::new().await;
    world.mailbox.carry.deletes = true;
    world.mailbox.carry.max_delete = MaxDelete::Percent(100.0);
    world.at_source().append_many("INBOX", &notes(3));
    world.at_destination().append_many("INBOX", &notes(1));
    world.seed().await;
    delete_at_source(&world, 1);
    world.delta().await;
    assert_eq!(world.at_destination().uids("INBOX").len(), 3);
}

/// Law 5: only before the cutover.
#[tokio::test(flavor = "multi_thread")]
async fn law_5_nothing_is_removed_or_moved_after_the_cutover() {
    let mut world = World::new().await;
    world.mailbox.carry.deletes = true;
    world.mailbox.carry.max_delete = MaxDelete::Percent(100.0);
    world.at_source().create("Later");
    world.at_source().append_many("INBOX", &notes(4));
    world.seed().await;
    delete_at_source(&world, 1);
    let mut here = world.at_source();
    let uids = here.uids("INBOX");
    here.uid_move("INBOX", &uids[..1], "Later");
    here.append_many("INBOX", &[note("late mail")]);
    let report = world.pass(PassKind::Tail).await;
    assert_eq!((report.record.removed, report.record.moves), (0, 0));
    assert_eq!(report.record.accounts.copied, 1, "only the late mail came");
    assert_eq!(
        subjects(&mut world.at_destination(), "INBOX"),
        ["note 0", "note 1", "note 2", "note 3", "late mail"]
    );
    assert!(world.at_destination().uids("Later").is_empty(), "the moved one is not doubled");
}

/// Law 5: the brake.
#[tokio::test(flavor = "multi_thread")]
async fn law_5_more_deletes_than_allowed_stop_the_pass() {
    let mut world = World::new().await;
    world.mailbox.carry.deletes = true;
    world.at_source().append_many("INBOX", &notes(40));
    world.seed().await;
    delete_at_source(&world, 3);
    let error = world.try_pass(PassKind::Delta).await.expect_err("5 % of 40 are 2");
    assert!(matches!(error, Error::TooManyDeletes { planned: 3, allowed: 2 }), "{error}");
    assert_eq!(world.at_destination().uids("INBOX").len(), 40);
}

/// Law 5: the empty source.
#[tokio::test(flavor = "multi_thread")]
async fn law_5_an_empty_source_is_an_error() {
    let mut world = World::new().await;
    world.mailbox.carry.deletes = true;
    world.mailbox.carry.max_delete = MaxDelete::Percent(100.0);
    world.at_source().append_many("INBOX", &notes(4));
    world.seed().await;
    delete_at_source(&world, 4);
    let error = world.try_pass(PassKind::Delta).await.expect_err("the source is empty");
    assert!(matches!(error, Error::SourceEmpty { recorded: 4 }), "{error}");
    assert_eq!(world.at_destination().uids("INBOX").len(), 4);
}

/// Law 6.
#[tokio::test(flavor = "multi_thread")]
async fn law_6_accounts_close_whatever_happens_to_a_message() {
    let destination = support::Dovecot::builder().max_size("20k").start();
    let mut world = World::between(support::Dovecot::start(), destination).await;
    world.mailbox.select.max_size = Some(100_000);
    let mut large = note("too large for the destination");
    large.bytes.extend(std::iter::repeat_n(b"line of text\r\n", 3_000).flatten());
    let mut huge = note("left out by max_size");
    huge.bytes.extend(std::iter::repeat_n(b"line of text\r\n", 10_000).flatten());
    world.at_source().append_many("INBOX", &[note("fits"), large, huge, note("adopted")]);
    world.at_destination().append_many("INBOX", &[note("adopted")]);
    let first = world.seed().await.record.accounts;
    assert!(first.close(), "{first:?}");
    assert_eq!((first.seen, first.copied, first.adopted, first.filtered), (4, 1, 1, 1));
    assert_eq!(first.failed + first.skipped, 1);
    assert!(!first.is_whole());
    let failures = world.context().ledger.failures(&world.key()).await.expect("read failures");
    let (folder, failure) = &failures[0];
    assert_eq!(folder.to_string(), "INBOX");
    assert_eq!(failure.message_id.as_deref(), Some("too-large-for-the-destination@notes.example"));
    assert!(failure.size > 20_000 && !failure.reason.is_empty(), "{failure:?}");
    let second = world.delta().await.record.accounts;
    assert!(second.close(), "{second:?}");
    assert_eq!((second.already_there, second.filtered), (2, 1));
}
