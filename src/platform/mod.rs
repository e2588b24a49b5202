//! The mail systems drover can speak to, behind two narrow traits.
//!
//! A [`Source`] is only ever read (law 1): it has no method that could write. A [`Destination`]
//! is written to only through what is here. Both are one signed-in connection; whoever wants
//! parallel work opens several. Adding a platform touches one folder below this one.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, FixedOffset};
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::auth::Tokens;
use crate::definition;
use crate::flow::{Gauge, Memory, Patience, Room};
use crate::model::{
    Cursor, Epoch, Fingerprint, Flags, Folder, FolderName, FolderPath, IdSet, Identity, Item,
    ItemId, Keyword, Normalisation, Role,
};

mod changes;
mod error;
pub mod imap;
mod inspection;
mod masters;
mod remedy;

pub use changes::{Changes, Gone};
pub use error::{Error, Retry, Scope};
pub use inspection::{Inspection, Oversized, Quota, Size, Takes, Unseen, Weighed};
pub use masters::Masters;
pub use remedy::Remedy;

/// The result of a conversation with a platform.
pub type Result<T, E = Error> = std::result::Result<T, E>;

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

/// A folder whose changes are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Which, and how it stood a moment ago. May be out of date: it only tells beforehand what
    /// will have to be asked.
    pub status: &'a FolderStatus,
    /// Since when; everything if there is no `then`.
    pub then: Option<&'a Cursor>,
}

/// What a survey of many folders tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    /// Of each folder that was asked about, in their order; `None` for one that does not exist
    /// any more.
    pub changes: Vec<Option<Changes>>,
    /// All folders of the account, as they stood after all of that.
    pub after: Vec<FolderStatus>,
}

/// A message on its way.
#[derive(Debug)]
pub struct Message {
    /// Its id at the source.
    pub id: ItemId,
    /// Its flags when it was read.
    pub flags: Flags,
    /// INTERNALDATE.
    pub date: Option<DateTime<FixedOffset>>,
    /// What its server calls it in every folder, where it has such names.
    pub identity: Option<Identity>,
    /// Its exact bytes.
    pub body: Bytes,
    /// Its share of the memory budget, given back when the message is dropped.
    pub room: Room,
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

/// The account that is read. For IMAP: EXAMINE and BODY.PEEK only (law 1).
#[async_trait]
pub trait Source: Account {
    /// True if `then` and `now` together prove that nothing in the folder changed, neither
    /// messages nor flags.
    fn unchanged(&self, then: &Cursor, now: &FolderStatus) -> bool;

    /// What changed in a folder since `then`; everything if there is no `then`.
    ///
    /// # Errors
    /// `Error::FolderGone` if the folder does not exist any more.
    async fn changes(&mut self, folder: &FolderName, then: Option<&Cursor>) -> Result<Changes>;

