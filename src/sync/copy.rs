//! Copies a run of messages into one destination folder: reads ahead as far as memory allows,
//! groups what has come into batches, keeps some in flight, and tells the ledger before and after
//! each (laws 2 and 3). `reading` is the source's half, `writing` the destination's; `settling` tells
//! what became of batches, `failures` what becomes of messages that are not taken, or not given.
//!
//! While the server is busy with a batch, the next one grows: slow servers get large batches,
//! fast ones small, without a setting. `together` fills a large folder over several connections,
//! `bundle` many small ones over one.

use std::collections::{HashMap, VecDeque};
use std::sync::OnceLock;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::ledger::{Change, Deed, Failure, Intent, IntentItem};
use crate::model::{Flags, FolderName, IdSet, Item, ItemId, fingerprint};
use crate::platform::{Append, ContentDigest, KeywordRule, Message, Opened, Refusal};

use super::Error;
use super::diff::carried;
use super::job::Job;
use super::lane::{Lane, at_source};
use super::pairing::Trait;
use failures::too_big;
use reading::Reading;
use together::WORTH_HELP;
pub(crate) use together::{HELPERS, SURELY_WORTH_HELP};
use writing::Writing;

pub(crate) mod bundle;
mod failures;
mod pace;
mod reading;
mod settling;
mod together;
mod writing;

/// Messages in a batch: enough to make the round trip and the server's commit cheap, few enough
/// that a refused batch is soon taken apart.
const BATCH_MESSAGES: usize = 100;
/// Bytes in a batch, unless one message alone is larger.
const BATCH_BYTES: usize = 4 << 20;
/// Batches in flight: one being worked on, one on the way.
const IN_FLIGHT: usize = 2;
/// And over a long line: several on the way. What is refused is overtaken by those behind it, so they
/// are few.
const IN_FLIGHT_FAR: usize = 8;
/// Over a long line a batch that is not full waits so long for the next message: an answer takes
/// longer, and those in flight are few.
const LINGER: Duration = Duration::from_millis(10);
/// Messages read ahead and not yet in a batch; their bytes are bounded by the memory budget.
const READ_AHEAD: usize = 64;
/// A message that was read and named.
struct Parcel {
    message: Message,
    named: Trait,
    message_id: Option<String>,
    /// What it is recognised by if headers do not tell it from others.
    content: Option<ContentDigest>,
    /// The server took it and did not say where it landed.
    accepted: bool,
    /// The server refused it in words that do not exclude that it took it.
    denied: Option<Refusal>,
    amended: Option<Amended>,
}

/// A message that was refused, and goes once more with a change.
struct Amended {
    append: Append,
    /// What was changed, for people.
    changes: Vec<String>,
    /// Why.
    says: String,
}

/// Parcels that travel together.
struct Batch {
    intent: u64,
    parcels: Vec<Parcel>,
}

/// What is left of a job after a copy run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// More to copy.
    Copies,
    /// Something else to be done at the destination.
    Deeds,
    /// Nothing but bookkeeping.
    Nothing,
}

/// What the source's half of a run tells the destination's.
struct Inbox<'a> {
    receive: mpsc::Receiver<Message>,
    recalled: &'a CancellationToken,
    /// The folders that the next job opens first, if it is known when the last message was taken.
    next: &'a OnceLock<Vec<FolderName>>,
}

/// One copy run.
pub(crate) struct Copy<'a> {
    job: &'a mut Job,
    /// Which of the job's folders.
    folder: usize,
    opened: &'a Opened,
    /// Earlier failures of the folder, by id.
    failures: HashMap<ItemId, Failure>,
    /// Refused messages that go once more, changed.
    again: VecDeque<Parcel>,
    /// To be filed with the records of changed messages.
    repairs: Vec<Change>,
    /// Refusals on the destination's present connection.
    refusals: u32,
    /// Of those that will pass, how many in a row.
    passing: u32,
    /// What made it seem an outage.
    outage: Option<Refusal>,
    /// Nobody is to help any more.
    alone: bool,
}

impl<'a> Copy<'a> {
    pub(crate) fn new(
        job: &'a mut Job,
        folder: usize,
        opened: &'a Opened,
        failures: HashMap<ItemId, Failure>,
    ) -> Self {
        let (again, repairs, outage) = (VecDeque::new(), Vec::new(), None);
        let (refusals, passing, alone) = (0, 0, false);
        Self { job, folder, opened, failures, again, repairs, refusals, passing, outage, alone }
    }

