//! The ledger is its owner's: nobody else reads it, and nobody makes drover write elsewhere.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Error;
use super::database::DATABASE;

/// Opens no symbolic link: whoever may write into the state directory could have made one that
/// leads to a file of ours.
pub(super) const NOFOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// Takes from others what they may do with the ledger's own files: a backup that was restored, or
/// a careless `chmod -R`, may have opened them. Of the directory they are in only the operator
/// knows what else it is for: it is warned of.
pub(super) fn make_private(dir: &Path, files: &[&str]) -> Result<(), Error> {
    let mode = |path: &Path| path.symlink_metadata().map(|m| m.permissions().mode() & 0o7777);
    let failed = |path: &Path, e: io::Error| Error::io(path.display(), &e);
    if mode(dir).is_ok_and(|mode| mode & 0o077 != 0) {
        tracing::warn!(state = %dir.display(), "others may enter the state directory: chmod 700 it");
    }
    let entries = |path: &Path| -> Result<Vec<PathBuf>, Error> {
        let entries = path.read_dir().map_err(|e| failed(path, e))?;
        Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
    };
    let database = dir.join(DATABASE);
    let mut ours: Vec<PathBuf> = files.iter().map(|name| dir.join(name)).collect();
    if database.is_dir() {
        ours.extend(entries(&database)?);
        ours.push(database);
    }
    for path in ours {
        let Ok(found) = path.symlink_metadata() else { continue };
        let wanted = if found.is_dir() { 0o700 } else { 0o600 };
        if !found.is_symlink() && found.permissions().mode() & 0o077 != 0 {
            let private = Permissions::from_mode(wanted);
            fs::set_permissions(&path, private).map_err(|e| failed(&path, e))?;
        }
    }
    Ok(())
}
