//! Looks at both sides and the ledger, and makes of it a plan. Writes nothing anywhere.
//!
//! The look at the source is repeated until it holds still (at most [`ROUNDS`] times) whenever
//! something moved: a message that changes folders between two looks would otherwise be seen
//! twice, or gone. What costs a walk over messages is done only where the cheap look of
//! LIST-STATUS says that something changed.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::definition::Mailbox;
use crate::ledger::{
    Change, Counts, FolderNo, FollowedFolder, MailboxLedger, Overview, Place, PlaceNo, Record,
};
use crate::model::{Accounts, Epoch, Folder, FolderName, IdSet, ItemId, PassKind};
use crate::platform::{Changes, FolderStatus, Gone, Source};

use super::diff::{Diff, Differ, Known};
use super::lane::{Lane, at_destination, at_source};
use super::naming::Namer;
use super::plan::{Departure, FolderPlan, Plan, Rename, Target};
use super::{Error, recognise};

/// How often the source is looked at until it holds still.
const ROUNDS: usize = 3;

/// How many messages prove that a new folder is a renamed old one.
const SAMPLE: usize = 8;

/// What is known before anything is looked at.
pub(crate) struct Basis<'a> {
    pub(crate) mailbox: &'a Mailbox,
    pub(crate) kind: PassKind,
    pub(crate) ledger: &'a MailboxLedger,
    pub(crate) overview: &'a Overview,
}

/// What a survey makes.
pub(crate) struct Survey {
    pub(crate) plan: Plan,
    /// Places as they are now or will be, by number.
    pub(crate) places: BTreeMap<PlaceNo, Place>,
    /// What was learned of the destination on the way; for the ledger, unless it is a dry run.
    pub(crate) learned: Vec<Change>,
    /// Followed folders by number, as they will be filed.
    pub(crate) followed: BTreeMap<FolderNo, FollowedFolder>,
}

/// One source folder under work.
pub(crate) struct Work {
    pub(crate) no: FolderNo,
    pub(crate) folder: Folder,
    pub(crate) target: Target,
    pub(crate) place: PlaceNo,
    pub(crate) create: bool,
    pub(crate) changes: Option<Changes>,
    /// The changes list the folder whole.
    full: bool,
    pub(crate) diff: Diff,
    pub(crate) relocations: Vec<Record>,
    pub(crate) counts: Counts,
    pub(crate) status: FolderStatus,
    /// The ledger's word of it, under its present name.
    pub(crate) before: Option<FollowedFolder>,
}

/// Looks and plans.
pub(crate) async fn take(basis: &Basis<'_>, lane: &mut Lane) -> Result<Survey, Error> {
    let (source, destination) = (&mut lane.source, &mut lane.destination);
    let (mut statuses, there) =
        tokio::try_join!(async { source.folders().await.map_err(at_source) }, async {
            destination.folders().await.map_err(at_destination)
        },)?;
    let mut looked: HashMap<FolderName, Looked> = HashMap::new();
    let mut ghosts: HashSet<FolderName> = HashSet::new();
    for round in 1..=ROUNDS {
        let moved = look(basis, lane.source.as_mut(), &statuses, &mut looked, &mut ghosts).await?;
        if !moved || basis.kind == PassKind::Seed || round == ROUNDS {
            break;
        }
        let again = lane.source.folders().await.map_err(at_source)?;
        let still = again == statuses;
        statuses = again;
        if still {
            break;
        }
    }

    statuses.retain(|s| !ghosts.contains(&s.folder.name));
    let mut folding = Folding::new(basis, &statuses, &there, lane);
    let (mut works, mut closed) = folding.assign(lane.source.as_mut(), looked).await?;
    let mut places = std::mem::take(&mut folding.places);
    let renames = std::mem::take(&mut folding.renames);
    let mut notes = std::mem::take(&mut folding.notes);

    for work in &mut works {
        compare(basis, lane.source.as_mut(), work).await?;
    }
    let mut learned = Vec::new();
    let recognised =
        recognise::all(basis, lane, &mut works, &mut closed, &there, &mut places, &mut learned)
            .await?;

    let mut followed = BTreeMap::new();
    let mut plan = Plan { renames, ..Plan::default() };
    for (work, arrivals) in works.into_iter().zip(recognised) {
        if work.target.repaired && work.create {
            notes.push(format!(
                "folder {} is called {} at the destination, which cannot hold its name",
                work.folder.path, work.target.path
            ));
        }
        let (folder, filed) = finish(basis, work, arrivals);
        followed.insert(folder.no, filed);
        plan.folders.push(folder);
    }
    plan.closed = closed.into_iter().map(|closed| close(basis, closed)).collect();
    plan.notes = notes;
    Ok(Survey { plan, places, learned, followed })
}

