//! Headers of messages in many folders: as `sight` reads of each, without a round trip for each.
//!
//! Each folder's EXAMINE and FETCH are sent together, and those of some folders before the first is
//! answered. If a folder leaves anything open (it is gone, a message was not shown), nothing of its
//! answer is believed: it is asked again, alone, and what is wrong shows there.

use std::collections::BTreeMap;

use super::command::{Command, set_parts};
use super::folder::Opening;
use super::look::{sighting, tolerate_expunged};
use super::reply::Reply;
use super::session::{Session, Tag};
use crate::model::{FolderName, IdSet, ItemId};
use crate::platform::{Error, Result, Sighting};

/// Folders asked about at once …
const FOLDERS: usize = 8;
/// … over a long line …
const FOLDERS_FAR: usize = 64;
/// … and the bytes of their commands, which fit any socket's buffer then.
const WINDOW_BYTES: usize = 7 * 1024;
/// Messages of one folder asked about ahead: what is asked again, alone, is little.
const MESSAGES: u64 = 200;
/// Bytes of one command.
const BYTES: usize = 500;

/// A folder that is being asked about.
struct Glance<'a> {
    /// Its place among the wanted ones.
    at: usize,
    folder: &'a FolderName,
    ids: &'a IdSet,
    examine: Tag,
    fetch: Tag,
    /// Of both commands.
    bytes: usize,
}

impl Session {
    /// See [`crate::platform::Account::sights`].
    pub(super) async fn sights(
        &mut self,
        wanted: &[(FolderName, IdSet)],
    ) -> Result<Vec<Vec<Sighting>>> {
        let mut seen: Vec<Option<Vec<Sighting>>> = wanted.iter().map(|_| None).collect();
        let most = if self.distance.is_far() { FOLDERS_FAR } else { FOLDERS };
        let mut left = wanted.iter().enumerate();
        // A server that is slow on purpose is not to be crowded.
        while left.len() > 0 && !self.peer.is_strained() {
            let (mut glances, mut bytes) = (Vec::new(), 0);
            while glances.len() < most
                && bytes < WINDOW_BYTES
                && let Some((at, (folder, ids))) = left.next()
            {
                let glance = self.glance_at(at, folder, ids).await?;
                bytes += glance.as_ref().map_or(0, |glance| glance.bytes);
                glances.extend(glance);
            }
            for glance in glances {
                let at = glance.at;
                seen[at] = self.look_over(glance).await?;
            }
        }
        let mut sights = Vec::with_capacity(wanted.len());
        for ((folder, ids), seen) in wanted.iter().zip(seen) {
            sights.push(match seen {
                Some(seen) => seen,
                None => self.sight(folder, ids).await?,
            });
        }
        Ok(sights)
    }

    /// Asks ahead, if it is little and the folder is not open anyway.
    async fn glance_at<'a>(
        &mut self,
        at: usize,
        folder: &'a FolderName,
        ids: &'a IdSet,
    ) -> Result<Option<Glance<'a>>> {
        let is_open = self.selected.as_ref().is_some_and(|selected| selected.name == *folder);
        let [set] = &set_parts(ids)[..] else { return Ok(None) };
        let examine = self.examining(folder, None);
        let fetch = Command::raw("FETCH", format!("UID FETCH {set} {}", self.naming_items()));
        let lengths = [&examine, &fetch].map(Command::plain_length);
        let is_little = ids.len() <= MESSAGES
            && lengths.iter().all(|length| length.is_some_and(|bytes| bytes <= BYTES));
        let bytes = lengths.into_iter().flatten().sum();
        // What is asked of pages must not lie above the last id, and that is not known yet.
        if is_open || !is_little || self.is_paged() {
            return Ok(None);
        }
        let examine = self.send(examine).await?;
        self.selected = None;
        let fetch = self.send(fetch).await?;
        Ok(Some(Glance { at, folder, ids, examine, fetch, bytes }))
    }

    /// Reads the answers about a folder; `None` if they are not all that was asked for.
    async fn look_over(&mut self, glance: Glance<'_>) -> Result<Option<Vec<Sighting>>> {
        let Glance { folder, ids, examine, fetch, .. } = glance;
        let mut opening = Opening::default();
        let end = self.end_of(examine, |reply| opening.hear(reply)).await?;
        let opened = match self.examined(folder, opening, end) {
            Ok(opened) => opened.map(|(selected, _)| selected),
            Err(Error::FolderGone(_) | Error::Refused { .. }) => None,
            Err(error) => return Err(error),
        };
        let is_open = opened.is_some();
        self.selected = opened;
        let mut seen: BTreeMap<ItemId, Sighting> = BTreeMap::new();
        let hear = |reply| {
            let Reply::Fetch(fetched) = reply else { return false };
            // After a refused EXAMINE there is no answer, or one about another folder.
            let sighting = sighting(fetched).filter(|s| is_open && ids.contains(s.id));
            sighting.is_some_and(|sighting| seen.insert(sighting.id, sighting).is_none())
        };
        let end = self.hear_to_end(fetch, hear).await?;
        let is_whole = match tolerate_expunged(self.settled("FETCH", end)) {
            Ok(()) => seen.len() as u64 == ids.len(),
            Err(Error::Refused { .. }) => false,
            Err(error) => return Err(error),
        };
        Ok(is_whole.then(|| seen.into_values().collect()))
    }
}
