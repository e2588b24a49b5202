//! Gmail as a source (Gmail IMAP extensions, capability X-GM-EXT-1).
//!
//! What Gmail shows as folders are labels: a message is kept once, in All Mail, Spam or Trash, and
//! shown in many places. Read folder by folder it would be copied as often as it has labels, and
//! not at all if it has none. So the labels are read where the messages are kept, and the account
//! is shown to what is above as `placement` says: its folders have the names of the labels, and
//! the ids of All Mail.
//!
//! There is no QRESYNC, and a label may come and go without a trace in the folder it was: if anything
//! in the account changed, all labels are read again (some 100 bytes a message), and the sets compared.

use std::collections::HashMap;

use async_trait::async_trait;
use ring::digest::{Context, SHA256};
use tokio::sync::mpsc;

use self::placement::Placement;
use super::Imap;
use super::look::PAGE;
use super::reply::Fetched;
use super::source::Reader;
use super::wire::Bodies;
use crate::definition::Labels;
use crate::flow::Memory;
use crate::model::{Cursor, Epoch, Flags, FolderName, IdSet, Item, ItemId, Meta};
use crate::platform::{
    Account, Changes, ContentDigest, Error, FolderStatus, Gone, Inspection, Message, Oversized,
    Page, Refusal, Result, Sighting, Source, Surveyed, Takes, Wanted, Weighed,
};

mod placement;

/// What is asked of every message.
const LABELLED: &str = "(UID FLAGS INTERNALDATE RFC822.SIZE X-GM-LABELS)";
/// Written first into a cursor, so that it is told from an IMAP folder's own.
const FORM: u8 = 2;

/// A signed-in connection to a Gmail account that is only read.
#[derive(Debug)]
pub(super) struct Gmail {
    imap: Imap<Reader>,
    policy: Labels,
    /// Once the folders were listed.
    placement: Option<Placement>,
    /// Once the labels were read.
    contents: HashMap<FolderName, Content>,
}

/// What a folder held when the labels were read last.
#[derive(Debug, Clone)]
struct Content {
    epoch: Epoch,
    ids: IdSet,
}

impl Gmail {
    pub(super) fn new(imap: Imap<Reader>, policy: Labels) -> Self {
        Self { imap, policy, placement: None, contents: HashMap::new() }
    }

    async fn placement(&mut self) -> Result<&Placement> {
        if self.placement.is_none() {
            self.folders().await?;
        }
        self.placement.as_ref().ok_or_else(|| self.imap.session.protocol("no list of folders"))
    }

    /// Where the messages of a folder are kept.
    async fn store(&mut self, folder: &FolderName) -> Result<FolderName> {
        Ok(self.placement().await?.stores.behind(folder).clone())
    }

    /// Those of the ids that the folder holds. The store behind it has all of them.
    async fn within(&mut self, folder: &FolderName, ids: &IdSet) -> Result<IdSet> {
        if self.contents.is_empty() {
            self.read_all().await?;
        }
        let held = self.contents.get(folder).map(|content| content.ids.intersection(ids));
        Ok(held.unwrap_or_default())
    }

    /// Reads all labels: what every folder holds.
    async fn read_all(&mut self) -> Result<HashMap<FolderName, Vec<Item>>> {
        let placement = self.placement().await?.clone();
        let stores = &placement.stores;
        let mut held: HashMap<FolderName, Vec<Item>> = HashMap::new();
        let mut epochs: HashMap<FolderName, Epoch> = HashMap::new();
        for store in [Some(&stores.all), stores.junk.as_ref(), stores.trash.as_ref()] {
            let Some(store) = store else { continue };
            let (epoch, messages) = self.read(store, None).await?;
            epochs.insert(store.clone(), epoch);
            for (item, labels) in messages {
                if *store != stores.all {
                    held.entry(store.clone()).or_default().push(item);
                    continue;
                }
                for folder in placement.of(&labels) {
                    held.entry(folder.clone()).or_default().push(item.clone());
                }
            }
        }
        self.contents = HashMap::new();
        for folder in &placement.shown {
            let ids = held.get(&folder.name).into_iter().flatten().map(|item| item.id).collect();
            let Some(&epoch) = epochs.get(stores.behind(&folder.name)) else { continue };
            self.contents.insert(folder.name.clone(), Content { epoch, ids });
        }
        Ok(held)
    }

