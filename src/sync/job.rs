//! What one worker does at a time: everything that goes into one destination folder.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use crate::flow::Rate;
use crate::ledger::{
    Change, Filed, FolderNo, FollowedFolder, Intent, IntentItem, MailboxLedger, MovedFrom,
    Overview, Place, PlaceNo, Record, Retired,
};
use crate::model::{Accounts, IdSet, Item, ItemId};
use crate::platform::{self, FlagChange, Opened};

use super::copy::{Copy, kept};
use super::diff::carried;
use super::lane::{Lane, at_destination};
use super::plan::{Arrival, Departed, Departure, FolderPlan};
use super::{Context, Error, Progress, mend};

/// Flag changes, moves and removals sent before they are booked: a crash repeats at most these.
const STEP: usize = 500;

/// What a job or a pass has done.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// Only what the pass did: copied, adopted, failed, skipped, deferred.
    pub(crate) accounts: Accounts,
    pub(crate) bytes: u64,
    pub(crate) flag_changes: u64,
    pub(crate) moves: u64,
    pub(crate) removed: u64,
}

/// Everything that goes into one destination folder.
pub(crate) struct Job {
    pub(crate) context: Context,
    pub(crate) ledger: MailboxLedger,
    pub(crate) overview: Arc<Overview>,
    /// All places by the names they have now: what is moved comes from one of them.
    pub(crate) places: Arc<BTreeMap<PlaceNo, Place>>,
    pub(crate) place: Place,
    pub(crate) folders: Vec<FolderPlan>,
    pub(crate) followed: Vec<FollowedFolder>,
    /// Folders that something of is still moved by another job: their cursors wait.
    pub(crate) entangled: Arc<BTreeSet<FolderNo>>,
    pub(crate) rules: u64,
    /// Is `\Deleted` carried?
    pub(crate) deletes: bool,
    pub(crate) flags: bool,
    pub(crate) rate: Rate,
    pub(crate) progress: Progress,
    pub(crate) stop: CancellationToken,
    pub(crate) intents: Arc<AtomicU64>,
    pub(crate) tally: Tally,
    pub(crate) lost_keywords: BTreeSet<String>,
    pub(crate) notes: Vec<String>,
    /// Cursors that wait for the end of the pass.
    pub(crate) later: Vec<Change>,
}

impl Job {
    /// How much work it is: the largest go first, so that none is left alone at the end.
    pub(crate) fn weight(&self) -> u64 {
        let one = |f: &FolderPlan| {
            let (messages, bytes) = f.copies();
            bytes + 2_000 * (messages + f.flags.len() as u64)
        };
        self.folders.iter().map(one).sum()
    }

    pub(crate) fn intent(&self) -> u64 {
        self.intents.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) async fn commit(&self, changes: Vec<Change>) -> Result<(), Error> {
        if !changes.is_empty() {
            self.ledger.commit(changes).await?;
        }
        Ok(())
    }

    /// Does it all. Everything done before an error stands in the ledger.
    pub(crate) async fn run(&mut self, lane: &mut Lane) -> Result<(), Error> {
        let begin = self.followed.iter().cloned().map(Change::PutFolder);
        let begin = std::iter::once(Change::PutPlace(self.place.clone())).chain(begin).collect();
        self.commit(begin).await?;
        if self.folders.iter().any(|f| f.create) {
            self.create(lane).await?;
        }
        let touched = |f: &FolderPlan| {
            let arrives = |a: &Arrival| !matches!(a, Arrival::Refile { .. });
            f.arrivals.iter().any(arrives)
                || !f.flags.is_empty()
                || !f.relocations.is_empty()
                || f.departures.iter().any(|d| matches!(d, Departure::Remove(_)))
        };
        if self.folders.iter().any(touched) {
            match self.open(lane).await? {
                Some(opened) => {
                    for folder in 0..self.folders.len() {
                        self.arrivals(lane, folder, &opened).await?;
                        self.relocate(lane, folder, &opened).await?;
                        self.store_flags(lane, folder, &opened).await?;
                    }
                }
                // Its user removed the folder, and nothing new goes there: nothing to do.
                None => {
                    for folder in 0..self.folders.len() {
                        self.refile(folder).await?;
                    }
                }
            }
        } else {
            for folder in 0..self.folders.len() {
                self.refile(folder).await?;
            }
        }
        for folder in 0..self.folders.len() {
            self.depart(lane, folder).await?;
            self.close(folder).await?;
        }
        Ok(())
    }

