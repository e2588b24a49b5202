//! Looking at messages without changing them: listings, headers, digests.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;

use super::command::{Command, set_parts};
use super::reply::{Fetched, Reply};
use super::session::{Next, Session};
use super::wire::Bodies;
use crate::model::fingerprint::{NAMING_HEADERS, of_headers};
use crate::model::{FolderName, IdSet, Item, ItemId, Meta};
use crate::platform::{ContentDigest, Error, Page, Result, Sighting};

/// Commands sent ahead of the one whose replies are read.
const AHEAD: usize = 2;

/// The most messages of one folder: Microsoft 365 stops at a million, and the largest archives
/// known hold a few.
pub(super) const MAX_MESSAGES: usize = 8_000_000;
/// Messages in a page of a listing.
pub(super) const PAGE: u64 = 2000;
/// Ids that are asked about at once while messages are found among them.
const MAX_WINDOW: u64 = 1 << 16;
/// What a listing asks for of messages that are new.
pub(super) const FULL: &str = "(UID FLAGS INTERNALDATE RFC822.SIZE)";
/// And of those that are known.
pub(super) const FLAGS: &str = "(UID FLAGS)";

impl Session {
    /// Sends a UID FETCH for each set, the next one always ahead, and hands over what comes.
    /// Replies without a UID (flag changes that nobody asked for) are dropped. `each` says
    /// whether a message was asked for and had not come before.
    pub(super) async fn fetch_each(
        &mut self,
        sets: Vec<String>,
        items: &str,
        bodies: Bodies<'_>,
        mut each: impl FnMut(u64, Fetched) -> bool + Send,
    ) -> Result<()> {
        let mut sets = sets.into_iter();
        let mut sent = VecDeque::new();
        loop {
            while sent.len() < AHEAD
                && let Some(set) = sets.next()
            {
                let command = Command::raw("FETCH", format!("UID FETCH {set} {items}"));
                sent.push_back(self.send(command).await?);
            }
            let Some(tag) = sent.pop_front() else { return Ok(()) };
            loop {
                match self.next(tag, bodies).await? {
                    Next::Data(Reply::Fetch(fetched)) => {
                        if fetched.uid.is_some_and(|uid| each(uid, fetched)) {
                            self.earn();
                        }
                    }
                    Next::Data(_) => {}
                    Next::Done(saying) => {
                        tolerate_expunged(self.settled("FETCH", saying))?;
                        break;
                    }
                }
            }
        }
    }

    /// Lists messages into `items`: with `meta` all that a listing tells.
    pub(super) async fn list_into(
        &mut self,
        set: String,
        meta: bool,
        within: Range<u64>,
        items: &mut BTreeMap<u64, Item>,
    ) -> Result<()> {
        let wanted = if meta { FULL } else { FLAGS };
        let each = |_, fetched| note(items, &within, meta, fetched);
        self.fetch_each(vec![set], wanted, Bodies::None, each).await?;
        self.check_count(items)
    }

    /// No folder has more messages than [`MAX_MESSAGES`].
    pub(super) fn check_count(&self, items: &BTreeMap<u64, Item>) -> Result<()> {
        if items.len() > MAX_MESSAGES {
            return Err(self.protocol(format!("a folder of more than {MAX_MESSAGES} messages")));
        }
        Ok(())
    }

    /// All ids of the open folder.
    pub(super) async fn all_ids(&mut self) -> Result<IdSet> {
        if self.is_paged() {
            return self.paged_ids().await;
        }
        let mut found = Vec::new();
        let hear = |reply| {
            if let Reply::Found(ids) = reply {
                found.extend(ids.ranges());
            }
        };
        self.exec(self.searching(), hear).await?;
        Ok(IdSet::of_ranges(found))
    }

    /// The command that asks for all ids of the open folder.
    pub(super) fn searching(&self) -> Command {
        let command = if self.capabilities.has("ESEARCH") {
            "UID SEARCH RETURN (ALL) ALL"
        } else {
            "UID SEARCH ALL"
        };
        Command::raw("SEARCH", command)
    }

