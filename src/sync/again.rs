//! Messages that are in several folders of the source at once, as a message at Gmail is that has
//! several labels. Each is carried over once; in the other folders' places its copy is copied.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::ledger::{Change, Deed, FolderNo, Intent, IntentItem, MailboxLedger, PlaceNo, Record};
use crate::model::{Epoch, FolderName, IdSet, Item, ItemId};
use crate::platform::{self, Opened};

use super::Error;
use super::basis::Work;
use super::job::{Job, STEP, record_of};
use super::lane::{Lane, at_destination};
use super::plan::{Arrival, Departed};

/// Finds the arrivals that are in another folder too, and makes [`Arrival::Again`] of all but one
/// of each. Tells which places are to be done before a place. A place waits only for places of
/// folders that are listed before all of its own, so that none waits for itself.
pub(crate) async fn find(
    ledger: &MailboxLedger,
    works: &[Work],
    arrivals: &mut [Vec<Arrival>],
) -> Result<BTreeMap<PlaceNo, BTreeSet<PlaceNo>>, Error> {
    let mut ranks: HashMap<PlaceNo, usize> = HashMap::new();
    let mut stores: BTreeMap<(&FolderName, Option<Epoch>), Vec<usize>> = BTreeMap::new();
    for (w, work) in works.iter().enumerate() {
        ranks.entry(work.place).or_insert(w);
        if let Some(store) = &work.status.store {
            let epoch = work.changes.as_ref().map(|c| c.epoch).or(work.status.epoch);
            stores.entry((store, epoch)).or_default().push(w);
        }
    }
    let mut after: BTreeMap<PlaceNo, BTreeSet<PlaceNo>> = BTreeMap::new();
    for sharing in stores.into_values().filter(|works| works.len() > 1) {
        // What will be there once its place is done.
        let mut first: HashMap<ItemId, usize> = HashMap::new();
        for &w in &sharing {
            let work = &works[w];
            for arrival in &mut arrivals[w] {
                if let Some(&other) = first.get(&arrival.id())
                    && let Arrival::Copy(item) = arrival
                    && ranks[&works[other].place] < ranks[&work.place]
                {
                    after.entry(work.place).or_default().insert(works[other].place);
                    *arrival = Arrival::Again { item: item.clone(), of: works[other].no };
                } else if !matches!(arrival, Arrival::Refile { .. }) {
                    first.entry(arrival.id()).or_insert(w);
                }
            }
        }
        for &w in &sharing {
            settled_elsewhere(ledger, works, &sharing, w, &mut arrivals[w]).await?;
        }
    }

    Ok(after)
}

/// Finds those of a folder's copies that were settled in another folder by an earlier pass.
async fn settled_elsewhere(
    ledger: &MailboxLedger,
    works: &[Work],
    sharing: &[usize],
    w: usize,
    arrivals: &mut [Arrival],
) -> Result<(), Error> {
    let is_copy = |arrival: &&Arrival| matches!(arrival, Arrival::Copy(_));
    let mut wanted: IdSet = arrivals.iter().filter(is_copy).map(Arrival::id).collect();
    let mut found: HashMap<ItemId, FolderNo> = HashMap::new();
    for other in sharing.iter().filter(|&&o| o != w).map(|&o| &works[o]) {
        if wanted.is_empty() || other.counts.records == 0 || other.place == works[w].place {
            continue;
        }
        let gone: IdSet = other.diff.gone.iter().map(|record| record.id).collect();
        for record in ledger.records(other.no, &wanted.difference(&gone)).await? {
            if record.at.is_some() {
                wanted.remove(record.id);
                found.insert(record.id, other.no);
            }
        }
    }
    for arrival in arrivals {
        if let Arrival::Copy(item) = arrival
            && let Some(&of) = found.get(&item.id)
        {
            *arrival = Arrival::Again { item: item.clone(), of };
        }
    }
    Ok(())
}

