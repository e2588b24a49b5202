//! Reads manifests, believing nothing.

use std::collections::HashSet;
use std::io::{self, BufRead};

use ring::digest;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{End, Header, LONGEST_LINE, Message, Total, VERSION, hex};
use crate::model::{ItemId, Normalisation};
use crate::sync::verify::entry::{Entry, FlagText};

/// What is wrong with a manifest, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Wrong {
    /// From 1.
    pub line: u64,
    /// In a sentence.
    pub what: String,
}

/// A section that was read to its end and is as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its first line.
    pub header: Header,
    /// The line it begins in.
    pub line: u64,
    /// Its folders, in order.
    pub folders: Vec<Folder>,
}

/// A folder of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The destination folder.
    pub path: String,
    /// Messages that belong in it.
    pub messages: u64,
    /// Where the first of them begins in the file, bytes.
    pub at: u64,
    /// The line it begins in.
    pub line: u64,
}

/// Reads a manifest through and tells what is in it: its sections, without their messages. In
/// the memory of one line and of the list of folders. Takes any bytes whatever.
///
/// # Errors
/// The first thing that is not as drover writes it: a file that was cut, altered, put together
/// wrongly or is something else.
pub fn check(manifest: impl BufRead) -> Result<Vec<Section>, Wrong> {
    let mut lines = Lines { reader: manifest, line: 0, at: 0, text: Vec::new() };
    let mut sections = Vec::new();
    while lines.next()? {
        let header: Header = lines.read("drover_manifest", "this is no manifest of drover")?;
        let Header { drover_manifest: version, normalisation, .. } = &header;
        if *version != VERSION {
            return Err(lines.wrong(format!(
                "the manifest's format is {version}, this drover reads {VERSION}"
            )));
        }
        if Normalisation::named(normalisation).is_none() {
            return Err(lines.wrong(format!(
                "digests were taken under `{normalisation}`, which this drover does not know"
            )));
        }
        let line = lines.line;
        let folders = section(&mut lines)?;
        sections.push(Section { header, line, folders });
    }
    match sections.is_empty() {
        true => Err(Wrong { line: 1, what: "the file is empty".into() }),
        false => Ok(sections),
    }
}

/// What follows a header.
fn section<R: BufRead>(lines: &mut Lines<R>) -> Result<Vec<Folder>, Wrong> {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&lines.text);
    let mut folders: Vec<Folder> = Vec::new();
    let mut paths = HashSet::new();
    // The folder whose messages are being read, and their size.
    let mut open: Option<(Folder, u64)> = None;
    let mut messages = 0;
    loop {
        if !lines.next()? {
            return Err(lines.wrong("the manifest ends before its last line: it was cut".into()));
        }
        if lines.has("sha256") {
            let end: End = lines.parse()?;
            if open.is_some() {
                return Err(lines.wrong("the last folder has no total: lines are missing".into()));
            }
            if (end.folders, end.messages) != (folders.len() as u64, messages) {
                return Err(lines.wrong(format!(
                    "{} messages in {} folders were written, {messages} in {} are here",
                    end.messages,
                    end.folders,
                    folders.len()
                )));
            }
            if end.sha256 != hex(hash.finish().as_ref()) {
                let what = "the digest is not that of the lines above: they were altered";
                return Err(lines.wrong(what.into()));
            }
            return Ok(folders);
        }
        let (at, line) = (lines.at - lines.text.len() as u64, lines.line);
        let folder = |path| Folder { path, messages: 0, at, line };
        if lines.has("total") {
            let total: Total = lines.parse()?;
            let (folder, bytes) = open.take().unwrap_or_else(|| (folder(total.total.clone()), 0));
            if folder.path != total.total {
                let what = format!("{} has no total: lines are missing", folder.path);
                return Err(lines.wrong(what));
            }
            if (folder.messages, bytes) != (total.messages, total.bytes) {
                return Err(lines.wrong(format!(
                    "{} had {} messages of {} bytes, {} of {bytes} are here",
                    folder.path, total.messages, total.bytes, folder.messages
                )));
            }
            if !paths.insert(folder.path.clone()) {
                return Err(lines.wrong(format!("the folder {} stands twice", folder.path)));
            }
            folders.push(folder);
        } else {
            let message = lines.read::<Message>("folder", "this line is none of a manifest")?;
            if digest_of(&message.digest).is_none() {
                return Err(lines.wrong("this digest is none: 64 hexadecimal digits".into()));
            }
            let (open, bytes) = open.get_or_insert_with(|| (folder(message.folder.clone()), 0));
            if open.path != message.folder {
                let what = format!("{} has no total: lines are missing", open.path);
                return Err(lines.wrong(what));
            }
            open.messages += 1;
            *bytes = bytes.saturating_add(message.size);
            messages += 1;
        }
        hash.update(&lines.text);
    }
}

