//! What a response says, typed. Whatever is not understood is [`Reply::Other`], never an error.

use std::ops::RangeInclusive;

use bytes::Bytes;
use chrono::{DateTime, FixedOffset};

use super::command::parse_date_time;
use super::parse::{Scanner, Value, number};
use super::saying::{Saying, Status, printable, saying, status};
use super::wire::{Literal, Response};
use crate::flow::Room;
use crate::model::{Flags, IdSet, Identity, ItemId};
use crate::platform::{ContentDigest, Quota};

/// No message is larger, whatever its server says, bytes; so that sizes can be added.
const MAX_SIZE: u64 = 1 << 40;

/// One response.
#[derive(Debug)]
pub(super) enum Reply {
    /// The end of the command with this tag.
    Tagged(String, Saying),
    /// An untagged status.
    Status(Saying),
    /// `+`: the server waits for more.
    Continue(String),
    /// CAPABILITY
    Capability(Vec<String>),
    /// ENABLED
    Enabled(Vec<String>),
    /// LIST
    List(Listed),
    /// STATUS
    FolderStatus(Counted),
    /// SEARCH or ESEARCH: the ids found.
    Found(IdSet),
    /// NAMESPACE
    Namespace(Namespaces),
    /// `n` EXISTS
    Exists(u64),
    /// EXPUNGE; the number is of no use, for nothing here goes by position.
    Expunge,
    /// QUOTA: the room there is, if it is limited (RFC 9208, 4.2.1).
    Quota(Option<Quota>),
    /// VANISHED; true for EARLIER (RFC 7162, 3.2.10).
    Vanished(bool, IdSet),
    /// FETCH or UIDFETCH (RFC 9586)
    Fetch(Fetched),
    /// A line that is neither tagged nor untagged: Exchange's `Server Unavailable. 15`.
    Stray(String),
    /// Anything else.
    Other,
}

/// One line of LIST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// With their backslashes.
    pub(super) attributes: Vec<String>,
    pub(super) separator: Option<char>,
    pub(super) name: Vec<u8>,
}

/// One line of STATUS. What the server left out is `None`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Counted {
    pub(super) name: Vec<u8>,
    pub(super) messages: Option<u64>,
    pub(super) uid_next: Option<u64>,
    pub(super) uid_validity: Option<u64>,
    pub(super) highest_modseq: Option<u64>,
    /// All messages together, bytes (RFC 8438).
    pub(super) size: Option<u64>,
}

/// Prefixes and separators of NAMESPACE (RFC 2342), undecoded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Namespaces {
    pub(super) personal: Vec<(Vec<u8>, Option<char>)>,
    /// Other users' and shared ones.
    pub(super) foreign: Vec<(Vec<u8>, Option<char>)>,
}

/// What FETCH said of one message. What it did not say is `None`.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    pub(super) uid: Option<u64>,
    pub(super) flags: Option<Flags>,
    pub(super) date: Option<DateTime<FixedOffset>>,
    pub(super) size: Option<u64>,
    /// X-GM-LABELS (Gmail IMAP extensions), as they came.
    pub(super) labels: Option<Vec<Vec<u8>>>,
    /// EMAILID (RFC 8474, 5.1) or X-GM-MSGID (Gmail IMAP extensions).
    pub(super) identity: Option<Identity>,
    /// `BODY[]`, and its room if it came as a literal.
    pub(super) body: Option<(Bytes, Option<Room>)>,
    /// The digest of `BODY[]`, where that was asked for.
    pub(super) digest: Option<ContentDigest>,
    /// `BODY[HEADER…]`
    pub(super) header: Option<Bytes>,
}

impl Fetched {
    /// The message and its flags, if both were said.
    pub(super) fn known_flags(self) -> Option<(u64, Flags)> {
        Some((self.uid?, self.flags?))
    }
}

/// Reads one response.
pub(super) fn read(response: Response) -> Reply {
    let mut scanner = Scanner::new(response);
    let first = scanner.word();
    if first.as_ref() == b"+" {
        return Reply::Continue(printable(&scanner.rest()));
    }
    if first.as_ref() == b"*" {
        return untagged(&mut scanner);
    }
    let word = scanner.word();
    let status = status(&word).filter(|s| matches!(s, Status::Ok | Status::No | Status::Bad));
    match status {
        Some(status) => Reply::Tagged(printable(&first), saying(status, &scanner.rest())),
        None => {
            let line = [&first[..], b" ", &word, b" ", &scanner.rest()].concat();
            Reply::Stray(printable(&line).trim().to_owned())
        }
    }
}

