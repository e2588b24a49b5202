//! One folder, filled over several connections, in the source's order all the same.
//!
//! A server works longest on a message's bytes: it parses them, writes a file, and waits for the
//! disk. All that it does before it knows that the command is whole. So each connection sends its batch
//! up to the last line end, and that once the batch before it has been answered: the work is done
//! side by side, what gives the messages their ids one after the other.
//!
//! Those who help are lanes with nothing left to do. Whatever does not go smoothly ends it, and the
//! folder's own connection goes on alone, with what is known of such things there.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::super::Error;
use super::super::bench::Wanted;
use super::super::lane::Lane;
use super::{Batch, Copy, Inbox, Parcel, amount_to};
use crate::ledger::Change;
use crate::model::{FolderName, IdSet};
use crate::platform::{self, Append, Appended, Destination, Turn};

/// Connections that help one to fill its folder.
pub(crate) const HELPERS: usize = 3;
/// Messages in a batch: as many as a batch needs to be worth its commit, so that all have one.
const SHARE_MESSAGES: usize = 50;
/// Bytes in a batch, unless one message alone is larger.
const SHARE_BYTES: usize = 1 << 20;
/// Fewer messages are not worth a second connection.
pub(super) const WORTH_HELP: u64 = 2 * SHARE_MESSAGES as u64;
/// So long a batch waits for its turn. A server may lock the folder for whoever comes first until
/// that one is done (Dovecot's mbox), and that need not be whose turn it is: then both would wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// One that fills the folder.
enum Hand<'d> {
    Own(&'d mut dyn Destination),
    Lent(Box<Lane>),
}

impl Hand<'_> {
    fn destination(&mut self) -> &mut dyn Destination {
        match self {
            Hand::Own(destination) => *destination,
            Hand::Lent(lane) => lane.destination.as_mut(),
        }
    }

    fn is_recalled(&self) -> bool {
        match self {
            Hand::Own(_) => false,
            Hand::Lent(lane) => lane.recalled.is_cancelled(),
        }
    }
}

/// A batch that came to its end.
struct Carried<'d> {
    hand: Hand<'d>,
    answer: platform::Result<Appended>,
    /// It did not wait for its turn to the end.
    impatient: bool,
}

/// What is under way.
struct Flying<'d> {
    carried: FuturesOrdered<BoxFuture<'d, Carried<'d>>>,
    /// Of these batches.
    batches: VecDeque<Batch>,
    /// Ended, and not looked at yet.
    ended: VecDeque<Carried<'d>>,
    /// Ends when the last of them does.
    turn: Option<oneshot::Receiver<()>>,
}

impl<'d> Flying<'d> {
    fn send(&mut self, batch: Batch, hand: Hand<'d>, folder: FolderName, appends: Vec<Append>) {
        let (done, next) = oneshot::channel();
        let turn = self.turn.replace(next);
        self.carried.push_back(Box::pin(carry(hand, folder, appends, turn, done)));
        self.batches.push_back(batch);
    }

    fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Does something else while it flies.
    async fn meanwhile<T>(&mut self, what: impl Future<Output = T>) -> T {
        let mut what = std::pin::pin!(what);
        loop {
            tokio::select! {
                biased;
                done = &mut what => return done,
                Some(carried) = self.carried.next() => self.ended.push_back(carried),
            }
        }
    }

    /// The first of those that are under way, when it has ended.
    async fn next(&mut self) -> Option<(Batch, Carried<'d>)> {
        let carried = match self.ended.pop_front() {
            Some(carried) => carried,
            None => self.carried.next().await?,
        };
        Some((self.batches.pop_front()?, carried))
    }
}

async fn carry(
    mut hand: Hand<'_>,
    folder: FolderName,
    appends: Vec<Append>,
    turn: Option<oneshot::Receiver<()>>,
    done: oneshot::Sender<()>,
) -> Carried<'_> {
    let mut impatient = false;
    let waits = async {
        if let Some(turn) = turn {
            // Whoever was before is done, however that ended.
            impatient = timeout(PATIENCE, turn).await.is_err();
        }
    };
    let turn: Turn<'_> = Box::pin(waits);
    let destination = hand.destination();
    let answer = match destination.append_in_turn(&folder, appends, turn).await {
        Ok(()) => destination.appended().await,
        Err(error) => Err(error),
    };
    let _ = done.send(());
    Carried { hand, answer, impatient }
}

