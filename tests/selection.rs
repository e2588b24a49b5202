//! Which folders and messages take part, and what a changed selection does.

mod support;

use chrono::{DateTime, NaiveDate};
use drover::definition::{DateRange, FolderPattern};
use support::mail::Mail;
use support::{World, note, subjects};

fn patterns(texts: &[&str]) -> Vec<FolderPattern> {
    texts.iter().map(|text| FolderPattern::parse(text).expect("a pattern")).collect()
}

fn dated(date: &str) -> Mail {
    let mut mail = note(date);
    mail.date = DateTime::parse_from_rfc3339(date).expect("a date");
    mail
}

fn day(text: &str) -> Option<NaiveDate> {
    Some(text.parse().expect("a day"))
}

/// Folders with messages. Dovecot lists parents that do not exist.
fn folders(world: &World) -> Vec<String> {
    let mut imap = world.at_destination();
    let mut paths: Vec<String> = imap.list().into_iter().map(|f| f.path).collect();
    paths.retain(|path| {
        let examine = format!("EXAMINE \"{}\"", imap.wire(path));
        imap.try_command(&examine).is_ok() && !imap.uids(path).is_empty()
    });
    paths.sort();
    paths
}

/// Runs a pass whose accounts must close: (copied, filtered, already there).
async fn pass(world: &World) -> (u64, u64, u64) {
    let accounts = world.delta().await.record.accounts;
    assert!(accounts.close(), "{accounts:?}");
    (accounts.copied, accounts.filtered, accounts.already_there)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_of_dates_begins_with_its_first_day_and_ends_before_its_last() {
    let mut world = World::new().await;
    let dates = [
        "2018-12-31T23:59:59+00:00",
        "2019-01-01T00:00:00+00:00",
        // The same instant as the one before the first.
        "2019-01-01T00:59:59+01:00",
        "2020-06-01T12:00:00-07:00",
        "2020-12-31T23:59:59+00:00",
        "2021-01-01T00:00:00+00:00",
        // Still in 2020 by UTC.
        "2021-01-01T01:30:00+02:00",
    ];
    world.at_source().append_many("INBOX", &dates.map(dated));
    world.mailbox.select.dates = DateRange { since: day("2019-01-01"), before: day("2021-01-01") };
    assert_eq!(pass(&world).await, (4, 3, 0));
    let there = subjects(&mut world.at_destination(), "INBOX");
    assert_eq!(there, [dates[1], dates[3], dates[4], dates[6]]);
    assert!(world.delta().await.quiet);
    assert!(world.verify().await.is_equal());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wider_selection_brings_the_rest_and_a_narrower_one_removes_nothing() {
    let mut world = World::new().await;
    world.mailbox.carry.deletes = true;
    world.mailbox.carry.max_delete = drover::definition::MaxDelete::Percent(100.0);
    let days = ["2018-05-05", "2019-05-05", "2020-05-05", "2021-05-05"];
    let mails = days.map(|d| dated(&format!("{d}T10:00:00+00:00")));
    world.at_source().append_many("INBOX", &mails);
    world.mailbox.select.dates.since = day("2020-01-01");
    assert_eq!(pass(&world).await, (2, 2, 0));
    // A message that is left out and changes its flags is still left out.
    let mut here = world.at_source();
    let uids = here.uids("INBOX");
    here.store("INBOX", &uids, "+FLAGS (\\Flagged)");
    assert_eq!(pass(&world).await, (0, 2, 2));
    world.mailbox.select.dates.since = day("2019-01-01");
    assert_eq!(pass(&world).await, (1, 1, 2));
    world.mailbox.select.dates.since = None;
    assert_eq!(pass(&world).await, (1, 0, 3));
    assert_eq!(world.at_destination().uids("INBOX").len(), 4);
    world.mailbox.select.dates.since = day("2021-01-01");
    pass(&world).await;
    assert_eq!(world.at_destination().uids("INBOX").len(), 4, "nothing is removed");
    assert!(world.delta().await.quiet);
    // What is left out now and leaves the source is carried all the same: drover wrote it.
    world.mailbox.select.dates.since = None;
    assert_eq!(pass(&world).await, (0, 0, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_be_exactly_as_large_as_allowed() {
    let mut world = World::new().await;
    let exact = note("exact");
    let mut larger = note("larger");
    larger.bytes.resize(exact.bytes.len() + 1, b'x');
    world.mailbox.select.max_size = Some(exact.bytes.len() as u64);
    world.at_source().append_many("INBOX", &[exact, larger]);
    assert_eq!(pass(&world).await, (1, 1, 0));
    assert_eq!(subjects(&mut world.at_destination(), "INBOX"), ["exact"]);
    let mut here = world.at_source();
    let uids = here.uids("INBOX");
    here.expunge_uids("INBOX", &uids[1..]);
    assert_eq!(pass(&world).await, (0, 0, 1), "what left is not counted any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_taken_and_left_by_glob_and_by_role() {
    let mut world = World::new().await;
    let mut here = world.at_source();
    let all = ["INBOX", "Trash", "Junk", "Projects", "Projects/A", "Projects/A/B", "Other"];
    for folder in all {
        here.create(folder);
        here.append_many(folder, &[note(&format!("in {folder}"))]);
    }
    world.mailbox.select.exclude = patterns(&["\\Trash", "\\Junk", "Projects/**"]);
    assert_eq!(pass(&world).await.0, 2);
    assert_eq!(folders(&world), ["INBOX", "Other"]);
    world.mailbox.select.include = patterns(&["inbox", "Projects/*"]);
    world.mailbox.select.exclude.clear();
    assert_eq!(pass(&world).await.0, 1);
    assert_eq!(folders(&world), ["INBOX", "Other", "Projects/A"]);
    assert!(world.delta().await.quiet);
    world.mailbox.select.include.clear();
    assert_eq!(pass(&world).await, (4, 0, 3));
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_moved_into_a_folder_that_takes_no_part_stays_where_it_was() {
    let mut world = World::new().await;
    world.mailbox.select.exclude = patterns(&["Aside"]);
    let mut here = world.at_source();
    here.create("Aside");
    here.append_many("INBOX", &[note("a"), note("b"), note("c")]);
    world.delta().await;
    let uids = here.uids("INBOX");
    here.uid_move("INBOX", &uids[..1], "Aside");
    assert_eq!(pass(&world).await, (0, 0, 2));
    assert_eq!(subjects(&mut world.at_destination(), "INBOX"), ["a", "b", "c"]);
    // Once the folder takes part, the message is known and moves.
    world.mailbox.select.exclude.clear();
    let report = world.delta().await;
    assert_eq!((report.record.accounts.copied, report.record.moves), (0, 1));
    world.assert_same();
}
