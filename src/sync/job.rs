//! What one worker does at a time: everything that goes into one destination folder.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use crate::flow::Rate;
use crate::ledger::{
    Change, Filed, FolderNo, FollowedFolder, MailboxLedger, Overview, Place, PlaceNo, Record,
};
use crate::model::{Accounts, IdSet, Item, ItemId, Normalisation};

use super::allowance::Allowance;
use super::plan::{Departed, FolderPlan};
use super::{Context, Error, Progress};

/// Flag changes, moves and removals sent before they are booked: a crash repeats at most these.
pub(super) const STEP: usize = 500;

/// A folder with more messages to copy, or …
const SLIGHT_MESSAGES: u64 = 50;
/// … more bytes is copied alone.
const SLIGHT_BYTES: u64 = 256 << 10;

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

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.accounts += other.accounts;
        self.bytes += other.bytes;
        self.flag_changes += other.flag_changes;
        self.moves += other.moves;
        self.removed += other.removed;
    }
}

/// How far a job came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// To its end.
    Done,
    /// Its lane was wanted back. What is left of it is in it, everything else is settled.
    Recalled,
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
    /// Places whose jobs are to be done first.
    pub(crate) after: BTreeSet<PlaceNo>,
    pub(crate) followed: Vec<FollowedFolder>,
    /// Folders that something of is still moved by another job: their cursors wait.
    pub(crate) entangled: Arc<BTreeSet<FolderNo>>,
    pub(crate) rules: u64,
    pub(crate) normalisation: Normalisation,
    /// Is `\Deleted` carried?
    pub(crate) deletes: bool,
    pub(crate) flags: bool,
    pub(crate) rate: Rate,
    pub(crate) allowance: Allowance,
    pub(crate) progress: Progress,
    pub(crate) stop: CancellationToken,
    pub(crate) intents: Arc<AtomicU64>,
    pub(crate) tally: Tally,
    pub(crate) lost_keywords: BTreeSet<String>,
    pub(crate) notes: Vec<String>,
    /// The source has begun to give its first messages.
    pub(crate) announced: bool,
    /// Cursors that wait for the end of the pass.
    pub(crate) later: Vec<Change>,
}

impl Job {
    /// How much work it is: the largest go first, so that none is left alone at the end.
    pub(crate) fn weight(&self) -> u64 {
        let one = |f: &FolderPlan| {
            let (messages, bytes) = f.copies();
            bytes + 2_000 * (messages + f.deeds())
        };
        self.folders.iter().map(one).sum()
    }

    /// Messages to copy.
    pub(crate) fn copies(&self) -> u64 {
        self.folders.iter().map(|f| f.copies().0).sum()
    }

    /// Is nothing copied, only changed at the destination?
    pub(crate) fn is_deeds_alone(&self) -> bool {
        self.copies() == 0
    }

    /// Is it a few messages to copy, and nothing of which the order matters besides? Such jobs are
    /// carried together.
    pub(crate) fn is_slight(&self) -> bool {
        let [folder] = &self.folders[..] else { return false };
        let (messages, bytes) = folder.copies();
        let counts = self.overview.counts.get(&folder.no).copied().unwrap_or_default();
        (1..=SLIGHT_MESSAGES).contains(&messages)
            && bytes <= SLIGHT_BYTES
            && folder.arrivals.len() as u64 == messages
            && folder.relocations.is_empty()
            && self.after.is_empty()
            && counts.failed + counts.skipped == 0
    }

    /// Notes that its folder was made, if it is one of these.
    pub(crate) fn note_made(&mut self, made: &HashSet<PlaceNo>) {
        if made.contains(&self.place.no) {
            self.place.created = true;
            for folder in &mut self.folders {
                folder.create = false;
            }
        }
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
}

pub(super) fn unfile(filed: Filed) -> Change {
    match filed {
        Filed::Record(folder, id) => Change::DropRecords(folder, IdSet::range(id, id)),
        Filed::Retired(no) => Change::Unretire(no),
        Filed::Stranger(place, at) => Change::DropStrangers(place, IdSet::range(at, at)),
    }
}

/// The record of a known message under its new source id. Its base flags are those last carried.
pub(super) fn record_of(item: &Item, of: &Departed, place: PlaceNo, at: Option<ItemId>) -> Record {
    Record {
        id: item.id,
        place,
        at,
        origin: of.origin,
        flags: of.flags.clone(),
        fingerprint: of.fingerprint,
        size: of.size,
        date: of.date,
        identity: of.identity,
    }
}
