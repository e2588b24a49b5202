//! Compares two sides in sorted order, as multisets. Pure but for where the entries come from.

use std::collections::BTreeMap;
use std::io;

use super::entry::Entry;
use super::report::LISTED;
use crate::model::ItemId;

/// Of so many twins (messages with the same content and other flags or dates) of each side the
/// best pairing is found; of more, a good one.
const EXACT: usize = 256;

/// So many twins that have no equal yet stand in memory.
const TWINS: usize = 50_000;

/// Of so many missing messages it is looked up whether their loss is accepted.
const LOOKED_UP: usize = 100_000;

/// What differs in one folder.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) expected: u64,
    pub(super) found: u64,
    pub(super) duplicated: u64,
    pub(super) flags_differ: u64,
    pub(super) dates_differ: u64,
    pub(super) others: u64,
    pub(super) missing: u64,
    pub(super) accepted: u64,
    /// The first of each kind. Flags and dates: the source's message first.
    pub(super) missing_ones: Vec<Entry>,
    pub(super) accepted_ones: Vec<Entry>,
    pub(super) duplicates: Vec<Entry>,
    pub(super) other_flags: Vec<(Entry, Entry)>,
    pub(super) other_dates: Vec<(Entry, Entry)>,
    /// Where all missing ones are, up to a bound.
    pub(super) missing_at: Vec<(u32, ItemId)>,
}

/// Compares; every message of ours is shown to `each` in its order.
pub(super) fn compare(
    ours: impl Iterator<Item = io::Result<Entry>>,
    theirs: impl Iterator<Item = io::Result<Entry>>,
    mut each: impl FnMut(&Entry) -> io::Result<()>,
) -> io::Result<Findings> {
    let mut findings = Findings::default();
    let (mut ours, mut theirs) = (Side::new(ours)?, Side::new(theirs)?);
    let (mut mine, mut yours) = (Vec::new(), Vec::new());
    while let Some(digest) =
        [&ours.head, &theirs.head].into_iter().flatten().map(|e| e.digest).min()
    {
        // All that have this content: equal ones leave in pairs, the others wait for the end.
        let mut is_expected = false;
        loop {
            let here = ours.head.as_ref().filter(|entry| entry.digest == digest);
            let there = theirs.head.as_ref().filter(|entry| entry.digest == digest);
            is_expected |= here.is_some();
            let order = match (here, there) {
                (None, None) => break,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(here), Some(there)) => {
                    (&here.flags, here.date).cmp(&(&there.flags, there.date))
                }
            };
            if order.is_le()
                && let Some(entry) = ours.take()?
            {
                each(&entry)?;
                findings.expected += 1;
                if order.is_lt() {
                    mine.push(entry);
                } else {
                    findings.found += 1;
                }
            }
            if order.is_ge()
                && let Some(entry) = theirs.take()?
                && order.is_gt()
            {
                yours.push(entry);
            }
            if mine.len().max(yours.len()) >= TWINS {
                findings.settle(&mut mine, &mut yours, is_expected);
            }
        }
        findings.settle(&mut mine, &mut yours, is_expected);
    }
    Ok(findings)
}

impl Findings {
    /// Pairs what can be paired and counts the rest.
    fn settle(&mut self, mine: &mut Vec<Entry>, yours: &mut Vec<Entry>, is_expected: bool) {
        if !mine.is_empty() && !yours.is_empty() {
            for (here, there) in pair(mine, yours) {
                self.found += 1;
                let flags = here.flags != there.flags;
                let dates = here.date != there.date;
                self.flags_differ += u64::from(flags);
                self.dates_differ += u64::from(dates);
                if flags && self.other_flags.len() < LISTED {
                    self.other_flags.push((here.clone(), there.clone()));
                }
                if dates && self.other_dates.len() < LISTED {
                    self.other_dates.push((here, there));
                }
            }
        }
        mine.drain(..).for_each(|entry| self.miss(entry));
        for entry in yours.drain(..) {
            if is_expected {
                self.duplicated += 1;
                push(&mut self.duplicates, entry);
            } else {
                self.others += 1;
            }
        }
    }

