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
    wants: Vec<Want>,
    /// For the next one who wants some.
    no: u64,
    lanes: Vec<Lane>,
    /// Helping does harm here.
    closed: bool,
}

/// So many lanes would be of use to somebody.
struct Want {
    no: u64,
    lanes: usize,
    /// Messages that they have to fill the folder with.
    messages: u64,
}

impl Seats {
    fn wanted(&self) -> usize {
        self.wants.iter().map(|want| want.lanes).sum()
    }

    /// May this one take a lane? Whoever has most to do has enough of them before others have any.
    fn is_next(&self, no: u64) -> bool {
        let next = self.wants.iter().filter(|want| want.lanes > 0).max_by_key(|w| w.messages);
        next.is_some_and(|next| next.no == no)
    }
}

impl Bench {
    /// Leaves a lane to whoever wants one; it comes back if nobody does, or if it is wanted back.
    pub(crate) fn offer(&self, mut lane: Lane) -> Option<Lane> {
        let mut seats = self.lock();
        let is_enough = seats.lanes.len() >= seats.wanted();
        if is_enough || seats.closed || lane.recalled.is_cancelled() {
            return Some(lane);
        }
        // It has no jobs of its own any more.
        lane.upcoming = Upcoming::default();
        seats.lanes.push(lane);
        None
    }

    /// So many lanes are wanted for so many messages, for as long as what comes back is kept.
    pub(crate) fn want(&self, lanes: usize, messages: u64) -> Wanted {
        let mut seats = self.lock();
        let no = seats.no;
        seats.no += 1;
        seats.wants.push(Want { no, lanes, messages });
        drop(seats);
        self.called.notify_waiters();
        Wanted { bench: self.clone(), no }
    }

    /// Waits until there are fewer lanes than are wanted.
    pub(crate) async fn wanting(&self) {
        loop {
            let mut called = std::pin::pin!(self.called.notified());
            called.as_mut().enable();
            {
                let seats = self.lock();
                if !seats.closed && seats.lanes.len() < seats.wanted() {
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
    no: u64,
}

impl Wanted {
    /// Is there one, and is it still wanted? Those that are wanted back wait for nobody.
    pub(crate) fn is_offered(&self) -> bool {
        let mut seats = self.bench.lock();
        let lanes = std::mem::take(&mut seats.lanes).into_iter();
        let (recalled, lanes): (Vec<_>, Vec<_>) =
            lanes.partition(|lane| lane.recalled.is_cancelled());
        seats.lanes = lanes;
        let is_offered = !seats.lanes.is_empty() && seats.is_next(self.no);
        drop(seats);
        recalled.into_iter().for_each(Lane::close);
        is_offered
    }

    /// One, if there is one.
    pub(crate) fn take(&mut self) -> Option<Lane> {
        let mut seats = self.bench.lock();
        if !seats.is_next(self.no) {
            return None;
        }
        let lane = seats.lanes.pop()?;
        seats.wants.iter_mut().filter(|want| want.no == self.no).for_each(|want| want.lanes -= 1);
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
            seats.wants.retain(|want| want.no != self.no);
            let at = seats.lanes.len().min(seats.wanted());
            seats.lanes.split_off(at)
        };
        left.into_iter().for_each(Lane::close);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_most_messages_to_come_has_enough_lanes_before_others_have_any() {
        let bench = Bench::default();
        let (small, large) = (bench.want(3, 500), bench.want(1, 4000));
        let is_next = |wanted: &Wanted| bench.lock().is_next(wanted.no);
        assert!(is_next(&large) && !is_next(&small));
        bench.lock().wants[1].lanes = 0;
        assert!(is_next(&small) && !is_next(&large), "it has what it wanted");
        drop(small);
        assert!(!is_next(&large));
        assert_eq!(bench.lock().wanted(), 0);
    }
}
