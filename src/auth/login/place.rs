//! Where a refresh token is put: a file of its owner alone, whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretString};

/// A place in which a token can be put. Taken before a user is asked, lest the answer has nowhere
/// to go.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    /// Beside it, until it is complete.
    draft: PathBuf,
    file: File,
}

impl Place {
    /// Makes ready to replace or create this file, with the directories above it.
    ///
    /// # Errors
    /// It cannot be written there.
    pub fn take(path: &Path) -> io::Result<Self> {
        // What a link points to is replaced, not the link.
        let path = std::fs::canonicalize(path).or_else(|_| std::path::absolute(path))?;
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file's name"));
        };
        if path.is_dir() {
            return Err(io::Error::from(io::ErrorKind::IsADirectory));
        }
        std::fs::create_dir_all(directory)?;
        let mut random = [0; 8];
        SystemRandom::new().fill(&mut random).map_err(|_| io::Error::other("no randomness"))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{:016x}", u64::from_be_bytes(random)));
        let draft = directory.join(hidden);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        Ok(Self { path, draft, file })
    }

    /// Puts the token there; durable when it returns.
    ///
    /// # Errors
    /// It cannot be written; what was there before still is.
    pub fn put(mut self, token: &SecretString) -> io::Result<PathBuf> {
        self.file.write_all(token.expose_secret().as_bytes())?;
        self.file.write_all(b"\n")?;
        self.file.sync_all()?;
        std::fs::rename(&self.draft, &self.path)?;
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        Ok(self.path.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Gone already if it was put in place.
        let _ = std::fs::remove_file(&self.draft);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_token_replaces_another_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secrets/anna");
        for token in ["first", "second"] {
            Place::take(&path).unwrap().put(&token.into()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{token}\n"));
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(names(path.parent().unwrap()), ["anna"]);
    }

    #[test]
    fn a_place_that_is_given_up_leaves_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("anna");
        std::fs::write(&path, "old\n").unwrap();
        drop(Place::take(&path).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\n");
        assert_eq!(names(directory.path()), ["anna"]);
    }

    #[test]
    fn a_link_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("real"), directory.path().join("link"));
        std::fs::write(&path, "old\n").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        Place::take(&link).unwrap().put(&"new".into()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
