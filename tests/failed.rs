//! `drover failed`: what could not be brought over, and another try.

mod support;

use serde_json::Value;
use support::mail::Mail;
use support::{Dovecot, Drover, definition, note};

fn large() -> Mail {
    let mut large = note("large");
    large.bytes.extend(std::iter::repeat_n(*b"0123456789abcde\r\n", 4000).flatten());
    large
}

/// A mailbox of which one message is too large for the destination; the seed has run.
fn one_too_large() -> (Dovecot, Dovecot, Drover) {
    let (source, destination) = (Dovecot::start(), Dovecot::builder().max_size("20k").start());
    let drover = Drover::new();
    let every = "[sync]\nevery = \"1h\"\n";
    drover.define("move", &definition(&source, &destination, "anna", every));
    source.connect("anna").append_many("INBOX", &[note("small"), large()]);
    drover.expect(3, &["sync", "move"]);
    (source, destination, drover)
}

#[track_caller]
fn failed(drover: &Drover, code: i32, more: &[&str]) -> Value {
    let out = drover.expect(code, &[&["failed", "move", "-o", "json"], more].concat());
    serde_json::from_str(&out).expect("JSON")
}

#[test]
fn a_message_is_listed_with_all_that_names_it() {
    let (source, _destination, drover) = one_too_large();
    let listed = failed(&drover, 0, &[]);
    let one = &listed[0];
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!((&one["mailbox"], &one["folder"]), (&"move/anna".into(), &"INBOX".into()));
    assert_eq!(one["uid"], source.connect("anna").uids("INBOX")[1]);
    assert_eq!(one["message_id"], "large@notes.example");
    assert_eq!((&one["attempts"], &one["verdict"]), (&1.into(), &"failed".into()));
    assert!(one["size"].as_u64() > Some(60_000) && one["reason"].as_str() > Some(""), "{one}");
}

#[test]
fn a_retry_that_does_not_help_says_so() {
    let (_source, _destination, drover) = one_too_large();
    let said = drover.expect(3, &["failed", "move", "--retry"]);
    assert!(said.contains("1 message: 0 arrived"), "{said}");
    assert_eq!(failed(&drover, 0, &[])[0]["attempts"], 1, "it is counted anew");
}

#[test]
fn a_retry_tells_what_arrived_with_a_daemon_and_without() {
    for with_daemon in [false, true] {
        let (_source, mut destination, mut drover) = one_too_large();
        destination.reconfigure(|builder| builder.max_size("1M"));
        if with_daemon {
            drover.start();
            drover.until("it knows of the migration", |d| d.migration("move").is_object());
        }
        let listed = failed(&drover, 0, &["--retry"]);
        assert_eq!(listed[0]["verdict"], "arrived", "{listed}");
        assert_eq!(listed.as_array().map(Vec::len), Some(1));
        assert_eq!(destination.connect("anna").uids("INBOX").len(), 2);
        assert_eq!(failed(&drover, 0, &[]), serde_json::json!([]));
    }
}

#[test]
fn a_message_that_left_the_source_has_not_arrived() {
    let (source, _destination, drover) = one_too_large();
    let mut here = source.connect("anna");
    let uids = here.uids("INBOX");
    here.expunge_uids("INBOX", &uids[1..]);
    assert_eq!(failed(&drover, 0, &["--retry"])[0]["verdict"], "gone");
}

#[test]
fn a_retry_without_failures_runs_no_pass() {
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    let drover = Drover::new();
    drover.define("move", &definition(&source, &destination, "anna", ""));
    source.connect("anna").append_many("INBOX", &[note("a")]);
    drover.expect(0, &["failed", "move", "--retry"]);
    assert_eq!(destination.connect("anna").uids("INBOX").len(), 0);
}

#[test]
fn a_mailbox_that_cannot_be_tried_again_is_an_error() {
    let (mut source, _destination, drover) = one_too_large();
    source.stop();
    let said = drover.expect(1, &["failed", "move", "--retry"]);
    assert!(said.contains("Unreachable"), "{said}");
}
