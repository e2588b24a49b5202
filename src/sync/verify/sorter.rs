//! Sorts any number of entries in bounded memory: sorted runs in a temporary file, merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::entry::Entry;

/// Entries of one side that stand in memory, some 150 bytes each: a folder up to this size is
/// compared without a file.
const RUN: usize = 50_000;

/// How much of each run is read ahead, bytes.
const READ_AHEAD: usize = 16 * 1024;

/// Where comparisons put what they cannot hold in memory. Clones share the counters.
#[derive(Debug, Clone)]
pub struct Scratch {
    directory: PathBuf,
    run: usize,
    held: Arc<AtomicUsize>,
    peak: Arc<AtomicUsize>,
}

impl Scratch {
    /// Files without a name in this directory, which must exist.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), run: RUN, held: Arc::default(), peak: Arc::default() }
    }

    /// The same with at most so many entries of each side in memory.
    #[must_use]
    pub fn with_run(mut self, entries: usize) -> Self {
        self.run = entries.max(1);
        self
    }

    /// The most entries that stood in memory at the same time.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A new file that only its holder can reach: readable by its owner alone, and without a
    /// name, so that it is gone with its holder however that ends.
    ///
    /// # Errors
    /// The operating system's.
    pub fn file(&self) -> io::Result<File> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!(".verify-{}-{n}", std::process::id());
        let path = self.directory.join(name);
        // One that a killed process left in the moment before it was unnamed.
        let _ = std::fs::remove_file(&path);
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(file)
    }

    fn hold(&self, n: usize) {
        let now = self.held.fetch_add(n, Ordering::Relaxed) + n;
        self.peak.fetch_max(now, Ordering::Relaxed);
    }

    fn release(&self, n: usize) {
        self.held.fetch_sub(n, Ordering::Relaxed);
    }
}

/// Takes entries in any order.
#[derive(Debug)]
pub(super) struct Sorter {
    scratch: Scratch,
    entries: Vec<Entry>,
    file: Option<File>,
    runs: Vec<Range<u64>>,
}

impl Sorter {
    pub(super) fn new(scratch: &Scratch) -> Self {
        Self { scratch: scratch.clone(), entries: Vec::new(), file: None, runs: Vec::new() }
    }

    pub(super) fn push(&mut self, entry: Entry) -> io::Result<()> {
        self.entries.push(entry);
        self.scratch.hold(1);
        if self.entries.len() >= self.scratch.run { self.spill() } else { Ok(()) }
    }

    /// Writes what is in memory as one sorted run.
    fn spill(&mut self) -> io::Result<()> {
        self.entries.sort_unstable();
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.scratch.file()?),
        };
        let start = file.seek(SeekFrom::End(0))?;
        let mut out = BufWriter::new(&mut *file);
        for entry in &self.entries {
            entry.write(&mut out)?;
        }
        out.flush()?;
        drop(out);
        let end = file.stream_position()?;
        self.runs.push(start..end);
        self.scratch.release(self.entries.len());
        self.entries.clear();
        Ok(())
    }

    /// All entries in order.
    pub(super) fn finish(mut self) -> io::Result<Sorted> {
        let mut sources = Vec::new();
        if let Some(file) = self.file.take() {
            let file = Arc::new(file);
            for run in std::mem::take(&mut self.runs) {
                let part = Part { file: Arc::clone(&file), at: run.start, end: run.end };
                sources.push(Run::File(BufReader::with_capacity(READ_AHEAD, part)));
            }
        }
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_unstable();
        if !entries.is_empty() {
            sources.push(Run::Memory(entries.into_iter()));
        }
        let mut sorted =
            Sorted { scratch: self.scratch.clone(), runs: sources, heads: BinaryHeap::new() };
        for run in 0..sorted.runs.len() {
            sorted.advance(run)?;
        }
        Ok(sorted)
    }
}

impl Drop for Sorter {
    fn drop(&mut self) {
        self.scratch.release(self.entries.len());
    }
}

/// Entries in order.
pub(super) struct Sorted {
    scratch: Scratch,
    runs: Vec<Run>,
    heads: BinaryHeap<Reverse<(Entry, usize)>>,
}

enum Run {
    File(BufReader<Part>),
    Memory(std::vec::IntoIter<Entry>),
}

impl Sorted {
    /// Brings the next entry of a run to where the lowest is chosen.
    fn advance(&mut self, run: usize) -> io::Result<()> {
        let next = match &mut self.runs[run] {
            Run::Memory(entries) => entries.next(),
            Run::File(part) => {
                let is_over = std::io::BufRead::fill_buf(part)?.is_empty();
                let next = if is_over { None } else { Some(Entry::read(part)?) };
                self.scratch.hold(usize::from(next.is_some()));
                next
            }
        };
        self.heads.extend(next.map(|entry| Reverse((entry, run))));
        Ok(())
    }
}

impl Iterator for Sorted {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((entry, run)) = self.heads.pop()?;
        self.scratch.release(1);
        Some(self.advance(run).map(|()| entry))
    }
}

impl Drop for Sorted {
    fn drop(&mut self) {
        let in_memory = self.runs.iter().map(|run| match run {
            Run::Memory(entries) => entries.len(),
            Run::File(_) => 0,
        });
        self.scratch.release(in_memory.sum::<usize>() + self.heads.len());
    }
}

/// A part of a file, read without moving the file's own position.
struct Part {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let n = self.file.read_at(&mut buffer[..wanted], self.at)?;
        self.at += n as u64;
        if n == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::FlagText;
    use super::*;
    use crate::model::ItemId;

    fn entry(n: u64) -> Entry {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        Entry {
            digest,
            flags: FlagText(if n.is_multiple_of(2) { "\\Seen" } else { "" }.into()),
            date: (!n.is_multiple_of(3)).then_some(-5 + n as i64),
            folder: (n % 4) as u32,
            id: ItemId(n),
            size: n * 7,
            message_id: n.is_multiple_of(5).then(|| format!("{n}@x").into()),
            accepted: n.is_multiple_of(7).then(|| "gone".into()),
        }
    }

    fn sorted(scratch: &Scratch, n: u64) -> Vec<Entry> {
        let mut sorter = Sorter::new(scratch);
        (0..n).for_each(|n| sorter.push(entry(n)).unwrap());
        sorter.finish().unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn the_order_is_the_same_with_and_without_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let large = Scratch::new(directory.path());
        let small = Scratch::new(directory.path()).with_run(7);
        for n in [0, 1, 6, 7, 8, 100] {
            let mut expected: Vec<Entry> = (0..n).map(entry).collect();
            expected.sort();
            assert_eq!(sorted(&large, n), expected);
            assert_eq!(sorted(&small, n), expected);
        }
    }

    #[test]
    fn no_more_than_a_run_and_the_head_of_each_stands_in_memory() {
        let directory = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(directory.path()).with_run(100);
        sorted(&scratch, 1000);
        assert!(scratch.peak() <= 110, "{}", scratch.peak());
        assert_eq!(scratch.held.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn its_file_has_no_name_and_is_closed_to_others() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let file = Scratch::new(directory.path()).file().unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
