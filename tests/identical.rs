//! Messages that nothing but their content tells apart, in numbers: without a Message-ID, with one
//! that repeats, genuine twins, and thousands with one and the same header block. Whatever happens
//! to ledger and ids, each is there once, and what is done to one of them later reaches its own
//! copy; in bounded memory, and in a time that grows with their number, not with its square.
//!
//! `DROVER_TORTURE=full` runs 25,000, 50,000 and 100,000 of them (`half`: up to 24,000); `docs/pass.md` has the figures.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use drover::model::PassKind;
use drover::sync::Report;
use support::imap::quote;
use support::mail::{Mail, Rng};
use support::process::processor_time;
use support::{Imap, Options, World, note};

const BOX: &str = "Box";
/// Twice the messages may take three times as long, and this much more: the machine is shared.
const MOST: f64 = 3.0;
const SLACK: Duration = Duration::from_millis(400);
/// Of memory for each message, in bytes: a few small structs and what the allocator adds.
const EACH: u64 = 2_500;
/// And whatever their number: batches in flight, the database's cache.
const BASE: u64 = 90 << 20;

/// The n-th of many with one header block. Every seventh is a twin of the one before.
fn alike(n: usize) -> Mail {
    let n = n - usize::from(n % 7 == 6);
    with("From: bo@a.example\r\nSubject: the same\r\nDate: Thu, 1 Jan 2026 10:00:00 +0000", n)
}

/// Bodies of one length, so that not even that tells them apart.
fn with(headers: &str, n: usize) -> Mail {
    let mut mail = note("x");
    mail.bytes = format!("{headers}\r\n\r\nbody {n:08}\r\n").into_bytes();
    mail
}

fn fill(imap: &mut Imap, numbers: std::ops::Range<usize>) {
    let numbers: Vec<usize> = numbers.collect();
    for chunk in numbers.chunks(500) {
        let mails: Vec<Mail> = chunk.iter().map(|&n| alike(n)).collect();
        imap.append_many(BOX, &mails);
    }
}

/// The same messages in a folder of the same name with other ids.
fn renew(imap: &mut Imap) {
    let before = imap.uid_state(BOX).0;
    imap.create("Other");
    imap.command(&format!("SELECT {BOX}"));
    imap.command("UID COPY 1:* Other");
    imap.command("UNSELECT");
    imap.delete_folder(BOX);
    // A second must pass before Dovecot gives another UIDVALIDITY than the folder had.
    imap.command(&format!("RENAME Other {}", quote(BOX)));
    assert_ne!(imap.uid_state(BOX).0, before, "this test needs another UIDVALIDITY");
}

/// What a pass took of the processor, and how much memory this process grew by meanwhile.
struct Cost {
    stage: &'static str,
    time: Duration,
    grown: u64,
}

/// Tests that measure are alone in this process.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

async fn measured(
    world: &World,
    costs: &mut Vec<Cost>,
    stage: &'static str,
    kind: PassKind,
) -> Report {
    let (over, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let before = resident();
    let (stop, highest) = (Arc::clone(&over), Arc::clone(&most));
    let watcher = std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            highest.fetch_max(resident(), Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(3));
        }
    });
    let (began, had) = (Instant::now(), processor_time());
    let report = world.pass(kind).await;
    let (elapsed, time) = (began.elapsed(), processor_time() - had);
    over.store(true, Ordering::Relaxed);
    watcher.join().expect("the watcher does not panic");
    let grown = most.load(Ordering::Relaxed).saturating_sub(before);
    println!(
        "{stage:>28}: {elapsed:>7.1?}, {time:>7.1?} of them here, {:>4} MiB more",
        grown >> 20
    );
    costs.push(Cost { stage, time, grown });
    report
}

/// Through everything that can happen to `n` of them.
async fn life(n: usize) -> Vec<Cost> {
    println!("{n} messages with one header block:");
    let mut costs = Vec::new();
    let mut world = World::new().await;
    let (mut here, mut there) = (world.at_source(), world.at_destination());
    here.append_many("INBOX", &[note("another")]);
    here.create(BOX);
    fill(&mut here, 0..n);
    let total = n as u64 + 1;
    let report = measured(&world, &mut costs, "seed", PassKind::Seed).await;
    assert_eq!(report.record.accounts.copied, total);

    world.close_ledger().await;
    world.copy_ledger();
    world.open_ledger().await;
    fill(&mut here, n..n + n / 10);
    world.delta().await;
    let total = total + (n / 10) as u64;
    world.restore_ledger().await;
    let report = measured(&world, &mut costs, "an older ledger", PassKind::Delta).await;
    assert_eq!((report.record.accounts.copied, report.record.accounts.adopted), (0, n as u64 / 10));

    world.lose_ledger().await;
    let report = measured(&world, &mut costs, "a lost ledger", PassKind::Seed).await;
    assert_eq!((report.record.accounts.copied, report.record.accounts.adopted), (0, total));

    renew(&mut there);
    let report =
        measured(&world, &mut costs, "other ids at the destination", PassKind::Delta).await;
    assert_eq!(report.record.accounts.copied, 0);

    renew(&mut here);
    let report = measured(&world, &mut costs, "other ids at the source", PassKind::Delta).await;
    assert_eq!((report.record.accounts.copied, report.record.moves), (0, 0));

    // What is done to some of them reaches their own copies.
    let mut rng = Rng::new(n as u64);
    let uids = here.uids(BOX);
    let some: Vec<u32> = (0..20).map(|_| uids[rng.below(uids.len())]).collect();
    here.store(BOX, &some, "+FLAGS (\\Flagged)");
    here.uid_move(BOX, &some[..1], "INBOX");
    measured(&world, &mut costs, "a delta", PassKind::Delta).await;
    assert!(world.delta().await.quiet);
    assert_eq!(
        there.uids(BOX).len() + there.uids("INBOX").len(),
        usize::try_from(total).unwrap_or(0)
    );
    let compared = world.verify().await;
    assert!(compared.is_equal(), "{compared:?}");
    costs
}