/// One look at one source folder.
struct Looked {
    status: FolderStatus,
    /// `None`: nothing happened since the ledger's cursor.
    changes: Option<Changes>,
    /// The changes list the folder whole.
    full: bool,
}

/// Where a survey of the folder may start: nowhere if the rules changed, or the ids did.
fn cursor<'a>(
    basis: &Basis<'_>,
    before: Option<&'a FollowedFolder>,
    status: &FolderStatus,
) -> Option<&'a crate::model::Cursor> {
    let before = before.filter(|f| f.selection == rules_digest(basis.mailbox))?;
    before.cursor.as_ref().filter(|_| status.epoch.is_none_or(|epoch| epoch == before.epoch))
}

/// The ledger's row for a folder. Other ids, another row: what was filed under the old ones is
/// recognised message by message.
fn followed<'a>(
    overview: &'a Overview,
    name: &FolderName,
    epoch: Option<Epoch>,
) -> Option<&'a FollowedFolder> {
    let mut rows = overview.folders.values();
    rows.find(|f| f.name == *name && epoch.is_none_or(|epoch| epoch == f.epoch))
}

/// Surveys every folder that may have changed since it was last looked at in this pass. Tells
/// whether anything was found to have moved, so that another look is worth it. Folders that are
/// listed and yet do not exist are `ghosts`: Dovecot lists a deleted folder that has subfolders.
async fn look(
    basis: &Basis<'_>,
    source: &mut dyn Source,
    statuses: &[FolderStatus],
    looked: &mut HashMap<FolderName, Looked>,
    ghosts: &mut HashSet<FolderName>,
) -> Result<bool, Error> {
    let mut moved = false;
    looked.retain(|name, _| statuses.iter().any(|s| s.folder.name == *name));
    for status in statuses.iter().filter(|s| takes(basis, s)) {
        let name = &status.folder.name;
        if looked.get(name).is_some_and(|l| l.status == *status) {
            continue;
        }
        let before = followed(basis.overview, name, status.epoch);
        let counts = before.and_then(|f| basis.overview.counts.get(&f.no)).copied();
        let cursor = cursor(basis, before, status);
        let quiet = cursor.is_some_and(|then| source.unchanged(then, status))
            && status.messages.is_none_or(|now| {
                let counts = counts.unwrap_or_default();
                let filtered = before.map_or(0, |f| f.filtered.len());
                now == counts.records + counts.failed + counts.skipped + filtered
            });
        let changes = if quiet {
            None
        } else {
            match source.changes(name, cursor).await {
                Ok(changes) => Some(changes),
                // Gone between LIST and EXAMINE, or never there: the next look tells.
                Err(crate::platform::Error::FolderGone(_)) => {
                    looked.remove(name);
                    moved |= ghosts.insert(name.clone());
                    continue;
                }
                Err(error) => return Err(at_source(error)),
            }
        };
        ghosts.remove(name);
        moved |= changes.is_some();
        let (status, full) = (status.clone(), cursor.is_none());
        looked.insert(name.clone(), Looked { status, changes, full });
    }
    let is = |f: &FollowedFolder, s: &FolderStatus| s.selectable && s.folder.name == f.name;
    let vanished = |f: &FollowedFolder| !statuses.iter().any(|s| is(f, s));
    Ok(moved || basis.overview.folders.values().any(vanished))
}

fn takes(basis: &Basis<'_>, status: &FolderStatus) -> bool {
    status.selectable && basis.mailbox.select.takes_folder(&status.folder)
}