    /// Counts a message that is not there.
    pub(super) fn miss(&mut self, entry: Entry) {
        if entry.accepted.is_some() {
            self.accepted += 1;
            return push(&mut self.accepted_ones, entry);
        }
        self.missing += 1;
        if self.missing_at.len() < LOOKED_UP {
            self.missing_at.push((entry.folder, entry.id));
        }
        push(&mut self.missing_ones, entry);
    }
}

fn push<T>(listed: &mut Vec<T>, one: T) {
    if listed.len() < LISTED {
        listed.push(one);
    }
}

/// Pairs twins of which no two are equal, with as few differences as can be; takes the paired
/// ones out. As many pairs as the shorter side has.
fn pair(mine: &mut Vec<Entry>, yours: &mut Vec<Entry>) -> Vec<(Entry, Entry)> {
    // A pair that agrees in flags or in the date has one difference, any other two.
    let mut partner: Vec<Option<usize>> = match mine.len().max(yours.len()) <= EXACT {
        true => best(mine, yours),
        false => good(mine, yours),
    };
    let mut free: Vec<usize> = {
        let taken: std::collections::HashSet<usize> = partner.iter().flatten().copied().collect();
        (0..yours.len()).rev().filter(|at| !taken.contains(at)).collect()
    };
    for slot in partner.iter_mut().filter(|slot| slot.is_none()) {
        *slot = free.pop();
    }
    let mut there: Vec<Option<Entry>> = yours.drain(..).map(Some).collect();
    let mut pairs = Vec::new();
    let mut rest = Vec::new();
    for (entry, at) in mine.drain(..).zip(partner) {
        match at.and_then(|at| there[at].take()) {
            Some(other) => pairs.push((entry, other)),
            None => rest.push(entry),
        }
    }
    mine.extend(rest);
    yours.extend(there.into_iter().flatten());
    pairs
}

/// As many half-equal pairs as there can be: a maximum matching by augmenting paths (Kuhn 1955).
fn best(mine: &[Entry], yours: &[Entry]) -> Vec<Option<usize>> {
    fn find(
        at: usize,
        alike: &dyn Fn(usize, usize) -> bool,
        owner: &mut [Option<usize>],
        seen: &mut [bool],
    ) -> bool {
        for there in 0..owner.len() {
            if seen[there] || !alike(at, there) {
                continue;
            }
            seen[there] = true;
            if owner[there].is_none_or(|other| find(other, alike, owner, seen)) {
                owner[there] = Some(at);
                return true;
            }
        }
        false
    }
    let alike = |here: usize, there: usize| {
        let (here, there) = (&mine[here], &yours[there]);
        here.flags == there.flags || here.date == there.date
    };
    let mut owner = vec![None; yours.len()];
    for at in 0..mine.len() {
        find(at, &alike, &mut owner, &mut vec![false; yours.len()]);
    }
    let mut partner = vec![None; mine.len()];
    for (there, here) in owner.into_iter().enumerate() {
        if let Some(here) = here {
            partner[here] = Some(there);
        }
    }
    partner
}

/// Half-equal pairs by flags, then by date.
fn good(mine: &[Entry], yours: &[Entry]) -> Vec<Option<usize>> {
    let mut partner = vec![None; mine.len()];
    let mut taken = vec![false; yours.len()];
    let mut by = |key: &dyn Fn(&Entry) -> (String, Option<i64>)| {
        let mut supply: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (at, entry) in yours.iter().enumerate().rev().filter(|(at, _)| !taken[*at]) {
            supply.entry(key(entry)).or_default().push(at);
        }
        for (slot, entry) in partner.iter_mut().zip(mine).filter(|(slot, _)| slot.is_none()) {
            *slot = supply.get_mut(&key(entry)).and_then(Vec::pop);
            if let Some(at) = *slot {
                taken[at] = true;
            }
        }
    };
    by(&|entry| (entry.flags.0.to_ascii_lowercase(), None));
    by(&|entry| (String::new(), entry.date));
    partner
}

/// A side with the next entry at hand.
struct Side<I> {
    entries: I,
    head: Option<Entry>,
}

impl<I: Iterator<Item = io::Result<Entry>>> Side<I> {
    fn new(mut entries: I) -> io::Result<Self> {
        let head = entries.next().transpose()?;
        Ok(Self { entries, head })
    }

    fn take(&mut self) -> io::Result<Option<Entry>> {
        let next = self.entries.next().transpose()?;
        Ok(std::mem::replace(&mut self.head, next))
    }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
