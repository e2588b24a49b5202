//! Does a server do its work slower than it can, and would it do as much with fewer connections?
//!
//! What is measured is the time a server takes for a unit of work (a batch of APPENDs: from the
//! moment it has nothing older to do for us and our first byte is sent, to its tagged answer),
//! over windows of some seconds. The least of the last minutes is the baseline, as in LEDBAT
//! (RFC 6817, 4.2); a window of more than twice as much means queueing, as in TCP Vegas (Brakmo and
//! Peterson 1995) and the gradient of Netflix's concurrency-limits.
//!
//! Queueing alone proves nothing against parallelism: where the processor or fsync is the bottleneck,
//! eight connections wait longer each and still bring more together. What counts is what BBR
//! counts (Cardwell et al. 2016, after Kleinrock 1979): delay that rises while the delivered rate
//! does not. So the cut is a trial, and the throughput of the windows after it is the judge: if half
//! the connections bring clearly less, they are given back, and the slower time is the baseline now.
//!
//! Only destinations are measured: how long a FETCH takes is as much up to us (back-pressure, `rate`)
//! as to the source, and would be no honest measure. Sources say so when they have enough.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The shortest window.
const WINDOW: Duration = Duration::from_secs(5);
/// The fewest answers that make one.
const ANSWERS: u32 = 10;
/// After so long without an answer a window begins anew.
const IDLE: Duration = Duration::from_secs(30);
/// Windows whose least makes the baseline are no older than this (RFC 6817: ten minutes).
const BASE_AGE: Duration = Duration::from_secs(600);
/// So much slower than the baseline is queueing.
const RISEN: f64 = 2.0;
/// Half the connections that bring this share of the throughput are enough: had all of them
/// counted, it would be 0.5; had none, 1.
const ENOUGH: f64 = 0.75;

/// What to do about the number of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Advice {
    /// Halve it and see.
    Try,
    /// Back to this many: they were worth it.
    Restore(usize),
}

/// What one server shows of its load.
#[derive(Debug, Default)]
pub(super) struct Load {
    window: Option<Window>,
    /// Seconds for a unit of work, one for each window.
    base: VecDeque<(Instant, f64)>,
    trial: Option<Trial>,
}

#[derive(Debug)]
struct Window {
    began: Instant,
    last: Instant,
    answers: u32,
    work: f64,
    /// Seconds, of all connections together.
    busy: f64,
}

#[derive(Debug)]
struct Trial {
    connections: usize,
    slowness: f64,
    throughput: f64,
    /// The window that the cut fell into says nothing.
    settled: bool,
}

impl Load {
    /// A piece of work was answered. `connections` are in use now, of which more than
    /// `allowed` are on their way out.
    pub(super) fn answered(
        &mut self,
        work: u64,
        took: Duration,
        connections: usize,
        allowed: usize,
    ) -> Option<Advice> {
        let now = Instant::now();
        if self.window.as_ref().is_some_and(|window| now - window.last > IDLE) {
            // There was nothing to do: that says nothing of what could be done.
            (self.window, self.trial) = (None, None);
        }
        let window = self.window.get_or_insert_with(|| Window {
            began: now.checked_sub(took).unwrap_or(now),
            last: now,
            answers: 0,
            work: 0.0,
            busy: 0.0,
        });
        window.last = now;
        window.answers += 1;
        window.work += work.max(1) as f64;
        window.busy += took.as_secs_f64();
        if now - window.began < WINDOW || window.answers < ANSWERS {
            return None;
        }
        let elapsed = (now - window.began).as_secs_f64();
        let (slowness, throughput) = (window.busy / window.work, window.work / elapsed);
        self.window = None;
        self.judge(now, slowness, throughput, connections, allowed)
    }

    fn judge(
        &mut self,
        now: Instant,
        slowness: f64,
        throughput: f64,
        connections: usize,
        allowed: usize,
    ) -> Option<Advice> {
        if let Some(trial) = &mut self.trial {
            if !trial.settled || connections > allowed {
                trial.settled = connections <= allowed;
                return None;
            }
            let Trial { connections, slowness: before, throughput: of_all, .. } = *trial;
            self.trial = None;
            if throughput >= of_all * ENOUGH {
                return None;
            }
            // They were worth it: this is how fast the server is now.
            self.base.clear();
            self.base.push_back((now, before));
            return Some(Advice::Restore(connections));
        }
        while self.base.front().is_some_and(|(at, _)| now - *at > BASE_AGE) {
            self.base.pop_front();
        }
        // What is slower than a later one is never the least again.
        while self.base.back().is_some_and(|(_, known)| *known >= slowness) {
            self.base.pop_back();
        }
        self.base.push_back((now, slowness));
        let (_, least) = *self.base.front()?;
        if slowness <= least * RISEN || connections < 2 {
            return None;
        }
        self.trial = Some(Trial { connections, slowness, throughput, settled: false });
        Some(Advice::Try)
    }
}