fn untagged(scanner: &mut Scanner) -> Reply {
    let word = scanner.word();
    if let Some(n) = number(&word) {
        let word = scanner.word();
        return match word.to_ascii_uppercase().as_slice() {
            b"EXISTS" => Reply::Exists(n),
            b"EXPUNGE" => Reply::Expunge,
            b"FETCH" => Reply::Fetch(fetched(scanner, None)),
            b"UIDFETCH" => Reply::Fetch(fetched(scanner, Some(n))),
            _ => Reply::Other,
        };
    }
    if let Some(status) = status(&word) {
        return Reply::Status(saying(status, &scanner.rest()));
    }
    match word.to_ascii_uppercase().as_slice() {
        b"CAPABILITY" => Reply::Capability(words(&scanner.rest())),
        b"ENABLED" => Reply::Enabled(words(&scanner.rest())),
        b"LIST" => listed(scanner).map_or(Reply::Other, Reply::List),
        b"STATUS" => counted(scanner).map_or(Reply::Other, Reply::FolderStatus),
        b"SEARCH" => Reply::Found(searched(scanner)),
        b"ESEARCH" => Reply::Found(esearched(scanner)),
        b"NAMESPACE" => Reply::Namespace(namespaces(scanner)),
        b"QUOTA" => Reply::Quota(quota(scanner)),
        b"VANISHED" => vanished(scanner),
        _ => Reply::Other,
    }
}

/// Words between white space, upper case.
fn words(rest: &[u8]) -> Vec<String> {
    printable(rest).split_whitespace().map(str::to_ascii_uppercase).collect()
}

/// The capabilities in a response code.
pub(super) fn code_words(rest: &str) -> Vec<String> {
    words(rest.as_bytes())
}

fn listed(scanner: &mut Scanner) -> Option<Listed> {
    let mut attributes = Vec::new();
    for word in scanner.value()?.words() {
        // Some servers glue attributes: `(\Sent\HasNoChildren)`.
        let glued = word.strip_prefix('\\').unwrap_or(&word);
        attributes.extend(glued.split('\\').filter(|a| !a.is_empty()).map(|a| format!("\\{a}")));
    }
    let separator = separator(scanner.value()?);
    // A folder may be called NIL; where a name must stand, it is one.
    let name = match scanner.value()? {
        Value::Atom(atom) => {
            // An unquoted name with a blank in it: the rest of the line belongs to it.
            let rest = scanner.rest();
            if rest.is_empty() || rest.starts_with(b"(") {
                atom.to_vec()
            } else {
                [&atom[..], b" ", &rest].concat()
            }
        }
        other => other.bytes()?.to_vec(),
    };
    Some(Listed { attributes, separator, name })
}

fn separator(value: Value) -> Option<char> {
    value.bytes().and_then(|b| b.first().copied()).filter(u8::is_ascii).map(char::from)
}

fn counted(scanner: &mut Scanner) -> Option<Counted> {
    let name = scanner.value()?.name()?;
    let mut counted = Counted { name: name.to_vec(), ..Counted::default() };
    let mut items = scanner.value()?.list().into_iter();
    while let (Some(item), value) = (items.next().and_then(Value::text), items.next()) {
        let value = value.and_then(Value::number);
        match item.to_ascii_uppercase().as_str() {
            "MESSAGES" => counted.messages = value,
            "UIDNEXT" => counted.uid_next = value,
            "UIDVALIDITY" => counted.uid_validity = value,
            "HIGHESTMODSEQ" => counted.highest_modseq = value,
            "SIZE" => counted.size = value,
            _ => {}
        }
    }
    Some(counted)
}

/// `* SEARCH 2 84 882 (MODSEQ 917162500)`
fn searched(scanner: &mut Scanner) -> IdSet {
    let rest = scanner.rest();
    let numbers = rest.split(|&b| b == b' ').take_while(|word| !word.starts_with(b"("));
    numbers.filter_map(number).map(ItemId).collect()
}

/// `* ESEARCH (TAG "a") UID COUNT 17 ALL 4:18,21`
fn esearched(scanner: &mut Scanner) -> IdSet {
    let mut found = IdSet::new();
    while let Some(value) = scanner.value() {
        if value.text().is_some_and(|item| item.eq_ignore_ascii_case("ALL"))
            && let Some(set) = scanner.value().and_then(Value::bytes)
        {
            found = id_set(&set);
        }
    }
    found
}

