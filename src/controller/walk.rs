//! What lies in the definitions directory: a walk that follows links as GitOps tools lay them.
//!
//! Kubernetes mounts `acme.toml → ..data/acme.toml` beside `..data → ..2026_12_05`; git-sync swaps
//! the directory itself. So links are followed, hidden names are not, and each directory is
//! entered once, whatever leads to it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Deeper than any sane directory of definitions.
const MAX_DEPTH: usize = 16;

/// What tells one state of a file from the next without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Signature {
    pub(super) modified: Option<SystemTime>,
    changed: (i64, i64),
    length: u64,
    inode: (u64, u64),
}

/// Everything found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Walk {
    /// Definition files, as the operator would name them. `None`: a link that leads nowhere.
    pub(super) files: BTreeMap<PathBuf, Option<Signature>>,
    /// Directories looked into, with what tells whether they were replaced.
    pub(super) directories: BTreeMap<PathBuf, (u64, u64)>,
    /// Directories that could not be read, and why.
    pub(super) unreadable: BTreeMap<PathBuf, String>,
}

impl Walk {
    /// Looks at `root` and everything below it.
    pub(super) fn of(root: &Path) -> Self {
        let mut walk = Self::default();
        let mut seen = Seen::default();
        walk.enter(root, 0, &mut seen);
        walk
    }

    fn enter(&mut self, directory: &Path, depth: usize, seen: &mut Seen) {
        let entries = match list(directory) {
            Ok((identity, entries)) => {
                // A loop, or a second way to the same place.
                if depth > MAX_DEPTH || !seen.directories.insert(identity) {
                    return;
                }
                self.directories.insert(directory.to_owned(), identity);
                entries
            }
            Err(error) => {
                self.unreadable.insert(directory.to_owned(), error.to_string());
                return;
            }
        };
        for path in entries {
            match std::fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.enter(&path, depth + 1, seen),
                _ if path.extension() != Some(OsStr::new("toml")) => {}
                Ok(metadata) if metadata.is_file() => {
                    // Two links to one file, by the same name in two directories, are one.
                    let canonical = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
                    let name = path.file_name().map(OsStr::to_owned);
                    if seen.files.insert((canonical, name)) {
                        self.files.insert(path, Some(Signature::of(&metadata)));
                    }
                }
                // A pipe or a device would hang or never end.
                Ok(_) => {}
                Err(_) => {
                    self.files.insert(path, None);
                }
            }
        }
    }
}

#[derive(Default)]
struct Seen {
    directories: BTreeSet<(u64, u64)>,
    files: BTreeSet<(PathBuf, Option<std::ffi::OsString>)>,
}

impl Signature {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            modified: metadata.modified().ok(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            length: metadata.len(),
            inode: (metadata.dev(), metadata.ino()),
        }
    }

    /// Of the file a path leads to now.
    pub(super) fn at(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().map(|metadata| Self::of(&metadata))
    }
}

/// The directory's identity and its visible entries in order of name.
fn list(directory: &Path) -> std::io::Result<((u64, u64), Vec<PathBuf>)> {
    let metadata = std::fs::metadata(directory)?;
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if !is_hidden(&entry.file_name()) {
            entries.push(entry.path());
        }
    }
    entries.sort_unstable();
    Ok(((metadata.dev(), metadata.ino()), entries))
}

/// `.git`, `..data`, `.#lock`, `.acme.toml.swp`; `acme.toml~` has no `toml` extension anyway.
fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}
