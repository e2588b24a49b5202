//! sled, opened with suspicion, and the journal before it.
//!
//! sled 0.34 panics on flipped bytes, opens a cut file with less in it or empty, and its `flush`
//! does not fsync on Linux (it calls `sync_file_range`, which writes no file size and leaves the
//! disk's cache alone). So everything runs under `catch_unwind`, the [`Witness`] says what must
//! be there, and drover syncs sled's file itself.
//!
//! A commit goes to the [`Journal`] and is kept in memory besides, where readers see it over the
//! tree. When the journal is full, the tree takes in all of it as one batch.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::thread;
use std::time::Duration;

use super::Error;
use super::apply::Meta;
use super::journal::{Journal, Staged};
use super::view::View;
use super::witness::{Testimony, Witness};
use super::{audit, keys, view};

/// The format this program writes, and the newest it reads.
pub(super) const FORMAT: u32 = 2;

/// sled's directory in the state directory.
pub(super) const DATABASE: &str = "sled";
/// The witness' file in the state directory.
pub(super) const WITNESS: &str = "witness";

/// More made nothing faster with a million messages, and it is resident (docs/ledger.md).
const CACHE: u64 = 8 << 20;
/// sled collects its garbage only in the thread that flushes on a timer: without it the file grows
/// for ever.
const COLLECT_EVERY_MS: u64 = 1000;
/// How long a database that was closed in this process may hold on to its file.
const LET_GO: Duration = Duration::from_secs(5);

/// An open database with its journal and its witness.
pub(super) struct Database {
    tree: sled::Db,
    file: File,
    journal: Mutex<Journal>,
    /// What is in the journal and not in the tree.
    pending: RwLock<Staged>,
    witness: Witness,
}

impl Database {
    /// Opens the database in `dir`, creating it if there never was one; true if so.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is not what it was; the files are left as they are.
    pub(super) fn open(dir: &Path) -> Result<(Self, bool), Error> {
        let path = dir.join(DATABASE);
        create_private(&path)?;
        let mut witness =
            Witness::open(&dir.join(WITNESS)).map_err(|e| Error::io("witness", &e))?;
        let testimony = witness.read().map_err(|e| Error::io("witness", &e))?;
        check_format(testimony.as_ref().map_or(FORMAT, |t| t.format))?;
        let tree = open_sled(&path)?;
        let opened = guarded(|| {
            let found = examine(&tree, &path, testimony.as_ref())?;
            let file = path.join("db");
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&file, private).map_err(|e| Error::io("database", &e))?;
            let file = File::open(file).map_err(|e| Error::io("database", &e))?;
            Ok((found, file))
        });
        let (found, file) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                drop_aside(tree);
                return Err(error);
            }
        };
        let is_new = found.is_none();
        let Found { meta, journal, pending } = match found {
            Some(found) => found,
            None => begin(dir, &witness)?,
        };
        let (journal, pending) = (Mutex::new(journal), RwLock::new(pending));
        let database = Self { tree, file, journal, pending, witness };
        if is_new {
            database.take_in()?;
            sync_directory(&path)?;
        }
        database.tell(&meta);
        Ok((database, is_new))
    }

    /// Reads.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&View<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let pending = self.pending();
        guarded(|| read(&self.view(&pending)))
    }

    /// What lies over the tree; nothing is committed while this is held.
    pub(super) fn pending(&self) -> RwLockReadGuard<'_, Staged> {
        self.pending.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database with this over its tree.
    pub(super) fn view<'d>(&'d self, pending: &'d Staged) -> View<'d> {
        View::new(&self.tree, pending)
    }

    /// When this returns, the changes are on the disk, and the witness knows. After an error the
    /// database must be opened again.
    pub(super) fn commit(&self, mut changes: Staged, meta: &Meta) -> Result<(), Error> {
        let is_kept = self.journal().append(meta.generation, &changes)?;
        self.pending.write().unwrap_or_else(PoisonError::into_inner).append(&mut changes);
        if !is_kept {
            self.take_in()?;
        }
        self.tell(meta);
        Ok(())
    }

    /// Moves everything pending into the tree, durable, and begins the journal anew. Readers see
    /// it all the while, over the tree until it is in there.
    fn take_in(&self) -> Result<(), Error> {
        let mut batch = sled::Batch::default();
        for (key, value) in &*self.pending() {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.clone()),
                None => batch.remove(key.as_slice()),
            }
        }
        guarded(|| {
            self.tree.apply_batch(batch)?;
            Ok(self.tree.flush().map(|_| ())?)
        })?;
        self.file.sync_all().map_err(|e| Error::io("fsync of the database", &e))?;
        self.journal().clear();
        self.pending.write().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    fn journal(&self) -> std::sync::MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A witness that cannot be told stays behind, which harms nothing today.
    fn tell(&self, meta: &Meta) {
        if let Err(error) = self.witness.tell(meta) {
            tracing::warn!(%error, "the ledger's witness cannot be written");
        }
    }

    /// Syncs the witness, and drops sled, whose threads end with it. A few commits may stay in the
    /// journal: whoever opens the database next reads them in less time than they take to write.
    pub(super) fn close(self) -> Result<(), Error> {
        let taken_in = if self.journal().is_long() { self.take_in() } else { Ok(()) };
        let synced = self.witness.sync();
        drop_aside(self.tree);
        taken_in?;
        synced.map_err(|e| Error::io("fsync of the witness", &e))
    }
}

