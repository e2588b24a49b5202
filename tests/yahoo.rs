//! Yahoo and AOL, against a stand-in: none can be run here. A window of 20 messages stands for that
//! of 10,000, and seven messages a command for a thousand.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use drover::definition::MaxDelete;
use drover::model::PassKind;
use drover::platform::Retry;
use support::mail::Mail;
use support::proxy::{Proxy, Then, What, When};
use support::standin::{Builder, MailboxBuilder, Standin};
use support::{Dovecot, Drover, Imap, World, definition, note, subjects};

const WINDOW: usize = 20;

fn yahoo() -> Builder {
    Standin::yahoo().window(WINDOW, 7)
}

/// A server that does not let UIDs alone be spoken of: it shows its window.
fn windowed() -> Builder {
    yahoo().without("UIDONLY").without("X-UIDONLY")
}

fn fifty(mailbox: MailboxBuilder) -> MailboxBuilder {
    mailbox.notes("INBOX", 1..=50)
}

/// `anna` at Yahoo, and at a Dovecot where all of it is to be carried, removals too.
struct Stage {
    yahoo: Standin,
    world: World,
}

impl Stage {
    async fn new(
        yahoo: Builder,
        fill: impl FnOnce(MailboxBuilder) -> MailboxBuilder + 'static,
    ) -> Self {
        let yahoo = yahoo.user("anna", fill).start();
        let mut world = World::between(Dovecot::start(), Dovecot::start()).await;
        world.mailbox.carry.deletes = true;
        world.mailbox.carry.max_delete = MaxDelete::Percent(100.0);
        let endpoint = Arc::make_mut(&mut world.mailbox.source.endpoint);
        (endpoint.host, endpoint.port) = ("127.0.0.1".into(), yahoo.port());
        endpoint.platform = "yahoo".into();
        endpoint.traits.windows = Some(vec![WINDOW as u64]);
        Self { yahoo, world }
    }

    fn accept_partial(&mut self) {
        let endpoint = Arc::make_mut(&mut self.world.mailbox.source.endpoint);
        endpoint.traits.accepts_partial = true;
    }

    /// A client to which nothing is hidden.
    fn user(&self) -> Imap {
        let mut user = self.yahoo.connect("anna");
        user.command("ENABLE UIDONLY");
        user
    }

    fn there(&self, folder: &str) -> Vec<String> {
        subjects(&mut self.world.at_destination(), folder)
    }
}

fn numbers(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|n| n.to_string()).collect()
}

/// The id of the `n`th message of a folder; the stand-in leaves gaps.
fn uid(n: u32) -> u32 {
    107 + 3 * (n - 1)
}

#[tokio::test]
async fn what_lies_beyond_the_window_is_seeded_in_its_order() {
    let stage = Stage::new(yahoo(), fifty).await;
    let report = stage.world.seed().await;
    assert_eq!(stage.there("INBOX"), numbers(1..=50));
    assert_eq!((report.record.accounts.copied, report.record.in_part), (50, 0));
    assert!(stage.world.delta().await.quiet);
    let compared = stage.world.verify().await;
    assert!(compared.is_equal(), "{compared:?}");
}

#[tokio::test]
async fn a_count_that_tells_the_window_only_is_not_believed() {
    // STATUS was seen to tell either; the folder as it was opened tells all here.
    for builder in [yahoo(), yahoo().status_counts_all()] {
        let stage = Stage::new(builder, fifty).await;
        stage.world.seed().await;
        let delta = stage.world.delta().await;
        assert_eq!((delta.record.removed, delta.record.accounts.seen), (0, 50));
    }
}

