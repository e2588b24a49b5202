//! A job from its beginning to its end: the folder is made and opened, what is new arrives in the
//! source's order, and what else is planned follows.

use crate::ledger::{Change, FolderNo, Overview, Record};
use crate::model::{Flags, FolderName, FolderPath, IdSet, Item, ItemId};
use crate::platform::{self, Naming, Opened, Source};

use super::copy::{Copy, Left};
use super::diff::item_flags;
use super::job::{Ended, Job, STEP, record_of, unfile};
use super::lane::{Lane, at_destination, at_source};
use super::plan::{Arrival, Departed, FlagCarry, FolderPlan, Target};
use super::{Error, renewed};

impl Job {
    /// Does it all, or as much as is done when the lane is wanted back. Everything done before an
    /// error stands in the ledger.
    pub(crate) async fn run(&mut self, lane: &mut Lane) -> Result<Ended, Error> {
        self.commit(self.news()).await?;
        if self.folders.iter().any(|f| f.create) {
            self.create(lane).await?;
        }
        let touched = |f: &FolderPlan| {
            // A message that only the ledger has to learn of may have changed its flags on the way.
            let arrives = |a: &Arrival| match a {
                Arrival::Refile { item, of } => self.has_other_flags(item, of),
                other => other.lands() || matches!(other, Arrival::Adopt { .. }),
            };
            f.arrivals.iter().any(arrives)
                || !f.flags.is_empty()
                || !f.relocations.is_empty()
                || f.removes() > 0
        };
        if self.folders.iter().any(touched) {
            if !self.announced {
                let alone = std::slice::from_mut(self);
                announce(lane.source.as_mut(), alone).await.map_err(at_source)?;
            }
            let path = self.path();
            if path.len() > 1 {
                lane.destination.announce(&path).await.map_err(at_destination)?;
            }
            match self.open(lane).await? {
                Some(opened) => {
                    for folder in 0..self.folders.len() {
                        if self.arrivals(lane, folder, &opened).await? == Ended::Recalled {
                            return Ok(Ended::Recalled);
                        }
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
        Ok(Ended::Done)
    }

    /// Is there nothing to do but to book how the folders stand?
    pub(crate) fn is_quiet(&self) -> bool {
        self.folders.iter().all(|f| f.is_quiet() && f.moot_failures.is_empty())
    }

    /// What the ledger does not know yet of a job that is quiet.
    pub(crate) fn book(&mut self) -> Vec<Change> {
        let mut changes = self.news();
        for folder in 0..self.folders.len() {
            changes.extend(self.settled(folder));
        }
        changes
    }

    /// What the ledger has to know before anything is filed under these folders and this place.
    pub(super) fn news(&self) -> Vec<Change> {
        let Overview { places, folders, .. } = &*self.overview;
        let is_new = places.get(&self.place.no) != Some(&self.place);
        let place = is_new.then(|| Change::PutPlace(self.place.clone()));
        let new = self.followed.iter().filter(|f| folders.get(&f.no) != Some(f)).cloned();
        place.into_iter().chain(new.map(Change::PutFolder)).collect()
    }

    /// The messages that the source is asked for first, and in which folder.
    fn asked_first(&self) -> Option<(FolderName, IdSet)> {
        let first = |folder: &FolderPlan| {
            let news = folder.arrivals.iter().filter(|a| !matches!(a, Arrival::Refile { .. }));
            let copies = news.skip_while(|a| !matches!(a, Arrival::Copy(_)));
            let ids: IdSet = copies.map_while(copied).collect();
            (!ids.is_empty()).then(|| (folder.folder.name.clone(), ids))
        };
        self.folders.iter().find_map(first)
    }

    async fn create(&mut self, lane: &mut Lane) -> Result<(), Error> {
        let target = self.folders[0].target.clone();
        let role = target.role;
        let naming = lane.destination.naming().await.map_err(at_destination)?;
        let mut spellings = spellings(&target, &naming).into_iter();
        let mut created = lane.destination.create_folder(&self.place.name, role).await;
        while let Err(platform::Error::Refused { refusal, .. }) = &created
            && !refusal.transient
            && let Some((name, path)) = spellings.next()
        {
            tracing::info!(folder = %target.path, %path, says = %refusal.text, "the destination refuses the folder's name; spelling it otherwise");
            let says = refusal.text.clone();
            created = lane.destination.create_folder(&name, role).await;
            if created.is_ok() {
                self.notes.push(format!(
                    "folder {} is called {path} at the destination, which refused its name: {says}",
                    target.path
                ));
                self.place.name = name;
                self.place.path = path;
            }
        }
        created.map_err(at_destination)?;
        self.place.created = true;
        for folder in &mut self.folders {
            folder.create = false;
        }
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
                let (ledger, overview) = (&self.ledger, &self.overview);
                self.place =
                    renewed::place_anew(ledger, overview, lane, place, opened.epoch).await?;
                // What was planned by the old ids is planned anew by the next pass.
                for folder in &mut self.folders {
                    folder.flags.clear();
                    folder.relocations.clear();
                    folder.departures.clear();
                    folder.cursor = None;
                    let before = folder.arrivals.len();
                    folder.arrivals.retain(|a| !matches!(a, Arrival::Adopt { .. }));
                    let put_off = (before - folder.arrivals.len()) as u64;
                    self.tally.accounts.deferred += put_off;
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
    ) -> Result<Ended, Error> {
        self.refile(folder).await?;
        self.adopt(folder).await?;
        let no = self.folders[folder].no;
        let counts = self.overview.counts.get(&no).copied().unwrap_or_default();
        let arrivals = std::mem::take(&mut self.folders[folder].arrivals);
        let mut copies: Vec<Item> = Vec::new();
        let mut moves: Vec<(Item, Departed)> = Vec::new();
        let mut agains: Vec<(Item, FolderNo)> = Vec::new();
        let mut last = None;
        let mut arrivals = arrivals.into_iter();
        loop {
            let arrival = arrivals.next();
            let is_end = arrival.is_none();
            let kind = arrival.as_ref().map(std::mem::discriminant);
            if kind != last {
                if !agains.is_empty() {
                    // What cannot be copied there is carried over.
                    copies =
                        self.copy_again(lane, folder, opened, std::mem::take(&mut agains)).await?;
                }
                if !copies.is_empty() {
                    let failures = if counts.failed + counts.skipped > 0 {
                        self.ledger.failures(no).await?
                    } else {
                        Vec::new()
                    };
                    let failures = failures.into_iter().map(|f| (f.id, f)).collect();
                    let rest =
                        if arrival.is_some() { Left::Copies } else { self.left_after(folder) };
                    let mut copy = Copy::new(&mut *self, folder, opened, failures);
                    let items = std::mem::take(&mut copies);
                    let left = copy.run(lane, &items, rest).await?;
                    if !left.is_empty() {
                        let left = items.into_iter().filter(|item| left.contains(item.id));
                        let rest = left.map(Arrival::Copy).chain(arrival).chain(arrivals);
                        // Those that were found here are adopted.
                        let is_left = |a: &Arrival| !matches!(a, Arrival::Adopt { .. });
                        self.folders[folder].arrivals = rest.filter(is_left).collect();
                        return Ok(Ended::Recalled);
                    }
                }
                if !moves.is_empty() {
                    let is_last = arrival.is_none();
                    self.move_in(lane, folder, opened, std::mem::take(&mut moves), is_last).await?;
                }
                last = kind;
            }
            match arrival {
                Some(Arrival::Copy(item)) => copies.push(item),
                Some(Arrival::Move { item, of }) => moves.push((item, of)),
                Some(Arrival::Again { item, of }) => agains.push((item, of)),
                // Done above: they change nothing of the order.
                Some(Arrival::Refile { .. } | Arrival::Adopt { .. }) | None => {}
            }
            if self.stop.is_cancelled() {
                return Err(Error::Stopped);
            }
            if is_end {
                return Ok(Ended::Done);
            }
        }
    }

    /// What is left to do once all that arrives in a folder is there.
    pub(super) fn left_after(&self, folder: usize) -> Left {
        let mut later = self.folders.iter().skip(folder + 1);
        let deeds =
            |f: &FolderPlan| !f.flags.is_empty() || !f.relocations.is_empty() || f.removes() > 0;
        if later.clone().any(|f| f.arrivals.iter().any(|a| copied(a).is_some())) {
            Left::Copies
        } else if self.folders.iter().any(deeds) || later.any(|f| !f.arrivals.is_empty()) {
            Left::Deeds
        } else {
            Left::Nothing
        }
    }

    /// Are a folder's flags the last that is changed at the destination?
    pub(super) fn ends_with_flags(&self, folder: usize) -> bool {
        let mut later = self.folders.iter().skip(folder + 1);
        let lands = |f: &FolderPlan| !f.arrivals.is_empty() || !f.relocations.is_empty();
        !later.any(|f| lands(f) || !f.flags.is_empty())
            && !self.folders.iter().any(|f| f.removes() > 0)
    }

    /// Are a folder's removals?
    pub(super) fn ends_with_removals(&self, folder: usize) -> bool {
        let mut from = self.folders.iter().skip(folder).map(|f| f.removes() > 0);
        from.next() == Some(true) && !from.any(|removes| removes)
    }

    /// The folders that the lane's destination opens next, if this is the last that it does here; the
    /// source may begin with what is next.
    pub(super) async fn next_path(&self, lane: &mut Lane, is_last: bool) -> Vec<FolderName> {
        if !is_last || lane.recalled.is_cancelled() {
            return Vec::new();
        }
        let Lane { source, upcoming, .. } = lane;
        upcoming.begin(source.as_mut()).await;
        upcoming.path()
    }

    /// The folders that are opened first: its own, and the one that something is moved out of.
    pub(crate) fn path(&self) -> Vec<FolderName> {
        let first = self.folders.iter().find(|folder| brings(folder));
        let from =
            first.and_then(|folder| match folder.arrivals.iter().find(|arrival| arrival.lands()) {
                Some(Arrival::Move { of, .. }) => Some(of.place),
                Some(_) => None,
                None => folder.relocations.first().map(|record| record.place),
            });
        let from = from.and_then(|place| self.places.get(&place));
        [&self.place].into_iter().chain(from).map(|place| place.name.clone()).collect()
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
            // Those that were found here instead of where the ledger had them.
            let here = step.iter().filter(|(_, of)| of.place == self.place.no);
            let here: IdSet = here.filter_map(|(_, of)| of.at).collect();
            changes.push(Change::DropStrangers(self.place.no, here));
            for (item, of) in step {
                changes.push(unfile(of.filed));
                let record = record_of(item, of, of.place, of.at);
                self.flag_later(folder, &record, item);
                records.push(record);
            }
            changes.push(Change::DropFailures(no, step.iter().map(|(item, _)| item.id).collect()));
            changes.push(Change::PutRecords(no, records));
            self.commit(changes).await?;
            self.tally.accounts.already_there += step.len() as u64;
            self.progress.advance(step.len() as u64, 0);
        }
        Ok(())
    }

    /// Books messages found at the destination. The flags they lack are carried with the others:
    /// their base is what both sides have.
    async fn adopt(&mut self, folder: usize) -> Result<(), Error> {
        let plan = &self.folders[folder];
        let no = plan.no;
        let mut records = Vec::new();
        let mut lacking = Vec::new();
        let mut ids = IdSet::new();
        for arrival in &plan.arrivals {
            let Arrival::Adopt { item, at, origin, add, remove, fingerprint, identity } = arrival
            else {
                continue;
            };
            ids.insert(*at);
            let now = item_flags(item, &Flags::NONE, self.deletes);
            let base = if self.flags { now.minus(add).union(remove) } else { now.clone() };
            let record = Record {
                id: item.id,
                place: self.place.no,
                at: Some(*at),
                origin: *origin,
                flags: base,
                fingerprint: *fingerprint,
                size: item.meta.map_or(0, |m| m.size),
                date: item.meta.and_then(|m| m.date).map(|d| d.timestamp()),
                identity: *identity,
            };
            if record.flags != now {
                lacking.push(FlagCarry { record: record.clone(), now });
            }
            records.push(record);
        }
        if records.is_empty() {
            return Ok(());
        }
        let n = records.len() as u64;
        let healed: IdSet = records.iter().map(|r| r.id).collect();
        self.commit(vec![
            Change::DropStrangers(self.place.no, ids),
            Change::DropFailures(no, healed),
            Change::PutRecords(no, records),
        ])
        .await?;
        self.folders[folder].flags.extend(lacking);
        self.tally.accounts.adopted += n;
        self.progress.advance(n, 0);
        Ok(())
    }

    /// Files the folder with its cursor: everything before it is settled.
    async fn close(&mut self, folder: usize) -> Result<(), Error> {
        let settled = self.settled(folder);
        self.commit(settled.into_iter().collect()).await
    }

    /// The folder with its cursor, if that tells the ledger anything new. Where another job still
    /// moves something out of it, that is left for the end of the pass.
    fn settled(&mut self, folder: usize) -> Option<Change> {
        let (plan, before) = (&self.folders[folder], &self.followed[folder]);
        let mut followed = before.clone();
        if let Some(cursor) = &plan.cursor {
            followed.cursor = Some(cursor.clone());
            followed.selection = self.rules;
            followed.filtered = plan.filtered.clone();
        }
        if followed == *before {
            return None;
        }
        let change = Change::PutFolder(followed);
        if self.entangled.contains(&plan.no) {
            self.later.push(change);
            return None;
        }
        Some(change)
    }
}

/// Lets the source begin to give the first messages of these jobs, before anybody waits for them.
pub(crate) async fn announce(source: &mut dyn Source, jobs: &mut [Job]) -> platform::Result<()> {
    jobs.iter_mut().for_each(|job| job.announced = true);
    let wanted: Vec<_> = jobs.iter().filter_map(Job::asked_first).collect();
    source.announce_each(&wanted).await
}

fn copied(arrival: &Arrival) -> Option<ItemId> {
    match arrival {
        Arrival::Copy(item) => Some(item.id),
        _ => None,
    }
}

/// What else a folder may be called whose name is refused: spelled more cautiously; with a mark at
/// its end, for a name that the server keeps for itself (Exchange: `Files`); below a folder with
/// such a mark.
fn spellings(target: &Target, naming: &Naming) -> Vec<(FolderName, FolderPath)> {
    let segments = target.path.segments();
    let marked = |at: usize| {
        let mark = |(n, s): (usize, &String)| if n == at { format!("{s}=") } else { s.clone() };
        let path = FolderPath::new(segments.iter().enumerate().map(mark));
        (naming.name(&path), path)
    };
    let mut all: Vec<_> = target.strict_name.clone().into_iter().collect();
    all.extend((0..segments.len()).rev().map(marked));
    all
}

fn brings(folder: &FolderPlan) -> bool {
    folder.arrivals.iter().any(Arrival::lands) || !folder.relocations.is_empty()
}
