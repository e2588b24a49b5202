//! Putting messages into a folder: the fastest way the server allows, and what became of each.
//!
//! | offered | sent as |
//! |---|---|
//! | MULTIAPPEND (RFC 3502), all literals at once | one command a batch |
//! | LITERAL+ or LITERAL- (RFC 7888) | one command a message, all at once |
//! | neither | one command a message, each literal when the server allows it |

use std::collections::VecDeque;

use super::command::{Command, date_time};
use super::reply::ranges;
use super::saying::{Saying, Status};
use super::sayings::{Class, During, classify};
use super::session::{Next, Session, Tag, refusal};
use super::wire::Bodies;
use crate::model::{Epoch, FolderName, ItemId};
use crate::platform::{Append, Appended, Error, Landed, Refusal, Result};

/// What a connection that writes keeps in mind.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// The folder last opened, and the epoch it had.
    pub(super) opened: Option<(FolderName, Epoch)>,
    /// Batches whose fate is not known yet, the oldest first.
    pub(super) batches: VecDeque<Batch>,
}

/// A batch whose fate is not known yet.
#[derive(Debug)]
pub(super) struct Batch {
    folder: FolderName,
    /// Of the folder as opened.
    epoch: Epoch,
    sent: Sent,
}

#[derive(Debug)]
enum Sent {
    /// As one command for so many messages.
    Whole(Tag, usize),
    /// As one command a message.
    Each(Vec<Tag>),
}

/// Sends a batch; see [`crate::platform::Destination::append`].
pub(super) async fn append(
    session: &mut Session,
    folder: &FolderName,
    epoch: Epoch,
    batch: Vec<Append>,
) -> Result<Batch> {
    // An empty literal would cancel the whole command (RFC 3502, 6.3.11).
    let together =
        |append: &Append| !append.body.is_empty() && session.sends_at_once(append.body.len());
    let whole =
        batch.len() > 1 && session.capabilities.has("MULTIAPPEND") && batch.iter().all(together);
    let sent = if whole {
        let n = batch.len();
        let command = batch.into_iter().fold(Command::new("APPEND").folder(folder), with_message);
        Sent::Whole(session.send(command).await?, n)
    } else {
        let mut tags = Vec::with_capacity(batch.len());
        for message in batch {
            let command = with_message(Command::new("APPEND").folder(folder), message);
            tags.push(session.send(command).await?);
        }
        Sent::Each(tags)
    };
    Ok(Batch { folder: folder.clone(), epoch, sent })
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
pub(super) async fn settle(session: &mut Session, batch: Batch) -> Result<Appended> {
    match batch.sent {
        Sent::Whole(tag, n) => {
            let saying = end(session, tag).await?;
            if saying.status != Status::Ok {
                return refused(session, &batch.folder, &saying).map(Appended::Refused);
            }
            let places = landed(session, &saying, n, &batch.folder, batch.epoch)?;
            Ok(Appended::Each(places.into_iter().map(Ok).collect()))
        }
        Sent::Each(tags) => {
            let mut sayings = Vec::with_capacity(tags.len());
            for tag in tags {
                sayings.push(end(session, tag).await?);
            }
            let mut fates = Vec::with_capacity(sayings.len());
            for saying in sayings {
                fates.push(if saying.status == Status::Ok {
                    let places = landed(session, &saying, 1, &batch.folder, batch.epoch)?;
                    Ok(places.first().copied().unwrap_or(Landed::Somewhere))
                } else {
                    Err(refused(session, &batch.folder, &saying)?)
                });
            }
            Ok(Appended::Each(fates))
        }
    }
}

async fn end(session: &mut Session, tag: Tag) -> Result<Saying> {
    loop {
        if let Next::Done(saying) = session.next(tag, Bodies::None).await? {
            return Ok(saying);
        }
    }
}

/// A refusal of the message, or the error it is if it concerns more than that.
fn refused(session: &Session, folder: &FolderName, saying: &Saying) -> Result<Refusal> {
    match classify(saying, During::Storing) {
        Class::Quota | Class::Throttled(_) => Err(session.error("APPEND", saying)),
        Class::FolderGone => Err(Error::FolderGone(session.shown(folder))),
        _ => Ok(refusal(saying, During::Storing)),
    }
}

/// Where `n` messages landed, in their order, by APPENDUID (RFC 4315, 3). Believed only if it
/// names as many.
fn landed(
    session: &Session,
    saying: &Saying,
    n: usize,
    folder: &FolderName,
    epoch: Epoch,
) -> Result<Vec<Landed>> {
    let somewhere = vec![Landed::Somewhere; n];
    let Some((validity, set)) = saying.code("APPENDUID").and_then(|rest| rest.split_once(' '))
    else {
        return Ok(somewhere);
    };
    let Ok(validity) = validity.trim().parse() else { return Ok(somewhere) };
    session.check_epoch(folder, epoch, Epoch(validity))?;
    let ids = expanded(set, n);
    if ids.len() != n {
        return Ok(somewhere);
    }
    Ok(ids.into_iter().map(Landed::At).collect())
}

/// The ids of a set in the order in which they are written, up to one more than `n`: a set may
/// claim any size.
pub(super) fn expanded(set: &str, n: usize) -> Vec<ItemId> {
    ranges(set.trim().as_bytes()).flatten().take(n + 1).map(ItemId).collect()
}

impl Writer {
    /// The epoch of the opened folder.
    ///
    /// # Errors
    /// `Protocol` if another folder is open: a caller's mistake that must not write anywhere.
    pub(super) fn epoch_of(&self, session: &Session, folder: &FolderName) -> Result<Epoch> {
        match &self.opened {
            Some((name, epoch)) if name == folder => Ok(*epoch),
            _ => Err(session.protocol(format!("folder {} is not open", session.shown(folder)))),
        }
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
