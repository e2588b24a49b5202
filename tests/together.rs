//! A large folder that is filled over several connections, when others have nothing left to do.

mod support;

use std::time::Duration;

use drover::model::PassKind;
use drover::sync::{Error, Side};
use support::mail::{self, FOLDERS, Mail};
use support::proxy::Direction::ToClient;
use support::proxy::{Proxy, Then, What, When};
use support::{Dovecot, Options, World, note};

const LARGE: usize = 900;

/// A large inbox beside small folders, and a proxy before the destination: an inbox that takes its time
/// leaves the connections for the others without anything to do.
async fn mostly_inbox(destination: Dovecot, messages: Vec<Mail>) -> (World, Proxy) {
    let mut world = World::between(Dovecot::start(), destination).await;
    let mut here = world.at_source();
    mail::fill(&mut here, 40, &FOLDERS[1..5], 3);
    here.append_many("INBOX", &messages);
    let proxy = world.tap_destination();
    proxy.always(to_the_inbox().answered(), What::Delay(Duration::from_millis(100)));
    (world, proxy)
}

fn many() -> Vec<Mail> {
    (0..LARGE).map(|n| mail::message(n, 5)).collect()
}

/// A message with so many lines of 17 bytes below its own.
fn with_lines(n: usize, lines: usize) -> Mail {
    let note = note(&format!("note {n}"));
    Mail { bytes: [note.bytes, b"0123456789abcde\r\n".repeat(lines)].concat(), ..note }
}

fn to_the_inbox() -> When {
    When::verb("APPEND").containing("\"INBOX\"")
}

