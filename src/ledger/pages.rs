//! Sorted rows over many pages: which page an id is in, how pages split and merge.
//!
//! A page is filed under the lowest id it may hold and reaches up to the next page's. The first
//! page is filed under 0. Ids mostly come in ascending order: a full last page is left as it is
//! and the next one is started, so pages fill up; a page that is full in the middle is halved.

use std::marker::PhantomData;
use std::ops::Bound;

use crate::model::{IdSet, ItemId};

use super::Error;
use super::keys::{self, Key};
use super::page::{self, ROWS, Row};
use super::view::View;

/// A page with fewer rows after a removal joins a neighbour …
const SPARSE: usize = ROWS / 4;
/// … if both together have at most this many, so that it does not split again at once.
const JOINED: usize = ROWS * 3 / 4;

/// The pages of one folder or place.
pub(super) struct Pages<R> {
    prefix: Key,
    rows: PhantomData<R>,
}

struct Page<R> {
    key: Vec<u8>,
    rows: Vec<R>,
}

impl<R: Row> Pages<R> {
    pub(super) const fn of(prefix: Key) -> Self {
        Self { prefix, rows: PhantomData }
    }

    /// The rows with these ids, ascending. Reads the pages that have them, no others.
    pub(super) fn read(&self, view: &View<'_>, ids: &IdSet) -> Result<Vec<R>, Error> {
        let mut found = Vec::new();
        self.walk(view, ids, |page| {
            found.extend(page.rows.into_iter().filter(|row| ids.contains(ItemId(row.id()))));
        })?;
        Ok(found)
    }

    /// The rows above `after` of the next page that has any; empty at the end.
    pub(super) fn after(&self, view: &View<'_>, after: Option<ItemId>) -> Result<Vec<R>, Error> {
        let Some(first) = after.map_or(Some(0), |id| id.0.checked_add(1)) else {
            return Ok(Vec::new());
        };
        let mut page = self.holding(view, first)?;
        while let Some(Page { key, mut rows }) = page {
            rows.retain(|row| row.id() >= first);
            if !rows.is_empty() {
                return Ok(rows);
            }
            page = self.next(view, &key)?;
        }
        Ok(Vec::new())
    }

    /// Calls `each` with every row, ascending.
    pub(super) fn each(&self, view: &View<'_>, mut each: impl FnMut(R)) -> Result<(), Error> {
        view.scan(self.prefix.as_bytes(), &self.prefix.end(), |key, value| {
            decode(key, value).map(|rows| rows.into_iter().for_each(&mut each))
        })
    }

    /// Inserts or replaces rows, the last of those with the same id. Returns how many are new.
    pub(super) fn put(&self, view: &mut View<'_>, mut rows: Vec<R>) -> Result<u64, Error> {
        // Stable, so that the last of equals is the last handed in.
        rows.sort_by_key(Row::id);
        let mut rows = rows.as_slice();
        let mut added = 0;
        while let Some(first) = rows.first() {
            let mut page = match self.at_or_below(view, first.id())? {
                Some(page) => page,
                None => Page { key: self.key(0), rows: Vec::new() },
            };
            let end = self.next_key(view, &page.key)?;
            let reach = end.as_deref().map_or(rows.len(), |end| {
                rows.partition_point(|row| row.id() < keys::last_id(end))
            });
            let (mine, rest) = rows.split_at(reach);
            rows = rest;
            let before = page.rows.len();
            let appends =
                end.is_none() && page.rows.last().is_none_or(|last| last.id() < first.id());
            page.rows = merge(page.rows, mine);
            added += (page.rows.len() - before) as u64;
            self.write(view, page, appends);
        }
        Ok(added)
    }

    /// Removes rows. Returns how many there were.
    pub(super) fn remove(&self, view: &mut View<'_>, ids: &IdSet) -> Result<u64, Error> {
        let mut changed = Vec::new();
        let mut removed = 0;
        self.walk(view, ids, |mut page| {
            let before = page.rows.len();
            page.rows.retain(|row| !ids.contains(ItemId(row.id())));
            if page.rows.len() < before {
                removed += (before - page.rows.len()) as u64;
                changed.push(page);
            }
        })?;
        let mut sparse = Vec::new();
        for page in changed {
            if page.rows.is_empty() {
                view.remove(&page.key);
                continue;
            }
            if page.rows.len() < SPARSE {
                sparse.push(page.key.clone());
            }
            self.write(view, page, false);
        }
        for key in sparse {
            self.join(view, &key)?;
        }
        Ok(removed)
    }

