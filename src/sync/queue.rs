//! Jobs that wait for a lane, the largest first.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::job::Job;
use crate::platform::Source;

/// What the lanes of a pass work off together.
#[derive(Clone, Default)]
pub(crate) struct Queue(Arc<Mutex<VecDeque<Job>>>);

impl Queue {
    pub(crate) fn new(jobs: Vec<Job>) -> Self {
        Self(Arc::new(Mutex::new(jobs.into())))
    }

    pub(crate) fn pop(&self) -> Option<Job> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
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

    /// The job that was claimed.
    pub(crate) fn take(&mut self) -> Option<Job> {
        self.claimed.take().map(|job| *job)
    }
}
