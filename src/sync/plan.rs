//! What a pass will do, as plain data: the same value `drover plan` prints and the pass executes.
//! Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::ledger::{Filed, FolderNo, Origin, PlaceNo, Record, Retired};
use crate::model::{
    Accounts, Cursor, Epoch, Fingerprint, Flags, Folder, FolderName, FolderPath, IdSet, Identity,
    Item, ItemId, Role,
};

/// Where a source folder goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The path at the destination.
    pub path: FolderPath,
    /// Its name there.
    pub name: FolderName,
    /// Its role at the source, asked for if it has to be created.
    pub role: Option<Role>,
    /// True if it is there already.
    pub exists: bool,
    /// True if the name had to be changed to fit the destination.
    pub repaired: bool,
    /// A more cautious spelling, for a server that refuses this one.
    pub strict_name: Option<(FolderName, FolderPath)>,
}

/// A pass, before it is carried out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Folders renamed at the destination, parents first.
    pub renames: Vec<Rename>,
    /// Folders in the order of the source.
    pub folders: Vec<FolderPlan>,
    /// Folders that are gone from the source, or whose ids are: what nobody claimed of their
    /// messages departs; the destination's folders stay.
    pub closed: Vec<FolderPlan>,
    /// What an operator should know.
    pub notes: Vec<String>,
    /// Source folders that did not show all they hold.
    pub in_part: u64,
}

/// A folder that was renamed at the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// The place that gets a new name.
    pub place: PlaceNo,
    /// From.
    pub from: (FolderName, FolderPath),
    /// To.
    pub to: (FolderName, FolderPath),
    /// True if it is done already, or a renamed parent takes it along: only the ledger has to
    /// learn it.
    pub done: bool,
}

/// What happens to one source folder.
#[derive(Debug, Clone, PartialEq)]
pub struct FolderPlan {
    /// Its number in the ledger.
    pub no: FolderNo,
    /// The source folder.
    pub folder: Folder,
    /// Where it goes.
    pub target: Target,
    /// The target's number in the ledger.
    pub place: PlaceNo,
    /// The epoch of the source ids.
    pub epoch: Epoch,
    /// True if the destination folder is to be created. Not so where its user removed it and
    /// nothing new has to go there.
    pub create: bool,
    /// Messages that are new here, by source id ascending: the order they get at the destination.
    pub arrivals: Vec<Arrival>,
    /// Places that are to be done before, for copies are made of what is brought there.
    pub after: BTreeSet<PlaceNo>,
    /// Flag changes of messages that stay.
    pub flags: Vec<FlagCarry>,
    /// Messages that left the source.
    pub departures: Vec<Departure>,
    /// Settled messages whose place is not where the folder goes now.
    pub relocations: Vec<Record>,
    /// Failures that are moot: their messages are gone.
    pub moot_failures: IdSet,
    /// Messages left out by the selection.
    pub filtered: IdSet,
    /// Where the next survey starts once all this is done; absent if nothing was looked at.
    pub cursor: Option<Cursor>,
    /// Where the messages went that this plan does nothing about.
    pub accounts: Accounts,
}

/// A message that is new in a source folder.
#[derive(Debug, Clone, PartialEq)]
pub enum Arrival {
    /// It is copied.
    Copy(Item),
    /// It is at the destination already.
    Adopt {
        /// The source message.
        item: Item,
        /// The destination message.
        at: ItemId,
        /// drover's own, if an unsettled intent claims it.
        origin: Origin,
        /// Flags to set there. Without a common base a flag on either side counts as added.
        add: Flags,
        /// Flags to clear there; only where an intent says what was written.
        remove: Flags,
        /// Over its naming headers.
        fingerprint: Fingerprint,
        /// What the source's server calls it in every folder, where it has such names, if it has
        /// no Message-ID.
        identity: Option<Identity>,
    },
    /// It is in another folder of the source too, with the same id. The copy that is or will be
    /// made for that one is copied at the destination; the message is not carried over once more.
    Again {
        /// The source message.
        item: Item,
        /// The other folder.
        of: FolderNo,
    },
    /// It is a known message that came from elsewhere; its copy is moved.
    Move {
        /// The source message.
        item: Item,
        /// What the ledger has of it.
        of: Departed,
    },
    /// It is a known message whose copy stays where it is; only the ledger learns.
    Refile {
        /// The source message.
        item: Item,
        /// What the ledger has of it.
        of: Departed,
    },
}

impl Arrival {
    /// Its id at the source.
    pub(crate) const fn id(&self) -> ItemId {
        match self {
            Self::Copy(item)
            | Self::Again { item, .. }
            | Self::Adopt { item, .. }
            | Self::Move { item, .. }
            | Self::Refile { item, .. } => item.id,
        }
    }

    /// Does the destination's folder get a message that is not in it yet?
    pub(crate) const fn lands(&self) -> bool {
        matches!(self, Self::Copy(_) | Self::Again { .. } | Self::Move { .. })
    }
}

/// A settled message that left the place where it was filed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departed {
    /// Where the ledger has it.
    pub filed: Filed,
    /// The destination folder of its copy.
    pub place: PlaceNo,
    /// Its copy, unless that is gone.
    pub at: Option<ItemId>,
    /// How the copy came there.
    pub origin: Origin,
    /// Flags last carried.
    pub flags: Flags,
    /// Over its naming headers.
    pub fingerprint: Fingerprint,
    /// Bytes.
    pub size: u64,
    /// Unix seconds.
    pub date: Option<i64>,
    /// What the source's server calls it in every folder, where it has such names, if it has no
    /// Message-ID.
    pub identity: Option<Identity>,
}

