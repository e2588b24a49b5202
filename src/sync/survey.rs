//! Looks at both sides and the ledger, and makes of it a plan. Writes nothing anywhere.
//!
//! The look at the source is repeated until it holds still (at most [`ROUNDS`] times) whenever
//! something moved: a message that changes folders between two looks would otherwise be seen
//! twice, or gone. Each look after the first asks only for what happened since the one before.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::ledger::{Change, FolderNo, FollowedFolder, Place, PlaceNo, Record, Verdict};
use crate::model::{Accounts, Folder, FolderName, IdSet, ItemId, PassKind};
use crate::platform::{Changes, FolderStatus, Gone, Source, Wanted};

use super::basis::{Basis, Looked, Work, all_records, followed, rules_digest};
use super::diff::{Differ, Known};
use super::folding::{Closed, Folding};
use super::lane::{Lane, at_destination, at_source};
use super::listing::Listing;
use super::plan::{Departure, FolderPlan, Plan, Target};
use super::{Error, again, recognise};

/// How often the source is looked at until it holds still.
const ROUNDS: usize = 5;

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

/// Looks and plans.
pub(crate) async fn take(
    basis: &Basis<'_>,
    lane: &mut Lane,
    listing: Listing,
) -> Result<Survey, Error> {
    let Listing { source: mut statuses, destination: there } = listing;
    let mut looked: HashMap<FolderName, Looked> = HashMap::new();
    let mut ghosts: HashSet<FolderName> = HashSet::new();
    for round in 1..=ROUNDS {
        let source = lane.source.as_mut();
        let (moved, after) = look(basis, source, &statuses, &mut looked, &mut ghosts).await?;
        if !moved || round == ROUNDS {
            break;
        }
        let again = match after {
            Some(after) => after,
            None => source.folders().await.map_err(at_source)?,
        };
        let still = again == statuses;
        statuses = again;
        if still {
            break;
        }
    }

    statuses.retain(|s| !ghosts.contains(&s.folder.name));
    let naming = lane.destination.naming().await.map_err(at_destination)?;
    let mut folding = Folding::new(basis, &statuses, &there, naming);
    let (mut works, mut closed) = folding.assign(lane.source.as_mut(), looked).await?;
    let mut places = std::mem::take(&mut folding.places);
    let renames = std::mem::take(&mut folding.renames);
    let mut notes = std::mem::take(&mut folding.notes);
    if basis.overview.folders.is_empty() {
        notes.extend(left_out(basis, &statuses));
    }

    for work in &mut works {
        compare(basis, lane.source.as_mut(), work).await?;
    }
    let in_part = shown_in_part(&works);
    // A message that is gone from one folder may be hidden in another.
    let removes = basis.mailbox.carry.deletes && basis.kind.mirrors() && in_part.is_empty();
    notes.extend(in_part.iter().map(|path| {
        format!(
            "folder {path} is shown in part only: what is hidden is not copied, and nothing that is \
             not shown is removed in this pass"
        )
    }));
    let mut learned = Vec::new();
    let mut recognised =
        recognise::all(basis, lane, &mut works, &mut closed, &there, &mut places, &mut learned)
            .await?;
    let mut after = again::find(basis.ledger, &works, &mut recognised).await?;

    let mut followed = BTreeMap::new();
    let mut plan = Plan { renames, ..Plan::default() };
    for (work, arrivals) in works.into_iter().zip(recognised) {
        if work.target.repaired && work.create {
            notes.push(format!(
                "folder {} is called {} at the destination, which cannot hold its name",
                work.folder.path, work.target.path
            ));
        }
        let (mut folder, filed) = finish(basis, work, arrivals, removes);
        folder.after = after.remove(&folder.place).unwrap_or_default();
        followed.insert(folder.no, filed);
        plan.folders.push(folder);
    }
    plan.closed = closed.into_iter().map(|closed| close(basis, closed, removes)).collect();
    plan.in_part = in_part.len() as u64;
    plan.notes = notes;
    Ok(Survey { plan, places, learned, followed })
}

/// Where a survey of the folder may start: nowhere if the rules changed, or the ids did. Nor at
/// the cutover: its passes look at every message, whatever the server says did not change.
fn cursor<'a>(
    basis: &Basis<'_>,
    before: Option<&'a FollowedFolder>,
    status: &FolderStatus,
) -> Option<&'a crate::model::Cursor> {
    if basis.kind == PassKind::Final {
        return None;
    }
    let before = before.filter(|f| f.selection == rules_digest(basis.mailbox))?;
    before.cursor.as_ref().filter(|_| status.epoch.is_none_or(|epoch| epoch == before.epoch))
}

