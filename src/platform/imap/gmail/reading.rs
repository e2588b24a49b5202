//! Reading which messages bear which labels: all of them, or what changed since the last time.

use std::collections::HashMap;

use super::Gmail;
use super::mark::{self, Held};
use super::placement::Placement;
use crate::model::{FolderName, IdSet, Item, ItemId, Meta};
use crate::platform::imap::reply::Fetched;
use crate::platform::imap::session::Selected;
use crate::platform::imap::wire::Bodies;
use crate::platform::{Result, Wanted};

/// What is asked of every message.
const LABELLED: &str = "(UID FLAGS INTERNALDATE RFC822.SIZE X-GM-LABELS)";

/// A message and its labels.
type Labelled = (Item, Vec<Vec<u8>>);

/// What a look at the labels told of a folder.
#[derive(Debug)]
pub(super) struct Told {
    /// Its messages, ids ascending: all of them, or those that changed.
    pub(super) items: Vec<Item>,
    /// What it holds now.
    pub(super) held: Held,
}

impl Gmail {
    /// Reads all labels: what every folder holds.
    pub(super) async fn read_all(&mut self) -> Result<HashMap<FolderName, Told>> {
        let placement = self.placement().await?.clone();
        let mut told = HashMap::new();
        for store in placement.stores.each() {
            let selected = self.imap.session.examine(store).await?;
            let messages = self.read(&selected, None).await?;
            told.extend(sorted(&placement, &selected, messages, |_| Some(Default::default())));
        }
        self.keep(&told);
        Ok(told)
    }

