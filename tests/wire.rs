//! Whole passes over wires that break, stall, dawdle and lie, on both sides. Whatever happens, a
//! pass ends within bounds; and once the wire is sound again, the next passes bring the mailbox
//! to what it ought to be, with nothing lost and nothing doubled (laws 2 and 7).
//!
//! Offsets come from a seed that is printed; `SEED=` repeats them. `DROVER_TORTURE=full` tries
//! every byte where there are few enough.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use drover::model::PassKind;
use drover::platform;
use drover::sync::Error;
use support::mail::{self, Mail, Rng};
use support::proxy::Direction::{ToClient, ToServer};
use support::proxy::{Direction, Then, What, When};
use support::{Dovecot, Imap, Pair, Tapped, is_full, note, seed};

/// How long servers may be silent where they are.
const IDLE: Duration = Duration::from_millis(500);
/// And where they should not be: on a busy machine, too.
const PATIENCE: Duration = Duration::from_secs(5);

const SIDES: [usize; 2] = [0, 1];

/// Two servers, and a user for each case.
struct Stage {
    servers: Pair,
    is_encrypted: bool,
}

impl Stage {
    fn plain() -> Self {
        Self { servers: Pair::of(Dovecot::start(), Dovecot::start()), is_encrypted: false }
    }

    fn encrypted() -> Self {
        let server = || Dovecot::builder().tls().start();
        Self { servers: Pair::of(server(), server()), is_encrypted: true }
    }

    /// A mailbox of its own, over two connections to each side.
    async fn case(&self, fill: impl FnOnce(&mut Imap)) -> Tapped {
        self.case_over(2, fill).await
    }

    /// The same, over as many as said.
    async fn case_over(&self, connections: usize, fill: impl FnOnce(&mut Imap)) -> Tapped {
        let mut case = match self.is_encrypted {
            true => self.servers.encrypted(connections).await,
            false => self.servers.tapped(connections).await,
        };
        case.world.context_mut().options.idle = PATIENCE;
        fill(&mut case.world.at_source());
        case
    }
}

/// A bounded pass, with drover in a hurry.
async fn hurried_pass(case: &mut Tapped, kind: PassKind) -> Result<(), Error> {
    case.world.context_mut().options.idle = IDLE;
    let ended = case.pass(kind).await;
    case.world.context_mut().options.idle = PATIENCE;
    ended
}

/// One small message with a flag, and nothing else.
fn tiny(here: &mut Imap) {
    here.append_many("INBOX", &[Mail { flags: "\\Seen".into(), ..note("tiny") }]);
}

/// Some folders with mail of all kinds.
fn varied(here: &mut Imap) {
    mail::fill(here, 40, &mail::FOLDERS[..4], 9);
}

/// What users do between two passes.
fn changes(here: &mut Imap) {
    let uids = here.uids("INBOX");
    here.store("INBOX", &uids[..3], "+FLAGS (\\Flagged)");
    here.uid_move("INBOX", &uids[3..6], "Archive");
    here.append_many("INBOX", &[note("new"), note("newer")]);
    here.append_many("Sent", &[note("sent")]);
}

