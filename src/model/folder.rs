//! Folders: the platform's own name, the path people read, the role.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A folder's name in the platform's own bytes; for IMAP as it stood on the wire (servers send
/// illegal modified UTF-7 and raw 8-bit, so only the wire form is sure to find it again).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FolderName(pub Vec<u8>);

/// A folder's place as a person reads it: decoded segments without the server's namespace
/// prefix or separator. `INBOX` is always spelt so.
///
/// Written with `/` between segments; a `/` inside a segment shows as `=2F`, and a text that
/// looks like such an escape shows its `=` as `=3D`, so that the written form is injective.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderPath(Vec<String>);

impl FolderPath {
    /// From decoded segments. A first and only segment that spells INBOX in any case is INBOX
    /// (RFC 9051, 5.1); so is a first segment with children.
    pub fn new(segments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut segments: Vec<String> = segments.into_iter().map(Into::into).collect();
        if let Some(first) = segments.first_mut()
            && first.eq_ignore_ascii_case("INBOX")
        {
            *first = "INBOX".into();
        }
        Self(segments)
    }

    /// The inbox.
    pub fn inbox() -> Self {
        Self(vec!["INBOX".into()])
    }

    /// True for the inbox itself, not for folders below it.
    pub fn is_inbox(&self) -> bool {
        self.0.len() == 1 && self.0[0] == "INBOX"
    }

    /// Its segments, the root first.
    pub fn segments(&self) -> &[String] {
        &self.0
    }

    /// The same below `prefix`.
    pub fn below(&self, prefix: &Self) -> Self {
        Self(prefix.0.iter().chain(&self.0).cloned().collect())
    }

    /// Reads the written form: segments between `/`, escapes undone. Empty segments are dropped.
    pub fn parse(text: &str) -> Self {
        Self::new(text.split('/').filter(|s| !s.is_empty()).map(unescape))
    }
}

impl fmt::Display for FolderPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, segment) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("/")?;
            }
            // Control characters would let a folder's name write on the terminal.
            f.write_str(&escape(segment, |c| c == '/' || c.is_control()))?;
        }
        Ok(())
    }
}

impl Serialize for FolderPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FolderPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::parse(&String::deserialize(deserializer)?))
    }
}

/// Replaces every character that `illegal` names by `=` and the two-digit hexadecimal form of
/// each of its UTF-8 bytes, and the `=` of anything that already looks like that by `=3D`.
///
/// Injective: two different texts never come out the same, whatever `illegal` says.
pub(crate) fn escape(text: &str, mut illegal: impl FnMut(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if (c == '=' && starts_escape(&text[at..])) || illegal(c) {
            let mut bytes = [0; 4];
            for b in c.encode_utf8(&mut bytes).bytes() {
                out.push_str(&format!("={b:02X}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Undoes [`escape`].
pub(crate) fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == '=' && starts_escape(rest) {
            // `starts_escape` saw two hexadecimal digits.
            out.push(u8::from_str_radix(&rest[1..3], 16).unwrap_or(b'='));
            rest = &rest[3..];
        } else {
            out.extend_from_slice(&rest.as_bytes()[..c.len_utf8()]);
            rest = &rest[c.len_utf8()..];
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn starts_escape(text: &str) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'A'..=b'F').contains(&b);
    matches!(text.as_bytes(), [b'=', a, b, ..] if hex(*a) && hex(*b))
}

/// What a folder is for (RFC 6154 attributes, RFC 8457 `\Important`, and the inbox).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The inbox, which every account has.
    Inbox,
    /// `\All`: a view of every message.
    All,
    /// `\Archive`
    Archive,
    /// `\Drafts`
    Drafts,
    /// `\Flagged`: a view of the flagged messages.
    Flagged,
    /// `\Important`: a view of the messages the server thinks important.
    Important,
    /// `\Junk`
    Junk,
    /// `\Sent`
    Sent,
    /// `\Trash`
    Trash,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Inbox,
        Self::All,
        Self::Archive,
        Self::Drafts,
        Self::Flagged,
        Self::Important,
        Self::Junk,
        Self::Sent,
        Self::Trash,
    ];

    /// The attribute as LIST writes it, also accepted in definitions: `\Sent`. The inbox has no
    /// attribute in RFC 6154; `\Inbox` is what some servers and drover's definitions write.
    pub const fn attribute(self) -> &'static str {
        match self {
            Self::Inbox => "\\Inbox",
            Self::All => "\\All",
            Self::Archive => "\\Archive",
            Self::Drafts => "\\Drafts",
            Self::Flagged => "\\Flagged",
            Self::Important => "\\Important",
            Self::Junk => "\\Junk",
            Self::Sent => "\\Sent",
            Self::Trash => "\\Trash",
        }
    }

    /// Reads `\Sent` in any case (Cyrus writes `\sent`).
    pub fn from_attribute(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.attribute().eq_ignore_ascii_case(text))
    }

    /// True for views: folders that show messages which live elsewhere. Copying a view would
    /// double them.
    pub const fn is_view(self) -> bool {
        matches!(self, Self::All | Self::Flagged | Self::Important)
    }
}

/// One folder of one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// How the platform finds it.
    pub name: FolderName,
    /// How people read it.
    pub path: FolderPath,
    /// What it is for, by the server's own word or by a well-known name.
    pub role: Option<Role>,
}

#[cfg(test)]
mod tests;