/// Connections that opened the inbox to write into it.
fn hands(proxy: &Proxy) -> usize {
    proxy.heard().iter().filter(|line| line.contains("SELECT \"INBOX\"")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_folder_is_filled_over_several_connections_in_the_sources_order() {
    let (world, proxy) = mostly_inbox(Dovecot::start(), many()).await;
    // Some come late: those after them have all their bytes there, and wait all the same.
    for n in [4, 5, 9, 14] {
        proxy.set(to_the_inbox().nth(n), What::Delay(Duration::from_millis(300)));
    }
    world.seed().await;
    assert_eq!(hands(&proxy), 4, "{:?}", proxy.heard());
    world.assert_same();
    assert!(world.verify().await.is_equal());
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_opened_to_help_a_mailbox_that_is_one_large_folder() {
    for (messages, expected) in [(400, 4), (30, 1)] {
        let mut world = World::between(Dovecot::start(), Dovecot::start()).await;
        let mails: Vec<Mail> = (0..messages).map(|n| with_lines(n, 2_400)).collect();
        world.at_source().append_many("INBOX", &mails);
        let proxy = world.tap_destination();
        proxy.always(to_the_inbox().answered(), What::Delay(Duration::from_millis(100)));
        world.seed().await;
        assert_eq!(hands(&proxy), expected, "{:?}", proxy.heard());
        world.assert_same();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_long_line_a_large_folder_is_filled_together_in_larger_batches() {
    let mut world = World::between(Dovecot::start(), Dovecot::start()).await;
    let mails: Vec<Mail> = (0..2_000).map(|n| with_lines(n, 900)).collect();
    world.at_source().append_many("INBOX", &mails);
    let proxy = world.tap_destination();
    let far = || What::Delay(Duration::from_millis(60));
    proxy.always(When::byte(ToClient, 0).on_each_connection(), far());
    proxy.always(When::verb("AUTHENTICATE").answered(), far());
    proxy.always(to_the_inbox().answered(), What::Delay(Duration::from_millis(200)));
    world.seed().await;
    assert_eq!(hands(&proxy), 4, "{:?}", proxy.heard());
    world.assert_same();
    // They are sent in one line each, without literals.
    let batches = proxy.heard().iter().filter(|line| line.contains("APPEND \"INBOX\"")).count();
    assert!(batches < 2_000 / 100, "{batches}");
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_outweighs_all_others_is_helped_from_the_beginning() {
    let mut world = World::between(Dovecot::start(), Dovecot::start()).await;
    let mut here = world.at_source();
    mail::fill(&mut here, 800, &FOLDERS[1..9], 3);
    let mails: Vec<Mail> = (0..1_200).map(|n| with_lines(n, 600)).collect();
    here.append_many("INBOX", &mails);
    let proxy = world.tap_destination();
    proxy.always(When::verb("APPEND").answered(), What::Delay(Duration::from_millis(100)));
    world.seed().await;
    let heard = proxy.heard();
    let opened: Vec<&String> = heard.iter().filter(|line| line.contains(" SELECT ")).collect();
    let is_inbox = |line: &&&String| line.contains("\"INBOX\"");
    let last = opened.iter().rposition(|line| !is_inbox(&line)).expect("other folders");
    let helped = opened[..last].iter().filter(is_inbox).count();
    assert!(helped > 1, "with others still to come: {opened:?}");
    world.assert_same();
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_without_multiappend_is_filled_over_one() {
    let (world, proxy) = mostly_inbox(Dovecot::builder().no_multiappend().start(), many()).await;
    proxy.clear();
    world.seed().await;
    assert_eq!(hands(&proxy), 1);
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_refused_among_them_is_the_only_one_missing() {
    let mut messages: Vec<Mail> = (0..LARGE).map(|n| note(&format!("note {n}"))).collect();
    let large = Mail {
        bytes: [note("large").bytes, vec![b'x'; 60_000], b"\r\n".to_vec()].concat(),
        ..note("large")
    };
    messages.insert(700, large);
    let destination = Dovecot::builder().max_size("50k").hide(&["APPENDLIMIT"]).start();
    let (mut world, proxy) = mostly_inbox(destination, messages).await;
    let report = world.seed().await;
    assert_eq!(report.record.accounts.failed, 1);
    assert!(hands(&proxy) > 1, "{:?}", proxy.heard());
    // It comes when it may, at the end.
    world.destination.reconfigure(|builder| builder.max_size("1M"));
    world.delta().await;
    world.assert_same_but(&Options::any_order());
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_among_them_loses_and_doubles_nothing() {
    for (nth, when) in [
        (5, to_the_inbox().in_literal()),
        (6, to_the_inbox().sent()),
        (7, to_the_inbox().answered()),
        (8, to_the_inbox()),
    ] {
        let (world, proxy) = mostly_inbox(Dovecot::start(), many()).await;
        proxy.set(when.nth(nth), What::Cut);
        let error = world.try_pass(PassKind::Seed).await.expect_err("it was cut");
        assert!(matches!(error, Error::Platform { side: Side::Destination, .. }), "{error}");
        assert!(hands(&proxy) > 1, "{:?}", proxy.heard());
        world.seed().await;
        world.assert_same_but(&Options::any_order());
        assert!(world.delta().await.quiet);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_does_not_wait_for_ever_for_its_turn() {
    let (world, proxy) = mostly_inbox(Dovecot::start(), many()).await;
    // As if the server let nobody in before the next one is done.
    proxy.set(to_the_inbox().nth(6), What::Delay(Duration::from_secs(14)));
    world.seed().await;
    world.assert_same_but(&Options::any_order());
    assert!(world.delta().await.quiet);
    let mut there = world.at_destination();
    let in_order = support::subjects(&mut there, "INBOX");
    assert_ne!(in_order, support::subjects(&mut world.at_source(), "INBOX"), "it went ahead");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_answer_says_no_ids_is_looked_for_and_the_folder_filled_over_one() {
    let (world, proxy) = mostly_inbox(Dovecot::start(), many()).await;
    proxy.set(to_the_inbox().nth(6).answered(), What::rewrite("OK done, somewhere"));
    world.seed().await;
    world.assert_same();
    assert!(world.delta().await.quiet);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_is_stopped_while_several_fill_a_folder_goes_on_where_it_stood() {
    use std::sync::Arc;

    use drover::sync::{self, Progress};
    use tokio_util::sync::CancellationToken;

    let (world, proxy) = mostly_inbox(Dovecot::start(), many()).await;
    let (progress, stop) = (Progress::default(), CancellationToken::new());
    let stopping = stop.clone();
    let now = move || {
        stopping.cancel();
        Then::GoOn
    };
    proxy.set(to_the_inbox().nth(8), What::call(now));
    let mailbox = Arc::new(world.mailbox.clone());
    let stopped = sync::run(world.context(), &mailbox, PassKind::Seed, &progress, &stop).await;
    assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
    assert!(hands(&proxy) > 1, "{:?}", proxy.heard());
    let before = progress.read().messages;
    assert!(before < LARGE as u64, "{before}");
    let report = world.seed().await;
    assert_eq!(report.record.accounts.copied, LARGE as u64 + 40 - before);
    world.assert_same();
}
