//! Jobs that wait for a lane, the largest first, and for other jobs.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::bench::Bench;
use super::job::Job;
use crate::ledger::PlaceNo;
use crate::model::FolderName;
use crate::platform::Source;

/// What the lanes of a pass work off together.
#[derive(Clone, Default)]
pub(crate) struct Queue {
    waiting: Arc<Mutex<Waiting>>,
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
    pub(crate) fn new(jobs: Vec<Job>) -> Self {
        let undone = jobs.iter().map(|job| job.place.no).collect();
        let waiting = Waiting { jobs: jobs.into(), undone };
        Self { waiting: Arc::new(Mutex::new(waiting)), ..Self::default() }
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

    /// The next job that need not wait for others.
    pub(crate) fn pop(&self) -> Option<Job> {
        let Waiting { jobs, undone } = &mut *self.lock();
        if jobs.is_empty() {
            self.drained.cancel();
        }
        let at = jobs.iter().position(|job| job.after.is_disjoint(undone))?;
        jobs.remove(at)
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

    /// The next job, as soon as those are done that it waits for; `None` if there are none left.
    pub(crate) async fn next(&self) -> Option<Job> {
        loop {
            self.ready().await;
            // Another may have been quicker.
            let job = self.pop();
            if job.is_some() || self.is_empty() {
                return job;
            }
        }
    }

    /// A place is done: others may have waited for it.
    pub(crate) fn done(&self, place: PlaceNo) {
        self.lock().undone.remove(&place);
        self.moved.notify_waiters();
    }

    /// Puts back what is left of a job: whoever is free goes on with it.
    pub(crate) fn give_back(&self, mut job: Job) {
        // On a connection that is given up.
        job.announced = false;
        self.lock().jobs.push_front(job);
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

/// What a lane does next. Its source is done with a job while the destination still takes the last
/// of it: then the next job is claimed, and the source begins with it.
#[derive(Default)]
pub(crate) struct Upcoming {
    pub(crate) queue: Queue,
    claimed: Option<Box<Job>>,
}

impl Upcoming {
    pub(crate) const fn of(queue: Queue) -> Self {
        Self { queue, claimed: None }
    }

    /// Claims the next job, if there is one, and lets the source begin with it.
    pub(crate) async fn begin(&mut self, source: &mut dyn Source) {
        if self.claimed.is_none()
            && let Some(mut job) = self.queue.pop()
        {
            // What is wrong with the connection shows when the messages are read.
            if let Err(error) = job.announce(source).await {
                tracing::debug!(%error, "nothing could be asked ahead");
            }
            self.claimed = Some(Box::new(job));
        }
    }

    /// Where the job that was claimed goes.
    pub(crate) fn place(&self) -> Option<&FolderName> {
        self.claimed.as_ref().map(|job| &job.place.name)
    }

    /// The job that was claimed.
    pub(crate) fn take(&mut self) -> Option<Job> {
        self.claimed.take().map(|job| *job)
    }
}
