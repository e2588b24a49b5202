//! The account that is written to: folders are made, messages appended, and what drover put there
//! changed, moved and removed.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, FixedOffset};
use futures_util::future::BoxFuture;

use super::{Account, Error, Refusal, Result};
use crate::model::{Epoch, Flags, FolderName, IdSet, ItemId, Keyword, Role};

/// A destination folder opened for writing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The epoch of its ids.
    pub epoch: Epoch,
    /// The lowest id that a message appended from now on can have.
    pub next: ItemId,
    /// Messages in it.
    pub messages: u64,
    /// Which keywords it keeps.
    pub keywords: KeywordRule,
    /// The largest message it takes, bytes, as far as that is known.
    pub max_message: Option<u64>,
}

/// Which keywords a folder keeps (PERMANENTFLAGS).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeywordRule {
    /// Any (`\*`).
    Any,
    /// Any but these, which it is not to be given.
    AllBut(Vec<Keyword>),
    /// Only these.
    Only(Vec<Keyword>),
}

impl KeywordRule {
    /// The same without these.
    pub fn but(self, dropped: &[Keyword]) -> Self {
        match self {
            Self::Any if dropped.is_empty() => Self::Any,
            Self::Any => Self::AllBut(dropped.to_vec()),
            Self::AllBut(others) => Self::AllBut([&others, dropped].concat()),
            Self::Only(mut kept) => {
                kept.retain(|keyword| !dropped.contains(keyword));
                Self::Only(kept)
            }
        }
    }

    /// Does it keep this one?
    pub fn keeps(&self, keyword: &Keyword) -> bool {
        match self {
            Self::Any => true,
            Self::AllBut(dropped) => !dropped.contains(keyword),
            Self::Only(kept) => kept.contains(keyword),
        }
    }
}

/// One message to append.
#[derive(Debug, Clone)]
pub struct Append {
    /// Flags, already reduced to what the folder keeps.
    pub flags: Flags,
    /// INTERNALDATE.
    pub date: Option<DateTime<FixedOffset>>,
    /// Its bytes.
    pub body: Bytes,
}

/// What became of a batch that was handed to [`Destination::append`].
#[derive(Debug)]
pub enum Appended {
    /// Each message's own fate, in the batch's order.
    Each(Vec<Result<Landed, Refusal>>),
    /// The server refused the batch as a whole. Part of it may have landed all the same
    /// (RFC 3502 forbids that; servers do it): only the destination tells.
    Refused(Refusal),
    /// The connection ended before all were answered. The fates of the first ones; what became
    /// of the others only the destination tells.
    Cut(Vec<Result<Landed, Refusal>>, Error),
}

/// Where an accepted message landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landed {
    /// At this id, in the epoch of the folder as opened (APPENDUID).
    At(ItemId),
    /// The server did not say; it is to be looked up from [`Opened::next`] on.
    Somewhere,
}

/// One change of flags at the destination: only what differs is sent, never a whole set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlagChange {
    /// The message.
    pub id: ItemId,
    /// Flags to set.
    pub add: Flags,
    /// Flags to clear.
    pub remove: Flags,
}

/// What a destination allows in folder names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    /// The hierarchy separator; `None`: no hierarchy.
    pub separator: Option<char>,
    /// The personal namespace's prefix, decoded: empty or `INBOX.` (RFC 2342).
    pub prefix: String,
}

/// Ends when it is a batch's turn; see [`Destination::append_in_turn`].
pub type Turn<'a> = BoxFuture<'a, ()>;

/// The account that is written to.
#[async_trait]
pub trait Destination: Account {
    /// Flags that [`Destination::append`] gives a message only once its place is known. Where it is
    /// not, the message is to be given them when it is found.
    fn late_flags(&self) -> Flags {
        Flags::NONE
    }

    /// How its folder names are built. Costs nothing once the folders were listed.
    async fn naming(&mut self) -> Result<Naming>;

    /// Creates a folder (and what is above it) and subscribes to it. Fine if it exists. Its
    /// role is asked for where the server has CREATE-SPECIAL-USE (RFC 6154).
    async fn create_folder(&mut self, name: &FolderName, role: Option<Role>) -> Result<()>;