/// Other rules, another look: a digest of what decides which messages take part and where.
pub(crate) fn rules_digest(mailbox: &Mailbox) -> u64 {
    let text = format!("{:?}\n{:?}", mailbox.select, mailbox.folders);
    let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    hash.as_ref().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// Gives every folder its number and its place.
struct Folding<'a> {
    basis: &'a Basis<'a>,
    statuses: &'a [FolderStatus],
    there: &'a [FolderStatus],
    naming: crate::platform::Naming,
    places: BTreeMap<PlaceNo, Place>,
    renames: Vec<Rename>,
    notes: Vec<String>,
    next_folder: u32,
    /// Places that folders of this pass go to.
    taken: HashSet<PlaceNo>,
}

/// A followed folder that is gone from the source, or whose ids are, with all its records.
pub(crate) struct Closed {
    pub(crate) before: FollowedFolder,
    pub(crate) gone: Vec<Record>,
    /// The folder is there, with other ids.
    pub(crate) renewed: bool,
}

impl<'a> Folding<'a> {
    fn new(
        basis: &'a Basis<'a>,
        statuses: &'a [FolderStatus],
        there: &'a [FolderStatus],
        lane: &Lane,
    ) -> Self {
        let next = basis.overview.folders.keys().last().map_or(1, |no| no.0 + 1);
        Self {
            basis,
            statuses,
            there,
            naming: lane.destination.naming().clone(),
            places: basis.overview.places.clone(),
            renames: Vec::new(),
            notes: Vec::new(),
            next_folder: next,
            taken: HashSet::new(),
        }
    }

    async fn assign(
        &mut self,
        source: &mut dyn Source,
        mut looked: HashMap<FolderName, Looked>,
    ) -> Result<(Vec<Work>, Vec<Closed>), Error> {
        let overview = self.basis.overview;
        // A mere node of the hierarchy is no folder any more: what was in it is gone.
        let selectable = self.statuses.iter().filter(|s| s.selectable);
        let listed: HashSet<&FolderName> = selectable.map(|s| &s.folder.name).collect();
        let mut vanished: Vec<&FollowedFolder> =
            overview.folders.values().filter(|f| !listed.contains(&f.name)).collect();
        let mut matched: HashSet<FolderNo> = HashSet::new();
        let naming = self.naming.clone();
        let namer = Namer::new(&self.basis.mailbox.folders, &naming, self.statuses, self.there);
        // Parents first, so that a rename of theirs is known when their children come.
        let mut in_order: Vec<&FolderStatus> =
            self.statuses.iter().filter(|s| looked.contains_key(&s.folder.name)).collect();
        in_order.sort_by(|a, b| a.folder.path.cmp(&b.folder.path));

        let mut works = Vec::new();
        for status in in_order {
            let Some(look) = looked.remove(&status.folder.name) else { continue };
            let status = &look.status;
            let epoch = look.changes.as_ref().map(|c| c.epoch).or(status.epoch);
            let mut before = followed(overview, &status.folder.name, epoch).cloned();
            if before.is_none()
                && let Some(at) = self.renamed_from(source, status, &vanished).await?
            {
                before = Some(vanished.remove(at).clone());
            }
            matched.extend(before.as_ref().map(|f| f.no));
            let target = namer.target(&status.folder);
            works.push(self.work(look, before, target));
        }
        let mut closed = Vec::new();
        let under_work: HashSet<&FolderName> = works.iter().map(|w| &w.folder.name).collect();
        for before in overview.folders.values().filter(|f| !matched.contains(&f.no)) {
            let renewed = under_work.contains(&before.name);
            // One that is there and takes no part any more keeps its rows.
            if renewed || !listed.contains(&before.name) {
                let gone = all_records(self.basis.ledger, before.no).await?;
                closed.push(Closed { before: before.clone(), gone, renewed });
            }
        }
        // In the order in which the source lists them.
        let position: HashMap<&FolderName, usize> =
            self.statuses.iter().enumerate().map(|(n, s)| (&s.folder.name, n)).collect();
        works.sort_by_key(|w| position.get(&w.folder.name).copied());
        Ok((works, closed))
    }

