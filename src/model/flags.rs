//! Flags and keywords of a message.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// The system flags that a message may carry (RFC 9051, 2.3.2). `\Recent` is the session's, not
/// the message's, and is never kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
#[serde(rename_all = "lowercase")]
pub enum SystemFlag {
    /// `\Seen`
    Seen = 1,
    /// `\Answered`
    Answered = 2,
    /// `\Flagged`
    Flagged = 4,
    /// `\Deleted`
    Deleted = 8,
    /// `\Draft`
    Draft = 16,
}

impl SystemFlag {
    /// All of them, in the order in which they are written.
    pub const ALL: [Self; 5] =
        [Self::Answered, Self::Flagged, Self::Deleted, Self::Seen, Self::Draft];

    /// With the backslash.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Seen => "\\Seen",
            Self::Answered => "\\Answered",
            Self::Flagged => "\\Flagged",
            Self::Deleted => "\\Deleted",
            Self::Draft => "\\Draft",
        }
    }
}

/// A keyword such as `$Forwarded`, in the spelling first seen. Compared without case
/// (RFC 9051, 2.3.2).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Keyword(pub Box<str>);

impl PartialEq for Keyword {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}
impl Eq for Keyword {}
impl PartialOrd for Keyword {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Keyword {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let lower = |k: &Self| k.0.bytes().map(|b| b.to_ascii_lowercase()).collect::<Vec<_>>();
        lower(self).cmp(&lower(other))
    }
}

/// The flags and keywords of one message.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Flags {
    system: u8,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    keywords: BTreeSet<Keyword>,
}

impl Flags {
    /// No flag at all.
    pub const NONE: Self = Self { system: 0, keywords: BTreeSet::new() };

    /// Reads flags as a server writes them: `\Seen`, `$Forwarded`, … in any case. `\Recent`,
    /// `\*` and unknown backslash flags are dropped.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut flags = Self::default();
        for name in names {
            if let Some(flag) =
                SystemFlag::ALL.into_iter().find(|f| f.as_str().eq_ignore_ascii_case(name))
            {
                flags.system |= flag as u8;
            } else if !name.starts_with('\\') && !name.is_empty() {
                flags.keywords.insert(Keyword(name.into()));
            }
        }
        flags
    }

    /// From the ledger's bits; see [`Flags::system_bits`].
    pub fn from_parts(system_bits: u8, keywords: impl IntoIterator<Item = Keyword>) -> Self {
        Self { system: system_bits & 31, keywords: keywords.into_iter().collect() }
    }

    /// The system flags as bits of [`SystemFlag`].
    pub const fn system_bits(&self) -> u8 {
        self.system
    }

    /// The keywords, sorted.
    pub fn keywords(&self) -> impl Iterator<Item = &Keyword> {
        self.keywords.iter()
    }

    /// True if no flag is set.
    pub fn is_empty(&self) -> bool {
        self.system == 0 && self.keywords.is_empty()
    }

    /// True if the system flag is set.
    pub const fn contains(&self, flag: SystemFlag) -> bool {
        self.system & flag as u8 != 0
    }

    /// The same without one system flag.
    pub fn without(mut self, flag: SystemFlag) -> Self {
        self.system &= !(flag as u8);
        self
    }

    /// The same with one system flag.
    pub fn with(mut self, flag: SystemFlag) -> Self {
        self.system |= flag as u8;
        self
    }

    /// Those of `self` that are not in `other`.
    pub fn minus(&self, other: &Self) -> Self {
        Self {
            system: self.system & !other.system,
            keywords: self.keywords.difference(&other.keywords).cloned().collect(),
        }
    }

    /// Those of both.
    pub fn both(&self, other: &Self) -> Self {
        self.minus(&self.minus(other))
    }

    /// Those of either.
    pub fn union(&self, other: &Self) -> Self {
        Self {
            system: self.system | other.system,
            keywords: self.keywords.union(&other.keywords).cloned().collect(),
        }
    }

    /// Only the keywords that `keep` allows; system flags stay.
    pub fn retain_keywords(&self, mut keep: impl FnMut(&Keyword) -> bool) -> Self {
        Self {
            system: self.system,
            keywords: self.keywords.iter().filter(|k| keep(k)).cloned().collect(),
        }
    }
}

/// As IMAP writes it, without the parentheses: `\Answered \Seen $Forwarded`.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        for flag in SystemFlag::ALL.into_iter().filter(|&flag| self.contains(flag)) {
            write!(f, "{space}{}", flag.as_str())?;
            space = " ";
        }
        for keyword in &self.keywords {
            write!(f, "{space}{}", keyword.0)?;
            space = " ";
        }
        Ok(())
    }
}
