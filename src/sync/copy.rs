//! Copies a run of messages into one destination folder: reads ahead as far as memory allows,
//! groups what has come into batches, keeps two batches in flight, and tells the ledger before
//! and after each (laws 2 and 3).
//!
//! While the server is busy with a batch, the next one grows: slow servers get large batches,
//! fast ones small, without a setting.

use std::collections::{HashMap, VecDeque};

use chrono::Utc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::flow::Rate;
use crate::ledger::{Change, Failure, Intent, IntentItem, Record, Verdict};
use crate::model::{Epoch, Flags, FolderName, IdSet, Item, ItemId, fingerprint};
use crate::platform::{Append, Appended, KeywordRule, Landed, Message, Opened, Refusal};

use super::diff::carried;
use super::job::Job;
use super::lane::{Lane, at_destination, at_source};
use super::pairing::Trait;
use super::{Error, mend};

/// Messages in a batch: enough to make the round trip and the server's commit cheap, few enough
/// that a refused batch is soon taken apart.
const BATCH_MESSAGES: usize = 100;
/// Bytes in a batch, unless one message alone is larger.
const BATCH_BYTES: usize = 4 << 20;
/// Batches in flight: one being worked on, one on the way.
const IN_FLIGHT: usize = 2;
/// Messages read ahead and not yet in a batch; their bytes are bounded by the memory budget.
const READ_AHEAD: usize = 256;
/// A message refused this often is not tried again by itself.
const ATTEMPTS: u32 = 3;

/// A message that was read and named.
struct Parcel {
    message: Message,
    named: Trait,
    message_id: Option<String>,
}

/// Parcels that travel together.
struct Batch {
    intent: u64,
    parcels: Vec<Parcel>,
    /// The server took them and did not say where they landed.
    accepted: bool,
}

/// One copy run.
pub(crate) struct Copy<'a> {
    pub(crate) job: &'a mut Job,
    /// Which of the job's folders.
    pub(crate) folder: usize,
    pub(crate) opened: &'a Opened,
    /// Earlier failures of the folder, by id.
    pub(crate) failures: HashMap<ItemId, Failure>,
}