/// Surveys every folder that may have changed since it was last looked at in this pass. Tells
/// whether anything was found to have moved, so that another look is worth it, and how the folders
/// stood afterwards, if any was asked about. Folders that are listed and yet do not exist are
/// `ghosts`: Dovecot lists a deleted folder that has subfolders.
async fn look(
    basis: &Basis<'_>,
    source: &mut dyn Source,
    statuses: &[FolderStatus],
    looked: &mut HashMap<FolderName, Looked>,
    ghosts: &mut HashSet<FolderName>,
) -> Result<(bool, Option<Vec<FolderStatus>>), Error> {
    let mut moved = false;
    looked.retain(|name, _| statuses.iter().any(|s| s.folder.name == *name));
    let mut changed = Vec::new();
    for status in statuses.iter().filter(|s| takes(basis, s)) {
        let name = &status.folder.name;
        if !looked.get(name).is_some_and(|l| l.status == *status) {
            changed.push((status, looked.remove(name)));
        }
    }
    let mut wanted = Vec::new();
    let mut asked = Vec::new();
    for (at, (status, look)) in changed.iter().enumerate() {
        let name = &status.folder.name;
        if let Some(Looked { changes: Some(changes), .. }) = look {
            // Seen in this pass: only what happened since.
            wanted.push(Wanted { status, then: Some(&changes.cursor) });
            asked.push((at, false));
            continue;
        }
        let before = followed(basis.overview, name, status.epoch);
        let counts = before.and_then(|f| basis.overview.counts.get(&f.no)).copied();
        let then = cursor(basis, before, status);
        let quiet = then.is_some_and(|then| source.unchanged(then, status))
            && status.messages.is_none_or(|now| {
                let counts = counts.unwrap_or_default();
                let filtered = before.map_or(0, |f| f.filtered.len());
                now == counts.records + counts.failed + counts.skipped + filtered
            });
        if quiet {
            ghosts.remove(name);
            let quiet = Looked { status: (*status).clone(), changes: None, full: false };
            looked.insert(name.clone(), quiet);
        } else {
            wanted.push(Wanted { status, then });
            asked.push((at, then.is_none()));
        }
    }
    let mut after = None;
    let mut told = Vec::new();
    if !wanted.is_empty() {
        let surveyed = source.survey(&wanted).await.map_err(at_source)?;
        (told, after) = (surveyed.changes, Some(surveyed.after));
    }
    for ((at, is_whole), changes) in asked.into_iter().zip(told) {
        let (status, earlier) = (changed[at].0, changed[at].1.take());
        let name = &status.folder.name;
        // Gone between LIST and EXAMINE, or never there: the next look tells.
        let Some(changes) = changes else {
            looked.remove(name);
            moved |= ghosts.insert(name.clone());
            continue;
        };
        ghosts.remove(name);
        moved = true;
        let (changes, full) = match earlier {
            Some(Looked { changes: Some(before), full, .. }) => {
                let is_renewed = before.epoch != changes.epoch;
                (before.followed_by(changes), full || is_renewed)
            }
            _ => (changes, is_whole),
        };
        let look = Looked { status: status.clone(), changes: Some(changes), full };
        looked.insert(name.clone(), look);
    }
    let is = |f: &FollowedFolder, s: &FolderStatus| s.selectable && s.folder.name == f.name;
    let vanished = |f: &FollowedFolder| !statuses.iter().any(|s| is(f, s));
    Ok((moved || basis.overview.folders.values().any(vanished), after))
}

fn takes(basis: &Basis<'_>, status: &FolderStatus) -> bool {
    status.selectable && basis.mailbox.select.takes_folder(&status.folder)
}

/// Says once which folders with something in them the platform's preset leaves out.
fn left_out(basis: &Basis<'_>, statuses: &[FolderStatus]) -> Option<String> {
    let select = &basis.mailbox.select;
    let is_left = |s: &&FolderStatus| {
        select.leaves_out(&s.folder.path) && !takes(basis, s) && s.messages != Some(0)
    };
    let left = statuses.iter().filter(|s| s.selectable).filter(is_left);
    let names: Vec<String> = left.map(|s| s.folder.path.to_string()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "not copied, for they hold no mail on this platform: {}; `include` takes in those that do",
            names.join(", ")
        )
    })
}

