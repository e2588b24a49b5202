//! The durable record of every message drover has handled, and of what it is about to do.
//!
//! The order that makes a crash harmless (laws 2 and 3), which callers keep and tests enforce:
//!
//! 1. the **intent** is committed, durable, before the destination is told anything;
//! 2. the destination answers (or does not);
//! 3. the **outcome** is committed: records in, intent out, in one atomic batch;
//! 4. a folder's **cursor** is committed last, once everything surveyed up to it is settled.
//!
//! A ledger can be lost. Then [`Ledger::open`] says [`Opening::Rebuild`], and the destination is
//! asked what is there: an empty ledger never means "copy everything".
//!
//! Nothing outside this module knows that sled is beneath it.

mod apply;
mod audit;
mod database;
mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[doc(hidden)]
pub mod inner;
mod journal;
mod keys;
mod opening;
mod page;
mod pages;
mod private;
mod query;
mod rows;
mod salvage;
mod store;
mod view;
mod walk;
mod witness;

use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::model::{Fingerprint, FolderPath, IdSet, ItemId};

pub use error::Error;
pub use opening::Opening;
pub use rows::{
    Blocked, Change, Counts, Deed, Failure, Filed, FolderNo, FollowedFolder, HISTORY, Intent,
    IntentItem, MailboxKey, MailboxState, MovedFrom, Origin, Overview, PassRecord, Place, PlaceNo,
    Record, Renaming, Retired, Stranger, Verdict,
};
pub use walk::Walk;

use keys::{Key, MailboxNo};
use store::{Request, Store, Work};
use view::View;

/// Longer than any disk takes that is still of use. sled waits for ever for a thread of its own
/// that has died; whoever asks must not.
const PATIENCE: Duration = Duration::from_secs(120);

/// The ledger of all mailboxes. Clones share it.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
}

/// One mailbox's ledger, held under a lease. Clones share the lease; the last one gives it back.
#[derive(Clone)]
pub struct MailboxLedger {
    shared: Arc<Shared>,
    lease: Arc<Lease>,
}

struct Shared {
    store: Arc<Store>,
    requests: Sender<Request>,
    leased: Mutex<HashSet<MailboxKey>>,
}

struct Lease {
    shared: Arc<Shared>,
    mailbox: MailboxKey,
}

/// The right to the ledger in a directory: no other process has it. Opening it takes longer than
/// that, and what need not wait for it may begin.
pub struct Hold {
    dir: PathBuf,
    lock: File,
}

impl Hold {
    /// Keeps every other process out of the ledger in `dir`, creating the directory if there is
    /// none, until the ledger is closed or this is dropped.
    ///
    /// # Errors
    /// [`Error::Locked`] or [`Error::Io`].
    pub async fn take(dir: &Path) -> Result<Self, Error> {
        let dir = dir.to_owned();
        patiently(move || Ok(Self { lock: opening::hold(&dir)?, dir })).await
    }

    /// Opens the ledger, creating it if there is none.
    ///
    /// # Errors
    /// [`Error::Version`], [`Error::Full`] or [`Error::Io`]. Damage is no error here: see
    /// [`Opening::Rebuild`].
    pub async fn open(self) -> Result<(Ledger, Opening), Error> {
        let Self { dir, lock } = self;
        patiently(move || {
            let (database, opening) = opening::open(&dir)?;
            let store = Arc::new(Store::new(dir, database));
            let (requests, queue) = mpsc::channel();
            let served = Arc::clone(&store);
            thread::Builder::new()
                .name("ledger".into())
                .spawn(move || served.serve(&queue, lock))
                .map_err(|e| Error::io("thread", &e))?;
            let shared = Shared { store, requests, leased: Mutex::default() };
            Ok((Ledger { shared: Arc::new(shared) }, opening))
        })
        .await
    }
}

impl Ledger {
    /// Opens the ledger in `dir`, creating it if there is none, and keeps every other process
    /// out until it is closed.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::Version`], [`Error::Full`] or [`Error::Io`]. Damage is no
    /// error here: see [`Opening::Rebuild`].
    pub async fn open(dir: &Path) -> Result<(Self, Opening), Error> {
        Hold::take(dir).await?.open().await
    }

