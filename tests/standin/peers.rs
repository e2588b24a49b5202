//! The stand-ins as others' clients see them. What a client must see stands in its script, below
//! `tests/peers/imap-clients/`; what it must have left behind stands here.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::mail::Mail;
use crate::support::standin::{Builder, MailboxBuilder};
use crate::support::{Standin, note};

/// Runs a scenario of a client's script against a server.
#[track_caller]
fn drive(script: &str, scenario: &str, server: &Standin) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let there = root.join("target/imap-clients");
    let script = root.join("tests/peers/imap-clients").join(script);
    let is_python = script.extension().is_some_and(|e| e == "py");
    let own = there.join("python/bin").join(if is_python { "python" } else { "node" });
    // The machine's Node.js, unless that was too old.
    let program = if is_python || own.exists() { own } else { PathBuf::from("node") };
    let mut command = Command::new(program);
    command.arg(&script).args([scenario, &server.port().to_string()]).stdin(Stdio::null());
    // A module is looked for beside the script, where nothing is installed.
    command.env("IMAPFLOW", there.join("node/node_modules/imapflow/dist/esm/imap-flow.js"));
    let out = command.output().unwrap_or_else(|e| {
        panic!("{}: {e}: run scripts/need-imap-clients.sh, as `make test` does", script.display())
    });
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{scenario} of {}: {said}", script.display());
}

fn quoted_password(mailbox: MailboxBuilder) -> MailboxBuilder {
    // What quotes badly.
    mailbox.password("p\"w\\")
}

fn report() -> Mail {
    note("report")
}

fn with_labels() -> Builder {
    Standin::gmail().user("anna", |mailbox| {
        mailbox
            .message(&["INBOX", "Wörk & Co", "[Gmail]/Important"], &report())
            .message(&[], &note("archived"))
            .token("good")
    })
}

#[test]
fn imaplib_finds_an_imap_server_in_each() {
    for builder in [Standin::plain(), Standin::gmail()] {
        drive("with_imaplib.py", "core", &builder.user("anna", quoted_password).start());
    }
}

#[test]
fn imaplib_is_refused_with_a_wrong_password() {
    let server = Standin::gmail().user("anna", quoted_password).start();
    drive("with_imaplib.py", "refused", &server);
    assert_eq!(server.connections("anna"), 0);
}

#[test]
fn imaplib_signs_in_with_a_token_after_one_that_is_bad() {
    for builder in [Standin::plain(), Standin::gmail(), Standin::yahoo()] {
        drive("with_imaplib.py", "token", &builder.user("anna", |m| m.token("good")).start());
    }
}

#[test]
fn imapclient_finds_an_imap_server_in_each() {
    for builder in [Standin::plain(), Standin::gmail()] {
        drive("with_imapclient.py", "core", &builder.user("anna", quoted_password).start());
    }
}

#[test]
fn imapclient_sees_only_what_changed() {
    for builder in [Standin::plain(), Standin::gmail()] {
        let server = builder.user("anna", |m| m.notes("INBOX", 1..=3)).start();
        drive("with_imapclient.py", "changed_since", &server);
    }
}

#[test]
fn imapclient_knows_gmail() {
    let server = with_labels().start();
    drive("with_imapclient.py", "gmail", &server);
    let stored = server.stored("anna");
    let [report, archived] = &stored[..] else { panic!("{stored:?}") };
    let labels: Vec<_> = report.labels.iter().map(String::as_str).collect();
    assert_eq!(labels, ["[Gmail]/Trash", "Ümlaut"]);
    assert!(archived.labels.is_empty());
}

#[test]
fn imapclient_knows_microsoft_365() {
    let server = Standin::microsoft365().user("anna", |m| m.token("good")).start();
    drive("with_imapclient.py", "microsoft365", &server);
}

#[test]
fn imapclient_knows_yahoo() {
    let server = Standin::yahoo().window(10, 4).user("anna", |m| m.notes("INBOX", 1..=12)).start();
    drive("with_imapclient.py", "yahoo", &server);
}

#[test]
fn imapflow_finds_an_imap_server_in_each() {
    for builder in [Standin::plain(), Standin::gmail()] {
        drive("with_imapflow.mjs", "core", &builder.user("anna", quoted_password).start());
    }
}

#[test]
fn imapflow_knows_gmail_in_german() {
    let server = Standin::gmail().in_german().user("anna", |mailbox| {
        mailbox
            .message(&["INBOX", "Wörk & Co", "[Google Mail]/Wichtig"], &report())
            .message(&[], &note("archived"))
            .token("good")
    });
    drive("with_imapflow.mjs", "gmail", &server.start());
}

#[test]
fn imapflow_knows_microsoft_365() {
    let server = Standin::microsoft365().user("anna", |m| m.token("good")).start();
    drive("with_imapflow.mjs", "microsoft365", &server);
}

#[test]
fn imapflow_knows_yahoo() {
    let server = Standin::yahoo()
        .window(10, 4)
        .user("anna", |mailbox| mailbox.notes("INBOX", 1..=12).token("good"));
    drive("with_imapflow.mjs", "yahoo", &server.start());
}
