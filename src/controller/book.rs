//! Where the controller keeps what it must remember: the ledger, seen through four functions.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::error;

use super::Event;
use super::herd::Memory;
use crate::definition::MigrationName;
use crate::ledger::{MailboxKey, MailboxState};

/// A future that can be kept in a struct.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

type Recall = dyn Fn(MailboxKey) -> BoxFuture<'static, Result<Memory, String>> + Send + Sync;
type Keep =
    dyn Fn(MailboxKey, MailboxState) -> BoxFuture<'static, Result<(), String>> + Send + Sync;
type Known = dyn Fn() -> BoxFuture<'static, Result<Vec<MigrationName>, String>> + Send + Sync;
type KeepKnown = dyn Fn(Vec<MigrationName>) -> BoxFuture<'static, Result<(), String>> + Send + Sync;

/// The ledger, as far as the controller needs it. Errors are sentences.
#[derive(Clone)]
pub struct Book {
    /// What is known of a mailbox; nothing is not an error.
    pub recall: Arc<Recall>,
    /// Keeps a mailbox's state, durably.
    pub keep: Arc<Keep>,
    /// Names of the migrations that were known before the restart.
    pub known: Arc<Known>,
    /// Keeps them, durably.
    pub keep_known: Arc<KeepKnown>,
}

/// After the ledger refused, it is asked again so often.
const AGAIN: Duration = Duration::from_secs(5);

/// What is to be kept.
pub(super) enum Entry {
    State(MailboxKey, MailboxState),
    Known(Vec<MigrationName>),
}

/// Keeps in order, the newest of each only, and tries until it is done: a slow or full disk holds
/// up nothing but itself. Ends, with everything kept or given up, when the sender is dropped.
pub(super) fn keeper(
    book: Book,
    events: mpsc::Sender<Event>,
) -> (mpsc::UnboundedSender<Entry>, JoinHandle<()>) {
    let (sender, mut entries) = mpsc::unbounded_channel();
    let task = tokio::spawn(async move {
        let mut states: HashMap<MailboxKey, MailboxState> = HashMap::new();
        let mut known: Option<Vec<MigrationName>> = None;
        let mut failing = false;
        loop {
            let idle = states.is_empty() && known.is_none();
            let next = if idle {
                entries.recv().await
            } else {
                tokio::time::timeout(AGAIN, entries.recv()).await.unwrap_or_default()
            };
            let closed = next.is_none() && entries.is_closed();
            for entry in next.into_iter().chain(std::iter::from_fn(|| entries.try_recv().ok())) {
                match entry {
                    Entry::State(key, state) => drop(states.insert(key, state)),
                    Entry::Known(names) => known = Some(names),
                }
            }
            let mut failed = None;
            let keys: Vec<MailboxKey> = states.keys().cloned().collect();
            for key in keys {
                let Some(state) = states.remove(&key) else { continue };
                if let Err(cause) = (book.keep)(key.clone(), state.clone()).await {
                    states.insert(key, state);
                    failed = Some(cause);
                    break;
                }
            }
            if let Some(names) = known.take()
                && let Err(cause) = (book.keep_known)(names.clone()).await
            {
                known = Some(names);
                failed = Some(cause);
            }
            if let Some(cause) = &failed {
                error!("the ledger cannot be written: {cause}");
            }
            if failing || failed.is_some() {
                failing = failed.is_some();
                let _ = events.try_send(Event::Kept(failed));
            }
            if closed {
                return;
            }
        }
    });
    (sender, task)
}
