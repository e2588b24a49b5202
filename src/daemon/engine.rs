//! The ledger, the definitions and passes, put together: parts for the daemon, and the engine
//! of a single command. Nothing here knows of a command line.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::definitions::{catalog, read};
use super::keeping::{self, book, close, known};
use super::work::{self, Work};
use crate::auth::Tokens;
use crate::config::Config;
use crate::control::{Handlers, Server};
use crate::controller::catalog::Catalog;
use crate::controller::{Controller, Handle, PassRunner, Settings};
use crate::definition::{Login, Mailbox};
use crate::flow;
use crate::ledger::{self, Ledger, MailboxKey};
use crate::platform;
use crate::sync::verify::Scratch;
use crate::sync::{Context, Early};

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
        Ok(Self::with(config, keeping::open(&config.state).await?, Way::begun(config, None)))
    }

    fn with(config: &Config, ledger: Ledger, way: Way) -> Self {
        let Way { connections, options, early } = way;
        let tokens = Tokens::kept_in(keeping::vault(config, &ledger));
        let context = Context {
            ledger: ledger.clone(),
            memory: flow::Memory::new(config.limits.memory),
            connections,
            rates: flow::Rates::default(),
            budgets: flow::Budgets::default(),
            options: platform::Options { tokens: tokens.clone(), ..options },
            early,
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
        Self { ledger, settings, catalog: catalog(config), work }
    }
}

/// How passes get at servers.
struct Way {
    connections: flow::Connections,
    options: platform::Options,
    early: Early,
}

impl Way {
    /// Connects to this mailbox's servers, if one is given.
    fn begun(config: &Config, mailbox: Option<Arc<Mailbox>>) -> Self {
        let connections = flow::Connections::new(config.limits.connections_per_server);
        let options = platform::Options::default();
        let early = mailbox.map(|mailbox| Early::open(&connections, &options, &mailbox));
        Self { connections, options, early: early.unwrap_or_default() }
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
    /// Opens the ledger and reads the definitions, at the same time. If what is asked for is a
    /// pass over `wanted`, and that is one mailbox, its servers are connected to meanwhile.
    ///
    /// # Errors
    /// As [`Parts::open`].
    pub async fn start(config: &Config, wanted: Option<&[String]>) -> Result<Self, OpenError> {
        // Nobody else writes from here on, neither to the ledger nor to the mailboxes.
        let hold = keeping::hold(&config.state).await?;
        let reading = async {
            let found = read(config, Vec::new()).await;
            let sole = found.as_ref().ok().zip(wanted).and_then(|(found, names)| found.sole(names));
            (found, Way::begun(config, sole))
        };
        let (ledger, (found, way)) = tokio::join!(keeping::opened(&config.state, hold), reading);
        let ledger = ledger?;
        let known = known(&ledger).await.unwrap_or_default();
        let found = match found {
            // Read without knowing that something is gone, for which all may have to be held.
            Ok(found) if !known.iter().all(|name| found.known.contains(name)) => {
                read(config, known).await
            }
            found => found,
        };
        let Parts { ledger, mut settings, work, .. } = Parts::with(config, ledger, way);
        settings.on_demand = true;
        settings.strike = false;
        let (controller, handle) = Controller::new(settings);
        let shutdown = CancellationToken::new();
        let controller = tokio::spawn(controller.run(shutdown.clone()));
        let handlers = handlers(work, &handle);
        let server = Server { handle, handlers, reload: Arc::new(|| {}) };
        let engine = Self { server, ledger, shutdown, controller };
        let declared = match found {
            Ok(snapshot) => {
                engine.server.handle.declare_now(snapshot, false).await;
                engine.server.handle.settled().await
            }
            Err(error) => Err(error),
        };
        match declared {
            Ok(()) => Ok(engine),
            Err(error) => {
                engine.stop().await;
                Err(OpenError::Definitions(error))
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
