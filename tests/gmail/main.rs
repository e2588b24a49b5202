//! Gmail as a source, against a stand-in: no Gmail can be run here. `tests/standin/` holds that one
//! against clients that others wrote.

#[path = "../support/mod.rs"]
mod support;

mod again;
mod deltas;
mod destination;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use drover::definition::{Labels, MaxDelete};
use drover::flow::Memory;
use drover::model::PassKind;
use drover::platform::{self, Options};
use drover::sync::{Error, Report};
use support::mail::message;
use support::platform::inbox;
use support::standin::{Builder, MailboxBuilder, Standin};
use support::{Dovecot, World, note, subjects};
use tokio::sync::mpsc;

/// `anna` at Gmail, and at a Dovecot where all of it is to be carried, removals too.
struct Stage {
    gmail: Standin,
    world: World,
}

impl Stage {
    async fn new(fill: impl FnOnce(MailboxBuilder) -> MailboxBuilder + 'static) -> Self {
        Self::at(Standin::gmail(), fill).await
    }

    async fn at(
        gmail: Builder,
        fill: impl FnOnce(MailboxBuilder) -> MailboxBuilder + 'static,
    ) -> Self {
        let gmail = gmail.user("anna", |mailbox| fill(mailbox.password("pw"))).start();
        let mut world = World::between(Dovecot::start(), Dovecot::start()).await;
        world.mailbox.carry.deletes = true;
        world.mailbox.carry.max_delete = MaxDelete::Percent(100.0);
        let endpoint = Arc::make_mut(&mut world.mailbox.source.endpoint);
        (endpoint.host, endpoint.port) = ("127.0.0.1".into(), gmail.port());
        Self { gmail, world }
    }

    fn labels(&mut self, labels: Labels) {
        Arc::make_mut(&mut self.world.mailbox.source.endpoint).labels = labels;
    }

    /// Subjects by folder at the destination; folders without messages are left out.
    fn there(&self) -> BTreeMap<String, Vec<String>> {
        let mut imap = self.world.at_destination();
        let folders: Vec<String> = imap.list().into_iter().map(|folder| folder.path).collect();
        let mut there = BTreeMap::new();
        for path in folders {
            let subjects = subjects(&mut imap, &path);
            if !subjects.is_empty() {
                there.insert(path, subjects);
            }
        }
        there
    }

    fn assert_there(&self, wanted: &[(&str, &[&str])]) {
        let of = |(path, subjects): &(&str, &[&str])| {
            ((*path).to_owned(), subjects.iter().map(|s| (*s).to_owned()).collect())
        };
        assert_eq!(self.there(), wanted.iter().map(of).collect::<BTreeMap<_, Vec<_>>>());
    }

    /// As it is left once all is carried: another pass finds nothing.
    async fn settle(&self, kind: PassKind) -> Report {
        let report = self.world.pass(kind).await;
        let again = self.world.delta().await;
        assert!(again.quiet, "{:?}", again.record);
        report
    }
}

fn two(mailbox: MailboxBuilder) -> MailboxBuilder {
    mailbox.notes("INBOX", ["one", "two"])
}

fn three(mailbox: MailboxBuilder) -> MailboxBuilder {
    mailbox
        .message(&["INBOX", "Work", "Work/Clients"], &note("three labels"))
        .message(&["Work"], &note("one label"))
        .message(&[], &note("archived"))
        .message(&["[Gmail]/Sent Mail"], &note("sent"))
        .message(&["[Gmail]/Trash"], &note("thrown away"))
        .message(&["[Gmail]/Spam"], &note("spam"))
}

