//! One writer for all mailboxes, so that commits that come together share one fsync.
//!
//! The writer takes whatever is queued, stages each commit over those before it, makes them
//! durable as one, and then answers all of them. Readers run in their own threads and never see
//! half a batch; they may see a batch a moment before it is durable, which is harmless: whatever
//! they commit because of it comes after it.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::oneshot;

use super::apply::{self, Meta};
use super::database::{Database, drop_aside, guarded};
use super::keys::{self, Key};
use super::view::View;
use super::{Change, Error, MailboxKey, opening};

/// Commits that share an fsync, at most: bounds what one batch holds in memory.
const GROUP: usize = 64;

/// What the writer is asked.
pub(super) enum Work {
    Commit(MailboxKey, Vec<Change>),
    Note(String, Vec<u8>),
    /// Tries whether there is room on the disk again.
    Revive,
    Close,
}

/// Work, and where its outcome goes.
pub(super) struct Request {
    pub(super) work: Work,
    pub(super) reply: oneshot::Sender<Result<(), Error>>,
}

enum State {
    Open(Arc<Database>),
    Failed(Error),
}

/// The database as readers and the writer share it.
pub(super) struct Store {
    dir: PathBuf,
    state: RwLock<State>,
    /// Commits that may still succeed; for tests that stop a pass at each of its commits.
    pub(super) allowance: AtomicU64,
}

impl Store {
    pub(super) fn new(dir: PathBuf, database: Database) -> Self {
        let state = RwLock::new(State::Open(Arc::new(database)));
        Self { dir, state, allowance: AtomicU64::new(u64::MAX) }
    }

    /// Reads; nothing is committed meanwhile.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&View<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let found = match &*state {
            State::Open(database) => database.read(read),
            State::Failed(error) => return Err(error.clone()),
        };
        drop(state);
        found.inspect_err(|error| self.mark(error))
    }

    /// Did the disk run full, so that the writer must try again before anything can be read?
    pub(super) fn is_full(&self) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        matches!(&*state, State::Failed(Error::Full { .. }))
    }

    /// Serves requests until one says close or nobody is left to ask. Holds drover's lock.
    pub(super) fn serve(&self, requests: &Receiver<Request>, lock: File) {
        let mut closing = None;
        while closing.is_none()
            && let Ok(first) = requests.recv()
        {
            let mut group = Vec::new();
            let mut next = Some(first);
            while let Some(request) = next {
                if matches!(request.work, Work::Close) {
                    closing = Some(request.reply);
                    break;
                }
                group.push(request);
                next = (group.len() < GROUP).then(|| requests.try_recv().ok()).flatten();
            }
            if !group.is_empty() {
                self.commit(group);
            }
        }
        let closed = match self.replace(State::Failed(Error::Closed)) {
            State::Open(database) => {
                Arc::into_inner(database).map_or(Err(Error::Stuck), Database::close)
            }
            State::Failed(error) => Err(error),
        };
        drop(lock);
        if let Some(reply) = closing {
            let _ = reply.send(closed);
        }
    }

    /// Commits a group and answers each of its requests.
    fn commit(&self, group: Vec<Request>) {
        let mut waiting = Vec::with_capacity(group.len());
        let outcome = match self.database() {
            Ok(database) => {
                let outcome = self.write(&database, &mut group.into_iter(), &mut waiting);
                drop(database);
                outcome.inspect_err(|error| self.fail(error))
            }
            Err(error) => {
                waiting.extend(group.into_iter().map(|request| request.reply));
                Err(error)
            }
        };
        for reply in waiting {
            let _ = reply.send(outcome.clone());
        }
    }

    /// Writes a group. Those that fail by themselves are answered at once; the outcome is that
    /// of all in `waiting`.
    fn write(
        &self,
        database: &Database,
        group: &mut dyn Iterator<Item = Request>,
        waiting: &mut Vec<oneshot::Sender<Result<(), Error>>>,
    ) -> Result<(), Error> {
        let pending = database.pending();
        let mut view = database.view(&pending);
        let mut meta = match guarded(|| view.row::<Meta>(keys::META)) {
            Ok(Some(meta)) => meta,
            failed => {
                waiting.extend(group.map(|request| request.reply));
                let missing = Error::damaged("the row about the ledger is missing");
                return Err(failed.err().unwrap_or(missing));
            }
        };
        for Request { work, reply } in group {
            let mut after = meta.clone();
            match guarded(|| self.stage(&mut view, &mut after, work)) {
                Ok(()) => {
                    view.accept();
                    meta = after;
                    waiting.push(reply);
                }
                Err(error) => {
                    view.discard();
                    self.mark(&error);
                    let _ = reply.send(Err(error));
                }
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
        apply::seal(&mut view, &mut meta)?;
        let changes = view.into_accepted();
        drop(pending);
        database.commit(changes, &meta)
    }

    fn stage(&self, view: &mut View<'_>, meta: &mut Meta, work: Work) -> Result<(), Error> {
        match work {
            Work::Commit(mailbox, changes) => {
                let spend = |left: u64| left.checked_sub(1);
                let order = Ordering::Relaxed;
                self.allowance.fetch_update(order, order, spend).map_err(|_| Error::Closed)?;
                let mailbox = apply::number(view, meta, &mailbox)?;
                changes.into_iter().try_for_each(|change| apply::apply(view, meta, mailbox, change))
            }
            Work::Note(name, value) => view.put_row(Key::note(&name).as_bytes(), &value),
            Work::Revive | Work::Close => Ok(()),
        }
    }

    /// The database; after the disk was full it is opened again, for there may be room now.
    fn database(&self) -> Result<Arc<Database>, Error> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let error = match &*state {
            State::Open(database) => return Ok(Arc::clone(database)),
            State::Failed(error) => error.clone(),
        };
        drop(state);
        if !matches!(error, Error::Full { .. }) {
            return Err(error);
        }
        let (database, _) = Database::open(&self.dir).inspect_err(|error| self.mark(error))?;
        let database = Arc::new(database);
        self.replace(State::Open(Arc::clone(&database)));
        Ok(database)
    }

    /// What is in memory is no longer what is on the disk: nothing more is read from it.
    fn fail(&self, error: &Error) {
        self.mark(error);
        if let State::Open(database) = self.replace(State::Failed(error.clone())) {
            drop_aside(database);
        }
    }

    fn replace(&self, state: State) -> State {
        let mut current = self.state.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, state)
    }

    fn mark(&self, error: &Error) {
        if let Error::Damaged { what } = error {
            opening::mark(&self.dir, what);
        }
    }
}
