//! A queue of keys that fall due: each key once, the earliest time wins, and a key that was handed
//! out is held back until it is given back. The shape is that of kube-runtime's scheduler.

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::hash::Hash;
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::time::{DelayQueue, delay_queue};

/// No key sleeps longer than this: the wall clock may jump while a monotonic timer sleeps (NTP, a
/// suspended machine). Whoever takes a key asks whether it is really due, and puts it back.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// The queue.
#[derive(Debug)]
pub struct Queue<K> {
    sleeping: DelayQueue<K>,
    /// Due already. A timer would make whoever asked for a pass wait for its next tick or two.
    awake: VecDeque<K>,
    entries: HashMap<K, Entry>,
}

#[derive(Debug)]
enum Entry {
    /// In `sleeping`, until this moment.
    Sleeping(delay_queue::Key, Instant),
    /// In `awake`.
    Awake,
    /// Handed out; put back for this moment in the meantime, or not.
    Held(Option<Instant>),
}

impl<K: Clone + Eq + Hash> Default for Queue<K> {
    fn default() -> Self {
        Self { sleeping: DelayQueue::new(), awake: VecDeque::new(), entries: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// Puts a key in for `at` at the latest: an earlier time it already has stands.
    pub fn add(&mut self, key: K, at: Instant) {
        let now = Instant::now();
        let at = at.min(now + LONGEST_SLEEP);
        match self.entries.get_mut(&key) {
            Some(Entry::Sleeping(sleeper, _)) if at <= now => {
                self.sleeping.try_remove(sleeper);
                self.wake(key);
            }
            None if at <= now => self.wake(key),
            None => {
                let sleeper = self.sleeping.insert_at(key.clone(), at);
                self.entries.insert(key, Entry::Sleeping(sleeper, at));
            }
            Some(Entry::Sleeping(sleeper, until)) if at < *until => {
                self.sleeping.reset_at(sleeper, at);
                *until = at;
            }
            Some(Entry::Sleeping(..) | Entry::Awake) => {}
            Some(Entry::Held(again)) => *again = Some(again.map_or(at, |again| again.min(at))),
        }
    }

    fn wake(&mut self, key: K) {
        self.awake.push_back(key.clone());
        self.entries.insert(key, Entry::Awake);
    }

    /// Takes a sleeping key out. One that is held stays held, but will not come back by itself.
    pub fn cancel(&mut self, key: &K) {
        match self.entries.get_mut(key) {
            Some(Entry::Sleeping(sleeper, _)) => {
                self.sleeping.try_remove(sleeper);
                self.entries.remove(key);
            }
            Some(Entry::Awake) => {
                self.awake.retain(|awake| awake != key);
                self.entries.remove(key);
            }
            Some(Entry::Held(again)) => *again = None,
            None => {}
        }
    }

    /// Gives back a key that was handed out. If it was put in meanwhile it sleeps again.
    pub fn release(&mut self, key: &K) {
        if let Some(Entry::Held(again)) = self.entries.get(key) {
            let again = *again;
            self.entries.remove(key);
            if let Some(at) = again {
                self.add(key.clone(), at);
            }
        }
    }

    /// Waits for the next key that is due and hands it out. Never answers while the queue is
    /// empty. Safe to drop and call again: nothing is lost.
    pub async fn ready(&mut self) -> K {
        let key = poll_fn(|context| match self.awake.pop_front() {
            Some(key) => Poll::Ready(key),
            None => match self.sleeping.poll_expired(context) {
                Poll::Ready(Some(expired)) => Poll::Ready(expired.into_inner()),
                Poll::Ready(None) | Poll::Pending => Poll::Pending,
            },
        })
        .await;
        self.entries.insert(key.clone(), Entry::Held(None));
        key
    }

    /// Keys in it, held ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tokio::time::timeout;

    use super::*;

    async fn nothing_within(queue: &mut Queue<u32>, wait: Duration) -> bool {
        timeout(wait, queue.ready()).await.is_err()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_earliest_time_wins() {
        let start = Instant::now();
        let mut queue = Queue::default();
        queue.add(1, start + 10 * SECOND);
        queue.add(1, start + 2 * SECOND);
        queue.add(1, start + 5 * SECOND);
        assert_eq!(queue.ready().await, 1);
        assert_eq!(start.elapsed().as_secs(), 2);
        queue.release(&1);
        assert!(nothing_within(&mut queue, 60 * SECOND).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_due_does_not_wait_for_a_timer() {
        let start = Instant::now();
        let mut queue = Queue::default();
        queue.add(1, start + 10 * SECOND);
        queue.add(1, start);
        queue.add(2, start);
        assert_eq!((queue.ready().await, queue.ready().await), (1, 2));
        assert_eq!(start.elapsed(), Duration::ZERO);
        queue.release(&1);
        assert!(nothing_within(&mut queue, 60 * SECOND).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_that_is_held_comes_again_only_after_its_release() {
        let mut queue = Queue::default();
        queue.add(1, Instant::now());
        assert_eq!(queue.ready().await, 1);
        queue.add(1, Instant::now());
        assert!(nothing_within(&mut queue, 60 * SECOND).await);
        queue.release(&1);
        assert_eq!(queue.ready().await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cancelled_key_does_not_come() {
        let mut queue = Queue::default();
        queue.add(1, Instant::now() + SECOND);
        queue.cancel(&1);
        assert!(nothing_within(&mut queue, 60 * SECOND).await);
        queue.add(1, Instant::now());
        assert_eq!(queue.ready().await, 1);
        queue.add(1, Instant::now());
        queue.cancel(&1);
        queue.release(&1);
        assert!(nothing_within(&mut queue, 60 * SECOND).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_far_key_wakes_within_the_longest_sleep() {
        let start = Instant::now();
        let mut queue = Queue::default();
        queue.add(1, start + Duration::from_secs(400 * 24 * 3600));
        queue.ready().await;
        assert_eq!(start.elapsed(), LONGEST_SLEEP);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_loses_nobody_and_hands_out_nobody_twice() {
        let mut queue = Queue::default();
        for round in 0..50_u32 {
            for key in 0..2000_u32 {
                queue.add(
                    key,
                    Instant::now() + Duration::from_millis(u64::from((key * 7 + round) % 500)),
                );
            }
        }
        let mut seen = HashSet::new();
        for _ in 0..2000 {
            assert!(seen.insert(queue.ready().await));
        }
        assert!(nothing_within(&mut queue, 60 * SECOND).await);
        seen.iter().for_each(|key| queue.release(key));
        assert!(queue.is_empty());
    }
}
