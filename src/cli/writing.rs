//! A file that is there whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use super::exit::{self, Failure};

/// A file that is being written under another name; gone when dropped before its end.
pub(super) struct Writing {
    path: PathBuf,
    part: PathBuf,
    file: Option<BufWriter<File>>,
    error: Option<io::Error>,
}

impl Writing {
    /// Begins, for its owner alone: it tells whose mail is where.
    ///
    /// # Errors
    /// It cannot be created.
    pub(super) fn begin(path: PathBuf) -> anyhow::Result<Self> {
        let mut part = path.clone().into_os_string();
        part.push(format!(".{}.part", std::process::id()));
        let part = PathBuf::from(part);
        let opened = File::options().write(true).create_new(true).mode(0o600).open(&part);
        let file = opened.map_err(|error| failure(&path, &error))?;
        Ok(Self { path, part, file: Some(BufWriter::new(file)), error: None })
    }

    /// Writes a piece. An error is told at the end.
    pub(super) fn take(&mut self, piece: &str) {
        if let (Some(file), None) = (&mut self.file, &self.error) {
            self.error = file.write_all(piece.as_bytes()).err();
        }
    }

    /// Puts the file in its place, durably.
    ///
    /// # Errors
    /// It was not written whole: then there is none.
    pub(super) fn finish(mut self) -> anyhow::Result<PathBuf> {
        let closed = match (self.error.take(), self.file.take()) {
            (Some(error), _) => Err(error),
            (None, Some(file)) => file
                .into_inner()
                .map_err(io::IntoInnerError::into_error)
                .and_then(|file| file.sync_all())
                .and_then(|()| std::fs::rename(&self.part, &self.path)),
            (None, None) => Ok(()),
        };
        match closed {
            Ok(()) => Ok(self.path.clone()),
            Err(error) => Err(failure(&self.path, &error).into()),
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.part);
    }
}

fn failure(path: &std::path::Path, error: &io::Error) -> Failure {
    let path = path.display();
    Failure::new(exit::ERROR, format!("the manifest {path} cannot be written: {error}"))
}
