//! The newest commits, in a file of a fixed size beside the database, written in place.
//!
//! Making a commit durable in sled takes several writes, each waited for, and an `fsync` that
//! commits the file system's own journal, with whatever else on that disk waits in it. Here it is
//! one write over blocks that are there already, and one `fdatasync`, which has no metadata to
//! wait for. What a commit takes back soon after, an intent or half a page, never reaches sled.
//!
//! ```text
//! entry: crc32c:u32 length:u32 generation:u64 change*     (length is that of the changes)
//! change: key length:u32 key value length:u32 value       (ffffffff: the key is removed)
//! ```
//!
//! Little-endian. Entries stand one after the other from the start of the file, each a generation
//! after the one before; the first that does not check, or does not follow, is the end. The
//! checksum begins with the ledger's identity: the journal of another ledger has no entries.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use sled::IVec;

use super::Error;
use super::apply::Meta;
use super::database::sync_directory;
use super::private::NOFOLLOW;

/// What is written: a value, or nothing where the key is removed.
pub(super) type Staged = BTreeMap<Vec<u8>, Option<IVec>>;

/// The file's name in sled's directory: they are one, and are moved and copied as one.
const NAME: &str = "journal";
/// Some seventeen batches of messages, with their intents. More would make sled's own writes
/// hardly fewer, and what is read again at an opening longer.
const CAPACITY: usize = 256 << 10;
const HEADER: usize = 16;
const REMOVED: u32 = u32::MAX;

/// The open file.
pub(super) struct Journal {
    file: File,
    seed: u32,
    end: usize,
}

/// What a journal holds that its database does not.
#[derive(Default)]
pub(super) struct Replay {
    pub(super) changes: Staged,
    /// Where the next entry goes.
    end: usize,
}

impl Journal {
    /// Opens the journal in sled's directory, creating it if there is none.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the database is older than the first entry.
    pub(super) fn open(directory: &Path, meta: &Meta) -> Result<(Self, Staged), Error> {
        let failed = |e: io::Error| Error::io("the ledger's journal", &e);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(NOFOLLOW);
        let file = options.open(directory.join(NAME)).map_err(failed)?;
        let bytes = read_all(&file).map_err(failed)?;
        let replay = replay(&bytes, meta)?;
        if bytes.len() < CAPACITY {
            // Blocks that are there need not be found when a commit waits.
            let rest = vec![0; CAPACITY - bytes.len()];
            file.write_all_at(&rest, bytes.len() as u64).map_err(failed)?;
            file.sync_all().map_err(failed)?;
            sync_directory(directory)?;
        } else if replay.end > 0 {
            // A killed process may have left it to the system to write the last entry.
            file.sync_data().map_err(failed)?;
        }
        Ok((Self { file, seed: seed(meta), end: replay.end }, replay.changes))
    }

    /// Adds an entry; it is on the disk when this returns. False if there is no room for it.
    pub(super) fn append(&mut self, generation: u64, changes: &Staged) -> Result<bool, Error> {
        let entry = encode(self.seed, generation, changes);
        if self.end + entry.len() > CAPACITY {
            return Ok(false);
        }
        let written = self.file.write_all_at(&entry, self.end as u64);
        written
            .and_then(|()| self.file.sync_data())
            .map_err(|e| Error::io("the ledger's journal", &e))?;
        self.end += entry.len();
        Ok(true)
    }

    /// Starts over: everything in it is in the database, durable.
    pub(super) const fn clear(&mut self) {
        self.end = 0;
    }

    /// Is it full enough that the next opening should not have to read it?
    pub(super) const fn is_long(&self) -> bool {
        self.end > CAPACITY / 4
    }
}

/// What the journal in a directory adds to its database, to read only.
pub(super) fn left(directory: &Path, meta: &Meta) -> Result<Staged, Error> {
    let file = OpenOptions::new().read(true).custom_flags(NOFOLLOW).open(directory.join(NAME));
    match file.and_then(|file| read_all(&file)) {
        Ok(bytes) => Ok(replay(&bytes, meta)?.changes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Staged::new()),
        Err(e) => Err(Error::io("the ledger's journal", &e)),
    }
}

