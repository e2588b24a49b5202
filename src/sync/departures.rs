//! Messages that left the source: their records are kept aside, or their copies removed where the
//! definition says so (law 5).
//!
//! A removal has an intent like everything that is written (law 2): should no answer come, what is
//! gone then was not taken away by the destination's user, and is brought again if it turns up
//! elsewhere at the source.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::Utc;

use crate::ledger::{
    Change, Deed, FolderNo, Intent, IntentItem, MailboxLedger, Place, PlaceNo, Record, Retired,
};
use crate::model::{Epoch, FolderName, IdSet, ItemId};
use crate::platform;

use super::Error;
use super::job::{Job, STEP};
use super::lane::{Lane, at_destination};
use super::mend::{record_at, still_standing};
use super::plan::Departure;

impl Job {
    /// Books messages that left the source, and removes the copies the definition says to.
    pub(super) async fn depart(&mut self, lane: &mut Lane, folder: usize) -> Result<(), Error> {
        let then = self.next_path(lane, self.ends_with_removals(folder)).await;
        let departures = std::mem::take(&mut self.folders[folder].departures);
        let no = self.folders[folder].no;
        let Self { ledger, places, intents, .. } = self;
        self.tally.removed += depart(ledger, lane, places, intents, no, departures, &then).await?;
        let moot = std::mem::take(&mut self.folders[folder].moot_failures);
        if !moot.is_empty() {
            self.commit(vec![Change::DropFailures(no, moot)]).await?;
        }
        Ok(())
    }
}

/// Books departures of a folder, removing copies where planned. Answers how many were removed.
/// `then` are opened next.
pub(crate) async fn depart(
    ledger: &MailboxLedger,
    lane: &mut Lane,
    places: &BTreeMap<PlaceNo, Place>,
    intents: &AtomicU64,
    no: FolderNo,
    departures: Vec<Departure>,
    then: &[FolderName],
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
    let mut steps = Vec::new();
    for (place, records) in &removals {
        if let Some(place) = places.get(place)
            && let Some(epoch) = place.epoch
        {
            steps.extend(records.chunks(STEP).map(|step| (place, epoch, step)));
        }
    }
    let mut steps = steps.into_iter().peekable();
    while let Some((place, epoch, step)) = steps.next() {
        let then = if steps.peek().is_none() { then } else { &[] };
        let ids: IdSet = step.iter().filter_map(|r| r.at).collect();
        let intent = intents.fetch_add(1, Ordering::Relaxed);
        ledger.commit(vec![removal(intent, place.no, epoch, no, step)]).await?;
        match lane.destination.remove(&place.name, epoch, &ids, then).await {
            // Its user removed the folder, or made it anew: nothing of ours is there.
            Ok(()) | Err(platform::Error::FolderGone(_) | platform::Error::EpochChanged(_)) => {}
            Err(error) => return Err(at_destination(error)),
        }
        let ids = step.iter().map(|r| r.id).collect();
        ledger.commit(vec![Change::DropRecords(no, ids), Change::DropIntent(intent)]).await?;
        removed += step.len() as u64;
    }
    for step in retired.chunks(STEP) {
        let mut changes: Vec<Change> = step.iter().map(|r| Change::Retire(retire(r))).collect();
        changes.push(Change::DropRecords(no, step.iter().map(|r| r.id).collect()));
        ledger.commit(changes).await?;
    }
    Ok(removed)
}

fn removal(no: u64, place: PlaceNo, epoch: Epoch, folder: FolderNo, records: &[Record]) -> Change {
    let item = |record: &Record| Some(IntentItem::of(folder, record, Deed::Remove(record.at?)));
    let items = records.iter().filter_map(item).collect();
    // Nothing lands.
    let next = ItemId(0);
    Change::PutIntent(Intent { no, place, epoch, next, made: Utc::now(), items })
}

/// Books which of an intent's copies were removed: those that are not there any more.
pub(crate) async fn settle(
    ledger: &MailboxLedger,
    places: &BTreeMap<PlaceNo, Place>,
    lane: &mut Lane,
    intent: &Intent,
) -> Result<(), Error> {
    let mut changes = vec![Change::DropIntent(intent.no)];
    if let Some(there) = still_standing(places, lane, intent).await? {
        for item in &intent.items {
            let Deed::Remove(at) = item.deed else { continue };
            if !there.contains_key(&at) && record_at(ledger, intent, item, at).await?.is_some() {
                let ids = IdSet::range(item.id, item.id);
                changes.push(Change::DropRecords(item.folder, ids));
            }
        }
    }
    ledger.commit(changes).await?;
    Ok(())
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
        identity: record.identity,
    }
}
