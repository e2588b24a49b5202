//! Bytes a second, by token bucket; fair between mailboxes.
//!
//! Who waits is served by start-time fair queueing (Goyal, Vin and Cheng 1996): each mailbox has a
//! clock of its own that the bytes it asks for drive on, and the one whose clock is furthest behind
//! is next. So mailboxes get the same number of bytes, not of messages: one of large messages on
//! eight connections gets no more than one of small messages on one.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::Party;

/// A rate, on behalf of one mailbox; clones stand for the same one. Without a limit it never waits.
#[derive(Debug, Clone, Default)]
pub struct Rate {
    shared: Option<(Arc<Shared>, Party)>,
}

/// The rates of all migrations: what runs under one name shares one. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Rates {
    by_name: Arc<Mutex<HashMap<String, (u64, Rate)>>>,
}

impl Rates {
    /// The rate of `name`, for one more mailbox. Another number than before makes another rate;
    /// what still runs under the old one keeps it.
    pub fn of(&self, name: &str, bytes_per_second: Option<u64>) -> Rate {
        let Some(bytes) = bytes_per_second else { return Rate::default() };
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        match by_name.get(name) {
            Some((known, rate)) if *known == bytes => rate.for_mailbox(),
            _ => {
                let rate = Rate::new(bytes_per_second);
                by_name.insert(name.to_owned(), (bytes, rate.clone()));
                rate
            }
        }
    }
}

#[derive(Debug)]
struct Shared {
    bucket: Mutex<Bucket>,
    /// Told whenever another one may be next.
    moved: Notify,
}

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    /// Bytes that may pass at once; negative: a debt that later bytes wait for.
    tokens: f64,
    filled: Instant,
    /// Where the clock of the one stood that passed last, in bytes.
    clock: u64,
    /// The clocks of those that are ahead of that.
    clocks: HashMap<Party, u64>,
    /// By clock, then by when they came.
    waiting: BTreeSet<(u64, u64)>,
    last: u64,
}

/// A place among those who wait, left on drop.
struct Place<'a> {
    shared: &'a Shared,
    at: (u64, u64),
}

impl Rate {
    /// This many bytes a second with a burst of one second; `None`: unlimited.
    pub fn new(bytes_per_second: Option<u64>) -> Self {
        let shared = bytes_per_second.map(|rate| {
            let per_second = rate.max(1) as f64;
            let bucket = Bucket {
                per_second,
                tokens: per_second,
                filled: Instant::now(),
                clock: 0,
                clocks: HashMap::new(),
                waiting: BTreeSet::new(),
                last: 0,
            };
            (Arc::new(Shared { bucket: Mutex::new(bucket), moved: Notify::new() }), Party::new())
        });
        Self { shared }
    }

    /// The same rate on behalf of another mailbox.
    #[must_use]
    pub fn for_mailbox(&self) -> Self {
        let shared = self.shared.as_ref();
        Self { shared: shared.map(|(shared, _)| (Arc::clone(shared), Party::new())) }
    }

    /// Waits until `bytes` more may pass. Something larger than the bucket passes on credit, and
    /// the next one waits for it.
    pub async fn pass(&self, bytes: u64) {
        let Some((shared, party)) = &self.shared else { return };
        let place = Place { shared, at: shared.lock().line_up(*party, bytes) };
        loop {
            // From here on nothing is missed.
            let moved = shared.moved.notified();
            let wait = shared.lock().try_pass(place.at, bytes);
            match wait {
                Wait::Passed => return,
                Wait::For(time) => {
                    // Somebody may come whose clock is behind.
                    let _ = tokio::time::timeout(time, moved).await;
                }
                Wait::Others => moved.await,
            }
        }
    }
}

enum Wait {
    Passed,
    For(Duration),
    Others,
}

impl Bucket {
    fn line_up(&mut self, party: Party, bytes: u64) -> (u64, u64) {
        let clock = self.clock;
        self.clocks.retain(|_, theirs| *theirs > clock);
        let own = self.clocks.entry(party).or_insert(clock);
        let start = *own;
        *own = start.saturating_add(bytes);
        self.last += 1;
        self.waiting.insert((start, self.last));
        (start, self.last)
    }