    async fn create(&mut self, lane: &mut Lane) -> Result<(), Error> {
        let target = self.folders[0].target.clone();
        let role = target.role;
        match lane.destination.create_folder(&self.place.name, role).await {
            Ok(()) => {}
            Err(platform::Error::Refused { refusal, .. }) if target.strict_name.is_some() => {
                let Some((name, path)) = target.strict_name else { return Ok(()) };
                tracing::info!(folder = %target.path, says = %refusal.text, "the destination refuses the folder's name; spelling it more cautiously");
                self.notes.push(format!(
                    "folder {} is called {path} at the destination, which refused its name: {}",
                    target.path, refusal.text
                ));
                self.place.name = name;
                self.place.path = path;
                let name = &self.place.name;
                lane.destination.create_folder(name, role).await.map_err(at_destination)?;
            }
            Err(error) => return Err(at_destination(error)),
        }
        self.place.created = true;
        self.commit(vec![Change::PutPlace(self.place.clone())]).await
    }

    /// Opens the place; rebuilds it first if its ids were renewed. `None`: it does not exist.
    async fn open(&mut self, lane: &mut Lane) -> Result<Option<Opened>, Error> {
        let opened = match lane.destination.open(&self.place.name).await {
            Ok(opened) => opened,
            Err(platform::Error::FolderGone(_)) if !self.folders.iter().any(brings) => {
                return Ok(None);
            }
            Err(platform::Error::FolderGone(_)) => {
                self.create(lane).await?;
                lane.destination.open(&self.place.name).await.map_err(at_destination)?
            }
            Err(error) => return Err(at_destination(error)),
        };
        match self.place.epoch {
            Some(known) if known != opened.epoch => {
                let place = self.place.clone();
                let destination = lane.destination.as_mut();
                let (ledger, overview) = (&self.ledger, &self.overview);
                self.place =
                    mend::place_anew(ledger, overview, destination, place, opened.epoch).await?;
                // What was planned by the old ids is planned anew by the next pass.
                for folder in &mut self.folders {
                    folder.flags.clear();
                    folder.relocations.clear();
                    folder.departures.clear();
                    folder.cursor = None;
                }
                let name = &self.place.name;
                return Ok(Some(lane.destination.open(name).await.map_err(at_destination)?));
            }
            _ => self.place.epoch = Some(opened.epoch),
        }
        Ok(Some(opened))
    }

    /// Brings in what is new in a folder, in the source's order.
    async fn arrivals(
        &mut self,
        lane: &mut Lane,
        folder: usize,
        opened: &Opened,
    ) -> Result<(), Error> {
        self.refile(folder).await?;
        self.adopt(lane, folder).await?;
        let no = self.folders[folder].no;
        let counts = self.overview.counts.get(&no).copied().unwrap_or_default();
        let arrivals = std::mem::take(&mut self.folders[folder].arrivals);
        let mut copies: Vec<Item> = Vec::new();
        let mut moves: Vec<(Item, Departed)> = Vec::new();
        let mut last = None;
        for arrival in arrivals.into_iter().map(Some).chain([None]) {
            let kind = arrival.as_ref().map(std::mem::discriminant);
            if kind != last {
                if !copies.is_empty() {
                    let failures = if counts.failed + counts.skipped > 0 {
                        self.ledger.failures(no).await?
                    } else {
                        Vec::new()
                    };
                    let failures = failures.into_iter().map(|f| (f.id, f)).collect();
                    let mut copy = Copy { job: &mut *self, folder, opened, failures };
                    copy.run(lane, &std::mem::take(&mut copies)).await?;
                }
                if !moves.is_empty() {
                    self.move_in(lane, folder, opened, std::mem::take(&mut moves)).await?;
                }
                last = kind;
            }
            match arrival {
                Some(Arrival::Copy(item)) => copies.push(item),
                Some(Arrival::Move { item, of }) => moves.push((item, of)),
                // Done above: they change nothing of the order.
                Some(Arrival::Refile { .. } | Arrival::Adopt { .. }) | None => {}
            }
            if self.stop.is_cancelled() {
                return Err(Error::Stopped);
            }
        }
        Ok(())
    }

