//! The ledger, opened and closed, and what it keeps for the controller and for sign-ins.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::auth::{Store, Vault};
use crate::config::Config;
use crate::controller::{Book, Memory};
use crate::definition::MigrationName;
use crate::ledger::{self, Hold, Ledger, MailboxKey, Opening};

/// How long another process may hold the ledger before it counts as another drover.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// Between two tries.
const LOCK_AGAIN: Duration = Duration::from_millis(50);

/// Under this name the ledger keeps which migrations were known.
const KNOWN: &str = "known-migrations";

/// Opens the ledger.
///
/// # Errors
/// The ledger's; [`ledger::Error::Locked`] if another drover has it.
pub async fn open(state: &Path) -> Result<Ledger, ledger::Error> {
    opened(state, hold(state).await?).await
}

/// Keeps other drovers out. A command without a daemon holds the ledger for a moment: worth waiting
/// for, lest a `drover status` at the wrong time keep the daemon from starting.
///
/// # Errors
/// [`ledger::Error::Locked`] if another drover has it, and the system's.
pub(super) async fn hold(state: &Path) -> Result<Hold, ledger::Error> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match Hold::take(state).await {
            Err(ledger::Error::Locked { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(LOCK_AGAIN).await;
            }
            held => return held,
        }
    }
}

/// Opens what is held.
pub(super) async fn opened(state: &Path, hold: Hold) -> Result<Ledger, ledger::Error> {
    let (ledger, opening) = hold.open().await?;
    match opening {
        Opening::Fresh => info!(state = %state.display(), "a new ledger"),
        Opening::Continued => {}
        Opening::Rebuild { reason, moved_to } => warn!(
            "the ledger was damaged ({reason}); it is set aside as {}, what is sound of it is \
             kept, and the rest is rebuilt from the destinations: what is there is \
             recognised, nothing is copied twice",
            moved_to.display()
        ),
    }
    Ok(ledger)
}

/// Lets other processes at the ledger.
pub async fn close(ledger: Ledger) {
    if let Err(error) = ledger.close().await {
        warn!("the ledger did not close: {error}");
    }
}

/// Where refresh tokens outlive the process: the ledger, if there is a key to encrypt them with.
pub fn vault(config: &Config, ledger: &Ledger) -> Option<Vault> {
    let key = config.auth.token_key.clone()?;
    let (loading, saving) = (ledger.clone(), ledger.clone());
    let store = Store {
        load: Arc::new(move |name| {
            let ledger = loading.clone();
            Box::pin(async move { ledger.note(&name).await.map_err(|error| error.to_string()) })
        }),
        save: Arc::new(move |name, value| {
            let ledger = saving.clone();
            Box::pin(async move {
                ledger.put_note(&name, &value).await.map_err(|error| error.to_string())
            })
        }),
    };
    Some(Vault::new(key, store))
}

/// The controller's memory, in the ledger.
pub(super) fn book(ledger: &Ledger) -> Book {
    let (recalling, keeping, knowing, telling) =
        (ledger.clone(), ledger.clone(), ledger.clone(), ledger.clone());
    Book {
        recall: Arc::new(move |key| {
            let ledger = recalling.clone();
            Box::pin(async move { recall(&ledger, &key).await.map_err(|error| error.to_string()) })
        }),
        keep: Arc::new(move |key, state| {
            let ledger = keeping.clone();
            Box::pin(async move {
                ledger.put_state(&key, state).await.map_err(|error| error.to_string())
            })
        }),
        known: Arc::new(move || {
            let ledger = knowing.clone();
            Box::pin(async move { known(&ledger).await })
        }),
        keep_known: Arc::new(move |names| {
            let ledger = telling.clone();
            Box::pin(async move {
                let names = serde_json::to_vec(&names).map_err(|error| error.to_string())?;
                ledger.put_note(KNOWN, &names).await.map_err(|error| error.to_string())
            })
        }),
    }
}

async fn recall(ledger: &Ledger, key: &MailboxKey) -> Result<Memory, ledger::Error> {
    let state = ledger.state(key).await?;
    let passes = ledger.passes(key).await?;
    Ok(Memory { state, passes })
}

/// What cannot be read is as good as nothing: it only makes the brake on removals blind once.
pub(super) async fn known(ledger: &Ledger) -> Result<Vec<MigrationName>, String> {
    let note = ledger.note(KNOWN).await.map_err(|error| error.to_string())?;
    Ok(note.and_then(|note| serde_json::from_slice(&note).ok()).unwrap_or_default())
}
