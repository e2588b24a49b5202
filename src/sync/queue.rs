//! Jobs that wait for a lane, the largest first, and for other jobs. A lane takes a [`Load`] at a time.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::arrive::announce;
use super::bench::Bench;
use super::job::Job;
use crate::ledger::PlaceNo;
use crate::model::FolderName;
use crate::platform::Source;

/// Slight jobs in a load, at most. They are opened with one commit and settled with another.
const LOAD_JOBS: usize = 32;
/// Bytes of a load of several, at most; few beside any memory budget.
const LOAD_BYTES: u64 = 1 << 20;

/// What a lane takes at a time: one job, or several that are carried together.
pub(crate) type Load = Vec<Job>;

/// What the lanes of a pass work off together.
#[derive(Clone, Default)]
pub(crate) struct Queue {
    waiting: Arc<Mutex<Waiting>>,
    /// Lanes that share slight jobs; none: each job is carried alone.
    sharing: usize,
    /// A job was done or given back.
    moved: Arc<Notify>,
    drained: CancellationToken,
    /// The destination's folders that were made for them, once they are.
    made: watch::Sender<Option<Arc<HashSet<PlaceNo>>>>,
    /// Lanes that have no jobs any more.
    pub(crate) bench: Bench,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// Places that are not done yet.
    undone: BTreeSet<PlaceNo>,
}

impl Queue {
    /// Slight jobs are carried together, if there are lanes for that, which share them.
    pub(crate) fn new(jobs: Vec<Job>, sharing: usize) -> Self {
        let undone = jobs.iter().map(|job| job.place.no).collect();
        let waiting = Waiting { jobs: jobs.into(), undone };
        Self { waiting: Arc::new(Mutex::new(waiting)), sharing, ..Self::default() }
    }

    /// The destination's folders are made as far as they can be, all at once: these.
    pub(crate) fn open(&self, made: HashSet<PlaceNo>) {
        self.made.send_replace(Some(Arc::new(made)));
    }

    pub(crate) fn is_open(&self) -> bool {
        self.made.borrow().is_some()
    }

    /// Waits until the destination's folders are made. Which were.
    pub(crate) async fn opened(&self) -> Arc<HashSet<PlaceNo>> {
        let mut made = self.made.subscribe();
        let opened = made.wait_for(Option::is_some).await;
        // The sender is this queue's own.
        opened.ok().and_then(|made| made.clone()).unwrap_or_default()
    }

    /// The next job that need not wait for others, and its like.
    pub(crate) fn pop(&self) -> Option<Load> {
        let Waiting { jobs, undone } = &mut *self.lock();
        if jobs.is_empty() {
            self.drained.cancel();
        }
        let at = jobs.iter().position(|job| job.after.is_disjoint(undone))?;
        let mut load = vec![jobs.remove(at)?];
        if self.sharing > 0 && load[0].is_slight() {
            let slight = 1 + jobs.iter().filter(|job| job.is_slight()).count();
            let share = slight.div_ceil(self.sharing).min(LOAD_JOBS);
            let mut bytes = load[0].weight();
            let mut n = 0;
            while load.len() < share
                && let Some(job) = jobs.get(n)
            {
                if job.is_slight() && bytes + job.weight() <= LOAD_BYTES {
                    bytes += job.weight();
                    load.extend(jobs.remove(n));
                } else {
                    n += 1;
                }
            }
        }
        Some(load)
    }

    /// Waits until there is a job that need not wait for others, or none at all.
    pub(crate) async fn ready(&self) {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            let is_ready = {
                let Waiting { jobs, undone } = &*self.lock();
                jobs.is_empty() || jobs.iter().any(|job| job.after.is_disjoint(undone))
            };
            if is_ready {
                return;
            }
            moved.await;
        }
    }

    /// The next load, as soon as those are done that it waits for; `None` if there are none left.
    pub(crate) async fn next(&self) -> Option<Load> {
        loop {
            self.ready().await;
            // Another may have been quicker.
            let load = self.pop();
            if load.is_some() || self.is_empty() {
                return load;
            }
        }
    }

    /// A place is done: others may have waited for it.
    pub(crate) fn done(&self, place: PlaceNo) {
        self.lock().undone.remove(&place);
        self.moved.notify_waiters();
    }

    /// Puts back what is left of a load: whoever is free goes on with it.
    pub(crate) fn give_back(&self, load: Load) {
        let mut waiting = self.lock();
        for mut job in load.into_iter().rev() {
            // On a connection that is given up.
            job.announced = false;
            waiting.jobs.push_front(job);
        }
        drop(waiting);
        self.moved.notify_waiters();
    }

    /// Until somebody wanted a job and found none. What is given back later is for those who
    /// have a lane.
    pub(crate) async fn drained(&self) {
        self.drained.cancelled().await;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().jobs.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a lane does next. Its source is done with a load while the destination still takes the last
/// of it: then the next one is claimed, and the source begins with it.
#[derive(Default)]
pub(crate) struct Upcoming {
    pub(crate) queue: Queue,
    claimed: Load,
}

impl Upcoming {
    pub(crate) const fn of(queue: Queue) -> Self {
        Self { queue, claimed: Load::new() }
    }

    /// Claims the next load, if there is one, and lets the source begin with it.
    pub(crate) async fn begin(&mut self, source: &mut dyn Source) {
        if self.claimed.is_empty()
            && let Some(mut load) = self.queue.pop()
        {
            // What is wrong with the connection shows when the messages are read.
            if let Err(error) = announce(source, &mut load).await {
                tracing::debug!(%error, "nothing could be asked ahead");
            }
            self.claimed = load;
        }
    }

    /// The folders that the job that was claimed opens first, if it is one alone.
    pub(crate) fn path(&self) -> Vec<FolderName> {
        match &self.claimed[..] {
            [job] => job.path(),
            _ => Vec::new(),
        }
    }

    /// The load that was claimed.
    pub(crate) fn take(&mut self) -> Option<Load> {
        Some(std::mem::take(&mut self.claimed)).filter(|load| !load.is_empty())
    }
}
