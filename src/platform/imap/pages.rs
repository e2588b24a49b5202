//! Servers that do so many messages a command and no more (MESSAGELIMIT, RFC 9738), page by page
//! (PARTIAL, RFC 9394): Yahoo's. Such a server shows a folder whole only to those who speak of
//! messages by UID alone (UIDONLY, RFC 9586); to others its newest messages, a window.
//!
//! A page begins behind the last id of the one before, not at a position: whatever comes or goes
//! meanwhile moves no message past it. `n:*` names the last message at least, so no range lies
//! above all ids, which such servers were seen to hang at. STATUS may count what the window shows
//! or all there is; nothing is concluded from it. What lies outside a window is not gone.

use std::collections::BTreeMap;
use std::ops::Range;

use super::command::{Command, set_parts};
use super::look::{FLAGS, FULL, note};
use super::mark::Mark;
use super::reply::{Fetched, Reply};
use super::saying::Status;
use super::session::{Next, Session};
use super::wire::Bodies;
use crate::model::{FolderName, IdSet, ItemId};
use crate::platform::{Changes, Gone, Page, Result};

/// Messages of a page where the server sets no limit.
const MESSAGES: u64 = 1000;
/// What a server with windows shows of a folder, in messages, if its preset does not tell: Yahoo's
/// two hosts.
const WINDOWS: [u64; 2] = [10_000, 100_000];
/// How Gmail lets people limit folders over IMAP
/// (<https://support.google.com/mail/answer/7126229>).
const GMAIL_LIMITS: [u64; 4] = [1000, 2000, 5000, 10_000];
/// UIDs have 32 bits (RFC 9051, 2.3.1.1).
const ALL: Range<u64> = 1..1 << 32;

impl Session {
    /// Is UIDONLY worth having? Without PARTIAL, a folder cannot be read page by page.
    pub(super) fn wants_uid_only(&self) -> bool {
        ["ENABLE", "UIDONLY", "PARTIAL"].iter().all(|name| self.capabilities.has(name))
    }

    /// Messages of a page, where folders are to be read by pages.
    fn page_size(&self) -> Option<u64> {
        let limit = self.capabilities.message_limit();
        let is_paged = self.capabilities.has("PARTIAL") && (limit.is_some() || self.uid_only);
        is_paged.then(|| limit.unwrap_or(MESSAGES))
    }

    /// Are folders read by pages?
    pub(super) fn is_paged(&self) -> bool {
        self.page_size().is_some()
    }

    /// Does a folder of so many messages show a part of itself only?
    pub(super) fn is_window(&self, messages: u64) -> bool {
        if self.uid_only {
            return false;
        }
        let usual: &[u64] = if self.capabilities.has("UIDONLY") && self.is_paged() {
            &WINDOWS
        } else if self.capabilities.has("X-GM-EXT-1") {
            &GMAIL_LIMITS
        } else {
            &[]
        };
        self.windows.as_deref().unwrap_or(usual).contains(&messages)
    }

    /// A set as commands take it: [`set_parts`] of no more messages than one command handles.
    pub(super) fn sets(&self, ids: &IdSet) -> Vec<String> {
        let Some(limit) = self.capabilities.message_limit().filter(|&limit| ids.len() > limit)
        else {
            return set_parts(ids);
        };
        let (mut sets, mut ids) = (Vec::new(), ids.iter().peekable());
        while ids.peek().is_some() {
            let some: IdSet = ids.by_ref().take(limit as usize).collect();
            sets.append(&mut set_parts(&some));
        }
        sets
    }

    /// The next messages of the open folder from an id on; none at its end.
    pub(super) async fn page(&mut self, from: u64, items: &str) -> Result<BTreeMap<u64, Fetched>> {
        let mut size = self.page_size().unwrap_or(MESSAGES);
        loop {
            let text = format!("UID FETCH {from}:* {items} (PARTIAL 1:{size})");
            let tag = self.send(Command::raw("FETCH", text)).await?;
            let mut page = BTreeMap::new();
            let end = loop {
                match self.next(tag, Bodies::None).await? {
                    Next::Data(Reply::Fetch(fetched)) => {
                        let uid = fetched.uid.filter(|&uid| uid >= from && ALL.contains(&uid));
                        let Some(uid) = uid.filter(|_| (page.len() as u64) < size) else {
                            continue;
                        };
                        if page.insert(uid, fetched).is_none() {
                            self.earn();
                        }
                    }
                    Next::Data(_) => {}
                    Next::Done(saying) => break saying,
                }
            };
            // Which part was done, if only one was, is not asked: the page is asked for again,
            // smaller.
            if let (Some(told), 2..) = (end.code("MESSAGELIMIT"), size) {
                let limit = told.split(' ').next().and_then(|n| n.parse().ok());
                size = limit.filter(|&limit| limit > 0 && limit < size).unwrap_or(size / 2);
                continue;
            }
            let is_refused = end.status != Status::Ok;
            super::look::tolerate_expunged(self.settled("FETCH", end))?;
            if is_refused && page.is_empty() {
                // One that is gone since must not look like the folder's end.
                return Err(self.protocol("a page of messages that are all gone"));
            }
            return Ok(page);
        }
    }

