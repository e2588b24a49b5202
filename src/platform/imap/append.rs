//! Putting messages into a folder: the fastest way the server allows, and what became of each.
//!
//! | offered | sent as |
//! |---|---|
//! | MULTIAPPEND (RFC 3502), all literals at once | one command a batch |
//! | LITERAL+ or LITERAL- (RFC 7888) | one command a message, all at once |
//! | neither | one command a message, each literal when the server allows it |

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::command::{Command, date_time};
use super::reply::ranges;
use super::saying::{Saying, Status};
use super::sayings::{Class, During};
use super::session::{Next, Session, Tag};
use super::wire::Bodies;
use crate::definition::{Account, Traits};
use crate::flow::Gauge;
use crate::model::{Epoch, Flags, FolderName, IdSet, ItemId};
use crate::platform::{Append, Appended, Error, Landed, Options, Refusal, Result, Turn};

/// What a connection that writes keeps in mind.
#[derive(Debug)]
pub(super) struct Writer {
    /// To sign in anew.
    pub(super) account: Account,
    pub(super) options: Options,
    /// The folders last opened, in their order.
    pub(super) opened: Vec<Shelf>,
    /// Batches whose fate is not known yet, the oldest first.
    pub(super) batches: VecDeque<Batch>,
    /// When the last one was answered.
    pub(super) answered: Option<Instant>,
}

/// An open folder that messages are put into.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    pub(super) name: FolderName,
    pub(super) epoch: Epoch,
    /// What lands has at least this id.
    pub(super) next: u64,
}

/// A batch whose fate is not known yet.
#[derive(Debug)]
pub(super) struct Batch {
    shelf: Shelf,
    sent: Sent,
    pub(super) work: Work,
    /// What each message is still to be given once it has landed; empty: none of them anything.
    late: Vec<Flags>,
}

impl Batch {
    /// Is anything to be stored once it has landed?
    pub(super) fn has_late(&self) -> bool {
        !self.late.is_empty()
    }
}

/// What a batch is for the server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    /// When its first byte was to go.
    began: Instant,
    messages: u64,
    bytes: u64,
}

#[derive(Debug)]
enum Sent {
    /// As one command for so many messages.
    Whole(Tag, usize),
    /// As one command a message; what kept the rest from being sent.
    Each(Vec<Tag>, Option<Error>),
}

/// Sends a batch; see [`crate::platform::Destination::append`]. Flags that are `late` are kept back.
/// If it is to wait for its turn, it does so as late as it can.
pub(super) async fn append(
    session: &mut Session,
    shelf: Shelf,
    mut batch: Vec<Append>,
    late: &Flags,
    turn: Option<Turn<'_>>,
) -> Result<Batch> {
    let late = keep_back(&mut batch, late);
    let folder = &shelf.name;
    let began = Instant::now();
    let (messages, bytes) = (batch.len() as u64, batch.iter().map(|a| a.body.len() as u64).sum());
    let mut work = Work { began, messages, bytes };
    // The server does not work while it is held back.
    let (told, mut held) = oneshot::channel();
    let turn = turn.map(|turn| -> Turn<'_> {
        Box::pin(async move {
            let since = Instant::now();
            turn.await;
            let _ = told.send(since.elapsed());
        })
    });
    // An empty literal would cancel the whole command (RFC 3502, 6.3.11).
    let together =
        |append: &Append| !append.body.is_empty() && session.sends_at_once(append.body.len());
    let is_one = match batch.len() {
        1 => turn.is_some(),
        _ => session.capabilities.has("MULTIAPPEND"),
    };
    let whole = is_one && batch.iter().all(together);
    let mut sent = if whole {
        let n = batch.len();
        let command = batch.into_iter().fold(Command::new("APPEND").folder(folder), with_message);
        Sent::Whole(session.send_in_turn(command, turn).await?, n)
    } else {
        if let Some(turn) = turn {
            turn.await;
        }
        let mut tags = Vec::with_capacity(batch.len());
        let mut cut = None;
        for message in batch {
            let command = with_message(Command::new("APPEND").folder(folder), message);
            match session.send(command).await {
                Ok(tag) => tags.push(tag),
                Err(error) if tags.is_empty() => return Err(error),
                // Where each waits for the one before, there are answers all the same.
                Err(error) => {
                    cut = Some(error);
                    break;
                }
            }
        }
        Sent::Each(tags, cut)
    };
    match (session.flush().await, &mut sent) {
        (Ok(()), _) => {}
        // Some may have gone, and been answered.
        (Err(error), Sent::Each(_, cut)) => drop(cut.get_or_insert(error)),
        (Err(error), Sent::Whole(..)) => return Err(error),
    }
    work.began += held.try_recv().unwrap_or_default();
    Ok(Batch { shelf, sent, work, late })
}

