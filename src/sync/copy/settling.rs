//! What became of batches: what the answers say, what only the destination can tell, and what is sent
//! again because of it.

use std::collections::VecDeque;

use super::super::diff::carried;
use super::super::lane::at_destination;
use super::super::pairing::Trait;
use super::super::{Error, mend};
use super::{Batch, Copy, Parcel};
use crate::ledger::{Change, Record};
use crate::model::{IdSet, ItemId};
use crate::platform::{self, Appended, Destination, Landed};

impl Copy<'_> {
    /// Settles all that is under way, the first of which only the destination can tell of, and it
    /// can be asked once nothing is under way.
    pub(super) async fn drain(
        &mut self,
        destination: &mut dyn Destination,
        flying: &mut VecDeque<Batch>,
        mut error: Option<platform::Error>,
        changes: &mut Vec<Change>,
    ) -> Result<(), Error> {
        let mut unclear: Vec<Batch> = Vec::new();
        if error.is_none() {
            unclear.extend(flying.pop_front());
        }
        while error.is_none()
            && let Some(batch) = flying.pop_front()
        {
            let answer = destination.appended().await;
            let (rest, failed) = self.arrive(batch, answer, changes);
            unclear.extend(rest);
            error = failed;
        }
        unclear.extend(flying.drain(..));
        self.resolve(destination, unclear, error, changes).await
    }

    /// Settles batches that only the destination can tell of, in the order in which they were sent,
    /// once nothing is under way any more.
    pub(super) async fn resolve(
        &mut self,
        destination: &mut dyn Destination,
        mut unclear: Vec<Batch>,
        error: Option<platform::Error>,
        changes: &mut Vec<Change>,
    ) -> Result<(), Error> {
        self.alone |= !unclear.is_empty() || error.is_some();
        if let Some(error) = error {
            self.recover(destination, error, changes).await?;
        }
        // Twins may be in different batches. What was taken is there, in the order sent; only
        // what is left of it can be another batch's.
        unclear.sort_by_key(|batch| !batch.parcels.iter().all(|parcel| parcel.accepted));
        unclear.reverse();
        self.look(destination, unclear, changes).await
    }

    /// Goes on, on a new connection, if this one ended after it refused something: some servers
    /// close after so many refusals, and one message must not end the pass for all others. Any
    /// other error ends it; what is known until then is filed.
    pub(super) async fn recover(
        &mut self,
        destination: &mut dyn Destination,
        error: platform::Error,
        changes: &mut Vec<Change>,
    ) -> Result<(), Error> {
        self.job.commit(std::mem::take(changes)).await?;
        let broke = matches!(error, platform::Error::Broken { .. });
        if !broke || self.refusals == 0 {
            return Err(at_destination(error));
        }
        tracing::info!(%error, refusals = self.refusals, "the destination ended the connection after refusals; connecting anew");
        self.refusals = 0;
        // The server may still be at work on what it was sent last.
        tokio::time::sleep(self.job.context.settle_grace).await;
        destination.renew(true).await.map_err(at_destination)?;
        Ok(())
    }

    /// Takes a new connection before the server closes one that has refused too much.
    pub(super) async fn renew(&mut self, destination: &mut dyn Destination) -> Result<(), Error> {
        if self.refusals > 0 && destination.renew(false).await.map_err(at_destination)? {
            self.refusals = 0;
        }
        Ok(())
    }

    /// Sends parcels that nothing else is under way with. What only the destination can tell of
    /// comes back.
    pub(super) async fn send(
        &mut self,
        destination: &mut dyn Destination,
        parcels: Vec<Parcel>,
        changes: &mut Vec<Change>,
    ) -> Result<Option<Batch>, Error> {
        let batch = self.depart(parcels, changes);
        self.job.commit(std::mem::take(changes)).await?;
        let appends = self.appends(&batch);
        let answer = match destination.append(&self.job.place.name, appends).await {
            Ok(()) => destination.appended().await,
            Err(error) => Err(error),
        };
        let (unclear, error) = self.arrive(batch, answer, changes);
        if let Some(error) = error {
            self.recover(destination, error, changes).await?;
        }
        self.stop_if_outage(changes).await?;
        Ok(unclear)
    }

    /// Ends the pass if the server refuses everything for now.
    pub(super) async fn stop_if_outage(&mut self, changes: &mut Vec<Change>) -> Result<(), Error> {
        let Some(refusal) = self.outage.take() else { return Ok(()) };
        self.job.commit(std::mem::take(changes)).await?;
        Err(at_destination(platform::Error::Refused { command: "APPEND", refusal }))
    }

    /// Books what an answer says. Gives back what it does not say enough of, and the error that
    /// kept the rest from being answered.
    pub(super) fn arrive(
        &mut self,
        batch: Batch,
        answer: platform::Result<Appended>,
        changes: &mut Vec<Change>,
    ) -> (Option<Batch>, Option<platform::Error>) {
        let (fates, error) = match answer {
            Ok(Appended::Each(fates)) if fates.len() == batch.parcels.len() => (fates, None),
            // A batch of one that is refused is the message that is refused.
            Ok(Appended::Refused(refusal)) if batch.parcels.len() == 1 => {
                (vec![Err(refusal)], None)
            }
            Ok(Appended::Cut(fates, error)) => (fates, Some(error)),
            Ok(Appended::Each(_)) => return (Some(batch), None),
            Ok(Appended::Refused(_)) => {
                self.refusals += 1;
                return (Some(batch), None);
            }
            Err(error) => return (Some(batch), Some(error)),
        };
        let mut records = Vec::new();
        let mut rest = Vec::new();
        let mut fates = fates.into_iter();
        for mut parcel in batch.parcels {
            match fates.next() {
                Some(Ok(Landed::At(at))) => records.push(self.landed(&parcel, Some(at))),
                Some(Ok(Landed::Somewhere)) => {
                    parcel.accepted = true;
                    rest.push(parcel);
                }
                // Servers have stored a message and failed after that: one look, lest its user
                // removes the copy before the next pass finds it.
                Some(Err(refusal)) if refusal.transient || refusal.code.is_none() => {
                    self.refusals += 1;
                    parcel.denied = Some(refusal);
                    rest.push(parcel);
                }
                Some(Err(refusal)) => {
                    self.refusals += 1;
                    self.refused(parcel, refusal, changes);
                }
                None => rest.push(parcel),
            }
        }
        self.file(records, changes);
        if rest.is_empty() {
            changes.push(Change::DropIntent(batch.intent));
            return (None, error);
        }
        changes.push(self.intent(batch.intent, &rest));
        (Some(Batch { intent: batch.intent, parcels: rest }), error)
    }

    /// Looks at the destination for batches whose answer was not enough, the last one first;
    /// sends again, in halves, what is not there, until each message has landed or is refused
    /// alone.
    pub(super) async fn look(
        &mut self,
        destination: &mut dyn Destination,
        mut stack: Vec<Batch>,
        changes: &mut Vec<Change>,
    ) -> Result<(), Error> {
        while let Some(batch) = stack.pop() {
            let wanted: Vec<Trait> = batch.parcels.iter().map(|p| p.named).collect();
            let (epoch, since) = (self.opened.epoch, self.opened.next);
            let found = mend::landed(destination, &self.job.place, epoch, since, &wanted).await?;
            changes.push(Change::DropIntent(batch.intent));
            let mut records = Vec::new();
            let mut rest = Vec::new();
            let mut late = Vec::new();
            for (mut parcel, at) in batch.parcels.into_iter().zip(found) {
                late.extend(at.map(|at| (at, self.append(&parcel).flags)));
                match (at, parcel.denied.take()) {
                    (Some(_), _) => records.push(self.landed(&parcel, at)),
                    // It was taken and is not to be seen: sending it again could only double it.
                    (None, _) if parcel.accepted => records.push(self.landed(&parcel, None)),
                    (None, Some(refusal)) => self.refused(parcel, refusal, changes),
                    (None, None) => rest.push(parcel),
                }
            }
            mend::store_late(destination, &self.job.place, epoch, &late).await?;
            self.file(records, changes);
            let half = rest.len().div_ceil(2).max(1);
            let mut halves = Vec::new();
            while !rest.is_empty() {
                let tail = rest.split_off(half.min(rest.len()));
                halves.push(std::mem::replace(&mut rest, tail));
            }
            for parcels in halves {
                self.renew(destination).await?;
                stack.extend(self.send(destination, parcels, changes).await?);
                // Before what comes after it.
                while let Some(parcel) = self.again.pop_front() {
                    stack.extend(self.send(destination, vec![parcel], changes).await?);
                }
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
        self.passing = 0;
        if let Some(amended) = &parcel.amended {
            self.repairs.push(self.repaired(parcel, amended));
        }
        Record {
            id: parcel.message.id,
            place: self.job.place.no,
            at,
            origin: mend::OURS,
            flags: carried(&parcel.message.flags, self.job.deletes),
            fingerprint: parcel.named.fingerprint,
            size: parcel.named.size,
            date: parcel.named.date,
            // The others are known by their names.
            identity: parcel.message.identity.filter(|_| !parcel.named.named),
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
        changes.append(&mut self.repairs);
        changes.push(Change::PutPlace(self.job.place.clone()));
    }
}