impl Departed {
    /// From a record of a folder.
    pub(crate) fn from_record(folder: FolderNo, record: &Record) -> Self {
        Self {
            filed: Filed::Record(folder, record.id),
            place: record.place,
            at: record.at,
            origin: record.origin,
            flags: record.flags.clone(),
            fingerprint: record.fingerprint,
            size: record.size,
            date: record.date,
            identity: record.identity,
        }
    }

    /// From a retired row.
    pub(crate) fn from_retired(row: &Retired) -> Self {
        Self {
            filed: Filed::Retired(row.no),
            place: row.place,
            at: row.at,
            origin: row.origin,
            flags: row.flags.clone(),
            fingerprint: row.fingerprint,
            size: row.size,
            date: row.date,
            identity: row.identity,
        }
    }
}

/// A flag change of one settled message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagCarry {
    /// The record, with the base flags.
    pub record: Record,
    /// The source's flags now.
    pub now: Flags,
}

/// A settled message that left the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Departure {
    /// Its copy stays; the record is kept aside.
    Retire(Record),
    /// Its copy is removed (law 5).
    Remove(Record),
}

/// A plan in numbers, by folder: what `drover plan` shows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Summary {
    /// One line a folder with anything to say.
    pub folders: Vec<FolderSummary>,
    /// True if the pass would do nothing.
    pub nothing_to_do: bool,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// One folder of a [`Summary`], in messages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FolderSummary {
    /// The source folder's path.
    pub source: String,
    /// The destination folder's path.
    pub destination: String,
    /// The destination folder would be created.
    pub create: bool,
    /// The destination folder would be renamed from this path.
    pub renamed_from: Option<String>,
    /// Messages to copy.
    pub copy: u64,
    /// The bytes that are carried over for them.
    pub copy_bytes: u64,
    /// Messages found at the destination.
    pub adopt: u64,
    /// Messages to move at the destination.
    pub moves: u64,
    /// Messages whose flags would change.
    pub flags: u64,
    /// Messages to remove at the destination.
    pub removes: u64,
    /// Messages left out by the selection.
    pub filtered: u64,
    /// Messages recorded as failed or skipped.
    pub failed: u64,
    /// Messages settled before.
    pub already_there: u64,
}

impl FolderPlan {
    /// True if the folder gives a pass nothing to do.
    pub fn is_quiet(&self) -> bool {
        !self.create
            && self.arrivals.is_empty()
            && self.flags.is_empty()
            && self.departures.is_empty()
            && self.relocations.is_empty()
    }

    /// Messages to carry over and their bytes.
    pub fn copies(&self) -> (u64, u64) {
        self.arrivals.iter().fold((0, 0), |(n, bytes), arrival| match arrival {
            Arrival::Copy(item) => (n + 1, bytes + item.meta.map_or(0, |m| m.size)),
            _ => (n, bytes),
        })
    }

    /// Messages of which something is changed at the destination, that are not carried over.
    pub(crate) fn deeds(&self) -> u64 {
        let changes = |arrival: &&Arrival| match arrival {
            Arrival::Move { .. } | Arrival::Again { .. } => true,
            Arrival::Adopt { add, remove, .. } => !add.is_empty() || !remove.is_empty(),
            Arrival::Copy(_) | Arrival::Refile { .. } => false,
        };
        let arrivals = self.arrivals.iter().filter(changes).count();
        (arrivals + self.flags.len() + self.relocations.len()) as u64 + self.removes()
    }

    fn summary(&self, renames: &[Rename]) -> FolderSummary {
        let count = |f: fn(&Arrival) -> bool| self.arrivals.iter().filter(|a| f(a)).count() as u64;
        let (copy, copy_bytes) = self.copies();
        let renamed = renames.iter().find(|r| r.place == self.place);
        FolderSummary {
            source: self.folder.path.to_string(),
            destination: self.target.path.to_string(),
            create: self.create,
            renamed_from: renamed.map(|r| r.from.1.to_string()),
            copy: copy + count(|a| matches!(a, Arrival::Again { .. })),
            copy_bytes,
            adopt: count(|a| matches!(a, Arrival::Adopt { .. })),
            moves: count(|a| matches!(a, Arrival::Move { .. })) + self.relocations.len() as u64,
            flags: self.flags.len() as u64,
            removes: self.removes(),
            filtered: self.accounts.filtered,
            failed: self.accounts.failed + self.accounts.skipped,
            already_there: self.accounts.already_there,
        }
    }

    /// Messages that are removed at the destination.
    pub fn removes(&self) -> u64 {
        self.departures.iter().filter(|d| matches!(d, Departure::Remove(_))).count() as u64
    }
}

impl Plan {
    /// Messages that would be removed at the destination.
    pub fn removes(&self) -> u64 {
        self.folders.iter().chain(&self.closed).map(FolderPlan::removes).sum()
    }

    /// True if a pass would do nothing.
    pub fn is_quiet(&self) -> bool {
        self.renames.is_empty()
            && self.folders.iter().all(FolderPlan::is_quiet)
            && self.closed.iter().all(|f| f.departures.is_empty())
    }

    /// The plan in numbers.
    pub fn summary(&self) -> Summary {
        let all = self.folders.iter().chain(&self.closed);
        Summary {
            folders: all.map(|f| f.summary(&self.renames)).collect(),
            nothing_to_do: self.is_quiet(),
            notes: self.notes.clone(),
        }
    }
}