#[tokio::test]
async fn mail_flags_moves_and_removals_follow_wherever_they_lie() {
    let stage = Stage::new(yahoo(), fifty).await;
    stage.world.seed().await;
    let mut user = stage.user();
    user.command("SELECT INBOX");
    user.command(&format!("UID STORE {} +FLAGS.SILENT (\\Flagged)", uid(3)));
    user.command(&format!("UID MOVE {} Archive", uid(4)));
    user.command(&format!("UID STORE {},{} +FLAGS.SILENT (\\Deleted)", uid(5), uid(50)));
    user.command(&format!("UID EXPUNGE {},{}", uid(5), uid(50)));
    stage.yahoo.deliver("anna", &["INBOX"], &note("new"));
    let delta = stage.world.delta().await.record;
    let counted = (delta.accounts.copied, delta.flag_changes, delta.moves, delta.removed);
    assert_eq!(counted, (1, 1, 1, 2));
    let mut left = numbers((1..=3).chain(6..=49));
    left.push("new".into());
    assert_eq!(stage.there("INBOX"), left);
    assert_eq!(stage.there("Archive"), ["4"]);
    assert!(stage.world.at_destination().messages("INBOX")[2].flags.contains("\\flagged"));
    assert!(stage.world.delta().await.quiet);
}

#[tokio::test]
async fn no_command_is_about_more_messages_than_the_server_does_at_once() {
    let stage = Stage::new(yahoo(), fifty).await;
    stage.world.seed().await;
    let uids: Vec<String> = (1..=20).map(|n| uid(n).to_string()).collect();
    let mut user = stage.user();
    user.command("SELECT INBOX");
    for uid in uids {
        user.command(&format!("UID STORE {uid} +FLAGS.SILENT (\\Seen)"));
        user.command(&format!("UID MOVE {uid} Archive"));
    }
    stage.world.delta().await;
    stage.world.verify().await;
    assert_eq!(stage.yahoo.largest(), 7);
    let heard = stage.yahoo.heard();
    let numbered = ["FETCH", "SEARCH", "STORE", "UID SEARCH"];
    assert!(!heard.iter().any(|verb| numbered.contains(&verb.as_str())), "{heard:?}");
}

#[tokio::test]
async fn a_folder_that_is_exactly_as_large_as_the_window_is_whole_where_all_is_shown() {
    let stage = Stage::new(yahoo(), |m| m.notes("INBOX", 1..=20)).await;
    stage.world.seed().await;
    assert_eq!(stage.world.pass(PassKind::Final).await.record.in_part, 0);
}

#[tokio::test]
async fn what_slides_out_of_a_window_is_not_removed() {
    let stage = Stage::new(windowed(), fifty).await;
    let seed = stage.world.seed().await;
    assert_eq!((seed.record.accounts.copied, seed.record.in_part), (20, 1));
    assert!(seed.notes.iter().any(|note| note.contains("in part")), "{:?}", seed.notes);
    for n in 51..=55 {
        stage.yahoo.deliver("anna", &["INBOX"], &note(&n.to_string()));
    }
    let delta = stage.world.delta().await.record;
    assert_eq!((delta.accounts.copied, delta.removed, delta.in_part), (5, 0, 1));
    assert_eq!(stage.there("INBOX"), numbers(31..=55));
}

#[tokio::test]
async fn nothing_is_removed_anywhere_while_a_folder_is_a_window() {
    let stage = Stage::new(windowed(), |m| fifty(m).notes("Work", ["kept"])).await;
    stage.world.seed().await;
    let mut user = stage.yahoo.connect("anna");
    let uids = user.uids("Work");
    user.store("Work", &uids, "+FLAGS (\\Deleted)");
    user.expunge_uids("Work", &uids);
    assert_eq!(stage.world.delta().await.record.removed, 0);
    assert_eq!(stage.there("Work"), ["kept"]);
}

#[tokio::test]
async fn the_final_pass_over_a_window_is_refused_and_says_where_more_is_shown() {
    let mut stage = Stage::new(windowed(), fifty).await;
    stage.world.seed().await;
    let error = stage.world.try_pass(PassKind::Final).await.expect_err("it must be refused");
    assert_eq!(error.reason(), "PartialView");
    assert!(error.remedy().contains("export.imap.mail.yahoo.com"), "{}", error.remedy());
    stage.accept_partial();
    assert_eq!(stage.world.pass(PassKind::Final).await.record.in_part, 1);
}

