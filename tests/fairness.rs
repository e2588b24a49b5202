//! Mailboxes that share servers, and servers that bear less than the definition allows.

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use drover::definition::MigrationName;
use drover::flow::Connections;
use drover::model::PassKind;
use drover::sync::{self, Progress, Report};
use support::mail::Mail;
use support::proxy::{Direction, What, When};
use support::{Dovecot, Proxy, World, note};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Fills folders of a world's source with this many messages each, of about this many bytes.
fn fill(world: &World, folders: usize, messages: usize, bytes: usize) {
    let mut at = world.at_source();
    for folder in 0..folders {
        let name = format!("F{folder}");
        at.create(&name);
        let message = |n| {
            let mut mail = note(&format!("{} {folder} {n}", world.mailbox.source.user));
            mail.bytes.extend(std::iter::repeat_n(*b"0123456789abcde\r\n", bytes / 17).flatten());
            mail
        };
        let mails: Vec<Mail> = (0..messages).map(message).collect();
        at.append_many(&name, &mails);
    }
}

/// Begins a seed.
fn begin(world: &World, progress: &Progress) -> JoinHandle<Report> {
    let (context, progress) = (world.context().clone(), progress.clone());
    let mailbox = Arc::new(world.mailbox.clone());
    tokio::spawn(async move {
        let stop = CancellationToken::new();
        let pass = sync::run(&context, &mailbox, PassKind::Seed, &progress, &stop).await;
        pass.unwrap_or_else(|error| panic!("the pass failed: {error}"))
    })
}

/// Two servers behind proxies, and mailboxes between them that share what a daemon shares.
struct Shared {
    servers: (Dovecot, Dovecot),
    proxies: (Proxy, Proxy),
    connections: Connections,
}

impl Shared {
    fn new(connections_per_server: usize) -> Self {
        let servers = (Dovecot::start(), Dovecot::start());
        let proxies = (Proxy::before(servers.0.port()), Proxy::before(servers.1.port()));
        Self { servers, proxies, connections: Connections::new(connections_per_server) }
    }

