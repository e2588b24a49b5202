//! Flag changes at the destination: only differences from the base are sent (law 4).

use crate::ledger::{Change, FolderNo, Record};
use crate::model::Item;
use crate::platform::{self, FlagChange, Opened};

use super::Error;
use super::copy::kept;
use super::diff::carried;
use super::job::{Job, STEP};
use super::lane::{Lane, at_destination};
use super::plan::FlagCarry;

impl Job {
    /// A known message that came from elsewhere may have changed its flags on the way.
    pub(super) fn flag_later(&mut self, folder: usize, record: &Record, item: &Item) {
        let now = carried(&item.flags, self.deletes);
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
        let no = self.folders[folder].no;
        let flags = std::mem::take(&mut self.folders[folder].flags);
        let moved_away: Vec<_> = flags.iter().filter(|f| f.record.place != self.place.no).collect();
        if !moved_away.is_empty() {
            // After the cutover a copy may stay where its source no longer is.
            self.store_elsewhere(lane, no, &moved_away).await?;
        }
        let here: Vec<_> = flags.iter().filter(|f| f.record.place == self.place.no).collect();
        for step in here.chunks(STEP) {
            let lost = &mut self.lost_keywords;
            let change = |f: &&FlagCarry| {
                let add = kept(&f.now.minus(&f.record.flags), &opened.keywords, lost);
                let remove = f.record.flags.minus(&f.now);
                Some(FlagChange { id: f.record.at?, add, remove })
            };
            let changes: Vec<FlagChange> = step.iter().filter_map(change).collect();
            let name = self.place.name.clone();
            let epoch = opened.epoch;
            lane.destination.store_flags(&name, epoch, &changes).await.map_err(at_destination)?;
            let booked = step.iter().map(|f| Record { flags: f.now.clone(), ..f.record.clone() });
            self.commit(vec![Change::PutRecords(no, booked.collect())]).await?;
            self.tally.flag_changes += step.len() as u64;
            self.progress.advance(step.len() as u64, 0);
            if self.stop.is_cancelled() {
                return Err(Error::Stopped);
            }
        }
        Ok(())
    }

    async fn store_elsewhere(
        &mut self,
        lane: &mut Lane,
        no: FolderNo,
        flags: &[&FlagCarry],
    ) -> Result<(), Error> {
        for f in flags {
            let place = self.places.get(&f.record.place);
            let epoch = place.and_then(|p| p.epoch);
            let (Some(place), Some(epoch), Some(id)) = (place, epoch, f.record.at) else {
                continue;
            };
            let change = FlagChange {
                id,
                add: f.now.minus(&f.record.flags),
                remove: f.record.flags.minus(&f.now),
            };
            match lane.destination.store_flags(&place.name, epoch, &[change]).await {
                Ok(()) => {}
                Err(platform::Error::FolderGone(_) | platform::Error::EpochChanged(_)) => continue,
                Err(error) => return Err(at_destination(error)),
            }
            let booked = Record { flags: f.now.clone(), ..f.record.clone() };
            self.commit(vec![Change::PutRecords(no, vec![booked])]).await?;
            self.tally.flag_changes += 1;
        }
        Ok(())
    }
}