    /// Reads the labels that changed since then. `None` if what is known does not allow that, or
    /// what is told cannot be all of it.
    pub(super) async fn read_changes(
        &mut self,
        wanted: &[Wanted<'_>],
    ) -> Result<Option<HashMap<FolderName, Told>>> {
        let placement = self.placement().await?.clone();
        let structure = placement.digest();
        let mut before: HashMap<&FolderName, Held> = HashMap::new();
        for Wanted { status, then } in wanted {
            let held = then.and_then(mark::held).filter(|held| held.structure == structure);
            let Some(held) = held else { return Ok(None) };
            before.insert(&status.folder.name, held);
        }
        let mut told = HashMap::new();
        for store in placement.stores.each() {
            let behind = before.iter().filter(|(name, _)| placement.stores.behind(name) == store);
            let behind: Vec<&Held> = behind.map(|(_, held)| held).collect();
            if behind.is_empty() {
                continue;
            }
            let selected = self.imap.session.examine(store).await?;
            let since = behind.iter().map(|held| held.modseq).min().flatten();
            let is_known = behind.iter().all(|held| held.epoch == selected.epoch);
            let Some(since) = since.filter(|_| is_known && selected.modseq >= since) else {
                return Ok(None);
            };
            let there = self.imap.session.all_ids().await?;
            let Some(messages) = self.read_since(&selected, &there, since).await? else {
                return Ok(None);
            };
            let changed: IdSet = messages.iter().map(|(item, _)| item.id).collect();
            // Every message of a store bears its label.
            let is_all_told = before.get(store).is_none_or(|held| {
                there.difference(&held.labelled).difference(&changed).is_empty()
            });
            if !is_all_told {
                return Ok(None);
            }
            let base = |name: &FolderName| Some(before.get(name)?.left(&there, &changed));
            told.extend(sorted(&placement, &selected, messages, base));
        }
        // Something changed, or nobody would have asked.
        let is_as_before = |(name, told): (&FolderName, &Told)| {
            told.items.is_empty()
                && before.get(name).is_some_and(|b| b.labelled == told.held.labelled)
        };
        if told.iter().all(is_as_before) {
            return Ok(None);
        }
        self.keep(&told);
        Ok(Some(told))
    }

    /// Remembers what the folders hold.
    fn keep(&mut self, told: &HashMap<FolderName, Told>) {
        self.held = told.iter().map(|(name, told)| (name.clone(), told.held.clone())).collect();
    }

    /// Reads messages of the open store with their labels, ids ascending: all, or these.
    ///
    /// A message whose labels are not told cannot be placed, and placing it wrongly would move it at
    /// the destination: that is an error, and the next pass asks again.
    pub(super) async fn read(
        &mut self,
        selected: &Selected,
        only: Option<&IdSet>,
    ) -> Result<Vec<Labelled>> {
        let session = &mut self.imap.session;
        if selected.messages == 0 {
            return Ok(Vec::new());
        }
        let ids = match only {
            Some(only) => session.there(only).await?,
            None => session.all_ids().await?,
        };
        let placement = self.placement.as_ref();
        let mut told: HashMap<ItemId, Labelled> = HashMap::new();
        let each = |uid, fetched: Fetched| {
            let labelled = labelled(placement, uid, fetched);
            labelled.is_some_and(|(item, labels)| {
                ids.contains(item.id) && told.insert(item.id, (item, labels)).is_none()
            })
        };
        session.fetch_shown(&ids, LABELLED, Bodies::None, each).await?;
        if told.len() as u64 != ids.len() {
            let missing = ids.len() - told.len() as u64;
            return Err(session.protocol(format!("the labels of {missing} messages are not told")));
        }
        Ok(in_order(told))
    }

    /// Those of the open store that changed since a modification sequence (RFC 7162, 3.1.4.1).
    /// `None` if something is told of a message and not its labels.
    async fn read_since(
        &mut self,
        selected: &Selected,
        there: &IdSet,
        since: u64,
    ) -> Result<Option<Vec<Labelled>>> {
        if selected.messages == 0 {
            return Ok(Some(Vec::new()));
        }
        let placement = self.placement.as_ref();
        let mut told: HashMap<ItemId, Labelled> = HashMap::new();
        let mut spoken_of = IdSet::new();
        let each = |uid, fetched: Fetched| {
            let id = ItemId(uid);
            if !there.contains(id) {
                return false;
            }
            spoken_of.insert(id);
            let labelled = labelled(placement, uid, fetched);
            labelled.is_some_and(|labelled| told.insert(id, labelled).is_none())
        };
        let items = format!("{LABELLED} (CHANGEDSINCE {since})");
        self.imap.session.fetch_each(vec!["1:*".into()], &items, Bodies::None, each).await?;
        Ok((told.len() as u64 == spoken_of.len()).then(|| in_order(told)))
    }
}

/// Sorts messages of a store into the folders that show a part of it. `base` says of a folder what
/// bears its label and is not among them, and which of that it shows; `None`: it is not asked about.
fn sorted(
    placement: &Placement,
    selected: &Selected,
    messages: Vec<Labelled>,
    base: impl Fn(&FolderName) -> Option<(IdSet, IdSet)>,
) -> HashMap<FolderName, Told> {
    let store = &selected.name;
    let structure = placement.digest();
    let (epoch, modseq) = (selected.epoch, selected.modseq);
    let names = placement.shown.iter().map(|folder| &folder.name);
    let behind = names.filter(|name| placement.stores.behind(name) == store);
    let empty = |name: &FolderName| {
        let (labelled, placed) = base(name)?;
        let held = Held { epoch, modseq, structure, labelled, placed };
        Some((name.clone(), Told { items: Vec::new(), held }))
    };
    let mut told: HashMap<FolderName, Told> = behind.filter_map(empty).collect();
    for (item, labels) in messages {
        let (borne, placed): (Vec<_>, Vec<_>) = match *store == placement.stores.all {
            true => (placement.borne(&labels).collect(), placement.of(&labels).collect()),
            false => (vec![store], vec![store]),
        };
        for name in borne {
            if let Some(told) = told.get_mut(name) {
                told.held.labelled.insert(item.id);
            }
        }
        for name in placed {
            if let Some(told) = told.get_mut(name) {
                told.held.placed.insert(item.id);
                told.items.push(item.clone());
            }
        }
    }
    told
}

fn in_order(told: HashMap<ItemId, Labelled>) -> Vec<Labelled> {
    let mut messages: Vec<_> = told.into_values().collect();
    messages.sort_by_key(|(item, _)| item.id);
    messages
}

/// What the answer tells, if it tells all.
fn labelled(placement: Option<&Placement>, uid: u64, fetched: Fetched) -> Option<Labelled> {
    let labels = fetched.labels?;
    let keywords = placement.map(|placement| placement.keywords(&labels)).unwrap_or_default();
    let meta = Some(Meta { date: fetched.date, size: fetched.size.unwrap_or(0) });
    Some((Item { id: ItemId(uid), flags: Some(fetched.flags?.union(&keywords)), meta }, labels))
}
