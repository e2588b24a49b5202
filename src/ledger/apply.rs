//! What each [`Change`] does to the rows. Counts are kept in the same batch as what they count.

use serde::{Deserialize, Serialize};

use crate::model::{Fingerprint, IdSet};

use super::database::FORMAT;
use super::keys::{self, Key, Kind, MailboxNo};
use super::pages::Pages;
use super::view::View;
use super::{
    Change, Counts, Error, Failure, FolderNo, HISTORY, MailboxKey, PassRecord, Record, Retired,
    Stranger, Verdict,
};

/// The row about the ledger itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// Of keys and rows.
    pub(super) format: u32,
    /// Drawn when the ledger was made: tells it from every other.
    pub(super) identity: String,
    /// Grows with every group of commits.
    pub(super) generation: u64,
    /// Records of all mailboxes.
    pub(super) records: u64,
    /// The number the next new mailbox gets.
    pub(super) next_mailbox: u32,
}

/// Ends a group of commits: it has a generation of its own.
pub(super) fn seal(view: &mut View<'_>, meta: &mut Meta) -> Result<(), Error> {
    meta.generation += 1;
    meta.format = FORMAT;
    view.put_row(keys::META, meta)?;
    view.accept();
    Ok(())
}

/// What a mailbox counts.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Tally {
    pub(super) folders: u64,
    pub(super) places: u64,
    pub(super) strangers: u64,
    pub(super) retired: u64,
    last_retired: u64,
    last_pass: u64,
}

/// The number of a mailbox, given now if it has none.
pub(super) fn number(
    view: &mut View<'_>,
    meta: &mut Meta,
    mailbox: &MailboxKey,
) -> Result<MailboxNo, Error> {
    let key = Key::name(mailbox);
    if let Some(no) = view.row(key.as_bytes())? {
        return Ok(MailboxNo(no));
    }
    let no = meta.next_mailbox;
    meta.next_mailbox += 1;
    view.put_row(key.as_bytes(), &no)?;
    Ok(MailboxNo(no))
}

/// Stages one change.
pub(super) fn apply(
    view: &mut View<'_>,
    meta: &mut Meta,
    mailbox: MailboxNo,
    change: Change,
) -> Result<(), Error> {
    let key = |kind| Key::of(mailbox, kind);
    match change {
        Change::PutFolder(folder) => {
            let key = key(Kind::Folder).no(folder.no.0);
            if view.get(key.as_bytes())?.is_none() {
                tally(view, mailbox, |tally| tally.folders += 1)?;
            }
            view.put_row(key.as_bytes(), &folder)
        }
        Change::DropFolder(no) => {
            let counts_key = key(Kind::Counts).no(no.0);
            let counts: Counts = view.row(counts_key.as_bytes())?.unwrap_or_default();
            meta.records = meta.records.saturating_sub(counts.records);
            view.remove(counts_key.as_bytes());
            let folder_key = key(Kind::Folder).no(no.0);
            if view.get(folder_key.as_bytes())?.is_some() {
                tally(view, mailbox, |tally| tally.folders = tally.folders.saturating_sub(1))?;
            }
            view.remove(folder_key.as_bytes());
            view.clear(&key(Kind::Failure).no(no.0))?;
            records(mailbox, no).clear(view)
        }
        Change::PutPlace(place) => {
            let key = key(Kind::Place).no(place.no.0);
            if view.get(key.as_bytes())?.is_none() {
                tally(view, mailbox, |tally| tally.places += 1)?;
            }
            view.put_row(key.as_bytes(), &place)
        }
        Change::PutRecords(no, rows) => {
            let added = records(mailbox, no).put(view, rows)?;
            meta.records += added;
            count(view, mailbox, no, |counts| counts.records += added)
        }
        Change::DropRecords(no, ids) => {
            let removed = records(mailbox, no).remove(view, &ids)?;
            meta.records = meta.records.saturating_sub(removed);
            count(view, mailbox, no, |counts| {
                counts.records = counts.records.saturating_sub(removed);
            })
        }
        Change::Retire(retired) => retire(view, mailbox, retired),
        Change::Unretire(no) => unretire(view, mailbox, no),
        Change::PutStrangers(place, rows) => {
            let added = strangers(mailbox, place.0).put(view, rows)?;
            tally(view, mailbox, |tally| tally.strangers += added).map(drop)
        }
        Change::DropStrangers(place, ids) => {
            let removed = strangers(mailbox, place.0).remove(view, &ids)?;
            let forget = |tally: &mut Tally| {
                tally.strangers = tally.strangers.saturating_sub(removed);
            };
            tally(view, mailbox, forget).map(drop)
        }
        Change::PutFailure(failure) => put_failure(view, mailbox, &failure),
        Change::DropFailures(no, ids) => drop_failures(view, mailbox, no, &ids),
        Change::PutIntent(intent) => {
            view.put_row(key(Kind::Intent).id(intent.no).as_bytes(), &intent)
        }
        Change::DropIntent(no) => {
            view.remove(key(Kind::Intent).id(no).as_bytes());
            Ok(())
        }
        Change::PutState(state) => view.put_row(key(Kind::State).as_bytes(), &state),
        Change::AddPass(pass) => add_pass(view, mailbox, &pass),
    }
}

