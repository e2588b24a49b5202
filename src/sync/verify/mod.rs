//! Compares both sides message by message, without the ledger: what the users will find.
//!
//! Per destination folder, as multisets of content digests, normalised by what servers are known
//! to change (see [`crate::model::fingerprint`]). Every selected source message must be there
//! once, with its flags and its INTERNALDATE. What else stands at the destination is its users'
//! own and no difference; a second copy of a source message is.
//!
//! Each side is read page by page (`collect`) into a `sorter`, which puts aside what does not fit
//! in memory; both sorted sides are then compared in one walk (`compare`). A [`sample`] narrows
//! what is read, a [`manifest`] stands for the source. docs/verify.md tells all of it to operators.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use chrono::Utc;

use crate::definition::Mailbox;
use crate::model::{Folder, FolderName, FolderPath, Normalisation};
use crate::platform::{FolderStatus, Naming};

use super::lane::{Landing, Lane, at_destination, at_source};
use super::naming::Namer;
use super::{Context, Error, Progress, Stage};

mod collect;
mod compare;
mod entry;
pub mod manifest;
mod named;
mod report;
pub mod sample;
mod sorter;

pub use report::{Comparison, Difference, FolderComparison, ManifestUsed, Sampled};
pub use sorter::Scratch;

use collect::{Reader, Unread};
use compare::Findings;
use sample::Sample;
use sorter::Sorter;

/// How to compare.
#[derive(Debug, Clone)]
pub struct Options {
    /// For what does not fit in memory.
    pub scratch: Scratch,
    /// Flags may differ.
    pub ignore_flags: bool,
    /// Only a part.
    pub sample: Option<Sample>,
}

impl Options {
    /// Everything, flags included.
    pub const fn new(scratch: Scratch) -> Self {
        Self { scratch, ignore_flags: false, sample: None }
    }
}

/// One destination folder and what goes there.
struct Group {
    name: FolderName,
    path: FolderPath,
    /// The source folders, and how many messages each has by the server's word.
    sources: Vec<(Folder, u64)>,
    exists: bool,
}

/// Compares a mailbox. With a `writer`, what the source holds is written down as well; that goes
/// neither with a sample nor without flags.
///
/// # Errors
/// A side that cannot be read, or no room for what is put aside.
pub async fn verify(
    context: &Context,
    mailbox: &Arc<Mailbox>,
    options: &Options,
    mut writer: Option<manifest::Writer>,
    progress: &Progress,
) -> Result<Comparison, Error> {
    let mut lane = Lane::open(context, mailbox).await?;
    progress.enter(Stage::Surveying);
    let ours = lane.source.folders().await.map_err(at_source)?;
    let theirs = lane.destination.folders().await.map_err(at_destination)?;
    let naming = lane.destination.naming().await.map_err(at_destination)?;
    let groups = groups(mailbox, &naming, &ours, &theirs);
    let all = groups.iter().flat_map(|group| &group.sources).map(|(_, n)| n).sum();
    progress.expect(all, 0);
    progress.enter(Stage::Transferring);
    if let Some(mut begun) = writer.take() {
        let (from, to) = (mailbox.source.identity(), mailbox.destination.identity());
        let how = mailbox.normalisation();
        let begin = move || begun.begin(from, to, how, Utc::now()).map(|()| begun);
        writer = Some(blocking(begin).await?);
    }
    let mut comparison = Comparison {
        normalisation: mailbox.normalisation().name().into(),
        ..Comparison::default()
    };
    let mut sampled_of = 0;
    for group in groups {
        let mut work =
            Work { lane: &mut lane, mailbox, options, writer, progress, all, sampled_of: 0 };
        let mut compared = work.folder(&group).await?;
        sampled_of += work.sampled_of;
        writer = work.writer;
        let in_part = group.sources.iter().filter(|(f, _)| lane.source.is_partial(&f.name));
        compared.in_part = in_part.map(|(folder, _)| folder.path.to_string()).collect();
        comparison.folders.push(compared);
    }
    if let Some(mut ended) = writer {
        blocking(move || ended.end()).await?;
    }
    comparison.sample = options.sample.map(|sample| Sampled {
        asked: sample.size.to_string(),
        seed: sample.seed,
        of: sampled_of,
        compared: comparison.folders.iter().map(|folder| folder.expected).sum(),
    });
    lane.close();
    Ok(comparison)
}

