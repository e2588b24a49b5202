//! The rows of the ledger and the changes that are made to them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{
    Accounts, Cursor, Epoch, Fingerprint, Flags, FolderName, FolderPath, IdSet, Identity, ItemId,
    PassKind,
};

/// Names a mailbox's ledger: both accounts with their hosts. Independent of the definition that
/// declares it, so that renaming or splitting definitions keeps the record.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MailboxKey(pub Arc<str>);

impl fmt::Display for MailboxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A source folder's number within a mailbox's ledger; stays when the folder is renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FolderNo(pub u32);

/// A destination folder's number within a mailbox's ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PlaceNo(pub u32);

/// A source folder drover follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowedFolder {
    /// Its number.
    pub no: FolderNo,
    /// Its name at the source.
    pub name: FolderName,
    /// Its path, for people.
    pub path: FolderPath,
    /// The epoch its records' ids belong to.
    pub epoch: Epoch,
    /// Everything up to here is settled; `None` until the folder's first listing is.
    pub cursor: Option<Cursor>,
    /// Digest of the selection rules the cursor was taken under: others, another look.
    pub selection: u64,
    /// Where its messages go.
    pub place: PlaceNo,
    /// Where they went before, as long as some of them may still be there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub leaving: BTreeSet<PlaceNo>,
    /// Messages left out by the selection.
    pub filtered: IdSet,
}

/// A destination folder drover writes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its number.
    pub no: PlaceNo,
    /// Its name at the destination.
    pub name: FolderName,
    /// Its path, for people.
    pub path: FolderPath,
    /// The epoch of the ids in it; `None` until it was first opened.
    pub epoch: Option<Epoch>,
    /// Ids of the epoch that drover has looked at or written: everything else is news.
    pub known: IdSet,
    /// True if drover created it.
    pub created: bool,
    /// A rename that was sent and is not known to be done.
    #[serde(default)]
    pub renaming: Option<Renaming>,
}

/// An intent: a destination folder is about to get another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renaming {
    /// Its new name.
    pub name: FolderName,
    /// Its new path, for people.
    pub path: FolderPath,
}

/// How a message came to be at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// drover wrote it.
    Copied,
    /// It was there; drover paired it with its source. Never removed by drover (law 5).
    Adopted,
}

/// One message that is settled. Keyed by (folder, id).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its id at the source, in the folder's epoch.
    pub id: ItemId,
    /// The destination folder it was put in.
    pub place: PlaceNo,
    /// Its id there; `None`: it was there once and is not any more (its user removed it, law 4),
    /// so it is never copied again.
    pub at: Option<ItemId>,
    /// How it came there.
    pub origin: Origin,
    /// Its source flags that were last carried: the base of the three-way compare.
    pub flags: Flags,
    /// Over its naming headers.
    pub fingerprint: Fingerprint,
    /// RFC822.SIZE at the source, bytes.
    pub size: u64,
    /// INTERNALDATE at the source, Unix seconds.
    pub date: Option<i64>,
    /// What the source's server calls it in every folder, where it has such names, if it has no
    /// Message-ID.
    pub identity: Option<Identity>,
}

/// A settled message that has left the source; kept so that its return, or its appearance in
/// another folder, is recognised. Looked up by fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// A number the ledger gave it; 0 when handed in.
    pub no: u64,
    /// Over its naming headers.
    pub fingerprint: Fingerprint,
    /// RFC822.SIZE at the source, bytes.
    pub size: u64,
    /// INTERNALDATE at the source, Unix seconds.
    pub date: Option<i64>,
    /// The destination folder it was put in.
    pub place: PlaceNo,
    /// Its id there, unless it was gone.
    pub at: Option<ItemId>,
    /// How it came there.
    pub origin: Origin,
    /// Its last carried flags.
    pub flags: Flags,
    /// What the source's server calls it in every folder, where it has such names, if it has no
    /// Message-ID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
}

/// A message at the destination that drover has seen and not paired: it may be adopted later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stranger {
    /// Its id at the destination.
    pub id: ItemId,
    /// Over its naming headers.
    pub fingerprint: Fingerprint,
    /// RFC822.SIZE at the destination, bytes.
    pub size: u64,
}

