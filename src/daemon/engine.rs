//! The ledger, the definitions and passes, put together: parts for the daemon, and the engine
//! of a single command. Nothing here knows of a command line.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::work::{self, Work};
use crate::auth::{Store, Tokens, Vault};
use crate::config::Config;
use crate::control::{Handlers, Server};
use crate::controller::catalog::{self, Catalog, Problem, Snapshot};
use crate::controller::{Book, Controller, Handle, Memory, PassRunner, Settings};
use crate::definition::{self, Diagnostic, Login, Migration, MigrationName};
use crate::flow;
use crate::ledger::{self, Ledger, MailboxKey, Opening};
use crate::platform;
use crate::sync::Context;
use crate::sync::verify::Scratch;

/// How long another process may hold the ledger before it counts as another drover.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// Between two tries.
const LOCK_AGAIN: Duration = Duration::from_millis(50);

/// How often and how far apart a single command looks at a definition that is being written.
const LOOKS: u32 = 12;
const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// Under this name the ledger keeps which migrations were known.
const KNOWN: &str = "known-migrations";

/// Why there is nothing to work with.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The ledger cannot be had; another drover may hold it ([`ledger::Error::Locked`]).
    #[error("{error}; {remedy}", error = .0, remedy = .0.remedy())]
    Ledger(#[from] ledger::Error),
    /// The definitions could not be taken in.
    #[error("the definitions could not be taken in: {0}; please report it, with the log")]
    Definitions(String),
}

/// What the daemon and a single command have in common, not yet at work.
pub struct Parts {
    /// Open; whoever has the parts closes it.
    pub ledger: Ledger,
    /// How the controller runs.
    pub settings: Settings,
    /// The definitions.
    pub catalog: Catalog,
    /// Answers what is no pass.
    pub work: Work,
}

impl Parts {
    /// Opens the ledger.
    ///
    /// # Errors
    /// The ledger's; [`ledger::Error::Locked`] if another drover has it.
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        let ledger = open(&config.state).await?;
        let tokens = Tokens::kept_in(vault(config, &ledger));
        let context = Context {
            ledger: ledger.clone(),
            memory: flow::Memory::new(config.limits.memory),
            connections: flow::Connections::new(config.limits.connections_per_server),
            rates: flow::Rates::default(),
            budgets: flow::Budgets::default(),
            options: platform::Options { tokens: tokens.clone(), ..platform::Options::default() },
            settle_grace: config.limits.settle,
        };
        let scratch = Scratch::new(config.state.clone());
        let work = Work::new(context.clone(), scratch, config.limits.mailboxes);
        let runner: PassRunner =
            Arc::new(move |job| Box::pin(work::run_pass(context.clone(), job)));
        let mut settings =
            Settings::new(config.limits.mailboxes, runner, book(&ledger), MailboxKey::of);
        settings.expiry = Arc::new(move |account| match &account.login {
            Login::Token(grant) => tokens.expiry(grant),
            Login::Password(_) | Login::MasterUser { .. } => None,
        });
        let catalog = Catalog::new(config.definitions.clone(), Box::new(load), Box::new(conflicts));
        Ok(Self { ledger, settings, catalog, work })
    }
}

/// The controller of a single command, without schedule: passes run only when it asks for them.
pub struct Engine {
    /// Answers whatever a command can ask.
    pub server: Server,
    ledger: Ledger,
    shutdown: CancellationToken,
    controller: JoinHandle<()>,
}

impl Engine {
    /// Opens the ledger and reads the definitions.
    ///
    /// # Errors
    /// As [`Parts::open`].
    pub async fn start(config: &Config) -> Result<Self, OpenError> {
        let Parts { ledger, mut settings, mut catalog, work } = Parts::open(config).await?;
        settings.on_demand = true;
        settings.strike = false;
        catalog.remember(known(&ledger).await.unwrap_or_default());
        let (controller, handle) = Controller::new(settings);
        let shutdown = CancellationToken::new();
        let controller = tokio::spawn(controller.run(shutdown.clone()));
        let handlers = handlers(work, &handle);
        let server = Server { handle, handlers, reload: Arc::new(|| {}) };
        let engine = Self { server, ledger, shutdown, controller };
        let read = tokio::task::spawn_blocking(move || settled(&mut catalog)).await;
        let declared = match read {
            Ok(snapshot) => {
                engine.server.handle.declare_now(snapshot, false).await;
                engine.server.handle.settled().await.map_err(OpenError::Definitions)
            }
            Err(error) => Err(OpenError::Definitions(error.to_string())),
        };
        match declared {
            Ok(()) => Ok(engine),
            Err(error) => {
                engine.stop().await;
                Err(error)
            }
        }
    }

