//! The daemon's brain: what is declared and what is, made equal, pass after pass.
//!
//! Everything that happens is an [`Event`]; one loop takes them one by one, and no decision waits
//! for anything: passes, the ledger and the directory are other tasks, which report back as
//! events. What is due is computed from state and time ([`phase`], [`schedule`]), never from
//! having seen an event (law 7).
//!
//! In reading order: [`catalog`] and [`watch`] (the directory), [`schedule`], [`phase`] and
//! [`queue`] (when and what), this file (the loop), `decide` (what each event does), [`status`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::auth::Expiry;
use crate::definition::{Account, Mailbox, MigrationName};
use crate::flow::Backoff;
use crate::ledger::{MailboxKey, PassRecord};
use crate::model::{ConditionType, PassKind, Truth};
use crate::sync::{self, Progress};

mod ask;
mod book;
pub mod catalog;
mod clock;
mod conditions;
mod decide;
mod herd;
pub mod phase;
pub mod queue;
pub mod schedule;
pub mod seal;
pub mod status;
pub mod systemd;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod turns;
mod walk;
pub mod watch;

pub use ask::{Handle, Selected, UNKNOWN};
pub use book::{Book, BoxFuture};
pub use conditions::EXPIRES_SOON;
pub use herd::Memory;

/// Events that may wait for the loop; whoever has more waits, but for the clock.
const INBOX: usize = 1024;

/// A pass that has carried messages for so long makes way if others wait for room: a few mailboxes
/// of forty gigabytes do not keep fifty small ones waiting for days. Long beside what going on
/// costs: a sign-in, a survey, and another look at the folders it was at.
const TURN: Duration = Duration::from_secs(15 * 60);

/// How often the loop looks around without a reason.
const BEAT: Duration = Duration::from_secs(1);

/// One pass that is to be run.
#[derive(Debug, Clone)]
pub struct PassJob {
    /// Whose ledger.
    pub key: MailboxKey,
    /// Over which mailbox.
    pub mailbox: Arc<Mailbox>,
    /// Which kind.
    pub kind: PassKind,
    /// Where it says how far it is.
    pub progress: Progress,
    /// Cancelled when it should stop; it settles what is in flight and returns `Stopped`.
    pub stop: CancellationToken,
}

/// Runs a pass to its end.
pub type PassRunner =
    Arc<dyn Fn(PassJob) -> BoxFuture<'static, Result<sync::Report, sync::Error>> + Send + Sync>;

/// When the first of an account's credentials ends, as far as anybody has told.
pub type ExpiryOf = dyn Fn(&Account) -> Option<Expiry> + Send + Sync;

/// What the controller is told about its surroundings.
#[derive(Clone)]
pub struct Settings {
    /// Passes at once, over all migrations.
    pub mailboxes: usize,
    /// How long a pass carries messages before it makes way for others that wait.
    pub turn: Duration,
    /// How long passes may take to stop when the daemon does.
    pub grace: Duration,
    /// After transient errors.
    pub backoff: Backoff,
    /// Runs a pass.
    pub runner: PassRunner,
    /// Where everything is remembered.
    pub book: Book,
    /// The wall clock.
    pub now: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>,
    /// Names a mailbox's ledger.
    pub key: fn(&Mailbox) -> MailboxKey,
    /// Tells when credentials end.
    pub expiry: Arc<ExpiryOf>,
    /// Whether cron times strike by the wall clock, too (off in tests that stop time).
    pub strike: bool,
    /// True: no pass runs by itself, only those that are asked for.
    pub on_demand: bool,
}

impl Settings {
    /// With the usual grace, backoff and clock.
    pub fn new(
        mailboxes: usize,
        runner: PassRunner,
        book: Book,
        key: fn(&Mailbox) -> MailboxKey,
    ) -> Self {
        Self {
            mailboxes: mailboxes.max(1),
            turn: TURN,
            grace: Duration::from_secs(10),
            backoff: Backoff {
                first: Duration::from_secs(5),
                ceiling: Duration::from_secs(15 * 60),
            },
            runner,
            book,
            now: Arc::new(Utc::now),
            key,
            expiry: Arc::new(|_| None),
            strike: true,
            on_demand: false,
        }
    }
}

/// Everything that can happen.
#[derive(Debug)]
pub enum Event {
    /// The directory was read.
    Declared {
        /// What it says.
        snapshot: Box<catalog::Snapshot>,
        /// True if the operator asked for it: blocked mailboxes are tried again.
        reload: bool,
    },
    /// The ledger told what it knows of a mailbox.
    Recalled(MailboxKey, Result<Memory, String>),
    /// The ledger could not be written, or can be again.
    Kept(Option<String>),
    /// A migration's cron time has come, the clock says.
    Tick(MigrationName),
    /// A mailbox's time has come, the queue says.
    Due(MailboxKey),
    /// A pass has ended.
    Finished(MailboxKey, u64, Outcome),
    /// Somebody wants something.
    Ask(ask::Ask),
    /// A second has gone by.
    Beat,
}

/// How a pass ended.
#[derive(Debug)]
pub enum Outcome {
    /// By running to its end, or by an error it knows.
    Returned(Result<sync::Report, sync::Error>),
    /// By a defect of drover.
    Panicked,
}

