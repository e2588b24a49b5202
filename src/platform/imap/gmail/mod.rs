//! Gmail as a source (Gmail IMAP extensions, capability X-GM-EXT-1).
//!
//! What Gmail shows as folders are labels: a message is kept once, in All Mail, Spam or Trash, and
//! shown in many places. Read folder by folder it would be copied as often as it has labels, and
//! not at all if it has none. So the labels are read where the messages are kept, and the account
//! is shown to what is above as `placement` says: its folders have the names of the labels, and
//! the ids of All Mail.
//!
//! There is no QRESYNC, and a label may come and go without a trace in the folder it was. So what each
//! folder held is kept in its cursor; if anything in the account changed, what changed of the
//! messages is read and the sets compared, and if the folders do not count as many messages, all
//! labels are read again (some 100 bytes a message).

use std::collections::HashMap;

use async_trait::async_trait;
use ring::digest::{Context, SHA256};
use tokio::sync::mpsc;

use self::mark::{Digest, Held};
use self::placement::Placement;
use self::reading::Told;
use super::Imap;
use super::look::PAGE;
use super::source::Reader;
use crate::definition::Labels;
use crate::flow::Memory;
use crate::model::{Cursor, Epoch, Flags, FolderName, IdSet, ItemId};
use crate::platform::{
    Account, Changes, ContentDigest, Error, FolderStatus, Gone, Inspection, Message, Oversized,
    Page, Refusal, Result, Sighting, Source, Surveyed, Takes, Wanted, Weighed, unless_closed,
};

mod mark;
mod placement;
mod reading;

/// A signed-in connection to a Gmail account that is only read.
#[derive(Debug)]
pub(super) struct Gmail {
    imap: Imap<Reader>,
    policy: Labels,
    /// Once the folders were listed.
    placement: Option<Placement>,
    /// How many messages each folder had when the folders were listed.
    counted: HashMap<FolderName, u64>,
    /// What the folders held when the labels were read.
    held: HashMap<FolderName, Held>,
}

impl Gmail {
    pub(super) fn new(imap: Imap<Reader>, policy: Labels) -> Self {
        Self { imap, policy, placement: None, counted: HashMap::new(), held: HashMap::new() }
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
        if self.held.is_empty() {
            self.read_all().await?;
        }
        let held = self.held.get(folder).map(|held| held.placed.intersection(ids));
        Ok(held.unwrap_or_default())
    }

    /// Do the folders count as many messages as were found to bear their labels, now or before they
    /// were asked about? Whether each label that comes or goes is a change of the message in All
    /// Mail is not documented.
    fn adds_up(&self, told: &HashMap<FolderName, Told>, before: &HashMap<FolderName, u64>) -> bool {
        told.iter().all(|(name, told)| {
            let mut counts =
                [before, &self.counted].into_iter().filter_map(|c| c.get(name)).peekable();
            counts.peek().is_none() || counts.any(|&n| n == told.held.labelled.len())
        })
    }

    /// The folders as they are shown, from how they are listed.
    fn show(&mut self, listed: &[FolderStatus]) -> Result<Vec<FolderStatus>> {
        let Some(placement) = Placement::new(self.policy, listed) else {
            return Err(self.imap.mode.hidden("it does not show All Mail", REMEDY));
        };
        let cursor = state(placement.digest(), listed);
        let status = |name: &FolderName| listed.iter().find(|s| s.folder.name == *name);
        let shown = placement.shown.iter().map(|folder| {
            let name = placement.stores.behind(&folder.name);
            let store = status(name);
            FolderStatus {
                folder: folder.clone(),
                role_guessed: status(&folder.name).is_some_and(|s| s.role_guessed),
                selectable: true,
                messages: None,
                epoch: store.and_then(|store| store.epoch),
                next: store.and_then(|store| store.next),
                cursor: cursor.clone(),
                store: Some(name.clone()),
            }
        });
        let shown = shown.collect();
        let counted = listed.iter().filter_map(|s| Some((s.folder.name.clone(), s.messages?)));
        self.counted = counted.collect();
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
fn state(structure: Digest, listed: &[FolderStatus]) -> Option<Cursor> {
    let mut digest = Context::new(&SHA256);
    digest.update(&structure);
    for status in listed.iter().filter(|s| s.selectable) {
        let Cursor(bytes) = status.cursor.as_ref()?;
        let name = &status.folder.name.0;
        for part in [name, bytes] {
            digest.update(&(part.len() as u64).to_le_bytes());
            digest.update(part);
        }
    }
    let mut state = Digest::default();
    state.copy_from_slice(digest.finish().as_ref());
    Some(mark::of_state(state))
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
        if from == ItemId(0) || self.held.is_empty() {
            self.read_all().await?;
        }
        let Some(held) = self.held.get(folder).cloned() else {
            return Err(Error::FolderGone(self.imap.session.shown(folder)));
        };
        let rest = held.placed.intersection(&IdSet::range(from, ItemId(u64::MAX - 1)));
        let ids: IdSet = rest.iter().take(PAGE as usize).collect();
        let next = rest.iter().nth(PAGE as usize);
        let store = self.store(folder).await?;
        let selected = self.imap.session.examine(&store).await?;
        let epoch = selected.epoch;
        self.imap.session.check_epoch(folder, held.epoch, epoch)?;
        let messages = self.read(&selected, Some(&ids)).await?;
        Ok(Page { epoch, items: messages.into_iter().map(|(item, _)| item).collect(), next })
    }

    fn is_partial(&self, folder: &FolderName) -> bool {
        let store = self.placement.as_ref().map(|placement| placement.stores.behind(folder));
        store.is_some_and(|store| self.imap.session.partial.contains(store))
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
        now.cursor.as_ref().is_some_and(|now| mark::is_unchanged(then, now))
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
        let counted = self.counted.clone();
        let mut seen = None;
        if let Some(told) = self.read_changes(wanted).await? {
            let after = self.folders().await?;
            seen = self.adds_up(&told, &counted).then_some((told, after));
        }
        let (mut told, after) = match seen {
            Some(seen) => seen,
            None => (self.read_all().await?, self.folders().await?),
        };
        let changes = wanted.iter().map(|Wanted { status, .. }| {
            let Told { items, held } = told.remove(&status.folder.name)?;
            let (epoch, messages) = (held.epoch, held.placed.len());
            // As it stood before the labels were read.
            let cursor = status.cursor.as_ref().map(|now| mark::with_held(now, &held));
            let gone = match self.is_partial(&status.folder.name) {
                true => Gone::Untold,
                false => Gone::AllBut(held.placed),
            };
            Some(Changes { epoch, cursor: cursor.unwrap_or_default(), messages, items, gone })
        });
        Ok(Surveyed { changes: changes.collect(), after })
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
        let selected = self.imap.session.examine(&store).await?;
        self.imap.session.check_epoch(&store, epoch, selected.epoch)?;
        let labelled = self.read(&selected, Some(ids)).await?;
        let flags = labelled.into_iter().map(|(item, _)| (item.id, item.flags));
        let mut flags: HashMap<ItemId, Option<Flags>> = flags.collect();
        let (send, mut receive) = mpsc::channel(1);
        let fetch = async {
            let fetched = self.imap.fetch(&store, epoch, ids, memory, &send).await;
            drop(send);
            fetched
        };
        let give = async {
            while let Some(mut message) = unless_closed(out, receive.recv()).await.flatten() {
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

    async fn announce_each(&mut self, wanted: &[(FolderName, IdSet)]) -> Result<()> {
        let Some((folder, ids)) = wanted.first() else { return Ok(()) };
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