    /// What [`Source::changes`] tells, of many folders at once, and then how all folders stand. The
    /// time it takes does not grow by a round trip per folder where the platform can be asked
    /// ahead.
    async fn survey(&mut self, wanted: &[Wanted<'_>]) -> Result<Surveyed>;

    /// Messages above so many bytes in folders of an inspection; only the largest are looked into.
    async fn oversized(&mut self, among: &[Weighed], limit: u64) -> Result<Oversized>;

    /// Reads messages, ids ascending, into `out` as they come. Waits for room in `memory`
    /// before a body is read, so that back-pressure reaches the server. Ids that are gone are
    /// left out. Ends early, with Ok, when the receiver is dropped.
    ///
    /// # Errors
    /// Also after some messages were delivered; those stand.
    async fn fetch(
        &mut self,
        folder: &FolderName,
        epoch: Epoch,
        ids: &IdSet,
        memory: &Memory,
        out: &mpsc::Sender<Message>,
    ) -> Result<()>;

    /// Says which messages [`Source::fetch`] will ask for next, so that the server may begin before
    /// anybody waits for it. Harmless if something else is asked for instead.
    async fn announce(&mut self, folder: &FolderName, ids: &IdSet) -> Result<()> {
        self.announce_each(&[(folder.clone(), ids.clone())]).await
    }

    /// Says the same of several folders, whose messages will be asked for in this order: a few of
    /// each, or else only the first are heeded.
    async fn announce_each(&mut self, wanted: &[(FolderName, IdSet)]) -> Result<()>;

    /// Messages that the last fetch asked for and the server refused to give, with its words.
    fn refused(&mut self) -> HashMap<ItemId, Refusal>;

    /// A new connection in place of one that is broken.
    async fn reconnect(&mut self) -> Result<()>;
}

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

/// A server's refusal of one thing, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The response code, upper case, without brackets: `OVERQUOTA`, `TOOBIG` …
    pub code: Option<String>,
    /// The text after it.
    pub text: String,
    /// True if trying the same again may help (`INUSE`, `UNAVAILABLE`, `SERVERBUG` …), false if
    /// the server will not take this message (`TOOBIG`, malformed …).
    pub transient: bool,
    /// True if nothing but another message would help: it is too large.
    pub hopeless: bool,
    /// A change that may help.
    pub remedy: Option<Remedy>,
    /// What it concerns.
    pub scope: Scope,
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

/// How drover behaves towards every server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bounds every single read and write, and every step of signing in.
    pub idle: Duration,
    /// Bounds a command that brings nothing, however much is said meanwhile; see
    /// `docs/security.md` for what counts.
    pub stall: Duration,
    /// Bounds what is said, bytes, while a command brings nothing.
    pub talk: usize,
    /// How drover introduces itself: its name.
    pub name: String,
    /// And its version.
    pub version: String,
    /// What it says of itself besides. If there is any, it is said whether asked or not.
    pub id: BTreeMap<String, String>,
    /// What servers offer and drover shall not use, as they spell it: `QRESYNC`,
    /// `MULTIAPPEND`, `COMPRESS=DEFLATE` …
    pub veto: Vec<String>,
    /// A folder of so many messages may be a part of a larger one. If nothing is said, what the
    /// server offers tells.
    pub windows: Option<Vec<u64>>,
    /// How content digests are taken.
    pub normalisation: Normalisation,
    /// What servers asked for on earlier connections.
    pub patience: Patience,
    /// Told of what the server bears.
    pub gauge: Gauge,
    /// The access tokens that there are, for everybody who needs one.
    pub tokens: Tokens,
    /// How the sign-ins fared that many mailboxes share.
    pub masters: Masters,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(120),
            // Dovecot and Exchange keep a client waiting for minutes (`* OK Still here`) while they
            // build an index; not for half an hour.
            stall: Duration::from_secs(1800),
            // Above the longest honest answer that comes in one piece: the ids of a folder of
            // three million messages.
            talk: 32 * 1024 * 1024,
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            id: BTreeMap::new(),
            veto: Vec::new(),
            windows: None,
            normalisation: Normalisation::default(),
            patience: Patience::default(),
            gauge: Gauge::default(),
            tokens: Tokens::default(),
            masters: Masters::default(),
        }
    }
}

/// Opens a signed-in connection to an account that is only read.
///
/// # Errors
/// Whatever keeps drover from signing in; see [`Error`].
pub async fn source(account: &definition::Account, options: &Options) -> Result<Box<dyn Source>> {
    // Every platform is IMAP so far; those with an API of their own part ways here, by
    // `account.endpoint.platform`.
    imap::connect_source(account, options).await
}

/// Opens a signed-in connection to an account that is written to.
///
/// # Errors
/// Whatever keeps drover from signing in; see [`Error`].
pub async fn destination(
    account: &definition::Account,
    options: &Options,
) -> Result<Box<dyn Destination>> {
    imap::connect_destination(account, options).await
}

/// Where a destination path lives on its server, and what was done to its name to fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FittedName {
    /// The name to use.
    pub name: FolderName,
    /// The path as it will be read there; differs from what was asked for if it was repaired.
    pub path: FolderPath,
}
