//! What reading and writing share: an account's folders, and a look at its messages.

use std::collections::HashMap;

use async_trait::async_trait;

use super::{Inspection, Result, Takes};
use crate::model::{
    Cursor, Epoch, Fingerprint, Flags, Folder, FolderName, IdSet, Identity, Item, ItemId,
};

/// A folder and how it stands, as cheaply as the platform tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderStatus {
    /// Which.
    pub folder: Folder,
    /// True if the folder's role is not the server's word, but a guess by its name.
    pub role_guessed: bool,
    /// False for mere nodes of the hierarchy (`\Noselect`): they hold no messages.
    pub selectable: bool,
    /// How many messages it holds, if the platform told.
    pub messages: Option<u64>,
    /// The epoch of its ids.
    pub epoch: Option<Epoch>,
    /// The id that the next message will have at least (UIDNEXT).
    pub next: Option<ItemId>,
    /// Where a survey made now would end; absent if the platform cannot tell that cheaply.
    pub cursor: Option<Cursor>,
    /// Whose ids it shows, where several folders show messages of one store: a message that has the
    /// same id in two of them is one message in two places. `None`: its ids are its own.
    pub store: Option<FolderName>,
}

/// What a look at a message's headers tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Its id.
    pub id: ItemId,
    /// Over its naming headers; see [`crate::model::fingerprint`].
    pub fingerprint: Fingerprint,
    /// RFC822.SIZE, bytes.
    pub size: u64,
    /// Its flags.
    pub flags: Flags,
    /// Its Message-ID, for reports; without the angle brackets.
    pub message_id: Option<String>,
    /// What its server calls it in every folder, where it has such names.
    pub identity: Option<Identity>,
}

/// A part of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The epoch of its ids.
    pub epoch: Epoch,
    /// Messages, ids ascending; there may be none although there are more further on.
    pub items: Vec<Item>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<ItemId>,
}

/// A digest over a message's normalised content: line ends unified, trailing line ends cut.
pub type ContentDigest = [u8; 32];

/// What reading and writing share: listing and looking at messages.
#[async_trait]
pub trait Account: Send {
    /// All folders of the account with their status; for IMAP one LIST-STATUS round trip where
    /// the server has it.
    async fn folders(&mut self) -> Result<Vec<FolderStatus>>;

    /// Headers of these messages, by id ascending; ids that are gone are simply absent.
    async fn sight(&mut self, folder: &FolderName, ids: &IdSet) -> Result<Vec<Sighting>>;

    /// What [`Account::sight`] tells, of many folders at once, in their order. The time it takes
    /// does not grow by a round trip per folder where the platform can be asked ahead.
    async fn sights(&mut self, wanted: &[(FolderName, IdSet)]) -> Result<Vec<Vec<Sighting>>> {
        let mut sights = Vec::with_capacity(wanted.len());
        for (folder, ids) in wanted {
            sights.push(self.sight(folder, ids).await?);
        }
        Ok(sights)
    }

    /// Content digests of these messages, streamed in bounded memory; absent ids are gone.
    async fn digest(
        &mut self,
        folder: &FolderName,
        ids: &IdSet,
    ) -> Result<HashMap<ItemId, ContentDigest>>;

    /// Some messages of the folder from the id `from` on, by id ascending, with `meta`: as many
    /// as the platform likes to give at once, so that a folder of any size can be walked in the
    /// memory of one page. A message that the server counts but does not describe is in it too.
    /// From 0 on is a new look at the folder; the pages after it belong to that look.
    async fn list_page(&mut self, folder: &FolderName, from: ItemId) -> Result<Page>;

    /// Did the folder, when it was last opened, show a part of itself only? What it does not show
    /// is in no listing then, and may be there all the same.
    fn is_partial(&self, _folder: &FolderName) -> bool {
        false
    }

    /// All pages at once, for folders that are known to be small.
    async fn list(&mut self, folder: &FolderName) -> Result<(Epoch, Vec<Item>)> {
        let mut page = self.list_page(folder, ItemId(0)).await?;
        let mut items = std::mem::take(&mut page.items);
        while let Some(next) = page.next {
            page = self.list_page(folder, next).await?;
            items.append(&mut page.items);
        }
        Ok((page.epoch, items))
    }

    /// How large the account is, what room it has, and what it hides: in a few round trips, without
    /// reading a message. What is in the folders that `takes` names is counted; nothing without it.
    async fn inspect(&mut self, takes: Option<Takes<'_>>) -> Result<Inspection>;

    /// Keeps an idle connection alive; tells a dead one.
    async fn ping(&mut self) -> Result<()>;

    /// Takes leave. Errors are of no interest any more.
    async fn logout(&mut self);
}