    fn work(
        &mut self,
        look: Looked,
        mut before: Option<FollowedFolder>,
        mut target: Target,
    ) -> Work {
        let Looked { status, changes, full } = look;
        let digest = rules_digest(self.basis.mailbox);
        // What stands there under this name moves out of the way before.
        target.exists &= !self.renames.iter().any(|r| r.from.0 == target.name);
        let old_place = before.as_ref().and_then(|f| self.places.get(&f.place)).cloned();
        let place = match (&before, &old_place) {
            // The same folder under the same rules stays where it is, whatever else appears at
            // the destination meanwhile.
            (Some(f), Some(place)) if f.selection == digest && f.path == status.folder.path => {
                self.keep(place, &mut target)
            }
            (Some(_), Some(place)) if place.name == target.name => place.no,
            (Some(f), Some(place)) => match self.rename(f, place, &target) {
                Some(no) => no,
                None => self.place(&target),
            },
            _ => self.place(&target),
        };
        self.taken.insert(place);
        let no = match &before {
            Some(f) => f.no,
            None => {
                self.next_folder += 1;
                FolderNo(self.next_folder - 1)
            }
        };
        let renamed = self.renames.iter().any(|r| r.place == place);
        let create = !target.exists && !renamed && before.is_none();
        if let Some(f) = &mut before {
            f.name = status.folder.name.clone();
        }
        let counts = self.basis.overview.counts.get(&no).copied().unwrap_or_default();
        Work {
            no,
            folder: status.folder.clone(),
            target,
            place,
            create,
            changes,
            full,
            diff: Diff::default(),
            relocations: Vec::new(),
            counts,
            status,
            before,
        }
    }

    /// The recorded place, whether or not it exists at present.
    fn keep(&self, place: &Place, target: &mut Target) -> PlaceNo {
        target.name = place.name.clone();
        target.path = place.path.clone();
        target.exists = self.there.iter().any(|s| s.folder.name == place.name);
        target.strict_name = None;
        place.no
    }

    /// The number of a target's place, a new one if need be.
    fn place(&mut self, target: &Target) -> PlaceNo {
        if let Some(place) = self.places.values().find(|p| p.name == target.name) {
            return place.no;
        }
        let no = PlaceNo(self.places.keys().last().map_or(1, |no| no.0 + 1));
        self.places.insert(
            no,
            Place {
                no,
                name: target.name.clone(),
                path: target.path.clone(),
                epoch: None,
                known: IdSet::new(),
                created: false,
            },
        );
        no
    }

    /// Plans a rename of the place, if the destination's folder is drover's own to rename.
    fn rename(&mut self, f: &FollowedFolder, place: &Place, target: &Target) -> Option<PlaceNo> {
        let epoch_of =
            |name: &FolderName| self.there.iter().find(|s| s.folder.name == *name).map(|s| s.epoch);
        let claimed = self.places.values().any(|p| p.name == target.name);
        if place.epoch.is_some()
            && epoch_of(&place.name).is_none()
            && epoch_of(&target.name) == Some(place.epoch)
            && !claimed
        {
            // The destination renamed it and the pass died before it could say so.
            return Some(self.renamed(place, target, true));
        }
        let alone = self.basis.overview.folders.values().filter(|o| o.place == f.place).count()
            == 1
            && !self.taken.contains(&place.no);
        let below = target.path.segments().starts_with(place.path.segments());
        let free = !target.exists && !below && !self.places.values().any(|p| p.name == target.name);
        let there = self.there.iter().any(|s| s.folder.name == place.name);
        let allowed = self.basis.kind.mirrors() && self.basis.mailbox.carry.moves;
        if !(allowed && alone && there && free && place.created && !place.path.is_inbox()) {
            return None;
        }
        let carried_by_parent = self.renames.iter().any(|parent| {
            let (from, to) = (parent.from.1.segments(), parent.to.1.segments());
            let rest = place.path.segments().strip_prefix(from);
            rest.is_some() && rest == target.path.segments().strip_prefix(to)
        });
        Some(self.renamed(place, target, carried_by_parent))
    }

    fn renamed(&mut self, place: &Place, target: &Target, done: bool) -> PlaceNo {
        self.renames.push(Rename {
            place: place.no,
            from: (place.name.clone(), place.path.clone()),
            to: (target.name.clone(), target.path.clone()),
            done,
        });
        if let Some(place) = self.places.get_mut(&place.no) {
            place.name = target.name.clone();
            place.path = target.path.clone();
        }
        place.no
    }

