//! What a delta asks of Gmail, and that it finds whatever its user does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use drover::definition::Labels;
use drover::model::PassKind;

use crate::Stage;
use crate::support::mail::Rng;
use crate::support::proxy::{Proxy, Then, What, When};
use crate::support::standin::{MailboxBuilder, Standin};
use crate::support::{Imap, note, subjects};

const NAMES: [&str; 4] = ["Work", "Work/Clients", "Ü", "Lists"];
const TRASH: &str = "[Gmail]/Trash";
const ALL: &str = "[Gmail]/All Mail";

/// Sixty messages with labels in many combinations.
fn sixty(mailbox: MailboxBuilder) -> MailboxBuilder {
    let mailbox = NAMES.iter().fold(mailbox, |mailbox, name| mailbox.folder(name));
    (0..60).fold(mailbox, |mailbox, n| {
        let labels = ["INBOX"].iter().chain(&NAMES).enumerate();
        let labels: Vec<&str> =
            labels.filter(|(bit, _)| n >> bit & 1 == 1).map(|(_, l)| *l).collect();
        mailbox.message(&labels, &note(&format!("number {n}")))
    })
}

/// All is there, and nothing but that.
async fn assert_mirrored(stage: &Stage, labels: Labels, what: &str) {
    let compared = stage.world.verify().await;
    assert!(compared.is_equal(), "{what}: {compared:?}");
    let there = stage.there();
    let mut user = stage.gmail.connect("anna");
    if labels == Labels::Folders {
        for (label, folder) in
            [("INBOX", "INBOX"), (TRASH, "Trash")].into_iter().chain(NAMES.map(|n| (n, n)))
        {
            let mut ours = subjects(&mut user, label);
            let mut theirs = there.get(folder).cloned().unwrap_or_default();
            ours.sort_unstable();
            theirs.sort_unstable();
            assert_eq!(theirs, ours, "{what}: {folder}");
        }
    } else {
        let n: usize = there.values().map(Vec::len).sum();
        assert_eq!(n, user.uids(ALL).len() + user.uids(TRASH).len(), "{what}: {there:?}");
    }
}

/// Counts the commands to the source that contain this.
fn count(tap: &Proxy, text: &str) -> Arc<AtomicUsize> {
    let n = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&n);
    let count = move || {
        counter.fetch_add(1, Ordering::SeqCst);
        Then::GoOn
    };
    tap.always(When::verb("UID FETCH").containing(text), What::call(count));
    n
}

#[tokio::test]
async fn a_delta_asks_for_the_labels_of_what_changed_only() {
    let mut stage = Stage::new(sixty).await;
    let tap = stage.world.tap_source();
    stage.settle(PassKind::Seed).await;
    let mut user = stage.gmail.connect("anna");
    let uids = user.uids("INBOX");
    user.store("INBOX", &uids[..2], "+X-GM-LABELS (Lists)");
    user.uid_move("INBOX", &uids[3..4], TRASH);
    stage.gmail.deliver("anna", &["INBOX"], &note("new"));
    let (asked, changed) = (count(&tap, "X-GM-LABELS"), count(&tap, "CHANGEDSINCE"));
    stage.settle(PassKind::Delta).await;
    let n = changed.load(Ordering::SeqCst);
    assert!(n > 0);
    assert_eq!(asked.load(Ordering::SeqCst), n);
    assert!(stage.world.verify().await.is_equal());
    assert!(asked.load(Ordering::SeqCst) > n, "a comparison asks for all of them");
}

#[tokio::test]
async fn labels_that_change_without_a_word_in_all_mail_are_found_by_counting() {
    let stage = Stage::new(|mailbox| sixty(mailbox).labels_change_unseen()).await;
    stage.settle(PassKind::Seed).await;
    let mut user = stage.gmail.connect("anna");
    let uids = user.uids("INBOX");
    user.store("INBOX", &uids[1..2], "-X-GM-LABELS (Work)");
    stage.gmail.deliver("anna", &["INBOX"], &note("told"));
    stage.settle(PassKind::Delta).await;
    assert_mirrored(&stage, Labels::Folders, "one label less").await;
}

