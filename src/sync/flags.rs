//! Flag changes at the destination: only differences from the base are sent (law 4).

use std::collections::BTreeMap;

use crate::ledger::{Change, Deed, FolderNo, Intent, IntentItem, PlaceNo, Record};
use crate::model::{FolderName, Item};
use crate::platform::{self, FlagChange, Opened};

use super::Error;
use super::copy::kept;
use super::diff::item_flags;
use super::job::{Job, STEP};
use super::lane::{Lane, at_destination};
use super::plan::FlagCarry;

/// Where flags change.
struct Spot<'a> {
    place: PlaceNo,
    name: &'a FolderName,
    opened: &'a Opened,
}

impl Job {
    /// A known message that came from elsewhere may have changed its flags on the way.
    pub(super) fn flag_later(&mut self, folder: usize, record: &Record, item: &Item) {
        let now = item_flags(item, &record.flags, self.deletes);
        let here = record.place == self.place.no && record.at.is_some();
        if self.flags && here && now != record.flags {
            let record = record.clone();
            self.folders[folder].flags.push(FlagCarry { record, now });
        }
    }

    pub(super) async fn store_flags(
        &mut self,
        lane: &mut Lane,
        folder: usize,
        opened: &Opened,
    ) -> Result<(), Error> {
        if self.folders[folder].flags.is_empty() {
            return Ok(());
        }
        let then = self.next_path(lane, self.ends_with_flags(folder)).await;
        let no = self.folders[folder].no;
        let flags = std::mem::take(&mut self.folders[folder].flags);
        let (here, moved_away): (Vec<_>, Vec<_>) =
            flags.into_iter().partition(|f| f.record.place == self.place.no);
        // After the cutover a copy may stay where its source no longer is.
        let mut elsewhere: BTreeMap<PlaceNo, Vec<FlagCarry>> = BTreeMap::new();
        for f in moved_away {
            elsewhere.entry(f.record.place).or_default().push(f);
        }
        for (place, flags) in elsewhere {
            let place = self.places.get(&place);
            let (Some(place), Some(epoch)) = (place, place.and_then(|p| p.epoch)) else { continue };
            let name = place.name.clone();
            match lane.destination.open(&name).await {
                Ok(there) if there.epoch == epoch => {
                    let to = Spot { place: place.no, name: &name, opened: &there };
                    self.carry_flags(lane, no, to, &flags, &[]).await?;
                }
                // Its user removed the folder, or made it anew: nothing of ours is there.
                Ok(_) | Err(platform::Error::FolderGone(_)) => {}
                Err(error) => return Err(at_destination(error)),
            }
        }
        let name = self.place.name.clone();
        let to = Spot { place: self.place.no, name: &name, opened };
        self.carry_flags(lane, no, to, &here, &then).await
    }

    /// Carries flag changes of copies in one place. What is stored and not booked yet stands in
    /// an intent: should the source change its mind before the next pass, the base would not
    /// tell that there is anything to take back. `then` are opened next.
    async fn carry_flags(
        &mut self,
        lane: &mut Lane,
        no: FolderNo,
        to: Spot<'_>,
        flags: &[FlagCarry],
        then: &[FolderName],
    ) -> Result<(), Error> {
        let Spot { place, name, opened } = to;
        let mut steps = flags.chunks(STEP).peekable();
        while let Some(step) = steps.next() {
            let then = if steps.peek().is_none() { then } else { &[] };
            let lost = &mut self.lost_keywords;
            let change = |f: &FlagCarry| {
                let add = kept(&f.now.minus(&f.record.flags), &opened.keywords, lost);
                let remove = f.record.flags.minus(&f.now);
                Some(FlagChange { id: f.record.at?, add, remove })
            };
            let changes: Vec<FlagChange> = step.iter().filter_map(change).collect();
            let item = |f: &FlagCarry| {
                let item = IntentItem::of(no, &f.record, Deed::Flag(f.record.at?));
                Some(IntentItem { flags: f.now.clone(), ..item })
            };
            let intent = self.intent();
            self.commit(vec![Change::PutIntent(Intent {
                no: intent,
                place,
                epoch: opened.epoch,
                next: opened.next,
                made: chrono::Utc::now(),
                items: step.iter().filter_map(item).collect(),
            })])
            .await?;
            let stored = lane.destination.store_flags(name, opened.epoch, &changes, then).await;
            stored.map_err(at_destination)?;
            let booked = step.iter().map(|f| Record { flags: f.now.clone(), ..f.record.clone() });
            self.commit(vec![Change::DropIntent(intent), Change::PutRecords(no, booked.collect())])
                .await?;
            self.tally.flag_changes += step.len() as u64;
            self.progress.advance(step.len() as u64, 0);
            if self.stop.is_cancelled() {
                return Err(Error::Stopped);
            }
        }
        Ok(())
    }
}
