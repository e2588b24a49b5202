//! Which message is which: pairs messages of one list with those of another by what names them.
//! Pure.
//!
//! A pair is *sure* if the naming headers, with a Message-ID among them, and the size (and the
//! date, where both know it) agree and nothing else in either list could be meant. Whatever
//! could be more than one, or has no Message-ID, or another size, is *doubtful*: only the
//! content tells, and [`by_digest`] pairs those. Twins stay two: it is a multiset on both sides.
//!
//! Where one server has a name for each message in every folder (EMAILID, RFC 8474), that decides
//! between messages of the same headers and size: the same name, and nothing else of that name, is
//! *sure*; other names are other messages.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::model::{Fingerprint, Identity};
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
    /// What the server calls it in every folder, where that means something on both sides.
    pub(crate) identity: Option<Identity>,
}

impl Trait {
    /// Of a message of which only this is known.
    pub(crate) const fn at_destination(fingerprint: Fingerprint, size: u64) -> Self {
        Self { fingerprint, size, date: None, named: true, identity: None }
    }

    /// What of it means something on another server.
    pub(crate) const fn elsewhere(self) -> Self {
        Self { date: None, identity: None, ..self }
    }
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
    let trusted = identities_tell(left, right);
    for (mut ours, mut theirs) in groups {
        if trusted {
            paired.sure.extend(by_identity(left, right, &mut ours, &mut theirs));
        }
        if ours.is_empty() || theirs.is_empty() {
            continue;
        }
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

/// Do identities tell messages apart? A server that gives one to messages with other headers lies.
fn identities_tell(left: &[Trait], right: &[Trait]) -> bool {
    let mut known: HashMap<Identity, Fingerprint> = HashMap::new();
    left.iter().chain(right).all(|message| {
        message.identity.is_none_or(|identity| {
            *known.entry(identity).or_insert(message.fingerprint) == message.fingerprint
        })
    })
}

/// Takes those out of a group whose identities decide about them, and pairs what is the same.
fn by_identity(
    left: &[Trait],
    right: &[Trait],
    ours: &mut Vec<usize>,
    theirs: &mut Vec<usize>,
) -> Vec<(usize, usize)> {
    let (mine, yours) = (Names::of(left, ours), Names::of(right, theirs));
    let both = mine.known.iter();
    let both = both.filter_map(|(identity, a)| Some(((*a)?, (*yours.known.get(identity)?)?)));
    let sure: Vec<(usize, usize)> = both.collect();
    let paired: HashSet<Identity> = sure.iter().filter_map(|(a, _)| left[*a].identity).collect();
    // What is called otherwise than everything on the other side is not there.
    let is_left = |message: &Trait, others: &Names| match message.identity {
        Some(name) => {
            !paired.contains(&name) && (others.has_nameless || others.known.contains_key(&name))
        }
        None => others.has_nameless || others.known.len() > paired.len(),
    };
    ours.retain(|&at| is_left(&left[at], &yours));
    theirs.retain(|&at| is_left(&right[at], &mine));
    sure
}

/// What a group's messages are called.
struct Names {
    /// Which message, if only one of the group is called so: copies share a name.
    known: BTreeMap<Identity, Option<usize>>,
    has_nameless: bool,
}

impl Names {
    fn of(list: &[Trait], group: &[usize]) -> Self {
        let mut known: BTreeMap<Identity, Option<usize>> = BTreeMap::new();
        for &at in group {
            let Some(identity) = list[at].identity else { continue };
            known.entry(identity).and_modify(|only| *only = None).or_insert(Some(at));
        }
        Self { known, has_nameless: group.iter().any(|&at| list[at].identity.is_none()) }
    }
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
