//! What `benches/inner.rs` measures by itself. Not part of the interface.

use super::diff::{Differ, Known};
use crate::definition::Selection;
use crate::ledger::Record;
use crate::model::IdSet;
use crate::platform::Changes;

/// What differs between a folder that was listed whole and its records, page by page: how many
/// messages are new, have other flags, and are gone.
pub fn diff(changes: &Changes, pages: Vec<Vec<Record>>) -> [usize; 3] {
    let records = pages.iter().map(|page| page.len() as u64).sum();
    let (select, filtered) = (Selection::default(), IdSet::new());
    let known = Known {
        failures: &[],
        filtered: &filtered,
        records,
        full: true,
        select: &select,
        deletes: false,
    };
    let mut differ = Differ::new(changes, known);
    pages.into_iter().for_each(|page| differ.page(page));
    let diff = differ.finish();
    [diff.news.len(), diff.flagged.len(), diff.gone.len()]
}
