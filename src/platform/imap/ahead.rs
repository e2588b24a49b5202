//! What is asked for before anybody waits for it: a folder and its first messages at the source,
//! while the destination is still being made ready; the next folder at the destination, while it
//! takes the last of the one before.

use super::command::{Command, set_parts};
use super::folder::Opening;
use super::session::{Next, Session, Tag};
use super::wire::Bodies;
use crate::model::{Epoch, FolderName, IdSet};
use crate::platform::Result;

/// Messages asked for ahead: enough to keep the line busy, few enough to be in vain.
const FIRST: usize = 100;

/// What was asked for.
#[derive(Debug)]
pub(super) enum Ahead {
    Reading(Reading),
    Opening(FolderName, Tag),
}

/// A folder that is being opened and read.
#[derive(Debug)]
pub(super) struct Reading {
    folder: FolderName,
    ids: IdSet,
    examine: Tag,
    fetch: Tag,
    /// What the FETCH asks for.
    first: IdSet,
}

/// The FETCH that is on its way, with what it asks for.
pub(super) type Asked = (Tag, IdSet);

impl Session {
    /// Sends EXAMINE and the first FETCH of what [`Session::asked_ahead`] will be asked for next,
    /// and waits for neither. Anything else that is asked before lets it be in vain.
    pub(super) async fn ask_ahead(&mut self, folder: &FolderName, ids: &IdSet) -> Result<()> {
        let examine = self.examining(folder, None);
        let is_open = self.selected.as_ref().is_some_and(|s| s.name == *folder);
        let limit = self.capabilities.message_limit().map_or(FIRST, |n| FIRST.min(n as usize));
        let first: IdSet = ids.iter().take(limit).collect();
        let [set] = &set_parts(&first)[..] else { return Ok(()) };
        if examine.plain_length().is_none() || is_open {
            return Ok(());
        }
        let examine = self.send(examine).await?;
        self.selected = None;
        let whole = self.whole_items();
        let fetch = self.send(Command::raw("FETCH", format!("UID FETCH {set} {whole}"))).await?;
        let (folder, ids) = (folder.clone(), ids.clone());
        self.ahead = Some(Ahead::Reading(Reading { folder, ids, examine, fetch, first }));
        Ok(())
    }

    /// Sends the SELECT that [`Session::select`] will want next. Anything else that is sent before
    /// lets it be in vain.
    pub(super) async fn select_ahead(&mut self, folder: &FolderName) -> Result<()> {
        let select = Command::new("SELECT").folder(folder);
        if select.plain_length().is_none() {
            return Ok(());
        }
        let tag = self.send(select).await?;
        self.selected = None;
        self.ahead = Some(Ahead::Opening(folder.clone(), tag));
        Ok(())
    }

    /// The SELECT that was sent ahead for this folder, if there is one.
    pub(super) fn selected_ahead(&mut self, folder: &FolderName) -> Option<Tag> {
        match self.ahead.take_if(|ahead| matches!(ahead, Ahead::Opening(name, _) if name == folder))
        {
            Some(Ahead::Opening(_, tag)) => Some(tag),
            _ => None,
        }
    }

    /// The FETCH that was sent ahead for exactly this, if there is one; then the folder is open.
    pub(super) async fn asked_ahead(
        &mut self,
        folder: &FolderName,
        epoch: Epoch,
        ids: &IdSet,
    ) -> Result<Option<Asked>> {
        let ahead = match self.ahead.take() {
            Some(Ahead::Reading(ahead)) if ahead.folder == *folder && ahead.ids == *ids => ahead,
            Some(other) => {
                self.forget(other).await?;
                return Ok(None);
            }
            None => return Ok(None),
        };
        let mut opening = Opening::default();
        let end = self.end_of(ahead.examine, |reply| opening.hear(reply)).await?;
        let opened = self.folder_settled("EXAMINE", folder, end).map(|_| opening.complete());
        let (found, next) = match opened {
            Ok(Some(opened)) => opened,
            // What is missing has to be asked for.
            Ok(None) => {
                self.skip(ahead.fetch).await?;
                return Ok(None);
            }
            Err(error) => {
                self.skip(ahead.fetch).await?;
                return Err(error);
            }
        };
        let selected = self.opened(folder, &opening, found, next)?;
        self.selected = Some(selected);
        if let Err(error) = self.check_epoch(folder, epoch, found) {
            // Other messages than those that are meant are on their way.
            self.abandon();
            return Err(error);
        }
        Ok(Some((ahead.fetch, ahead.first)))
    }

    /// Lets what was asked ahead pass by.
    pub(super) async fn forget(&mut self, ahead: Ahead) -> Result<()> {
        match ahead {
            Ahead::Reading(Reading { examine, fetch, .. }) => {
                self.end_of(examine, |_| ()).await?;
                self.skip(fetch).await
            }
            Ahead::Opening(_, select) => self.end_of(select, |_| ()).await.map(drop),
        }
    }

    async fn skip(&mut self, fetch: Tag) -> Result<()> {
        while let Next::Data(_) = self.next(fetch, Bodies::Digest).await? {}
        Ok(())
    }
}
