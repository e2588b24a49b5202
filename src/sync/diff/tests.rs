use std::collections::{BTreeMap, BTreeSet};

use chrono::Utc;
use proptest::prelude::*;

use super::*;
use crate::ledger::{FolderNo, Origin, PlaceNo};
use crate::model::{Cursor, Epoch, Fingerprint, ItemId};

/// What the ledger has of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Record { seen: bool, lost: bool },
    Failed,
    Skipped,
    Filtered,
}

/// A folder as it is now.
#[derive(Debug, Clone, Copy)]
struct There {
    seen: bool,
    size: u64,
}

fn flags(seen: bool) -> Flags {
    Flags::parse(seen.then_some("\\Seen"))
}

fn record(id: u64, seen: bool, lost: bool) -> Record {
    Record {
        id: ItemId(id),
        place: PlaceNo(1),
        at: (!lost).then_some(ItemId(id + 1_000)),
        origin: Origin::Copied,
        flags: flags(seen),
        fingerprint: Fingerprint(id),
        size: 1,
        date: None,
        identity: None,
    }
}

fn failure(id: u64, verdict: Verdict) -> Failure {
    Failure {
        folder: FolderNo(1),
        id: ItemId(id),
        verdict,
        message_id: None,
        size: 1,
        reason: String::new(),
        attempts: 1,
        at: Utc::now(),
    }
}

fn row() -> impl Strategy<Value = Row> {
    prop_oneof![
        6 => (any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(seen, lost)| Row::Record { seen, lost }),
        1 => Just(Row::Failed),
        1 => Just(Row::Skipped),
        2 => Just(Row::Filtered),
    ]
}

fn ledger() -> impl Strategy<Value = BTreeMap<u64, Row>> {
    prop::collection::btree_map(1..30_u64, row(), 0..20)
}

fn folder() -> impl Strategy<Value = BTreeMap<u64, There>> {
    let there = (any::<bool>(), 1..100_u64).prop_map(|(seen, size)| There { seen, size });
    prop::collection::btree_map(1..40_u64, there, 0..30)
}

fn ids<'a>(ids: impl IntoIterator<Item = &'a u64>) -> IdSet {
    ids.into_iter().map(|&id| ItemId(id)).collect()
}

/// Takes the diff of a folder the survey listed whole, or only so far as it changed.
fn diff(
    ledger: &BTreeMap<u64, Row>,
    folder: &BTreeMap<u64, There>,
    full: bool,
    tells_gone: bool,
    page: usize,
    select: &Selection,
) -> Diff {
    let changed = |id: &u64, there: &There| match ledger.get(id) {
        None => true,
        Some(Row::Record { seen, .. }) => *seen != there.seen,
        Some(_) => false,
    };
    let item = |(id, there): (&u64, &There)| Item {
        id: ItemId(*id),
        flags: Some(flags(there.seen)),
        meta: (full || !ledger.contains_key(id)).then_some(Meta { date: None, size: there.size }),
    };
    let changes = Changes {
        epoch: Epoch(1),
        cursor: Cursor::default(),
        messages: folder.len() as u64,
        items: folder.iter().filter(|(id, t)| full || changed(id, t)).map(item).collect(),
        gone: if tells_gone && !full {
            Gone::These(ids(ledger.keys().filter(|id| !folder.contains_key(id))))
        } else {
            Gone::AllBut(ids(folder.keys()))
        },
    };
    let of = |wanted: Row| ledger.iter().filter(move |(_, row)| **row == wanted).map(|(id, _)| id);
    let mut failures: Vec<Failure> = of(Row::Failed)
        .map(|&id| failure(id, Verdict::Failed))
        .chain(of(Row::Skipped).map(|&id| failure(id, Verdict::Skipped)))
        .collect();
    failures.sort_by_key(|f| f.id);
    let filtered = ids(of(Row::Filtered));
    let records: Vec<Record> = ledger
        .iter()
        .filter_map(|(id, row)| match row {
            Row::Record { seen, lost } => Some(record(*id, *seen, *lost)),
            _ => None,
        })
        .collect();
    let known = Known {
        failures: &failures,
        filtered: &filtered,
        records: records.len() as u64,
        full,
        select,
        deletes: false,
    };
    let mut differ = Differ::new(&changes, known);
    // A survey that names what is gone needs only the rows of what it names.
    let needed = |r: &Record| match &changes.gone {
        Gone::These(gone) => {
            gone.contains(r.id) || changes.items.iter().any(|item| item.id == r.id)
        }
        Gone::AllBut(_) => true,
        Gone::Untold => unreachable!("this server tells"),
    };
    let needed: Vec<Record> = records.into_iter().filter(needed).collect();
    for page in needed.chunks(page) {
        differ.page(page.to_vec());
    }
    differ.finish()
}

