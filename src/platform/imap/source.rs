//! The account that is read: EXAMINE and BODY.PEEK only (law 1). There is no SELECT here, no
//! STORE, and no way to one.

use std::collections::{HashMap, HashSet, VecDeque};

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::ahead::Asked;
use super::command::{Command, set_parts};
use super::look::tolerate_expunged;
use super::mark::Mark;
use super::reply::{Fetched, Reply, ranges};
use super::saying::Status;
use super::session::{Next, Session, Tag};
use super::wire::Bodies;
use super::{Imap, Mode, connect};
use crate::definition;
use crate::flow::Memory;
use crate::model::{Cursor, Epoch, FolderName, IdSet, ItemId};
use crate::platform::{
    Changes, Error, FolderStatus, Message, Options, Oversized, Refusal, Result, Source, Surveyed,
    Wanted, Weighed, unless_closed,
};

/// FETCH commands under way: one that is answered, one on its way.
const AHEAD: usize = 2;
/// And over a long line.
const AHEAD_FAR: usize = 4;
/// Refusals in a row, with no message between them, that are still taken for single messages'.
const IN_A_ROW: usize = 5;

/// What a connection that only reads keeps in mind.
#[derive(Debug)]
pub(super) struct Reader {
    account: definition::Account,
    options: Options,
    refused: HashMap<ItemId, Refusal>,
}

impl Reader {
    pub(super) fn new(account: &definition::Account, options: &Options) -> Self {
        Self { account: account.clone(), options: options.clone(), refused: HashMap::new() }
    }

    pub(super) async fn connect(&self) -> Result<Session> {
        connect::sign_in(&self.account, &self.options, true).await
    }

    /// Not all of the account's mail can be seen.
    pub(super) fn hidden(&self, text: impl Into<String>, remedy: &'static str) -> Error {
        let (host, user) = (self.account.endpoint.host.clone(), self.account.user.clone());
        Error::Hidden { host, user, text: text.into(), remedy }
    }
}

impl Mode for Reader {
    fn account(&self) -> &definition::Account {
        &self.account
    }
}

#[async_trait]
impl Source for Imap<Reader> {
    fn unchanged(&self, then: &Cursor, now: &FolderStatus) -> bool {
        let now = now.cursor.as_ref().and_then(Mark::from_cursor);
        // Without a modification sequence, flags may have changed unseen.
        now.is_some_and(|now| now.modseq.is_some() && Mark::from_cursor(then) == Some(now))
    }

    async fn changes(&mut self, folder: &FolderName, then: Option<&Cursor>) -> Result<Changes> {
        let then = then.and_then(Mark::from_cursor);
        self.session.changes(folder, then).await
    }