    /// See [`crate::platform::Account::sight`].
    pub(super) async fn sight(
        &mut self,
        folder: &FolderName,
        ids: &IdSet,
    ) -> Result<Vec<Sighting>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.look_into(folder).await?;
        let mut seen: BTreeMap<ItemId, Sighting> = BTreeMap::new();
        let each = |_, fetched| {
            let sighting = sighting(fetched).filter(|sighting| ids.contains(sighting.id));
            sighting.is_some_and(|sighting| seen.insert(sighting.id, sighting).is_none())
        };
        let items = self.naming_items();
        self.fetch_shown(ids, &items, Bodies::None, each).await?;
        Ok(seen.into_values().collect())
    }

    /// Fetches these messages, and once more by name those that are there and were not shown: an
    /// OK without an answer must not read as an empty folder, for then everything would be copied
    /// again. Single messages may be beyond a server's power to show; all of them are not.
    pub(super) async fn fetch_shown(
        &mut self,
        ids: &IdSet,
        items: &str,
        bodies: Bodies<'_>,
        mut each: impl FnMut(u64, Fetched) -> bool + Send,
    ) -> Result<()> {
        let mut shown = IdSet::new();
        let mut asked = self.askable(ids).await?;
        for _ in 0..2 {
            let hear = |uid, fetched: Fetched| {
                let fresh = each(uid, fetched);
                if fresh {
                    shown.insert(ItemId(uid));
                }
                fresh
            };
            self.fetch_each(self.sets(&asked), items, bodies, hear).await?;
            asked = asked.difference(&shown);
            if !asked.is_empty() {
                asked = self.there(&asked).await?;
            }
            if asked.is_empty() {
                return Ok(());
            }
        }
        if !shown.is_empty() {
            return Ok(());
        }
        Err(self.protocol(format!("it has {} messages and shows none of them", asked.len())))
    }

    /// See [`crate::platform::Account::digest`].
    pub(super) async fn digest(
        &mut self,
        folder: &FolderName,
        ids: &IdSet,
    ) -> Result<HashMap<ItemId, ContentDigest>> {
        let mut digests = HashMap::new();
        if ids.is_empty() {
            return Ok(digests);
        }
        self.look_into(folder).await?;
        let normalisation = self.normalisation();
        let each = |uid, fetched: Fetched| {
            if !ids.contains(ItemId(uid)) {
                return false;
            }
            // Small bodies may come in quotes, which the connection does not digest.
            let quoted = || fetched.body.as_ref().map(|(body, _)| normalisation.digest(body));
            let digest = fetched.digest.or_else(quoted);
            digest.is_some_and(|digest| digests.insert(ItemId(uid), digest).is_none())
        };
        self.fetch_shown(ids, "(UID BODY.PEEK[])", Bodies::Digest, each).await?;
        Ok(digests)
    }

    /// See [`crate::platform::Account::list_page`].
    ///
    /// SEARCH tells which ids there are and FETCH describes them: ids may lie far apart, so a
    /// range of them says nothing about how many messages are in it, and some servers hang when
    /// asked for ids above the last.
    pub(super) async fn list_page(&mut self, folder: &FolderName, from: ItemId) -> Result<Page> {
        if self.is_paged() {
            return self.list_by_pages(folder, from).await;
        }
        let selected = match from {
            ItemId(0) => self.examine(folder).await?,
            _ => self.look_into(folder).await?,
        };
        let (epoch, end) = (selected.epoch, selected.next);
        let mut page = Page { epoch, items: Vec::new(), next: None };
        if selected.messages == 0 || from.0 >= end {
            return Ok(page);
        }
        // So wide that it should hold a page; wider while nothing is found.
        let per_message = end / selected.messages + 1;
        let mut width = PAGE.saturating_mul(per_message).min(MAX_WINDOW);
        let mut first = from.0.max(1);
        let (mut alive, after) = loop {
            let last = first.saturating_add(width - 1).min(end - 1);
            let alive = self.ids_within(first, last).await?;
            if !alive.is_empty() || last >= end - 1 {
                break (alive, last + 1);
            }
            first = last + 1;
            width = width.saturating_mul(2);
        };
        page.next = (after < end).then_some(ItemId(after));
        let cut = alive.iter().nth(PAGE as usize);
        if let Some(cut) = cut {
            page.next = Some(cut);
            alive = alive.intersection(&IdSet::range(ItemId(0), ItemId(cut.0 - 1)));
        }
        let mut items = BTreeMap::new();
        for set in set_parts(&alive) {
            self.list_into(set, true, first..after, &mut items).await?;
        }
        for id in alive.iter() {
            let meta = Some(Meta { date: None, size: 0 });
            items.entry(id.0).or_insert(Item { id, flags: None, meta });
        }
        page.items = items.into_values().collect();
        Ok(page)
    }

    /// The ids from `first` to `last` that the open folder holds.
    async fn ids_within(&mut self, first: u64, last: u64) -> Result<IdSet> {
        let how = if self.capabilities.has("ESEARCH") { "RETURN (ALL) " } else { "" };
        let command = format!("UID SEARCH {how}UID {first}:{last}");
        let mut ids = IdSet::new();
        let hear = |reply| {
            if let Reply::Found(found) = reply {
                ids.extend_set(&found);
            }
        };
        self.exec(Command::raw("SEARCH", command), hear).await?;
        // `n:m` names the last message even if its id is below both (RFC 9051, 9 seq-range).
        Ok(ids.intersection(&IdSet::range(ItemId(first), ItemId(last))))
    }

    /// What is asked of a message that is to be recognised. Yahoo's HEADER.FIELDS is read from an
    /// index, and is not what the message has.
    pub(super) fn naming_items(&self) -> String {
        let identity = self.identity_item();
        if self.capabilities.is_yahoo() {
            return format!("(UID FLAGS RFC822.SIZE{identity} BODY.PEEK[HEADER])");
        }
        let headers = NAMING_HEADERS.join(" ");
        format!("(UID FLAGS RFC822.SIZE{identity} BODY.PEEK[HEADER.FIELDS ({headers})])")
    }

    /// What a message is asked for with.
    pub(super) fn whole_items(&self) -> String {
        format!("(UID FLAGS INTERNALDATE{} BODY.PEEK[])", self.identity_item())
    }

    /// What tells the name that a message has in every folder; empty where it has none.
    fn identity_item(&self) -> &'static str {
        if self.capabilities.has("OBJECTID") {
            " EMAILID"
        } else if self.capabilities.has("X-GM-EXT-1") {
            " X-GM-MSGID"
        } else {
            ""
        }
    }
}