fn set<'a>(items: impl IntoIterator<Item = &'a ItemId>) -> BTreeSet<u64> {
    items.into_iter().map(|id| id.0).collect()
}

proptest! {
    #[test]
    fn every_message_is_accounted_for_exactly_once(
        ledger in ledger(),
        folder in folder(),
        full in any::<bool>(),
        tells_gone in any::<bool>(),
        page in 1..7_usize,
    ) {
        // A full listing judges anew what is left out; a partial one goes by what was.
        let select = Selection { max_size: Some(50), ..Selection::default() };
        let diff = diff(&ledger, &folder, full, tells_gone, page, &select);
        prop_assert!(!diff.incomplete);

        let settled = |there: bool| -> BTreeSet<u64> {
            let rows = ledger.iter().filter(|(_, row)| matches!(row, Row::Record { .. }));
            rows.map(|(id, _)| *id).filter(|id| folder.contains_key(id) == there).collect()
        };
        prop_assert_eq!(set(diff.gone.iter().map(|r| &r.id)), settled(false));
        prop_assert_eq!(diff.kept, settled(true).len() as u64);

        let (mut news, mut filtered, mut retries, mut skipped) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), 0);
        for (id, there) in &folder {
            let fits = there.size <= 50;
            match ledger.get(id) {
                Some(Row::Record { .. }) => false,
                Some(Row::Failed) => retries.insert(*id),
                Some(Row::Skipped) => { skipped += 1; false }
                Some(Row::Filtered) if !full => filtered.insert(*id),
                Some(Row::Filtered) | None if fits => news.insert(*id),
                Some(Row::Filtered) | None => filtered.insert(*id),
            };
        }
        prop_assert_eq!(set(diff.news.iter().map(|i| &i.id)), news);
        prop_assert_eq!(set(&diff.filtered.iter().collect::<Vec<_>>()), filtered);
        prop_assert_eq!(set(diff.retries.iter().map(|i| &i.id)), retries);
        prop_assert_eq!(diff.skipped, skipped);

        let flagged: BTreeSet<u64> = ledger.iter().filter_map(|(id, row)| match row {
            Row::Record { seen, lost: false } => (folder.get(id)?.seen != *seen).then_some(*id),
            _ => None,
        }).collect();
        prop_assert_eq!(set(diff.flagged.iter().map(|f| &f.record.id)), flagged);

        let seen = diff.kept + diff.skipped + diff.filtered.len()
            + (diff.news.len() + diff.retries.len()) as u64;
        prop_assert_eq!(seen, folder.len() as u64);
    }

    #[test]
    fn a_server_that_forgets_to_tell_of_an_expunge_is_found_out(
        ledger in prop::collection::btree_map(1..30_u64, row(), 1..20),
    ) {
        let messages = ledger.len() as u64 - 1;
        let changes = Changes {
            epoch: Epoch(1),
            cursor: Cursor::default(),
            messages,
            items: Vec::new(),
            gone: Gone::These(IdSet::new()),
        };
        let count = |wanted: fn(&Row) -> bool| ledger.values().filter(|row| wanted(row)).count();
        let failures: Vec<Failure> = ledger
            .iter()
            .filter(|(_, row)| matches!(row, Row::Failed | Row::Skipped))
            .map(|(id, _)| failure(*id, Verdict::Skipped))
            .collect();
        let filtered = ids(ledger.iter().filter(|(_, r)| **r == Row::Filtered).map(|(id, _)| id));
        let known = Known {
            failures: &failures,
            filtered: &filtered,
            records: count(|row| matches!(row, Row::Record { .. })) as u64,
            full: false,
            select: &Selection::default(),
            deletes: false,
        };
        prop_assert!(Differ::new(&changes, known).finish().incomplete);
    }
}
