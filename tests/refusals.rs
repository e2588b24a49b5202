//! A refusal, or words without sense, at any command of a pass, from either side: the pass ends within
//! bounds, and once the servers are well again, the next passes bring the mailbox to what it ought to
//! be, with nothing lost and nothing doubled (laws 2 and 7).
//!
//! Every few commands by default, others on each run; `SEED=` repeats one. With
//! `DROVER_TORTURE=full` every command.

mod support;

use std::time::Duration;

use drover::definition::MaxDelete;
use drover::model::PassKind;
use support::proxy::{What, When};
use support::tapped::BOUND;
use support::{Dovecot, Imap, Pair, Tapped, is_full, note, seed};

const FOLDERS: usize = 10;
/// In the short form, of each side and pass.
const CASES: usize = 12;

fn name(n: usize) -> String {
    format!("Folder {n}")
}

/// Many folders with little in them, and one with more.
fn fill(here: &mut Imap) {
    for n in 0..FOLDERS {
        here.create(&name(n));
        here.append_many(&name(n), &[1, 2, 3].map(|m| note(&format!("{m} of {n}"))));
    }
    let mails: Vec<_> = (0..120).map(|m| note(&format!("mail {m}"))).collect();
    here.append_many("INBOX", &mails);
}

/// What a user does: flags, moves, removals and new mail in every folder.
fn change(here: &mut Imap) {
    for n in 0..FOLDERS {
        here.store(&name(n), &[2], "+FLAGS (\\Flagged)");
        here.uid_move(&name(n), &[1], &name((n + 1) % FOLDERS));
        here.expunge_uids(&name(n), &[3]);
        here.append_many(&name(n), &[note(&format!("new in {n}"))]);
    }
}

/// In which words to speak of it, when it happens, and what.
type Said = (&'static str, fn(u64) -> When, What);

/// What is said in a command's place, or after it was carried out.
fn sayings() -> [Said; 4] {
    let before = |n| When::command(n).before();
    let after = |n| When::command(n).answered();
    [
        ("not done, refused for now", before, What::answer("NO [UNAVAILABLE] not now")),
        ("done, refused for now", after, What::rewrite("NO [UNAVAILABLE] not now")),
        ("not done, not understood", before, What::answer("BAD what do you mean")),
        ("nonsense", after, What::inject("* 1 FETCH (UID 1 BODY[] {9999999999}\r\n")),
    ]
}

/// At which of so many commands, from 1, what is said: every one, or a few of them.
fn cases(commands: u64) -> impl Iterator<Item = (u64, Said)> {
    let sayings = sayings();
    let all = commands as usize * sayings.len();
    // Odd: else it would always be the same that is said.
    let stride = if is_full() { 1 } else { (all / CASES) | 1 };
    let first = seed("SEED") as usize % stride;
    let at = move |n: usize| (1 + (n / sayings.len()) as u64, sayings[n % sayings.len()].clone());
    (first..all).step_by(stride).map(at)
}

/// A mailbox of its own between these servers, over two connections to each, ready for this pass.
async fn ready(servers: &Pair, kind: PassKind) -> Tapped {
    let mut case = servers.tapped(2).await;
    case.world.context_mut().options.idle = Duration::from_secs(5);
    case.world.mailbox.carry.deletes = true;
    case.world.mailbox.carry.max_delete = MaxDelete::Percent(100.0);
    fill(&mut case.world.at_source());
    if kind == PassKind::Delta {
        case.pass(PassKind::Seed).await.expect("undisturbed");
        change(&mut case.world.at_source());
    }
    case
}

async fn refused_at_any_command(side: usize, kind: PassKind) {
    let servers = Pair::of(Dovecot::start(), Dovecot::start());
    let whole = ready(&servers, kind).await;
    let before = whole.proxies[side].commands();
    whole.pass(kind).await.expect("undisturbed");
    let commands = whole.proxies[side].commands() - before;
    for (command, (what, when, saying)) in cases(commands) {
        let hint = format!("side {side}, {kind:?}, command {command}: {what}");
        let case = ready(&servers, kind).await;
        let proxy = &case.proxies[side];
        proxy.set(when(proxy.commands() + command), saying);
        // The last ones nobody waits for.
        let _ = case.pass(kind).await;
        case.ends_equal(&hint).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_source_says_at_any_command_of_a_seed_costs_only_time() {
    refused_at_any_command(0, PassKind::Seed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_destination_says_at_any_command_of_a_seed_costs_only_time() {
    refused_at_any_command(1, PassKind::Seed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_source_says_at_any_command_of_a_delta_costs_only_time() {
    refused_at_any_command(0, PassKind::Delta).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_destination_says_at_any_command_of_a_delta_costs_only_time() {
    refused_at_any_command(1, PassKind::Delta).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_said_at_any_command_a_comparison_ends_and_is_never_wrong() {
    let servers = Pair::of(Dovecot::start(), Dovecot::start());
    let case = ready(&servers, PassKind::Seed).await;
    case.pass(PassKind::Seed).await.expect("undisturbed");
    for proxy in &case.proxies {
        let before = proxy.commands();
        assert!(case.world.verify().await.is_equal());
        for (command, (what, when, saying)) in cases(proxy.commands() - before) {
            proxy.set(when(proxy.commands() + command), saying);
            let options = case.world.compare_all();
            let compared = tokio::time::timeout(BOUND, case.world.try_verify(&options)).await;
            let hint = format!("command {command}: {what}");
            // What cannot be read is told of, but no message is said to be missing.
            if let Ok(found) = compared.unwrap_or_else(|_| panic!("{hint}: it hangs")) {
                assert!(found.is_equal(), "{hint}: {found:?}");
            }
            proxy.clear();
        }
    }
}
