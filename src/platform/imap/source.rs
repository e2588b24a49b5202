//! The account that is read: EXAMINE and BODY.PEEK only (law 1). There is no SELECT here, no
//! STORE, and no way to one.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::command::{Command, set_parts};
use super::look::{MAX_MESSAGES, tolerate_expunged};
use super::mark::Mark;
use super::reply::{Fetched, Reply, ranges};
use super::saying::Status;
use super::session::{Next, Session, Tag};
use super::wire::Bodies;
use super::{Imap, connect};
use crate::definition;
use crate::flow::Memory;
use crate::model::{Cursor, Epoch, Flags, FolderName, IdSet, Item, ItemId};
use crate::platform::{
    Changes, Error, FolderStatus, Gone, Message, Options, Refusal, Result, Source,
};

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
        let selected = self.session.look_into(folder).await?;
        self.session.check_epoch(folder, epoch, selected.epoch)?;
        self.session.fetch(ids, memory, out, &mut self.mode.refused).await
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
    /// What changed since `then`: by QRESYNC, by CONDSTORE and counting, or by looking at
    /// everything. All three give the same.
    async fn changes(&mut self, folder: &FolderName, then: Option<Mark>) -> Result<Changes> {
        let mut vanished = Vec::new();
        let mut told = Vec::new();
        let hear = |reply| match reply {
            Reply::Vanished(true, ids) => vanished.extend(ids.ranges()),
            Reply::Fetch(fetched) => told.extend(flags_of(fetched)),
            // What came until now was about the folder that was open before (RFC 7162, 3.2.11).
            Reply::Status(saying) if saying.code("CLOSED").is_some() => {
                told.clear();
                vanished.clear();
            }
            _ => {}
        };
        let selected = self.examine(folder, then.as_ref(), hear).await?;
        let vanished = IdSet::of_ranges(vanished);
        let mut now = Mark {
            epoch: selected.epoch,
            next: selected.next,
            messages: selected.messages,
            modseq: selected.modseq,
        };
        let mut items = BTreeMap::new();
        let gone = match then.filter(|then| then.epoch == now.epoch && then.next <= now.next) {
            None => {
                self.list_new(1, &now, &mut items).await?;
                self.gone_but_alive(1, &now, &mut items).await?
            }
            Some(then) => match (then.modseq, now.modseq) {
                // One that went back was restored from a backup: it proves nothing.
                (Some(since), Some(_)) if now.modseq >= then.modseq => {
                    if self.qresync {
                        note_flags(told, then.next, &mut items);
                    } else {
                        self.list_changed_since(since, &then, &mut items).await?;
                    }
                    self.list_new(then.next, &now, &mut items).await?;
                    self.gone_since(&then, &now, vanished, &mut items).await?
                }
                _ => {
                    let known = 1..then.next;
                    if then.next > 1 && now.messages > 0 {
                        let set = format!("1:{}", then.next - 1);
                        self.list_into(set, false, known, &mut items).await?;
                    }
                    self.list_new(then.next, &now, &mut items).await?;
                    self.gone_but_alive(then.next, &now, &mut items).await?
                }
            },
        };
        if items.values().any(|item| item.flags.is_none()) {
            // The next survey is to ask for them.
            now.modseq = None;
        }
        Ok(Changes {
            epoch: now.epoch,
            // As it stood before the listing: what happens meanwhile is found next time.
            cursor: now.to_cursor(),
            messages: now.messages,
            items: items.into_values().collect(),
            gone,
        })
    }

    /// Lists, with all that is to be known, the messages from `from` on that were there when
    /// the survey began.
    async fn list_new(
        &mut self,
        from: u64,
        now: &Mark,
        items: &mut BTreeMap<u64, Item>,
    ) -> Result<()> {
        if now.messages == 0 || from >= now.next {
            return Ok(());
        }
        self.list_into(format!("{from}:{}", now.next - 1), true, from..now.next, items).await
    }

    async fn list_changed_since(
        &mut self,
        modseq: u64,
        then: &Mark,
        items: &mut BTreeMap<u64, Item>,
    ) -> Result<()> {
        if then.next <= 1 {
            return Ok(());
        }
        let wanted = format!("(UID FLAGS) (CHANGEDSINCE {modseq})");
        let sets = vec![format!("1:{}", then.next - 1)];
        let each = |_, fetched| {
            let n_before = items.len();
            note_flags(flags_of(fetched), then.next, items);
            items.len() > n_before && items.len() <= MAX_MESSAGES
        };
        self.fetch_each(sets, &wanted, Bodies::None, each).await
    }

    /// What left the folder. Counting tells how many of the known messages did; what the server
    /// named is believed only if it is exactly so many. Servers name too few (no QRESYNC) and
    /// too many (RFC 7162, 3.2.10.1; some even name what is still there).
    async fn gone_since(
        &mut self,
        then: &Mark,
        now: &Mark,
        vanished: IdSet,
        items: &mut BTreeMap<u64, Item>,
    ) -> Result<Gone> {
        let known = IdSet::range(ItemId(1), ItemId(then.next.saturating_sub(1)));
        let vanished = vanished.intersection(&known);
        let n_new = items.range(then.next..).count() as u64;
        if (then.messages + n_new).checked_sub(now.messages) == Some(vanished.len()) {
            return Ok(Gone::These(vanished));
        }
        Ok(Gone::AllBut(self.all_alive(then.next..now.next, items).await?))
    }

    /// What left the folder, after a full listing. If that listing was short of messages, the
    /// server is asked in another way: what it would not show is not gone for that.
    async fn gone_but_alive(
        &mut self,
        new_from: u64,
        now: &Mark,
        items: &mut BTreeMap<u64, Item>,
    ) -> Result<Gone> {
        let mut alive: IdSet = items.keys().map(|&uid| ItemId(uid)).collect();
        if alive.len() < now.messages {
            alive.extend_set(&self.all_alive(new_from..now.next, items).await?);
        }
        Ok(Gone::AllBut(alive))
    }

    /// Reads bodies, each once there is room for it.
    ///
    /// One message that cannot be read spoils the whole command it was asked for with. What did
    /// not come is then asked for in halves, until the message stands alone.
    async fn fetch(
        &mut self,
        ids: &IdSet,
        memory: &Memory,
        out: &mpsc::Sender<Message>,
        refused: &mut HashMap<ItemId, Refusal>,
    ) -> Result<()> {
        let mut sets: VecDeque<String> = set_parts(ids).into();
        let mut sent: VecDeque<(Tag, String)> = VecDeque::new();
        let mut delivered = HashSet::new();
        let mut in_a_row = 0;
        loop {
            // The next command is on its way while this one's messages are read.
            while sent.len() < 2
                && let Some(set) = sets.pop_front()
            {
                let items = "(UID FLAGS INTERNALDATE BODY.PEEK[])";
                let command = Command::raw("FETCH", format!("UID FETCH {set} {items}"));
                sent.push_back((self.send(command).await?, set));
            }
            let Some((tag, set)) = sent.pop_front() else { return Ok(()) };
            let mut came = Vec::new();
            let end = loop {
                match self.next(tag, Bodies::Keep(memory)).await? {
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
                            // Nobody listens any more. Reading on would cost the whole download.
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

fn flags_of(fetched: Fetched) -> Option<(u64, Flags)> {
    Some((fetched.uid?, fetched.flags?))
}

/// Notes flags of messages known before.
fn note_flags(
    told: impl IntoIterator<Item = (u64, Flags)>,
    next: u64,
    items: &mut BTreeMap<u64, Item>,
) {
    for (uid, flags) in told.into_iter().filter(|&(uid, _)| uid < next) {
        items.insert(uid, Item { id: ItemId(uid), flags: Some(flags), meta: None });
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
    Some(Message { id, flags: fetched.flags.unwrap_or_default(), date: fetched.date, body, room })
}