impl Job {
    /// Copies copies into the place and books them. Answers those that have to be carried over
    /// after all: their first copy was refused, or taken away, or cannot be copied.
    pub(super) async fn copy_again(
        &mut self,
        lane: &mut Lane,
        folder: usize,
        opened: &Opened,
        agains: Vec<(Item, FolderNo)>,
    ) -> Result<Vec<Item>, Error> {
        let no = self.folders[folder].no;
        let mut left = Vec::new();
        // In runs from one place, so that the order stays.
        let mut runs: Vec<Vec<(Item, Departed)>> = Vec::new();
        for (item, first) in self.first_copies(agains).await? {
            let Some(of) = first else {
                left.push(item);
                continue;
            };
            match runs.last_mut() {
                Some(run) if run[0].1.place == of.place && run.len() < STEP => run.push((item, of)),
                _ => runs.push(vec![(item, of)]),
            }
        }
        // A place's epoch may have become known in this pass.
        let places = self.ledger.overview().await?.places;
        for run in runs {
            let from = places.get(&run[0].1.place);
            let Some((from, epoch)) = from.and_then(|from| Some((from, from.epoch?))) else {
                left.extend(run.into_iter().map(|(item, _)| item));
                continue;
            };
            let intent = self.intent();
            let item = |(item, of): &(Item, Departed)| IntentItem {
                folder: no,
                id: item.id,
                flags: of.flags.clone(),
                fingerprint: of.fingerprint,
                size: of.size,
                date: of.date,
                deed: Deed::Copy { content: None },
            };
            self.commit(vec![Change::PutIntent(Intent {
                no: intent,
                place: self.place.no,
                epoch: opened.epoch,
                next: opened.next,
                made: chrono::Utc::now(),
                items: run.iter().map(item).collect(),
            })])
            .await?;
            let ids: Vec<ItemId> = run.iter().filter_map(|(_, of)| of.at).collect();
            let to = self.place.name.clone();
            let landed = match lane.destination.copy_items(&from.name, epoch, &ids, &to).await {
                Ok(landed) => self.find_moved(lane, opened, &run, landed).await?,
                // Its user removed the folder it was in, or its ids are over; or the server does
                // not copy what it would take.
                Err(
                    platform::Error::FolderGone(_)
                    | platform::Error::EpochChanged(_)
                    | platform::Error::Refused { .. },
                ) => self.find_moved(lane, opened, &run, vec![None; ids.len()]).await?,
                Err(error) => return Err(at_destination(error)),
            };
            let mut changes = vec![Change::DropIntent(intent)];
            let mut records: Vec<Record> = Vec::new();
            for ((item, of), at) in run.into_iter().zip(landed) {
                let Some(at) = at else {
                    left.push(item);
                    continue;
                };
                self.place.known.insert(at);
                let record = record_of(&item, &of, self.place.no, Some(at));
                self.flag_later(folder, &record, &item);
                records.push(record);
            }
            let n = records.len() as u64;
            changes.push(Change::DropFailures(no, records.iter().map(|r| r.id).collect()));
            changes.push(Change::PutRecords(no, records));
            changes.push(Change::PutPlace(self.place.clone()));
            self.commit(changes).await?;
            self.tally.accounts.copied += n;
            self.progress.advance(n, 0);
        }
        Ok(left)
    }

    /// The copies that were made of these messages for other folders, as the ledger has them now.
    async fn first_copies(
        &self,
        agains: Vec<(Item, FolderNo)>,
    ) -> Result<Vec<(Item, Option<Departed>)>, Error> {
        let mut asked: BTreeMap<FolderNo, IdSet> = BTreeMap::new();
        for (item, of) in &agains {
            asked.entry(*of).or_default().insert(item.id);
        }
        let mut records: HashMap<(FolderNo, ItemId), Record> = HashMap::new();
        for (of, ids) in asked {
            let found = self.ledger.records(of, &ids).await?;
            records.extend(found.into_iter().map(|record| ((of, record.id), record)));
        }
        let first = |(item, of): (Item, FolderNo)| {
            let record = records.get(&(of, item.id)).filter(|record| record.at.is_some());
            let first = record.map(|record| Departed::from_record(of, record));
            // Its origin is drover, whoever brought the first one there.
            (item, first.map(|first| Departed { origin: super::mend::OURS, ..first }))
        };
        Ok(agains.into_iter().map(first).collect())
    }
}