/// Takes flags off that APPEND would lose; empty if there are none.
fn keep_back(batch: &mut [Append], late: &Flags) -> Vec<Flags> {
    let has_late = |append: &Append| !append.flags.both(late).is_empty();
    if !batch.iter().any(has_late) {
        return Vec::new();
    }
    let keep = |append: &mut Append| {
        let kept = append.flags.both(late);
        append.flags = append.flags.minus(&kept);
        kept
    };
    batch.iter_mut().map(keep).collect()
}

fn with_message(command: Command, message: Append) -> Command {
    let mut command = command.text(" ");
    if !message.flags.is_empty() {
        command = command.text(format!("({}) ", message.flags));
    }
    if let Some(date) = message.date.as_ref().and_then(date_time) {
        command = command.text(date).text(" ");
    }
    command.literal(message.body)
}

/// Waits for the fate of a batch. All its commands are brought to their end even if one of them
/// says that the account is full: the connection stays usable.
pub(super) async fn settle(session: &mut Session, mut batch: Batch) -> Result<Appended> {
    let (late, shelf) = (std::mem::take(&mut batch.late), batch.shelf.clone());
    let mut appended = settle_appends(session, batch).await?;
    match &mut appended {
        Appended::Each(fates) => store_late(session, &shelf, &late, fates).await?,
        // There is no connection left to store them on: whoever looks for the rest does it.
        Appended::Cut(fates, _) => {
            fates.truncate(late.iter().position(|l| !l.is_empty()).unwrap_or(fates.len()));
        }
        Appended::Refused(_) => {}
    }
    Ok(appended)
}

/// Stores what was kept back of messages that have landed.
async fn store_late(
    session: &mut Session,
    shelf: &Shelf,
    late: &[Flags],
    fates: &[Result<Landed, Refusal>],
) -> Result<()> {
    let mut alike: BTreeMap<String, IdSet> = BTreeMap::new();
    for (flags, fate) in late.iter().zip(fates) {
        if let (false, Ok(Landed::At(id))) = (flags.is_empty(), fate) {
            alike.entry(flags.to_string()).or_default().insert(*id);
        }
    }
    if alike.is_empty() {
        return Ok(());
    }
    session.write_into(&shelf.name, shelf.epoch).await?;
    let stores = alike.iter().flat_map(|(flags, ids)| {
        session.sets(ids).into_iter().map(move |set| Command::store(&set, '+', flags))
    });
    let stores = stores.collect();
    match session.change(stores, &[]).await {
        // The messages are there; a flag is not worth the pass.
        Err(error @ Error::Refused { .. }) => {
            tracing::warn!(folder = %session.shown(&shelf.name), %error, "the server does not take flags of messages that were copied");
            Ok(())
        }
        other => other,
    }
}

/// What became of the messages themselves.
async fn settle_appends(session: &mut Session, batch: Batch) -> Result<Appended> {
    match batch.sent {
        Sent::Whole(tag, n) => {
            let saying = end(session, tag).await?;
            if saying.status != Status::Ok {
                return refused(session, &batch.shelf, &saying).map(Appended::Refused);
            }
            let places = landed(session, &saying, n, &batch.shelf)?;
            Ok(Appended::Each(places.into_iter().map(Ok).collect()))
        }
        Sent::Each(tags, mut cut) => {
            let mut fates = Vec::with_capacity(tags.len());
            let is_broken = cut.is_some();
            for tag in tags {
                let fate = match end(session, tag).await {
                    Ok(saying) => fate(session, &batch.shelf, &saying),
                    // No later answer will come either.
                    Err(error) => {
                        cut = cut.or(Some(error));
                        break;
                    }
                };
                match fate {
                    Ok(fate) if cut.is_none() || is_broken => fates.push(fate),
                    Ok(_) => {}
                    Err(error) => cut = cut.or(Some(error)),
                }
            }
            Ok(match cut {
                None => Appended::Each(fates),
                Some(error) if fates.is_empty() => return Err(error),
                Some(error) => Appended::Cut(fates, error),
            })
        }
    }
}