#[tokio::test]
async fn each_label_is_a_folder_and_what_has_none_is_archived() {
    let stage = Stage::new(three).await;
    let report = stage.settle(PassKind::Seed).await;
    stage.assert_there(&[
        ("All Mail", &["archived"]),
        ("INBOX", &["three labels"]),
        ("Sent Mail", &["sent"]),
        ("Spam", &["spam"]),
        ("Trash", &["thrown away"]),
        ("Work", &["three labels", "one label"]),
        ("Work/Clients", &["three labels"]),
    ]);
    assert_eq!(report.record.accounts.copied, 8);
}

#[tokio::test]
async fn a_message_goes_into_the_first_of_its_labels_only() {
    let mut stage = Stage::new(three).await;
    stage.labels(Labels::First);
    let report = stage.settle(PassKind::Seed).await;
    stage.assert_there(&[
        ("All Mail", &["archived"]),
        ("INBOX", &["three labels"]),
        ("Sent Mail", &["sent"]),
        ("Spam", &["spam"]),
        ("Trash", &["thrown away"]),
        ("Work", &["one label"]),
    ]);
    assert_eq!(report.record.accounts.copied, 6);
}

#[tokio::test]
async fn or_all_mail_goes_into_one_folder_in_its_order() {
    let mut stage = Stage::new(three).await;
    stage.labels(Labels::AllMail);
    stage.settle(PassKind::Seed).await;
    stage.assert_there(&[
        ("All Mail", &["three labels", "one label", "archived", "sent"]),
        ("Spam", &["spam"]),
        ("Trash", &["thrown away"]),
    ]);
}

#[tokio::test]
async fn system_folders_are_found_in_any_language() {
    let gmail = Standin::gmail().in_german();
    let stage = Stage::at(gmail, |mailbox| {
        mailbox
            .message(&["INBOX", "Ärger"], &note("inbox"))
            .message(&["[Google Mail]/Entwürfe"], &note("draft"))
            .message(&[], &note("archived"))
    })
    .await;
    stage.settle(PassKind::Seed).await;
    stage.assert_there(&[
        ("Alle Nachrichten", &["archived"]),
        ("Entwürfe", &["draft"]),
        ("INBOX", &["inbox"]),
        ("Ärger", &["inbox"]),
    ]);
}

#[tokio::test]
async fn what_is_archived_is_moved_and_not_copied_again() {
    let stage = Stage::new(two).await;
    stage.settle(PassKind::Seed).await;
    let mut user = stage.gmail.connect("anna");
    let uids = user.uids("INBOX");
    user.store("INBOX", &uids[..1], "+FLAGS (\\Deleted)");
    user.expunge_uids("INBOX", &uids[..1]);
    let delta = stage.settle(PassKind::Delta).await;
    stage.assert_there(&[("All Mail", &["one"]), ("INBOX", &["two"])]);
    assert_eq!((delta.record.moves, delta.record.accounts.copied), (1, 0));
}

#[tokio::test]
async fn a_label_that_comes_is_a_copy_and_one_that_goes_a_removal() {
    let stage =
        Stage::new(|mailbox| mailbox.message(&["INBOX", "Old"], &note("one")).folder("New")).await;
    stage.settle(PassKind::Seed).await;
    let mut user = stage.gmail.connect("anna");
    let uids = user.uids("INBOX");
    user.store("INBOX", &uids, "+X-GM-LABELS (New)");
    stage.settle(PassKind::Delta).await;
    stage.assert_there(&[("INBOX", &["one"]), ("New", &["one"]), ("Old", &["one"])]);
    user.store("INBOX", &uids, "-X-GM-LABELS (Old)");
    stage.settle(PassKind::Delta).await;
    stage.assert_there(&[("INBOX", &["one"]), ("New", &["one"])]);
}

#[tokio::test]
async fn a_label_that_is_renamed_is_a_folder_that_is_renamed() {
    let stage = Stage::new(|mailbox| {
        mailbox.notes("Old", ["one", "two", "three"]).message(&["INBOX"], &note("other"))
    })
    .await;
    stage.settle(PassKind::Seed).await;
    stage.gmail.connect("anna").rename_folder("Old", "New");
    let delta = stage.settle(PassKind::Delta).await;
    stage.assert_there(&[("INBOX", &["other"]), ("New", &["one", "two", "three"])]);
    assert_eq!(delta.record.accounts.copied, 0);
    assert!(!stage.world.at_destination().list().iter().any(|folder| folder.path == "Old"));
}