    async fn survey(&mut self, wanted: &[Wanted<'_>]) -> Result<Surveyed> {
        self.session.survey(wanted).await
    }

    async fn oversized(&mut self, among: &[Weighed], limit: u64) -> Result<Oversized> {
        self.session.oversized(among, limit).await
    }

    async fn fetch(
        &mut self,
        folder: &FolderName,
        epoch: Epoch,
        ids: &IdSet,
        memory: &Memory,
        out: &mpsc::Sender<Message>,
    ) -> Result<()> {
        self.mode.refused.clear();
        if ids.is_empty() {
            return Ok(());
        }
        let asked = self.session.asked_ahead(folder, epoch, ids).await?;
        if asked.is_none() {
            let selected = self.session.look_into(folder).await?;
            self.session.check_epoch(folder, epoch, selected.epoch)?;
        }
        self.session.fetch((folder, epoch), asked, ids, memory, out, &mut self.mode.refused).await
    }

    async fn announce_each(&mut self, wanted: &[(FolderName, IdSet)]) -> Result<()> {
        self.session.ask_ahead(wanted).await
    }

    fn refused(&mut self) -> HashMap<ItemId, Refusal> {
        std::mem::take(&mut self.mode.refused)
    }

    async fn reconnect(&mut self) -> Result<()> {
        self.session = self.mode.connect().await?;
        Ok(())
    }
}

impl Session {
    /// Reads bodies, each once there is room for it.
    ///
    /// One message that cannot be read spoils the whole command it was asked for with. What did
    /// not come is then asked for in halves, until the message stands alone.
    async fn fetch(
        &mut self,
        (folder, epoch): (&FolderName, Epoch),
        asked: Option<Asked>,
        ids: &IdSet,
        memory: &Memory,
        out: &mpsc::Sender<Message>,
        refused: &mut HashMap<ItemId, Refusal>,
    ) -> Result<()> {
        let mut sent: VecDeque<(Tag, String)> = VecDeque::new();
        let mut sets: VecDeque<String> = self.sets(ids).into();
        if let Some((tag, first)) = asked {
            sent.push_back((tag, set_parts(&first).join(",")));
            sets = self.sets(&ids.difference(&first)).into();
        }
        let whole = self.whole_items();
        let ahead = if self.distance.is_far() { AHEAD_FAR } else { AHEAD };
        let mut delivered = HashSet::new();
        let mut in_a_row = 0;
        loop {
            // The next ones are on their way while this one's messages are read.
            while sent.len() < ahead
                && let Some(set) = sets.pop_front()
            {
                if self.selected.is_none() {
                    // Other folders were announced behind this one.
                    let opened = self.examine(folder).await?;
                    self.check_epoch(folder, epoch, opened.epoch)?;
                }
                let command = Command::raw("FETCH", format!("UID FETCH {set} {whole}"));
                sent.push_back((self.send(command).await?, set));
            }
            let Some((tag, set)) = sent.pop_front() else { return Ok(()) };
            let mut came = Vec::new();
            let end = loop {
                let next = self.next(tag, Bodies::Keep(memory));
                let Some(next) = unless_closed(out, next).await else {
                    // Neither room nor the server is worth waiting for, and reading on would cost
                    // the whole download.
                    self.abandon();
                    return Ok(());
                };
                match next? {
                    Next::Data(Reply::Fetch(fetched)) => {
                        let size = fetched.body.as_ref().map_or(0, |(body, _)| body.len());
                        let Some(message) = message(fetched, ids, memory).await else {
                            self.unasked(size)?;
                            continue;
                        };
                        // Twice would be two copies at the destination.
                        if !delivered.insert(message.id) {
                            self.unasked(size)?;
                            continue;
                        }
                        self.earn();
                        came.push(message.id);
                        if out.send(message).await.is_err() {
                            self.abandon();
                            return Ok(());
                        }
                    }
                    Next::Data(_) => {}
                    Next::Done(saying) => break saying,
                }
            };
            if !came.is_empty() {
                in_a_row = 0;
            }
            let is_refusal = end.status != Status::Ok;
            let refusal = match tolerate_expunged(self.settled("FETCH", end)) {
                Ok(()) => continue,
                Err(Error::Refused { refusal, .. }) if is_refusal && !refusal.transient => refusal,
                Err(error) => return Err(error),
            };
            let asked: IdSet = ranges(set.as_bytes()).flatten().map(ItemId).collect();
            let missing: Vec<ItemId> =
                asked.intersection(ids).difference(&came.into_iter().collect()).iter().collect();
            if let [alone] = missing[..] {
                in_a_row += 1;
                if in_a_row > IN_A_ROW {
                    return Err(Error::Refused { command: "FETCH", refusal });
                }
                refused.insert(alone, refusal);
                continue;
            }
            // What is on its way is asked for again later, so that the order stays.
            while let Some((tag, set)) = sent.pop_back() {
                while let Next::Data(_) = self.next(tag, Bodies::Digest).await? {}
                sets.push_front(set);
            }
            let (first, second) = missing.split_at(missing.len() / 2);
            for half in [second, first] {
                for part in set_parts(&half.iter().copied().collect()).into_iter().rev() {
                    sets.push_front(part);
                }
            }
        }
    }
}

/// A message with its body; a reply without one was about something else.
async fn message(fetched: Fetched, ids: &IdSet, memory: &Memory) -> Option<Message> {
    let id = fetched.uid.map(ItemId).filter(|&id| ids.contains(id))?;
    let (body, room) = fetched.body?;
    let room = match room {
        Some(room) => room,
        // A small body in quotes was read with its line.
        None => memory.room(body.len() as u64).await,
    };
    let Fetched { flags, date, identity, .. } = fetched;
    Some(Message { id, flags: flags.unwrap_or_default(), date, identity, body, room })
}