impl Copy<'_> {
    /// Copies what comes in, for as long as there is somebody to help and all goes smoothly. What is
    /// left when it ends is in `growing` and in the inbox.
    pub(super) async fn write_together(
        &mut self,
        own: &mut dyn Destination,
        wanted: &mut Wanted,
        inbox: &mut Inbox<'_>,
        growing: &mut Vec<Parcel>,
        missing: &mut IdSet,
        changes: &mut Vec<Change>,
    ) -> Result<(), Error> {
        let mut flying = Flying {
            carried: FuturesOrdered::new(),
            batches: VecDeque::new(),
            ended: VecDeque::new(),
            turn: None,
        };
        let (mut idle, mut hands) = (vec![Hand::Own(&mut *own)], 1);
        let (mut unclear, mut error) = (Vec::new(), None);
        let mut open = true;
        loop {
            let goes_on = !self.alone
                && !self.job.stop.is_cancelled()
                && !inbox.recalled.is_cancelled()
                && self.job.allowance.spent().is_none();
            while goes_on && let Some(lane) = wanted.take() {
                match flying.meanwhile(self.hired(lane)).await {
                    Some(hand) => {
                        idle.push(hand);
                        hands += 1;
                    }
                    None => continue,
                }
            }
            while let Some(at) = idle.iter().position(Hand::is_recalled) {
                hands -= 1;
                if let Hand::Lent(lane) = idle.swap_remove(at) {
                    lane.close();
                }
            }
            let goes_on = goes_on && hands > 1;
            if !goes_on {
                dismiss(&mut idle, wanted);
            }
            while goes_on && open && !is_share(growing) {
                match inbox.receive.try_recv() {
                    Ok(message) => growing.extend(self.take(message, missing, changes)),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => open = false,
                }
            }
            let eager = flying.is_empty() || !open || is_share(growing);
            if !growing.is_empty()
                && eager
                && let Some(hand) = idle.pop()
            {
                let batch = self.depart(std::mem::take(growing), changes);
                let appends = self.appends(&batch);
                flying.meanwhile(self.tell(std::mem::take(changes))).await?;
                flying.send(batch, hand, self.job.place.name.clone(), appends);
                continue;
            }
            let takes_more = goes_on && open && !is_share(growing);
            tokio::select! {
                biased;
                Some((batch, carried)) = flying.next() => {
                    if carried.impatient {
                        tracing::info!(folder = %self.job.place.path, "the destination does not let several connections fill a folder together; going on with one");
                        self.alone = true;
                        wanted.close();
                    }
                    let (rest, failed) = self.arrive(batch, carried.answer, changes);
                    self.alone |= rest.is_some() || failed.is_some() || self.refusals > 0;
                    match (&failed, carried.hand) {
                        (None, hand) => idle.push(hand),
                        // Whatever is wrong with the connection, nobody else is to have it.
                        (Some(_), Hand::Lent(lane)) => lane.close(),
                        (Some(_), Hand::Own(_)) => {}
                    }
                    unclear.extend(rest);
                    error = error.or(failed);
                }
                message = inbox.receive.recv(), if takes_more => match message {
                    Some(message) => growing.extend(self.take(message, missing, changes)),
                    None => open = false,
                },
                else => break,
            }
        }
        dismiss(&mut idle, wanted);
        drop((idle, flying));
        self.resolve(own, unclear, error, changes).await
    }

    async fn tell(&self, changes: Vec<Change>) -> Result<(), Error> {
        self.job.commit(changes).await?;
        self.job.allowance.keep(&self.job.context, false).await?;
        Ok(())
    }

    /// A lane that helps from now on, if it can.
    async fn hired<'d>(&self, mut lane: Lane) -> Option<Hand<'d>> {
        match lane.destination.open(&self.job.place.name).await {
            Ok(opened) if opened.epoch == self.opened.epoch => Some(Hand::Lent(Box::new(lane))),
            Ok(_) => {
                lane.close();
                None
            }
            Err(error) => {
                tracing::debug!(%error, "a connection that was to help cannot");
                lane.close();
                None
            }
        }
    }
}

/// They are not needed here any more.
fn dismiss(idle: &mut Vec<Hand<'_>>, wanted: &Wanted) {
    for hand in idle.drain(..) {
        if let Hand::Lent(lane) = hand {
            wanted.pass_on(*lane);
        }
    }
}

fn is_share(growing: &[Parcel]) -> bool {
    amount_to(growing, SHARE_MESSAGES, SHARE_BYTES)
}