    /// Which vanished folder a new one is, if its ids and a sample of its messages say so.
    async fn renamed_from(
        &self,
        source: &mut dyn Source,
        status: &FolderStatus,
        vanished: &[&FollowedFolder],
    ) -> Result<Option<usize>, Error> {
        for (at, old) in vanished.iter().enumerate() {
            if status.epoch != Some(old.epoch) {
                continue;
            }
            let ids = self.basis.ledger.record_ids(old.no).await?;
            let count = ids.len() as usize;
            let ends = ids.iter().enumerate();
            let sample: IdSet = ends
                .filter(|(n, _)| *n < SAMPLE / 2 || *n + SAMPLE / 2 >= count)
                .map(|(_, id)| id)
                .collect();
            if sample.is_empty() {
                if status.messages == Some(0) {
                    return Ok(Some(at));
                }
                continue;
            }
            let records = self.basis.ledger.records(old.no, &sample).await?;
            let seen = source.sight(&status.folder.name, &sample).await.map_err(at_source)?;
            let same = seen.iter().all(|s| {
                let mut records = records.iter();
                records.any(|r| (r.id, r.fingerprint, r.size) == (s.id, s.fingerprint, s.size))
            });
            if same && seen.len() * 2 >= records.len() && !seen.is_empty() {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }
}

/// Holds a folder's survey against its records.
async fn compare(basis: &Basis<'_>, source: &mut dyn Source, work: &mut Work) -> Result<(), Error> {
    let failures = if work.counts.failed + work.counts.skipped > 0 {
        basis.ledger.failures(work.no).await?
    } else {
        Vec::new()
    };
    if work.changes.is_none() {
        // Nothing happened there; only what failed before is tried again.
        let filtered = work.before.as_ref().map(|f| f.filtered.clone()).unwrap_or_default();
        let nothing = Changes {
            epoch: work.status.epoch.or(work.before.as_ref().map(|f| f.epoch)).unwrap_or_default(),
            cursor: crate::model::Cursor::default(),
            messages: work.counts.records
                + work.counts.failed
                + work.counts.skipped
                + filtered.len(),
            items: Vec::new(),
            gone: Gone::These(IdSet::new()),
        };
        let known = known(basis, work, &failures, &filtered, false);
        work.diff = Differ::new(&nothing, known).finish();
    }
    let mut full = work.full;
    while let Some(changes) = &work.changes {
        let filtered = work.before.as_ref().map(|f| f.filtered.clone()).unwrap_or_default();
        let mut differ = Differ::new(changes, known(basis, work, &failures, &filtered, full));
        match &changes.gone {
            Gone::These(gone) if !full => {
                let mut ids: IdSet = changes.items.iter().map(|item| item.id).collect();
                ids.extend_set(gone);
                differ.page(basis.ledger.records(work.no, &ids).await?);
            }
            _ => {
                let mut after = None;
                loop {
                    let page = basis.ledger.page_after(work.no, after).await?;
                    let Some(last) = page.last() else { break };
                    after = Some(last.id);
                    differ.page(page);
                }
            }
        }
        work.diff = differ.finish();
        if !work.diff.incomplete || full {
            break;
        }
        tracing::info!(folder = %work.folder.path, "survey and ledger do not add up; listing the folder whole");
        let whole = source.changes(&work.folder.name, None).await.map_err(at_source)?;
        work.changes = Some(whole);
        full = true;
    }
    relocate(basis, work).await
}

/// Finds the settled messages that are not where the folder goes now, after a rename that could
/// not be carried as one, or another map in the definition.
async fn relocate(basis: &Basis<'_>, work: &mut Work) -> Result<(), Error> {
    let moved_place = work.before.as_ref().filter(|f| f.place != work.place).map(|f| f.place);
    let mirrors = basis.kind.mirrors() && basis.mailbox.carry.moves;
    if let Some(old) = moved_place.filter(|_| mirrors) {
        let gone: HashSet<ItemId> = work.diff.gone.iter().map(|r| r.id).collect();
        let records = all_records(basis.ledger, work.no).await?;
        let stay = |r: &Record| r.place == old && r.at.is_some() && !gone.contains(&r.id);
        work.relocations = records.into_iter().filter(stay).collect();
    }
    Ok(())
}

fn known<'a>(
    basis: &'a Basis<'_>,
    work: &Work,
    failures: &'a [crate::ledger::Failure],
    filtered: &'a IdSet,
    full: bool,
) -> Known<'a> {
    Known {
        failures,
        filtered,
        records: work.counts.records,
        full,
        select: &basis.mailbox.select,
        deletes: basis.mailbox.carry.deletes && basis.kind.mirrors(),
    }
}

