//! Mailboxes on a simulated server, in simulated time: where the limits settle, and who gets what.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{Connections, End};

/// Bytes of a batch.
const BATCH: u64 = 1 << 20;

/// A server that does two batches a second for a single connection.
struct Server {
    /// By how many connections are at work: how many times as much they bring together as one does.
    speed: Box<dyn Fn(usize) -> f64 + Send + Sync>,
    /// Connections beyond this are refused.
    most: AtomicUsize,
    connected: AtomicUsize,
    at_work: AtomicUsize,
    refused: AtomicU64,
}

impl Server {
    fn new(speed: impl Fn(usize) -> f64 + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            speed: Box::new(speed),
            most: AtomicUsize::new(usize::MAX),
            connected: AtomicUsize::new(0),
            at_work: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        })
    }

    fn connect(&self) -> bool {
        let is_taken =
            self.connected.fetch_add(1, Ordering::SeqCst) < self.most.load(Ordering::SeqCst);
        if !is_taken {
            self.connected.fetch_sub(1, Ordering::SeqCst);
            self.refused.fetch_add(1, Ordering::SeqCst);
        }
        is_taken
    }

    /// A batch, in steps, each as fast as it goes with so many at work.
    async fn take(&self) {
        const STEPS: u32 = 4;
        self.at_work.fetch_add(1, Ordering::SeqCst);
        for _ in 0..STEPS {
            let n = self.at_work.load(Ordering::SeqCst);
            sleep(Duration::from_millis(500).div_f64((self.speed)(n) / n as f64) / STEPS).await;
        }
        self.at_work.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A mailbox and its pass.
#[derive(Clone)]
struct Mailbox {
    server: Arc<Server>,
    connections: Connections,
    end: End,
    left: Arc<AtomicU64>,
    lanes: Arc<AtomicUsize>,
    ended: Arc<Mutex<Option<Instant>>>,
}

impl Mailbox {
    fn new(name: &str, server: &Arc<Server>, connections: &Connections, lanes: usize) -> Self {
        Self {
            server: Arc::clone(server),
            connections: connections.for_mailbox(),
            end: End { server: "mail:143".into(), account: name.into(), most: lanes },
            left: Arc::default(),
            lanes: Arc::default(),
            ended: Arc::default(),
        }
    }

    /// Copies so many batches, as a pass does.
    async fn copy(self, batches: u64) -> Self {
        self.left.store(batches, Ordering::SeqCst);
        let mut slots = JoinSet::new();
        for _ in 1..self.end.most {
            slots.spawn(self.clone().further());
        }
        let ends = [self.end.clone()];
        let permit = self.connections.first(&ends).await;
        assert!(self.server.connect(), "a first lane is refused");
        while self.step(&permit.gauge(&self.end)).await {}
        self.server.connected.fetch_sub(1, Ordering::SeqCst);
        slots.shutdown().await;
        drop(permit);
        *self.ended.lock().expect("no panic") = Some(Instant::now());
        self
    }

    async fn further(self) {
        let ends = [self.end.clone()];
        loop {
            let permit = self.connections.further(&ends).await;
            let gauge = permit.gauge(&self.end);
            if !self.server.connect() {
                gauge.crowded();
                drop(permit);
                sleep(MINUTE).await;
                continue;
            }
            permit.opened();
            while !permit.recalled().is_cancelled() && self.step(&gauge).await {}
            self.server.connected.fetch_sub(1, Ordering::SeqCst);
            if !permit.recalled().is_cancelled() {
                return;
            }
        }
    }

    async fn step(&self, gauge: &super::Gauge) -> bool {
        let took = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        if took.is_err() {
            return false;
        }
        let began = Instant::now();
        self.lanes.fetch_add(1, Ordering::SeqCst);
        self.server.take().await;
        self.lanes.fetch_sub(1, Ordering::SeqCst);
        gauge.answered(1, BATCH, began.elapsed());
        true
    }

    fn n_lanes(&self) -> usize {
        self.lanes.load(Ordering::SeqCst)
    }

    fn ended(&self) -> Option<Instant> {
        *self.ended.lock().expect("no panic")
    }

    fn left(&self) -> u64 {
        self.left.load(Ordering::SeqCst)
    }
}

const FOREVER: u64 = u64::MAX;

/// Batches brought over in a while.
async fn throughput(mailbox: &Mailbox, time: Duration) -> f64 {
    sleep(Duration::from_secs(1)).await;
    let before = mailbox.left();
    sleep(time).await;
    (before - mailbox.left()) as f64 / time.as_secs_f64()
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_server_that_takes_six_connections_is_met_with_about_so_many() {
    let server = Server::new(|n| n as f64);
    server.most.store(6, Ordering::SeqCst);
    let connections = Connections::new(32);
    let mailbox = Mailbox::new("large", &server, &connections, 16);
    tokio::spawn(mailbox.clone().copy(FOREVER));
    sleep(MINUTE).await;
    let refused = server.refused.load(Ordering::SeqCst);
    // With six all the time it would be twelve.
    let done = throughput(&mailbox, 60 * MINUTE).await;
    assert!(done > 8.0, "{done} batches a second");
    let refused = server.refused.load(Ordering::SeqCst) - refused;
    assert!(refused <= 60 / 3, "refused {refused} times in an hour");
}

#[tokio::test(start_paused = true)]
async fn once_the_server_takes_more_the_limit_recovers() {
    let server = Server::new(|n| n as f64);
    server.most.store(3, Ordering::SeqCst);
    let connections = Connections::new(32);
    let mailbox = Mailbox::new("large", &server, &connections, 8);
    tokio::spawn(mailbox.clone().copy(FOREVER));
    sleep(5 * MINUTE).await;
    assert!(mailbox.n_lanes() <= 3, "{}", mailbox.n_lanes());
    server.most.store(100, Ordering::SeqCst);
    sleep(8 * MINUTE).await;
    assert_eq!(mailbox.n_lanes(), 8);
}

/// A server where more than four connections only wait for each other, and thrash a little. One
/// connection has shown how fast it is.
async fn settled_on_a_saturated_server() -> (Mailbox, Connections) {
    let server = Server::new(|n| if n <= 4 { n as f64 } else { 4.0 * 0.98_f64.powi(n as i32 - 4) });
    let connections = Connections::new(32);
    let small = Mailbox::new("small", &server, &connections, 1);
    small.copy(200).await;
    let mailbox = Mailbox::new("large", &server, &connections, 16);
    tokio::spawn(mailbox.clone().copy(FOREVER));
    sleep(5 * MINUTE).await;
    (mailbox, connections)
}

#[tokio::test(start_paused = true)]
async fn a_saturated_server_gets_about_as_many_connections_as_it_can_use() {
    let (mailbox, connections) = settled_on_a_saturated_server().await;
    let mut limits = Vec::new();
    let before = mailbox.left();
    for _ in 0..60 {
        sleep(MINUTE).await;
        limits.push(connections.limit("mail:143"));
    }
    let mean = limits.iter().sum::<usize>() as f64 / limits.len() as f64;
    assert!((4.0..=10.0).contains(&mean), "{mean}: {limits:?}");
    // Four connections do eight a second, sixteen do six and a quarter.
    let done = (before - mailbox.left()) as f64 / 3600.0;
    assert!(done > 7.2, "{done} batches a second");
}

#[tokio::test(start_paused = true)]
async fn where_waiting_longer_brings_more_all_connections_are_kept() {
    // As with fsync: each waits longer, and together they bring more.
    let server = Server::new(|n| (n as f64).powf(0.6));
    let connections = Connections::new(32);
    Mailbox::new("small", &server, &connections, 1).copy(200).await;
    let mailbox = Mailbox::new("large", &server, &connections, 8);
    tokio::spawn(mailbox.clone().copy(FOREVER));
    let done = throughput(&mailbox, 30 * MINUTE).await;
    let all = 2.0 * 8_f64.powf(0.6);
    assert!(done > all * 0.95, "{done} of {all} batches a second");
    assert_eq!(connections.limit("mail:143"), 32);
}

#[tokio::test(start_paused = true)]
async fn a_large_mailbox_makes_way_for_small_ones_and_takes_what_they_leave() {
    let server = Server::new(|n| n as f64);
    let connections = Connections::new(8);
    let large = Mailbox::new("large", &server, &connections, 8);
    tokio::spawn(large.clone().copy(FOREVER));
    sleep(MINUTE).await;
    assert_eq!(large.n_lanes(), 8, "alone it has all");
    let began = Instant::now();
    let mut small = JoinSet::new();
    for n in 0..50 {
        small.spawn(Mailbox::new(&format!("small {n}"), &server, &connections, 4).copy(5));
    }
    let small = tokio::time::timeout(MINUTE, small.join_all()).await.expect("they wait still");
    let last = small.iter().filter_map(Mailbox::ended).max().expect("all have ended");
    // Two hundred and fifty batches, fourteen a second on the seven others.
    let took = last - began;
    assert!(took < Duration::from_secs(40), "{took:?}");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(large.n_lanes(), 8, "what they leave");
}

#[tokio::test(start_paused = true)]
async fn mailboxes_that_all_want_many_come_to_equal_shares() {
    let server = Server::new(|n| n as f64);
    let connections = Connections::new(12);
    let mailboxes: Vec<Mailbox> = (0..4)
        .map(|n| Mailbox::new(&format!("m{n}"), &server, &connections, if n == 3 { 2 } else { 12 }))
        .collect();
    for mailbox in &mailboxes {
        tokio::spawn(mailbox.clone().copy(FOREVER));
        sleep(MINUTE).await;
    }
    let shares: Vec<usize> = mailboxes.iter().map(Mailbox::n_lanes).collect();
    // The last one wants no more than two; the others share what is left.
    assert_eq!(shares.iter().sum::<usize>(), 12, "{shares:?}");
    assert_eq!(shares[3], 2, "{shares:?}");
    assert!(shares[..3].iter().all(|n| (3..=4).contains(n)), "{shares:?}");
}

#[tokio::test(start_paused = true)]
async fn passes_beyond_what_a_server_bears_wait_in_their_order() {
    let connections = Connections::new(1);
    let end = |account: &str| End { server: "mail:143".into(), account: account.into(), most: 4 };
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    for n in 0..5 {
        let (order, connections) = (Arc::clone(&order), connections.for_mailbox());
        // The third one meets itself, and needs both at once.
        let ends = if n == 2 { vec![end("a"), end("b")] } else { vec![end("c")] };
        tasks.spawn(async move {
            let _permit = connections.first(&ends).await;
            order.lock().expect("no panic").push(n);
            sleep(Duration::from_secs(1)).await;
        });
        tokio::task::yield_now().await;
    }
    tasks.join_all().await;
    assert_eq!(*order.lock().expect("no panic"), [0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_lane_between_two_servers_takes_neither_before_it_has_both() {
    let connections = Connections::new(1);
    let end = |server: &str| End { server: server.into(), account: "anna".into(), most: 4 };
    let held = connections.for_mailbox().first(&[end("two")]).await;
    let both = connections.for_mailbox();
    let both = tokio::spawn(async move { both.first(&[end("one"), end("two")]).await });
    sleep(Duration::from_secs(1)).await;
    assert!(!both.is_finished());
    let third = connections.for_mailbox();
    // Kept for whoever came before, lest it is overtaken for ever.
    let third = tokio::spawn(async move { third.first(&[end("one")]).await });
    sleep(Duration::from_secs(1)).await;
    drop(held);
    drop(both.await.expect("has both"));
    third.await.expect("has one");
}

#[tokio::test(start_paused = true)]
async fn an_account_told_of_too_many_connections_costs_no_other_account_its_own() {
    let connections = Connections::new(32);
    let end = |account: &str| End { server: "mail:143".into(), account: account.into(), most: 4 };
    let (anna, bela) = (connections.for_mailbox(), connections.for_mailbox());
    let first = anna.first(&[end("anna")]).await;
    let further = anna.further(&[end("anna")]).await;
    further.gauge(&end("anna")).crowded();
    assert_eq!(connections.limit("mail:143"), 32);
    assert!(further.recalled().is_cancelled() && !first.recalled().is_cancelled());
    let ends = [end("bela")];
    for _ in 0..4 {
        let permit = tokio::time::timeout(Duration::ZERO, bela.further(&ends)).await;
        std::mem::forget(permit.expect("at once"));
    }
    drop(further);
    // With one connection left it cannot be the account's own number that is too large.
    sleep(MINUTE / 2).await;
    first.gauge(&end("anna")).crowded();
    assert_eq!(connections.limit("mail:143"), 2);
}
