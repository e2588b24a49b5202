//! The folders of both sides, as they stand at one moment.

use crate::ledger::Overview;
use crate::platform::FolderStatus;

/// The folders of both sides.
pub(crate) struct Listing {
    pub(crate) source: Vec<FolderStatus>,
    pub(crate) destination: Vec<FolderStatus>,
}

impl Listing {
    /// How many messages the source has beyond those recorded, and folders that have any.
    pub(crate) fn unknown(&self, overview: &Overview) -> (usize, u64) {
        let messages = self.source.iter().filter_map(|s| s.messages.filter(|&n| n > 0));
        let recorded: u64 = overview.counts.values().map(|c| c.records).sum();
        (messages.clone().count(), messages.sum::<u64>().saturating_sub(recorded))
    }
}