#[tokio::test]
async fn verify_says_what_it_was_not_shown() {
    let stage = Stage::new(windowed(), fifty).await;
    stage.world.seed().await;
    let compared = stage.world.verify().await;
    let inbox = compared.folders.iter().find(|folder| folder.destination == "INBOX").unwrap();
    assert_eq!((inbox.expected, inbox.in_part.clone()), (20, vec!["INBOX".to_owned()]));
}

#[tokio::test]
async fn a_pass_that_is_interrupted_goes_on_where_it_was() {
    let mut stage = Stage::new(yahoo(), fifty).await;
    let proxy = stage.world.tap_destination();
    proxy.cut_answers_of_appends(true);
    stage.world.try_pass(PassKind::Seed).await.expect_err("it must be interrupted");
    proxy.cut_answers_of_appends(false);
    stage.world.seed().await;
    assert_eq!(stage.there("INBOX"), numbers(1..=50));
}

/// Counts these commands.
fn count(tap: &Proxy, which: When) -> Arc<AtomicUsize> {
    let n = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&n);
    let count = move || {
        counter.fetch_add(1, Ordering::SeqCst);
        Then::GoOn
    };
    tap.always(which, What::call(count));
    n
}

/// Two messages that only their content tells apart, of the same size.
fn alike(content: &str) -> Mail {
    let mut mail = note("alike");
    let head = "Date: Thu, 1 Jan 2026 10:00:00 +0000\r\nFrom: bo@a.example\r\nSubject: alike\r\n";
    mail.bytes = format!("{head}\r\n{content}\r\n").into_bytes();
    mail
}

#[tokio::test]
async fn what_is_moved_is_known_by_its_emailid_without_being_read() {
    // RFC 8474, 5.1: it stays when a message is moved.
    for (knows, builder) in [(true, yahoo()), (false, yahoo().without("OBJECTID"))] {
        let fill = |m: MailboxBuilder| {
            m.message(&["INBOX"], &alike("first")).message(&["INBOX"], &alike("other"))
        };
        let mut stage = Stage::new(builder, fill).await;
        let tap = stage.world.tap_source();
        stage.world.seed().await;
        let mut user = stage.user();
        user.command("SELECT INBOX");
        user.command(&format!("UID MOVE {} Archive", uid(2)));
        user.command(&format!("UID MOVE {} Sent", uid(1)));
        let read = count(&tap, When::verb("UID FETCH").containing("BODY.PEEK[])"));
        let delta = stage.world.delta().await.record;
        assert_eq!((delta.moves, delta.accounts.copied), (2, 0));
        assert_eq!(read.load(Ordering::SeqCst) == 0, knows);
        for (folder, content) in [("Archive", "other"), ("Sent", "first")] {
            let there = stage.world.at_destination().messages(folder);
            assert!(String::from_utf8_lossy(&there[0].body).contains(content), "{folder}");
        }
    }
}

#[tokio::test]
async fn a_small_body_in_quotes_is_copied_as_it_is() {
    let mut bare = note("bare");
    bare.bytes = b"X-Nothing: but a header without an end".to_vec();
    let fill = move |m: MailboxBuilder| m.message(&["INBOX"], &bare).notes("INBOX", ["two"]);
    let stage = Stage::new(yahoo(), fill).await;
    stage.world.seed().await;
    assert_eq!(stage.world.at_destination().uids("INBOX").len(), 2);
    let compared = stage.world.verify().await;
    assert!(compared.is_equal(), "{compared:?}");
}