#[tokio::test]
async fn a_new_label_is_not_taken_for_one_that_is_gone() {
    // The messages of both are in All Mail, whatever their labels are.
    let stage = Stage::new(|mailbox| mailbox.notes("Old", ["one", "two", "three"])).await;
    stage.settle(PassKind::Seed).await;
    let mut user = stage.gmail.connect("anna");
    user.delete_folder("Old");
    stage.gmail.deliver("anna", &["New"], &note("four"));
    stage.settle(PassKind::Delta).await;
    stage.assert_there(&[("All Mail", &["one", "two", "three"]), ("New", &["four"])]);
}

#[tokio::test]
async fn many_messages_with_many_labels_arrive_exactly_over_several_connections() {
    let labels = ["INBOX", "A", "A/B", "Ü", "Lists/rust & co"];
    let stage = Stage::new(move |mailbox| {
        (0..200).fold(mailbox, |mailbox, n| {
            let of = labels.iter().enumerate().filter(|(bit, _)| n >> bit & 1 == 1);
            let of: Vec<&str> = of.map(|(_, label)| *label).collect();
            mailbox.message(&of, &message(n, 11))
        })
    })
    .await;
    stage.settle(PassKind::Seed).await;
    let compared = stage.world.verify().await;
    assert!(compared.is_equal(), "{compared:?}");
    assert!(stage.world.at_destination().uids("Ü").len() > 50);
}

#[tokio::test]
async fn flags_and_stars_follow() {
    let stage = Stage::new(|mailbox| mailbox.message(&["INBOX", "Work"], &note("one"))).await;
    stage.settle(PassKind::Seed).await;
    let mut user = stage.gmail.connect("anna");
    let uids = user.uids("INBOX");
    user.store("INBOX", &uids, "+FLAGS (\\Flagged \\Seen)");
    stage.settle(PassKind::Delta).await;
    for folder in ["INBOX", "Work"] {
        let flags = stage.world.at_destination().messages(folder)[0].flags.clone();
        assert!(
            ["\\Flagged", "\\Seen"].iter().all(|f| flags.contains(&f.to_lowercase())),
            "{folder}: {flags:?}"
        );
    }
}

#[tokio::test]
async fn what_is_thrown_away_goes_to_the_trash_there_too() {
    let stage = Stage::new(two).await;
    stage.settle(PassKind::Seed).await;
    let mut user = stage.gmail.connect("anna");
    let uids = user.uids("INBOX");
    user.uid_move("INBOX", &uids[..1], "[Gmail]/Trash");
    let delta = stage.settle(PassKind::Delta).await;
    stage.assert_there(&[("INBOX", &["two"]), ("Trash", &["one"])]);
    assert_eq!(delta.record.accounts.copied, 0);
}

