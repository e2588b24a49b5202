//! `drover check --connect`: what would go wrong in a seed is said before it, and nothing is written.

mod support;

use serde_json::Value;
use support::drover::{BY_PASSWORD, loopback, mailbox};
use support::mail::Mail;
use support::standin::{MailboxBuilder, Standin};
use support::{Dovecot, Drover, note};

/// anna between two servers on these ports, both with the password `pw`.
struct Case {
    drover: Drover,
}

impl Case {
    fn new(source: (u16, &str), destination: (u16, &str)) -> Self {
        let side = |name, (port, more)| loopback(name, port) + BY_PASSWORD + more + "\n";
        let drover = Drover::new();
        let (source, destination) = (side("source", source), side("destination", destination));
        drover.define("move", &(source + &destination + &mailbox("anna", "anna")));
        Self { drover }
    }

    /// What people read, on one line.
    fn said(&self, code: i32) -> String {
        let said = self.drover.expect(code, &["check", "--connect"]);
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Levels and kinds of what was found.
    fn found(&self, code: i32) -> Vec<(String, String)> {
        let json = self.drover.expect(code, &["check", "--connect", "-o", "json"]);
        let json: Value = serde_json::from_str(&json).expect("JSON");
        let findings = json["connections"][0]["findings"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        findings.iter().map(|one| (text(&one["level"]), text(&one["kind"]))).collect()
    }
}

fn kinds(found: &[(&str, &str)]) -> Vec<(String, String)> {
    found.iter().map(|(level, kind)| ((*level).to_owned(), (*kind).to_owned())).collect()
}

/// A message of about this size, bytes.
fn large(subject: &str, bytes: usize) -> Mail {
    let mut mail = note(subject);
    let line = [&[b'x'; 70][..], b"\r\n"].concat();
    mail.bytes.extend(line.iter().cycle().take(bytes).copied());
    mail.bytes.extend(b"\r\n");
    mail
}

fn dovecot_with(mails: &[Mail]) -> Dovecot {
    let server = Dovecot::start();
    server.connect("anna").append_many("INBOX", mails);
    server
}

fn gmail(fill: impl FnOnce(MailboxBuilder) -> MailboxBuilder + 'static) -> Standin {
    Standin::gmail().user("anna", fill).start()
}

const GMAIL: &str = "platform = \"gmail\"";

#[test]
fn where_all_is_well_nothing_is_found() {
    let (source, destination) =
        (dovecot_with(&[note("one")]), Dovecot::builder().quota("1M").start());
    let case = Case::new((source.port(), ""), (destination.port(), ""));
    assert_eq!(case.found(0), []);
}

#[test]
fn a_destination_that_can_never_hold_the_source_is_an_error() {
    let source = dovecot_with(&[large("one", 900_000), large("two", 900_000)]);
    let destination = Dovecot::builder().quota("1M").start();
    let case = Case::new((source.port(), ""), (destination.port(), ""));
    let said = case.said(1);
    assert!(said.contains("error: the source holds 1.8 MB"), "{said}");
    assert!(said.contains("room for 1 MB of its 1 MB"), "{said}");
    assert!(said.contains("do: raise the destination account's quota"), "{said}");
    assert_eq!(case.found(1), kinds(&[("error", "QuotaTooSmall")]));
}

#[test]
fn a_destination_that_is_nearly_full_is_a_warning() {
    let source = dovecot_with(&[large("one", 600_000)]);
    let destination = Dovecot::builder().quota("1M").start();
    destination.connect("anna").append_many("INBOX", &[large("there", 600_000)]);
    let case = Case::new((source.port(), ""), (destination.port(), ""));
    assert_eq!(case.found(0), kinds(&[("warning", "QuotaTooSmall")]));
}

#[test]
fn messages_that_the_destination_will_not_take_are_counted() {
    let mails = [note("small"), large("one", 80_000), large("two", 90_000)];
    let (source, destination) = (dovecot_with(&mails), Dovecot::start());
    let limit = "max_message = \"50KiB\"";
    let case = Case::new((source.port(), ""), (destination.port(), limit));
    let said = case.said(0);
    assert!(said.contains("warning: 2 messages of the source are above 51.2 kB"), "{said}");
    assert_eq!(case.found(0), kinds(&[("warning", "MessagesTooLarge")]));
}

/// Sizes by a sample, too: neither server tells them at once.
#[test]
fn a_daily_budget_that_stretches_the_seed_is_told_in_days() {
    let mails: Vec<Mail> = (0..5).map(|n| large(&n.to_string(), 200_000)).collect();
    let told = dovecot_with(&mails);
    let asked = Dovecot::builder().hide(&["STATUS=SIZE"]).start();
    asked.connect("anna").append_many("INBOX", &mails);
    let destination = Dovecot::start();
    for source in [told, asked] {
        let budget = "daily_bytes = \"250kB\"";
        let case = Case::new((source.port(), ""), (destination.port(), budget));
        let said = case.said(0);
        let wanted = "notice: at 250 kB a day, which is what the destination allows, this seed takes \
                      5 days for 1 MB";
        assert!(said.contains(wanted), "{said}");
        assert_eq!(case.found(0), kinds(&[("notice", "SeedTakesDays")]));
    }
}

#[test]
fn a_gmail_account_whose_folders_are_cut_is_not_seeded_unawares() {
    let source = gmail(|anna| anna.notes("INBOX", 0..1003).folder_limit(1000));
    let destination = Dovecot::start();
    let case = Case::new((source.port(), GMAIL), (destination.port(), ""));
    let said = case.said(1);
    assert!(said.contains("All Mail shows exactly 1000 messages"), "{said}");
    assert!(said.contains("Do not limit the number of messages"), "{said}");
    assert_eq!(case.found(1), kinds(&[("error", "MailHidden")]));
}

#[test]
fn labels_that_gmail_hides_are_named() {
    let source = gmail(|anna| {
        anna.message(&["INBOX", "Secret plans"], &note("one"))
            .message(&["Work"], &note("two"))
            .hide("Secret plans")
            .hide("[Gmail]/Trash")
    });
    let destination = Dovecot::start();
    let case = Case::new((source.port(), GMAIL), (destination.port(), ""));
    let said = case.said(0);
    assert!(
        said.contains("labels that it does not show, which get lost: Secret plans do:"),
        "{said}"
    );
    assert!(said.contains("does not show Trash"), "{said}");
    assert!(said.contains("2 messages →"), "{said}");
    assert_eq!(case.found(0), kinds(&[("warning", "MailHidden"), ("warning", "LabelsHidden")]));
}

#[test]
fn a_gmail_account_without_all_mail_cannot_be_used() {
    let source = gmail(|anna| anna.notes("INBOX", ["one"]).hide("[Gmail]/All Mail"));
    let destination = Dovecot::start();
    let case = Case::new((source.port(), GMAIL), (destination.port(), ""));
    let said = case.said(1);
    assert!(said.contains("FAILED move/anna: MailHidden"), "{said}");
    assert!(said.contains("tick \"Show in IMAP\" for All Mail"), "{said}");
}

#[test]
fn a_folder_that_fills_yahoos_window_is_not_taken_for_all_of_it() {
    let server = Standin::yahoo().without("UIDONLY");
    let source = server.user("anna", |anna| anna.notes("INBOX", 0..10_005)).start();
    let destination = Dovecot::start();
    let case = Case::new((source.port(), "platform = \"yahoo\""), (destination.port(), ""));
    let said = case.said(1);
    assert!(said.contains("INBOX shows exactly 10000 messages"), "{said}");
    assert!(said.contains("export.imap.mail.yahoo.com"), "{said}");
}

#[test]
fn looking_writes_nothing_and_takes_few_commands() {
    let fill = |anna: MailboxBuilder| {
        (0..40).fold(anna, |anna, n| anna.notes(&format!("Folder {n}"), 0..3))
    };
    let source = gmail(fill);
    let destination = gmail(|anna| anna.notes("INBOX", ["there"]));
    let case = Case::new((source.port(), GMAIL), (destination.port(), GMAIL));
    case.said(0);
    let writes =
        ["SELECT", "APPEND", "CREATE", "STORE", "UID STORE", "SUBSCRIBE", "COPY", "RENAME"];
    for heard in [source.heard(), destination.heard()] {
        assert!(!heard.iter().any(|verb| writes.contains(&verb.as_str())), "{heard:?}");
        assert!(heard.len() < 25, "{heard:?}");
    }
}

#[test]
fn a_yahoo_account_that_is_shown_whole_is_weighed_and_one_that_is_not_is_told_of() {
    let filled = |mailbox: MailboxBuilder| {
        mailbox.password("pw").notes("INBOX", 0..30).message(&["INBOX"], &large("large", 3000))
    };
    let whole = Standin::yahoo().window(20, 7).user("anna", filled).start();
    let there = Dovecot::start();
    let yahoo = "platform = \"yahoo\"\nwindow = 20";
    let small = "max_message = \"2KiB\"";
    let found = Case::new((whole.port(), yahoo), (there.port(), small)).found(0);
    assert_eq!(found, kinds(&[("warning", "MessagesTooLarge")]));
    let part = Standin::yahoo().window(20, 7).without("UIDONLY").user("anna", filled).start();
    let found = Case::new((part.port(), yahoo), (there.port(), "")).found(1);
    assert_eq!(found, kinds(&[("error", "MailHidden")]));
}
