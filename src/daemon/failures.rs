//! What could not be brought over, and another try.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::work::{PATIENCE, Work, lease, name};
use crate::controller::{Failed, Handle, Selected, Update};
use crate::ledger::{self, Change, Failure, FolderNo, Verdict};
use crate::model::{FolderPath, IdSet, ItemId};

/// A message that could not be brought over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedMessage {
    /// `migration/source account`.
    pub mailbox: String,
    /// The source folder.
    pub folder: String,
    /// Its id there.
    pub uid: u64,
    /// Its Message-ID, if it could be read.
    pub message_id: Option<String>,
    /// Bytes.
    pub size: u64,
    /// What became of it.
    pub verdict: Fate,
    /// What happened, in the server's words where it had any.
    pub reason: String,
    /// Why the definition accepts its loss, if it does.
    #[serde(default)]
    pub accepted: Option<String>,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was last tried.
    pub at: DateTime<Utc>,
}

/// What became of a message that could not be brought over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// The next pass tries it again.
    Failed,
    /// It was given up; `--retry` tries it again.
    Skipped,
    /// The definition accepts its loss; `--retry` tries it again.
    Accepted,
    /// It was brought over with a change, which is told; nothing is left to do.
    Repaired,
    /// With `--retry`: it is at the destination now.
    Arrived,
    /// With `--retry`: it is not at the source any more.
    Gone,
}

impl Fate {
    /// Is the message lost as things stand, with nobody's consent?
    pub const fn is_lost(self) -> bool {
        matches!(self, Self::Failed | Self::Skipped)
    }
}

/// What `drover failed` has to tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Failures {
    /// By mailbox, folder and id.
    pub messages: Vec<FailedMessage>,
    /// Mailboxes that could not be tried again, and why.
    pub errors: BTreeMap<String, Failed>,
    /// What the definition accepts although nothing of the kind has failed.
    pub unmatched: Vec<Unmatched>,
}

/// An accepted loss that is none, as far as drover knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unmatched {
    /// The migration or mailbox whose messages it could be.
    pub of: String,
    /// `<a@b>`, or `INBOX, UID 17`.
    pub message: String,
}

impl Work {
    /// Messages that were not brought over.
    ///
    /// # Errors
    /// The ledger's.
    pub async fn failed(&self, mailboxes: &[Selected]) -> Result<Failures, ledger::Error> {
        let mut all = Failures::default();
        // By migration and message: an entry without a mailbox stands in every mailbox of its
        // migration, and matches if it does in one.
        let mut unmatched: BTreeMap<(String, String), bool> = BTreeMap::new();
        for selected in mailboxes {
            let failures = self.context.ledger.failures(&selected.key).await?;
            for one in &selected.mailbox.accept {
                let matches = failures.iter().any(|(folder, failure)| {
                    one.loss.covers(folder, failure.id, failure.message_id.as_deref())
                });
                let key = (selected.migration.name.0.to_string(), one.loss.to_string());
                *unmatched.entry(key).or_default() |= matches;
            }
            let failed = |(folder, failure)| failed_message(selected, &folder, failure);
            all.messages.extend(failures.into_iter().map(failed));
        }
        let unmatched = unmatched.into_iter().filter(|(_, matches)| !matches);
        all.unmatched.extend(unmatched.map(|((of, message), _)| Unmatched { of, message }));
        Ok(all)
    }

    /// Tries again now what was not brought over, whatever was decided about it: a pass over each
    /// mailbox that has such messages, and no other.
    ///
    /// # Errors
    /// The ledger's.
    pub async fn retry(
        &self,
        mailboxes: &[Selected],
        handle: &Handle,
    ) -> Result<Failures, ledger::Error> {
        let mut before = Vec::new();
        for selected in mailboxes {
            let failures = self.begin_anew(selected).await?;
            if !failures.is_empty() {
                before.push((selected, failures));
            }
        }
        let names = before.iter().map(|(selected, _)| name(selected)).collect();
        let errors = pass(names, handle).await;
        let mut all = self.failed(mailboxes).await?;
        all.errors = errors;
        for (selected, failures) in before {
            for (folder, failure) in failures {
                let mailbox = name(selected);
                let is_it = |m: &FailedMessage| {
                    (&m.mailbox, &*m.folder, m.uid)
                        == (&mailbox, &*folder.to_string(), failure.id.0)
                };
                if all.messages.iter().any(is_it) {
                    continue;
                }
                let arrived = self.has_arrived(selected, failure.folder, failure.id).await?;
                let verdict = if arrived { Fate::Arrived } else { Fate::Gone };
                let message = failed_message(selected, &folder, failure);
                all.messages.push(FailedMessage { verdict, ..message });
            }
        }
        all.messages
            .sort_by(|a, b| (&a.mailbox, &a.folder, a.uid).cmp(&(&b.mailbox, &b.folder, b.uid)));
        Ok(all)
    }

    /// Makes the next pass try all failures again, and answers with them.
    async fn begin_anew(
        &self,
        selected: &Selected,
    ) -> Result<Vec<(FolderPath, Failure)>, ledger::Error> {
        let open = |(_, failure): &(FolderPath, Failure)| failure.verdict != Verdict::Repaired;
        if !self.context.ledger.failures(&selected.key).await?.iter().any(open) {
            return Ok(Vec::new());
        }
        let lease = lease(&self.context, &selected.key, Some(PATIENCE)).await?;
        let mut failures = self.context.ledger.failures(&selected.key).await?;
        failures.retain(open);
        let again = failures.iter().map(|(_, failure)| {
            let failure = failure.clone();
            Change::PutFailure(Failure { verdict: Verdict::Failed, attempts: 0, ..failure })
        });
        lease.commit(again.collect()).await?;
        Ok(failures)
    }

    async fn has_arrived(
        &self,
        selected: &Selected,
        folder: FolderNo,
        id: ItemId,
    ) -> Result<bool, ledger::Error> {
        let lease = lease(&self.context, &selected.key, Some(PATIENCE)).await?;
        let records = lease.records(folder, &IdSet::range(id, id)).await?;
        Ok(!records.is_empty())
    }
}

/// Runs passes over these mailboxes; answers with those that failed as a whole.
async fn pass(names: Vec<String>, handle: &Handle) -> BTreeMap<String, Failed> {
    let mut errors = BTreeMap::new();
    if names.is_empty() {
        return errors;
    }
    let (updates, mut heard) = mpsc::unbounded_channel();
    if let Err(message) = handle.sync(names.clone(), updates).await {
        let failed = Failed { reason: "Stopped".into(), message, remedy: String::new() };
        return names.into_iter().map(|name| (name, failed.clone())).collect();
    }
    while let Some(update) = heard.recv().await {
        if let Update::Ended { mailbox, result: Err(failed) } = update {
            errors.insert(mailbox, failed);
        }
    }
    errors
}

fn failed_message(selected: &Selected, folder: &FolderPath, failure: Failure) -> FailedMessage {
    let id = failure.message_id.as_deref();
    let accepted = selected.mailbox.accepted(folder, failure.id, id).map(str::to_owned);
    FailedMessage {
        mailbox: name(selected),
        folder: folder.to_string(),
        uid: failure.id.0,
        size: failure.size,
        verdict: match (&accepted, failure.verdict) {
            (_, Verdict::Repaired) => Fate::Repaired,
            (Some(_), _) => Fate::Accepted,
            (None, Verdict::Failed) => Fate::Failed,
            (None, Verdict::Skipped) => Fate::Skipped,
        },
        message_id: failure.message_id,
        reason: failure.reason,
        accepted,
        attempts: failure.attempts,
        at: failure.at,
    }
}