impl Copy<'_> {
    /// Copies `items`, ids ascending. Messages that are gone meanwhile are left for the next
    /// pass to notice.
    pub(crate) async fn run(&mut self, lane: &mut Lane, items: &[Item]) -> Result<(), Error> {
        let Lane { source, destination, .. } = lane;
        let plan = &self.job.folders[self.folder];
        let name: FolderName = plan.folder.name.clone();
        let (epoch, ids): (Epoch, IdSet) = (plan.epoch, items.iter().map(|i| i.id).collect());
        let memory = self.job.context.memory.clone();
        let (send, read_ahead) = mpsc::channel(READ_AHEAD);
        let read = async {
            // Dropped when reading ends: that is how the others know.
            let send = send;
            source.fetch(&name, epoch, &ids, &memory, &send).await.map_err(at_source)
        };
        let (pass_on, receive) = mpsc::channel(READ_AHEAD);
        let pace = pace(self.job.rate.clone(), self.job.stop.clone(), read_ahead, pass_on);
        let mut missing = ids.clone();
        let write = self.write(destination.as_mut(), receive, &mut missing);
        // Both are run to their end: what was read is settled even if reading broke off.
        let (read, (), written) = tokio::join!(read, pace, write);
        written?;
        read?;
        if self.job.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        self.settle_missing(lane, items, missing).await
    }

    async fn write(
        &mut self,
        destination: &mut dyn crate::platform::Destination,
        mut receive: mpsc::Receiver<Message>,
        missing: &mut IdSet,
    ) -> Result<(), Error> {
        let mut flying: VecDeque<Batch> = VecDeque::new();
        let mut growing: Vec<Parcel> = Vec::new();
        let mut changes: Vec<Change> = Vec::new();
        let mut open = true;
        loop {
            if self.job.stop.is_cancelled() {
                // What is in flight is waited for; the rest is left.
                growing.clear();
                open = false;
            }
            while open && !is_full(&growing) {
                match receive.try_recv() {
                    Ok(message) => growing.push(self.take(message, missing)),
                    Err(mpsc::error::TryRecvError::Empty) => break,
                    Err(mpsc::error::TryRecvError::Disconnected) => open = false,
                }
            }
            let eager = flying.is_empty() || !open || is_full(&growing);
            if !growing.is_empty() && flying.len() < IN_FLIGHT && eager {
                let batch = self.depart(std::mem::take(&mut growing), &mut changes);
                // The intent is durable before a byte is sent, together with the outcomes that
                // came in since.
                self.job.commit(std::mem::take(&mut changes)).await?;
                let appends = self.appends(&batch);
                let name = &self.job.place.name;
                destination.append(name, appends).await.map_err(at_destination)?;
                flying.push_back(batch);
            } else if let Some(batch) = flying.pop_front() {
                let answer = destination.appended().await.map_err(at_destination)?;
                let mut unclear = Vec::from_iter(self.arrive(batch, answer, &mut changes));
                if !unclear.is_empty() {
                    // Only the destination tells, and it can be asked once nothing is under way.
                    while let Some(next) = flying.pop_front() {
                        let answer = destination.appended().await.map_err(at_destination)?;
                        unclear.extend(self.arrive(next, answer, &mut changes));
                    }
                    // Twins may be in different batches. What was taken is there, in the order
                    // sent; only what is left of it can be another batch's.
                    unclear.sort_by_key(|batch| !batch.accepted);
                    for batch in unclear {
                        self.look(destination, batch, &mut changes).await?;
                    }
                }
            } else if open {
                match receive.recv().await {
                    Some(message) => growing.push(self.take(message, missing)),
                    None => open = false,
                }
            } else {
                return self.job.commit(changes).await;
            }
        }
    }

    /// Names a message and counts it as found.
    fn take(&self, message: Message, missing: &mut IdSet) -> Parcel {
        missing.remove(message.id);
        let named = fingerprint::of_headers(&message.body);
        let named_by_id = named.message_id.is_some();
        Parcel {
            named: Trait {
                fingerprint: named.fingerprint,
                size: message.body.len() as u64,
                date: message.date.map(|d| d.timestamp()),
                named: named_by_id,
            },
            message_id: named.message_id,
            message,
        }
    }

    /// Makes a batch and its intent.
    fn depart(&mut self, parcels: Vec<Parcel>, changes: &mut Vec<Change>) -> Batch {
        let folder = self.job.folders[self.folder].no;
        let deletes = self.job.deletes;
        let item = |p: &Parcel| IntentItem {
            folder,
            id: p.message.id,
            flags: carried(&p.message.flags, deletes),
            fingerprint: p.named.fingerprint,
            size: p.named.size,
            date: p.named.date,
            moved_from: None,
            flagged: None,
        };
        let intent = self.job.intent();
        changes.push(Change::PutIntent(Intent {
            no: intent,
            place: self.job.place.no,
            epoch: self.opened.epoch,
            next: self.opened.next,
            made: Utc::now(),
            items: parcels.iter().map(item).collect(),
        }));
        Batch { intent, parcels, accepted: false }
    }

    fn appends(&mut self, batch: &Batch) -> Vec<Append> {
        let one = |p: &Parcel| {
            let flags = carried(&p.message.flags, self.job.deletes);
            Append {
                flags: kept(&flags, &self.opened.keywords, &mut self.job.lost_keywords),
                date: p.message.date,
                body: p.message.body.clone(),
            }
        };
        batch.parcels.iter().map(one).collect()
    }

    /// Books what an answer says. Gives the batch back if the answer does not say enough.
    fn arrive(
        &mut self,
        batch: Batch,
        answer: Appended,
        changes: &mut Vec<Change>,
    ) -> Option<Batch> {
        let fates = match answer {
            Appended::Each(fates) if fates.len() == batch.parcels.len() => fates,
            // A batch of one that is refused is the message that is refused.
            Appended::Refused(refusal) if batch.parcels.len() == 1 => vec![Err(refusal)],
            _ => return Some(batch),
        };
        let mut records = Vec::new();
        let mut somewhere = Vec::new();
        for (parcel, fate) in batch.parcels.into_iter().zip(fates) {
            match fate {
                Ok(Landed::At(at)) => records.push(self.landed(&parcel, Some(at))),
                Ok(Landed::Somewhere) => somewhere.push(parcel),
                Err(refusal) => changes.push(self.refused(&parcel, &refusal)),
            }
        }
        self.file(records, changes);
        if somewhere.is_empty() {
            changes.push(Change::DropIntent(batch.intent));
            return None;
        }
        Some(Batch { intent: batch.intent, parcels: somewhere, accepted: true })
    }

    /// Looks at the destination for a batch whose answer was not enough; sends again, in
    /// halves, what is not there, until each message has landed or is refused alone.
    async fn look(
        &mut self,
        destination: &mut dyn crate::platform::Destination,
        batch: Batch,
        changes: &mut Vec<Change>,
    ) -> Result<(), Error> {
        let mut stack = vec![batch];
        while let Some(batch) = stack.pop() {
            let wanted: Vec<Trait> = batch.parcels.iter().map(|p| p.named).collect();
            let (epoch, since) = (self.opened.epoch, self.opened.next);
            let found = mend::landed(destination, &self.job.place, epoch, since, &wanted).await?;
            changes.push(Change::DropIntent(batch.intent));
            let mut records = Vec::new();
            let mut rest = Vec::new();
            for (parcel, at) in batch.parcels.into_iter().zip(found) {
                match at {
                    Some(_) => records.push(self.landed(&parcel, at)),
                    // It was taken and is not to be seen: sending it again could only double it.
                    None if batch.accepted => records.push(self.landed(&parcel, None)),
                    None => rest.push(parcel),
                }
            }
            self.file(records, changes);
            let half = rest.len().div_ceil(2).max(1);
            let mut halves = Vec::new();
            while !rest.is_empty() {
                let tail = rest.split_off(half.min(rest.len()));
                halves.push(std::mem::replace(&mut rest, tail));
            }
            for parcels in halves {
                let batch = self.depart(parcels, changes);
                self.job.commit(std::mem::take(changes)).await?;
                let appends = self.appends(&batch);
                let name = &self.job.place.name;
                destination.append(name, appends).await.map_err(at_destination)?;
                let answer = destination.appended().await.map_err(at_destination)?;
                stack.extend(self.arrive(batch, answer, changes));
            }
        }
        Ok(())
    }

    fn landed(&mut self, parcel: &Parcel, at: Option<ItemId>) -> Record {
        if let Some(at) = at {
            self.job.place.known.insert(at);
        }
        self.job.tally.accounts.copied += 1;
        self.job.tally.bytes += parcel.named.size;
        self.job.progress.advance(1, parcel.named.size);
        Record {
            id: parcel.message.id,
            place: self.job.place.no,
            at,
            origin: mend::OURS,
            flags: carried(&parcel.message.flags, self.job.deletes),
            fingerprint: parcel.named.fingerprint,
            size: parcel.named.size,
            date: parcel.named.date,
        }
    }

    fn file(&mut self, records: Vec<Record>, changes: &mut Vec<Change>) {
        if records.is_empty() {
            return;
        }
        let folder = self.job.folders[self.folder].no;
        let healed: IdSet =
            records.iter().map(|r| r.id).filter(|id| self.failures.contains_key(id)).collect();
        if !healed.is_empty() {
            changes.push(Change::DropFailures(folder, healed));
        }
        changes.push(Change::PutRecords(folder, records));
        changes.push(Change::PutPlace(self.job.place.clone()));
    }

    fn refused(&mut self, parcel: &Parcel, refusal: &Refusal) -> Change {
        let reason = match &refusal.code {
            Some(code) => format!("the destination refused it: [{code}] {}", refusal.text),
            None => format!("the destination refused it: {}", refusal.text),
        };
        let id = parcel.message.id;
        let size = parcel.named.size;
        // Too big today, too big tomorrow.
        let final_word = refusal.code.as_deref() == Some("TOOBIG");
        self.failure(id, size, parcel.message_id.clone(), reason, final_word)
    }

    fn failure(
        &mut self,
        id: ItemId,
        size: u64,
        message_id: Option<String>,
        reason: String,
        final_word: bool,
    ) -> Change {
        let plan = &self.job.folders[self.folder];
        let attempts = self.failures.get(&id).map_or(0, |f| f.attempts) + 1;
        let verdict = if final_word || attempts >= ATTEMPTS {
            self.job.tally.accounts.skipped += 1;
            Verdict::Skipped
        } else {
            self.job.tally.accounts.failed += 1;
            Verdict::Failed
        };
        tracing::warn!(folder = %plan.folder.path, uid = %id, %reason, "a message could not be brought over; the rest goes on");
        self.job.progress.advance(1, 0);
        let (folder, at) = (plan.no, Utc::now());
        Change::PutFailure(Failure { folder, id, verdict, message_id, size, reason, attempts, at })
    }

    /// Messages that were asked for and did not come: gone, or unreadable at the source.
    async fn settle_missing(
        &mut self,
        lane: &mut Lane,
        items: &[Item],
        missing: IdSet,
    ) -> Result<(), Error> {
        if missing.is_empty() {
            return Ok(());
        }
        let name = self.job.folders[self.folder].folder.name.clone();
        let there = lane.source.sight(&name, &missing).await.map_err(at_source)?;
        let gone = missing.len() - there.len() as u64;
        self.job.tally.accounts.deferred += gone;
        self.job.progress.advance(gone, 0);
        let mut changes = Vec::new();
        for seen in there {
            let size = items
                .binary_search_by_key(&seen.id, |i| i.id)
                .ok()
                .and_then(|at| items[at].meta)
                .map_or(seen.size, |m| m.size);
            let reason = "the source lists it but gave no content".to_owned();
            changes.push(self.failure(seen.id, size, seen.message_id, reason, false));
        }
        let moot: IdSet =
            self.failures.keys().copied().filter(|id| missing.contains(*id)).collect();
        tracing::debug!(
            gone,
            unreadable = changes.len(),
            moot = moot.len(),
            "messages did not come"
        );
        self.job.commit(changes).await
    }
}

/// Hands messages on no faster than the definition's `rate`.
async fn pace(
    rate: Rate,
    stop: CancellationToken,
    mut from: mpsc::Receiver<Message>,
    to: mpsc::Sender<Message>,
) {
    while let Some(message) = from.recv().await {
        let paced = rate.pass(message.body.len() as u64);
        if stop.run_until_cancelled(paced).await.is_none() || to.send(message).await.is_err() {
            return;
        }
    }
}

fn is_full(growing: &[Parcel]) -> bool {
    growing.len() >= BATCH_MESSAGES
        || growing.iter().map(|p| p.message.body.len()).sum::<usize>() >= BATCH_BYTES
}

/// The flags a folder keeps; what it would lose is noted.
pub(crate) fn kept(
    flags: &Flags,
    rule: &KeywordRule,
    lost: &mut std::collections::BTreeSet<String>,
) -> Flags {
    match rule {
        KeywordRule::Any => flags.clone(),
        KeywordRule::Only(kept) => flags.retain_keywords(|keyword| {
            let keep = kept.contains(keyword);
            if !keep {
                lost.insert(keyword.0.to_string());
            }
            keep
        }),
    }
}
