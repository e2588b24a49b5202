//! One message as both sides name it: ids, sets of ids, what a survey says about it.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::RangeInclusive;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, FixedOffset};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Flags;

/// A message's name within one folder and one [`Epoch`].
///
/// For IMAP it is the UID (RFC 9051, 2.3.1.1). Opaque above `platform/`: it may be compared,
/// stored and put in sets, never computed with. Platforms whose own ids are text keep a table
/// of handles, so that ids stay eight bytes and sets of them stay ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemId(pub u64);

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How long a folder's ids stay meaningful: for IMAP its UIDVALIDITY. Another epoch, other ids.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// Where a survey of one folder ended, in the platform's own encoding.
///
/// For IMAP: UIDVALIDITY, UIDNEXT, HIGHESTMODSEQ and the number of messages. Only the platform
/// that wrote it reads it; the ledger keeps it once everything surveyed up to it is settled.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cursor(pub Vec<u8>);

/// As base64: it may hold many thousand bytes, where a whole set of ids is in it.
impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// Earlier ledgers have numbers.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Numbers(Vec<u8>),
        }
        match Written::deserialize(deserializer)? {
            Written::Text(text) => {
                BASE64_STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
            }
            Written::Numbers(bytes) => Ok(Self(bytes)),
        }
    }
}

/// 64 bits over the headers that name a message, the same on every platform that keeps them.
///
/// Says "probably the same message"; `model::fingerprint` says how it is made and what settles
/// a doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub u64);

/// What a server calls a message wherever it is: the same in another folder, and after it was
/// moved there (IMAP: EMAILID, RFC 8474, 5.1; Gmail: X-GM-MSGID).
///
/// 64 bits of a digest, never 0. It only ever decides between messages whose fingerprints and
/// sizes agree, so that two which collide are not taken for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Identity(pub NonZeroU64);

impl Identity {
    /// From the server's word for it.
    pub fn of(text: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, text);
        let number =
            digest.as_ref().iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Self(NonZeroU64::new(number).unwrap_or(NonZeroU64::MIN))
    }
}

/// What a survey knows of one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its name in the folder that was surveyed.
    pub id: ItemId,
    /// Its flags at the time of the survey; absent where the server listed it without them.
    pub flags: Option<Flags>,
    /// Absent where the survey only looked for changed flags of messages known before.
    pub meta: Option<Meta>,
}

/// What never changes about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// INTERNALDATE: when the platform received it. An instant; zones are compared away.
    pub date: Option<DateTime<FixedOffset>>,
    /// RFC822.SIZE in bytes, as the server says it (some only estimate).
    pub size: u64,
}

/// A set of ids, kept as sorted, disjoint, non-adjacent ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdSet {
    ranges: Vec<(u64, u64)>,
}

impl IdSet {
    /// The empty set.
    pub const fn new() -> Self {
        Self { ranges: Vec::new() }
    }

    /// All ids from `first` to `last`; empty if `first > last`.
    pub fn range(first: ItemId, last: ItemId) -> Self {
        let mut set = Self::new();
        set.insert_range(first, last);
        set
    }

    /// All ids of all these ranges, in any order and overlapping as they may. Takes `n log n`
    /// time where inserting one by one could take `n²`.
    pub fn of_ranges(ranges: impl IntoIterator<Item = RangeInclusive<u64>>) -> Self {
        let mut sorted: Vec<(u64, u64)> =
            ranges.into_iter().map(|r| (*r.start(), *r.end())).filter(|(a, b)| a <= b).collect();
        sorted.sort_unstable();
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (a, b) in sorted {
            match ranges.last_mut() {
                Some(last) if a <= last.1.saturating_add(1) => last.1 = last.1.max(b),
                _ => ranges.push((a, b)),
            }
        }
        Self { ranges }
    }

