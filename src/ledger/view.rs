//! The ledger as it is, which is the tree and what the journal holds beyond it, and as it will be
//! once staged changes are committed.
//!
//! A group of commits is staged one by one: each sees those before it, and one that fails is
//! dropped without harm to the others. Then all are committed as one.

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sled::IVec;

use super::Error;
use super::journal::Staged;
use super::keys::{self, Key};

/// A key with its value.
pub(super) type Pair = (Vec<u8>, IVec);

/// Reads through the staged changes.
pub(super) struct View<'t> {
    tree: &'t sled::Tree,
    /// Committed, but not in the tree yet.
    pending: &'t Staged,
    /// Of the commits that are accepted.
    accepted: Staged,
    /// Of the commit that is being staged.
    current: Staged,
}

impl<'t> View<'t> {
    pub(super) fn new(tree: &'t sled::Tree, pending: &'t Staged) -> Self {
        Self { tree, pending, accepted: Staged::new(), current: Staged::new() }
    }

    /// The current commit is to be applied.
    pub(super) fn accept(&mut self) {
        self.accepted.append(&mut self.current);
    }

    /// The current commit is to be forgotten.
    pub(super) fn discard(&mut self) {
        self.current.clear();
    }

    /// Everything accepted.
    pub(super) fn into_accepted(self) -> Staged {
        self.accepted
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.current.insert(key, Some(value.into()));
    }

    pub(super) fn remove(&mut self, key: &[u8]) {
        self.current.insert(key.to_vec(), None);
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<IVec>, Error> {
        match self.staged(key) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.tree.get(key)?),
        }
    }

    fn staged(&self, key: &[u8]) -> Option<&Option<IVec>> {
        self.layers().into_iter().find_map(|layer| layer.get(key))
    }

    /// What lies over the tree, the newest first.
    fn layers(&self) -> [&Staged; 3] {
        [&self.current, &self.accepted, self.pending]
    }

    /// The lowest key from `from` up to `to`.
    pub(super) fn lowest(&self, from: Bound<&[u8]>, to: &[u8]) -> Result<Option<Pair>, Error> {
        let mut from = from.map(<[u8]>::to_vec);
        loop {
            let range = (from.as_ref().map(Vec::as_slice), Bound::Included(to));
            if is_empty(&range) {
                return Ok(None);
            }
            let stored = self.tree.range::<&[u8], _>(range).next().transpose()?;
            let staged = self
                .layers()
                .into_iter()
                .filter_map(|layer| layer.range::<[u8], _>(range).next())
                .map(|(key, _)| key.as_slice());
            let stored_key = stored.as_ref().map(|(key, _)| key.as_ref());
            let Some(key) = staged.chain(stored_key).min().map(<[u8]>::to_vec) else {
                return Ok(None);
            };
            match self.staged(&key) {
                Some(Some(value)) => return Ok(Some((key, value.clone()))),
                Some(None) => from = Bound::Excluded(key),
                None => return Ok(stored.map(|(_, value)| (key, value))),
            }
        }
    }

    /// The highest key from `from` up to `to`.
    pub(super) fn highest(&self, from: &[u8], to: Bound<&[u8]>) -> Result<Option<Pair>, Error> {
        let mut to = to.map(<[u8]>::to_vec);
        loop {
            let range = (Bound::Included(from), to.as_ref().map(Vec::as_slice));
            if is_empty(&range) {
                return Ok(None);
            }
            let stored = self.tree.range::<&[u8], _>(range).next_back().transpose()?;
            let staged = self
                .layers()
                .into_iter()
                .filter_map(|layer| layer.range::<[u8], _>(range).next_back())
                .map(|(key, _)| key.as_slice());
            let stored_key = stored.as_ref().map(|(key, _)| key.as_ref());
            let Some(key) = staged.chain(stored_key).max().map(<[u8]>::to_vec) else {
                return Ok(None);
            };
            match self.staged(&key) {
                Some(Some(value)) => return Ok(Some((key, value.clone()))),
                Some(None) => to = Bound::Excluded(key),
                None => return Ok(stored.map(|(_, value)| (key, value))),
            }
        }
    }

    /// Calls `each` with every pair from `from` up to `to`, ascending.
    pub(super) fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut over: BTreeMap<&[u8], Option<&IVec>> = BTreeMap::new();
        for layer in self.layers().into_iter().rev().filter(|layer| !layer.is_empty()) {
            let range = (Bound::Included(from), Bound::Included(to));
            let rows = layer.range::<[u8], _>(range);
            over.extend(rows.map(|(key, value)| (key.as_slice(), value.as_ref())));
        }
        let mut over = over.into_iter().peekable();
        for pair in self.tree.range(from..=to) {
            let (key, value) = pair?;
            while let Some((above, staged)) = over.next_if(|(above, _)| *above < key.as_ref()) {
                staged.map_or(Ok(()), |value| each(above, value))?;
            }
            match over.next_if(|(above, _)| *above == key.as_ref()) {
                Some((_, staged)) => staged.map_or(Ok(()), |value| each(&key, value))?,
                None => each(&key, &value)?,
            }
        }
        over.try_for_each(|(key, staged)| staged.map_or(Ok(()), |value| each(key, value)))
    }

    /// Calls `each` with every row of a prefix.
    pub(super) fn rows<T: DeserializeOwned>(
        &self,
        prefix: &Key,
        mut each: impl FnMut(&[u8], T) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.scan(prefix.as_bytes(), &prefix.end(), |key, value| each(key, decode_row(key, value)?))
    }

    pub(super) fn row<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, Error> {
        self.get(key)?.map(|value| decode_row(key, &value)).transpose()
    }

    pub(super) fn put_row<T: Serialize>(&mut self, key: &[u8], row: &T) -> Result<(), Error> {
        let value = encode_row(key, row)?;
        self.put(key.to_vec(), value);
        Ok(())
    }

    /// Removes every key of a prefix.
    pub(super) fn clear(&mut self, prefix: &Key) -> Result<(), Error> {
        let mut keys = Vec::new();
        self.scan(prefix.as_bytes(), &prefix.end(), |key, _| {
            keys.push(key.to_vec());
            Ok(())
        })?;
        self.current.extend(keys.into_iter().map(|key| (key, None)));
        Ok(())
    }
}