    /// Creates folders as [`Destination::create_folder`] does, parents first, without waiting for
    /// one before the next. Tells which are there now; the others were refused, and are worth
    /// another try one by one.
    async fn create_folders(&mut self, wanted: &[(FolderName, Option<Role>)]) -> Result<Vec<bool>>;

    /// Renames a folder with everything below it.
    async fn rename_folder(&mut self, from: &FolderName, to: &FolderName) -> Result<()>;

    /// Opens a folder for appending, storing, moving or removing.
    ///
    /// # Errors
    /// `Error::FolderGone` if it does not exist.
    async fn open(&mut self, folder: &FolderName) -> Result<Opened>;

    /// Opens folders one after the other, without waiting for one before the next. All of them can be
    /// appended to then. `None` for one that does not exist, or that has to be opened alone.
    async fn open_each(&mut self, folders: &[FolderName]) -> Result<Vec<Option<Opened>>>;

    /// Says which folders will be opened next, in this order, by [`Destination::open`] or to move
    /// something out of them, so that the server may begin while it answers for the last batches of this
    /// one. Harmless if something else is done instead.
    async fn announce(&mut self, folders: &[FolderName]) -> Result<()>;

    /// Sends a batch to the folder, whole, and returns without waiting for the answer where the
    /// server allows that. Batches on one connection are answered in order, through
    /// [`Destination::appended`]. The folder must be one of those last opened.
    async fn append(&mut self, folder: &FolderName, batch: Vec<Append>) -> Result<()>;

    /// Does every answer take long, so that more is to be under way at once?
    fn is_far(&self) -> bool;

    /// Does it say where messages landed, so that batches for several folders may be under way at
    /// once? What has to be looked for is looked for alone.
    fn tells_places(&self) -> bool;

    /// How long it takes to pass a turn on, if several connections can fill a folder together, each in
    /// its turn: a round trip, or nothing to speak of if the server is near.
    fn takes_turns(&self) -> Option<Duration>;

    /// Sends a batch as [`Destination::append`] does, and holds back what would let the server put it
    /// into the folder until it is its turn: the server has all its bytes then, and has done most of
    /// its work, side by side with what other connections bring. Where that cannot be held back,
    /// nothing is sent before.
    async fn append_in_turn(
        &mut self,
        folder: &FolderName,
        batch: Vec<Append>,
        turn: Turn<'_>,
    ) -> Result<()>;

    /// Waits for the oldest unanswered batch.
    ///
    /// # Errors
    /// The connection broke: whether the batches in flight landed only the destination tells.
    async fn appended(&mut self) -> Result<Appended>;

    /// A new connection in place of one that is broken, or that has refused so much that the
    /// server may close it any moment. `true` if there is one; then the folder last opened is
    /// open on it. Only while no batch waits for an answer, unless `broken`: then those are given
    /// up, and what became of them only the destination tells.
    async fn renew(&mut self, broken: bool) -> Result<bool>;

    /// Changes flags of messages of the opened folder. Messages that are gone are no error. `then`
    /// are the folders that will be opened next, as with [`Destination::announce`].
    async fn store_flags(
        &mut self,
        folder: &FolderName,
        epoch: Epoch,
        changes: &[FlagChange],
        then: &[FolderName],
    ) -> Result<()>;

    /// Moves messages of one folder to another, in order. Answers where each landed, `None` for
    /// one whose place is unknown (it was gone, or the server did not say: look it up). `then` are
    /// the folders that will be opened next, as with [`Destination::announce`].
    async fn move_items(
        &mut self,
        from: &FolderName,
        epoch: Epoch,
        ids: &[ItemId],
        to: &FolderName,
        then: &[FolderName],
    ) -> Result<Vec<Option<ItemId>>>;

    /// Copies messages of one folder to another, in order, without their bytes being sent once
    /// more. Answers as [`Destination::move_items`] does.
    async fn copy_items(
        &mut self,
        from: &FolderName,
        epoch: Epoch,
        ids: &[ItemId],
        to: &FolderName,
    ) -> Result<Vec<Option<ItemId>>>;

    /// Removes exactly these messages (UID EXPUNGE, RFC 4315; never a bare EXPUNGE). Gone ones
    /// are no error. `then` are the folders that will be opened next, as with
    /// [`Destination::announce`].
    async fn remove(
        &mut self,
        folder: &FolderName,
        epoch: Epoch,
        ids: &IdSet,
        then: &[FolderName],
    ) -> Result<()>;
}
