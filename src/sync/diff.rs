//! One source folder against its ledger: what is new, what changed, what left. Pure.

use crate::definition::Selection;
use crate::ledger::{Failure, Record, Verdict};
use crate::model::{Flags, IdSet, Item, Meta, SystemFlag};
use crate::platform::{Changes, Gone};

use super::plan::FlagCarry;

/// What may differ between one folder's survey and its ledger.
#[derive(Debug, Default)]
pub(crate) struct Diff {
    /// Messages without a row in the ledger that the selection takes.
    pub(crate) news: Vec<Item>,
    /// Messages that failed before and are tried again.
    pub(crate) retries: Vec<Item>,
    /// Settled messages whose flags changed.
    pub(crate) flagged: Vec<FlagCarry>,
    /// Settled messages that are gone from the folder.
    pub(crate) gone: Vec<Record>,
    /// Failures whose messages are gone.
    pub(crate) moot_failures: IdSet,
    /// Messages the selection leaves out.
    pub(crate) filtered: IdSet,
    /// Records that stay, in messages.
    pub(crate) kept: u64,
    /// Failures that will not be tried again, in messages.
    pub(crate) skipped: u64,
    /// True if the ledger and the survey do not add up, so that only a full listing helps.
    pub(crate) incomplete: bool,
}

/// What the diff is told besides the survey.
pub(crate) struct Known<'a> {
    /// Failures of the folder, by id ascending.
    pub(crate) failures: &'a [Failure],
    /// Messages the selection left out so far.
    pub(crate) filtered: &'a IdSet,
    /// Records in the ledger, in messages.
    pub(crate) records: u64,
    /// The survey lists the folder whole, with all there is to know of each message.
    pub(crate) full: bool,
    /// The rules.
    pub(crate) select: &'a Selection,
    /// Is `\Deleted` carried?
    pub(crate) deletes: bool,
}

/// Takes the ledger's records page by page, so that a large folder's never stand in memory whole.
pub(crate) struct Differ<'a> {
    changes: &'a Changes,
    known: Known<'a>,
    /// The next item to be met.
    at: usize,
    diff: Diff,
}

/// The flags that are carried: `\Deleted` only where deletes are.
pub(crate) fn carried(flags: &Flags, deletes: bool) -> Flags {
    if deletes { flags.clone() } else { flags.clone().without(SystemFlag::Deleted) }
}

/// The flags of an item that are carried; those it had, where the server did not tell.
pub(crate) fn item_flags(item: &Item, had: &Flags, deletes: bool) -> Flags {
    item.flags.as_ref().map_or_else(|| had.clone(), |flags| carried(flags, deletes))
}

impl<'a> Differ<'a> {
    pub(crate) fn new(changes: &'a Changes, known: Known<'a>) -> Self {
        let mut diff = Diff::default();
        if !known.full {
            diff.filtered = known.filtered.clone();
        }
        Self { changes, known, at: 0, diff }
    }

    /// Takes the next records, ids ascending from page to page.
    pub(crate) fn page(&mut self, records: Vec<Record>) {
        for record in records {
            let items = &self.changes.items;
            while items.get(self.at).is_some_and(|item| item.id < record.id) {
                self.newcomer(self.at);
                self.at += 1;
            }
            let item = self.changes.items.get(self.at).filter(|item| item.id == record.id);
            if item.is_some() {
                self.at += 1;
            }
            if self.is_gone(record.id) {
                self.diff.gone.push(record);
            } else if let (None, true, Gone::Untold) = (item, self.known.full, &self.changes.gone) {
                self.diff.kept += 1;
            } else if let Some(item) = item {
                let now = item_flags(item, &record.flags, self.known.deletes);
                self.diff.kept += 1;
                if now != record.flags && record.at.is_some() {
                    self.diff.flagged.push(FlagCarry { record, now });
                }
            }
        }
    }

    /// All records were handed in.
    pub(crate) fn finish(mut self) -> Diff {
        while self.at < self.changes.items.len() {
            self.newcomer(self.at);
            self.at += 1;
        }
        for failure in self.known.failures {
            if self.is_gone(failure.id) {
                self.diff.moot_failures.insert(failure.id);
            } else if failure.verdict == Verdict::Skipped {
                self.diff.skipped += 1;
            } else {
                let meta = Some(Meta { date: None, size: failure.size });
                self.diff.retries.push(Item { id: failure.id, flags: None, meta });
            }
        }
        let mut diff = self.diff;
        if !self.known.full {
            diff.filtered = match &self.changes.gone {
                Gone::These(gone) => diff.filtered.difference(gone),
                Gone::AllBut(there) => diff.filtered.intersection(there),
                Gone::Untold => diff.filtered,
            };
            diff.kept = self.known.records - (diff.gone.len() as u64).min(self.known.records);
            // What the folder holds must be what is known of it: a server that forgot to tell of
            // an expunge is found out here.
            let accounted = diff.kept
                + diff.skipped
                + (diff.news.len() + diff.retries.len()) as u64
                + diff.filtered.len();
            let is_told = self.changes.gone != Gone::Untold;
            diff.incomplete |= is_told && accounted != self.changes.messages;
        }
        diff
    }

    fn is_gone(&self, id: crate::model::ItemId) -> bool {
        self.changes.gone.holds(id)
    }

    /// An item the ledger has no record of.
    fn newcomer(&mut self, at: usize) {
        let item = &self.changes.items[at];
        let failed = self.known.failures.binary_search_by_key(&item.id, |f| f.id).is_ok();
        if failed || self.is_gone(item.id) {
            return;
        }
        match &item.meta {
            Some(meta) if self.known.select.takes(meta) => {
                self.diff.filtered.remove(item.id);
                self.diff.news.push(item.clone());
            }
            Some(_) => self.diff.filtered.insert(item.id),
            // Known before, by this survey's word, but not to the ledger.
            None => self.diff.incomplete |= !self.diff.filtered.contains(item.id),
        }
    }
}

#[cfg(test)]
mod tests;
