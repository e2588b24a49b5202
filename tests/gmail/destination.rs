//! Gmail as a destination.

use std::sync::Arc;

use crate::support::standin::Standin;
use crate::support::{Dovecot, World, note, subjects};

/// `anna` at a Dovecot, and at Gmail, where all is to be carried.
pub(crate) async fn to_gmail(gmail: &Standin) -> World {
    let mut world = World::between(Dovecot::start(), Dovecot::start()).await;
    let endpoint = Arc::make_mut(&mut world.mailbox.destination.endpoint);
    (endpoint.host, endpoint.port) = ("127.0.0.1".into(), gmail.port());
    world
}

pub(crate) fn empty() -> Standin {
    Standin::gmail().user("anna", |mailbox| mailbox.password("pw")).start()
}

pub(crate) fn labels(gmail: &Standin) -> Vec<Vec<String>> {
    let all = gmail.stored("anna");
    all.into_iter().map(|message| message.labels.into_iter().collect()).collect()
}

#[tokio::test]
async fn a_message_in_two_folders_is_kept_once_and_what_happens_to_either_reaches_it() {
    let gmail = empty();
    let world = to_gmail(&gmail).await;
    let mut user = world.at_source();
    user.create("A");
    user.create("B");
    user.create("C");
    user.append_many("A", &[note("one"), note("other")]);
    user.append_many("B", &[note("one")]);
    world.seed().await;
    assert_eq!(labels(&gmail), [vec!["A", "B"], vec!["A"]]);
    assert!(world.delta().await.quiet, "nothing is done twice");
    let uids = user.uids("B");
    user.uid_move("B", &uids, "C");
    world.delta().await;
    assert_eq!(labels(&gmail), [vec!["A", "C"], vec!["A"]]);
    let uids = user.uids("C");
    user.store("C", &uids, "+FLAGS (\\Flagged)");
    world.delta().await;
    assert!(gmail.stored("anna")[0].flags.contains("\\Flagged"));
    assert!(world.delta().await.quiet);
}

#[tokio::test]
async fn a_twin_that_gmail_discards_is_not_sent_again() {
    let gmail = empty();
    let world = to_gmail(&gmail).await;
    let mut user = world.at_source();
    user.append_many("INBOX", &[note("one"), note("one"), note("two")]);
    world.seed().await;
    let written = gmail.spent("anna")[1];
    assert_eq!(gmail.stored("anna").len(), 2);
    assert!(world.delta().await.quiet);
    user.append_many("INBOX", &[note("three")]);
    world.delta().await;
    assert_eq!(gmail.stored("anna").len(), 3);
    assert!(gmail.spent("anna")[1] - written < written, "only what is new was written");
}

#[tokio::test]
async fn what_was_thrown_away_at_gmail_is_not_brought_back() {
    let gmail = empty();
    let world = to_gmail(&gmail).await;
    let mut user = world.at_source();
    user.append_many("INBOX", &[note("one"), note("two")]);
    world.seed().await;
    let mut there = gmail.connect("anna");
    let uids = there.uids("INBOX");
    there.uid_move("INBOX", &uids[..1], "[Gmail]/Trash");
    user.append_many("INBOX", &[note("three")]);
    world.delta().await;
    assert_eq!(gmail.stored("anna").len(), 3);
    assert_eq!(subjects(&mut there, "INBOX"), ["two", "three"]);
}

#[tokio::test]
async fn folders_whose_names_gmail_refuses_get_others() {
    let gmail = empty();
    let world = to_gmail(&gmail).await;
    let mut user = world.at_source();
    for (n, name) in ["two  blanks", "ends with one ", "Spam"].iter().enumerate() {
        user.create(name);
        user.append_many(name, &[note(&n.to_string())]);
    }
    world.seed().await;
    let mut labels = labels(&gmail);
    labels.sort();
    assert_eq!(
        labels,
        [["[Gmail]/Spam"], ["ends with one=20"], ["two =20blanks"]].map(|l| l.map(str::to_owned))
    );
    assert!(world.delta().await.quiet);
}