/// `BTreeMap::range` panics where `sled` answers nothing.
fn is_empty((from, to): &(Bound<&[u8]>, Bound<&[u8]>)) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
        | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
        _ => false,
    }
}

const ROW_VERSION: u8 = 1;

/// `crc32c:u32 version:u8 json`; the checksum covers the key, the version and the JSON.
pub(super) fn encode_row<T: Serialize>(key: &[u8], row: &T) -> Result<Vec<u8>, Error> {
    let mut bytes = vec![0, 0, 0, 0, ROW_VERSION];
    serde_json::to_writer(&mut bytes, row)
        .map_err(|e| Error::Io { what: format!("{}: {e}", keys::describe(key)) })?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), &bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    Ok(bytes)
}

pub(super) fn decode_row<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, Error> {
    let damaged = |how: &str| Error::damaged(format!("{}: {how}", keys::describe(key)));
    match checked(key, bytes)?.split_first() {
        Some((&ROW_VERSION, json)) => {
            serde_json::from_slice(json).map_err(|e| damaged(&e.to_string()))
        }
        _ => Err(damaged("unknown version")),
    }
}

/// Checks a row without reading it.
pub(super) fn check_row(key: &[u8], bytes: &[u8]) -> Result<(), Error> {
    checked(key, bytes).map(drop)
}

fn checked<'r>(key: &[u8], bytes: &'r [u8]) -> Result<&'r [u8], Error> {
    let damaged = |how: &str| Error::damaged(format!("{}: {how}", keys::describe(key)));
    let Some((crc, rest)) = bytes.split_first_chunk() else { return Err(damaged("too short")) };
    if crc32c::crc32c_append(crc32c::crc32c(key), rest) != u32::from_le_bytes(*crc) {
        return Err(damaged("wrong checksum"));
    }
    Ok(rest)
}
