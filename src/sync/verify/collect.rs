//! Reads one side of a comparison, page by page.

use std::collections::{HashMap, HashSet};

use super::entry::{Entry, FlagText};
use super::sample::{Lot, Sample};
use super::sorter::Sorter;
use super::{blocking, report};
use crate::definition::{Mailbox, Selection};
use crate::model::{Epoch, Fingerprint, Flags, FolderName, FolderPath, IdSet, Item, ItemId};
use crate::platform::{self, Account};
use crate::sync::diff::carried;
use crate::sync::{Error, Progress};

/// A folder that is read.
pub(super) struct Folder<'a> {
    pub(super) name: &'a FolderName,
    pub(super) path: &'a FolderPath,
    /// Its number in its entries.
    pub(super) number: u32,
    /// Only these messages; none: all.
    pub(super) only: Option<IdSet>,
}

/// One account and how it is read.
pub(super) struct Reader<'a> {
    pub(super) account: &'a mut dyn Account,
    /// Says on which side an error happened.
    pub(super) at: fn(platform::Error) -> Error,
    pub(super) mailbox: &'a Mailbox,
    /// Which messages take part; none: all.
    pub(super) select: Option<&'a Selection>,
    /// Are flags compared?
    pub(super) flags: bool,
    /// Are Message-IDs needed of all?
    pub(super) named: bool,
    /// Told what was read.
    pub(super) progress: Option<&'a Progress>,
}

/// Messages a server lists and does not deliver.
#[derive(Debug, Default)]
pub(super) struct Unread {
    pub(super) count: u64,
    /// The first of them.
    pub(super) first: Vec<Entry>,
}

impl Reader<'_> {
    /// Hands every message of the folder to the sorter.
    pub(super) async fn read(
        &mut self,
        folder: &Folder<'_>,
        mut sorter: Sorter,
        unread: &mut Unread,
    ) -> Result<Sorter, Error> {
        let mut pages = Pages::default();
        while let Some(items) = self.page(folder, &mut pages).await? {
            let ids: IdSet = items.iter().map(|item| item.id).collect();
            if ids.is_empty() {
                continue;
            }
            let digests = self.account.digest(folder.name, &ids).await.map_err(self.at)?;
            let mut names = HashMap::new();
            if self.named {
                let seen = self.account.sight(folder.name, &ids).await.map_err(self.at)?;
                names.extend(seen.into_iter().filter_map(|one| Some((one.id, one.message_id?))));
            }
            let undelivered = ids.iter().filter(|id| !digests.contains_key(id)).collect();
            self.note_unread(folder, undelivered, unread).await?;
            let mut entries = Vec::with_capacity(items.len());
            for item in &items {
                let Some(digest) = digests.get(&item.id) else { continue };
                let mut entry =
                    Entry::new(item, *digest, folder.number, self.flags(item.flags.as_ref()));
                entry.message_id = names.remove(&item.id).map(Into::into);
                let id = entry.message_id.as_deref();
                let accepted = self.mailbox.accepted(folder.path, item.id, id);
                entry.accepted = accepted.map(Into::into);
                entries.push(entry);
            }
            sorter = blocking(move || {
                entries.into_iter().try_for_each(|entry| sorter.push(entry))?;
                Ok(sorter)
            })
            .await?;
            if let Some(progress) = self.progress {
                progress.advance(items.len() as u64, 0);
            }
        }
        Ok(sorter)
    }

    /// Messages of the folder that a sample takes, and how many it was taken from.
    pub(super) async fn draw(
        &mut self,
        folder: &Folder<'_>,
        sample: Sample,
        listed: u64,
        all: u64,
    ) -> Result<(IdSet, u64), Error> {
        let path = folder.path.to_string();
        // A server that does not tell how many there are costs memory for a number of each.
        let most = if listed == 0 { u64::MAX } else { sample.size.of(listed, all) };
        let mut lot = Lot::new(sample.seed, &path, most);
        let (mut pages, mut n) = (Pages::default(), 0);
        while let Some(items) = self.page(folder, &mut pages).await? {
            n += items.len() as u64;
            items.iter().for_each(|item| lot.draw(item.id));
        }
        Ok((lot.take(sample.size.of(n, all)), n))
    }

    /// Fingerprints of these messages.
    pub(super) async fn fingerprints(
        &mut self,
        folder: &Folder<'_>,
        ids: &IdSet,
    ) -> Result<HashSet<Fingerprint>, Error> {
        let seen = self.account.sight(folder.name, ids).await.map_err(self.at)?;
        Ok(seen.into_iter().map(|one| one.fingerprint).collect())
    }

    /// Messages of the folder with one of these fingerprints: only their headers are read.
    pub(super) async fn alike(
        &mut self,
        folder: &Folder<'_>,
        fingerprints: &HashSet<Fingerprint>,
    ) -> Result<IdSet, Error> {
        let mut alike = IdSet::new();
        let mut pages = Pages::default();
        while let Some(items) = self.page(folder, &mut pages).await? {
            let ids = items.iter().map(|item| item.id).collect();
            let seen = self.account.sight(folder.name, &ids).await.map_err(self.at)?;
            let found = seen.iter().filter(|one| fingerprints.contains(&one.fingerprint));
            alike.extend_set(&found.map(|one| one.id).collect());
        }
        Ok(alike)
    }

    /// The next messages of the folder that take part; `None` at the end.
    async fn page(
        &mut self,
        folder: &Folder<'_>,
        pages: &mut Pages,
    ) -> Result<Option<Vec<Item>>, Error> {
        let Some(from) = pages.next else { return Ok(None) };
        let page = self.account.list_page(folder.name, from).await.map_err(self.at)?;
        if pages.epoch.is_some_and(|epoch| epoch != page.epoch) {
            return Err((self.at)(platform::Error::EpochChanged(folder.path.to_string())));
        }
        (pages.epoch, pages.next) = (Some(page.epoch), page.next);
        let mut items = page.items;
        items.retain(|item| {
            let wanted = folder.only.as_ref().is_none_or(|only| only.contains(item.id));
            let taken = |select: &Selection| item.meta.is_none_or(|meta| select.takes(&meta));
            wanted && self.select.is_none_or(taken)
        });
        Ok(Some(items))
    }

    /// A message without content is gone by now, or the server does not deliver it.
    async fn note_unread(
        &mut self,
        folder: &Folder<'_>,
        ids: IdSet,
        unread: &mut Unread,
    ) -> Result<(), Error> {
        let Some(first) = ids.first() else { return Ok(()) };
        let page = self.account.list_page(folder.name, first).await.map_err(self.at)?;
        for item in page.items.iter().filter(|item| ids.contains(item.id)) {
            unread.count += 1;
            if unread.first.len() < report::LISTED {
                let flags = self.flags(item.flags.as_ref());
                let mut entry = Entry::new(item, Entry::UNREAD, folder.number, flags);
                let accepted = self.mailbox.accepted(folder.path, item.id, None);
                entry.accepted = accepted.map(Into::into);
                unread.first.push(entry);
            }
        }
        Ok(())
    }

    fn flags(&self, flags: Option<&Flags>) -> FlagText {
        match flags {
            Some(flags) if self.flags => {
                FlagText::from(&carried(flags, self.mailbox.carry.deletes))
            }
            _ => FlagText::default(),
        }
    }
}

/// How far a folder has been listed.
struct Pages {
    epoch: Option<Epoch>,
    next: Option<ItemId>,
}

impl Default for Pages {
    fn default() -> Self {
        Self { epoch: None, next: Some(ItemId(0)) }
    }
}
