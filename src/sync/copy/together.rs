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
use futures_util::stream::{FuturesOrdered, FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::super::Error;
use super::super::bench::Wanted;
use super::super::lane::Lane;
use super::pace::{Amount, Pace};
use super::writing::Writing;
use super::{BATCH_BYTES, BATCH_MESSAGES, Batch, Copy, Parcel, amount_to};
use crate::ledger::Change;
use crate::model::{Epoch, FolderName};
use crate::platform::{self, Append, Appended, Destination, Turn};

/// Connections that help one to fill its folder.
pub(crate) const HELPERS: usize = 3;
/// A batch where turns cost nothing: as much as a batch needs to be worth its commit, so that
/// all have one.
const LEAST: Amount = Amount { messages: 50, bytes: 1 << 20 };
/// And the largest.
const MOST: Amount = Amount { messages: 500, bytes: 4 << 20 };
/// Fewer messages are not worth a second connection.
pub(super) const WORTH_HELP: u64 = 2 * LEAST.messages as u64;
/// So many are, however large the batches.
pub(crate) const SURELY_WORTH_HELP: u64 = 2 * MOST.messages as u64;
/// What one connection is at work on for so many turns is a batch: a few connections work for as
/// long as their turns take then. How fast one is was seen while all lanes shared the server; the few
/// that help when the others are done are faster, and their turns take no less.
const TURNS: u32 = 12;
/// Where it is at work on a batch for less than this, in turns, one connection is faster by itself.
const WORTH_TURNS: f64 = 1.5;
/// So long a batch waits for its turn while nothing is answered, at least. A server may lock the folder
/// for whoever comes first until that one is done (Dovecot's mbox), and that need not be whose turn
/// it is: then both would wait.
const PATIENCE: Duration = Duration::from_secs(10);
/// And so many times as long as one connection by itself was seen to take for a batch: all of them
/// share the line.
const PATIENCE_TIMES: u32 = 2 * (HELPERS as u32 + 1);

/// How a folder is shared by several connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// What each batch is to be, unless one message alone is larger.
    batch: Amount,
    /// So long each waits for its turn while nothing is answered.
    patience: Duration,
}

impl Share {
    /// What is worth being filled together, where passing a turn on takes `turn`, and one connection
    /// by itself has this pace, and so many messages are to come.
    pub(super) fn worth(turn: Duration, pace: &Pace, left: u64) -> Option<Self> {
        let Amount { messages, bytes } = match turn.is_zero() {
            true => LEAST,
            false => {
                let within = pace.within(turn * TURNS)?;
                let least = pace.within(turn.mul_f64(WORTH_TURNS))?;
                if least.messages > MOST.messages || least.bytes > MOST.bytes {
                    return None;
                }
                within
            }
        };
        let batch = Amount {
            messages: messages.clamp(LEAST.messages, MOST.messages),
            bytes: bytes.clamp(LEAST.bytes, MOST.bytes),
        };
        let alone = Amount { messages: BATCH_MESSAGES, bytes: BATCH_BYTES };
        let patience = PATIENCE.max(pace.for_batch(alone) * PATIENCE_TIMES);
        (left >= 2 * batch.messages as u64).then_some(Self { batch, patience })
    }

    fn is_full(self, growing: &[Parcel]) -> bool {
        amount_to(growing, self.batch.messages, self.batch.bytes)
    }
}

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

/// Batches of one connection that came to their end.
struct Carried<'d> {
    hand: Hand<'d>,
    /// Fewer than there were batches, if the connection broke.
    answers: Vec<platform::Result<Appended>>,
    /// It did not wait for its turn to the end.
    impatient: bool,
}

/// What is under way.
struct Flying<'d> {
    carried: FuturesOrdered<BoxFuture<'d, Carried<'d>>>,
    /// Of these batches.
    batches: VecDeque<VecDeque<Batch>>,
    /// Ended, and not looked at yet.
    ended: VecDeque<Carried<'d>>,
    /// Ends when the last of them does.
    turn: Option<oneshot::Receiver<()>>,
    /// Told of each answer.
    heard: watch::Sender<()>,
    patience: Duration,
}

impl<'d> Flying<'d> {
    /// With what a connection has sent already.
    fn behind(own: &'d mut dyn Destination, sent: VecDeque<Batch>, patience: Duration) -> Self {
        let (done, next) = oneshot::channel();
        let heard = watch::Sender::default();
        let carried = FuturesOrdered::new();
        let (batches, ended) = (VecDeque::new(), VecDeque::new());
        let mut flying = Self { carried, batches, ended, turn: Some(next), heard, patience };
        let (n, heard) = (sent.len(), flying.heard.clone());
        flying.batches.push_back(sent);
        flying.carried.push_back(Box::pin(async move {
            let mut answers = Vec::new();
            while answers.len() < n && !answers.last().is_some_and(broke) {
                answers.push(own.appended().await);
                heard.send_replace(());
            }
            let _ = done.send(());
            Carried { hand: Hand::Own(own), answers, impatient: false }
        }));
        flying
    }