    /// Reads messages of a store with their labels, ids ascending: all, or these.
    ///
    /// A message whose labels are not told cannot be placed, and placing it wrongly would move it at
    /// the destination: that is an error, and the next pass asks again.
    async fn read(
        &mut self,
        store: &FolderName,
        only: Option<&IdSet>,
    ) -> Result<(Epoch, Vec<(Item, Vec<Vec<u8>>)>)> {
        let session = &mut self.imap.session;
        let selected = session.examine(store).await?;
        if selected.messages == 0 {
            return Ok((selected.epoch, Vec::new()));
        }
        let ids = match only {
            Some(only) => session.there(only).await?,
            None => session.all_ids().await?,
        };
        let placement = self.placement.as_ref();
        let mut told: HashMap<ItemId, (Item, Vec<Vec<u8>>)> = HashMap::new();
        let each = |uid, fetched: Fetched| {
            let id = ItemId(uid);
            let (Some(flags), Some(labels)) = (fetched.flags, fetched.labels) else { return false };
            let meta = Some(Meta { date: fetched.date, size: fetched.size.unwrap_or(0) });
            let keywords = placement.map(|placement| placement.keywords(&labels));
            let flags = Some(flags.union(&keywords.unwrap_or_default()));
            let item = Item { id, flags, meta };
            ids.contains(id) && told.insert(id, (item, labels)).is_none()
        };
        session.fetch_shown(&ids, LABELLED, Bodies::None, each).await?;
        if told.len() as u64 != ids.len() {
            let missing = ids.len() - told.len() as u64;
            return Err(session.protocol(format!("the labels of {missing} messages are not told")));
        }
        let mut messages: Vec<_> = told.into_values().collect();
        messages.sort_by_key(|(item, _)| item.id);
        Ok((selected.epoch, messages))
    }

    /// The folders as they are shown, from how they are listed.
    fn show(&mut self, listed: &[FolderStatus]) -> Result<Vec<FolderStatus>> {
        let Some(placement) = Placement::new(self.policy, listed) else {
            return Err(self.imap.mode.hidden("it does not show All Mail", REMEDY));
        };
        let cursor = state(listed);
        let status = |name: &FolderName| listed.iter().find(|s| s.folder.name == *name);
        let shown = placement.shown.iter().map(|folder| {
            let store = status(placement.stores.behind(&folder.name));
            FolderStatus {
                folder: folder.clone(),
                role_guessed: status(&folder.name).is_some_and(|s| s.role_guessed),
                selectable: true,
                messages: None,
                epoch: store.and_then(|store| store.epoch),
                next: store.and_then(|store| store.next),
                cursor: cursor.clone(),
            }
        });
        let shown = shown.collect();
        self.placement = Some(placement);
        Ok(shown)
    }
}

/// What to do about mail that cannot be seen.
const REMEDY: &str = "in the account's Gmail settings, under Labels, tick \"Show in IMAP\" for All Mail, Spam and \
     Trash; or sign in with a service account and the scope \
     https://www.googleapis.com/auth/gmail.imap_admin, which sees everything";

/// How the whole account stands: the same only if nothing in it changed, no message, flag or label.
/// Labels that change show in the folders that they are, whatever All Mail tells of it.
fn state(listed: &[FolderStatus]) -> Option<Cursor> {
    let mut digest = Context::new(&SHA256);
    for status in listed.iter().filter(|s| s.selectable) {
        let Cursor(bytes) = status.cursor.as_ref()?;
        let name = &status.folder.name.0;
        for part in [name, bytes] {
            digest.update(&(part.len() as u64).to_le_bytes());
            digest.update(part);
        }
    }
    let mut bytes = vec![FORM];
    bytes.extend_from_slice(digest.finish().as_ref());
    Some(Cursor(bytes))
}

#[async_trait]
impl Account for Gmail {
    async fn folders(&mut self) -> Result<Vec<FolderStatus>> {
        let listed = self.imap.folders().await?;
        self.show(&listed)
    }

    async fn sight(&mut self, folder: &FolderName, ids: &IdSet) -> Result<Vec<Sighting>> {
        let held = self.within(folder, ids).await?;
        let store = self.store(folder).await?;
        self.imap.sight(&store, &held).await
    }

    async fn sights(&mut self, wanted: &[(FolderName, IdSet)]) -> Result<Vec<Vec<Sighting>>> {
        let mut there = Vec::with_capacity(wanted.len());
        for (folder, ids) in wanted {
            let held = self.within(folder, ids).await?;
            there.push((self.store(folder).await?, held));
        }
        self.imap.sights(&there).await
    }

    async fn digest(
        &mut self,
        folder: &FolderName,
        ids: &IdSet,
    ) -> Result<HashMap<ItemId, ContentDigest>> {
        let store = self.store(folder).await?;
        self.imap.digest(&store, ids).await
    }

