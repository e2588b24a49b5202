//! Commands as they are sent: text and literals, sets split to a length servers take.

use std::sync::LazyLock;

use bytes::Bytes;
use chrono::format::{self, Item, Parsed, StrftimeItems};
use chrono::{DateTime, Datelike, FixedOffset};

use super::sayings::During;
use crate::model::{FolderName, IdSet};

/// A command line stays below this, bytes; RFC 7162 (4) asks servers to take 8192.
const MAX_SET: usize = 7500;

/// A command without its tag.
#[derive(Debug, Clone)]
pub(super) struct Command {
    /// For errors.
    pub(super) verb: &'static str,
    pub(super) chunks: Vec<Chunk>,
}

/// A piece of a command.
#[derive(Debug, Clone)]
pub(super) enum Chunk {
    Text(Vec<u8>),
    Literal(Bytes),
}

impl Command {
    /// Starts with the verb, as it is sent and as errors name it.
    pub(super) fn new(verb: &'static str) -> Self {
        Self { verb, chunks: vec![Chunk::Text(verb.as_bytes().to_vec())] }
    }

    /// A command whose text is at hand; `verb` only names it.
    pub(super) fn raw(verb: &'static str, text: impl Into<Vec<u8>>) -> Self {
        Self { verb, chunks: vec![Chunk::Text(text.into())] }
    }

    /// Changes flags of a set, and has the server say nothing of it.
    pub(super) fn store(set: &str, sign: char, flags: &str) -> Self {
        Self::raw("STORE", format!("UID STORE {set} {sign}FLAGS.SILENT ({flags})"))
    }

    /// Adds text as it is.
    pub(super) fn text(mut self, text: impl AsRef<[u8]>) -> Self {
        match self.chunks.last_mut() {
            Some(Chunk::Text(last)) => last.extend_from_slice(text.as_ref()),
            _ => self.chunks.push(Chunk::Text(text.as_ref().to_vec())),
        }
        self
    }

    /// Adds a blank and a folder's name: quoted, or as a literal where quotes cannot hold it.
    pub(super) fn folder(self, name: &FolderName) -> Self {
        let quotable = |b: &u8| matches!(b, 0x20..=0x7e);
        if name.0.iter().all(quotable) {
            return self.text(" ").text(quoted(&name.0));
        }
        self.text(" ").literal(Bytes::copy_from_slice(&name.0))
    }

    /// Its length in bytes, with its tag; `None` if there is a literal in it, which would have to
    /// wait for the server.
    pub(super) fn plain_length(&self) -> Option<usize> {
        /// A tag, a blank and a line end.
        const AROUND: usize = 16;
        let sizes = self.chunks.iter().map(|chunk| match chunk {
            Chunk::Text(text) => Some(text.len()),
            Chunk::Literal(_) => None,
        });
        Some(AROUND + sizes.sum::<Option<usize>>()?)
    }

    /// Adds a literal.
    pub(super) fn literal(mut self, bytes: Bytes) -> Self {
        self.chunks.push(Chunk::Literal(bytes));
        self
    }
}

/// What a refusal of this command is about.
pub(super) fn during(verb: &str) -> During {
    match verb {
        "APPEND" => During::Append,
        "UID COPY" | "UID MOVE" => During::Copy,
        "CREATE" | "RENAME" => During::Create,
        "FETCH" => During::Fetch,
        "LOGIN" | "AUTHENTICATE" => During::SignIn,
        _ => During::Other,
    }
}

/// In quotes, with the escapes of RFC 9051, 4.3.
pub(super) fn quoted(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    out.push(b'"');
    for &b in text {
        if matches!(b, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(b);
    }
    out.push(b'"');
    out
}

/// The set as IMAP writes it, split so that a command line holds each part. UIDs are 32 bits;
/// ids beyond cannot exist and are left out.
pub(super) fn set_parts(ids: &IdSet) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for range in ids.ranges() {
        let (first, last) = (*range.start(), (*range.end()).min(u32::MAX.into()));
        if first > last {
            continue;
        }
        let text = if first == last { first.to_string() } else { format!("{first}:{last}") };
        match parts.last_mut() {
            Some(part) if part.len() + text.len() < MAX_SET => {
                part.push(',');
                part.push_str(&text);
            }
            _ => parts.push(text),
        }
    }
    parts
}

/// How IMAP writes a date and a time (RFC 9051, 9: date-time), taken apart once: each message has
/// one, and is asked for it twice.
static DATE_TIME: LazyLock<Vec<Item<'static>>> =
    LazyLock::new(|| StrftimeItems::new("%d-%b-%Y %H:%M:%S %z").collect());

/// `"01-Jul-2003 10:52:37 +0200"` with its quotes; nothing for a year that does not fit.
pub(super) fn date_time(date: &DateTime<FixedOffset>) -> Option<String> {
    let fits = (0..=9999).contains(&date.year());
    fits.then(|| format!("\"{}\"", date.format_with_items(DATE_TIME.iter())))
}

/// `01-Jul-2003 10:52:37 +0200`, its day also blank-padded.
pub(super) fn parse_date_time(text: &str) -> Option<DateTime<FixedOffset>> {
    let mut parsed = Parsed::new();
    format::parse(&mut parsed, text.trim(), DATE_TIME.iter()).ok()?;
    parsed.to_datetime().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ItemId;

    #[test]
    fn names_are_quoted_or_sent_as_literals() {
        let text = |name: &[u8]| match &Command::new("X").folder(&FolderName(name.into())).chunks[..]
        {
            [Chunk::Text(text)] => String::from_utf8_lossy(text).into_owned(),
            [Chunk::Text(_), Chunk::Literal(bytes)] => format!("{bytes:?}"),
            other => panic!("{other:?}"),
        };
        assert_eq!(text(b"a \"b\" \\c"), "X \"a \\\"b\\\" \\\\c\"");
        assert_eq!(text(b"line\r\nA1 LOGOUT"), "b\"line\\r\\nA1 LOGOUT\"");
        assert_eq!(text(&[0xfc]), "b\"\\xfc\"");
    }

    #[test]
    fn long_sets_are_split_and_nothing_is_lost() {
        let ids: IdSet = (1..20_000).map(|n| ItemId(n * 2)).collect();
        let parts = set_parts(&ids);
        assert!(parts.len() > 1 && parts.iter().all(|part| part.len() < 8000));
        let n: usize = parts.iter().map(|part| part.split(',').count()).sum();
        assert_eq!(n, 19_999);
        assert_eq!(set_parts(&IdSet::range(ItemId(3), ItemId(u64::MAX))), ["3:4294967295"]);
        assert!(set_parts(&IdSet::new()).is_empty());
    }

    #[test]
    fn dates_are_written_with_their_zone() {
        let date = DateTime::parse_from_rfc3339("2003-07-01T10:52:37-02:30").unwrap();
        assert_eq!(date_time(&date).unwrap(), "\"01-Jul-2003 10:52:37 -0230\"");
    }
}
