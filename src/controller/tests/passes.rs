//! Which passes run, and when.

use super::*;

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
async fn mailboxes_of_many_hours_make_way_for_those_of_a_minute_and_go_on() {
    const HOUR: u64 = 3600;
    let left: Mutex<HashMap<String, (u64, u64)>> = Mutex::default();
    let ring = Ring { carrying: true, ..Ring::default() };
    let stage = Stage::with(ring, 2, move |played| {
        if !played.user.starts_with("large") {
            return (60 * SECOND, Ok(1));
        }
        // Ten hours of work; what was done before it was stopped is done.
        let mut left = left.lock().unwrap();
        let (hours, since) = left.entry(played.user.clone()).or_insert((10 * HOUR, 0));
        *hours -= (played.began - *since).min(900);
        *since = played.began;
        (Duration::from_secs(*hours), Ok(1))
    });
    stage.declare(&[migration("large", &["large1", "large2", "large3"])]).await;
    stage.until(60).await;
    let small: Vec<String> = (0..30).map(|n| format!("small{n}")).collect();
    let small: Vec<&str> = small.iter().map(String::as_str).collect();
    let large = migration("large", &["large1", "large2", "large3"]);
    stage.declare(&[large, migration("small", &small)]).await;
    stage.until(2 * HOUR).await;
    for user in &small {
        assert!(!stage.played(user).is_empty(), "{user} waits still");
    }
    let begun = |user: &str| stage.played(user).len();
    assert!(begun("large3") > 0 && begun("large1") > 1, "in turns");
}

#[tokio::test(start_paused = true)]
async fn a_pass_of_many_hours_gives_its_connection_to_one_that_waits_for_it() {
    let server = Arc::new(tokio::sync::Mutex::new(()));
    let ring = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&ring);
    let runner: PassRunner = Arc::new(move |job| {
        let (server, ring) = (Arc::clone(&server), Arc::clone(&ring));
        Box::pin(async move {
            // A server that bears one connection.
            let _connection = server.lock().await;
            job.progress.enter(sync::Stage::Transferring);
            job.progress.advance(1, 1);
            ring.lock().unwrap().push(user(&job.key));
            let hours = tokio::time::sleep(Duration::from_secs(10 * 3600));
            job.stop.run_until_cancelled(hours).await;
            Err(sync::Error::Stopped)
        })
    });
    let start = Instant::now();
    let book = book(&Arc::new(Mutex::new(Ring::default())));
    let mut settings = Settings::new(8, runner, book, key);
    settings.now = Arc::new(move || at(START) + TimeDelta::from_std(start.elapsed()).unwrap());
    settings.strike = false;
    let (controller, handle) = Controller::new(settings);
    let daemon = tokio::spawn(controller.run(CancellationToken::new()));
    let declared = snapshot(&[migration("m", &["alice", "bela", "carla"])]);
    handle.declare_now(declared, false).await;
    tokio::time::sleep(3600 * SECOND).await;
    let mut users = seen.lock().unwrap().clone();
    assert!((4..=5).contains(&users.len()), "{users:?}");
    users.truncate(3);
    users.sort_unstable();
    assert_eq!(users, ["alice", "bela", "carla"], "each has its turn");
    daemon.abort();
}

#[tokio::test(start_paused = true)]
async fn a_long_pass_is_not_stopped_for_nobody() {
    let ring = Ring { carrying: true, ..Ring::default() };
    let stage = Stage::with(ring, 1, |_| (10 * 3600 * SECOND, Ok(1)));
    stage.declare(&[migration("m", &["alice"])]).await;
    stage.until(9 * 3600).await;
    assert_eq!(stage.n_played(), 1);
    assert!(stage.ring.lock().unwrap().stopped.is_empty());
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