    async fn list_page(&mut self, folder: &FolderName, from: ItemId) -> Result<Page> {
        if from == ItemId(0) || self.contents.is_empty() {
            self.read_all().await?;
        }
        let Some(content) = self.contents.get(folder).cloned() else {
            return Err(Error::FolderGone(self.imap.session.shown(folder)));
        };
        let rest = content.ids.intersection(&IdSet::range(from, ItemId(u64::MAX - 1)));
        let ids: IdSet = rest.iter().take(PAGE as usize).collect();
        let next = rest.iter().nth(PAGE as usize);
        let store = self.store(folder).await?;
        let (epoch, messages) = self.read(&store, Some(&ids)).await?;
        if epoch != content.epoch {
            return Err(Error::EpochChanged(self.imap.session.shown(folder)));
        }
        Ok(Page { epoch, items: messages.into_iter().map(|(item, _)| item).collect(), next })
    }

    async fn inspect(&mut self, takes: Option<Takes<'_>>) -> Result<Inspection> {
        self.imap.inspect(takes).await
    }

    async fn ping(&mut self) -> Result<()> {
        self.imap.ping().await
    }

    async fn logout(&mut self) {
        self.imap.logout().await;
    }
}

#[async_trait]
impl Source for Gmail {
    fn unchanged(&self, then: &Cursor, now: &FolderStatus) -> bool {
        // There is none where a folder has no modification sequence: flags may change unseen.
        now.cursor.as_ref() == Some(then)
    }

    async fn changes(&mut self, folder: &FolderName, _: Option<&Cursor>) -> Result<Changes> {
        let folders = self.folders().await?;
        let changes = match folders.iter().find(|s| s.folder.name == *folder) {
            Some(status) => self.survey(&[Wanted { status, then: None }]).await?.changes.pop(),
            None => None,
        };
        changes.flatten().ok_or_else(|| Error::FolderGone(self.imap.session.shown(folder)))
    }

    async fn survey(&mut self, wanted: &[Wanted<'_>]) -> Result<Surveyed> {
        let mut held = self.read_all().await?;
        let changes = wanted.iter().map(|Wanted { status, .. }| {
            let name = &status.folder.name;
            let Content { epoch, ids } = self.contents.get(name)?.clone();
            Some(Changes {
                epoch,
                // As it stood before the labels were read.
                cursor: status.cursor.clone().unwrap_or_default(),
                messages: ids.len(),
                items: held.remove(name).unwrap_or_default(),
                gone: Gone::AllBut(ids),
            })
        });
        let changes = changes.collect();
        Ok(Surveyed { changes, after: self.folders().await? })
    }

    async fn oversized(&mut self, among: &[Weighed], limit: u64) -> Result<Oversized> {
        self.imap.oversized(among, limit).await
    }

    async fn fetch(
        &mut self,
        folder: &FolderName,
        epoch: Epoch,
        ids: &IdSet,
        memory: &Memory,
        out: &mpsc::Sender<Message>,
    ) -> Result<()> {
        let store = self.store(folder).await?;
        if self.policy != Labels::Keywords {
            return self.imap.fetch(&store, epoch, ids, memory, out).await;
        }
        // Labels do not come with a message's bytes.
        let (found, labelled) = self.read(&store, Some(ids)).await?;
        self.imap.session.check_epoch(&store, epoch, found)?;
        let flags = labelled.into_iter().map(|(item, _)| (item.id, item.flags));
        let mut flags: HashMap<ItemId, Option<Flags>> = flags.collect();
        let (send, mut receive) = mpsc::channel(1);
        let fetch = async {
            let fetched = self.imap.fetch(&store, epoch, ids, memory, &send).await;
            drop(send);
            fetched
        };
        let give = async {
            while let Some(mut message) = receive.recv().await {
                if let Some(Some(with_labels)) = flags.remove(&message.id) {
                    message.flags = with_labels;
                }
                if out.send(message).await.is_err() {
                    break;
                }
            }
            // Nobody listens any more: else whoever fetches would wait for room for ever.
            drop(receive);
        };
        tokio::join!(fetch, give).0
    }

    async fn announce(&mut self, folder: &FolderName, ids: &IdSet) -> Result<()> {
        if self.policy == Labels::Keywords {
            // Its labels are asked for first.
            return Ok(());
        }
        let store = self.store(folder).await?;
        self.imap.announce(&store, ids).await
    }

    fn refused(&mut self) -> HashMap<ItemId, Refusal> {
        self.imap.refused()
    }

    async fn reconnect(&mut self) -> Result<()> {
        self.imap.reconnect().await
    }
}