    fn send(&mut self, batch: Batch, hand: Hand<'d>, folder: FolderName, appends: Vec<Append>) {
        let (done, next) = oneshot::channel();
        let turn = self.turn.replace(next).map(|ends| Waiting { ends, patience: self.patience });
        let heard = self.heard.clone();
        self.carried.push_back(Box::pin(carry(hand, folder, appends, turn, heard, done)));
        self.batches.push_back(VecDeque::from([batch]));
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
    async fn next(&mut self) -> Option<(VecDeque<Batch>, Carried<'d>)> {
        let carried = match self.ended.pop_front() {
            Some(carried) => carried,
            None => self.carried.next().await?,
        };
        Some((self.batches.pop_front()?, carried))
    }
}

const fn broke(answer: &platform::Result<Appended>) -> bool {
    matches!(answer, Err(_) | Ok(Appended::Cut(..)))
}

/// For whoever was before.
struct Waiting {
    ends: oneshot::Receiver<()>,
    patience: Duration,
}

async fn carry(
    mut hand: Hand<'_>,
    folder: FolderName,
    appends: Vec<Append>,
    turn: Option<Waiting>,
    heard: watch::Sender<()>,
    done: oneshot::Sender<()>,
) -> Carried<'_> {
    let mut impatient = false;
    let mut hears = heard.subscribe();
    let waits = async {
        let Some(Waiting { mut ends, patience }) = turn else { return };
        hears.mark_unchanged();
        loop {
            tokio::select! {
                biased;
                // Whoever was before is done, however that ended.
                _ = &mut ends => return,
                heard = timeout(patience, hears.changed()) => match heard {
                    Ok(_) => {}
                    Err(_) => {
                        impatient = true;
                        return;
                    }
                },
            }
        }
    };
    let turn: Turn<'_> = Box::pin(waits);
    let destination = hand.destination();
    let answer = match destination.append_in_turn(&folder, appends, turn).await {
        Ok(()) => destination.appended().await,
        Err(error) => Err(error),
    };
    heard.send_replace(());
    let _ = done.send(());
    Carried { hand, answers: vec![answer], impatient }
}

/// Lanes that are about to help, and the folder being opened on them.
type Hiring = FuturesUnordered<BoxFuture<'static, Option<Box<Lane>>>>;

impl Copy<'_> {
    /// Copies what comes in, for as long as there is somebody to help and all goes smoothly. What is
    /// left when it ends is in `writing`, and nothing is under way.
    pub(super) async fn write_together(
        &mut self,
        own: &mut dyn Destination,
        wanted: &mut Wanted,
        share: Share,
        writing: &mut Writing<'_>,
    ) -> Result<(), Error> {
        let sent = std::mem::take(&mut writing.flying);
        let mut flying = Flying::behind(&mut *own, sent, share.patience);
        let (mut idle, mut hiring, mut helpers) = (Vec::new(), Hiring::new(), 0);
        let (mut unclear, mut error) = (Vec::new(), None);
        loop {
            let goes_on = !self.alone
                && !self.job.stop.is_cancelled()
                && !writing.inbox.recalled.is_cancelled()
                && self.job.allowance.spent().is_none();
            while goes_on && let Some(lane) = wanted.take() {
                let (folder, epoch) = (self.job.place.name.clone(), self.opened.epoch);
                hiring.push(Box::pin(hired(Box::new(lane), folder, epoch)));
                helpers += 1;
            }
            while let Some(at) = idle.iter().position(Hand::is_recalled) {
                helpers -= 1;
                if let Hand::Lent(lane) = idle.swap_remove(at) {
                    lane.close();
                }
            }
            let goes_on = goes_on && helpers > 0;
            if !goes_on {
                dismiss(&mut idle, wanted);
            }
            while goes_on && writing.open && !share.is_full(&writing.growing) {
                match writing.inbox.receive.try_recv() {
                    Ok(message) => self.receive(message, writing),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => writing.open = false,
                }
            }
            let eager = flying.is_empty() || !writing.open || share.is_full(&writing.growing);
            if !writing.growing.is_empty()
                && eager
                && let Some(hand) = idle.pop()
            {
                let parcels = std::mem::take(&mut writing.growing);
                let batch = self.depart(parcels, &mut writing.changes);
                let appends = self.appends(&batch);
                flying.meanwhile(self.tell(std::mem::take(&mut writing.changes))).await?;
                flying.send(batch, hand, self.job.place.name.clone(), appends);
                continue;
            }
            let takes_more = goes_on && writing.open && !share.is_full(&writing.growing);
            tokio::select! {
                biased;
                Some((batches, carried)) = flying.next() => {
                    if carried.impatient {
                        tracing::info!(folder = %self.job.place.path, "the destination does not let several connections fill a folder together; going on with one");
                        self.alone = true;
                        wanted.close();
                    }
                    let (mut answers, mut failed) = (carried.answers.into_iter(), None);
                    for batch in batches {
                        let (rest, error) = match answers.next() {
                            Some(answer) => self.arrive(batch, answer, &mut writing.changes),
                            None => (Some(batch), None),
                        };
                        unclear.extend(rest);
                        failed = failed.or(error);
                    }
                    self.alone |= !unclear.is_empty() || failed.is_some() || self.refusals > 0;
                    match (&failed, carried.hand) {
                        (None, hand) => idle.push(hand),
                        // Whatever is wrong with the connection, nobody else is to have it.
                        (Some(_), Hand::Lent(lane)) => lane.close(),
                        (Some(_), Hand::Own(_)) => {}
                    }
                    error = error.or(failed);
                }
                Some(hired) = hiring.next() => match hired {
                    Some(lane) => idle.push(Hand::Lent(lane)),
                    None => helpers -= 1,
                },
                message = writing.inbox.receive.recv(), if takes_more => match message {
                    Some(message) => self.receive(message, writing),
                    None => writing.open = false,
                },
                else => break,
            }
        }
        dismiss(&mut idle, wanted);
        drop((idle, flying));
        self.resolve(own, unclear, error, &mut writing.changes).await
    }

    async fn tell(&self, changes: Vec<Change>) -> Result<(), Error> {
        self.job.commit(changes).await?;
        self.job.allowance.keep(&self.job.context, false).await?;
        Ok(())
    }
}

