//! A small file beside the database that says how far the database has been.
//!
//! The database, cut short by accident, may open with less in it, or with nothing, and not say
//! so. The witness is told each generation *after* it is durable, so it is never ahead of an
//! honest database, whatever crashes: a database behind its witness has lost commits.
//!
//! Two lines of fixed width are written in turn, in place: a torn write spoils one of them and
//! the other still stands, one generation behind.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use super::apply::Meta;
use super::private::NOFOLLOW;

/// With the line end.
const LINE: usize = 192;

/// The open file.
pub(super) struct Witness {
    file: File,
}

/// What a witness says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Testimony {
    pub(super) format: u32,
    pub(super) identity: String,
    pub(super) generation: u64,
    pub(super) records: u64,
}

impl Witness {
    /// Opens it, creating it empty.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(NOFOLLOW);
        Ok(Self { file: options.open(path)? })
    }

    /// What the newest whole line says; `None` if there is none.
    pub(super) fn read(&mut self) -> io::Result<Option<Testimony>> {
        let mut bytes = [0; 2 * LINE];
        let mut length = 0;
        while length < bytes.len() {
            match self.file.read(&mut bytes[length..])? {
                0 => break,
                n => length += n,
            }
        }
        let lines = bytes[..length].chunks(LINE).filter_map(parse);
        Ok(lines.max_by_key(|testimony| testimony.generation))
    }

    /// Tells it a durable generation.
    pub(super) fn tell(&self, meta: &Meta) -> io::Result<()> {
        let at = (meta.generation % 2) * LINE as u64;
        self.file.write_all_at(line(meta).as_bytes(), at)
    }

    /// Makes what it was told durable. Not needed for each generation: after a loss of power it
    /// may be behind, and then knows less, but nothing wrong.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn line(meta: &Meta) -> String {
    let said = format!(
        "ledger format={} identity={} generation={} records={}",
        meta.format, meta.identity, meta.generation, meta.records
    );
    let crc = crc32c::crc32c(said.as_bytes());
    let said = format!("{said} crc={crc:08x}");
    format!("{said:<width$}\n", width = LINE - 1)
}

fn parse(line: &[u8]) -> Option<Testimony> {
    let line = std::str::from_utf8(line).ok()?.trim_end();
    let (said, crc) = line.rsplit_once(" crc=")?;
    if u32::from_str_radix(crc, 16).ok()? != crc32c::crc32c(said.as_bytes()) {
        return None;
    }
    let word =
        |name: &str| said.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    Some(Testimony {
        format: word("format")?.parse().ok()?,
        identity: word("identity")?.to_owned(),
        generation: word("generation")?.parse().ok()?,
        records: word("records")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(generation: u64) -> Meta {
        let identity = "f".repeat(32);
        Meta {
            format: 1,
            identity,
            generation,
            records: generation.wrapping_mul(2),
            next_mailbox: 1,
        }
    }

    fn witness(dir: &tempfile::TempDir) -> Witness {
        Witness::open(&dir.path().join("witness")).unwrap()
    }

    #[test]
    fn the_newest_line_is_believed() {
        let dir = tempfile::tempdir().unwrap();
        for generation in [7, 8, 9] {
            witness(&dir).tell(&meta(generation)).unwrap();
        }
        let said = witness(&dir).read().unwrap().unwrap();
        assert_eq!((said.generation, said.records), (9, 18));
    }

    #[test]
    fn a_torn_line_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        for generation in [8, 9] {
            witness(&dir).tell(&meta(generation)).unwrap();
        }
        witness(&dir).file.write_all_at(b"XX", LINE as u64 + 60).unwrap();
        assert_eq!(witness(&dir).read().unwrap().unwrap().generation, 8);
    }

    #[test]
    fn an_empty_file_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(witness(&dir).read().unwrap(), None);
    }

    #[test]
    fn the_longest_line_fits() {
        let mut longest = meta(u64::MAX);
        (longest.format, longest.records) = (u32::MAX, u64::MAX);
        assert_eq!(line(&longest).len(), LINE);
        assert_eq!(parse(line(&longest).as_bytes()).unwrap().generation, u64::MAX);
    }
}