#[tokio::test]
async fn the_first_label_of_a_message_may_come_and_go() {
    let mut stage =
        Stage::new(|mailbox| mailbox.folder("A").message(&["Work"], &note("one"))).await;
    stage.labels(Labels::First);
    stage.settle(PassKind::Seed).await;
    let mut user = stage.gmail.connect("anna");
    let uids = user.uids("Work");
    user.store("Work", &uids, "+X-GM-LABELS (A)");
    stage.settle(PassKind::Delta).await;
    stage.assert_there(&[("A", &["one"])]);
    user.store("Work", &uids, "-X-GM-LABELS (A)");
    stage.settle(PassKind::Delta).await;
    stage.assert_there(&[("Work", &["one"])]);
}

#[tokio::test]
async fn another_policy_places_all_messages_anew() {
    let mut stage = Stage::new(sixty).await;
    stage.settle(PassKind::Seed).await;
    stage.labels(Labels::First);
    let delta = stage.settle(PassKind::Delta).await;
    assert_eq!(delta.record.accounts.copied, 0);
    assert_mirrored(&stage, Labels::First, "each once").await;
}

/// Something that a user does.
fn act(user: &mut Imap, gmail: &Standin, rng: &mut Rng, n: usize) {
    let name = NAMES[rng.below(NAMES.len())];
    let store = if rng.chance(20) { TRASH } else { ALL };
    let uids = user.uids(store);
    if rng.chance(20) || uids.is_empty() {
        let labels: &[&str] = if rng.chance(50) { &[name] } else { &[] };
        return gmail.deliver("anna", labels, &note(&format!("later {n}")));
    }
    let at = rng.below(uids.len());
    let some = &uids[at..uids.len().min(at + 1 + rng.below(3))];
    match rng.below(6) {
        0 => user.uid_move(store, some, if store == ALL { TRASH } else { "INBOX" }),
        1 => user.store(store, some, "+FLAGS (\\Seen)"),
        2 => user.store(store, some, "-FLAGS (\\Seen)"),
        3 if store == ALL => {
            user.store(store, some, &format!("-X-GM-LABELS ({})", user.wire(name)))
        }
        4 if store == TRASH => {
            user.store(store, some, "+FLAGS (\\Deleted)");
            user.expunge_uids(store, some);
        }
        _ if store == ALL => {
            user.store(store, some, &format!("+X-GM-LABELS ({})", user.wire(name)))
        }
        _ => user.uid_copy(store, some, "INBOX"),
    }
}

async fn whatever_happens_is_found(labels: Labels, is_unseen: bool, seed: u64) {
    let fill = move |mailbox: MailboxBuilder| {
        let mailbox = sixty(mailbox);
        if is_unseen { mailbox.labels_change_unseen() } else { mailbox }
    };
    let mut stage = Stage::new(fill).await;
    stage.labels(labels);
    stage.settle(PassKind::Seed).await;
    let mut rng = Rng::new(seed);
    let mut user = stage.gmail.connect("anna");
    for n in 0..12 {
        for _ in 0..=rng.below(4) {
            act(&mut user, &stage.gmail, &mut rng, n);
        }
        // Two changes that leave every count as it was pass unseen, if Gmail does not tell.
        let kind = if is_unseen && n % 3 == 2 { PassKind::Final } else { PassKind::Delta };
        stage.world.pass(kind).await;
        if is_unseen && kind == PassKind::Delta {
            continue;
        }
        assert_mirrored(&stage, labels, &format!("seed {seed}, round {n}")).await;
    }
}

#[tokio::test]
async fn whatever_a_user_does_with_labels_is_found_under_each_policy() {
    for labels in [Labels::Folders, Labels::First, Labels::AllMail, Labels::Keywords] {
        for seed in 0..3 {
            whatever_happens_is_found(labels, false, seed).await;
        }
    }
}

#[tokio::test]
async fn the_cutover_finds_what_no_count_tells() {
    for seed in 0..3 {
        whatever_happens_is_found(Labels::Folders, true, seed).await;
    }
}