    /// A mailbox with this many connections, in a migration of its own.
    async fn mailbox(&self, user: &str, connections: usize) -> World {
        let (source, destination) = (self.servers.0.handle(), self.servers.1.handle());
        let mut world = World::of(user, source, destination).await;
        world.connect_through(&self.proxies.0, &self.proxies.1, connections);
        world.mailbox.migration = MigrationName(user.into());
        world.context_mut().connections = self.connections.clone();
        world
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_mailbox_that_has_all_connections_makes_way_for_small_ones_and_ends_exact() {
    let shared = Shared::new(4);
    let mut large = shared.mailbox("large", 4).await;
    fill(&large, 6, 200, 500);
    large.mailbox.carry.rate = Some(150_000);
    let progress = Progress::default();
    let seed = begin(&large, &progress);
    let is_at_full_width = || shared.proxies.1.connections() == 4 && progress.read().messages > 100;
    while !is_at_full_width() {
        assert!(!seed.is_finished(), "it was to take longer");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let mut small = Vec::new();
    for n in 0..6 {
        let world = shared.mailbox(&format!("small{n}"), 2).await;
        fill(&world, 2, 30, 100);
        small.push(world);
    }
    let began = Instant::now();
    let passes: Vec<_> = small.iter().map(|world| begin(world, &Progress::default())).collect();
    for pass in passes {
        assert_eq!(pass.await.expect("the pass does not panic").record.accounts.copied, 60);
    }
    let (took, done) = (began.elapsed(), progress.read());
    assert!(
        done.messages < done.messages_total * 9 / 10,
        "after {took:?} the large one had {} of {}",
        done.messages,
        done.messages_total
    );

    let report = seed.await.expect("the pass does not panic");
    assert_eq!(report.record.accounts.copied, 1200);
    // It got its lanes again.
    assert!(shared.proxies.1.connections() > 4 + 6, "{}", shared.proxies.1.connections());
    for world in small.iter().chain([&large]) {
        world.assert_same();
    }
    assert!(large.delta().await.quiet, "every folder is settled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_whose_folders_are_still_being_made_makes_way_for_another() {
    let shared = Shared::new(4);
    let large = shared.mailbox("large", 4).await;
    // Two connections for all, and two that are to help with the largest folder.
    fill(&large, 1, 1_000, 9_000);
    let mut at = large.at_source();
    for folder in 1..4 {
        let name = format!("G{folder}");
        at.create(&name);
        at.append_many(&name, &[note("hello")]);
    }
    // The answers come one by one: six seconds for all four.
    let making = What::Delay(Duration::from_millis(1_500));
    shared.proxies.1.always(When::verb("CREATE").answered(), making);
    // For the others it is long enough if each has a connection, not if two share one.
    let to_an_inbox = When::verb("APPEND").containing("\"INBOX\"");
    shared.proxies.1.always(to_an_inbox.answered(), What::Delay(Duration::from_millis(3_500)));
    let progress = Progress::default();
    let seed = begin(&large, &progress);
    let is_making = || shared.proxies.1.heard().iter().any(|line| line.contains("CREATE"));
    while !is_making() || shared.proxies.1.connections() < 4 {
        assert!(!seed.is_finished(), "it was to take longer");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let mut small = Vec::new();
    for user in ["anna", "bert", "carl"] {
        let world = shared.mailbox(user, 1).await;
        world.at_source().append_many("INBOX", &[note("hello")]);
        small.push(world);
    }
    let passes: Vec<_> = small.iter().map(|world| begin(world, &Progress::default())).collect();
    for pass in passes {
        assert_eq!(pass.await.expect("the pass does not panic").record.accounts.copied, 1);
    }
    assert_eq!(progress.read().messages, 0, "they did not wait until it had folders");

    seed.await.expect("the pass does not panic");
    large.assert_same();
}

#[tokio::test]
async fn an_account_that_may_have_three_connections_is_met_with_fewer_from_then_on() {
    let (mut world, source, destination) = slow_world().await;
    // Dovecot's own count comes too late for connections that sign in at the same time.
    let refusal = "NO [LIMIT] Maximum number of connections from user+IP exceeded \
                   (mail_max_userip_connections=3)";
    for n in 4..=8 {
        destination.set(When::verb("AUTHENTICATE").nth(n), What::answer(refusal));
    }
    world.seed().await;
    world.assert_same();
    let before = destination.connections();
    assert!(before <= 10, "{before}");

    let mut at = world.at_source();
    // So many in each folder that they are not carried together.
    let mut deliver = |text: &str| {
        for folder in 0..8 {
            let many: Vec<_> = (0..60).map(|n| note(&format!("{text} {n} of {folder}"))).collect();
            at.append_many(&format!("F{folder}"), &many);
        }
    };
    deliver("later");
    world.delta().await;
    world.assert_same();
    let more = destination.connections() - before;
    assert!(more <= 4, "it is remembered: {more}");

    // A daemon that starts anew knows nothing of it.
    world.context_mut().connections = Connections::new(32);
    deliver("latest");
    let before = source.connections();
    world.delta().await;
    assert_eq!(source.connections(), before + 8);
}

#[tokio::test]
async fn a_server_that_hangs_up_at_connections_beyond_the_second_gets_everything_over_two() {
    let (world, _source, destination) = slow_world().await;
    for n in 3..=100 {
        destination.set(When::byte(Direction::ToClient, 0).on_connection(n), What::Cut);
    }
    world.seed().await;
    world.assert_same();
    assert!(destination.connections() <= 10, "no storm: {}", destination.connections());
}

/// Eight folders, eight connections allowed, and a destination that takes a while for each batch.
async fn slow_world() -> (World, Proxy, Proxy) {
    let mut world = World::new().await;
    let (source, destination) =
        (Proxy::before(world.source.port()), Proxy::before(world.destination.port()));
    world.connect_through(&source, &destination, 8);
    fill(&world, 8, 40, 500);
    destination.always(When::verb("APPEND").answered(), What::Delay(Duration::from_millis(100)));
    (world, source, destination)
}