    /// All messages of the open folder within a range of ids, page by page.
    async fn pages(
        &mut self,
        within: Range<u64>,
        items: &str,
        mut each: impl FnMut(Fetched) + Send,
    ) -> Result<()> {
        let mut from = within.start;
        while from < within.end {
            let page = self.page(from, items).await?;
            // A short page is not taken for the last one.
            let Some((&last, _)) = page.last_key_value() else { return Ok(()) };
            from = last + 1;
            page.into_values().for_each(&mut each);
        }
        Ok(())
    }

    /// All ids of the open folder.
    pub(super) async fn paged_ids(&mut self) -> Result<IdSet> {
        self.paged_ids_within(ALL).await
    }

    async fn paged_ids_within(&mut self, within: Range<u64>) -> Result<IdSet> {
        let mut ids = IdSet::new();
        let hear = |fetched: Fetched| {
            let uid = fetched.uid.filter(|uid| within.contains(uid));
            ids.extend_set(&uid.into_iter().map(ItemId).collect());
        };
        self.pages(within.clone(), "(UID)", hear).await?;
        Ok(ids)
    }

    /// Those of these ids that the open folder holds.
    pub(super) async fn there(&mut self, ids: &IdSet) -> Result<IdSet> {
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok(IdSet::new()) };
        let found = match self.is_paged() {
            true => self.paged_ids_within(first.0.max(1)..last.0.saturating_add(1)).await?,
            false => self.all_ids().await?,
        };
        Ok(found.intersection(ids))
    }

    /// Those of these ids that can be asked for by name: all, unless they are more than a command
    /// handles, or may lie above the last.
    pub(super) async fn askable(&mut self, ids: &IdSet) -> Result<IdSet> {
        let Some(size) = self.page_size() else { return Ok(ids.clone()) };
        let next = self.selected.as_ref().map_or(0, |selected| selected.next);
        let is_known = ids.last().is_none_or(|last| last.0 < next);
        if is_known && ids.len() <= size { Ok(ids.clone()) } else { self.there(ids).await }
    }

    /// See [`crate::platform::Account::list_page`].
    pub(super) async fn list_by_pages(
        &mut self,
        folder: &FolderName,
        from: ItemId,
    ) -> Result<Page> {
        let selected = match from {
            ItemId(0) => self.examine(folder).await?,
            _ => self.look_into(folder).await?,
        };
        let within = from.0.max(1)..selected.next;
        let mut page = Page { epoch: selected.epoch, items: Vec::new(), next: None };
        if selected.messages == 0 || within.is_empty() {
            return Ok(page);
        }
        let told = self.page(within.start, FULL).await?;
        page.next = told
            .keys()
            .last()
            .map(|last| last + 1)
            .filter(|next| within.contains(next))
            .map(ItemId);
        let mut items = BTreeMap::new();
        for fetched in told.into_values() {
            note(&mut items, &within, true, fetched);
        }
        page.items = items.into_values().collect();
        Ok(page)
    }

    /// See [`crate::platform::Source::changes`]. There is no CONDSTORE: all messages are listed,
    /// those that are known by their flags.
    pub(super) async fn changes_by_pages(
        &mut self,
        folder: &FolderName,
        then: Option<Mark>,
    ) -> Result<Changes> {
        let (mut changes, mut is_short) = self.list_changes(folder, then).await?;
        if is_short {
            // A message left while it was listed; or the server does not show them all.
            (changes, is_short) = self.list_changes(folder, then).await?;
        }
        if is_short {
            changes.gone = Gone::Untold;
        }
        Ok(changes)
    }

    /// What changed, and whether fewer messages were listed than the folder is said to hold.
    async fn list_changes(
        &mut self,
        folder: &FolderName,
        then: Option<Mark>,
    ) -> Result<(Changes, bool)> {
        let selected = self.examine(folder).await?;
        let then = then.filter(|then| then.epoch == selected.epoch && then.next <= selected.next);
        let from = then.map_or(1, |then| then.next);
        let mut items = BTreeMap::new();
        if selected.messages > 0 {
            for (within, wanted) in [(1..from, FLAGS), (from..selected.next, FULL)] {
                let is_new = within.start == from;
                let hear = |fetched| {
                    note(&mut items, &within, is_new, fetched);
                };
                self.pages(within.clone(), wanted, hear).await?;
                self.check_count(&items)?;
            }
        }
        let messages = items.len() as u64;
        let is_short = messages < selected.messages;
        let there = items.keys().map(|&uid| ItemId(uid)).collect();
        let is_part = self.is_window(selected.messages);
        // What was not shown is to be listed as new once more.
        let next = if is_short { from } else { selected.next };
        let (epoch, modseq) = (selected.epoch, None);
        let changes = Changes {
            epoch,
            cursor: Mark { epoch, next, messages, modseq, doubted: None }.to_cursor(),
            messages,
            items: items.into_values().collect(),
            gone: if is_part { Gone::Untold } else { Gone::AllBut(there) },
        };
        Ok((changes, is_short))
    }
}