    fn try_pass(&mut self, at: (u64, u64), bytes: u64) -> Wait {
        if self.waiting.first() != Some(&at) {
            return Wait::Others;
        }
        let now = Instant::now();
        let earned = (now - self.filled).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + earned).min(self.per_second);
        self.filled = now;
        // Clocks are not exact to less than a byte.
        if self.tokens < -0.5 {
            return Wait::For(Duration::from_secs_f64(-self.tokens / self.per_second));
        }
        self.tokens -= bytes as f64;
        self.clock = self.clock.max(at.0);
        Wait::Passed
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.lock().waiting.remove(&self.at);
        self.shared.moved.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_runs_under_one_name_shares_its_rate() {
        let rates = Rates::default();
        let began = Instant::now();
        let mut passed = Vec::new();
        for _ in 0..3 {
            let rate = rates.of("acme", Some(1000));
            passed.push(tokio::spawn(async move {
                for _ in 0..4 {
                    rate.pass(1000).await;
                }
            }));
        }
        for task in passed {
            task.await.expect("no task panics");
        }
        // Twelve thousand bytes, the first thousand of them at once, the last on credit.
        let took = began.elapsed().as_secs_f64();
        assert!((10.0..12.5).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_edited_rate_holds_at_once() {
        let rates = Rates::default();
        rates.of("acme", Some(1)).pass(1_000_000).await;
        let began = Instant::now();
        rates.of("acme", Some(1 << 20)).pass(1000).await;
        rates.of("acme", None).pass(u64::MAX).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    /// Lets these mailboxes, each of so many lanes and so large messages, copy for a while; how many
    /// bytes each brought over.
    async fn copied(mailboxes: &[(usize, u64)], rate: &Rate, time: Duration) -> Vec<u64> {
        let mut lanes = tokio::task::JoinSet::new();
        let mut sums = Vec::new();
        for &(n_lanes, size) in mailboxes {
            let (rate, sum) = (rate.for_mailbox(), Arc::new(Mutex::new(0)));
            for _ in 0..n_lanes {
                let (rate, sum) = (rate.clone(), Arc::clone(&sum));
                lanes.spawn(async move {
                    loop {
                        rate.pass(size).await;
                        *sum.lock().expect("no panic") += size;
                    }
                });
            }
            sums.push(sum);
        }
        tokio::time::sleep(time).await;
        lanes.shutdown().await;
        sums.into_iter().map(|sum| *sum.lock().expect("no panic")).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn mailboxes_get_the_same_bytes_whatever_their_lanes_and_messages() {
        let rate = Rate::new(Some(1 << 20));
        let sums = copied(
            &[(8, 5 << 20), (1, 10_000), (1, 10_000), (4, 100_000)],
            &rate,
            Duration::from_secs(600),
        )
        .await;
        let least = *sums.iter().min().expect("four");
        let most = *sums.iter().max().expect("four");
        // But for one of the large messages.
        assert!(most - least <= 10 << 20, "{sums:?}");
        let all: u64 = sums.iter().sum();
        assert!(all >= 590 << 20, "the rate is used: {all}");
        assert!(all <= 610 << 20, "the rate is kept: {all}");
    }

    #[tokio::test(start_paused = true)]
    async fn within_a_mailbox_who_came_first_passes_first_and_who_leaves_holds_up_nobody() {
        let rate = Rate::new(Some(1000));
        rate.pass(2000).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for n in 0..4 {
            let (rate, order) = (rate.clone(), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                rate.pass(1000).await;
                order.lock().expect("no panic").push(n);
            }));
            tokio::task::yield_now().await;
        }
        tasks.remove(0).abort();
        for task in tasks {
            task.await.expect("passed");
        }
        assert_eq!(*order.lock().expect("no panic"), [1, 2, 3]);
    }
}
