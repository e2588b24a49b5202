//! The source's half of a copy run: messages in their order, no faster than the definition's `rate`.
//!
//! Some servers hang up at a message they cannot give, each time. What comes after it must not wait
//! for ever: on a new connection the message is asked for alone, and if the server hangs up again,
//! it is left out and the rest goes on.

use std::collections::HashMap;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::job::Job;
use crate::flow::{Memory, Rate};
use crate::model::{Epoch, FolderName, IdSet, ItemId};
use crate::platform::{Error, Message, Refusal, Result, Source, unless_closed};

/// So many broken connections are made good in one run.
const BREAKS: usize = 16;
/// Messages on their way from the connection to the pace.
const HANDED: usize = 16;
/// Messages in a row at which the source hung up, before it is believed that they are not the
/// cause.
const IN_A_ROW: usize = 3;

/// Why the source did not give a message.
pub(super) enum Ungiven {
    /// In its words.
    Refused(Refusal),
    /// It hung up, twice; how that looked.
    HungUp(String),
}

/// See the module.
pub(super) struct Reading {
    folder: FolderName,
    epoch: Epoch,
    memory: Memory,
    rate: Rate,
    stop: CancellationToken,
    recalled: CancellationToken,
    /// Neither passed on nor known not to come.
    left: IdSet,
    pub(super) ungiven: HashMap<ItemId, Ungiven>,
}

impl Reading {
    /// Of these messages of one of the job's folders.
    pub(super) fn new(job: &Job, folder: usize, ids: IdSet, recalled: CancellationToken) -> Self {
        let plan = &job.folders[folder];
        Self {
            folder: plan.folder.name.clone(),
            epoch: plan.epoch,
            memory: job.context.memory.clone(),
            rate: job.rate.clone(),
            stop: job.stop.clone(),
            recalled,
            left: ids,
            ungiven: HashMap::new(),
        }
    }

    /// Reads until everything was passed on or found not to come.
    pub(super) async fn run(
        &mut self,
        source: &mut dyn Source,
        out: mpsc::Sender<Message>,
    ) -> Result<()> {
        let mut suspect: Option<ItemId> = None;
        let (mut breaks, mut in_a_row) = (0, 0);
        while !self.left.is_empty() {
            let before = self.left.len();
            let ids = suspect.map_or_else(|| self.left.clone(), |id| IdSet::range(id, id));
            let read = self.attempt(source, &ids, &out).await;
            let refused = source.refused().into_iter();
            self.ungiven.extend(refused.map(|(id, refusal)| (id, Ungiven::Refused(refusal))));
            if self.left.len() < before {
                in_a_row = 0;
            }
            match read {
                _ if self.recalled.is_cancelled() => return Ok(()),
                Ok(()) if self.stop.is_cancelled() || out.is_closed() => return Ok(()),
                Ok(()) => {
                    self.left = self.left.difference(&ids);
                    suspect = None;
                }
                Err(error @ (Error::Broken { .. } | Error::Silent { .. })) if breaks < BREAKS => {
                    breaks += 1;
                    match suspect.take() {
                        None => suspect = self.left.first(),
                        Some(_) if in_a_row == IN_A_ROW => return Err(error),
                        Some(id) => {
                            in_a_row += 1;
                            self.left.remove(id);
                            self.ungiven.insert(id, Ungiven::HungUp(error.to_string()));
                        }
                    }
                    tracing::info!(%error, left = self.left.len(), "the connection to the source broke while it gave messages; connecting anew");
                    source.reconnect().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Those that the source hung up at.
    pub(super) fn hung_up(&self) -> IdSet {
        let hung_up =
            |(&id, why): (&ItemId, &Ungiven)| matches!(why, Ungiven::HungUp(_)).then_some(id);
        self.ungiven.iter().filter_map(hung_up).collect()
    }

    /// One fetch, paced.
    async fn attempt(
        &mut self,
        source: &mut dyn Source,
        ids: &IdSet,
        out: &mpsc::Sender<Message>,
    ) -> Result<()> {
        let (send, mut receive) = mpsc::channel::<Message>(HANDED);
        let read = async {
            // Dropped when reading ends: that is how the other knows.
            let send = send;
            source.fetch(&self.folder, self.epoch, ids, &self.memory, &send).await
        };
        let (left, rate, stop, recalled) = (&mut self.left, &self.rate, &self.stop, &self.recalled);
        let pace = async {
            while let Some(message) = unless_closed(out, receive.recv()).await.flatten() {
                let id = message.id;
                let paced = rate.pass(message.body.len() as u64);
                let paced = recalled.run_until_cancelled(paced);
                if stop.run_until_cancelled(paced).await.flatten().is_none()
                    || out.send(message).await.is_err()
                {
                    break;
                }
                left.remove(id);
            }
            // Nobody listens any more: that is how the source knows.
            drop(receive);
        };
        tokio::join!(read, pace).0
    }
}