/// What the answer tells.
pub(super) fn sighting(fetched: Fetched) -> Option<Sighting> {
    let named = of_headers(&fetched.header?);
    Some(Sighting {
        id: ItemId(fetched.uid?),
        fingerprint: named.fingerprint,
        size: fetched.size.unwrap_or(0),
        flags: fetched.flags.unwrap_or_default(),
        message_id: named.message_id,
        identity: fetched.identity,
    })
}

/// Takes what a listing says of a message into `items`; with `meta` all that it tells. True if
/// the message is `within` what was asked for and had not come before.
pub(super) fn note(
    items: &mut BTreeMap<u64, Item>,
    within: &Range<u64>,
    meta: bool,
    fetched: Fetched,
) -> bool {
    // `n:*` names the last message even if its id is below `n` (RFC 9051, 9 seq-range).
    let Some(uid) = fetched.uid.filter(|uid| within.contains(uid)) else { return false };
    if items.len() > MAX_MESSAGES {
        return false;
    }
    let n_before = items.len();
    let item = items.entry(uid).or_insert_with(|| Item {
        id: ItemId(uid),
        flags: None,
        meta: meta.then_some(Meta { date: None, size: 0 }),
    });
    if fetched.flags.is_some() {
        item.flags = fetched.flags;
    }
    if let Some(known) = &mut item.meta {
        known.date = fetched.date.or(known.date);
        known.size = fetched.size.unwrap_or(known.size);
    }
    items.len() > n_before
}

/// Some servers answer NO when a message of the set is gone (RFC 2180, 4.1.2; RFC 5530): the
/// others were sent all the same.
pub(super) fn tolerate_expunged<T>(outcome: Result<T>) -> Result<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(Error::Refused { refusal, .. })
            if refusal.code.as_deref() == Some("EXPUNGEISSUED")
                || refusal.text.contains("messages no longer exist") =>
        {
            Ok(())
        }
        Err(error) => Err(error),
    }
}