    /// Takes the lease of a mailbox. Its first commit creates it.
    ///
    /// # Errors
    /// [`Error::Leased`] while another lease of the same mailbox lives.
    pub async fn mailbox(&self, key: &MailboxKey) -> Result<MailboxLedger, Error> {
        // A ledger that has failed says so here, not in the middle of a pass.
        self.shared.read(|_| Ok(())).await?;
        let mut leased = self.shared.leased.lock().unwrap_or_else(PoisonError::into_inner);
        if !leased.insert(key.clone()) {
            return Err(Error::Leased(key.clone()));
        }
        let lease = Lease { shared: Arc::clone(&self.shared), mailbox: key.clone() };
        Ok(MailboxLedger { shared: Arc::clone(&self.shared), lease: Arc::new(lease) })
    }

    /// Every mailbox that has rows.
    pub async fn mailboxes(&self) -> Result<Vec<MailboxKey>, Error> {
        self.shared.read(query::mailboxes).await
    }

    /// The overview of a mailbox, for status; no lease is needed. `None` if it has no rows.
    pub async fn overview(&self, key: &MailboxKey) -> Result<Option<Overview>, Error> {
        self.shared.read_mailbox(key, |view, no| query::overview(view, no).map(Some)).await
    }

    /// The state of a mailbox. One that the ledger knows nothing of after it was damaged may have
    /// had a state that is lost.
    pub async fn state(&self, key: &MailboxKey) -> Result<MailboxState, Error> {
        match self.overview(key).await? {
            Some(overview) => Ok(overview.state),
            None => {
                let lost = self.shared.read(salvage::lost).await?;
                Ok(MailboxState { lost, ..MailboxState::default() })
            }
        }
    }

    /// The passes of a mailbox, newest last; at most [`HISTORY`].
    pub async fn passes(&self, key: &MailboxKey) -> Result<Vec<PassRecord>, Error> {
        self.shared.read_mailbox(key, query::passes).await
    }

    /// The failures of a mailbox by folder and id, with the folders' paths.
    pub async fn failures(&self, key: &MailboxKey) -> Result<Vec<(FolderPath, Failure)>, Error> {
        self.shared.read_mailbox(key, query::all_failures).await
    }

    /// Replaces a mailbox's state; no lease is needed.
    pub async fn put_state(&self, key: &MailboxKey, state: MailboxState) -> Result<(), Error> {
        let changes = vec![Change::PutState(state)];
        self.shared.write(Work::Commit(key.clone(), changes)).await
    }

    /// A small thing the daemon remembers under a name of its own.
    pub async fn note(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let key = Key::note(name);
        self.shared.read(move |view| view.row(key.as_bytes())).await
    }

    /// Remembers it; durable when it returns.
    pub async fn put_note(&self, name: &str, value: &[u8]) -> Result<(), Error> {
        self.shared.write(Work::Note(name.to_owned(), value.to_vec())).await
    }

    /// Makes everything durable and lets other processes in. Leases that still live get
    /// [`Error::Closed`] from here on.
    pub async fn close(self) -> Result<(), Error> {
        self.shared.write(Work::Close).await
    }

    /// After this many more commits every commit fails and changes nothing, as if the process
    /// had died there. For tests that stop a pass at each of its steps.
    #[doc(hidden)]
    pub fn fail_after(&self, n_commits: u64) {
        self.shared.store.allowance.store(n_commits, Ordering::Relaxed);
    }
}

impl MailboxLedger {
    /// Whose ledger it is.
    pub fn key(&self) -> &MailboxKey {
        &self.lease.mailbox
    }

    /// Everything a pass needs at its start, in O(folders).
    pub async fn overview(&self) -> Result<Overview, Error> {
        self.read(query::overview).await
    }

    /// The records of a folder with these ids, ascending. Reads only the pages that have them;
    /// `ids` may be as wide as `1..=u32::MAX`.
    pub async fn records(&self, folder: FolderNo, ids: &IdSet) -> Result<Vec<Record>, Error> {
        let ids = ids.clone();
        self.read(move |view, no| apply::records(no, folder).read(view, &ids)).await
    }