/// Cuts a tiny seed at the bytes of one side's direction, every one or every few.
async fn cut_at_every_byte(side: usize, direction: Direction) {
    let stage = Stage::plain();
    let whole = stage.case(tiny).await;
    whole.pass(PassKind::Seed).await.expect("undisturbed");
    let n = whole.proxies[side].bytes(direction);
    assert!(n > 100);
    let stride = if is_full() { 1 } else { n.div_ceil(40) };
    let mut at = seed("SEED") % stride;
    while at < n {
        let hint = format!("side {side}, {direction:?}, byte {at} of {n}");
        let case = stage.case(tiny).await;
        case.proxies[side].set(When::byte(direction, at), What::Cut);
        // The goodbye may be cut without harm.
        if let Err(error) = case.pass(PassKind::Seed).await {
            let is_broken =
                matches!(error, Error::Platform { error: platform::Error::Broken { .. }, .. });
            assert!(is_broken, "{hint}: {error}");
        }
        case.ends_equal(&hint).await;
        at += stride;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_source_is_told_may_break_off_at_any_byte() {
    cut_at_every_byte(0, ToServer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_source_says_may_break_off_at_any_byte() {
    cut_at_every_byte(0, ToClient).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_destination_is_told_may_break_off_at_any_byte() {
    cut_at_every_byte(1, ToServer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_destination_says_may_break_off_at_any_byte() {
    cut_at_every_byte(1, ToClient).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_passes_may_break_off_anywhere_again_and_again() {
    let stage = Stage::plain();
    let seed = seed("SEED");
    let mut rng = Rng::new(seed);
    let whole = stage.case(varied).await;
    whole.pass(PassKind::Seed).await.expect("undisturbed");
    let usual = |side: usize, direction| whole.proxies[side].bytes(direction) as usize;
    for round in 0..if is_full() { 200 } else { 12 } {
        let case = stage.case(varied).await;
        for kind in [PassKind::Seed, PassKind::Delta, PassKind::Delta] {
            if kind == PassKind::Delta {
                changes(&mut case.world.at_source());
            }
            let (side, direction) = (rng.below(2), [ToServer, ToClient][rng.below(2)]);
            let share = if kind == PassKind::Seed { 1 } else { 8 };
            let proxy = &case.proxies[side];
            let at = proxy.bytes(direction) + rng.below(usual(side, direction) / share) as u64;
            proxy.set(When::byte(direction, at), What::Cut);
            let _ = case.pass(kind).await;
            let hint = format!("SEED={seed}, round {round}, {kind:?}, side {side}, {direction:?}");
            case.ends_equal(&hint).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_in_the_middle_of_a_message_or_before_the_last_word_loses_and_doubles_nothing() {
    let append = || When::verb("APPEND");
    let stage = Stage::plain();
    for (side, when) in [
        (1, append().before()),
        (1, append().after_line()),
        (1, append().in_literal()),
        (1, append().sent()),
        (1, append().answered()),
        (1, append().nth(2).in_literal()),
        (1, append().nth(3).answered()),
        (1, When::verb("CREATE").answered()),
        (1, When::verb("SELECT").nth(2).answered()),
        (0, When::verb("EXAMINE").answered()),
        (0, When::verb("LIST").answered()),
    ] {
        for what in [What::Cut, What::CutClient] {
            let hint = format!("side {side}, {when:?}, {what:?}");
            let case = stage.case(varied).await;
            case.proxies[side].set(when.clone(), what);
            let ended = case.pass(PassKind::Seed).await;
            assert_eq!(case.proxies[side].fired(), 1, "{hint}: {:#?}", case.proxies[side].heard());
            ended.expect_err(&hint);
            case.ends_equal(&hint).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_cut_off_while_messages_are_read_is_met_again_in_the_same_pass() {
    let stage = Stage::plain();
    let fetch = || When::verb("UID FETCH").containing("BODY.PEEK[]");
    for when in
        [fetch().before(), fetch().in_answer(), fetch().nth(2).in_answer(), fetch().answered()]
    {
        for what in [What::Cut, What::CutClient] {
            let hint = format!("{when:?}, {what:?}");
            let case = stage.case(varied).await;
            case.proxies[0].set(when.clone(), what);
            case.pass(PassKind::Seed).await.unwrap_or_else(|error| panic!("{hint}: {error}"));
            assert_eq!(case.proxies[0].fired(), 1, "{hint}");
            case.ends_equal(&hint).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_lands_after_drover_was_cut_off_is_not_sent_twice() {
    let stage = Stage::plain();
    let mut case = stage.case(tiny).await;
    let late = Duration::from_secs(1);
    case.world.context_mut().settle_grace = late * 3;
    case.proxies[1].set(When::verb("APPEND"), What::Late(late));
    case.pass(PassKind::Seed).await.expect_err("cut off");
    // At once, while the batch is still under way.
    assert!(case.world.at_destination().uids("INBOX").is_empty(), "it has not landed yet");
    let report = case.world.delta().await;
    assert_eq!(report.record.accounts.copied, 0, "{:?}", report.record.accounts);
    case.ends_equal("late").await;
}

/// A pass whose `side` falls silent at this moment.
async fn stalled(stage: &Stage, side: usize, when: When) -> Result<(), Error> {
    let mut case = stage.case(tiny).await;
    case.proxies[side].set(when, What::Stall);
    let start = Instant::now();
    let ended = hurried_pass(&mut case, PassKind::Seed).await;
    assert!(start.elapsed() < IDLE * 8, "it took {:?}", start.elapsed());
    // The goodbye is said after the pass.
    while case.proxies[side].fired() == 0 {
        assert!(start.elapsed() < IDLE * 20, "it came to nothing");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    case.ends_equal("after silence").await;
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_falls_silent_at_any_command_fails_the_pass_in_time() {
    let stage = Stage::plain();
    for side in SIDES {
        for n in 1.. {
            for when in [When::command(n).before(), When::command(n).answered()] {
                let hint = format!("side {side}, {when:?}");
                match stalled(&stage, side, when).await {
                    Err(Error::Platform { error: platform::Error::Silent { .. }, .. }) => {}
                    Err(error) => panic!("{hint}: {error}"),
                    // The goodbye: nobody waits for that to succeed.
                    Ok(()) => assert!(n > 4, "{hint}: nobody noticed"),
                }
            }
            let case = stage.case(tiny).await;
            case.pass(PassKind::Seed).await.expect("undisturbed");
            if n >= case.proxies[side].commands() {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_in_the_greeting_or_in_the_middle_of_an_upload_fails_the_pass_in_time() {
    let stage = Stage::plain();
    for (side, when) in [
        (0, When::byte(ToClient, 0)),
        (1, When::byte(ToClient, 10)),
        (1, When::verb("APPEND").in_literal()),
    ] {
        let hint = format!("side {side}, {when:?}");
        let error = stalled(&stage, side, when).await.expect_err(&hint);
        let is_silence =
            matches!(error, Error::Platform { error: platform::Error::Silent { .. }, .. });
        assert!(is_silence, "{hint}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_falls_silent_in_the_middle_of_a_message_is_met_again_in_the_same_pass() {
    let stage = Stage::plain();
    let when = When::verb("UID FETCH").containing("BODY.PEEK[]").in_answer();
    stalled(&stage, 0, when).await.expect("it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_wires_and_torn_packets_change_nothing() {
    let stage = Stage::plain();
    for side in SIDES {
        for (what, is_always) in [
            (What::Split(1), false),
            (What::Split(7), false),
            (What::Delay(Duration::from_millis(15)), true),
        ] {
            let hint = format!("side {side}, {what:?}");
            let case = stage.case(varied).await;
            let proxy = &case.proxies[side];
            match is_always {
                true => proxy.always(When::any().answered(), what),
                false => proxy.always(When::byte(ToServer, 0).on_each_connection(), what),
            }
            case.pass(PassKind::Seed).await.expect(&hint);
            changes(&mut case.world.at_source());
            case.pass(PassKind::Delta).await.expect(&hint);
            assert!(proxy.fired() > 0, "{hint}");
            case.ends_equal(&hint).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_flipped_under_tls_breaks_the_connection_or_changes_nothing() {
    let stage = Stage::encrypted();
    let seed = seed("SEED");
    let mut rng = Rng::new(seed);
    // A second connection that cannot be made would be done without.
    let whole = stage.case_over(1, varied).await;
    whole.pass(PassKind::Seed).await.expect("undisturbed");
    let (rounds, mut noticed) = (if is_full() { 200 } else { 16 }, 0);
    for round in 0..rounds {
        let (side, direction) = (round % 2, [ToServer, ToClient][round / 2 % 2]);
        let case = stage.case_over(1, varied).await;
        let n = whole.proxies[side].bytes(direction) as usize;
        let at = rng.below(n) as u64;
        case.proxies[side].set(When::byte(direction, at), What::Flip);
        let hint = format!("SEED={seed}, round {round}, side {side}, {direction:?}, byte {at}");
        let ended = case.pass(PassKind::Seed).await;
        match ended {
            Err(_) => noticed += 1,
            // The source was met again in the same pass; or it came to the goodbye, which nobody
            // waits for; or it was in what TLS 1.3 does not protect, the version in a record's
            // header (RFC 8446, 5.1).
            Ok(()) => case.assert_equal(&hint),
        }
        case.ends_equal(&hint).await;
    }
    assert!(noticed * 3 > rounds, "{noticed} of {rounds} flips were noticed");
}

/// Counts panics anywhere in this process from now on.
fn panics() -> &'static AtomicU64 {
    static PANICS: AtomicU64 = AtomicU64::new(0);
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            usual(info);
        }));
    });
    &PANICS
}

/// Without TLS nobody can tell what was meant: a flag, a date or a name may arrive wrong. But
/// drover does not panic or hang, comes to rest, and every message arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_byte_flipped_in_the_clear_does_no_more_harm_than_it_must() {
    let stage = Stage::plain();
    let seed = seed("SEED");
    let mut rng = Rng::new(seed);
    let before = panics().load(Ordering::SeqCst);
    let whole = stage.case(tiny).await;
    // A flip in a user's name opens another mailbox: here, everybody exists.
    let signed_in = [0, 1].map(|side| {
        let (proxy, n) = (whole.proxies[side].clone(), Arc::new(AtomicU64::new(0)));
        let noted = Arc::clone(&n);
        let note = What::call(move || {
            noted.store(proxy.bytes(ToServer) + 8, Ordering::SeqCst);
            Then::GoOn
        });
        whole.proxies[side].set(When::verb("AUTHENTICATE").answered(), note);
        n
    });
    whole.pass(PassKind::Seed).await.expect("undisturbed");
    for round in 0..if is_full() { 600 } else { 60 } {
        let (side, direction) = (round % 2, [ToServer, ToClient][round / 2 % 2]);
        let mut case = stage.case(tiny).await;
        let n = whole.proxies[side].bytes(direction) as usize;
        let first = match direction {
            ToServer => signed_in[side].load(Ordering::SeqCst),
            ToClient => 0,
        };
        let at = first + rng.below(n - first as usize) as u64;
        case.proxies[side].set(When::byte(direction, at), What::Flip);
        let hint = format!("SEED={seed}, round {round}, side {side}, {direction:?}, byte {at}");
        let ended = hurried_pass(&mut case, PassKind::Seed).await;
        case.rest(&hint).await;
        let there = support::snapshot(&mut case.world.at_destination());
        let found: Vec<_> = there.values().flatten().collect();
        assert_eq!(found.len(), 1, "{hint}: {ended:?}: {found:?}");
    }
    assert_eq!(panics().load(Ordering::SeqCst), before, "drover panicked");
}
