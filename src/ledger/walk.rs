//! Walking a folder's records, page by page.

use super::{Error, FolderNo, MailboxLedger, Record};
use crate::model::ItemId;

/// A walk over all records of a folder, ids ascending, in the memory of one page.
pub struct Walk<'a> {
    ledger: &'a MailboxLedger,
    folder: FolderNo,
    after: Option<ItemId>,
}

impl MailboxLedger {
    /// Begins a walk over all records of a folder.
    pub const fn walk(&self, folder: FolderNo) -> Walk<'_> {
        Walk { ledger: self, folder, after: None }
    }
}

impl Walk<'_> {
    /// The next records, some at a time; `None` at the end.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<Record>>, Error> {
        let page = self.ledger.page_after(self.folder, self.after).await?;
        let Some(last) = page.last() else { return Ok(None) };
        self.after = Some(last.id);
        Ok(Some(page))
    }
}