    /// True if no id is in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many ids are in it.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(a, b)| b - a + 1).sum()
    }

    /// The lowest id.
    pub fn first(&self) -> Option<ItemId> {
        self.ranges.first().map(|r| ItemId(r.0))
    }

    /// The highest id.
    pub fn last(&self) -> Option<ItemId> {
        self.ranges.last().map(|r| ItemId(r.1))
    }

    /// True if `id` is in it.
    pub fn contains(&self, id: ItemId) -> bool {
        let at = self.ranges.partition_point(|r| r.1 < id.0);
        self.ranges.get(at).is_some_and(|r| r.0 <= id.0)
    }

    /// Adds one id.
    pub fn insert(&mut self, id: ItemId) {
        self.insert_range(id, id);
    }

    /// Adds all ids from `first` to `last`; nothing if `first > last`.
    pub fn insert_range(&mut self, first: ItemId, last: ItemId) {
        let (mut a, mut b) = (first.0, last.0);
        if a > b {
            return;
        }
        // Everything that touches [a, b], adjacency included, is merged into one range.
        let from = self.ranges.partition_point(|r| r.1.saturating_add(1) < a);
        let to = from + self.ranges[from..].partition_point(|r| r.0 <= b.saturating_add(1));
        if from < to {
            a = a.min(self.ranges[from].0);
            b = b.max(self.ranges[to - 1].1);
        }
        self.ranges.splice(from..to, [(a, b)]);
    }

    /// Takes one id out.
    pub fn remove(&mut self, id: ItemId) {
        let at = self.ranges.partition_point(|r| r.1 < id.0);
        let Some(&(a, b)) = self.ranges.get(at) else { return };
        if id.0 < a {
            return;
        }
        let mut rest = Vec::with_capacity(2);
        if a < id.0 {
            rest.push((a, id.0 - 1));
        }
        if id.0 < b {
            rest.push((id.0 + 1, b));
        }
        self.ranges.splice(at..=at, rest);
    }

    /// Adds every id of `other`.
    pub fn extend_set(&mut self, other: &Self) {
        for r in &other.ranges {
            self.insert_range(ItemId(r.0), ItemId(r.1));
        }
    }

    /// The ids that are in `self` and not in `other`.
    pub fn difference(&self, other: &Self) -> Self {
        let mut out = Self::new();
        let mut cuts = other.ranges.iter().peekable();
        for &(a, b) in &self.ranges {
            let mut at = a;
            let mut exhausted = false;
            while let Some(&&(c, d)) = cuts.peek() {
                if d < at {
                    cuts.next();
                    continue;
                }
                if c > b {
                    break;
                }
                if c > at {
                    out.ranges.push((at, c - 1));
                }
                if d >= b {
                    exhausted = true;
                    break;
                }
                at = d + 1;
                cuts.next();
            }
            if !exhausted && at <= b {
                out.ranges.push((at, b));
            }
        }
        out
    }

    /// The ids that are in both.
    pub fn intersection(&self, other: &Self) -> Self {
        self.difference(&self.difference(other))
    }

    /// Its ranges, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
        self.ranges.iter().map(|&(a, b)| a..=b)
    }

    /// Its ids, ascending. Mind open ranges such as `1:*`: this walks every number.
    pub fn iter(&self) -> impl Iterator<Item = ItemId> + '_ {
        self.ranges.iter().flat_map(|&(a, b)| (a..=b).map(ItemId))
    }
}

impl FromIterator<ItemId> for IdSet {
    fn from_iter<I: IntoIterator<Item = ItemId>>(ids: I) -> Self {
        Self::of_ranges(ids.into_iter().map(|id| id.0..=id.0))
    }
}

/// As IMAP writes it: `1:3,7,9:12`; `(none)` if empty.
impl fmt::Display for IdSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("(none)");
        }
        for (n, (a, b)) in self.ranges.iter().enumerate() {
            if n > 0 {
                f.write_str(",")?;
            }
            if a == b { write!(f, "{a}")? } else { write!(f, "{a}:{b}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
