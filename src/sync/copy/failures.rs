//! Messages that the destination does not take or the source does not give: each costs itself
//! alone. It goes once more with what may help, or is filed with the server's own words.

use std::collections::HashMap;

use chrono::Utc;

use super::super::Error;
use super::super::lane::{Lane, at_source};
use super::reading::Ungiven;
use super::{Amended, Copy, Parcel};
use crate::ledger::{Change, Failure, Verdict};
use crate::model::{IdSet, Item, ItemId};
use crate::platform::{Refusal, Scope};

/// A message refused this often is not tried again by itself.
const ATTEMPTS: u32 = 3;
/// Refusals in a row of which the server says they will pass, before it is believed that they
/// are not the messages' fault.
const OUTAGE: u32 = 3;

impl Copy<'_> {
    /// The row that tells of a change without which a message would not have been taken.
    pub(super) fn repaired(&self, parcel: &Parcel, amended: &Amended) -> Change {
        let plan = &self.job.folders[self.folder];
        let (id, changes) = (parcel.message.id, amended.changes.join(", "));
        let reason = format!("{changes}; without that, {}", amended.says);
        tracing::info!(folder = %plan.folder.path, uid = %id, %reason, "a message was brought over with a change");
        Change::PutFailure(Failure {
            folder: plan.no,
            id,
            verdict: Verdict::Repaired,
            message_id: parcel.message_id.clone(),
            size: parcel.named.size,
            reason,
            attempts: self.failures.get(&id).map_or(0, |f| f.attempts) + 1,
            at: Utc::now(),
        })
    }

    /// A message was refused alone: it goes once more with what may help, or is given up.
    pub(super) fn refused(
        &mut self,
        mut parcel: Parcel,
        refusal: Refusal,
        changes: &mut Vec<Change>,
    ) {
        let says = in_words("the destination refused it", &refusal);
        if self.amend(&mut parcel, &refusal, &says) {
            self.again.push_back(parcel);
            return;
        }
        let (id, size) = (parcel.message.id, parcel.named.size);
        let change = self.failure(id, size, parcel.message_id, says, &refusal);
        changes.push(change);
        self.passing = if refusal.transient { self.passing + 1 } else { 0 };
        if self.passing >= OUTAGE {
            self.passing = 0;
            self.outage = Some(refusal);
        }
    }

    /// Changes a message in a way that loses nothing of its content, if that may help.
    fn amend(&mut self, parcel: &mut Parcel, refusal: &Refusal, says: &str) -> bool {
        let Some(remedy) = refusal.remedy else { return false };
        let mut append = self.append(parcel);
        let changed =
            remedy.apply(&mut append).or_else(|| remedy.next().and_then(|r| r.apply(&mut append)));
        let Some(change) = changed else { return false };
        let mut changes = parcel.amended.take().map_or(Vec::new(), |amended| amended.changes);
        changes.push(change);
        parcel.amended = Some(Amended { append, changes, says: says.to_owned() });
        true
    }

    fn failure(
        &mut self,
        id: ItemId,
        size: u64,
        message_id: Option<String>,
        reason: String,
        refusal: &Refusal,
    ) -> Change {
        let plan = &self.job.folders[self.folder];
        let attempts = self.failures.get(&id).map_or(0, |f| f.attempts) + 1;
        let given_up = refusal.hopeless || attempts >= ATTEMPTS && !refusal.transient;
        let verdict = if given_up {
            self.job.tally.accounts.skipped += 1;
            Verdict::Skipped
        } else {
            self.job.tally.accounts.failed += 1;
            Verdict::Failed
        };
        tracing::warn!(folder = %plan.folder.path, uid = %id, %reason, "a message could not be brought over; the rest goes on");
        self.job.progress.advance(1, 0);
        let (folder, at) = (plan.no, Utc::now());
        Change::PutFailure(Failure { folder, id, verdict, message_id, size, reason, attempts, at })
    }

    /// Messages that were asked for and did not come: gone, or unreadable at the source.
    pub(super) async fn settle_missing(
        &mut self,
        lane: &mut Lane,
        items: &[Item],
        mut missing: IdSet,
        ungiven: &HashMap<ItemId, Ungiven>,
    ) -> Result<(), Error> {
        if missing.is_empty() {
            return Ok(());
        }
        let name = self.job.folders[self.folder].folder.name.clone();
        let listed = |id: ItemId| {
            let at = items.binary_search_by_key(&id, |i| i.id).ok()?;
            items[at].meta.map(|m| m.size)
        };
        let mut changes = Vec::new();
        // It might hang up at these once more.
        for (&id, why) in ungiven {
            if let Ungiven::HungUp(cause) = why {
                missing.remove(id);
                let reason = format!("the source hung up at it, twice: {cause}");
                let size = listed(id).unwrap_or_default();
                changes.push(self.failure(id, size, None, reason, &NOTHING_SAID));
            }
        }
        let there = match missing.is_empty() {
            true => Vec::new(),
            false => lane.source.sight(&name, &missing).await.map_err(at_source)?,
        };
        let gone = missing.len() - there.len() as u64;
        self.job.tally.accounts.deferred += gone;
        self.job.progress.advance(gone, 0);
        for seen in there {
            let size = listed(seen.id).unwrap_or(seen.size);
            let (reason, refusal) = match ungiven.get(&seen.id) {
                Some(Ungiven::Refused(refusal)) => {
                    (in_words("the source refused it", refusal), refusal)
                }
                _ => ("the source lists it but gave no content".to_owned(), &NOTHING_SAID),
            };
            changes.push(self.failure(seen.id, size, seen.message_id, reason, refusal));
        }
        let moot: IdSet =
            self.failures.keys().copied().filter(|id| missing.contains(*id)).collect();
        tracing::debug!(
            gone,
            unreadable = changes.len(),
            moot = moot.len(),
            "messages did not come"
        );
        self.job.commit(changes).await
    }
}

/// What the destination would say of a message larger than it takes.
pub(super) fn too_big(size: u64, most: u64) -> Refusal {
    let text = format!(
        "the message has {size} bytes, and the destination takes {most}; if it takes more now, say \
         so with `max_message` and `drover failed --retry`"
    );
    Refusal { code: Some("TOOBIG".into()), text, hopeless: true, ..NOTHING_SAID }
}

/// A refusal without a word.
const NOTHING_SAID: Refusal = Refusal {
    code: None,
    text: String::new(),
    transient: false,
    hopeless: false,
    remedy: None,
    scope: Scope::Message,
};

fn in_words(what: &str, refusal: &Refusal) -> String {
    match &refusal.code {
        Some(code) if refusal.text == format!("[{code}]") => format!("{what}: [{code}]"),
        Some(code) => format!("{what}: [{code}] {}", refusal.text),
        None => format!("{what}: {}", refusal.text),
    }
}
