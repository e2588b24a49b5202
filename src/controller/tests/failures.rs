//! Errors: another try, a pause, a block, and what lifts it.

use super::*;
use crate::auth::TokenError;
use crate::definition::MasterForm;
use crate::definition::{ClientProof, Grant};

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
async fn a_mailbox_whose_day_is_spent_waits_for_the_next_and_says_so() {
    let stage = Stage::new(8, |played| match played.began {
        0 => {
            let (wait, until) = (Duration::from_secs(6 * 3600), Utc::now());
            let limit = 500_000_000;
            (SECOND, Err(sync::Error::DayBudget { side: sync::Side::Source, limit, until, wait }))
        }
        _ => (SECOND, Ok(3)),
    });
    stage.declare(&[migration("m", &["alice"])]).await;
    stage.until(5 * 3600).await;
    let throttled = stage.condition(ConditionType::Throttled).await;
    assert_eq!((throttled.status, &*throttled.reason), (Truth::True, "DayBudgetSpent"));
    assert_eq!(stage.played("alice").len(), 1);
    stage.until(6 * 3600 + 2).await;
    assert_eq!(stage.played("alice").len(), 2);
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

/// Fifty mailboxes of one server, all entered by this login at the source, which fails with
/// `error`. How often it was tried, and how many of them are blocked then.
async fn one_login_for_fifty(login: Login, error: fn() -> sync::Error) -> (usize, u64) {
    let stage = Stage::new(2, move |_| (SECOND, Err(error())));
    let users: Vec<String> = (0..50).map(|n| format!("user{n}")).collect();
    let mut declared = migration("m", &users.iter().map(String::as_str).collect::<Vec<_>>());
    let endpoint = Arc::clone(&declared.mailboxes[0].source.endpoint);
    for mailbox in &mut declared.mailboxes {
        let mut changed = Mailbox::clone(mailbox);
        changed.source.endpoint = Arc::clone(&endpoint);
        changed.source.login = login.clone();
        *mailbox = Arc::new(changed);
    }
    stage.declare(&[declared]).await;
    stage.until(3600).await;
    let blocked = stage.status().await.migrations[0].counts["blocked"];
    (stage.n_played(), blocked)
}

/// An application with a token that is good for every mailbox.
fn application() -> Login {
    Login::Token(Grant::ClientCredentials {
        client_id: "app".into(),
        proof: ClientProof::Secret(SecretRef::Command(vec!["pass".into()]).into()),
        token_url: "https://login.example/token".parse().unwrap(),
        ca_file: None,
        scopes: vec![],
    })
}

#[tokio::test(start_paused = true)]
async fn one_refused_master_login_is_not_tried_for_every_mailbox() {
    let password = SecretRef::Command(vec!["pass".into()]);
    let (form, alias) = (MasterForm::Authzid, None);
    let master = Login::MasterUser { user: "master".into(), password, form, alias };
    let (tries, blocked) = one_login_for_fifty(master, refused).await;
    assert!(tries <= 3, "{tries} tries");
    assert_eq!(blocked, 50);
}

#[tokio::test(start_paused = true)]
async fn an_application_that_gets_no_token_does_not_ask_for_one_for_every_mailbox() {
    let no_token = || {
        let (what, why) = ("the certificate", "it has none".into());
        side(Arc::new(TokenError::Key { what, why }).into())
    };
    let (tries, blocked) = one_login_for_fifty(application(), no_token).await;
    assert!(tries <= 3, "{tries} tries");
    assert_eq!(blocked, 50);
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_that_refuses_an_applications_token_says_nothing_of_the_others() {
    assert_eq!(one_login_for_fifty(application(), refused).await, (50, 50));
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
