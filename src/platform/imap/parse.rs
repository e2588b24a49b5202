//! Reads a framed response as the values IMAP is made of: atoms, strings, lists, NIL.
//!
//! Tolerant by design: whatever a server sends becomes some value, or the end. Nothing here
//! fails, and nothing here panics.

use bytes::Bytes;

use super::wire::{Literal, Part, Response};

/// Lists deeper than this are cut off: nothing drover asks for nests so deep.
const MAX_DEPTH: usize = 32;
/// And responses of more values: a value takes many times the room of the two bytes it may be
/// sent in.
const MAX_VALUES: usize = 100_000;
/// An atom's section is closed within so many bytes, or is none.
const MAX_SECTION: usize = 4096;
/// Above this is no number: IMAP's have 32 or 63 bits (RFC 9051, 9; RFC 7162, 7), and two of them
/// can still be added.
const MAX_NUMBER: u64 = i64::MAX as u64;

/// One value of a response.
#[derive(Debug)]
pub(super) enum Value {
    /// An unquoted word, with a section in brackets where it has one: `BODY[HEADER]`, `\Seen`,
    /// `12`, `NIL`.
    Atom(Bytes),
    /// A quoted string, its escapes undone.
    Quoted(Bytes),
    /// A literal.
    Literal(Literal),
    /// A list in parentheses.
    List(Vec<Self>),
}

impl Value {
    /// The bytes of a word or string; `None` for a list, for NIL, and for a digested body.
    pub(super) fn bytes(self) -> Option<Bytes> {
        match self {
            Self::Atom(atom) => (!atom.eq_ignore_ascii_case(b"NIL")).then_some(atom),
            Self::Quoted(bytes)
            | Self::Literal(Literal::Plain(bytes) | Literal::Body(bytes, _)) => Some(bytes),
            Self::Literal(Literal::Digest(_)) | Self::List(_) => None,
        }
    }

    /// The bytes of a word or string where a name must stand: `NIL` is one there.
    pub(super) fn name(self) -> Option<Bytes> {
        match self {
            Self::Atom(atom) => Some(atom),
            other => other.bytes(),
        }
    }

    /// A word or string as text, lossy.
    pub(super) fn text(self) -> Option<String> {
        self.bytes().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A number; also one in quotes.
    pub(super) fn number(self) -> Option<u64> {
        number(&self.bytes()?)
    }

    /// The elements of a list; of a single word, that word; of NIL, nothing.
    pub(super) fn list(self) -> Vec<Self> {
        match self {
            Self::List(list) => list,
            Self::Atom(atom) if atom.eq_ignore_ascii_case(b"NIL") => Vec::new(),
            other => vec![other],
        }
    }

    /// A list's words as text.
    pub(super) fn words(self) -> Vec<String> {
        self.list().into_iter().filter_map(Self::text).collect()
    }
}

/// A decimal number that fills all of `bytes`.
pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    let number = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    (number <= MAX_NUMBER).then_some(number)
}

/// Walks over a response.
pub(super) struct Scanner {
    parts: std::vec::IntoIter<Part>,
    text: Bytes,
    at: usize,
    /// So many values were read.
    values: usize,
}

impl Scanner {
    /// From the start of a response.
    pub(super) fn new(response: Response) -> Self {
        let mut parts = response.into_iter();
        let text = match parts.next() {
            Some(Part::Text(text)) => text,
            _ => Bytes::new(),
        };
        Self { parts, text, at: 0, values: 0 }
    }

    /// The next word up to white space, whatever it is made of; empty at the end of the text.
    pub(super) fn word(&mut self) -> Bytes {
        self.skip_spaces();
        let rest = &self.text[self.at..];
        let end = rest.iter().position(|&b| b == b' ').unwrap_or(rest.len());
        self.take(end)
    }

    /// What is left of the text up to the next literal.
    pub(super) fn rest(&mut self) -> Bytes {
        self.skip_spaces();
        self.take(self.text.len() - self.at)
    }

    /// The next value; `None` at the end or at a closing parenthesis.
    pub(super) fn value(&mut self) -> Option<Value> {
        self.value_at(0)
    }

    fn value_at(&mut self, depth: usize) -> Option<Value> {
        self.skip_spaces();
        self.values += 1;
        if self.values > MAX_VALUES {
            self.at = self.text.len();
            return None;
        }
        match self.text.get(self.at) {
            None => self.literal(),
            Some(b')') => None,
            Some(b'(') => {
                self.at += 1;
                if depth >= MAX_DEPTH {
                    self.at = self.text.len();
                    return None;
                }
                let mut list = Vec::new();
                while let Some(value) = self.value_at(depth + 1) {
                    list.push(value);
                }
                if self.text.get(self.at) == Some(&b')') {
                    self.at += 1;
                }
                Some(Value::List(list))
            }
            Some(b'"') => Some(Value::Quoted(self.quoted())),
            Some(_) => Some(Value::Atom(self.atom())),
        }
    }

    /// The literal that stands where the text ended.
    fn literal(&mut self) -> Option<Value> {
        let Some(Part::Literal(literal)) = self.parts.next() else { return None };
        self.at = 0;
        self.text = match self.parts.next() {
            Some(Part::Text(text)) => text,
            _ => Bytes::new(),
        };
        Some(Value::Literal(literal))
    }

    fn quoted(&mut self) -> Bytes {
        let start = self.at + 1;
        let mut at = start;
        let mut escapes = false;
        while let Some(&b) = self.text.get(at) {
            match b {
                b'"' => break,
                b'\\' => {
                    escapes = true;
                    at += 2;
                }
                _ => at += 1,
            }
        }
        let end = at.min(self.text.len());
        self.at = (end + 1).min(self.text.len());
        let raw = self.text.slice(start.min(end)..end);
        if !escapes {
            return raw;
        }
        let mut out = Vec::with_capacity(raw.len());
        let mut bytes = raw.iter();
        while let Some(&b) = bytes.next() {
            out.push(if b == b'\\' { bytes.next().copied().unwrap_or(b) } else { b });
        }
        out.into()
    }

    fn atom(&mut self) -> Bytes {
        let rest = &self.text[self.at..];
        let mut end = 0;
        let mut section = false;
        while let Some(&b) = rest.get(end) {
            match b {
                b'[' => section = true,
                b']' => section = false,
                b' ' | b'(' | b')' if !section => break,
                _ => {}
            }
            end += 1;
            if section && end > MAX_SECTION {
                break;
            }
        }
        if section {
            // An opening bracket that is never closed is no section.
            end = rest.iter().position(|b| matches!(b, b' ' | b'(' | b')')).unwrap_or(rest.len());
        }
        self.take(end)
    }

    fn take(&mut self, n: usize) -> Bytes {
        let taken = self.text.slice(self.at..self.at + n);
        self.at += n;
        taken
    }

    fn skip_spaces(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }
}
