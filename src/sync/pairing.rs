//! Which message is which: pairs messages of one list with those of another by what names them.
//! Pure.
//!
//! A pair is *sure* if the naming headers, with a Message-ID among them, and the size (and the
//! date, where both know it) agree and nothing else in either list could be meant. Whatever
//! could be more than one, or has no Message-ID, or another size, is *doubtful*: only the
//! content tells, and [`by_digest`] pairs those. Twins stay two: it is a multiset on both sides.

use std::collections::{BTreeMap, HashMap};

use crate::model::Fingerprint;
use crate::platform::ContentDigest;

/// What is known of a message that looks for its other half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trait {
    pub(crate) fingerprint: Fingerprint,
    /// Bytes.
    pub(crate) size: u64,
    /// INTERNALDATE, Unix seconds, where it is known and means something on both sides.
    pub(crate) date: Option<i64>,
    /// True if the naming headers hold a Message-ID.
    pub(crate) named: bool,
}

/// What [`pair`] found, by index into the two lists.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Paired {
    pub(crate) sure: Vec<(usize, usize)>,
    /// Groups in which only the content tells.
    pub(crate) doubtful: Vec<(Vec<usize>, Vec<usize>)>,
}

/// Whose word the sizes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sizes {
    /// The same server's: other sizes, other messages.
    OneServer,
    /// Two servers', which may count or store differently.
    TwoServers,
}

/// Pairs two lists. Near-linear: every message is looked at a constant number of times.
pub(crate) fn pair(left: &[Trait], right: &[Trait], sizes: Sizes) -> Paired {
    let key = |message: &Trait| {
        let size = if sizes == Sizes::OneServer { message.size } else { 0 };
        (message.fingerprint, size)
    };
    let mut wanted: HashMap<(Fingerprint, u64), (Vec<usize>, Vec<usize>)> = HashMap::new();
    for (at, message) in left.iter().enumerate() {
        wanted.entry(key(message)).or_default().0.push(at);
    }
    for (at, message) in right.iter().enumerate() {
        if let Some(group) = wanted.get_mut(&key(message)) {
            group.1.push(at);
        }
    }
    let mut groups: Vec<_> = wanted.into_values().filter(|g| !g.1.is_empty()).collect();
    groups.sort_unstable();
    let mut paired = Paired::default();
    for (ours, theirs) in groups {
        if let ([a], [b]) = (ours.as_slice(), theirs.as_slice())
            && agree(&left[*a], &right[*b])
        {
            paired.sure.push((*a, *b));
        } else {
            paired.doubtful.push((ours, theirs));
        }
    }
    paired
}

fn agree(a: &Trait, b: &Trait) -> bool {
    let same_date = a.date.zip(b.date).is_none_or(|(a, b)| a == b);
    a.named && b.named && a.size == b.size && same_date
}

/// Pairs a doubtful group by content, in order on both sides.
pub(crate) fn by_digest(
    ours: &[(usize, ContentDigest)],
    theirs: &[(usize, ContentDigest)],
) -> Vec<(usize, usize)> {
    let mut supply: BTreeMap<ContentDigest, std::collections::VecDeque<usize>> = BTreeMap::new();
    for (at, digest) in theirs {
        supply.entry(*digest).or_default().push_back(*at);
    }
    ours.iter()
        .filter_map(|(at, digest)| Some((*at, supply.get_mut(digest)?.pop_front()?)))
        .collect()
}

#[cfg(test)]
mod tests;