fn assert_bounded(n: usize, costs: &[Cost]) {
    for cost in costs {
        let most = BASE + n as u64 * EACH;
        assert!(cost.grown < most, "{}: {} MiB more for {n}", cost.stage, cost.grown >> 20);
    }
}

fn assert_near_linear(fewer: &[Cost], more: &[Cost]) {
    for (fewer, more) in fewer.iter().zip(more) {
        let most = fewer.time.mul_f64(MOST) + SLACK;
        let (was, is) = (fewer.time, more.time);
        assert!(is < most, "{}: {was:?} for half of them, {is:?} for all", fewer.stage);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_with_one_header_block_cost_time_and_memory_by_their_number() {
    let _alone = ALONE.lock().await;
    let sizes: &[usize] = match std::env::var("DROVER_TORTURE").as_deref() {
        Ok("full") => &[25_000, 50_000, 100_000],
        Ok("half") => &[6_000, 12_000, 24_000],
        _ => &[1_500, 3_000],
    };
    let mut before: Option<Vec<Cost>> = None;
    for &n in sizes {
        let costs = Box::pin(life(n)).await;
        assert_bounded(n, &costs);
        if let Some(before) = &before {
            assert_near_linear(before, &costs);
        }
        before = Some(costs);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_4_one_of_many_that_their_user_removed_stays_removed_though_all_get_other_ids() {
    let _alone = ALONE.lock().await;
    let world = World::new().await;
    let (mut here, mut there) = (world.at_source(), world.at_destination());
    here.append_many("INBOX", &[note("another"), alike(100), alike(101)]);
    here.create(BOX);
    fill(&mut here, 0..6);
    world.seed().await;
    // At the destination they come in another order than at the source …
    let uids = here.uids(BOX);
    here.uid_move(BOX, &uids[..2], "INBOX");
    world.delta().await;
    let uids = here.uids("INBOX");
    here.uid_move("INBOX", &uids[1..], BOX);
    world.delta().await;
    // … and one is removed before all get other ids.
    let body = |n: usize| alike(n).bytes;
    let copies = there.messages(BOX);
    let third = copies.iter().find(|m| m.body == body(3)).expect("it is there").uid;
    there.expunge_uids(BOX, &[third]);
    renew(&mut there);
    let messages = here.messages(BOX);
    let flagged = messages.iter().find(|m| m.body == body(4)).expect("it is there").uid;
    here.store(BOX, &[flagged], "+FLAGS (\\Flagged)");
    world.delta().await;
    assert!(world.delta().await.quiet);
    let copies = there.messages(BOX);
    let mut bodies: Vec<_> = copies.iter().map(|m| m.body.clone()).collect();
    let mut wanted: Vec<_> = [0, 1, 2, 4, 5, 100, 101].map(body).into();
    bodies.sort();
    wanted.sort();
    assert_eq!(bodies, wanted);
    for copy in copies {
        let is_flagged = copy.flags.contains("\\flagged");
        assert_eq!(is_flagged, copy.body == body(4), "{copy:?}");
    }
}

/// Kinds of messages that names do not tell apart, mixed, through every loss.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_names_do_not_tell_apart_keep_their_own_copies_through_every_loss() {
    let _alone = ALONE.lock().await;
    let mut world = World::new().await;
    let (mut here, mut there) = (world.at_source(), world.at_destination());
    here.append_many("INBOX", &[note("another")]);
    here.create(BOX);
    let kinds = [
        "Subject: no Message-ID",
        "Message-ID: <always@the.same>\r\nSubject: repeated",
        "Message-ID: <always@the.same>",
        "X-Nothing: at all",
    ];
    // Two of each content in every kind: genuine twins.
    let mails: Vec<Mail> =
        kinds.iter().flat_map(|kind| (0..24).map(move |n| with(kind, n / 2))).collect();
    here.append_many(BOX, &mails);
    world.seed().await;
    let options = Options::any_order();
    let mut rng = Rng::new(5);
    for round in 0..5 {
        match round {
            0 => world.lose_ledger().await,
            1 => renew(&mut there),
            2 => renew(&mut here),
            3 => {
                world.close_ledger().await;
                world.copy_ledger();
                world.open_ledger().await;
                here.append_many(BOX, &mails[10..20]);
                world.delta().await;
                world.restore_ledger().await;
            }
            _ => world.lose_ledger().await,
        }
        let report = world.delta().await;
        assert_eq!(report.record.accounts.copied, 0, "round {round}");
        world.assert_same_but(&options);
        let uids = here.uids(BOX);
        let some: Vec<u32> = (0..6).map(|_| uids[rng.below(uids.len())]).collect();
        here.store(BOX, &some, &format!("+FLAGS ($Round{round})"));
        here.uid_move(BOX, &some[..2], "INBOX");
        world.delta().await;
        world.assert_same_but(&options);
        assert!(world.delta().await.quiet, "round {round}");
    }
}
