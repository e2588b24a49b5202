//! Writes one section.

use std::io;

use chrono::{DateTime, Utc};
use ring::digest;
use serde::Serialize;

use super::{End, Header, Message, Total, VERSION, hex};
use crate::model::Normalisation;
use crate::sync::verify::entry::Entry;

/// Lines are handed on in pieces of about this size, bytes.
const PIECE: usize = 64 * 1024;

/// Takes pieces of a manifest; an error ends the comparison.
pub type Sink = Box<dyn FnMut(&str) -> io::Result<()> + Send>;

/// Writes a section into a [`Sink`].
pub struct Writer {
    sink: Sink,
    piece: String,
    hash: digest::Context,
    folders: u64,
    messages: u64,
    /// Of the folder that is being written.
    folder: (u64, u64),
}

impl Writer {
    /// Nothing is written yet.
    pub fn new(sink: Sink) -> Self {
        Self {
            sink,
            piece: String::new(),
            hash: digest::Context::new(&digest::SHA256),
            folders: 0,
            messages: 0,
            folder: (0, 0),
        }
    }

    pub(in crate::sync::verify) fn begin(
        &mut self,
        source: String,
        destination: String,
        normalisation: Normalisation,
        written: DateTime<Utc>,
    ) -> io::Result<()> {
        self.line(&Header {
            drover_manifest: VERSION,
            tool: concat!("drover ", env!("CARGO_PKG_VERSION")).into(),
            written,
            source,
            destination,
            normalisation: normalisation.name().into(),
        })
    }

    pub(in crate::sync::verify) fn message(
        &mut self,
        folder: &str,
        entry: &Entry,
    ) -> io::Result<()> {
        self.messages += 1;
        self.folder.0 += 1;
        self.folder.1 = self.folder.1.saturating_add(entry.size);
        self.line(&Message {
            folder: folder.into(),
            message_id: entry.message_id.as_deref().map(str::to_owned),
            size: entry.size,
            digest: hex(&entry.digest),
            date: entry.date.and_then(|date| DateTime::from_timestamp(date, 0)),
            flags: entry.flags.0.to_string(),
            accepted: entry.accepted.as_deref().map(str::to_owned),
        })
    }

    pub(in crate::sync::verify) fn total(&mut self, folder: &str) -> io::Result<()> {
        let (messages, bytes) = std::mem::take(&mut self.folder);
        self.folders += 1;
        self.line(&Total { total: folder.into(), messages, bytes })
    }

    pub(in crate::sync::verify) fn end(&mut self) -> io::Result<()> {
        let sha256 = hex(self.hash.clone().finish().as_ref());
        self.line(&End { sha256, folders: self.folders, messages: self.messages })?;
        self.flush()
    }

    fn line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let start = self.piece.len();
        self.piece += &serde_json::to_string(value)?;
        self.piece.push('\n');
        self.hash.update(&self.piece.as_bytes()[start..]);
        if self.piece.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        if piece.is_empty() { Ok(()) } else { (self.sink)(&piece) }
    }
}
