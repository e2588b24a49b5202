//! What changes when definitions do.

use super::*;

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