    /// Some records above `after`, ascending, or from the start; empty at the end. Walks a
    /// folder of any size in the memory of one page.
    pub async fn page_after(
        &self,
        folder: FolderNo,
        after: Option<ItemId>,
    ) -> Result<Vec<Record>, Error> {
        self.read(move |view, no| apply::records(no, folder).after(view, after)).await
    }

    /// The ids of all records of a folder.
    pub async fn record_ids(&self, folder: FolderNo) -> Result<IdSet, Error> {
        self.read(move |view, no| query::record_ids(view, no, folder)).await
    }

    /// The retired rows with one of these fingerprints.
    pub async fn retired(&self, of: &HashSet<Fingerprint>) -> Result<Vec<Retired>, Error> {
        let of = of.clone();
        self.read(move |view, no| query::retired(view, no, &of)).await
    }

    /// The strangers of a place, by id.
    pub async fn strangers(&self, place: PlaceNo) -> Result<Vec<Stranger>, Error> {
        self.read(move |view, no| query::strangers(view, no, place)).await
    }

    /// The failures of a folder, by id.
    pub async fn failures(&self, folder: FolderNo) -> Result<Vec<Failure>, Error> {
        self.read(move |view, no| query::failures(view, no, folder)).await
    }

    /// Commits a batch: whole or not at all, and durable when it returns. Changes take effect
    /// in their order. If the future is dropped, the batch may still be committed.
    ///
    /// # Errors
    /// [`Error::Full`] if there is no room: nothing is changed, and a later commit may succeed.
    /// After any other error but [`Error::Damaged`] of one row, the ledger must be opened anew.
    pub async fn commit(&self, changes: Vec<Change>) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        self.shared.write(Work::Commit(self.lease.mailbox.clone(), changes)).await
    }

    async fn read<T: Default + Send + 'static>(
        &self,
        read: impl FnOnce(&View<'_>, MailboxNo) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.shared.read_mailbox(&self.lease.mailbox, read).await
    }
}

impl Shared {
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&View<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = Arc::clone(&self.store);
        let requests = self.requests.clone();
        patiently(move || {
            if store.is_full() {
                let revived = ask(&requests, Work::Revive)?;
                revived.blocking_recv().unwrap_or(Err(Error::Closed))?;
            }
            store.read(read)
        })
        .await
    }

    /// A mailbox without rows has nothing of anything.
    async fn read_mailbox<T: Default + Send + 'static>(
        &self,
        mailbox: &MailboxKey,
        read: impl FnOnce(&View<'_>, MailboxNo) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let mailbox = mailbox.clone();
        self.read(move |view| match query::number(view, &mailbox)? {
            Some(no) => read(view, no),
            None => Ok(T::default()),
        })
        .await
    }

    async fn write(&self, work: Work) -> Result<(), Error> {
        let answer = ask(&self.requests, work)?;
        match tokio::time::timeout(PATIENCE, answer).await {
            // A writer that is closing drops what it does not serve any more.
            Ok(answered) => answered.unwrap_or(Err(Error::Closed)),
            Err(_) => Err(Error::Stuck),
        }
    }
}

/// Hands work to the writer, which answers when it is done.
fn ask(
    requests: &Sender<Request>,
    work: Work,
) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
    let (reply, answer) = oneshot::channel();
    requests.send(Request { work, reply }).map_err(|_| Error::Closed)?;
    Ok(answer)
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut leased = self.shared.leased.lock().unwrap_or_else(PoisonError::into_inner);
        leased.remove(&self.mailbox);
    }
}

/// Runs blocking work off the runtime's threads and waits for it, but not for ever.
async fn patiently<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(panic)) => Err(Error::damaged(format!("the ledger gave up: {panic}"))),
        Err(_) => Err(Error::Stuck),
    }
}

impl MailboxKey {
    /// The key of a mailbox.
    pub fn of(mailbox: &crate::definition::Mailbox) -> Self {
        Self(mailbox.identity().into())
    }
}
