//! Lanes that have nothing left to do of their own, for those who still fill a large folder.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::lane::Lane;
use super::queue::Upcoming;

/// Where lanes are offered and taken.
#[derive(Clone, Default)]
pub(crate) struct Bench {
    seats: Arc<Mutex<Seats>>,
    /// More are wanted.
    called: Arc<Notify>,
}

#[derive(Default)]
struct Seats {
    /// So many would be of use.
    wanted: usize,
    lanes: Vec<Lane>,
    /// Helping does harm here.
    closed: bool,
}

impl Bench {
    /// Leaves a lane to whoever wants one; it comes back if nobody does, or if it is wanted back.
    pub(crate) fn offer(&self, mut lane: Lane) -> Option<Lane> {
        let mut seats = self.lock();
        let is_enough = seats.lanes.len() >= seats.wanted;
        if is_enough || seats.closed || lane.recalled.is_cancelled() {
            return Some(lane);
        }
        // It has no jobs of its own any more.
        lane.upcoming = Upcoming::default();
        seats.lanes.push(lane);
        None
    }

    /// So many lanes are wanted, for as long as what comes back is kept.
    pub(crate) fn want(&self, lanes: usize) -> Wanted {
        self.lock().wanted += lanes;
        self.called.notify_waiters();
        Wanted { bench: self.clone(), lanes }
    }

    /// Waits until there are fewer lanes than are wanted.
    pub(crate) async fn wanting(&self) {
        loop {
            let mut called = std::pin::pin!(self.called.notified());
            called.as_mut().enable();
            {
                let seats = self.lock();
                if !seats.closed && seats.lanes.len() < seats.wanted {
                    return;
                }
            }
            called.await;
        }
    }

    /// From now on nobody helps anybody.
    pub(crate) fn close(&self) {
        let lanes = {
            let mut seats = self.lock();
            seats.closed = true;
            std::mem::take(&mut seats.lanes)
        };
        lanes.into_iter().for_each(Lane::close);
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Bench::want`].
pub(crate) struct Wanted {
    bench: Bench,
    /// So many more.
    lanes: usize,
}

impl Wanted {
    /// Is there one, and is it still wanted?
    pub(crate) fn is_offered(&self) -> bool {
        self.lanes > 0 && !self.bench.lock().lanes.is_empty()
    }

    /// One, if there is one.
    pub(crate) fn take(&mut self) -> Option<Lane> {
        if self.lanes == 0 {
            return None;
        }
        let mut seats = self.bench.lock();
        let lane = seats.lanes.pop()?;
        seats.wanted -= 1;
        self.lanes -= 1;
        Some(lane)
    }

    /// A lane that is not needed any more: for others, if they want it.
    pub(crate) fn pass_on(&self, lane: Lane) {
        if let Some(lane) = self.bench.offer(lane) {
            lane.close();
        }
    }

    /// From now on nobody helps anybody.
    pub(crate) fn close(&self) {
        self.bench.close();
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        let left = {
            let mut seats = self.bench.lock();
            seats.wanted -= self.lanes;
            let at = seats.lanes.len().min(seats.wanted);
            seats.lanes.split_off(at)
        };
        left.into_iter().for_each(Lane::close);
    }
}
