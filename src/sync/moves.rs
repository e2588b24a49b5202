//! Moves at the destination: of messages that were moved at the source, and of those whose folder
//! goes elsewhere now.

use crate::ledger::{Change, Deed, Intent, IntentItem, MovedFrom, Record};
use crate::model::{IdSet, Item, ItemId};
use crate::platform::{self, Opened};

use super::copy::Left;
use super::diff::item_flags;
use super::job::{Job, STEP, record_of, unfile};
use super::lane::{Lane, at_destination};
use super::pairing::Trait;
use super::plan::Departed;
use super::{Error, mend};

impl Job {
    /// Moves copies into the place and books them. Are they the last that arrive in the folder?
    pub(super) async fn move_in(
        &mut self,
        lane: &mut Lane,
        folder: usize,
        opened: &Opened,
        moves: Vec<(Item, Departed)>,
        is_last: bool,
    ) -> Result<(), Error> {
        let no = self.folders[folder].no;
        let mut moves = moves.as_slice();
        while let Some((_, first)) = moves.first() {
            // A run from one place, so that the order stays.
            let same = moves.iter().take_while(|(_, of)| of.place == first.place).count();
            let (run, rest) = moves.split_at(same.min(STEP));
            moves = rest;
            let from = self.places.get(&first.place).cloned();
            let (Some(from), Some(epoch)) = (from.clone(), from.and_then(|p| p.epoch)) else {
                continue;
            };
            let intent = self.intent();
            let item = |(item, of): &(Item, Departed)| {
                let (place, origin, filed) = (of.place, of.origin, of.filed);
                Some(IntentItem {
                    folder: no,
                    id: item.id,
                    flags: of.flags.clone(),
                    fingerprint: of.fingerprint,
                    size: of.size,
                    date: of.date,
                    deed: Deed::Move(MovedFrom { place, at: of.at?, origin, filed }),
                })
            };
            self.commit(vec![Change::PutIntent(Intent {
                no: intent,
                place: self.place.no,
                epoch: opened.epoch,
                next: opened.next,
                made: chrono::Utc::now(),
                items: run.iter().filter_map(item).collect(),
            })])
            .await?;
            let ids: Vec<ItemId> = run.iter().filter_map(|(_, of)| of.at).collect();
            let to = self.place.name.clone();
            let then = match (run, moves.first()) {
                // Where each of several landed is looked up here.
                (&[_, _, ..], _) => Vec::new(),
                (_, Some((_, next))) => {
                    let next = self.places.get(&next.place).filter(|next| next.no != from.no);
                    next.map(|next| next.name.clone()).into_iter().collect()
                }
                (_, None) => {
                    let is_end = is_last
                        && self.left_after(folder) == Left::Nothing
                        && !run.iter().any(|(item, of)| self.has_other_flags(item, of));
                    self.next_path(lane, is_end).await
                }
            };
            let moved = lane.destination.move_items(&from.name, epoch, &ids, &to, &then).await;
            let landed = match moved {
                Ok(landed) => landed,
                // Its user removed the folder it was in, or its ids are over: nothing to move.
                Err(platform::Error::FolderGone(_) | platform::Error::EpochChanged(_)) => {
                    vec![None; ids.len()]
                }
                Err(error) => return Err(at_destination(error)),
            };
            let landed = self.find_moved(lane, opened, run, landed).await?;
            let mut changes = vec![Change::DropIntent(intent)];
            let mut records = Vec::new();
            for ((item, of), at) in run.iter().zip(landed) {
                changes.push(unfile(of.filed));
                if let Some(at) = at {
                    self.place.known.insert(at);
                    self.tally.moves += 1;
                }
                let record = record_of(item, of, self.place.no, at);
                self.flag_later(folder, &record, item);
                records.push(record);
            }
            // It may have been refused as a copy before its origin left.
            changes.push(Change::DropFailures(no, run.iter().map(|(item, _)| item.id).collect()));
            changes.push(Change::PutRecords(no, records));
            changes.push(Change::PutPlace(self.place.clone()));
            self.commit(changes).await?;
            self.tally.accounts.already_there += run.len() as u64;
            self.progress.advance(run.len() as u64, 0);
        }
        Ok(())
    }

    /// Has a message changed its flags on the way?
    pub(super) fn has_other_flags(&self, item: &Item, of: &Departed) -> bool {
        self.flags && item_flags(item, &of.flags, self.deletes) != of.flags
    }

    /// Looks up moved messages whose new ids the server did not tell. One that is nowhere was
    /// taken away by its user.
    pub(super) async fn find_moved(
        &self,
        lane: &mut Lane,
        opened: &Opened,
        run: &[(Item, Departed)],
        landed: Vec<Option<ItemId>>,
    ) -> Result<Vec<Option<ItemId>>, Error> {
        let landed = self.seen_there(lane, run, landed).await?;
        let unknown: Vec<usize> = (0..landed.len()).filter(|&n| landed[n].is_none()).collect();
        if unknown.is_empty() {
            return Ok(landed);
        }
        let wanted: Vec<_> = unknown
            .iter()
            .map(|&n| Trait::at_destination(run[n].1.fingerprint, run[n].1.size))
            .collect();
        let mut place = self.place.clone();
        place.known.extend_set(&landed.iter().copied().flatten().collect());
        let destination = lane.destination.as_mut();
        let found = mend::landed(destination, &place, opened.epoch, opened.next, &wanted).await?;
        let mut landed = landed;
        for (n, at) in unknown.into_iter().zip(found) {
            landed[n] = at;
        }
        Ok(landed)
    }

    /// Takes the server's word for where each of several landed only as far as that one is there
    /// indeed: Yahoo pairs the ids of a move of many wrongly.
    async fn seen_there(
        &self,
        lane: &mut Lane,
        run: &[(Item, Departed)],
        landed: Vec<Option<ItemId>>,
    ) -> Result<Vec<Option<ItemId>>, Error> {
        let ids: IdSet = landed.iter().copied().flatten().collect();
        if ids.len() < 2 {
            return Ok(landed);
        }
        let name = &self.place.name;
        let seen = lane.destination.sight(name, &ids).await.map_err(at_destination)?;
        let is = |id: ItemId, of: &Departed| {
            let found = seen.binary_search_by_key(&id, |s| s.id).ok();
            found.is_some_and(|at| seen[at].fingerprint == of.fingerprint)
        };
        let believed = landed.into_iter().zip(run);
        Ok(believed.map(|(at, (_, of))| at.filter(|&id| is(id, of))).collect())
    }

    /// Moves settled messages here from the place where the folder went before.
    pub(super) async fn relocate(
        &mut self,
        lane: &mut Lane,
        folder: usize,
        opened: &Opened,
    ) -> Result<(), Error> {
        let plan = &mut self.folders[folder];
        let no = plan.no;
        let as_moves = |record: Record| {
            let meta = None;
            let item = Item { id: record.id, flags: Some(record.flags.clone()), meta };
            (item, Departed::from_record(no, &record))
        };
        let moves: Vec<_> =
            std::mem::take(&mut plan.relocations).into_iter().map(as_moves).collect();
        if moves.is_empty() {
            return Ok(());
        }
        let n = moves.len() as u64;
        self.move_in(lane, folder, opened, moves, true).await?;
        self.followed[folder].leaving.clear();
        // They were counted as being there all along.
        self.tally.accounts.already_there -= n;
        Ok(())
    }
}