fn fate(session: &Session, shelf: &Shelf, saying: &Saying) -> Result<Result<Landed, Refusal>> {
    if saying.status != Status::Ok {
        return refused(session, shelf, saying).map(Err);
    }
    let places = landed(session, saying, 1, shelf)?;
    Ok(Ok(places.first().copied().unwrap_or(Landed::Somewhere)))
}

async fn end(session: &mut Session, tag: Tag) -> Result<Saying> {
    loop {
        if let Next::Done(saying) = session.next(tag, Bodies::None).await? {
            return Ok(saying);
        }
    }
}

/// A refusal of the message, or the error it is if it concerns more than that.
fn refused(session: &Session, shelf: &Shelf, saying: &Saying) -> Result<Refusal> {
    if session.peer.sayings.read(saying, During::Append).class == Class::FolderGone {
        return Err(Error::FolderGone(session.shown(&shelf.name)));
    }
    match session.peer.grave(saying, During::Append) {
        Some(error) => Err(error),
        None => Ok(session.peer.refusal(saying, During::Append)),
    }
}

/// Where `n` messages landed, in their order, by APPENDUID (RFC 4315, 3). Believed only if it
/// names as many, ascending (2.3.1.1 of RFC 9051 allows nothing else), none of which was there
/// before. Not believed of Gmail: of a message that the account has already it names the copy, which
/// is discarded at once, while the other gets the label and another id (imapsync, FAQ.Gmail).
fn landed(session: &Session, saying: &Saying, n: usize, shelf: &Shelf) -> Result<Vec<Landed>> {
    let somewhere = vec![Landed::Somewhere; n];
    if session.capabilities.has("X-GM-EXT-1") {
        return Ok(somewhere);
    }
    let Some((validity, set)) = saying.code("APPENDUID").and_then(|rest| rest.split_once(' '))
    else {
        return Ok(somewhere);
    };
    let Ok(validity) = validity.trim().parse() else { return Ok(somewhere) };
    session.check_epoch(&shelf.name, shelf.epoch, Epoch(validity))?;
    let ids = expanded(set, n);
    if ids.len() != n || !ascend(&ids) || ids.first().is_some_and(|id| id.0 < shelf.next) {
        return Ok(somewhere);
    }
    Ok(ids.into_iter().map(Landed::At).collect())
}

/// Does each come after the one before?
pub(super) fn ascend(ids: &[ItemId]) -> bool {
    ids.is_sorted_by(|a, b| a < b)
}

/// The ids of a set in the order in which they are written, up to one more than `n`: a set may
/// claim any size.
pub(super) fn expanded(set: &str, n: usize) -> Vec<ItemId> {
    ranges(set.trim().as_bytes()).flatten().take(n + 1).map(ItemId).collect()
}

impl Writer {
    pub(super) fn new(account: &Account, options: &Options) -> Self {
        let (account, options) = (account.clone(), options.clone());
        Self { account, options, opened: Vec::new(), batches: VecDeque::new(), answered: None }
    }

    /// What has to be known of the server and it does not tell.
    pub(super) fn traits(&self) -> &Traits {
        &self.account.endpoint.traits
    }

    /// Tells how long the server took for what it has just answered: since it had nothing older
    /// to do on this connection.
    pub(super) fn report(&mut self, work: Work, gauge: &Gauge) {
        let now = Instant::now();
        let began = self.answered.replace(now).map_or(work.began, |last| last.max(work.began));
        gauge.answered(work.messages, work.bytes, now - began);
    }

    /// An opened folder.
    ///
    /// # Errors
    /// `Protocol` if it was not opened: a caller's mistake that must not write anywhere.
    pub(super) fn shelf(&self, session: &Session, folder: &FolderName) -> Result<Shelf> {
        let found = self.opened.iter().find(|shelf| shelf.name == *folder).cloned();
        let shown = || session.protocol(format!("folder {} is not open", session.shown(folder)));
        found.ok_or_else(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_expanded_in_the_order_written_and_never_at_their_word() {
        let ids = |set, n| expanded(set, n).into_iter().map(|id| id.0).collect::<Vec<_>>();
        assert_eq!(ids("7,3:5", 4), [7, 3, 4, 5]);
        assert_eq!(ids("1:4294967295", 2), [1, 2, 3]);
        assert_eq!(ids("x", 2), Vec::<u64>::new());
    }
}
