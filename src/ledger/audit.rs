//! The walk over everything that an opening makes: whatever sled lost without a word does not add
//! up. A page that is missing, not merely broken, would otherwise read as "never copied", and be
//! copied again.
//!
//! Checks every checksum, and that rows are as many as the rows that count them say. Takes a few
//! hundredths of a second for a million messages.

use std::collections::BTreeMap;

use super::apply::Tally;
use super::keys::{self, Kind};
use super::rows::Counts;
use super::view::{self, View, decode_row};
use super::{Error, page};

/// A mailbox's number and a folder's.
type Numbered = (u32, u32);

/// What one mailbox has, by its own count or as found.
#[derive(Debug, Default, PartialEq, Eq)]
struct Stock {
    folders: u64,
    places: u64,
    strangers: u64,
    retired: u64,
}

#[derive(Default)]
struct Books {
    /// Records found, by folder.
    records: BTreeMap<Numbered, u64>,
    counts: BTreeMap<Numbered, u64>,
    found: BTreeMap<u32, Stock>,
    tallies: BTreeMap<u32, Stock>,
}

/// Walks over everything; `total` records should be there.
///
/// # Errors
/// [`Error::Damaged`] for the first thing that is not as it was left.
pub(super) fn add_up(view: &View<'_>, total: u64) -> Result<(), Error> {
    let mut books = Books::default();
    view.scan(&[], keys::END, |key, value| books.enter(key, value))?;
    books.close(total)
}

impl Books {
    fn enter(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let Some((mailbox, kind)) = keys::row(key) else {
            return view::check_row(key, value);
        };
        let is = |wanted: Kind| kind == wanted as u8;
        let at = (mailbox, keys::number(key));
        let found = self.found.entry(mailbox).or_default();
        if is(Kind::Records) {
            *self.records.entry(at).or_default() += rows(key, value)?;
        } else if is(Kind::Strangers) {
            found.strangers += rows(key, value)?;
        } else if is(Kind::Counts) {
            self.counts.insert(at, decode_row::<Counts>(key, value)?.records);
        } else if is(Kind::Tally) {
            let Tally { folders, places, strangers, retired, .. } = decode_row(key, value)?;
            self.tallies.insert(mailbox, Stock { folders, places, strangers, retired });
        } else {
            view::check_row(key, value)?;
            found.folders += u64::from(is(Kind::Folder));
            found.places += u64::from(is(Kind::Place));
            found.retired += u64::from(is(Kind::Retired));
        }
        Ok(())
    }

    fn close(mut self, total: u64) -> Result<(), Error> {
        let found: u64 = self.records.values().sum();
        if found != total {
            return Err(Error::damaged(format!("{found} records are there, {total} should be")));
        }
        self.counts.retain(|_, n| *n > 0);
        if self.records != self.counts {
            return Err(Error::damaged("folders hold other records than were counted"));
        }
        for (mailbox, found) in self.found {
            let counted = self.tallies.remove(&mailbox).unwrap_or_default();
            if found != counted {
                return Err(Error::damaged(format!(
                    "mailbox no. {mailbox} has {found:?}, but counted {counted:?}"
                )));
            }
        }
        Ok(())
    }
}

/// How many rows a sound page holds.
fn rows(key: &[u8], value: &[u8]) -> Result<u64, Error> {
    page::count(key, value).map_err(|how| Error::damaged(format!("{}: {how}", keys::describe(key))))
}