fn namespaces(scanner: &mut Scanner) -> Namespaces {
    let mut read = || {
        let entries = scanner.value().map(Value::list).unwrap_or_default();
        entries
            .into_iter()
            .filter_map(|entry| {
                let mut fields = entry.list().into_iter();
                let prefix = fields.next()?.bytes()?.to_vec();
                Some((prefix, fields.next().and_then(separator)))
            })
            .collect::<Vec<_>>()
    };
    let personal = read();
    let mut foreign = read();
    foreign.extend(read());
    Namespaces { personal, foreign }
}

/// `"root" (STORAGE 10 512 MESSAGE 5 100)`: of these the first, in units of 1024 bytes.
fn quota(scanner: &mut Scanner) -> Option<Quota> {
    scanner.value()?;
    let mut fields = scanner.value()?.list().into_iter();
    loop {
        let name = fields.next()?.text()?;
        let (used, limit) = (fields.next()?.number()?, fields.next()?.number()?);
        if name.eq_ignore_ascii_case("STORAGE") {
            let bytes = |units: u64| units.saturating_mul(1024);
            return Some(Quota { used: bytes(used), limit: bytes(limit) });
        }
    }
}

fn vanished(scanner: &mut Scanner) -> Reply {
    let mut earlier = false;
    while let Some(value) = scanner.value() {
        match value {
            Value::List(words) => {
                earlier |= words
                    .into_iter()
                    .filter_map(Value::text)
                    .any(|word| word.eq_ignore_ascii_case("EARLIER"));
            }
            other => {
                let set = other.bytes().map(|set| id_set(&set)).unwrap_or_default();
                return Reply::Vanished(earlier, set);
            }
        }
    }
    Reply::Other
}

/// The ranges of a set, in the order in which they are written; what is no number is left out.
pub(super) fn ranges(set: &[u8]) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
    set.split(|&b| b == b',').filter_map(|range| {
        let mut ends = range.splitn(2, |&b| b == b':');
        let first = number(ends.next()?)?;
        let last = ends.next().map_or(Some(first), number)?;
        Some(first.min(last)..=first.max(last))
    })
}

/// The same as a set.
pub(super) fn id_set(set: &[u8]) -> IdSet {
    IdSet::of_ranges(ranges(set))
}

fn fetched(scanner: &mut Scanner, uid: Option<u64>) -> Fetched {
    let mut fetched = Fetched { uid, ..Fetched::default() };
    let mut items = scanner.value().map(Value::list).unwrap_or_default().into_iter();
    while let Some(item) = items.next() {
        let Some(name) = item.bytes() else { continue };
        let Some(value) = items.next() else { break };
        let name = name.to_ascii_uppercase();
        match name.as_slice() {
            b"UID" => fetched.uid = value.number().or(fetched.uid),
            b"FLAGS" => {
                fetched.flags = Some(Flags::parse(value.words().iter().map(String::as_str)));
            }
            b"INTERNALDATE" => fetched.date = value.text().and_then(|text| parse_date_time(&text)),
            b"RFC822.SIZE" => fetched.size = value.number().map(|size| size.min(MAX_SIZE)),
            b"X-GM-LABELS" => {
                let labels = value.list().into_iter().filter_map(Value::name);
                fetched.labels = Some(labels.map(|label| label.to_vec()).collect());
            }
            b"EMAILID" => fetched.identity = value.list().into_iter().find_map(identity),
            b"X-GM-MSGID" => fetched.identity = identity(value),
            b"BODY[]" | b"RFC822" => match value {
                Value::Literal(Literal::Body(bytes, room)) => {
                    fetched.body = Some((bytes, Some(room)));
                }
                Value::Literal(Literal::Digest(digest)) => fetched.digest = Some(digest),
                Value::Literal(Literal::Plain(bytes)) | Value::Quoted(bytes) => {
                    fetched.body = Some((bytes, None));
                }
                // A word is NIL, or an announcement that is none: no message is made of that.
                Value::Atom(_) | Value::List(_) => {}
            },
            _ if name.starts_with(b"BODY[HEADER") => fetched.header = value.bytes(),
            _ => {}
        }
    }
    fetched
}

/// An object's name (RFC 8474, 7: objectid); one that is malformed names nothing.
fn identity(value: Value) -> Option<Identity> {
    let name = value.bytes()?;
    let is_plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let is_name = (1..=255).contains(&name.len()) && name.iter().all(is_plain);
    is_name.then(|| Identity::of(&name))
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
