//! What the parts of a survey share: what is known before, and what is known so far.

use std::collections::BTreeSet;

use crate::definition::Mailbox;
use crate::ledger::{Counts, FolderNo, FollowedFolder, MailboxLedger, Overview, PlaceNo, Record};
use crate::model::{Epoch, Folder, FolderName, PassKind};
use crate::platform::{Changes, FolderStatus};

use super::Error;
use super::diff::Diff;
use super::plan::Target;

/// What is known before anything is looked at.
pub(crate) struct Basis<'a> {
    pub(crate) mailbox: &'a Mailbox,
    pub(crate) kind: PassKind,
    pub(crate) ledger: &'a MailboxLedger,
    pub(crate) overview: &'a Overview,
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
    pub(crate) full: bool,
    pub(crate) diff: Diff,
    pub(crate) relocations: Vec<Record>,
    /// The places these are in.
    pub(crate) leaving: BTreeSet<PlaceNo>,
    pub(crate) counts: Counts,
    pub(crate) status: FolderStatus,
    /// The ledger's word of it, under its present name.
    pub(crate) before: Option<FollowedFolder>,
}

/// One look at one source folder.
pub(crate) struct Looked {
    pub(crate) status: FolderStatus,
    /// `None`: nothing happened since the ledger's cursor.
    pub(crate) changes: Option<Changes>,
    /// The changes list the folder whole.
    pub(crate) full: bool,
}

/// The ledger's row for a folder. Other ids, another row: what was filed under the old ones is
/// recognised message by message.
pub(crate) fn followed<'a>(
    overview: &'a Overview,
    name: &FolderName,
    epoch: Option<Epoch>,
) -> Option<&'a FollowedFolder> {
    let mut rows = overview.folders.values();
    rows.find(|f| f.name == *name && epoch.is_none_or(|epoch| epoch == f.epoch))
}

/// Other rules, another look: a digest of what decides which messages take part and where.
pub(crate) fn rules_digest(mailbox: &Mailbox) -> u64 {
    let text = format!("{:?}\n{:?}", mailbox.select, mailbox.folders);
    let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    hash.as_ref().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// All records of a folder.
pub(crate) async fn all_records(
    ledger: &MailboxLedger,
    no: FolderNo,
) -> Result<Vec<Record>, Error> {
    let mut records = Vec::new();
    let mut walk = ledger.walk(no);
    while let Some(page) = walk.next().await? {
        records.extend(page);
    }
    Ok(records)
}
