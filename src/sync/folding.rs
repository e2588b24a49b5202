//! Gives every source folder its row in the ledger and its place at the destination; finds out
//! which of them were renamed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::ledger::{FolderNo, FollowedFolder, Place, PlaceNo, Record};
use crate::model::{FolderName, IdSet};
use crate::platform::{FolderStatus, Naming, Source};

use super::Error;
use super::basis::{Basis, Looked, Work, all_records, followed, rules_digest};
use super::diff::Diff;
use super::lane::at_source;
use super::naming::Namer;
use super::plan::{Rename, Target};

/// How many messages prove that a new folder is a renamed old one.
const SAMPLE: usize = 8;

/// Gives every folder its number and its place.
pub(super) struct Folding<'a> {
    basis: &'a Basis<'a>,
    statuses: &'a [FolderStatus],
    there: &'a [FolderStatus],
    naming: crate::platform::Naming,
    pub(super) places: BTreeMap<PlaceNo, Place>,
    pub(super) renames: Vec<Rename>,
    pub(super) notes: Vec<String>,
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
    pub(super) fn new(
        basis: &'a Basis<'a>,
        statuses: &'a [FolderStatus],
        there: &'a [FolderStatus],
        naming: Naming,
    ) -> Self {
        let next = basis.overview.folders.keys().last().map_or(1, |no| no.0 + 1);
        Self {
            basis,
            statuses,
            there,
            naming,
            places: basis.overview.places.clone(),
            renames: Vec::new(),
            notes: Vec::new(),
            next_folder: next,
            taken: HashSet::new(),
        }
    }

    pub(super) async fn assign(
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
            leaving: BTreeSet::new(),
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
                renaming: None,
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