/// What will be tried again, and what will not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Tried again in the next pass.
    Failed,
    /// Not tried again unless asked (`drover failed --retry`).
    Skipped,
    /// Brought over, with a change without which the destination would not take it. Counts as
    /// copied; the row only tells of the change.
    Repaired,
}

/// A message that could not be brought over (law 6), or not as it was. Keyed by (folder, id).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The source folder.
    pub folder: FolderNo,
    /// Its id there.
    pub id: ItemId,
    /// Will it be tried again?
    pub verdict: Verdict,
    /// Its Message-ID, if it could be read.
    pub message_id: Option<String>,
    /// Bytes.
    pub size: u64,
    /// What happened, in the server's words where it had any.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was last tried.
    pub at: DateTime<Utc>,
}

/// An act at the destination whose outcome is not recorded yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// A number the caller chose, unique in the mailbox while the intent lives.
    pub no: u64,
    /// The destination folder acted on.
    pub place: PlaceNo,
    /// Its epoch when the intent was made.
    pub epoch: Epoch,
    /// What lands has at least this id (UIDNEXT before the act).
    pub next: ItemId,
    /// When it was made.
    pub made: DateTime<Utc>,
    /// The messages.
    pub items: Vec<IntentItem>,
}

impl Intent {
    /// Those of its messages that are being copied.
    pub fn copies(&self) -> impl Iterator<Item = &IntentItem> {
        self.items.iter().filter(|item| matches!(item.deed, Deed::Copy { .. }))
    }
}

/// One message of an intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntentItem {
    /// The source folder the record will be filed under.
    pub folder: FolderNo,
    /// Its id there.
    pub id: ItemId,
    /// Its source flags.
    pub flags: Flags,
    /// Over its naming headers.
    pub fingerprint: Fingerprint,
    /// Bytes.
    pub size: u64,
    /// INTERNALDATE at the source, Unix seconds.
    pub date: Option<i64>,
    /// What is being done with it.
    pub deed: Deed,
}

impl IntentItem {
    /// Of a message that is known already.
    #[must_use]
    pub fn of(folder: FolderNo, record: &Record, deed: Deed) -> Self {
        Self {
            folder,
            id: record.id,
            flags: record.flags.clone(),
            fingerprint: record.fingerprint,
            size: record.size,
            date: record.date,
            deed,
        }
    }
}

/// What an intent does with a message; all of one intent do the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// Copies it there.
    Copy {
        /// SHA-256 of its normalised content, if headers do not tell it from others.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<[u8; 32]>,
    },
    /// Moves its copy there, from there.
    Move(MovedFrom),
    /// Gives its copy with this id the item's flags; the base is in its record.
    Flag(ItemId),
    /// Removes its copy with this id.
    Remove(ItemId),
}

/// Where a message that is being moved at the destination comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MovedFrom {
    /// The destination folder it was in.
    pub place: PlaceNo,
    /// Its id there.
    pub at: ItemId,
    /// How it came there.
    pub origin: Origin,
    /// The record or retired row it is filed under until the move is settled.
    pub filed: Filed,
}

/// Where the ledger has a settled message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filed {
    /// As the record of this source folder and id.
    Record(FolderNo, ItemId),
    /// As this retired row.
    Retired(u64),
    /// Not yet, but an unsettled intent may have brought it there.
    Stranger(PlaceNo, ItemId),
}