    /// Removes all pages.
    pub(super) fn clear(&self, view: &mut View<'_>) -> Result<(), Error> {
        view.clear(&self.prefix)
    }

    /// Calls `each` with every page that may have one of the ids.
    fn walk(
        &self,
        view: &View<'_>,
        ids: &IdSet,
        mut each: impl FnMut(Page<R>),
    ) -> Result<(), Error> {
        let mut ranges = ids.ranges().peekable();
        let mut wanted = ranges.peek().map(|range| *range.start());
        while let Some(id) = wanted {
            let Some(page) = self.holding(view, id)? else { break };
            let next = self.next_key(view, &page.key)?;
            each(page);
            let Some(next) = next.as_deref().map(keys::last_id) else { break };
            while ranges.next_if(|range| *range.end() < next).is_some() {}
            wanted = ranges.peek().map(|range| next.max(*range.start()));
        }
        Ok(())
    }

    /// The page that `id` is in, or else the next one above.
    fn holding(&self, view: &View<'_>, id: u64) -> Result<Option<Page<R>>, Error> {
        match self.at_or_below(view, id)? {
            Some(page) => Ok(Some(page)),
            None => view
                .lowest(Bound::Included(self.prefix.as_bytes()), &self.prefix.end())?
                .map(load)
                .transpose(),
        }
    }

    fn at_or_below(&self, view: &View<'_>, id: u64) -> Result<Option<Page<R>>, Error> {
        let key = self.key(id);
        view.highest(self.prefix.as_bytes(), Bound::Included(&key))?.map(load).transpose()
    }

    fn next(&self, view: &View<'_>, key: &[u8]) -> Result<Option<Page<R>>, Error> {
        view.lowest(Bound::Excluded(key), &self.prefix.end())?.map(load).transpose()
    }

    fn next_key(&self, view: &View<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        Ok(view.lowest(Bound::Excluded(key), &self.prefix.end())?.map(|(key, _)| key))
    }

    /// Writes a page, as several if it has too many rows.
    fn write(&self, view: &mut View<'_>, page: Page<R>, fill: bool) {
        let n_pages = page.rows.len().div_ceil(ROWS);
        let share = if fill { ROWS } else { page.rows.len().div_ceil(n_pages.max(1)) };
        let mut key = page.key;
        for (n, rows) in page.rows.chunks(share.max(1)).enumerate() {
            if n > 0 {
                key = self.key(rows[0].id());
            }
            view.put(key.clone(), page::encode(&key, rows));
        }
    }

    /// Joins a sparse page with the neighbour below or above, if there is room.
    fn join(&self, view: &mut View<'_>, key: &[u8]) -> Result<(), Error> {
        // It may have been joined already.
        let Some(value) = view.get(key)? else { return Ok(()) };
        let page = load((key.to_vec(), value))?;
        let below = view
            .highest(self.prefix.as_bytes(), Bound::Excluded(key))?
            .map(load)
            .transpose()?
            .filter(|below: &Page<R>| below.rows.len() + page.rows.len() <= JOINED);
        let (mut low, high) = match below {
            Some(below) => (below, page),
            None => match self.next(view, key)? {
                Some(above) if above.rows.len() + page.rows.len() <= JOINED => (page, above),
                _ => return Ok(()),
            },
        };
        view.remove(&high.key);
        low.rows.extend(high.rows);
        self.write(view, low, false);
        Ok(())
    }

    fn key(&self, id: u64) -> Vec<u8> {
        self.prefix.clone().id(id).as_bytes().to_vec()
    }
}

fn load<R: Row>((key, value): (Vec<u8>, sled::IVec)) -> Result<Page<R>, Error> {
    Ok(Page { rows: decode(&key, &value)?, key })
}

fn decode<R: Row>(key: &[u8], value: &[u8]) -> Result<Vec<R>, Error> {
    page::decode(key, value)
        .map_err(|how| Error::damaged(format!("{}: {how}", keys::describe(key))))
}

/// Both sorted; a new row replaces an old one of its id, and a later new one an earlier.
fn merge<R: Row>(old: Vec<R>, new: &[R]) -> Vec<R> {
    let mut merged: Vec<R> = Vec::with_capacity(old.len() + new.len());
    let mut old = old.into_iter().peekable();
    for row in new {
        while let Some(old) = old.next_if(|old| old.id() < row.id()) {
            merged.push(old);
        }
        old.next_if(|old| old.id() == row.id());
        match merged.last_mut() {
            Some(last) if last.id() == row.id() => *last = row.clone(),
            _ => merged.push(row.clone()),
        }
    }
    merged.extend(old);
    merged
}