/// Which folders are compared with which.
fn groups(
    mailbox: &Mailbox,
    naming: &Naming,
    ours: &[FolderStatus],
    theirs: &[FolderStatus],
) -> Vec<Group> {
    let namer = Namer::new(&mailbox.folders, naming, ours, theirs);
    let takes = |f: &&FolderStatus| f.selectable && mailbox.select.takes_folder(&f.folder);
    let mut groups: BTreeMap<FolderPath, Group> = BTreeMap::new();
    for status in ours.iter().filter(takes) {
        let target = namer.target(&status.folder);
        let exists = theirs.iter().any(|s| s.folder.name == target.name);
        let path = target.path.clone();
        let group = groups.entry(target.path).or_insert_with(|| Group {
            name: target.name,
            path,
            sources: Vec::new(),
            exists,
        });
        group.sources.push((status.folder.clone(), status.messages.unwrap_or_default()));
    }
    groups.into_values().collect()
}

/// The comparison of one destination folder.
struct Work<'a> {
    lane: &'a mut Lane,
    mailbox: &'a Arc<Mailbox>,
    options: &'a Options,
    writer: Option<manifest::Writer>,
    progress: &'a Progress,
    /// Messages at the source, by its word.
    all: u64,
    /// Messages a sample was taken from.
    sampled_of: u64,
}

impl Work<'_> {
    async fn folder(&mut self, group: &Group) -> Result<FolderComparison, Error> {
        let scratch = &self.options.scratch;
        let mut source = Reader {
            account: self.lane.source.as_mut(),
            at: at_source,
            mailbox: self.mailbox,
            select: Some(&self.mailbox.select),
            flags: !self.options.ignore_flags,
            named: self.writer.is_some(),
            progress: Some(self.progress),
        };
        let mut destination = landing(self.lane.destination.as_mut(), self.mailbox, self.options);
        let mut ours: Vec<collect::Folder<'_>> = Vec::new();
        for (n, (folder, _)) in group.sources.iter().enumerate() {
            let number = u32::try_from(n).unwrap_or(u32::MAX);
            ours.push(collect::Folder {
                name: &folder.name,
                path: &folder.path,
                number,
                only: None,
            });
        }
        let mut theirs =
            collect::Folder { name: &group.name, path: &group.path, number: 0, only: None };
        if let Some(sample) = self.options.sample {
            let mut wanted = HashSet::new();
            for (folder, (_, listed)) in ours.iter().zip(&group.sources) {
                let (ids, n) = source.draw(folder, sample, *listed, self.all).await?;
                self.sampled_of += n;
                wanted.extend(source.fingerprints(folder, &ids).await?);
            }
            // A twin that is left out would make its copy look like one too many.
            for folder in &mut ours {
                folder.only = Some(source.alike(folder, &wanted).await?);
            }
            if group.exists {
                theirs.only = Some(destination.alike(&theirs, &wanted).await?);
            }
        }
        let mut unread = Unread::default();
        let read_ours = async {
            let mut sorter = Sorter::new(scratch);
            for folder in &ours {
                sorter = source.read(folder, sorter, &mut unread).await?;
            }
            Ok::<_, Error>(sorter)
        };
        let read_theirs = async {
            let sorter = Sorter::new(scratch);
            match group.exists {
                true => destination.read(&theirs, sorter, &mut Unread::default()).await,
                false => Ok(sorter),
            }
        };
        let (ours, theirs) = tokio::try_join!(read_ours, read_theirs)?;

        let mut writer = self.writer.take();
        let path = group.path.to_string();
        let (mut findings, writer) = blocking(move || {
            let findings = compare::compare(ours.finish()?, theirs.finish()?, |entry| {
                writer.as_mut().map_or(Ok(()), |writer| writer.message(&path, entry))
            })?;
            if let Some(writer) = &mut writer {
                writer.total(&path)?;
            }
            Ok((findings, writer))
        })
        .await?;
        self.writer = writer;
        if self.options.sample.is_some() {
            // Whatever else looks alike says nothing about how many others there are.
            findings.others = 0;
        }
        findings.expected += unread.count;
        findings.missing += unread.count - unread.first.len() as u64;
        unread.first.into_iter().for_each(|entry| findings.miss(entry));
        let sources: Vec<&Folder> = group.sources.iter().map(|(folder, _)| folder).collect();
        named::accept(self.lane, self.mailbox, &sources, &mut findings).await?;
        named::report(self.lane, &sources, group, findings).await
    }
}