async fn all_records(ledger: &MailboxLedger, no: FolderNo) -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    let mut after = None;
    loop {
        let page = ledger.page_after(no, after).await?;
        let Some(last) = page.last() else { return Ok(records) };
        after = Some(last.id);
        records.extend(page);
    }
}

/// What becomes of a message that left the source.
fn departure(basis: &Basis<'_>, record: Record) -> Departure {
    let ours = record.origin == crate::ledger::Origin::Copied && record.at.is_some();
    if basis.mailbox.carry.deletes && basis.kind.mirrors() && ours {
        Departure::Remove(record)
    } else {
        Departure::Retire(record)
    }
}

fn finish(
    basis: &Basis<'_>,
    work: Work,
    arrivals: Vec<super::plan::Arrival>,
) -> (FolderPlan, FollowedFolder) {
    let Work { diff, changes, .. } = work;
    let epoch = changes
        .as_ref()
        .map(|c| c.epoch)
        .or(work.before.as_ref().map(|f| f.epoch))
        .unwrap_or_default();
    let accounts = Accounts {
        seen: diff.kept + diff.skipped + diff.filtered.len() + arrivals.len() as u64,
        already_there: diff.kept,
        filtered: diff.filtered.len(),
        skipped: diff.skipped,
        ..Accounts::default()
    };
    let cursor = changes.map(|c| c.cursor);
    let followed = FollowedFolder {
        no: work.no,
        name: work.folder.name.clone(),
        path: work.folder.path.clone(),
        epoch,
        // The cursor is filed when everything before it is settled, not before.
        cursor: work.before.as_ref().filter(|f| f.epoch == epoch).and_then(|f| f.cursor.clone()),
        selection: work.before.as_ref().map_or(0, |f| f.selection),
        place: work.place,
        filtered: diff.filtered.clone(),
    };
    let flags = if basis.mailbox.carry.flags { diff.flagged } else { Vec::new() };
    let needed = needs_place(&arrivals) || !work.relocations.is_empty();
    let plan = FolderPlan {
        no: work.no,
        create: work.create || !work.target.exists && needed,
        folder: work.folder,
        target: work.target,
        place: work.place,
        epoch,
        arrivals,
        flags,
        departures: diff.gone.into_iter().map(|record| departure(basis, record)).collect(),
        relocations: work.relocations,
        moot_failures: diff.moot_failures,
        filtered: diff.filtered,
        cursor,
        accounts,
    };
    (plan, followed)
}

fn needs_place(arrivals: &[super::plan::Arrival]) -> bool {
    use super::plan::Arrival;
    arrivals.iter().any(|a| matches!(a, Arrival::Copy(_) | Arrival::Move { .. }))
}

/// The plan of a folder that is gone from the source.
fn close(basis: &Basis<'_>, closed: Closed) -> FolderPlan {
    let place = closed.before.place;
    let (name, path) = basis
        .overview
        .places
        .get(&place)
        .map(|p| (p.name.clone(), p.path.clone()))
        .unwrap_or((FolderName(Vec::new()), closed.before.path.clone()));
    FolderPlan {
        no: closed.before.no,
        folder: Folder { name: closed.before.name, path: closed.before.path, role: None },
        target: Target { path, name, role: None, exists: true, repaired: false, strict_name: None },
        place,
        epoch: closed.before.epoch,
        create: false,
        arrivals: Vec::new(),
        flags: Vec::new(),
        departures: closed.gone.into_iter().map(|record| departure(basis, record)).collect(),
        relocations: Vec::new(),
        moot_failures: IdSet::new(),
        filtered: IdSet::new(),
        cursor: None,
        accounts: Accounts::default(),
    }
}

/// `SourceEmpty`, if the source shows nothing although the ledger has something.
pub(crate) fn refuse_empty_source(basis: &Basis<'_>, survey: &Survey) -> Result<(), Error> {
    let recorded: u64 = basis.overview.counts.values().map(|c| c.records).sum();
    let seen: u64 = survey.plan.folders.iter().map(|f| f.accounts.seen).sum();
    if recorded > 0 && seen == 0 {
        return Err(Error::SourceEmpty { recorded });
    }
    Ok(())
}