/// A lane that helps from now on, if it can.
async fn hired(mut lane: Box<Lane>, folder: FolderName, epoch: Epoch) -> Option<Box<Lane>> {
    match lane.destination.open(&folder).await {
        Ok(opened) if opened.epoch == epoch => return Some(lane),
        Ok(_) => {}
        Err(error) => tracing::debug!(%error, "a connection that was to help cannot"),
    }
    lane.close();
    None
}

/// They are not needed here any more.
fn dismiss(idle: &mut Vec<Hand<'_>>, wanted: &Wanted) {
    for hand in idle.drain(..) {
        if let Hand::Lent(lane) = hand {
            wanted.pass_on(*lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn share(turn: Duration, pace: &Pace, left: u64) -> Option<(usize, usize)> {
        Share::worth(turn, pace, left).map(|share| (share.batch.messages, share.batch.bytes))
    }

    /// Of a server that takes so many messages of 10 kB in 100 ms.
    fn pace(messages: usize) -> Pace {
        Pace::of(Amount { messages, bytes: messages * 10_000 }, 100 * MS)
    }

    #[test]
    fn where_turns_cost_nothing_batches_are_small() {
        assert_eq!(share(Duration::ZERO, &Pace::default(), 5000), Some((50, 1 << 20)));
        assert_eq!(share(Duration::ZERO, &Pace::default(), 99), None, "too few");
    }

    #[test]
    fn over_a_long_line_a_batch_is_what_one_connection_does_in_twelve_turns() {
        assert_eq!(share(50 * MS, &Pace::default(), 5000), None, "nobody knows yet");
        assert_eq!(share(50 * MS, &pace(50), 5000), Some((300, 3_000_000)));
        assert_eq!(share(50 * MS, &pace(50), 599), None, "too few");
        assert_eq!(share(50 * MS, &pace(5), 5000), Some((50, 1 << 20)), "not for ever");
        assert_eq!(share(200 * MS, &pace(50), 5000), Some((500, 4 << 20)), "not without bounds");
    }

    #[test]
    fn a_turn_is_waited_for_longer_where_the_line_or_the_server_is_slow() {
        let patience = |pace: &Pace| Share::worth(50 * MS, pace, 5000).map(|share| share.patience);
        assert_eq!(patience(&pace(50)), Some(PATIENCE));
        // Of 100 messages.
        let slow = Pace::of(Amount { messages: 20, bytes: 800_000 }, 4000 * MS);
        assert_eq!(patience(&slow), Some(20_000 * MS * PATIENCE_TIMES));
    }

    #[test]
    fn where_turns_take_longer_than_the_work_one_connection_is_left_alone() {
        assert_eq!(share(200 * MS, &pace(170), 5000), None);
    }
}