#[tokio::test]
async fn labels_become_keywords_of_a_message_that_is_copied_once() {
    let mut stage = Stage::new(|mailbox| {
        mailbox
            .message(&["INBOX", "Work", "Muy Importante"], &note("one"))
            .message(&["Work"], &note("two"))
    })
    .await;
    stage.labels(Labels::Keywords);
    stage.settle(PassKind::Seed).await;
    stage.assert_there(&[("All Mail", &["two"]), ("INBOX", &["one"])]);
    let keywords = |folder: &str| {
        let messages = stage.world.at_destination().messages(folder);
        messages[0].flags.iter().cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(keywords("INBOX"), "muy_importante work");
    // A label that goes is a flag that goes.
    let mut user = stage.gmail.connect("anna");
    let uids = user.uids("INBOX");
    user.select("INBOX");
    user.command(&format!("UID STORE {} -X-GM-LABELS (Work)", uids[0]));
    user.command(&format!("UID STORE {} +X-GM-LABELS (New)", uids[0]));
    stage.settle(PassKind::Delta).await;
    assert_eq!(keywords("INBOX"), "muy_importante new");
}

#[tokio::test]
async fn labels_that_become_keywords_hold_nobody_up_once_nobody_listens() {
    // More than fit into the channels between.
    let texts = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let mut stage = Stage::new(move |mailbox| mailbox.notes("INBOX", texts)).await;
    stage.labels(Labels::Keywords);
    let account = &stage.world.mailbox.source;
    let mut source = platform::source(account, &Options::default()).await.unwrap();
    let (epoch, items) = source.list(&inbox()).await.unwrap();
    let ids = items.iter().map(|item| item.id).collect();
    let (out, mut messages) = mpsc::channel(1);
    let leave = async {
        messages.recv().await.unwrap();
        messages.close();
    };
    let (inbox, memory) = (inbox(), Memory::new(1 << 20));
    let fetch = source.fetch(&inbox, epoch, &ids, &memory, &out);
    let both = async { tokio::join!(fetch, leave) };
    tokio::time::timeout(Duration::from_secs(20), both).await.expect("the fetch ends").0.unwrap();
}

#[tokio::test]
async fn an_account_that_hides_all_mail_is_not_seeded() {
    let stage =
        Stage::new(|mailbox| mailbox.message(&["INBOX"], &note("one")).hide("[Gmail]/All Mail"))
            .await;
    let error = stage.world.try_pass(PassKind::Seed).await.expect_err("it must not be seeded");
    assert_eq!(error.reason(), "MailHidden");
    assert!(error.remedy().contains("Show in IMAP"), "{}", error.remedy());
    assert!(matches!(error, Error::Platform { .. }), "{error}");
    stage.assert_there(&[]);
}

#[tokio::test]
async fn the_source_is_only_read() {
    let stage = Stage::new(three).await;
    let before = stage.gmail.counts("anna");
    stage.settle(PassKind::Seed).await;
    assert_eq!(stage.gmail.counts("anna"), before);
    for line in stage.gmail.heard() {
        let writes = ["SELECT ", "STORE", "APPEND", "COPY", "MOVE", "EXPUNGE", "CREATE", "DELETE"];
        assert!(!writes.iter().any(|word| line.to_uppercase().contains(word)), "{line}");
    }
}

#[tokio::test]
async fn both_sides_are_equal_for_verify() {
    let stage = Stage::new(three).await;
    stage.settle(PassKind::Seed).await;
    let compared = stage.world.verify().await;
    assert!(compared.is_equal(), "{compared:?}");
}

#[tokio::test]
async fn an_account_whose_folders_are_cut_loses_nothing_and_is_not_cut_over() {
    let mut stage = Stage::new(|mailbox| mailbox.notes("INBOX", 0..30).folder_limit(20)).await;
    let endpoint = Arc::make_mut(&mut stage.world.mailbox.source.endpoint);
    endpoint.platform = "gmail".into();
    endpoint.traits.windows = Some(vec![20]);
    let seed = stage.world.seed().await;
    assert_eq!(seed.record.accounts.copied, 20);
    assert!(seed.record.in_part > 0, "{:?}", seed.record);
    // What comes pushes what is older out of sight.
    stage.gmail.deliver("anna", &["INBOX"], &note("new"));
    let delta = stage.world.delta().await;
    assert_eq!((delta.record.accounts.copied, delta.record.removed), (1, 0));
    let error = stage.world.try_pass(PassKind::Final).await.expect_err("it must not be cut over");
    assert_eq!(error.reason(), "PartialView");
    assert!(error.remedy().contains("Do not limit the number of messages"), "{}", error.remedy());
}