    /// Stops passes in good order, keeps everything and lets other processes at the ledger.
    pub async fn stop(self) {
        self.shutdown.cancel();
        if let Err(error) = self.controller.await {
            warn!("the controller ended badly: {error}");
        }
        close(self.ledger).await;
    }
}

/// Lets other processes at the ledger.
pub async fn close(ledger: Ledger) {
    if let Err(error) = ledger.close().await {
        warn!("the ledger did not close: {error}");
    }
}

/// What the directory says once nobody writes in it: a file that was just written is not judged
/// at once, for it may be written in pieces.
fn settled(catalog: &mut Catalog) -> Snapshot {
    let mut look = catalog.look(false);
    for _ in 0..LOOKS {
        if look.unsettled {
            std::thread::sleep(BETWEEN_LOOKS);
            look = catalog.look(false);
        }
    }
    look.snapshot
}

/// What the controller does not answer itself.
pub fn handlers(work: Work, handle: &Handle) -> Handlers {
    let (planning, plans) = (work.clone(), handle.clone());
    let (comparing, comparisons) = (work.clone(), handle.clone());
    let failures = handle.clone();
    let scratch = work.scratch.clone();
    Handlers {
        scratch,
        plan: Arc::new(move |names, done| {
            let (work, handle) = (planning.clone(), plans.clone());
            Box::pin(async move {
                let mailboxes = handle.select(names).await.map_err(plainly)?;
                answer(&work.plan(mailboxes, &done).await)
            })
        }),
        verify: Arc::new(move |how, done| {
            let (work, handle) = (comparing.clone(), comparisons.clone());
            Box::pin(async move {
                let mailboxes = handle.select(how.names.clone()).await.map_err(plainly)?;
                answer(&work.verify(mailboxes, how, &handle, &done).await?)
            })
        }),
        failed: Arc::new(move |(name, retry), _| {
            let (work, handle) = (work.clone(), failures.clone());
            Box::pin(async move {
                let mailboxes = handle.select(vec![name]).await.map_err(plainly)?;
                let failed = match retry {
                    true => work.retry(&mailboxes, &handle).await,
                    false => work.failed(&mailboxes).await,
                };
                answer(&failed.map_err(|error| (error.to_string(), error.remedy().to_owned()))?)
            })
        }),
    }
}

fn plainly(message: String) -> (String, String) {
    (message, String::new())
}

fn answer(value: &impl Serialize) -> Result<Value, (String, String)> {
    serde_json::to_value(value).map_err(|error| plainly(error.to_string()))
}

/// Opens the ledger. A command without a daemon holds it for a moment: worth waiting for, lest a
/// `drover status` at the wrong time keep the daemon from starting.
///
/// # Errors
/// The ledger's; [`ledger::Error::Locked`] if another drover has it.
pub async fn open(state: &Path) -> Result<Ledger, ledger::Error> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    let (ledger, opening) = loop {
        match Ledger::open(state).await {
            Err(ledger::Error::Locked { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(LOCK_AGAIN).await;
            }
            opened => break opened?,
        }
    };
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
fn book(ledger: &Ledger) -> Book {
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
async fn known(ledger: &Ledger) -> Result<Vec<MigrationName>, String> {
    let note = ledger.note(KNOWN).await.map_err(|error| error.to_string())?;
    Ok(note.and_then(|note| serde_json::from_slice(&note).ok()).unwrap_or_default())
}

fn load(file: &Path) -> Result<catalog::Loaded, catalog::Rejected> {
    match definition::load(file) {
        Ok(loaded) => Ok(catalog::Loaded {
            migration: loaded.migration,
            warnings: loaded.warnings.iter().map(problem).collect(),
            files: loaded.files,
        }),
        Err(rejected) => Err(catalog::Rejected {
            problems: rejected.diagnostics.iter().map(problem).collect(),
            files: rejected.files,
        }),
    }
}

fn conflicts(migrations: &[&Migration]) -> Vec<Problem> {
    definition::conflicts(migrations).iter().map(problem).collect()
}

fn problem(diagnostic: &Diagnostic) -> Problem {
    let help = diagnostic.help.as_deref().unwrap_or_default();
    let separator = if help.is_empty() { "" } else { "; " };
    Problem {
        file: diagnostic.file.clone().into(),
        line: diagnostic.line.unwrap_or(0),
        column: diagnostic.column.unwrap_or(0),
        message: format!("{}{separator}{help}", diagnostic.message),
        rendered: diagnostic.render(false),
    }
}