/// Compares a mailbox's destination with what a manifest says; the source is not connected to.
/// `file` holds the manifest that `section` was found in by [`manifest::check`].
///
/// # Errors
/// The destination cannot be read, or no room for what is put aside.
pub async fn recheck(
    context: &Context,
    mailbox: &Arc<Mailbox>,
    options: &Options,
    file: &Arc<File>,
    section: &manifest::Section,
    progress: &Progress,
) -> Result<Comparison, Error> {
    let normalisation = Normalisation::named(&section.header.normalisation).unwrap_or_default();
    let mut there = Landing::open(context, mailbox, normalisation).await?;
    progress.enter(Stage::Surveying);
    let folders = there.destination.folders().await.map_err(at_destination)?;
    progress.expect(section.folders.iter().map(|folder| folder.messages).sum(), 0);
    progress.enter(Stage::Transferring);
    let mut comparison = Comparison {
        normalisation: section.header.normalisation.clone(),
        manifest: Some(ManifestUsed {
            written: section.header.written,
            source: section.header.source.clone(),
        }),
        ..Comparison::default()
    };
    for folder in &section.folders {
        let path = FolderPath::parse(&folder.path);
        let status = folders.iter().find(|status| status.folder.path == path);
        let mut sorter = Sorter::new(&options.scratch);
        if let Some(status) = status {
            let theirs =
                collect::Folder { name: &status.folder.name, path: &path, number: 0, only: None };
            let mut reader = landing(there.destination.as_mut(), mailbox, options);
            sorter = reader.read(&theirs, sorter, &mut Unread::default()).await?;
        }
        progress.advance(folder.messages, 0);
        let findings = expected(mailbox, options, file, folder, sorter).await?;
        let name = status.map(|status| &status.folder.name);
        let destination = there.destination.as_mut();
        comparison.folders.push(named::report_manifest(destination, folder, name, findings).await?);
    }
    there.close().await;
    Ok(comparison)
}

/// What is in a manifest; see [`manifest::check`]. Blocks while it is read.
///
/// # Errors
/// As there.
pub fn sections(file: &Arc<File>) -> Result<Vec<manifest::Section>, manifest::Wrong> {
    manifest::check(BufReader::new(Tail { file: Arc::clone(file), at: 0 }))
}

/// Compares a folder of a manifest with what was read.
async fn expected(
    mailbox: &Arc<Mailbox>,
    options: &Options,
    file: &Arc<File>,
    folder: &manifest::Folder,
    theirs: Sorter,
) -> Result<Findings, Error> {
    let part = Tail { file: Arc::clone(file), at: folder.at };
    let messages = manifest::Messages::new(BufReader::new(part), folder);
    let (mailbox, scratch) = (Arc::clone(mailbox), options.scratch.clone());
    let ignore_flags = options.ignore_flags;
    let compared = blocking(move || {
        let mut ours = Sorter::new(&scratch);
        for entry in messages {
            let mut entry = match entry {
                Ok(entry) => entry,
                Err(wrong) => return Ok(Err(wrong)),
            };
            if ignore_flags {
                entry.flags = entry::FlagText::default();
            }
            if entry.accepted.is_none() {
                let id = entry.message_id.as_deref();
                entry.accepted = mailbox.accepted_by_message_id(id).map(Into::into);
            }
            ours.push(entry)?;
        }
        compare::compare(ours.finish()?, theirs.finish()?, |_| Ok(())).map(Ok)
    });
    Ok(compared.await??)
}

fn landing<'a>(
    destination: &'a mut dyn crate::platform::Destination,
    mailbox: &'a Mailbox,
    options: &Options,
) -> Reader<'a> {
    Reader {
        account: destination,
        at: at_destination,
        mailbox,
        select: None,
        flags: !options.ignore_flags,
        named: false,
        progress: None,
    }
}

/// Runs what waits for the disk off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(Error::Scratch)
}

/// A file from some place on, read without moving the file's own position.
struct Tail {
    file: Arc<File>,
    at: u64,
}

impl Read for Tail {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buffer, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
