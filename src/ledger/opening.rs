//! From a directory to an open database: the lock, the mark of damage, setting aside.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use chrono::Utc;

use super::Error;
use super::database::{DATABASE, Database, WITNESS, create_private, sync_directory};
use super::private::{NOFOLLOW, make_private};
use super::salvage;

const LOCK: &str = "lock";
/// Holds what was found when damage was met at run time.
const MARK: &str = "damaged";

/// How a ledger was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// There was none.
    Fresh,
    /// It goes on where it was left.
    Continued,
    /// There was one, but it was damaged. This one has what was still sound of it; the rest is
    /// rebuilt from the destinations, by adoption, before anything is copied.
    Rebuild {
        /// What was wrong.
        reason: String,
        /// Where the damaged one is now.
        moved_to: PathBuf,
    },
}

/// Keeps others out. The lock lasts as long as the file is open.
pub(super) fn hold(dir: &Path) -> Result<File, Error> {
    create_private(dir)?;
    lock(&dir.join(LOCK))
}

/// Opens what is held; whatever is damaged is set aside.
pub(super) fn open(dir: &Path) -> Result<(Database, Opening), Error> {
    make_private(dir, &[LOCK, WITNESS])?;
    let damage = match std::fs::read_to_string(dir.join(MARK)) {
        Ok(reason) => reason,
        Err(e) if e.kind() == io::ErrorKind::NotFound => match Database::open(dir) {
            Ok((database, true)) => return Ok((database, Opening::Fresh)),
            Ok((database, false)) => {
                salvage::resume(&database, dir)?;
                return Ok((database, Opening::Continued));
            }
            Err(Error::Damaged { what }) => what,
            Err(error) => return Err(error),
        },
        Err(e) => return Err(Error::io(dir.join(MARK).display(), &e)),
    };
    let moved_to = set_aside(dir)?;
    tracing::error!(%damage, moved_to = %moved_to.display(), "the ledger is damaged: set aside");
    let (database, _) = Database::open(dir)?;
    let aside = moved_to.file_name().unwrap_or_default().to_string_lossy().into_owned();
    salvage::begin(&database, dir, &aside)?;
    Ok((database, Opening::Rebuild { reason: damage.trim_end().to_owned(), moved_to }))
}

/// Makes the next opening set this ledger aside. An earlier mark stands.
pub(super) fn mark(dir: &Path, what: &str) {
    let mut options = OpenOptions::new();
    let written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(dir.join(MARK))
        .and_then(|mut file| writeln!(file, "{what}").and_then(|()| file.sync_all()));
    match written {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            tracing::warn!(error = %e, "the damaged ledger cannot be marked");
        }
        _ => {}
    }
}

/// The lock goes with the file: the system releases it when the process ends, however it does.
fn lock(path: &Path) -> Result<File, Error> {
    let failed = |e: io::Error| Error::io(path.display(), &e);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    // It is written to: never what somebody else made it point to.
    options.custom_flags(NOFOLLOW);
    let mut file = options.open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let read = file.read_to_string(&mut text);
            return Err(Error::Locked { pid: read.ok().and_then(|_| text.trim().parse().ok()) });
        }
        Err(TryLockError::Error(e)) => return Err(failed(e)),
    }
    // For the message that the second one gives; the lock holds without it, on a full disk too.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Moves the database and its witness away together. The mark goes last, so that a crash on the
/// way is followed by another try.
fn set_aside(dir: &Path) -> Result<PathBuf, Error> {
    let name = format!("{DATABASE}.damaged-{}", Utc::now().format("%Y%m%dT%H%M%SZ"));
    let target = (0..)
        .map(|n| match n {
            0 => dir.join(&name),
            n => dir.join(format!("{name}-{n}")),
        })
        .find(|target| !target.exists())
        .unwrap_or_else(|| dir.join(&name));
    create_private(&dir.join(DATABASE))?;
    rename(&dir.join(DATABASE), &target)?;
    rename(&dir.join(WITNESS), &target.join(WITNESS))?;
    match std::fs::remove_file(dir.join(MARK)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io(dir.join(MARK).display(), &e));
        }
        _ => {}
    }
    sync_directory(dir)?;
    Ok(target)
}

/// What is not there need not be moved.
fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    match std::fs::rename(from, to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(from.display(), &e)),
        _ => Ok(()),
    }
}
