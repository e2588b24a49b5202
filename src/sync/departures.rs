//! Messages that left the source: their records are kept aside, or their copies removed where the
//! definition says so (law 5).

use std::collections::BTreeMap;

use crate::ledger::{Change, FolderNo, MailboxLedger, Place, PlaceNo, Record, Retired};
use crate::model::IdSet;
use crate::platform;

use super::Error;
use super::job::{Job, STEP};
use super::lane::{Lane, at_destination};
use super::plan::Departure;

impl Job {
    /// Books messages that left the source, and removes the copies the definition says to.
    pub(super) async fn depart(&mut self, lane: &mut Lane, folder: usize) -> Result<(), Error> {
        let departures = std::mem::take(&mut self.folders[folder].departures);
        let no = self.folders[folder].no;
        self.tally.removed += depart(&self.ledger, lane, &self.places, no, departures).await?;
        let moot = std::mem::take(&mut self.folders[folder].moot_failures);
        if !moot.is_empty() {
            self.commit(vec![Change::DropFailures(no, moot)]).await?;
        }
        Ok(())
    }
}

/// Books departures of a folder, removing copies where planned. Answers how many were removed.
pub(crate) async fn depart(
    ledger: &MailboxLedger,
    lane: &mut Lane,
    places: &BTreeMap<PlaceNo, Place>,
    no: FolderNo,
    departures: Vec<Departure>,
) -> Result<u64, Error> {
    let mut removed = 0;
    let mut removals: BTreeMap<PlaceNo, Vec<Record>> = BTreeMap::new();
    let mut retired: Vec<Record> = Vec::new();
    for departure in departures {
        match departure {
            Departure::Remove(record) => removals.entry(record.place).or_default().push(record),
            Departure::Retire(record) => retired.push(record),
        }
    }
    for (place, records) in removals {
        let place = places.get(&place);
        let (Some(place), Some(epoch)) = (place, place.and_then(|p| p.epoch)) else { continue };
        for step in records.chunks(STEP) {
            let ids: IdSet = step.iter().filter_map(|r| r.at).collect();
            match lane.destination.remove(&place.name, epoch, &ids).await {
                // Its user removed the folder, or made it anew: nothing of ours is there.
                Ok(()) | Err(platform::Error::FolderGone(_) | platform::Error::EpochChanged(_)) => {
                }
                Err(error) => return Err(at_destination(error)),
            }
            let ids = step.iter().map(|r| r.id).collect();
            ledger.commit(vec![Change::DropRecords(no, ids)]).await?;
            removed += step.len() as u64;
        }
    }
    for step in retired.chunks(STEP) {
        let mut changes: Vec<Change> = step.iter().map(|r| Change::Retire(retire(r))).collect();
        changes.push(Change::DropRecords(no, step.iter().map(|r| r.id).collect()));
        ledger.commit(changes).await?;
    }
    Ok(removed)
}

fn retire(record: &Record) -> Retired {
    Retired {
        no: 0,
        fingerprint: record.fingerprint,
        size: record.size,
        date: record.date,
        place: record.place,
        at: record.at,
        origin: record.origin,
        flags: record.flags.clone(),
    }
}