/// What an operator who asked for a pass gets to see.
#[derive(Debug, Clone)]
pub enum Update {
    /// A pass has begun.
    Started {
        /// `migration/source account`.
        mailbox: String,
        /// Which kind.
        kind: PassKind,
        /// Read it as often as you like.
        progress: Progress,
    },
    /// It has ended, or will not begin.
    Ended {
        /// `migration/source account`.
        mailbox: String,
        /// What came of it.
        result: Result<Box<(PassRecord, Vec<String>)>, Failed>,
    },
}

/// Why a pass that an operator asked for failed.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct Failed {
    /// CamelCase.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// What to do; may be empty.
    pub remedy: String,
}

/// The brain. Nothing happens until [`Controller::run`].
pub struct Controller {
    settings: Settings,
    started: DateTime<Utc>,
    inbox: mpsc::Receiver<Event>,
    events: mpsc::Sender<Event>,
    snapshot: catalog::Snapshot,
    herd: HashMap<MailboxKey, herd::Entry>,
    /// Whose mailboxes they are.
    members: BTreeMap<MigrationName, Vec<MailboxKey>>,
    queue: queue::Queue<MailboxKey>,
    turns: turns::Turns,
    /// Passes under way, by migration.
    running: BTreeMap<MigrationName, usize>,
    n_passes: u64,
    keep: Option<mpsc::UnboundedSender<book::Entry>>,
    keeper: Option<JoinHandle<()>>,
    clock: Option<mpsc::UnboundedSender<clock::Strikes>>,
    notifier: systemd::Notifier,
    ledger_error: Option<String>,
    since: HashMap<(MigrationName, ConditionType), (Truth, DateTime<Utc>)>,
    dirty: BTreeSet<MigrationName>,
    /// When an expiry was last warned of.
    warned: HashMap<MigrationName, DateTime<Utc>>,
    stopping: bool,
    /// Those who wait until the ledger has told of every mailbox.
    settling: Vec<tokio::sync::oneshot::Sender<()>>,
}

impl Controller {
    /// A controller, and what others reach it by.
    pub fn new(settings: Settings) -> (Self, Handle) {
        let (events, inbox) = mpsc::channel(INBOX);
        let controller = Self {
            started: (settings.now)(),
            inbox,
            events: events.clone(),
            snapshot: catalog::Snapshot::default(),
            herd: HashMap::new(),
            members: BTreeMap::new(),
            queue: queue::Queue::default(),
            turns: turns::Turns::default(),
            running: BTreeMap::new(),
            n_passes: 0,
            keep: None,
            keeper: None,
            clock: None,
            notifier: systemd::Notifier::default(),
            ledger_error: None,
            since: HashMap::new(),
            dirty: BTreeSet::new(),
            warned: HashMap::new(),
            stopping: false,
            settling: Vec::new(),
            settings,
        };
        (controller, Handle::new(events))
    }

    /// Runs until `shutdown`, then stops all passes and waits for them, at most the grace.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let (keep, keeper) = book::keeper(self.settings.book.clone(), self.events.clone());
        (self.keep, self.keeper) = (Some(keep), Some(keeper));
        if self.settings.strike {
            self.clock = Some(clock::start(self.events.clone()));
        }
        let mut beat = tokio::time::interval(self.notifier.beat().min(BEAT));
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(event) = self.inbox.recv() => event,
                key = self.queue.ready() => Event::Due(key),
                _ = beat.tick() => Event::Beat,
            };
            self.handle(event);
        }
        self.stop().await;
    }

    /// The one match. No await in a decision.
    fn handle(&mut self, event: Event) {
        match event {
            Event::Declared { snapshot, reload } => self.declared(*snapshot, reload),
            Event::Recalled(key, memory) => self.recalled(&key, memory),
            Event::Kept(error) => self.ledger_error = error,
            Event::Tick(migration) => self.tick(&migration),
            Event::Due(key) => self.due(&key),
            Event::Finished(key, number, outcome) => self.finished(&key, number, outcome),
            Event::Ask(ask) => self.answer(ask),
            Event::Beat => self.beat(),
        }
        self.fill();
        self.tell_settled();
    }

    async fn stop(mut self) {
        self.stopping = true;
        self.notifier.stopping();
        let deadline = Instant::now() + self.settings.grace;
        for entry in self.herd.values_mut() {
            if let Some(run) = &entry.run {
                run.stop.cancel();
            }
        }
        let n_running = |herd: &HashMap<MailboxKey, herd::Entry>| {
            herd.values().filter(|entry| entry.run.is_some()).count()
        };
        info!("stopping {} passes", n_running(&self.herd));
        while n_running(&self.herd) > 0 {
            match tokio::time::timeout_at(deadline, self.inbox.recv()).await {
                Ok(Some(event)) => self.handle(event),
                Ok(None) => break,
                Err(_) => {
                    warn!("{} passes did not stop in time", n_running(&self.herd));
                    break;
                }
            }
        }
        // Closes the book's channel: what is in it is kept before the keeper ends.
        drop(self.keep.take());
        if let Some(keeper) = self.keeper.take()
            && tokio::time::timeout(self.settings.grace, keeper).await.is_err()
        {
            warn!("the ledger did not take everything in time");
        }
    }
}