#[tokio::test]
async fn trouble_of_the_server_s_own_holds_nothing_against_a_message() {
    for trouble in ["NO [SERVERBUG] FETCH Server error", "NO [UNAVAILABLE] FETCH Try again later"] {
        let mut stage = Stage::new(yahoo(), fifty).await;
        let tap = stage.world.tap_source();
        let bodies = || When::verb("UID FETCH").containing("BODY.PEEK[])");
        let asked = count(&tap, bodies());
        tap.set(bodies().nth(3), What::answer(trouble));
        if let Err(error) = stage.world.try_pass(PassKind::Seed).await {
            assert_ne!(error.retry(), Retry::Never, "{error}");
            stage.world.seed().await;
        }
        assert!(asked.load(Ordering::SeqCst) > 8, "it was asked once more: {asked:?}");
        let failures = stage.world.context().ledger.failures(&stage.world.key()).await.unwrap();
        assert!(failures.is_empty(), "{failures:?}");
        assert_eq!(stage.there("INBOX"), numbers(1..=50));
    }
}

#[tokio::test]
async fn a_connection_that_breaks_within_an_answer_is_taken_up_again() {
    let mut stage = Stage::new(yahoo(), fifty).await;
    let tap = stage.world.tap_source();
    let answer = When::verb("UID FETCH").containing("BODY.PEEK[])").nth(3).in_answer();
    tap.set(answer, What::Cut);
    let seed = stage.world.seed().await.record.accounts;
    assert_eq!((seed.copied, seed.failed), (50, 0));
    assert_eq!(stage.there("INBOX"), numbers(1..=50));
}

#[tokio::test]
async fn a_message_without_a_last_line_end_is_brought_there_with_one() {
    let yahoo = yahoo().user("anna", |mailbox| mailbox).start();
    let mut world = World::new().await;
    let endpoint = Arc::make_mut(&mut world.mailbox.destination.endpoint);
    (endpoint.host, endpoint.port) = ("127.0.0.1".into(), yahoo.port());
    let mut cut = note("cut");
    cut.bytes.truncate(cut.bytes.len() - 2);
    world.at_source().append_many("INBOX", &[note("one"), cut, note("three")]);
    world.seed().await;
    assert_eq!(yahoo.counts("anna")["INBOX"], 3);
    let compared = world.verify().await;
    assert!(compared.is_equal(), "{compared:?}");
    assert!(world.delta().await.quiet);
}

#[tokio::test]
async fn messages_are_moved_there_one_by_one() {
    let yahoo = yahoo().user("anna", |mailbox| mailbox).start();
    let mut world = World::mirroring().await;
    let endpoint = Arc::make_mut(&mut world.mailbox.destination.endpoint);
    (endpoint.host, endpoint.port) = ("127.0.0.1".into(), yahoo.port());
    let mails: Vec<_> = (1..=4).map(|n| note(&n.to_string())).collect();
    let uids = world.at_source().append_many("INBOX", &mails);
    world.at_source().create("Work");
    world.seed().await;
    world.at_source().uid_move("INBOX", &uids[..3], "Work");
    let delta = world.delta().await.record;
    assert_eq!((delta.moves, delta.accounts.copied), (3, 0));
    assert_eq!(yahoo.heard().iter().filter(|verb| verb.starts_with("UID MOVE")).count(), 3);
    assert!(world.verify().await.is_equal());
}

#[test]
fn the_daemon_does_not_cut_over_on_a_window() {
    let yahoo = windowed().user("anna", fifty).start();
    let (unused, destination) = (Dovecot::start(), Dovecot::start());
    let more = "[sync]\nevery = \"1s\"\n[cutover]\nat = 2026-01-01T00:00:00Z\ntail = \"1s\"";
    let text = definition(&unused, &destination, "anna", more)
        .replace(&format!("port = {}", unused.port()), &format!("port = {}", yahoo.port()))
        .replace(unused.host(), "127.0.0.1");
    let windowed = text.replacen("[source]\n", "[source]\nwindow = 20\n", 1);
    let mut drover = Drover::new();
    drover.define("acme", &windowed);
    drover.start();
    drover.until_phase("acme", "blocked");
    assert!(drover.mailbox("acme").to_string().contains("PartialView"));
    let accepting = windowed.replacen("[source]\n", "[source]\npartial = \"accept\"\n", 1);
    drover.define("acme", &accepting);
    drover.until_phase("acme", "complete");
    assert_eq!(destination.connect("anna").uids("INBOX").len(), WINDOW);
}