    /// Books known messages under their new source ids.
    async fn refile(&mut self, folder: usize) -> Result<(), Error> {
        let plan = &mut self.folders[folder];
        let no = plan.no;
        let mut rest = Vec::new();
        let mut refiled = Vec::new();
        for arrival in std::mem::take(&mut plan.arrivals) {
            match arrival {
                Arrival::Refile { item, of } => refiled.push((item, of)),
                other => rest.push(other),
            }
        }
        plan.arrivals = rest;
        for step in refiled.chunks(STEP) {
            let mut changes = Vec::new();
            let mut records = Vec::new();
            for (item, of) in step {
                changes.push(unfile(of.filed));
                let record = record_of(item, of, of.place, of.at);
                self.flag_later(folder, &record, item);
                records.push(record);
            }
            changes.push(Change::PutRecords(no, records));
            self.commit(changes).await?;
            self.tally.accounts.already_there += step.len() as u64;
            self.progress.advance(step.len() as u64, 0);
        }
        Ok(())
    }

    /// Books messages found at the destination, and adds the flags they lack.
    async fn adopt(&mut self, lane: &mut Lane, folder: usize) -> Result<(), Error> {
        let plan = &self.folders[folder];
        let (no, epoch) = (plan.no, self.place.epoch.unwrap_or_default());
        let mut changes = Vec::new();
        let mut records = Vec::new();
        let mut ids = IdSet::new();
        for arrival in &plan.arrivals {
            let Arrival::Adopt { item, at, origin, add, remove, fingerprint } = arrival else {
                continue;
            };
            if self.flags && !(add.is_empty() && remove.is_empty()) {
                let (add, remove) = (add.clone(), remove.clone());
                changes.push(FlagChange { id: *at, add, remove });
            }
            ids.insert(*at);
            records.push(Record {
                id: item.id,
                place: self.place.no,
                at: Some(*at),
                origin: *origin,
                flags: carried(&item.flags, self.deletes),
                fingerprint: *fingerprint,
                size: item.meta.map_or(0, |m| m.size),
                date: item.meta.and_then(|m| m.date).map(|d| d.timestamp()),
            });
        }
        if records.is_empty() {
            return Ok(());
        }
        let (name, n) = (self.place.name.clone(), records.len() as u64);
        lane.destination.store_flags(&name, epoch, &changes).await.map_err(at_destination)?;
        let healed: IdSet = records.iter().map(|r| r.id).collect();
        self.commit(vec![
            Change::DropStrangers(self.place.no, ids),
            Change::DropFailures(no, healed),
            Change::PutRecords(no, records),
        ])
        .await?;
        self.tally.accounts.adopted += n;
        self.progress.advance(n, 0);
        Ok(())
    }

