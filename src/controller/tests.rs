//! The whole loop, with a runner that plays passes and time that stands still until all sleep.

use std::collections::HashMap;
use std::sync::Mutex;

use chrono::TimeDelta;
use tokio::task::JoinHandle;

use super::status::{Status, Summary};
use super::testing::{at, mailbox, migration, report, snapshot_of as snapshot};
use super::*;
use crate::definition::{Cutover, Generation, Login, Migration, SecretRef, Window};
use crate::ledger::MailboxState;
use crate::model::{Condition, Phase};
use crate::platform;
use crate::sync::Side;

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
    side(platform::Error::Credentials { host, user, text })
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_is_seeded_and_then_follows_the_schedule() {
    let stage = Stage::new(8, quiet);
    stage.declare(&[migration("m", &["alice"])]).await;
    stage.until(1801).await;
    let passes = stage.played("alice");
    assert_eq!(passes, [(PassKind::Seed, 0), (PassKind::Delta, 900), (PassKind::Delta, 1800)]);
    assert!(stage.state("alice").seeded.is_some());
    assert_eq!(stage.ring.lock().unwrap().known, [MigrationName("m".into())]);
}

#[tokio::test(start_paused = true)]
async fn limits_hold_and_small_migrations_are_not_starved() {
    let stage = Stage::new(3, |_| (10 * SECOND, Ok(1)));
    let many: Vec<String> = (0..40).map(|n| format!("many{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut large = migration("large", &many);
    large.sync.concurrency = 2;
    stage.declare(&[large, migration("small", &["sue"])]).await;
    stage.until(11).await;
    assert_eq!(stage.played("sue"), [(PassKind::Seed, 0)]);
    assert_eq!(stage.ring.lock().unwrap().most_at_once, 3);
    stage.until(300).await;
    assert_eq!(stage.n_played(), 41);
}

#[tokio::test(start_paused = true)]
async fn a_migration_keeps_its_own_limit() {
    let stage = Stage::new(8, |_| (10 * SECOND, Ok(1)));
    let mut migration = migration("m", &["a", "b", "c", "d", "e"]);
    migration.sync.concurrency = 2;
    stage.declare(&[migration]).await;
    stage.until(60).await;
    assert_eq!((stage.n_played(), stage.ring.lock().unwrap().most_at_once), (5, 2));
}

#[tokio::test(start_paused = true)]
async fn transient_errors_back_off_and_leave_others_alone() {
    let stage = Stage::new(8, |played| match &*played.user {
        "alice" => (SECOND, Err(broken())),
        _ => (SECOND, Ok(0)),
    });
    stage.declare(&[migration("m", &["alice", "bob"])]).await;
    stage.until(120).await;
    let began: Vec<u64> = stage.played("alice").iter().map(|(_, began)| *began).collect();
    let waits: Vec<u64> = began.windows(2).map(|pair| pair[1] - pair[0] - 1).collect();
    for (n, wait) in waits.iter().enumerate() {
        let full = 5 << n;
        assert!((full / 2..=full + 1).contains(wait), "wait {n} took {wait} s: {began:?}");
    }
    assert!(waits.len() >= 3);
    assert_eq!(stage.played("bob").len(), 1);
    assert_eq!(usize::try_from(stage.state("alice").failures_in_a_row).unwrap(), began.len());
    let status = &stage.status().await.mailboxes[0];
    assert_eq!(status.reason.as_deref(), Some("ConnectionBroken"));
    assert_eq!(stage.condition(ConditionType::Reachable).await.status, Truth::False);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_mailbox_waits_as_long_as_it_is_told_and_has_not_failed() {
    let stage = Stage::new(8, |played| match played.began {
        0 => {
            let (delay, text) = (Duration::from_secs(600), "slow down".into());
            (SECOND, Err(side(platform::Error::Throttled { delay, text })))
        }
        _ => (SECOND, Ok(3)),
    });
    stage.declare(&[migration("m", &["alice"])]).await;
    stage.until(300).await;
    assert_eq!(stage.condition(ConditionType::Throttled).await.status, Truth::True);
    assert_eq!(stage.state("alice").failures_in_a_row, 0);
    stage.until(602).await;
    assert_eq!(stage.played("alice"), [(PassKind::Seed, 0), (PassKind::Seed, 601)]);
    assert_eq!(stage.condition(ConditionType::Throttled).await.status, Truth::False);
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_not_tried_again_until_the_definition_changes() {
    let stage = Stage::new(8, |_| (SECOND, Err(refused())));
    let mut declared = migration("m", &["alice"]);
    stage.declare(&[declared.clone()]).await;
    stage.until(3600).await;
    assert_eq!(stage.n_played(), 1);
    let status = stage.status().await;
    assert_eq!(status.mailboxes[0].phase, Phase::Blocked);
    assert_eq!(status.migrations[0].summary, Summary::NeedsAttention);
    assert!(status.mailboxes[0].message.as_ref().unwrap().contains("correct the secret"));
    declared.generation = Generation("g2".into());
    stage.declare(&[declared]).await;
    stage.until(7200).await;
    assert_eq!(stage.n_played(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_block_outlives_a_restart_and_ends_with_a_reload() {
    let first = Stage::new(8, |_| (SECOND, Err(refused())));
    first.declare(&[migration("m", &["alice"])]).await;
    first.until(10).await;
    first.shutdown.cancel();
    first.daemon.await.unwrap();
    let ring = std::mem::take(&mut *first.ring.lock().unwrap());
    let second = Stage::with(Ring { memories: ring.memories, ..Ring::default() }, 8, quiet);
    second.declare(&[migration("m", &["alice"])]).await;
    second.until(3600).await;
    assert_eq!(second.n_played(), 0);
    second.handle.declare_now(snapshot(&[migration("m", &["alice"])]), true).await;
    second.until(3610).await;
    assert_eq!(second.n_played(), 1);
    assert_eq!(second.state("alice").blocked, None);
}

#[tokio::test(start_paused = true)]
async fn a_changed_secret_file_lifts_the_block() {
    let stage = Stage::new(8, |_| (SECOND, Err(refused())));
    let path = std::path::PathBuf::from("/secrets/alice");
    let mut declared = migration("m", &["alice"]);
    let mut alice = Mailbox::clone(&declared.mailboxes[0]);
    alice.source.login = Login::Password(SecretRef::File(path.clone()));
    declared.mailboxes = vec![Arc::new(alice)];
    for (seal, n_tries) in [(1, 1), (1, 1), (2, 2)] {
        let mut snapshot = snapshot(&[declared.clone()]);
        snapshot.seals.insert(path.clone(), seal);
        stage.handle.declare_now(snapshot, false).await;
        tokio::time::sleep(60 * SECOND).await;
        assert_eq!(stage.n_played(), n_tries, "seal {seal}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_refused_master_login_is_not_tried_for_every_mailbox() {
    let stage = Stage::new(2, |_| (SECOND, Err(refused())));
    let users: Vec<String> = (0..50).map(|n| format!("user{n}")).collect();
    let mut declared = migration("m", &users.iter().map(String::as_str).collect::<Vec<_>>());
    let endpoint = Arc::clone(&declared.mailboxes[0].source.endpoint);
    for mailbox in &mut declared.mailboxes {
        let mut changed = Mailbox::clone(mailbox);
        changed.source.endpoint = Arc::clone(&endpoint);
        changed.source.login = Login::MasterUser {
            user: "master".into(),
            password: SecretRef::Command(vec!["pass".into()]),
        };
        *mailbox = Arc::new(changed);
    }
    stage.declare(&[declared]).await;
    stage.until(3600).await;
    assert!(stage.n_played() <= 3, "{} tries", stage.n_played());
    assert_eq!(stage.status().await.migrations[0].counts["blocked"], 50);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_migration_stops_and_rests() {
    let stage = Stage::new(8, |_| (100 * SECOND, Ok(1)));
    let running = migration("m", &["alice"]);
    stage.declare(std::slice::from_ref(&running)).await;
    stage.until(10).await;
    stage.declare(&[Migration { suspend: true, ..running.clone() }]).await;
    stage.until(3600).await;
    assert_eq!((stage.n_played(), stage.ring.lock().unwrap().stopped.len()), (1, 1));
    let status = stage.status().await;
    assert_eq!(status.migrations[0].summary, Summary::Suspended);
    assert_eq!(status.mailboxes[0].phase, Phase::Suspended);
    stage.declare(&[running]).await;
    stage.until(3601).await;
    assert_eq!(stage.n_played(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_changed_definition_restarts_only_what_changed() {
    let stage = Stage::new(8, |_| (100 * SECOND, Ok(1)));
    let before = migration("m", &["alice", "bob", "carol"]);
    stage.declare(std::slice::from_ref(&before)).await;
    stage.until(10).await;
    let mut after = migration("m", &["alice", "bob", "dora"]);
    let mut bob = Mailbox::clone(&after.mailboxes[1]);
    bob.carry.flags = false;
    after.mailboxes[1] = Arc::new(bob);
    after.generation = Generation("g2".into());
    stage.declare(&[after]).await;
    stage.until(50).await;
    assert_eq!(stage.played("alice"), [(PassKind::Seed, 0)]);
    assert_eq!(stage.played("bob"), [(PassKind::Seed, 0), (PassKind::Seed, 10)]);
    assert_eq!(stage.played("dora"), [(PassKind::Seed, 10)]);
    let mut stopped = stage.ring.lock().unwrap().stopped.clone();
    stopped.sort();
    assert_eq!(stopped, ["bob", "carol"]);
    let users: Vec<_> = stage.status().await.mailboxes.into_iter().map(|m| m.source).collect();
    assert_eq!(users, ["alice@old.example", "bob@old.example", "dora@old.example"]);
}

#[tokio::test(start_paused = true)]
async fn a_removed_mailbox_that_comes_back_goes_on_where_it_was() {
    let stage = Stage::new(8, quiet);
    stage.declare(&[migration("m", &["alice"])]).await;
    stage.until(10).await;
    stage.declare(&[]).await;
    stage.until(2000).await;
    assert_eq!(stage.n_played(), 1);
    stage.declare(&[migration("m", &["alice"])]).await;
    stage.until(2010).await;
    assert_eq!(stage.played("alice")[1], (PassKind::Delta, 2000));
}

#[tokio::test(start_paused = true)]
async fn the_cutover_runs_finals_until_quiet_drains_and_completes() {
    let stage = Stage::new(8, |played| match played.kind {
        // The first two bring something.
        PassKind::Final if played.began < 1003 => (2 * SECOND, Ok(1)),
        _ => (SECOND, Ok(0)),
    });
    let mut declared = migration("m", &["alice"]);
    let cutover = at(START) + TimeDelta::seconds(1000);
    declared.cutover = Some(Cutover { at: cutover, tail: Duration::from_secs(3600) });
    stage.declare(&[declared]).await;
    stage.until(999).await;
    assert_eq!(stage.status().await.migrations[0].summary, Summary::CutoverReady);
    stage.until(1010).await;
    let finals: Vec<_> =
        stage.played("alice").into_iter().filter(|(kind, _)| *kind == PassKind::Final).collect();
    assert_eq!(finals.iter().map(|(_, began)| *began).collect::<Vec<_>>(), [1000, 1002, 1004]);
    assert_eq!(stage.status().await.migrations[0].summary, Summary::CuttingOver);
    stage.until(1005 + 3602).await;
    let last = *stage.played("alice").last().unwrap();
    assert_eq!(last, (PassKind::Tail, 4605));
    let n_played = stage.n_played();
    stage.until(40_000).await;
    assert_eq!(stage.n_played(), n_played);
    let status = stage.status().await;
    assert_eq!(status.migrations[0].summary, Summary::Complete);
    assert_eq!(status.mailboxes[0].phase, Phase::Complete);
    assert_eq!(status.mailboxes[0].lag_seconds, None);
}

#[tokio::test(start_paused = true)]
async fn a_window_that_closes_stops_the_pass_and_the_next_one_goes_on() {
    let stage = Stage::new(8, |_| (2 * 3600 * SECOND, Ok(1)));
    let mut declared = migration("m", &["alice"]);
    // 09:00 to 11:00; it is 10:00.
    declared.sync.windows = vec![Window { days: (0..7).collect(), from: 540, to: 660 }];
    stage.declare(&[declared]).await;
    stage.until(3601).await;
    assert_eq!(stage.ring.lock().unwrap().stopped, ["alice"]);
    stage.until(24 * 3600).await;
    assert_eq!(stage.played("alice"), [(PassKind::Seed, 0), (PassKind::Seed, 23 * 3600)]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_passes_and_keeps_their_state() {
    let stage = Stage::new(8, |_| (1000 * SECOND, Ok(1)));
    stage.declare(&[migration("m", &["alice", "bob"])]).await;
    stage.until(10).await;
    stage.shutdown.cancel();
    stage.daemon.await.unwrap();
    assert!(stage.start.elapsed() < 11 * SECOND);
    let ring = stage.ring.lock().unwrap();
    assert_eq!(ring.stopped.len(), 2);
    assert!(ring.memories.values().all(|memory| memory.state.last_began.is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_does_not_stop_is_left_behind_after_the_grace() {
    let runner: PassRunner = Arc::new(|_| Box::pin(std::future::pending()));
    let ring = Arc::default();
    let (controller, handle) =
        Controller::new(Settings { strike: false, ..Settings::new(8, runner, book(&ring), key) });
    let shutdown = CancellationToken::new();
    let daemon = tokio::spawn(controller.run(shutdown.clone()));
    handle.declare_now(snapshot(&[migration("m", &["alice"])]), false).await;
    tokio::time::sleep(SECOND).await;
    let start = Instant::now();
    shutdown.cancel();
    daemon.await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_panics_is_a_failure_of_that_mailbox_only() {
    let stage = Stage::new(8, |played| {
        if played.user == "alice" {
            panic!("a defect");
        }
        (SECOND, Ok(0))
    });
    stage.declare(&[migration("m", &["alice", "bob"])]).await;
    stage.until(2).await;
    let status = stage.status().await;
    assert_eq!(status.mailboxes[0].reason.as_deref(), Some("Panicked"));
    assert_eq!(status.mailboxes[1].phase, Phase::Syncing);
    assert_eq!(status.daemon.running, 0);
}

#[tokio::test(start_paused = true)]
async fn an_operator_gets_a_pass_now_and_hears_of_it() {
    let stage = Stage::new(8, quiet);
    stage.declare(&[migration("m", &["alice", "bob"])]).await;
    stage.until(100).await;
    let (updates, mut heard) = mpsc::unbounded_channel();
    let n = stage.handle.sync(vec!["m/alice@old.example".into()], updates).await;
    assert_eq!(n, Ok(1));
    assert!(matches!(heard.recv().await, Some(Update::Started { kind: PassKind::Delta, .. })));
    assert!(matches!(heard.recv().await, Some(Update::Ended { result: Ok(_), .. })));
    assert!(heard.recv().await.is_none());
    assert_eq!((stage.played("alice").len(), stage.played("bob").len()), (2, 1));
    let (updates, _heard) = mpsc::unbounded_channel();
    let unknown = stage.handle.sync(vec!["m/alicf@old.example".into()], updates).await;
    assert!(unknown.unwrap_err().contains("did you mean `m/alice@old.example`?"));
}

#[tokio::test(start_paused = true)]
async fn an_operator_may_try_a_blocked_mailbox() {
    let stage = Stage::new(8, |played| match played.began {
        0 => (SECOND, Err(refused())),
        _ => (SECOND, Ok(0)),
    });
    stage.declare(&[migration("m", &["alice"])]).await;
    stage.until(100).await;
    let (updates, mut heard) = mpsc::unbounded_channel();
    stage.handle.sync(vec!["m".into()], updates).await.unwrap();
    while heard.recv().await.is_some() {}
    stage.until(102).await;
    assert_eq!(stage.state("alice").blocked, None);
    assert_eq!(stage.status().await.mailboxes[0].phase, Phase::Syncing);
}

#[tokio::test(start_paused = true)]
async fn who_asks_during_a_pass_gets_the_next_one() {
    let stage = Stage::new(8, |_| (50 * SECOND, Ok(0)));
    stage.declare(&[migration("m", &["alice"])]).await;
    stage.until(10).await;
    let (updates, mut heard) = mpsc::unbounded_channel();
    stage.handle.sync(vec!["m".into()], updates).await.unwrap();
    while heard.recv().await.is_some() {}
    assert_eq!(stage.played("alice"), [(PassKind::Seed, 0), (PassKind::Delta, 50)]);
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_cannot_be_written_is_said_and_mended() {
    let stage = Stage::new(8, quiet);
    stage.ring.lock().unwrap().ledger_broken = true;
    stage.declare(&[migration("m", &["alice"])]).await;
    stage.until(10).await;
    assert_eq!(stage.status().await.daemon.ledger_error.as_deref(), Some("disk full"));
    stage.ring.lock().unwrap().ledger_broken = false;
    stage.until(20).await;
    assert_eq!(stage.status().await.daemon.ledger_error, None);
    assert!(stage.state("alice").seeded.is_some());
}

#[tokio::test(start_paused = true)]
async fn conditions_keep_their_since_and_name_what_blocks() {
    let stage = Stage::new(1, |played| match (&*played.user, played.kind) {
        ("bob", PassKind::Seed) => (5000 * SECOND, Ok(1)),
        _ => (SECOND, Ok(0)),
    });
    stage.declare(&[migration("m", &["alice", "bob"])]).await;
    stage.until(100).await;
    let ready = stage.condition(ConditionType::CutoverReady).await;
    assert_eq!((ready.status, &*ready.reason), (Truth::False, "NotSeeded"));
    assert!(ready.message.contains("bob@old.example"), "{}", ready.message);
    stage.until(4000).await;
    assert_eq!(stage.condition(ConditionType::CutoverReady).await.since, ready.since);
    stage.until(8000).await;
    let ready = stage.condition(ConditionType::CutoverReady).await;
    assert_eq!(ready.status, Truth::True);
    assert!(ready.message.contains("about 4 s (2 mailboxes, 1 at once)"), "{}", ready.message);
    assert!(ready.since > at(START) + TimeDelta::seconds(5000));
}

#[tokio::test(start_paused = true)]
async fn a_broken_definition_is_shown_beside_the_version_in_force() {
    let stage = Stage::new(8, quiet);
    let problem = |name: &str| {
        let path = std::path::PathBuf::from(format!("{name}.toml"));
        vec![catalog::Problem::of_file(&path, "bad".into())]
    };
    let mut now = snapshot(&[migration("m", &["alice"])]);
    for name in ["m", "new"] {
        now.broken.insert(MigrationName(name.into()), problem(name));
        now.known.insert(MigrationName(name.into()));
    }
    stage.handle.declare_now(now, false).await;
    stage.until(2).await;
    let status = stage.status().await;
    let summaries: Vec<_> = status.migrations.iter().map(|m| m.summary).collect();
    assert_eq!(summaries, [Summary::NeedsAttention, Summary::Invalid]);
    assert_eq!(stage.played("alice").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_restart_runs_what_was_missed_once() {
    let memory = Memory {
        state: MailboxState {
            seeded: Some(at("2026-05-01T00:00:00Z")),
            last_began: Some(at("2026-06-01T02:00:00Z")),
            ..MailboxState::default()
        },
        passes: vec![],
    };
    let memories = HashMap::from([(key(&mailbox("alice")), memory)]);
    let stage = Stage::with(Ring { memories, ..Ring::default() }, 8, quiet);
    stage.declare(&[migration("m", &["alice"])]).await;
    stage.until(901).await;
    assert_eq!(stage.played("alice"), [(PassKind::Delta, 0), (PassKind::Delta, 900)]);
}
