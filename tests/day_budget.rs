//! `daily_bytes`: what an account may give or take in a day, for platforms that shut out who asks for
//! more.

mod support;

use std::sync::Arc;

use drover::definition::Account;
use drover::model::PassKind;
use drover::platform::Retry;
use drover::sync::{Error, Side};
use support::World;
use support::mail::message;

const MESSAGES: usize = 40;

/// Forty messages at the source, of some kilobytes each.
async fn filled() -> (World, u64) {
    let world = World::new().await;
    let mut mail: Vec<_> = (0..MESSAGES).map(|n| message(n, 7)).collect();
    for mail in &mut mail {
        mail.bytes.extend_from_slice("0123456789abcdef\r\n".repeat(300).as_bytes());
    }
    world.at_source().append_many("INBOX", &mail);
    (world, mail.iter().map(|mail| mail.bytes.len() as u64).sum())
}

fn limit(account: &mut Account, bytes: u64) {
    Arc::make_mut(&mut account.endpoint).daily_bytes = Some(bytes);
}

/// How many are at the destination.
fn there(world: &World) -> usize {
    world.at_destination().uids("INBOX").len()
}

async fn spent(world: &World) -> Side {
    match world.try_pass(PassKind::Seed).await {
        Err(error @ Error::DayBudget { side, .. }) => {
            assert!(matches!(error.retry(), Retry::After(wait) if wait.as_secs() > 23 * 3600));
            side
        }
        other => panic!("the pass did not stop at the budget: {other:?}"),
    }
}

#[tokio::test]
async fn a_pass_stops_when_the_source_has_given_a_days_worth() {
    let (mut world, all) = filled().await;
    // One batch at a time, so that what is on its way is little.
    world.context_mut().memory = drover::flow::Memory::new(64 << 10);
    limit(&mut world.mailbox.source, all / 2);
    assert_eq!(spent(&world).await, Side::Source);
    let copied = there(&world);
    assert!((MESSAGES / 2..MESSAGES).contains(&copied), "{copied} of {MESSAGES}");
}

#[tokio::test]
async fn or_when_the_destination_has_taken_it() {
    let (mut world, all) = filled().await;
    world.context_mut().memory = drover::flow::Memory::new(64 << 10);
    limit(&mut world.mailbox.destination, all / 2);
    assert_eq!(spent(&world).await, Side::Destination);
    let copied = there(&world);
    assert!((MESSAGES / 4..MESSAGES).contains(&copied), "{copied} of {MESSAGES}");
}

#[tokio::test]
async fn nothing_is_copied_until_there_is_something_left_and_then_the_rest() {
    let (mut world, all) = filled().await;
    world.context_mut().memory = drover::flow::Memory::new(64 << 10);
    limit(&mut world.mailbox.source, all / 2);
    spent(&world).await;
    let copied = there(&world);
    spent(&world).await;
    assert_eq!(there(&world), copied);
    limit(&mut world.mailbox.source, 2 * all);
    world.seed().await;
    assert!(world.verify().await.is_equal());
}

#[tokio::test]
async fn what_was_spent_is_known_after_a_restart() {
    let (mut world, all) = filled().await;
    limit(&mut world.mailbox.source, all);
    world.seed().await;
    world.close_ledger().await;
    world.open_ledger().await;
    world.at_source().append_many("INBOX", &[message(MESSAGES, 7)]);
    spent(&world).await;
    assert_eq!(there(&world), MESSAGES);
}

#[tokio::test]
async fn two_mailboxes_that_use_one_account_spend_of_the_same() {
    let (mut world, all) = filled().await;
    limit(&mut world.mailbox.source, all);
    world.seed().await;
    world.mailbox.destination.user = "berta".into();
    spent(&world).await;
    assert_eq!(there(&world), 0);
}

#[tokio::test]
async fn a_pass_that_copies_nothing_needs_no_budget() {
    let (mut world, all) = filled().await;
    limit(&mut world.mailbox.source, all);
    world.seed().await;
    assert!(world.delta().await.quiet);
}
