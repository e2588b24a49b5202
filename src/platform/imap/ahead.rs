//! What is asked for before anybody waits for it: a folder and its first messages at the source,
//! while the destination is still being made ready; the next folder at the destination, while it
//! takes the last of the one before.

use std::collections::VecDeque;

use super::command::{Command, set_parts};
use super::folder::Opening;
use super::session::{Next, Session, Tag};
use super::wire::Bodies;
use crate::model::{Epoch, FolderName, IdSet};
use crate::platform::Result;

/// Messages asked for ahead: enough to keep the line busy, few enough to be in vain.
const FIRST: usize = 100;
/// And over a long line, where whoever reads them begins a round trip later and more.
const FIRST_FAR: usize = 400;

/// Bytes of the commands that several folders are asked for with: they fit any socket's buffer, even
/// that of a server that takes no more because drover has not read what it says.
const EACH_BYTES: usize = 8 * 1024;

/// What is to be asked of a folder ahead.
struct Question<'a> {
    folder: &'a FolderName,
    ids: &'a IdSet,
    examine: Command,
    fetch: Command,
    /// What the FETCH asks for.
    first: IdSet,
    /// Of both commands.
    bytes: usize,
}

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
    /// Sends EXAMINE and the first FETCH of what [`Session::asked_ahead`] will be asked for next, and
    /// waits for neither; of several folders as long as a FETCH each is all that they take, for there
    /// can be no second one once the next folder is open. Anything else that is asked before lets it be
    /// in vain.
    pub(super) async fn ask_ahead(&mut self, wanted: &[(FolderName, IdSet)]) -> Result<()> {
        let mut readings = VecDeque::new();
        let mut bytes = 0;
        for (folder, ids) in wanted {
            let Some(question) = self.question(folder, ids) else { break };
            bytes += question.bytes;
            let is_all = question.first == *ids;
            if !readings.is_empty() && (!is_all || bytes > EACH_BYTES) {
                break;
            }
            readings.push_back(Ahead::Reading(self.ask_first(question).await?));
            if !is_all {
                break;
            }
        }
        // If nothing was asked, what was asked before is still on its way.
        self.ahead.extend(readings);
        self.flush().await
    }

    /// What to ask of a folder ahead; `None` if that cannot be said, or not be sent at once.
    fn question<'a>(&self, folder: &'a FolderName, ids: &'a IdSet) -> Option<Question<'a>> {
        let examine = self.examining(folder, None);
        let is_open = self.selected.as_ref().is_some_and(|s| s.name == *folder);
        let first = if self.distance.is_far() { FIRST_FAR } else { FIRST };
        let limit = self.capabilities.message_limit().map_or(first, |n| first.min(n as usize));
        let first: IdSet = ids.iter().take(limit).collect();
        let [set] = &set_parts(&first)[..] else { return None };
        if is_open {
            return None;
        }
        let whole = self.whole_items();
        let fetch = Command::raw("FETCH", format!("UID FETCH {set} {whole}"));
        let bytes = examine.plain_length()? + fetch.plain_length()?;
        Some(Question { folder, ids, examine, fetch, first, bytes })
    }

    async fn ask_first(&mut self, question: Question<'_>) -> Result<Reading> {
        let Question { folder, ids, examine, fetch, first, .. } = question;
        let examine = self.send(examine).await?;
        self.selected = None;
        let fetch = self.send(fetch).await?;
        let (folder, ids) = (folder.clone(), ids.clone());
        Ok(Reading { folder, ids, examine, fetch, first })
    }

    /// Sends what [`Session::select`] will want next, in this order. Anything else that is sent before
    /// lets it be in vain.
    pub(super) async fn select_ahead(&mut self, folders: &[FolderName]) -> Result<()> {
        let Some(first) = folders.first() else { return Ok(()) };
        let is_first = |ahead: &Ahead| matches!(ahead, Ahead::Opening(name, _) if name == first);
        if self.ahead.front().is_some_and(is_first) {
            return Ok(());
        }
        let mut openings = VecDeque::new();
        for folder in folders {
            let select = Command::new("SELECT").folder(folder);
            if select.plain_length().is_none() {
                break;
            }
            openings.push_back(Ahead::Opening(folder.clone(), self.send(select).await?));
            self.selected = None;
        }
        self.ahead.extend(openings);
        self.flush().await
    }

    /// The SELECT that was sent ahead for this folder, if there is one.
    pub(super) fn selected_ahead(&mut self, folder: &FolderName) -> Option<Tag> {
        let is_this =
            |ahead: &mut Ahead| matches!(ahead, Ahead::Opening(name, _) if name == folder);
        match self.ahead.pop_front_if(is_this) {
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
        let is_it = |reading: &Reading| reading.folder == *folder && reading.ids == *ids;
        let is_this = |ahead: &Ahead| matches!(ahead, Ahead::Reading(reading) if is_it(reading));
        // Nobody will ask for what was announced before it.
        while self.ahead.iter().skip(1).any(is_this)
            && let Some(other) = self.ahead.pop_front()
        {
            self.forget(other).await?;
        }
        let Some(Ahead::Reading(ahead)) = self.ahead.pop_front_if(|ahead| is_this(ahead)) else {
            self.forget_ahead().await?;
            return Ok(None);
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
        // Whoever asks for more than was announced has to open it again: the server has gone on.
        self.selected = Some(selected).filter(|_| self.ahead.is_empty());
        if let Err(error) = self.check_epoch(folder, epoch, found) {
            // Other messages than those that are meant are on their way.
            self.abandon();
            return Err(error);
        }
        Ok(Some((ahead.fetch, ahead.first)))
    }

    /// Lets all that was asked ahead pass by. Another folder than the one at hand may be open then.
    pub(super) async fn forget_ahead(&mut self) -> Result<()> {
        while let Some(ahead) = self.ahead.pop_front() {
            self.selected = None;
            self.forget(ahead).await?;
        }
        Ok(())
    }

    async fn forget(&mut self, ahead: Ahead) -> Result<()> {
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
