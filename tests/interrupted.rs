//! Passes that are stopped, cut, refused and starved, and the mail that arrives all the same.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use drover::definition::MaxDelete;
use drover::flow::Memory;
use drover::model::PassKind;
use drover::platform;
use drover::sync::{self, Context, Error, Progress, Report, Side};
use support::mail::{self, FOLDERS, Rng};
use support::proxy::{Then, What, When};
use support::{Dovecot, Options, World, note, subjects};
use tokio_util::sync::CancellationToken;

/// How often something may be cut short before it has to come to an end.
const ATTEMPTS: usize = 60;

async fn seed(
    world: &World,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Report, Error> {
    let mailbox = Arc::new(world.mailbox.clone());
    sync::run(world.context(), &mailbox, PassKind::Seed, progress, stop).await
}

/// Runs `act` this long after the pass began, beside it.
async fn meanwhile(
    world: &mut World,
    after: u64,
    act: impl FnOnce(&mut World) + Send,
) -> Result<Report, Error> {
    // Little is read ahead, so that something can happen to what was not read yet.
    let context = Context { memory: Memory::new(200_000), ..world.context().clone() };
    let mailbox = Arc::new(world.mailbox.clone());
    let pass = tokio::spawn(async move {
        let (progress, stop) = (Progress::default(), CancellationToken::new());
        sync::run(&context, &mailbox, PassKind::Seed, &progress, &stop).await
    });
    tokio::time::sleep(Duration::from_millis(after)).await;
    act(world);
    pass.await.expect("the pass does not panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_stopped_at_any_moment_goes_on_where_it_stood() {
    let world = World::new().await;
    mail::fill(&mut world.at_source(), 800, &FOLDERS[..8], 21);
    let mut rng = Rng::new(21);
    let mut copied = 0;
    for attempt in 0.. {
        assert!(attempt < ATTEMPTS, "the seed never came to its end");
        let (progress, stop) = (Progress::default(), CancellationToken::new());
        // Each attempt gets a little longer, so that the last one ends; however slow the machine
        // is, the first ones come to copying.
        let after = Duration::from_millis(rng.below(60 + 40 * attempt) as u64);
        let enough = if attempt < 4 { rng.below(150) as u64 } else { 0 };
        let cancel = async {
            tokio::time::sleep(after).await;
            while progress.read().messages < enough {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stop.cancel();
            std::future::pending().await
        };
        let result = tokio::select! {
            result = seed(&world, &progress, &stop) => result,
            never = cancel => never,
        };
        match result {
            Ok(report) => {
                copied += report.record.accounts.copied;
                break;
            }
            Err(error) => assert!(matches!(error, Error::Stopped), "{error}"),
        }
    }
    assert!(copied < 800, "something was kept of the earlier attempts");
    world.assert_same();
    assert!(world.verify().await.is_equal());
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_dies_in_the_middle_of_a_seed_ends_up_with_everything_once() {
    let mut world = World::new().await;
    mail::fill(&mut world.at_source(), 600, &FOLDERS[..6], 22);
    for after in [40, 90, 150, 220] {
        let result = meanwhile(&mut world, after, |w| w.destination.kill()).await;
        world.destination.restart();
        if let Err(error) = result {
            assert!(matches!(error, Error::Platform { side: Side::Destination, .. }), "{error}");
        }
    }
    world.seed().await;
    // What a batch had brought over when the server died is adopted, not sent again.
    world.assert_same_but(&Options::any_order());
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_dies_in_the_middle_of_a_seed_ends_up_with_everything_once() {
    let mut world = World::new().await;
    mail::fill(&mut world.at_source(), 600, &FOLDERS[..6], 23);
    for after in [40, 90, 150, 220] {
        let result = meanwhile(&mut world, after, |w| w.source.kill()).await;
        world.source.restart();
        if let Err(error) = result {
            assert!(matches!(error, Error::Platform { side: Side::Source, .. }), "{error}");
        }
    }
    world.seed().await;
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_breaks_ends_the_pass_at_once_however_long_the_source_is_silent() {
    let mut world = World::new().await;
    let (here, there) = (world.tap_source(), world.tap_destination());
    world.connect_through(&here, &there, 1);
    let mails: Vec<_> = (0..150).map(|n| note(&format!("{n}"))).collect();
    world.at_source().append_many("INBOX", &mails);
    here.set(When::line(&["* 120 FETCH", "BODY[]"]), What::Stall);
    let source = here.clone();
    let cut = move || {
        while source.fired() == 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        // By now the source is waited for.
        std::thread::sleep(Duration::from_millis(100));
        Then::Cut
    };
    there.set(When::verb("APPEND").answered(), What::call(cut));
    // A silent source is waited for for minutes.
    let pass = tokio::time::timeout(Duration::from_secs(20), world.try_pass(PassKind::Seed));
    let error = pass.await.expect("it ends").expect_err("the destination is gone");
    assert!(matches!(error, Error::Platform { side: Side::Destination, .. }), "{error}");
    here.clear();
    world.seed().await;
    world.assert_same_but(&Options::any_order());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_one_connection_is_enough() {
    for poor_source in [true, false] {
        let poor = || Dovecot::builder().max_connections(1).start();
        let mut world = if poor_source {
            World::between(poor(), Dovecot::start()).await
        } else {
            World::between(Dovecot::start(), poor()).await
        };
        let mut here = world.at_source();
        mail::fill(&mut here, 120, &FOLDERS[..6], 24);
        here.logout();
        let mut first = world.try_pass(PassKind::Seed).await;
        for _ in 0..20 {
            // The server may count our own connection for a moment after it is gone.
            let Err(Error::Platform { error: platform::Error::Throttled { .. }, .. }) = &first
            else {
                break;
            };
            world.close_ledger().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            world.open_ledger().await;
            first = world.try_pass(PassKind::Seed).await;
        }
        let report = first.unwrap_or_else(|error| panic!("the pass failed: {error}"));
        assert_eq!(report.record.accounts.copied, 120);
        world.assert_same();
    }
}

/// So slow that something can happen between the survey and the last message.
fn slow(world: &mut World) {
    world.mailbox.carry.rate = Some(400_000);
    Arc::make_mut(&mut world.mailbox.source.endpoint).connections = 1;
}

/// Messages of 10 kB.
fn thick(n: usize, what: &str) -> Vec<mail::Mail> {
    let one = |n| {
        let mut mail = note(&format!("{what} {n}"));
        mail.bytes.extend(std::iter::repeat_n(b"a line of text\r\n", 640).flatten());
        mail
    };
    (0..n).map(one).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_deleted_while_the_pass_runs_costs_only_itself() {
    let mut world = World::new().await;
    slow(&mut world);
    let mut here = world.at_source();
    here.create("Large");
    here.create("Small");
    here.append_many("Large", &thick(90, "large"));
    here.append_many("Small", &thick(10, "small"));
    here.logout();
    // The largest goes first: the small one is deleted while it is under way.
    let result = meanwhile(&mut world, 500, |w| w.at_source().delete_folder("Small")).await;
    if let Err(error) = &result {
        println!("the pass said: {error}");
    }
    let report = world.delta().await;
    assert!(report.record.accounts.close());
    assert_eq!(world.at_destination().uids("Large").len(), 90);
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_deleted_between_survey_and_fetch_are_deferred_and_harm_nothing() {
    const N: usize = 300;
    let mut world = World::new().await;
    let mut here = world.at_source();
    let uids = here.append_many("INBOX", &thick(N, "thick"));
    let here = Mutex::new(here);
    // The survey is over when the first body is asked for.
    let delete = move || {
        let mut here = here.lock().expect("not poisoned");
        here.expunge_uids("INBOX", &uids[N - 30..]);
        Then::GoOn
    };
    let bodies = When::verb("UID FETCH").containing("BODY.PEEK[]");
    let tap = world.tap_source();
    tap.set(bodies, What::call(delete));
    let report = world.seed().await;
    let accounts = report.record.accounts;
    assert!(accounts.close(), "{accounts:?}");
    assert_eq!(accounts.copied + accounts.deferred, N as u64, "{accounts:?}");
    assert_eq!((accounts.deferred, tap.fired()), (30, 1), "{accounts:?}");
    let report = world.delta().await;
    assert_eq!(report.record.accounts.copied, 0);
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_account_stops_the_pass_and_is_filled_up_once_there_is_room() {
    // A batch of one command is refused whole; with a command each, what fits is taken.
    let destination = Dovecot::builder().no_multiappend().quota("300k").start();
    let mut world = World::between(Dovecot::start(), destination).await;
    world.at_source().append_many("INBOX", &thick(60, "thick"));
    let error = world.try_pass(PassKind::Seed).await.expect_err("it does not fit");
    assert!(
        matches!(
            &error,
            Error::Platform { side: Side::Destination, error: platform::Error::Quota { .. } }
        ),
        "{error}"
    );
    assert!(!world.at_destination().uids("INBOX").is_empty(), "what fits is there");
    world.destination.reconfigure(|b| b.quota("10M"));
    world.seed().await;
    world.assert_same_but(&Options::any_order());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_the_destination_will_not_take_costs_only_itself() {
    for hidden in [&[][..], &["MULTIAPPEND"], &["MULTIAPPEND", "LITERAL+", "UIDPLUS"]] {
        let destination = Dovecot::builder().max_size("20k").hide(hidden).start();
        let world = World::between(Dovecot::start(), destination).await;
        let mut mails: Vec<_> = (0..40).map(|n| note(&format!("note {n}"))).collect();
        mails[17].bytes.extend(std::iter::repeat_n(b"line of text\r\n", 3_000).flatten());
        // Nothing but a header, and not even an empty line after it.
        mails[23].bytes = b"Subject: bare\r\n".to_vec();
        world.at_source().append_many("INBOX", &mails);
        let first = world.seed().await.record.accounts;
        assert_eq!((first.copied, first.failed + first.skipped), (39, 1), "{hidden:?} {first:?}");
        let mut there = subjects(&mut world.at_destination(), "INBOX");
        there.sort();
        there.dedup();
        assert_eq!(there.len(), 39, "{hidden:?}");
        for _ in 0..3 {
            let again = world.delta().await.record.accounts;
            assert!(again.close() && again.copied == 0, "{again:?}");
        }
        let last = world.delta().await.record.accounts;
        assert_eq!((last.skipped, last.failed), (1, 0), "{hidden:?}: given up after some tries");
        let failures = world.context().ledger.failures(&world.key()).await.expect("failures");
        assert_eq!(failures.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_moved_on_after_a_crash_is_not_copied_a_second_time() {
    let mut world = World::new().await;
    let mut here = world.at_source();
    here.create("Box");
    here.append_many("INBOX", &thick(190, "thick"));
    // The first batch is away after a second. While the rate holds the next one back, for almost
    // two more, its answer is not booked.
    world.mailbox.carry.rate = Some(500_000);
    let stop = CancellationToken::new();
    let progress = Progress::default();
    let crash = seed(&world, &progress, &stop);
    let crash = tokio::time::timeout(Duration::from_millis(2_000), crash).await;
    assert!(crash.is_err(), "the pass was too fast for this test");
    world.close_ledger().await;
    world.open_ledger().await;
    assert!(!world.at_destination().uids("INBOX").is_empty());
    let uids = here.uids("INBOX");
    here.uid_move("INBOX", &uids, "Box");
    world.mailbox.carry.rate = None;
    world.seed().await;
    world.assert_same_but(&Options::any_order());
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_folder_whose_messages_have_to_be_moved_is_moved_whole_after_a_cut() {
    let mut world = World::new().await;
    let tap = world.tap_destination();
    let mut here = world.at_source();
    here.create("Old");
    here.append_many("Old", &["one", "two", "three"].map(note));
    world.seed().await;
    // There is a folder of that name: theirs cannot be renamed to it.
    world.at_destination().create("New");
    here.rename_folder("Old", "New");
    tap.set(When::verb("UID MOVE"), What::Cut);
    world.try_pass(PassKind::Delta).await.expect_err("the connection is cut");
    world.delta().await;
    let mut there = world.at_destination();
    assert_eq!(subjects(&mut there, "New"), ["one", "two", "three"]);
    assert_eq!(subjects(&mut there, "Old"), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_drover_removed_without_an_answer_is_not_taken_for_removed_by_its_user() {
    for moves in [true, false] {
        let mut world = World::new().await;
        world.mailbox.carry.deletes = true;
        world.mailbox.carry.max_delete = MaxDelete::Percent(100.0);
        world.mailbox.carry.moves = moves;
        let tap = world.tap_destination();
        let mut here = world.at_source();
        for folder in ["A", "B"] {
            here.create(folder);
        }
        here.append_many("A", &["one", "two"].map(note));
        world.seed().await;
        // Looked at between the two halves of a move, it is gone from one folder and not yet in
        // the other.
        here.expunge_uids("A", &[1]);
        tap.set(When::verb("UID EXPUNGE").answered(), What::Cut);
        world.try_pass(PassKind::Delta).await.expect_err("the answer is cut off");
        here.append_many("B", &[note("one")]);
        world.delta().await;
        world.assert_same();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_refused_and_is_then_moved_from_elsewhere_is_no_failure_any_more() {
    for cut in [false, true] {
        let mut world = World::new().await;
        let tap = world.tap_destination();
        let mut here = world.at_source();
        for folder in ["A", "B"] {
            here.create(folder);
            here.append_many(folder, &[note(&format!("{folder} one"))]);
        }
        world.seed().await;
        here.uid_copy("A", &[1], "B");
        tap.set(When::verb("APPEND"), What::answer("NO [INUSE] the folder is busy"));
        assert_eq!(world.delta().await.record.accounts.lost(), 1);
        here.expunge_uids("A", &[1]);
        if cut {
            tap.set(When::verb("UID MOVE").answered(), What::Cut);
            world.try_pass(PassKind::Delta).await.expect_err("the answer is cut off");
        }
        world.delta().await;
        // What is changed is compared with all that is known of its folder.
        here.append_many("B", &[note("another")]);
        let accounts = world.delta().await.record.accounts;
        assert_eq!((accounts.copied, accounts.lost()), (1, 0));
        world.assert_same();
    }
}