fn read_all(file: &File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; CAPACITY];
    let mut length = 0;
    while length < CAPACITY {
        match file.read_at(&mut bytes[length..], length as u64)? {
            0 => break,
            n => length += n,
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

/// The changes above the database's generation. Entries up to it are from before the database
/// took them in.
fn replay(bytes: &[u8], meta: &Meta) -> Result<Replay, Error> {
    let seed = seed(meta);
    let mut replay = Replay::default();
    let mut reached = None;
    while let Some((generation, changes)) = entry(&bytes[replay.end..], seed) {
        if reached.is_some_and(|reached| generation != reached + 1) {
            break;
        }
        if generation > meta.generation {
            if reached.is_none() && generation > meta.generation + 1 {
                return Err(Error::damaged(format!(
                    "the database is at generation {}, but its journal begins with {generation}",
                    meta.generation
                )));
            }
            let decoded = decode(changes, &mut replay.changes);
            decoded.ok_or_else(|| Error::damaged("an entry of the journal is malformed"))?;
        }
        reached = Some(generation);
        replay.end += HEADER + changes.len();
    }
    if replay.changes.is_empty() {
        replay.end = 0;
    }
    Ok(replay)
}

fn seed(meta: &Meta) -> u32 {
    crc32c::crc32c(meta.identity.as_bytes())
}

fn encode(seed: u32, generation: u64, changes: &Staged) -> Vec<u8> {
    let mut entry = vec![0; HEADER];
    for (key, value) in changes {
        entry.extend((key.len() as u32).to_le_bytes());
        entry.extend(key);
        match value {
            Some(value) => {
                entry.extend((value.len() as u32).to_le_bytes());
                entry.extend(value.as_ref());
            }
            None => entry.extend(REMOVED.to_le_bytes()),
        }
    }
    let length = (entry.len() - HEADER) as u32;
    entry[4..8].copy_from_slice(&length.to_le_bytes());
    entry[8..HEADER].copy_from_slice(&generation.to_le_bytes());
    let crc = crc32c::crc32c_append(seed, &entry[4..]);
    entry[..4].copy_from_slice(&crc.to_le_bytes());
    entry
}

/// The generation and the changes of the entry that these bytes begin with, if it is whole.
fn entry(bytes: &[u8], seed: u32) -> Option<(u64, &[u8])> {
    let (crc, rest) = bytes.split_first_chunk()?;
    let (length, _) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let whole = rest.get(..(HEADER - 4).checked_add(length)?)?;
    if crc32c::crc32c_append(seed, whole) != u32::from_le_bytes(*crc) {
        return None;
    }
    let generation = whole[4..].first_chunk()?;
    Some((u64::from_le_bytes(*generation), &whole[HEADER - 4..]))
}

fn decode(mut bytes: &[u8], changes: &mut Staged) -> Option<()> {
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (key, rest) = rest.split_at_checked(length)?;
        let (length, rest) = rest.split_first_chunk()?;
        let (value, rest) = match u32::from_le_bytes(*length) {
            REMOVED => (None, rest),
            length => {
                let (value, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                (Some(IVec::from(value)), rest)
            }
        };
        changes.insert(key.to_vec(), value);
        bytes = rest;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn meta(identity: &str, generation: u64) -> Meta {
        Meta { format: 2, identity: identity.into(), generation, records: 0, next_mailbox: 1 }
    }

    fn change(n: u64) -> Staged {
        Staged::from([(n.to_be_bytes().to_vec(), Some(IVec::from(&b"value"[..])))])
    }

    /// A journal of the ledger "a", whose database is at generation 0.
    fn journal(
        directory: &tempfile::TempDir,
        generations: std::ops::RangeInclusive<u64>,
    ) -> Journal {
        let (mut journal, _) = Journal::open(directory.path(), &meta("a", 0)).unwrap();
        for generation in generations {
            assert!(journal.append(generation, &change(generation)).unwrap());
        }
        journal
    }

    fn replayed(directory: &tempfile::TempDir, meta: &Meta) -> Vec<u64> {
        let changes = left(directory.path(), meta).unwrap();
        changes.keys().map(|key| u64::from_be_bytes(key[..].try_into().unwrap())).collect()
    }

    #[test]
    fn what_the_database_has_not_taken_in_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        journal(&directory, 1..=5);
        assert_eq!(replayed(&directory, &meta("a", 0)), [1, 2, 3, 4, 5]);
        assert_eq!(replayed(&directory, &meta("a", 3)), [4, 5]);
        assert_eq!(replayed(&directory, &meta("a", 5)), [0u64; 0]);
    }

    #[test]
    fn a_removal_is_read_as_one() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = journal(&directory, 1..=1);
        let gone = Staged::from([(1u64.to_be_bytes().to_vec(), None)]);
        assert!(journal.append(2, &gone).unwrap());
        assert_eq!(left(directory.path(), &meta("a", 0)).unwrap(), gone);
    }

    #[test]
    fn a_torn_entry_ends_the_journal_and_the_next_takes_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let written = journal(&directory, 1..=3);
        written.file.write_all_at(b"X", written.end as u64 - 2).unwrap();
        assert_eq!(replayed(&directory, &meta("a", 0)), [1, 2]);
        let (mut again, pending) = Journal::open(directory.path(), &meta("a", 0)).unwrap();
        assert_eq!(pending.len(), 2);
        assert!(again.append(3, &change(30)).unwrap());
        assert_eq!(replayed(&directory, &meta("a", 0)), [1, 2, 30]);
    }

    #[test]
    fn entries_from_before_it_was_cleared_are_not_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut written = journal(&directory, 1..=4);
        written.clear();
        assert!(written.append(5, &change(5)).unwrap());
        assert_eq!(replayed(&directory, &meta("a", 4)), [5]);
    }

    #[test]
    fn entries_that_all_were_taken_in_are_written_over() {
        let directory = tempfile::tempdir().unwrap();
        journal(&directory, 1..=4);
        // Generation 5 went to the database at once: it did not fit.
        let (mut again, _) = Journal::open(directory.path(), &meta("a", 5)).unwrap();
        assert!(again.append(6, &change(6)).unwrap());
        assert_eq!(replayed(&directory, &meta("a", 5)), [6]);
    }

    #[test]
    fn a_database_older_than_its_journal_has_lost_commits() {
        let directory = tempfile::tempdir().unwrap();
        journal(&directory, 7..=9);
        let refused = left(directory.path(), &meta("a", 5));
        assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
        assert_eq!(replayed(&directory, &meta("a", 6)), [7, 8, 9]);
    }

    #[test]
    fn the_journal_of_another_ledger_has_no_entries() {
        let directory = tempfile::tempdir().unwrap();
        journal(&directory, 1..=3);
        assert_eq!(replayed(&directory, &meta("b", 0)), [0u64; 0]);
    }

    #[test]
    fn what_does_not_fit_is_left_to_the_database() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = journal(&directory, 1..=1);
        let large = Staged::from([(b"key".to_vec(), Some(IVec::from(vec![1; CAPACITY])))]);
        assert!(!journal.append(2, &large).unwrap());
        assert_eq!(replayed(&directory, &meta("a", 0)), [1]);
    }

    #[test]
    fn a_cut_journal_gets_its_length_again() {
        let directory = tempfile::tempdir().unwrap();
        journal(&directory, 1..=3).file.set_len(50).unwrap();
        let (journal, pending) = Journal::open(directory.path(), &meta("a", 0)).unwrap();
        assert_eq!(pending.len(), 1);
        assert_eq!(journal.file.metadata().unwrap().len(), CAPACITY as u64);
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut bytes in vec(any::<u8>(), 0..300)) {
            let _ = replay(&bytes, &meta("a", 0));
            let _ = decode(&bytes, &mut Staged::new());
            if bytes.len() >= HEADER {
                let length = (bytes.len() - HEADER) as u32;
                bytes[4..8].copy_from_slice(&length.to_le_bytes());
                bytes[8..HEADER].copy_from_slice(&1u64.to_le_bytes());
                let crc = crc32c::crc32c_append(seed(&meta("a", 0)), &bytes[4..]);
                bytes[..4].copy_from_slice(&crc.to_le_bytes());
                let _ = replay(&bytes, &meta("a", 0));
            }
        }
    }
}
