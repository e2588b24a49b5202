//! The whole loop, with a runner that plays passes and time that stands still until all sleep.

use std::collections::HashMap;
use std::sync::Mutex;

use chrono::TimeDelta;
use tokio::task::JoinHandle;

use super::status::{Status, Summary};
use super::testing::{at, mailbox, migration, report, snapshot_of as snapshot};
use super::*;
use crate::auth::{Ending, Expiry};
use crate::definition::{Cutover, Generation, Login, Migration, SecretRef, Window};
use crate::ledger::MailboxState;
use crate::model::{Condition, Phase};
use crate::platform;
use crate::sync::Side;

mod definitions;
mod failures;
mod operator;
mod passes;

const START: &str = "2026-06-01T10:00:00Z";
const SECOND: Duration = Duration::from_secs(1);

/// What a played pass does: takes so long, then copies so many or fails.
type Play = (Duration, Result<u64, sync::Error>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Played {
    user: String,
    kind: PassKind,
    /// Seconds after the start.
    began: u64,
}

#[derive(Default)]
struct Ring {
    played: Vec<Played>,
    now: HashMap<String, u32>,
    most_at_once: usize,
    stopped: Vec<String>,
    memories: HashMap<MailboxKey, Memory>,
    known: Vec<MigrationName>,
    ledger_broken: bool,
    /// Passes that are stopped have done some of their work.
    carrying: bool,
    /// Of every account.
    expiry: Option<Expiry>,
}

struct Stage {
    handle: Handle,
    shutdown: CancellationToken,
    daemon: JoinHandle<()>,
    ring: Arc<Mutex<Ring>>,
    start: Instant,
}

fn key(mailbox: &Mailbox) -> MailboxKey {
    MailboxKey(mailbox.source.user.as_str().into())
}

fn user(key: &MailboxKey) -> String {
    key.0.split('@').next().unwrap().into()
}

impl Stage {
    fn new(limit: usize, play: impl Fn(&Played) -> Play + Send + Sync + 'static) -> Self {
        Self::with(Ring::default(), limit, play)
    }

    fn with(
        ring: Ring,
        limit: usize,
        play: impl Fn(&Played) -> Play + Send + Sync + 'static,
    ) -> Self {
        let ring = Arc::new(Mutex::new(ring));
        let start = Instant::now();
        let now = move || at(START) + TimeDelta::from_std(start.elapsed()).unwrap();
        let (play, runner_ring) = (Arc::new(play), Arc::clone(&ring));
        let runner: PassRunner = Arc::new(move |job| {
            let (play, ring) = (Arc::clone(&play), Arc::clone(&runner_ring));
            Box::pin(async move {
                let began = now();
                let played = Played {
                    user: user(&job.key),
                    kind: job.kind,
                    began: start.elapsed().as_secs(),
                };
                {
                    let mut ring = ring.lock().unwrap();
                    ring.played.push(played.clone());
                    let running = ring.now.entry(played.user.clone()).or_default();
                    *running += 1;
                    assert_eq!(*running, 1, "two passes over one mailbox");
                    let at_once = ring.now.values().sum::<u32>() as usize;
                    ring.most_at_once = ring.most_at_once.max(at_once);
                }
                let (takes, result) = play(&played);
                if ring.lock().unwrap().carrying {
                    job.progress.enter(sync::Stage::Transferring);
                    job.progress.advance(1, 1);
                }
                let stopped = tokio::select! {
                    () = tokio::time::sleep(takes) => false,
                    () = job.stop.cancelled() => true,
                };
                let mut ring = ring.lock().unwrap();
                *ring.now.get_mut(&played.user).unwrap() -= 1;
                if stopped {
                    ring.stopped.push(played.user);
                    return Err(sync::Error::Stopped);
                }
                result.map(|copied| {
                    let mut report = report(job.kind, began, copied);
                    report.record.ended = now();
                    report
                })
            })
        });
        let mut settings = Settings::new(limit, runner, book(&ring), key);
        let expiring = Arc::clone(&ring);
        settings.expiry = Arc::new(move |_| expiring.lock().unwrap().expiry);
        settings.now = Arc::new(now);
        settings.strike = false;
        let (controller, handle) = Controller::new(settings);
        let shutdown = CancellationToken::new();
        let daemon = tokio::spawn(controller.run(shutdown.clone()));
        Self { handle, shutdown, daemon, ring, start }
    }

    async fn declare(&self, migrations: &[Migration]) {
        self.handle.declare_now(snapshot(migrations), false).await;
    }

    async fn until(&self, seconds: u64) {
        tokio::time::sleep_until(self.start + Duration::from_secs(seconds)).await;
        // Lets everything that is due at this moment happen.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    fn played(&self, user: &str) -> Vec<(PassKind, u64)> {
        let ring = self.ring.lock().unwrap();
        let of = ring.played.iter().filter(|played| played.user == user);
        of.map(|played| (played.kind, played.began)).collect()
    }

    fn n_played(&self) -> usize {
        self.ring.lock().unwrap().played.len()
    }

    fn state(&self, user: &str) -> MailboxState {
        let key = key(&mailbox(user));
        self.ring.lock().unwrap().memories.get(&key).cloned().unwrap_or_default().state
    }

    async fn status(&self) -> Status {
        self.handle.status(None).await.unwrap()
    }

    async fn condition(&self, kind: ConditionType) -> Condition {
        let status = self.status().await;
        status.migrations[0].conditions.iter().find(|c| c.kind == kind).unwrap().clone()
    }
}

fn book(ring: &Arc<Mutex<Ring>>) -> Book {
    let r = || Arc::clone(ring);
    let (recall, keep, known, keep_known) = (r(), r(), r(), r());
    Book {
        recall: Arc::new(move |key| {
            let memory = recall.lock().unwrap().memories.get(&key).cloned().unwrap_or_default();
            Box::pin(async { Ok(memory) })
        }),
        keep: Arc::new(move |key, state| {
            let mut ring = keep.lock().unwrap();
            let broken = ring.ledger_broken;
            if !broken {
                ring.memories.entry(key).or_default().state = state;
            }
            Box::pin(async move { if broken { Err("disk full".into()) } else { Ok(()) } })
        }),
        known: Arc::new(move || {
            let known = known.lock().unwrap().known.clone();
            Box::pin(async { Ok(known) })
        }),
        keep_known: Arc::new(move |names| {
            keep_known.lock().unwrap().known = names;
            Box::pin(async { Ok(()) })
        }),
    }
}

fn quiet(_: &Played) -> Play {
    (SECOND, Ok(0))
}

fn side(error: platform::Error) -> sync::Error {
    sync::Error::Platform { side: Side::Source, error }
}

fn broken() -> sync::Error {
    side(platform::Error::Broken { host: "old.example".into(), cause: "reset".into() })
}

fn refused() -> sync::Error {
    let (host, user, text) = ("old.example".into(), "alice".into(), "no".into());
    let remedy = String::new();
    side(platform::Error::Credentials { host, user, text, remedy })
}
