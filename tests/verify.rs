//! The comparison finds what differs, and nothing else.

mod support;

use drover::definition::FolderTarget;
use drover::model::FolderPath;
use drover::sync::verify::sample::Sample;
use drover::sync::verify::{Comparison, FolderComparison};
use support::dovecot::Format;
use support::mail::{self, FOLDERS};
use support::{Dovecot, World, note};

fn of<'a>(comparison: &'a Comparison, destination: &str) -> &'a FolderComparison {
    let mut folders = comparison.folders.iter();
    folders.find(|f| f.destination == destination).unwrap_or_else(|| panic!("no {destination}"))
}

fn kinds(comparison: &Comparison) -> Vec<&str> {
    let all = comparison.folders.iter().flat_map(|f| &f.differences);
    let mut kinds: Vec<&str> = all.map(|d| d.kind.as_str()).collect();
    kinds.sort_unstable();
    kinds
}

async fn seeded() -> World {
    let world = World::new().await;
    let mails: Vec<_> = ["a", "b", "c", "d"].map(note).into();
    world.at_source().append_many("INBOX", &mails);
    world.seed().await;
    assert!(world.verify().await.is_equal());
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_are_equal_after_a_seed_whatever_the_ledger_knows() {
    let destination = Dovecot::builder().separator('.').prefix("INBOX.").start();
    let mut world = World::between(Dovecot::start(), destination).await;
    mail::fill(&mut world.at_source(), 200, &FOLDERS, 41);
    world.seed().await;
    let comparison = world.verify().await;
    assert!(comparison.is_equal(), "{comparison:#?}");
    assert_eq!(comparison.folders.iter().map(|f| f.found).sum::<u64>(), 200);
    world.lose_ledger().await;
    assert!(world.verify().await.is_equal());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_equal_before_the_first_pass() {
    let world = World::new().await;
    world.at_source().append_many("INBOX", &[note("a")]);
    world.at_source().create("New");
    world.at_source().append_many("New", &[note("b")]);
    let comparison = world.verify().await;
    assert!(!comparison.is_equal());
    assert_eq!(comparison.total(), 2);
    assert_eq!(kinds(&comparison), ["missing", "missing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_message_is_named() {
    let world = seeded().await;
    let mut there = world.at_destination();
    let uids = there.uids("INBOX");
    there.expunge_uids("INBOX", &uids[1..2]);
    let comparison = world.verify().await;
    let inbox = of(&comparison, "INBOX");
    assert_eq!((inbox.expected, inbox.found, inbox.missing, inbox.total()), (4, 3, 1, 1));
    let difference = &inbox.differences[0];
    assert_eq!((difference.kind.as_str(), difference.folder.as_str()), ("missing", "INBOX"));
    assert_eq!(difference.message_id.as_deref(), Some("b@notes.example"));
    assert_eq!(difference.uid, Some(u64::from(world.at_source().uids("INBOX")[1])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_copy_is_found_and_the_users_own_mail_is_no_difference() {
    let world = seeded().await;
    let mut there = world.at_destination();
    there.append_many("INBOX", &[note("c"), note("the user's own")]);
    there.create("Private");
    there.append_many("Private", &[note("private")]);
    let comparison = world.verify().await;
    let inbox = of(&comparison, "INBOX");
    assert_eq!((inbox.duplicated, inbox.others, inbox.total()), (1, 1, 1));
    assert_eq!(kinds(&comparison), ["duplicated"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_message_counts_as_missing() {
    let world = seeded().await;
    let mut there = world.at_destination();
    let uids = there.uids("INBOX");
    there.expunge_uids("INBOX", &uids[..1]);
    let mut altered = note("a");
    let last = altered.bytes.len() - 3;
    altered.bytes[last] ^= 1;
    there.append_many("INBOX", &[altered]);
    let comparison = world.verify().await;
    let inbox = of(&comparison, "INBOX");
    assert_eq!((inbox.missing, inbox.others, inbox.total()), (1, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_flags_and_other_dates_are_found() {
    let world = seeded().await;
    let mut there = world.at_destination();
    let uids = there.uids("INBOX");
    there.store("INBOX", &uids[2..3], "+FLAGS (\\Flagged $Mine)");
    there.expunge_uids("INBOX", &uids[3..]);
    let mut later = note("d");
    later.date += chrono::TimeDelta::hours(1);
    there.append_many("INBOX", &[later]);
    let comparison = world.verify().await;
    let inbox = of(&comparison, "INBOX");
    assert_eq!((inbox.found, inbox.flags_differ, inbox.dates_differ, inbox.total()), (4, 1, 1, 2));
    assert_eq!(kinds(&comparison), ["date", "flags"]);
    let flags = inbox.differences.iter().find(|d| d.kind == "flags").expect("listed");
    assert!(flags.detail.as_ref().is_some_and(|d| d.contains("$Mine")), "{flags:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn twins_are_counted_and_the_one_that_agrees_is_taken() {
    let world = World::new().await;
    let mut seen = note("twin");
    seen.flags = "\\Seen".into();
    world.at_source().append_many("INBOX", &[note("twin"), seen]);
    world.seed().await;
    assert!(world.verify().await.is_equal());
    let mut there = world.at_destination();
    let uids = there.uids("INBOX");
    there.expunge_uids("INBOX", &uids[..1]);
    let comparison = world.verify().await;
    assert_eq!(of(&comparison, "INBOX").missing, 1);
    there.append_many("INBOX", &[note("twin"), note("twin")]);
    let comparison = world.verify().await;
    assert_eq!(of(&comparison, "INBOX").duplicated, 1, "{comparison:#?}");
}

/// Which of two twins is taken for the other must not depend on which is looked at first.
#[tokio::test(flavor = "multi_thread")]
async fn twins_with_different_flags_are_equal_in_any_order() {
    let world = World::new().await;
    let flagged = |flags: &str| {
        let mut mail = note("twin");
        mail.flags = flags.into();
        mail
    };
    world.at_source().append_many("INBOX", &[flagged("\\Seen"), flagged(""), flagged("\\Flagged")]);
    world
        .at_destination()
        .append_many("INBOX", &[flagged("\\Flagged"), flagged("\\Seen"), flagged("")]);
    assert!(world.verify().await.is_equal());
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_are_compared_where_the_definition_puts_them() {
    let mut world = World::new().await;
    let mut here = world.at_source();
    for folder in ["A", "B", "C"] {
        here.create(folder);
        here.append_many(folder, &[note(&format!("in {folder}"))]);
    }
    let to =
        |from: &str, to: &str| (FolderPath::parse(from), FolderTarget::Path(FolderPath::parse(to)));
    world.mailbox.folders.map = vec![to("A", "Both"), to("B", "Both"), to("C", "Deep/er")];
    world.seed().await;
    let comparison = world.verify().await;
    assert!(comparison.is_equal(), "{comparison:#?}");
    let mut sources = of(&comparison, "Both").sources.clone();
    sources.sort();
    assert_eq!(sources, ["A", "B"]);
    assert_eq!(of(&comparison, "Deep/er").sources, ["C"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn comparing_writes_nowhere() {
    let world = seeded().await;
    let state = || (world.at_source().uid_state("INBOX"), world.at_destination().messages("INBOX"));
    let before = state();
    world.verify().await;
    assert_eq!(state(), before);
}

/// Both sides are read in pieces and put aside: what stands in memory at a time does not grow
/// with the folder.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_folder_is_compared_in_bounded_memory() {
    const MESSAGES: usize = 30_000;
    const RUN: usize = 1000;
    let server = || Dovecot::builder().format(Format::Mdbox).start();
    let world = World::between(server(), server()).await;
    let mut tiny = note("x");
    let mails: Vec<_> = (0..MESSAGES)
        .map(|n| {
            tiny.bytes = format!("Message-ID: <{n}@x>\r\n\r\n").into_bytes();
            tiny.clone()
        })
        .collect();
    world.at_source().append_many("INBOX", &mails);
    world.at_destination().append_many("INBOX", &mails[1..]);
    let mut options = world.compare_all();
    options.scratch = options.scratch.with_run(RUN);
    let comparison = world.verify_with(&options).await;
    let inbox = of(&comparison, "INBOX");
    assert_eq!((inbox.expected, inbox.found, inbox.missing), (30_000, 29_999, 1));
    assert_eq!(inbox.differences[0].message_id.as_deref(), Some("0@x"));
    // A run of each side, and the heads of thirty runs of each.
    assert!(options.scratch.peak() <= 2 * RUN + 100, "{} in memory", options.scratch.peak());
}

/// Gaps of hundreds of thousands of ids between two messages are no end of the folder.
#[tokio::test(flavor = "multi_thread")]
async fn messages_whose_ids_lie_far_apart_are_all_read() {
    let mut world = World::new().await;
    for n in 0..3u32 {
        world.at_source().append_many("INBOX", &[note(&format!("n {n}"))]);
        world.source.stop();
        let directory = world.source.mail_dir("anna");
        let list = directory.join("dovecot-uidlist");
        let text = std::fs::read_to_string(&list).expect("read the list of ids");
        // `3 V<uidvalidity> N<uidnext> G<guid>`, then a line for each message.
        let (_, rest) = text.split_once(" N").expect("the next id");
        let next = rest.split(' ').next().expect("the next id");
        let later = (n + 1) * 300_000;
        let text = text.replacen(&format!(" N{next} "), &format!(" N{later} "), 1);
        std::fs::write(&list, text).expect("write it");
        for file in ["dovecot.index", "dovecot.index.log", "dovecot.index.cache"] {
            let _ = std::fs::remove_file(directory.join(file));
        }
        world.source.restart();
    }
    assert_eq!(world.at_source().uids("INBOX"), [1, 300_000, 600_000]);
    assert_eq!(of(&world.verify().await, "INBOX").missing, 3);
}

fn sample(size: &str, seed: u64) -> Option<Sample> {
    Some(Sample { size: size.parse().expect("a size"), seed })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_takes_a_part_of_every_folder_and_says_so() {
    let world = World::new().await;
    let mut here = world.at_source();
    for (folder, n) in [("INBOX", 100), ("Small", 2), ("Middle", 40)] {
        here.create(folder);
        let mails: Vec<_> = (0..n).map(|n| note(&format!("{folder} {n}"))).collect();
        here.append_many(folder, &mails);
    }
    world.seed().await;
    let mut options = world.compare_all();
    options.sample = sample("10%", 7);
    let comparison = world.verify_with(&options).await;
    assert!(comparison.is_equal(), "{comparison:#?}");
    let expected = |folder| of(&comparison, folder).expected;
    assert_eq!([expected("INBOX"), expected("Small"), expected("Middle")], [10, 1, 4]);
    let told = comparison.sample.expect("a sample");
    assert_eq!((told.of, told.compared, told.seed, &*told.asked), (142, 15, 7, "10%"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_finds_what_is_missing_in_it_and_the_same_seed_finds_it_again() {
    let world = World::new().await;
    let mails: Vec<_> = (0..60).map(|n| note(&format!("n {n}"))).collect();
    world.at_source().append_many("INBOX", &mails);
    world.seed().await;
    let mut there = world.at_destination();
    let uids = there.uids("INBOX");
    there.expunge_uids("INBOX", &uids[..30]);
    let mut options = world.compare_all();
    options.sample = sample("20", 3);
    let first = world.verify_with(&options).await;
    let inbox = of(&first, "INBOX");
    // Half is gone: that none or all of twenty are happens once in a million.
    assert!(inbox.expected == 20 && inbox.missing > 0 && inbox.missing < 20, "{first:#?}");
    assert_eq!(world.verify_with(&options).await, first);
    options.sample = sample("20", 4);
    assert_ne!(world.verify_with(&options).await.folders[0].differences, inbox.differences);
}

/// Only what is in question is downloaded: that is what a sample is for.
#[tokio::test(flavor = "multi_thread")]
async fn a_sample_downloads_only_its_candidates() {
    let mut world = World::new().await;
    let mut mails = Vec::new();
    for n in 0..40 {
        let mut mail = note(&format!("n {n}"));
        mail.bytes.extend([b'x'; 20_000]);
        mails.push(mail);
    }
    world.at_source().append_many("INBOX", &mails);
    world.at_destination().append_many("INBOX", &mails);
    let tap = world.tap_destination();
    let mut options = world.compare_all();
    options.sample = sample("2", 1);
    let comparison = world.verify_with(&options).await;
    assert!(comparison.is_equal() && of(&comparison, "INBOX").expected == 2);
    let bodies = tap.heard().into_iter().filter(|line| line.contains("BODY.PEEK[]"));
    let fetched: Vec<String> = bodies.collect();
    assert!(fetched.len() == 1 && fetched[0].matches(',').count() == 1, "{fetched:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn twins_of_a_sampled_message_are_no_duplicates() {
    let world = World::new().await;
    world.at_source().append_many("INBOX", &vec![note("twin"); 10]);
    world.seed().await;
    let mut options = world.compare_all();
    options.sample = sample("10%", 1);
    let comparison = world.verify_with(&options).await;
    assert!(comparison.is_equal(), "{comparison:#?}");
    world.at_destination().append_many("INBOX", &[note("twin")]);
    assert_eq!(of(&world.verify_with(&options).await, "INBOX").duplicated, 1);
}

/// Dovecot stores a NUL as 0x80 and a bare LF as CRLF; here only the copy was sent so, and the
/// original ends in one more line end.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_changes_in_storing_is_no_difference() {
    let world = World::new().await;
    let mut odd = note("odd");
    odd.bytes.extend(b"nul \0 bare\nlf and no end");
    world.at_destination().append_many("INBOX", &[odd.clone()]);
    odd.bytes.truncate(odd.bytes.len() - b"nul \0 bare\nlf and no end".len());
    odd.bytes.extend(b"nul \x80 bare\r\nlf and no end\r\n");
    world.at_source().append_many("INBOX", &[odd]);
    assert!(world.verify().await.is_equal());
}