    /// Copies `items`, ids ascending. Messages that are gone meanwhile are left for the next
    /// pass to notice. After the last ones of the job the source may begin with the next job, and
    /// if nothing else is left to do, the destination too.
    ///
    /// If the lane is wanted back, what was sent is settled, and those that were not are returned.
    pub(crate) async fn run(
        &mut self,
        lane: &mut Lane,
        items: &[Item],
        left: Left,
    ) -> Result<IdSet, Error> {
        let recalled = lane.recalled.clone();
        let ids: IdSet = items.iter().map(|i| i.id).collect();
        let mut reading = Reading::new(self.job, self.folder, ids.clone(), recalled.clone());
        let mut missing = ids;
        let (send, receive) = mpsc::channel(READ_AHEAD);
        let Lane { source, destination, upcoming, .. } = lane;
        let is_worth_help = missing.len() >= WORTH_HELP && destination.takes_turns().is_some();
        let wanted = is_worth_help.then(|| upcoming.queue.bench.want(HELPERS, missing.len()));
        let next = OnceLock::new();
        let read = async {
            // When the last message is taken it is known what comes next.
            let held = send.clone();
            let read = reading.run(source.as_mut(), send).await;
            if left != Left::Copies && read.is_ok() && !recalled.is_cancelled() {
                upcoming.begin(source.as_mut()).await;
                if left == Left::Nothing {
                    let _ = next.set(upcoming.path());
                }
            }
            drop(held);
            read
        };
        let inbox = Inbox { receive, recalled: &recalled, next: &next };
        let writing = Writing::new(inbox, &mut missing);
        let write = self.write(destination.as_mut(), writing, wanted);
        // Both are run to their end: what was read is settled even if reading broke off.
        let (read, written) = tokio::join!(read, write);
        written?;
        read.map_err(at_source)?;
        if self.job.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        let left = match recalled.is_cancelled() {
            // Those that the source hung up at are not asked for once more.
            true => missing.difference(&reading.hung_up()),
            false => IdSet::new(),
        };
        let missing = missing.difference(&left);
        self.settle_missing(lane, items, missing, &reading.ungiven).await?;
        Ok(left)
    }

    /// Names a message and counts it as found; `None` if it is known that the destination would
    /// not take it.
    fn take(
        &mut self,
        message: Message,
        missing: &mut IdSet,
        changes: &mut Vec<Change>,
    ) -> Option<Parcel> {
        missing.remove(message.id);
        self.job.allowance.read(message.body.len() as u64);
        let named = fingerprint::of_headers(&message.body);
        let named_by_id = named.message_id.is_some();
        let parcel = Parcel {
            named: Trait {
                fingerprint: named.fingerprint,
                size: message.body.len() as u64,
                date: message.date.map(|d| d.timestamp()),
                named: named_by_id,
                identity: None,
            },
            message_id: named.message_id,
            message,
            content: None,
            accepted: false,
            denied: None,
            amended: None,
        };
        let size = parcel.named.size;
        match self.opened.max_message.filter(|&most| size > most) {
            Some(most) => {
                self.refused(parcel, too_big(size, most), changes);
                None
            }
            None => Some(parcel),
        }
    }

    /// Makes a batch and its intent.
    fn depart(&self, mut parcels: Vec<Parcel>, changes: &mut Vec<Change>) -> Batch {
        let mut names = HashMap::new();
        for parcel in &parcels {
            *names.entry(parcel.named.fingerprint).or_insert(0) += 1;
        }
        // Should no answer come, and the source delete it before drover looks, nothing else could
        // tell which copy is this one's.
        let nameless = |p: &&mut Parcel| !p.named.named || names[&p.named.fingerprint] > 1;
        for parcel in parcels.iter_mut().filter(nameless).filter(|p| p.content.is_none()) {
            parcel.content = Some(self.job.normalisation.digest(&parcel.message.body));
        }
        let intent = self.job.intent();
        changes.push(self.intent(intent, &parcels));
        self.job.allowance.written(parcels.iter().map(|p| p.message.body.len() as u64).sum());
        Batch { intent, parcels }
    }

    fn intent(&self, no: u64, parcels: &[Parcel]) -> Change {
        let folder = self.job.folders[self.folder].no;
        let deletes = self.job.deletes;
        let item = |p: &Parcel| IntentItem {
            folder,
            id: p.message.id,
            flags: carried(&p.message.flags, deletes),
            fingerprint: p.named.fingerprint,
            size: p.named.size,
            date: p.named.date,
            deed: Deed::Copy { content: p.content },
        };
        Change::PutIntent(Intent {
            no,
            place: self.job.place.no,
            epoch: self.opened.epoch,
            next: self.opened.next,
            made: Utc::now(),
            items: parcels.iter().map(item).collect(),
        })
    }

    fn appends(&mut self, batch: &Batch) -> Vec<Append> {
        batch.parcels.iter().map(|parcel| self.append(parcel)).collect()
    }

    fn append(&mut self, parcel: &Parcel) -> Append {
        if let Some(amended) = &parcel.amended {
            return amended.append.clone();
        }
        let flags = carried(&parcel.message.flags, self.job.deletes);
        Append {
            flags: kept(&flags, &self.opened.keywords, &mut self.job.lost_keywords),
            date: parcel.message.date,
            body: parcel.message.body.clone(),
        }
    }
}

fn is_full(growing: &[Parcel]) -> bool {
    amount_to(growing, BATCH_MESSAGES, BATCH_BYTES)
}

/// Are there so many of them, or so much?
fn amount_to<'p>(
    parcels: impl IntoIterator<Item = &'p Parcel>,
    messages: usize,
    bytes: usize,
) -> bool {
    let add =
        |(n, size): (usize, usize), parcel: &Parcel| (n + 1, size + parcel.message.body.len());
    let (n, size) = parcels.into_iter().fold((0, 0), add);
    n >= messages || size >= bytes
}

/// The flags a folder keeps; what it would lose is noted.
pub(crate) fn kept(
    flags: &Flags,
    rule: &KeywordRule,
    lost: &mut std::collections::BTreeSet<String>,
) -> Flags {
    flags.retain_keywords(|keyword| {
        let keep = rule.keeps(keyword);
        if !keep {
            lost.insert(keyword.0.to_string());
        }
        keep
    })
}
