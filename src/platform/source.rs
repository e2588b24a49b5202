//! The account that is read: what changed in it, and its messages.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, FixedOffset};
use tokio::sync::mpsc;

use super::{Account, Changes, FolderStatus, Oversized, Refusal, Result, Weighed};
use crate::flow::{Memory, Room};
use crate::model::{Cursor, Epoch, Flags, FolderName, IdSet, Identity, ItemId};

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

/// Waits for something as long as there is anybody to pass messages on to. `None` once nobody is.
pub(crate) async fn unless_closed<T>(
    out: &mpsc::Sender<Message>,
    what: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        done = what => Some(done),
        () = out.closed() => None,
    }
}