pub(super) fn records(mailbox: MailboxNo, folder: FolderNo) -> Pages<Record> {
    Pages::of(Key::of(mailbox, Kind::Records).no(folder.0))
}

pub(super) fn strangers(mailbox: MailboxNo, place: u32) -> Pages<Stranger> {
    Pages::of(Key::of(mailbox, Kind::Strangers).no(place))
}

fn count(
    view: &mut View<'_>,
    mailbox: MailboxNo,
    folder: FolderNo,
    change: impl FnOnce(&mut Counts),
) -> Result<(), Error> {
    let key = Key::of(mailbox, Kind::Counts).no(folder.0);
    let before: Counts = view.row(key.as_bytes())?.unwrap_or_default();
    let mut after = before;
    change(&mut after);
    if after != before {
        view.put_row(key.as_bytes(), &after)?;
    }
    Ok(())
}

fn tally(
    view: &mut View<'_>,
    mailbox: MailboxNo,
    change: impl FnOnce(&mut Tally),
) -> Result<Tally, Error> {
    let key = Key::of(mailbox, Kind::Tally);
    let mut tally: Tally = view.row(key.as_bytes())?.unwrap_or_default();
    change(&mut tally);
    view.put_row(key.as_bytes(), &tally)?;
    Ok(tally)
}

/// Files a retired row under its fingerprint, and its fingerprint under its number.
fn retire(view: &mut View<'_>, mailbox: MailboxNo, mut row: Retired) -> Result<(), Error> {
    if row.no != 0 {
        unretire(view, mailbox, row.no)?;
    }
    let tally = tally(view, mailbox, |tally| {
        tally.retired += 1;
        tally.last_retired = match row.no {
            0 => tally.last_retired + 1,
            no => tally.last_retired.max(no),
        };
    })?;
    if row.no == 0 {
        row.no = tally.last_retired;
    }
    let index = Key::of(mailbox, Kind::RetiredNo).id(row.no);
    view.put_row(index.as_bytes(), &row.fingerprint)?;
    let key = Key::of(mailbox, Kind::Retired).id(row.fingerprint.0).id(row.no);
    view.put_row(key.as_bytes(), &row)
}

fn unretire(view: &mut View<'_>, mailbox: MailboxNo, no: u64) -> Result<(), Error> {
    let index = Key::of(mailbox, Kind::RetiredNo).id(no);
    let Some(fingerprint) = view.row::<Fingerprint>(index.as_bytes())? else { return Ok(()) };
    view.remove(index.as_bytes());
    view.remove(Key::of(mailbox, Kind::Retired).id(fingerprint.0).id(no).as_bytes());
    tally(view, mailbox, |tally| tally.retired = tally.retired.saturating_sub(1)).map(|_| ())
}

fn put_failure(view: &mut View<'_>, mailbox: MailboxNo, row: &Failure) -> Result<(), Error> {
    let key = Key::of(mailbox, Kind::Failure).no(row.folder.0).id(row.id.0);
    let before: Option<Failure> = view.row(key.as_bytes())?;
    view.put_row(key.as_bytes(), row)?;
    count(view, mailbox, row.folder, |counts| {
        if let Some(before) = before {
            let counted = of_verdict(counts, before.verdict);
            *counted = counted.saturating_sub(1);
        }
        *of_verdict(counts, row.verdict) += 1;
    })
}

fn drop_failures(
    view: &mut View<'_>,
    mailbox: MailboxNo,
    folder: FolderNo,
    ids: &IdSet,
) -> Result<(), Error> {
    let prefix = Key::of(mailbox, Kind::Failure).no(folder.0);
    let mut dropped = Vec::new();
    for range in ids.ranges() {
        let (from, to) = (prefix.clone().id(*range.start()), prefix.clone().id(*range.end()));
        view.scan(from.as_bytes(), to.as_bytes(), |key, value| {
            let row: Failure = super::view::decode_row(key, value)?;
            dropped.push((key.to_vec(), row.verdict));
            Ok(())
        })?;
    }
    for (key, _) in &dropped {
        view.remove(key);
    }
    count(view, mailbox, folder, |counts| {
        for (_, verdict) in dropped {
            let counted = of_verdict(counts, verdict);
            *counted = counted.saturating_sub(1);
        }
    })
}

fn of_verdict(counts: &mut Counts, verdict: Verdict) -> &mut u64 {
    match verdict {
        Verdict::Failed => &mut counts.failed,
        Verdict::Skipped => &mut counts.skipped,
        Verdict::Repaired => &mut counts.repaired,
    }
}

/// Adds a pass and lets the oldest beyond [`HISTORY`] fall out.
fn add_pass(view: &mut View<'_>, mailbox: MailboxNo, pass: &PassRecord) -> Result<(), Error> {
    let tally = tally(view, mailbox, |tally| tally.last_pass += 1)?;
    let prefix = Key::of(mailbox, Kind::Pass);
    view.put_row(prefix.clone().id(tally.last_pass).as_bytes(), pass)?;
    let mut kept = Vec::new();
    view.scan(prefix.as_bytes(), &prefix.end(), |key, _| {
        kept.push(keys::last_id(key));
        Ok(())
    })?;
    for no in kept.iter().rev().skip(HISTORY) {
        view.remove(prefix.clone().id(*no).as_bytes());
    }
    Ok(())
}