/// Holds a folder's survey against its records.
async fn compare(basis: &Basis<'_>, source: &mut dyn Source, work: &mut Work) -> Result<(), Error> {
    let mut failures = if work.counts.failed + work.counts.skipped > 0 {
        basis.ledger.failures(work.no).await?
    } else {
        Vec::new()
    };
    // What was brought over has a record and is no failure.
    failures.retain(|failure| failure.verdict != Verdict::Repaired);
    for failure in failures.iter_mut().filter(|failure| failure.attempts > 0) {
        // An accepted loss is not tried again, unless somebody asks for that: then its count of
        // attempts begins anew.
        let id = failure.message_id.as_deref();
        if basis.mailbox.accepted(&work.folder.path, failure.id, id).is_some() {
            failure.verdict = Verdict::Skipped;
        }
    }
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
                let mut walk = basis.ledger.walk(work.no);
                while let Some(page) = walk.next().await? {
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
    work.leaving = work.before.as_ref().map(|f| f.leaving.clone()).unwrap_or_default();
    work.leaving.extend(work.before.as_ref().map(|f| f.place));
    work.leaving.remove(&work.place);
    let mirrors = basis.kind.mirrors() && basis.mailbox.carry.moves;
    if mirrors && !work.leaving.is_empty() {
        let gone: HashSet<ItemId> = work.diff.gone.iter().map(|r| r.id).collect();
        let records = all_records(basis.ledger, work.no).await?;
        let left = |r: &Record| work.leaving.contains(&r.place) && r.at.is_some();
        let stay = |r: &Record| left(r) && !gone.contains(&r.id);
        work.relocations = records.into_iter().filter(stay).collect();
        work.leaving.retain(|place| work.relocations.iter().any(|r| r.place == *place));
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

/// Folders that did not show all they hold.
fn shown_in_part(works: &[Work]) -> Vec<String> {
    let is_part = |work: &&Work| work.changes.as_ref().is_some_and(|c| c.gone == Gone::Untold);
    works.iter().filter(is_part).map(|work| work.folder.path.to_string()).collect()
}

/// What becomes of a message that left the source; `removes`: are removals carried in this pass?
fn departure(record: Record, removes: bool) -> Departure {
    let ours = record.origin == crate::ledger::Origin::Copied && record.at.is_some();
    if removes && ours { Departure::Remove(record) } else { Departure::Retire(record) }
}

fn finish(
    basis: &Basis<'_>,
    work: Work,
    arrivals: Vec<super::plan::Arrival>,
    removes: bool,
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
        leaving: work.leaving,
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
        after: BTreeSet::new(),
        flags,
        departures: diff.gone.into_iter().map(|record| departure(record, removes)).collect(),
        relocations: work.relocations,
        moot_failures: diff.moot_failures,
        filtered: diff.filtered,
        cursor,
        accounts,
    };
    (plan, followed)
}

fn needs_place(arrivals: &[super::plan::Arrival]) -> bool {
    arrivals.iter().any(super::plan::Arrival::lands)
}

/// The plan of a folder that is gone from the source.
fn close(basis: &Basis<'_>, closed: Closed, removes: bool) -> FolderPlan {
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
        after: BTreeSet::new(),
        flags: Vec::new(),
        departures: closed.gone.into_iter().map(|record| departure(record, removes)).collect(),
        relocations: Vec::new(),
        moot_failures: IdSet::new(),
        filtered: IdSet::new(),
        cursor: None,
        accounts: Accounts::default(),
    }
}

/// `PartialView`, if the pass is to be the cutover's and folders do not show all they hold, unless
/// the definition accepts that.
pub(crate) fn refuse_partial_view(basis: &Basis<'_>, survey: &Survey) -> Result<(), Error> {
    let endpoint = &basis.mailbox.source.endpoint;
    let folders = survey.plan.in_part;
    if basis.kind == PassKind::Final && folders > 0 && !endpoint.traits.accepts_partial {
        let preset = crate::preset::find(&endpoint.platform);
        let show_all = preset.and_then(|preset| preset.show_all.as_deref());
        return Err(Error::PartialView { folders, show_all });
    }
    Ok(())
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