/// What a sound database turned out to be.
struct Found {
    meta: Meta,
    journal: Journal,
    pending: Staged,
}

/// The first row of a new database. The witness goes first: an empty database beside a witness of
/// generation 0 is one that was never begun.
fn begin(dir: &Path, witness: &Witness) -> Result<Found, Error> {
    let meta = Meta {
        format: FORMAT,
        identity: draw_identity()?,
        generation: 0,
        records: 0,
        next_mailbox: 1,
    };
    let wrote = |e: io::Error| Error::io("witness", &e);
    witness.tell(&meta).and_then(|()| witness.sync()).map_err(wrote)?;
    sync_directory(dir)?;
    let (journal, _) = Journal::open(&dir.join(DATABASE), &meta)?;
    let row = view::encode_row(keys::META, &meta)?;
    let pending = Staged::from([(keys::META.to_vec(), Some(row.into()))]);
    Ok(Found { meta, journal, pending })
}

/// Is what was opened what was left? `None`: nothing was ever written to it.
fn examine(
    tree: &sled::Db,
    path: &Path,
    testimony: Option<&Testimony>,
) -> Result<Option<Found>, Error> {
    let none = Staged::new();
    let in_tree: Option<Meta> = View::new(tree, &none).row(keys::META)?;
    let Some(in_tree) = in_tree else {
        return match testimony {
            _ if !tree.is_empty() => Err(Error::damaged("the row about the ledger is missing")),
            Some(t) if t.generation > 0 => Err(Error::damaged(format!(
                "the database is empty, but it had reached generation {} with {} records",
                t.generation, t.records
            ))),
            _ => Ok(None),
        };
    };
    check_format(in_tree.format)?;
    let (journal, pending) = Journal::open(path, &in_tree)?;
    let view = View::new(tree, &pending);
    let meta: Meta = view.row(keys::META)?.unwrap_or(in_tree);
    match testimony {
        None => tracing::warn!(
            "the ledger's witness is missing or unreadable: a loss of commits would not be \
             noticed this time"
        ),
        Some(t) if t.identity != meta.identity => {
            return Err(Error::damaged("the database and its witness are of different ledgers"));
        }
        Some(t)
            if t.generation > meta.generation
                || t.generation == meta.generation && t.records != meta.records =>
        {
            return Err(Error::damaged(format!(
                "the database is at generation {} with {} records, but it had reached \
                 generation {} with {} records",
                meta.generation, meta.records, t.generation, t.records
            )));
        }
        Some(_) => {}
    }
    audit::add_up(&view, meta.records)?;
    Ok(Some(Found { meta, journal, pending }))
}

fn check_format(found: u32) -> Result<(), Error> {
    if found > FORMAT {
        return Err(Error::Version { found, known: FORMAT });
    }
    Ok(())
}

pub(super) fn open_sled(path: &Path) -> Result<sled::Db, Error> {
    let config =
        sled::Config::new().path(path).cache_capacity(CACHE).flush_every_ms(Some(COLLECT_EVERY_MS));
    let mut tries = LET_GO.as_millis() / 20;
    loop {
        match guarded(|| Ok(config.open()))? {
            Ok(tree) => return Ok(tree),
            // drover's own lock is held, so this is a database of this process on its way out.
            Err(sled::Error::Io(e)) if e.to_string().contains("could not acquire lock") => {
                if tries == 0 {
                    return Err(Error::Locked { pid: None });
                }
                tries -= 1;
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Runs something that touches sled; a panic in it means damage.
pub(super) fn guarded<T>(run: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("for an unknown reason");
        Err(Error::damaged(format!("the database gave up: {text}")))
    })
}

/// Drops in a thread of its own: a damaged sled may wait in `drop` for a thread that is gone.
pub(super) fn drop_aside<T: Send + 'static>(value: T) {
    let (done, wait) = mpsc::channel::<()>();
    let dropping = thread::Builder::new().name("ledger-drop".into()).spawn(move || {
        let _ = catch_unwind(AssertUnwindSafe(move || drop(value)));
        drop(done);
    });
    if dropping.is_ok() {
        // Ends when the sender is dropped.
        let _ = wait.recv_timeout(LET_GO);
    }
}

/// Creates a directory that only its owner can enter.
pub(super) fn create_private(path: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| Error::io(path.display(), &e))
}

/// Makes new and renamed entries durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|d| d.sync_all()).map_err(|e| Error::io(path.display(), &e))
}

fn draw_identity() -> Result<String, Error> {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::Io { what: "the system has no random numbers".into() })?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests;