    /// Moves copies into the place and books them.
    async fn move_in(
        &mut self,
        lane: &mut Lane,
        folder: usize,
        opened: &Opened,
        moves: Vec<(Item, Departed)>,
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
            let item = |(item, of): &(Item, Departed)| IntentItem {
                folder: no,
                id: item.id,
                flags: of.flags.clone(),
                fingerprint: of.fingerprint,
                size: of.size,
                date: of.date,
                moved_from: of.at.map(|at| MovedFrom {
                    place: of.place,
                    at,
                    origin: of.origin,
                    filed: of.filed,
                }),
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
            let landed = match lane.destination.move_items(&from.name, epoch, &ids, &to).await {
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
            changes.push(Change::PutRecords(no, records));
            changes.push(Change::PutPlace(self.place.clone()));
            self.commit(changes).await?;
            self.tally.accounts.already_there += run.len() as u64;
            self.progress.advance(run.len() as u64, 0);
        }
        Ok(())
    }

    /// Looks up moved messages whose new ids the server did not tell. One that is nowhere was
    /// taken away by its user.
    async fn find_moved(
        &self,
        lane: &mut Lane,
        opened: &Opened,
        run: &[(Item, Departed)],
        landed: Vec<Option<ItemId>>,
    ) -> Result<Vec<Option<ItemId>>, Error> {
        let unknown: Vec<usize> = (0..landed.len()).filter(|&n| landed[n].is_none()).collect();
        if unknown.is_empty() {
            return Ok(landed);
        }
        let wanted: Vec<_> = unknown
            .iter()
            .map(|&n| super::pairing::Trait {
                fingerprint: run[n].1.fingerprint,
                size: run[n].1.size,
                date: None,
                named: true,
            })
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

    /// Moves settled messages here from the place where the folder went before.
    async fn relocate(
        &mut self,
        lane: &mut Lane,
        folder: usize,
        opened: &Opened,
    ) -> Result<(), Error> {
        let plan = &mut self.folders[folder];
        let no = plan.no;
        let as_moves = |record: Record| {
            let meta = None;
            let item = Item { id: record.id, flags: record.flags.clone(), meta };
            (item, Departed::from_record(no, &record))
        };
        let moves: Vec<_> =
            std::mem::take(&mut plan.relocations).into_iter().map(as_moves).collect();
        let n = moves.len() as u64;
        self.move_in(lane, folder, opened, moves).await?;
        // They were counted as being there all along.
        self.tally.accounts.already_there -= n;
        Ok(())
    }

    /// A known message that came from elsewhere may have changed its flags on the way.
    fn flag_later(&mut self, folder: usize, record: &Record, item: &Item) {
        let now = carried(&item.flags, self.deletes);
        let here = record.place == self.place.no && record.at.is_some();
        if self.flags && here && now != record.flags {
            let record = record.clone();
            self.folders[folder].flags.push(super::plan::FlagCarry { record, now });
        }
    }

    async fn store_flags(
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
            let change = |f: &&super::plan::FlagCarry| {
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
        flags: &[&super::plan::FlagCarry],
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

    /// Books messages that left the source, and removes the copies the definition says to.
    async fn depart(&mut self, lane: &mut Lane, folder: usize) -> Result<(), Error> {
        let departures = std::mem::take(&mut self.folders[folder].departures);
        let no = self.folders[folder].no;
        self.tally.removed += depart(&self.ledger, lane, &self.places, no, departures).await?;
        let moot = std::mem::take(&mut self.folders[folder].moot_failures);
        if !moot.is_empty() {
            self.commit(vec![Change::DropFailures(no, moot)]).await?;
        }
        Ok(())
    }

    /// Files the folder with its cursor: everything before it is settled.
    async fn close(&mut self, folder: usize) -> Result<(), Error> {
        let plan = &self.folders[folder];
        let mut followed = self.followed[folder].clone();
        if let Some(cursor) = &plan.cursor {
            followed.cursor = Some(cursor.clone());
            followed.selection = self.rules;
            followed.filtered = plan.filtered.clone();
        }
        let change = Change::PutFolder(followed);
        if self.entangled.contains(&plan.no) {
            self.later.push(change);
            return Ok(());
        }
        self.commit(vec![change]).await
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

fn unfile(filed: Filed) -> Change {
    match filed {
        Filed::Record(folder, id) => Change::DropRecords(folder, IdSet::range(id, id)),
        Filed::Retired(no) => Change::Unretire(no),
    }
}

/// The record of a known message under its new source id. Its base flags are those last carried.
fn record_of(item: &Item, of: &Departed, place: PlaceNo, at: Option<ItemId>) -> Record {
    Record {
        id: item.id,
        place,
        at,
        origin: of.origin,
        flags: of.flags.clone(),
        fingerprint: of.fingerprint,
        size: of.size,
        date: of.date,
    }
}

fn brings(folder: &FolderPlan) -> bool {
    let arrives = |a: &Arrival| matches!(a, Arrival::Copy(_) | Arrival::Move { .. });
    folder.arrivals.iter().any(arrives) || !folder.relocations.is_empty()
}