/// The messages of one folder of a manifest that was checked; the reader stands at the first.
pub(in crate::sync::verify) struct Messages<R> {
    lines: Lines<R>,
    left: u64,
}

impl<R: BufRead> Messages<R> {
    pub(in crate::sync::verify) fn new(reader: R, folder: &Folder) -> Self {
        let lines = Lines { reader, line: folder.line - 1, at: folder.at, text: Vec::new() };
        Self { lines, left: folder.messages }
    }

    fn read(&mut self) -> Result<Entry, Wrong> {
        if !self.lines.next()? {
            return Err(self.lines.wrong("the manifest was cut while it was read".into()));
        }
        let message: Message = self.lines.parse()?;
        let Some(digest) = digest_of(&message.digest) else {
            return Err(self.lines.wrong("this digest is none".into()));
        };
        Ok(Entry {
            digest,
            flags: FlagText(message.flags.into()),
            date: message.date.map(|date| date.timestamp()),
            folder: 0,
            id: ItemId(self.lines.line),
            size: message.size,
            message_id: message.message_id.map(Into::into),
            accepted: message.accepted.map(Into::into),
        })
    }
}

impl<R: BufRead> Iterator for Messages<R> {
    type Item = Result<Entry, Wrong>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.read())
    }
}

/// Lines of bounded length.
struct Lines<R> {
    reader: R,
    /// The number of the line at hand, from 1.
    line: u64,
    /// Where the line after it begins.
    at: u64,
    /// With its line end.
    text: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    /// Goes to the next line; false at the end of the file.
    fn next(&mut self) -> Result<bool, Wrong> {
        self.text.clear();
        self.line += 1;
        let mut limited = io::Read::take(&mut self.reader, LONGEST_LINE as u64);
        let read = limited.read_until(b'\n', &mut self.text);
        let n = read.map_err(|error| self.wrong(format!("cannot be read: {error}")))?;
        self.at += n as u64;
        match self.text.last() {
            None => Ok(false),
            Some(b'\n') => Ok(true),
            Some(_) if n == LONGEST_LINE => Err(self.wrong("no line is as long as this".into())),
            Some(_) => Err(self.wrong("the line has no end: the manifest was cut".into())),
        }
    }

    /// Does the line begin as one whose first key is this?
    fn has(&self, key: &str) -> bool {
        let rest = self.text.strip_prefix(b"{\"").and_then(|t| t.strip_prefix(key.as_bytes()));
        rest.is_some_and(|rest| rest.starts_with(b"\":"))
    }

    fn read<T: DeserializeOwned>(&self, key: &str, otherwise: &str) -> Result<T, Wrong> {
        if self.has(key) { self.parse() } else { Err(self.wrong(otherwise.into())) }
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, Wrong> {
        // By way of a value: its errors name the key that is wrong, and not a column.
        let value: Result<Value, _> = serde_json::from_slice(&self.text);
        let parsed = value.and_then(serde_json::from_value);
        parsed.map_err(|error| self.wrong(format!("not as drover writes it: {error}")))
    }

    fn wrong(&self, what: String) -> Wrong {
        Wrong { line: self.line, what }
    }
}

fn digest_of(text: &str) -> Option<[u8; 32]> {
    let digits = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if text.len() != 64 || !text.as_bytes().iter().all(digits) {
        return None;
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}
