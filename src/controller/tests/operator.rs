//! What operators ask for, and what they see.

use super::*;

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
async fn a_credential_that_ends_is_told_of_and_warned_of_from_fourteen_days_ahead() {
    let stage = Stage::new(2, quiet);
    // Fourteen days and an hour after the start.
    let ends = at("2026-06-15T11:00:00Z");
    stage.ring.lock().unwrap().expiry = Some(Expiry { at: ends, what: Ending::ClientSecret });
    stage.declare(&[migration("m", &["alice"])]).await;
    for (seconds, reason) in [(60, "Accepted"), (3590, "Accepted"), (3610, "ExpiresSoon")] {
        stage.until(seconds).await;
        let valid = stage.condition(ConditionType::CredentialsValid).await;
        assert_eq!((valid.status, &*valid.reason), (Truth::True, reason), "{valid:?}");
        assert_eq!(valid.expires, Some(ends));
    }
    let valid = stage.condition(ConditionType::CredentialsValid).await;
    let when = "the client secret of the source ends on 2026-06-15, in 13 days: make a new one";
    assert!(valid.message.contains(when), "{}", valid.message);
    let others = stage.status().await.migrations[0].conditions.clone();
    assert_eq!(others.iter().filter(|condition| condition.expires.is_some()).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_already_is_not_warned_of() {
    let stage = Stage::new(2, |_| (SECOND, Err(refused())));
    let ends = at("2026-06-02T10:00:00Z");
    stage.ring.lock().unwrap().expiry = Some(Expiry { at: ends, what: Ending::Certificate });
    stage.declare(&[migration("m", &["alice"])]).await;
    stage.until(3600).await;
    let valid = stage.condition(ConditionType::CredentialsValid).await;
    assert_eq!((valid.status, &*valid.reason), (Truth::False, "Refused"));
}
