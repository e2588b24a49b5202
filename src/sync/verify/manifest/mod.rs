//! The manifest: what a mailbox holds, written down so that its copy can be checked after the
//! source is gone. JSON Lines; docs/verify.md describes every line.
//!
//! A file is one section or several, one a mailbox: a header, the messages of each destination
//! folder with a total after them, and an end with the digest of all lines of the section before
//! it. Sections stand for themselves, so files may be joined.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

mod read;
mod write;

pub(super) use read::Messages;
pub use read::{Folder, Section, Wrong, check};
pub use write::{Sink, Writer};

/// The version of the format that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// No line is longer than this, bytes: a Message-ID fits a line of mail, flags and folder names
/// fit a command.
pub const LONGEST_LINE: usize = 256 * 1024;

/// The first line of a section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`VERSION`].
    pub drover_manifest: u32,
    /// The program that wrote it, and its version.
    pub tool: String,
    /// When it was begun.
    pub written: DateTime<Utc>,
    /// The account that was read: `imap://alice@old.example:993`.
    pub source: String,
    /// The account its messages are to be found in.
    pub destination: String,
    /// The normalisation under which the digests were taken.
    pub normalisation: String,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// The destination folder it belongs in.
    pub folder: String,
    /// Without the angle brackets.
    pub message_id: Option<String>,
    /// RFC822.SIZE at the source, bytes.
    pub size: u64,
    /// Of its normalised content, in hexadecimal.
    pub digest: String,
    /// INTERNALDATE.
    pub date: Option<DateTime<Utc>>,
    /// As IMAP writes them.
    pub flags: String,
    /// Why its loss is accepted, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
}

/// The end of a folder; one without messages has this line only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Total {
    /// The destination folder.
    pub total: String,
    /// Lines of it above.
    pub messages: u64,
    /// The sum of their sizes.
    pub bytes: u64,
}

/// The last line of a section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// SHA-256 over all lines of the section above, line ends included, in hexadecimal.
    pub sha256: String,
    /// Totals above.
    pub folders: u64,
    /// Messages above.
    pub messages: u64,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
