//! The destination's half of a copy run, over one connection.

use std::collections::VecDeque;
use std::sync::OnceLock;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::super::Error;
use super::super::bench::Wanted;
use super::pace::{Amount, Pace};
use super::together::Share;
use super::{Batch, Copy, IN_FLIGHT, IN_FLIGHT_FAR, Inbox, LINGER, Parcel, is_full};
use crate::ledger::Change;
use crate::model::IdSet;
use crate::platform::{Destination, Message};

/// What the destination's half of a run has in hand.
pub(super) struct Writing<'a> {
    pub(super) inbox: Inbox<'a>,
    /// What the source has not given yet.
    pub(super) missing: &'a mut IdSet,
    /// Sent, and not answered.
    pub(super) flying: VecDeque<Batch>,
    /// For the next batch.
    pub(super) growing: Vec<Parcel>,
    /// What the ledger is to be told.
    pub(super) changes: Vec<Change>,
    /// Is there more to come?
    pub(super) open: bool,
}

impl<'a> Writing<'a> {
    pub(super) fn new(inbox: Inbox<'a>, missing: &'a mut IdSet) -> Self {
        let (flying, growing, changes) = (VecDeque::new(), Vec::new(), Vec::new());
        Self { inbox, missing, flying, growing, changes, open: true }
    }
}

impl Copy<'_> {
    /// Writes what comes, until nothing more does and all is settled. Lanes that are `wanted` may help.
    pub(super) async fn write(
        &mut self,
        destination: &mut dyn Destination,
        writing: Writing<'_>,
        mut wanted: Option<Wanted>,
    ) -> Result<(), Error> {
        let mut writing = writing;
        let mut next = Some(writing.inbox.next);
        let mut pace = Pace::default();
        let is_far = destination.is_far();
        loop {
            let spent = self.job.allowance.spent();
            if self.job.stop.is_cancelled() {
                // What is in flight is waited for; the rest is left.
                writing.growing.clear();
                writing.open = false;
            } else if writing.inbox.recalled.is_cancelled() || spent.is_some() {
                // What was taken is sent; the rest is somebody else's, or another day's.
                writing.open = false;
            }
            while writing.open && !is_full(&writing.growing) {
                match writing.inbox.receive.try_recv() {
                    Ok(message) => self.receive(message, &mut writing),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => writing.open = false,
                }
            }
            if writing.flying.is_empty() {
                if let Some(parcel) = self.again.pop_front() {
                    let changes = &mut writing.changes;
                    let unclear = self.send(destination, vec![parcel], changes).await?;
                    self.look(destination, unclear.into_iter().collect(), changes).await?;
                    continue;
                }
                self.renew(destination).await?;
            }
            if self.alone {
                // Nobody else is to wait until this one has enough.
                wanted = None;
            }
            if writing.open
                && self.refusals == 0
                && let Some(wanted) = wanted.as_mut().filter(|wanted| wanted.is_offered())
                && let Some(turn) = destination.takes_turns()
                && let Some(share) = Share::worth(turn, &pace, writing.missing.len())
            {
                self.write_together(destination, wanted, share, &mut writing).await?;
                pace = Pace::default();
                continue;
            }
            // Once something was refused, one at a time: what is under way behind a refused batch
            // overtakes it.
            let window = match self.refusals {
                0 if is_far => IN_FLIGHT_FAR,
                0 => IN_FLIGHT,
                _ => 1,
            };
            let may_send = writing.flying.len() < window;
            if is_far && may_send && writing.open && !is_full(&writing.growing) {
                match timeout(LINGER, writing.inbox.receive.recv()).await {
                    Ok(Some(message)) => {
                        self.receive(message, &mut writing);
                        continue;
                    }
                    Ok(None) => {
                        writing.open = false;
                        continue;
                    }
                    // There is time to look at what was answered.
                    Err(_) => {}
                }
            }
            let Writing { inbox, flying, growing, changes, open, .. } = &mut writing;
            let eager = is_far || flying.is_empty() || !*open || is_full(growing);
            if !growing.is_empty() && may_send && eager {
                let batch = self.depart(std::mem::take(growing), changes);
                // The intent is durable before a byte is sent, together with the outcomes that
                // came in since.
                self.job.commit(std::mem::take(changes)).await?;
                self.job.allowance.keep(&self.job.context, false).await?;
                let appends = self.appends(&batch);
                let sent = destination.append(&self.job.place.name, appends).await;
                flying.push_back(batch);
                if let Err(error) = sent {
                    // Answers may have come before the connection broke.
                    self.drain(destination, flying, Some(error), changes).await?;
                }
            } else if let Some(batch) = flying.pop_front() {
                // Everything is sent.
                let is_clear = !*open && self.again.is_empty() && self.refusals == 0;
                if let Some(path) = next.take_if(|_| is_clear).and_then(OnceLock::get)
                    && let Err(error) = destination.announce(path).await
                {
                    flying.push_front(batch);
                    self.drain(destination, flying, Some(error), changes).await?;
                    continue;
                }
                let answer = destination.appended().await;
                pace.answered(Amount::of(&batch), !flying.is_empty());
                let (unclear, error) = self.arrive(batch, answer, changes);
                if let Some(batch) = unclear {
                    flying.push_front(batch);
                    self.drain(destination, flying, error, changes).await?;
                } else if let Some(error) = error {
                    self.drain(destination, flying, Some(error), changes).await?;
                }
                self.stop_if_outage(changes).await?;
            } else if *open {
                match inbox.receive.recv().await {
                    Some(message) => self.receive(message, &mut writing),
                    None => writing.open = false,
                }
            } else {
                self.job.commit(std::mem::take(changes)).await?;
                return match spent {
                    Some(spent) if !writing.missing.is_empty() => Err(spent),
                    _ => Ok(()),
                };
            }
        }
    }

    pub(super) fn receive(&mut self, message: Message, writing: &mut Writing<'_>) {
        let Writing { missing, growing, changes, .. } = writing;
        growing.extend(self.take(message, missing, changes));
    }
}