/// One change to a mailbox's ledger. A batch of them is committed whole or not at all.
#[derive(Debug, Clone)]
pub enum Change {
    /// Inserts or replaces a followed folder.
    PutFolder(FollowedFolder),
    /// Forgets a folder with its records and failures.
    DropFolder(FolderNo),
    /// Inserts or replaces a place.
    PutPlace(Place),
    /// Inserts or replaces records of a folder, in any order.
    PutRecords(FolderNo, Vec<Record>),
    /// Removes records of a folder; absent ids do no harm.
    DropRecords(FolderNo, IdSet),
    /// Files a message as retired.
    Retire(Retired),
    /// Takes a retired row out.
    Unretire(u64),
    /// Inserts or replaces strangers of a place.
    PutStrangers(PlaceNo, Vec<Stranger>),
    /// Removes strangers of a place.
    DropStrangers(PlaceNo, IdSet),
    /// Records a failure.
    PutFailure(Failure),
    /// Forgets failures of a folder.
    DropFailures(FolderNo, IdSet),
    /// Records an intent.
    PutIntent(Intent),
    /// Settles an intent.
    DropIntent(u64),
    /// Replaces the mailbox's state.
    PutState(MailboxState),
    /// Adds a finished pass to the history; the oldest beyond [`HISTORY`] fall out.
    AddPass(PassRecord),
}

/// How many passes a mailbox's history keeps.
pub const HISTORY: usize = 50;

/// What the controller must remember of a mailbox over a restart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MailboxState {
    /// When the seed was through.
    pub seeded: Option<DateTime<Utc>>,
    /// When the final passes were through and the tail began.
    pub cut_over: Option<DateTime<Utc>>,
    /// When the tail was over.
    pub complete: Option<DateTime<Utc>>,
    /// When the last pass began, whatever came of it.
    pub last_began: Option<DateTime<Utc>>,
    /// When `drover verify` last found both sides equal (or not, with how many differences).
    pub verified: Option<(DateTime<Utc>, u64)>,
    /// Why it is blocked: reason, message, and the fingerprint of what must change.
    pub blocked: Option<Blocked>,
    /// Transient failures in a row.
    pub failures_in_a_row: u32,
    /// When the ledger was damaged, if what it said of the mailbox before may be lost with it:
    /// also whether it was cut over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<DateTime<Utc>>,
}

/// Why a mailbox waits for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// CamelCase.
    pub reason: String,
    /// What happened and what to do.
    pub message: String,
    /// Digest of the definition and secret the block was seen under: another one lifts it.
    pub under: String,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// One finished pass, for the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PassRecord {
    /// Which kind.
    pub kind: PassKind,
    /// When it began.
    pub began: DateTime<Utc>,
    /// When it ended.
    pub ended: DateTime<Utc>,
    /// Its accounts.
    pub accounts: Accounts,
    /// Message bytes copied.
    pub bytes: u64,
    /// Messages whose flags were changed at the destination.
    pub flag_changes: u64,
    /// Messages moved at the destination.
    pub moves: u64,
    /// Messages removed at the destination.
    pub removed: u64,
    /// Source folders that did not show all they hold.
    #[serde(default)]
    pub in_part: u64,
    /// What stopped it, if anything did.
    pub error: Option<String>,
}

impl PassRecord {
    /// A pass that an error stopped, of which nothing was counted.
    pub fn failed(
        kind: PassKind,
        began: DateTime<Utc>,
        ended: DateTime<Utc>,
        error: String,
    ) -> Self {
        Self {
            kind,
            began,
            ended,
            accounts: Accounts::default(),
            bytes: 0,
            flag_changes: 0,
            moves: 0,
            removed: 0,
            in_part: 0,
            error: Some(error),
        }
    }
}

/// Counts of a folder's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Records.
    pub records: u64,
    /// Failures that will be tried again.
    pub failed: u64,
    /// Failures that will not.
    pub skipped: u64,
    /// Messages brought over with a change; they have a record, too.
    #[serde(default)]
    pub repaired: u64,
}

/// Everything about a mailbox that a pass needs at its start: O(folders), never O(messages).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overview {
    /// Followed folders by number.
    pub folders: BTreeMap<FolderNo, FollowedFolder>,
    /// Row counts of each.
    pub counts: BTreeMap<FolderNo, Counts>,
    /// Places by number.
    pub places: BTreeMap<PlaceNo, Place>,
    /// Unsettled intents, oldest first.
    pub intents: Vec<Intent>,
    /// Number of retired rows.
    pub retired: u64,
    /// The controller's state.
    pub state: MailboxState,
}
