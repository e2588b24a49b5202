//! Many folders with a few messages each: carried together, exactly as each by itself.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use drover::definition::MaxDelete;
use drover::model::PassKind;
use drover::sync::{Error, Side};
use support::mail::Mail;
use support::proxy::{Proxy, Then, What, When};
use support::{Dovecot, Options, World, note, subjects};

const FOLDERS: usize = 12;

fn name(n: usize) -> String {
    format!("Small {n:02}")
}

/// Two new messages in each folder, over one connection.
async fn small_folders(destination: Dovecot) -> (World, Proxy, Proxy) {
    let mut world = World::between(Dovecot::start(), destination).await;
    let (here, there) = (world.tap_source(), world.tap_destination());
    world.connect_through(&here, &there, 1);
    for n in 0..FOLDERS {
        world.at_source().create(&name(n));
    }
    deliver(&world, "first");
    (world, here, there)
}

fn deliver(world: &World, text: &str) {
    for n in 0..FOLDERS {
        let mails = [1, 2].map(|m| note(&format!("{text} {m} of {n}")));
        world.at_source().append_many(&name(n), &mails);
    }
}

/// Holds the first answer to a command with such a text until it was heard for all folders; true if
/// it was.
fn hold_until_all(at: &Proxy, verb: &str, text: &'static str) -> Arc<AtomicBool> {
    let (proxy, were_heard) = (at.clone(), Arc::new(AtomicBool::new(false)));
    let noted = Arc::clone(&were_heard);
    let hold = What::call(move || {
        for _ in 0..200 {
            if proxy.heard().iter().filter(|line| line.contains(text)).count() >= FOLDERS {
                noted.store(true, Ordering::SeqCst);
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Then::GoOn
    });
    at.set(When::verb(verb).containing(text).answered(), hold);
    were_heard
}

#[tokio::test(flavor = "multi_thread")]
async fn no_folder_is_waited_for_before_the_next_is_opened_and_read_and_filled() {
    // Where the machine halts in the middle, what has come by then is sent alone.
    for _ in 0..3 {
        let (world, here, there) = small_folders(Dovecot::start()).await;
        let opened = hold_until_all(&there, "SELECT", "SELECT \"Small ");
        let filled = hold_until_all(&there, "APPEND", "APPEND \"Small ");
        let read = hold_until_all(&here, "UID FETCH", "BODY.PEEK[]");
        world.seed().await;
        world.assert_same();
        assert!(world.delta().await.quiet);
        assert!(opened.load(Ordering::SeqCst) && read.load(Ordering::SeqCst));
        if filled.load(Ordering::SeqCst) {
            return;
        }
    }
    panic!("each folder waited for the one before");
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_of_many_sizes_are_carried_over_several_connections_and_stay_in_order() {
    let mut world = World::new().await;
    for n in 0..30 {
        let mails: Vec<Mail> = (0..1 + n * 3).map(|m| note(&format!("{m} of {n}"))).collect();
        world.at_source().create(&name(n));
        world.at_source().append_many(&name(n), &mails);
    }
    let there = world.tap_destination();
    world.seed().await;
    world.assert_same();
    assert!(there.connections() > 1);
    assert!(world.verify().await.is_equal());
    deliver(&world, "late");
    let report = world.delta().await;
    assert_eq!(report.record.accounts.copied, 2 * FOLDERS as u64);
    world.assert_same();
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_refused_among_them_is_the_only_one_missing() {
    let (world, _here, _there) = small_folders(Dovecot::builder().max_size("20k").start()).await;
    let large = note("too large");
    let large =
        Mail { bytes: [large.bytes, b"0123456789abcde\r\n".repeat(2_000)].concat(), ..large };
    world.at_source().append_many(&name(4), &[large, note("after it")]);
    let report = world.seed().await;
    let lost = report.record.accounts.failed + report.record.accounts.skipped;
    assert_eq!((report.record.accounts.copied, lost), (2 * FOLDERS as u64 + 1, 1));
    let there = subjects(&mut world.at_destination(), &name(4));
    assert_eq!(there, ["first 1 of 4", "first 2 of 4", "after it"]);
    for n in (0..FOLDERS).filter(|&n| n != 4) {
        let [here, there] =
            [world.at_source(), world.at_destination()].map(|mut at| subjects(&mut at, &name(n)));
        assert_eq!(here, there);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_among_them_loses_and_doubles_nothing() {
    let append = || When::verb("APPEND");
    for when in [append(), append().in_literal(), append().sent(), append().answered()] {
        let (world, _here, there) = small_folders(Dovecot::start()).await;
        there.set(when.nth(5), What::Cut);
        let error = world.try_pass(PassKind::Seed).await.expect_err("it was cut");
        assert!(matches!(error, Error::Platform { side: Side::Destination, .. }), "{error}");
        world.seed().await;
        world.assert_same_but(&Options::any_order());
        assert!(world.delta().await.quiet);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_hangs_up_among_them_is_asked_again() {
    for nth in [1, 4, FOLDERS as u64] {
        let (world, here, _there) = small_folders(Dovecot::start()).await;
        here.set(When::verb("UID FETCH").containing("BODY.PEEK[]").nth(nth).in_answer(), What::Cut);
        world.seed().await;
        world.assert_same();
        assert!(world.delta().await.quiet);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_gives_no_more_among_them_ends_the_pass_and_loses_nothing() {
    for nth in [1, 4, FOLDERS as u64] {
        let (world, here, _there) = small_folders(Dovecot::start()).await;
        let read = When::verb("UID FETCH").containing("BODY.PEEK[]").nth(nth);
        here.set(read, What::answer("NO [UNAVAILABLE] later"));
        let pass = tokio::time::timeout(Duration::from_secs(60), world.try_pass(PassKind::Seed));
        let error = pass.await.expect("it ends").expect_err("not all came");
        assert!(matches!(error, Error::Platform { side: Side::Source, .. }), "{error}");
        world.seed().await;
        world.assert_same();
        assert!(world.delta().await.quiet);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_asked_for_again_come_out_of_their_own_folder() {
    // By then the server has been told to open all the others.
    let (world, here, _there) = small_folders(Dovecot::start()).await;
    let third = When::verb("UID FETCH").containing("BODY.PEEK[]").nth(3);
    here.set(third, What::answer("NO [CANNOT] not these two together"));
    world.seed().await;
    world.assert_same();
    assert!(world.verify().await.is_equal());
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_say_no_ids_are_looked_for() {
    let (world, _here, there) = small_folders(Dovecot::start()).await;
    for nth in [3, 7] {
        there.set(When::verb("APPEND").nth(nth).answered(), What::rewrite("OK done, somewhere"));
    }
    world.seed().await;
    world.assert_same();
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_dies_at_any_commit_is_made_good() {
    for n_commits in 0..8 {
        let (mut world, _here, _there) = small_folders(Dovecot::start()).await;
        world.context().ledger.fail_after(n_commits);
        let died = world.try_pass(PassKind::Seed).await.is_err();
        world.close_ledger().await;
        world.open_ledger().await;
        world.seed().await;
        world.assert_same();
        assert!(world.delta().await.quiet);
        assert!(died || n_commits > 3, "more commits than {n_commits} for {FOLDERS} folders");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_its_user_removed_is_made_again_for_new_mail_and_holds_up_no_other() {
    let (world, _here, _there) = small_folders(Dovecot::start()).await;
    world.seed().await;
    world.at_destination().delete_folder(&name(5));
    deliver(&world, "second");
    let report = world.delta().await;
    assert_eq!(report.record.accounts.copied, 2 * FOLDERS as u64);
    let there = subjects(&mut world.at_destination(), &name(5));
    assert_eq!(there, ["second 1 of 5", "second 2 of 5"]);
    let there = subjects(&mut world.at_destination(), &name(6));
    assert_eq!(there.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_folder_is_opened_while_changes_of_this_one_are_answered() {
    // A move opens two: where it goes, and where it comes from.
    for (verb, opens) in [("UID STORE", 1), ("UID EXPUNGE", 1), ("UID MOVE", 2)] {
        let (mut world, _here, there) = small_folders(Dovecot::start()).await;
        world.mailbox.carry.deletes = true;
        world.mailbox.carry.max_delete = MaxDelete::Percent(100.0);
        world.seed().await;
        for n in 0..FOLDERS {
            match verb {
                "UID STORE" => world.at_source().store(&name(n), &[1], "+FLAGS (\\Flagged)"),
                "UID EXPUNGE" => world.at_source().expunge_uids(&name(n), &[1]),
                _ => world.at_source().uid_move(&name(n), &[1], &name((n + 1) % FOLDERS)),
            }
        }
        let (before, next) = (there.heard().len(), AtomicBool::new(false));
        let (proxy, were_opened) = (there.clone(), Arc::new(next));
        let noted = Arc::clone(&were_opened);
        let hold = What::call(move || {
            for _ in 0..200 {
                let heard = &proxy.heard()[before..];
                let selects = heard.iter().filter(|line| line.contains("SELECT \"Small "));
                if selects.count() >= 2 * opens {
                    noted.store(true, Ordering::SeqCst);
                    break;
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            Then::GoOn
        });
        there.set(When::verb(verb).answered(), hold);
        world.delta().await;
        assert!(were_opened.load(Ordering::SeqCst), "{verb}: {:?}", &there.heard()[before..]);
        world.assert_same();
        assert!(world.delta().await.quiet);
    }
}

/// Dovecot 2.3 says OK to both otherwise, and what was marked may stay, if another connection removes
/// something from the folder meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_expunged_before_the_server_has_said_that_it_is_marked() {
    let (mut world, _here, there) = small_folders(Dovecot::start()).await;
    world.mailbox.carry.deletes = true;
    world.mailbox.carry.max_delete = MaxDelete::Percent(100.0);
    world.seed().await;
    (0..FOLDERS).for_each(|n| world.at_source().expunge_uids(&name(n), &[1]));
    let (proxy, came_early) = (there.clone(), Arc::new(AtomicBool::new(false)));
    let noted = Arc::clone(&came_early);
    let hold = What::call(move || {
        std::thread::sleep(Duration::from_millis(300));
        let last = proxy.heard().pop().unwrap_or_default();
        noted.store(!last.contains("UID STORE"), Ordering::SeqCst);
        Then::GoOn
    });
    there.set(When::verb("UID STORE").answered(), hold);
    world.delta().await;
    assert!(!came_early.load(Ordering::SeqCst), "{:?}", there.heard());
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_changes_at_the_destination_is_shared_by_connections_too() {
    let mut world = World::mirroring().await;
    for n in 0..FOLDERS {
        world.at_source().create(&name(n));
    }
    deliver(&world, "first");
    let there = world.tap_destination();
    world.seed().await;
    for deed in ["flags", "moves", "removals"] {
        for n in 0..FOLDERS {
            let mut here = world.at_source();
            let ids = here.uids(&name(n));
            let (first, last) = (ids[0], ids[ids.len() - 1]);
            match deed {
                "flags" => here.store(&name(n), &[first], "+FLAGS (\\Flagged)"),
                "moves" => here.uid_move(&name(n), &[first], &name((n + 1) % FOLDERS)),
                _ => here.expunge_uids(&name(n), &[last]),
            }
        }
        let before = there.connections();
        world.delta().await;
        assert!(there.connections() - before > 1, "{deed}");
        world.assert_same_but(&Options::any_order());
        assert!(world.delta().await.quiet, "{deed}");
    }
}
