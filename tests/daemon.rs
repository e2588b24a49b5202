//! `drover run`: what is declared becomes so, and one bad thing stays one bad thing (laws 7, 8).

mod support;

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use support::mail::{self, FOLDERS};
use support::{Dovecot, Drover, Options, assert_same, definition, note, snapshot, subjects};

const OFTEN: &str = "[sync]\nevery = \"1s\"";

fn same(source: &Dovecot, destination: &Dovecot, user: &str) {
    let (ours, theirs) = (&mut source.connect(user), &mut destination.connect(user));
    assert_same(&snapshot(ours), &snapshot(theirs), &Options::default());
}

#[test]
fn law_8_a_broken_definition_says_why_and_the_others_proceed() {
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    for user in ["anna", "bela", "cleo"] {
        source.connect(user).append_many("INBOX", &[note(user)]);
    }
    let mut drover = Drover::new();
    drover.define("one", &definition(&source, &destination, "anna", OFTEN));
    drover.define("two", &definition(&source, &destination, "bela", OFTEN));
    let good = definition(&source, &destination, "cleo", OFTEN);
    drover.define("three", &good.replace("every", "evry"));
    drover.start();
    drover.until_phase("one", "syncing");
    drover.until_phase("two", "syncing");
    // A file that was written a moment ago may still be being written: told a little later.
    let problem = |d: &Drover| {
        let three = d.migration("three");
        let problems = three["problems"].as_array().cloned().unwrap_or_default();
        problems.into_iter().find(|p| p["message"].as_str().is_some_and(|m| m.contains("`evry`")))
    };
    drover.until("the broken file", |d| problem(d).is_some());
    assert_eq!(drover.migration("three")["summary"], "Invalid");
    let line = problem(&drover).and_then(|p| p["line"].as_u64());
    let written = good.lines().position(|line| line.starts_with("every")).map(|n| n as u64 + 1);
    assert_eq!(line, written, "the line of the mistake");
    assert!(destination.connect("cleo").uids("INBOX").is_empty());

    drover.define("three", &good);
    let noticed =
        drover.until("the fixed definition", |d| d.migration("three")["summary"] != "Invalid");
    assert!(noticed < Duration::from_secs(2), "noticed after {noticed:?}");
    drover.until_phase("three", "syncing");

    // A file that breaks later leaves its last good version running.
    drover.define("three", "[source\n");
    drover.until("the broken file", |d| d.migration("three").to_string().contains("error:"));
    source.connect("cleo").append_many("INBOX", &[note("later")]);
    drover.until("mail by the last good version", |_| {
        destination.connect("cleo").uids("INBOX").len() == 2
    });
}

#[test]
fn a_directory_swapped_by_symbolic_link_is_picked_up() {
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    let mut drover = Drover::new();
    for version in ["v1", "v2"] {
        std::fs::create_dir(drover.path(version)).expect("make a directory");
    }
    let text = definition(&source, &destination, "anna", OFTEN);
    drover.write("v1/one.toml", &text);
    drover.write("v2/one.toml", &text);
    drover.write("v2/two.toml", &definition(&source, &destination, "bela", OFTEN));
    std::fs::remove_dir(drover.path("definitions")).expect("remove a directory");
    symlink("v1", drover.path("definitions")).expect("make a link");
    drover.start();
    drover.until_phase("one", "syncing");
    symlink("v2", drover.path("next")).expect("make a link");
    std::fs::rename(drover.path("next"), drover.path("definitions")).expect("swap the link");
    let noticed = drover.until("the new definition", |d| !d.migration("two").is_null());
    assert!(noticed < Duration::from_secs(2), "noticed after {noticed:?}");
    drover.until_phase("two", "syncing");
}

#[test]
fn a_removed_definition_stops_and_its_ledger_stays() {
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    source.connect("anna").append_many("INBOX", &[note("one"), note("two")]);
    let mut drover = Drover::new();
    let text = definition(&source, &destination, "anna", OFTEN);
    drover.define("one", &text);
    drover.define("other", &definition(&source, &destination, "bela", OFTEN));
    drover.define("third", &definition(&source, &destination, "cleo", OFTEN));
    drover.start();
    drover.until_phase("one", "syncing");
    // The user at the destination removes one: only the ledger knows that it was there.
    let mut there = destination.connect("anna");
    let uids = there.uids("INBOX");
    there.store("INBOX", &uids[..1], "+FLAGS (\\Deleted)");
    there.expunge_uids("INBOX", &uids[..1]);
    std::fs::remove_file(drover.path("definitions/one.toml")).expect("remove a file");
    drover.until("the removal", |d| d.migration("one").is_null());
    source.connect("anna").append_many("INBOX", &[note("three")]);
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(subjects(&mut there, "INBOX"), ["two"], "no pass ran");
    // Under another name: the ledger belongs to the accounts, not to the file.
    drover.define("renamed", &text);
    drover.until("the new mail", |_| subjects(&mut there, "INBOX") == ["two", "three"]);
}

#[test]
fn many_definitions_that_vanish_at_once_are_held() {
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    let mut drover = Drover::new();
    for user in ["anna", "bela", "cleo"] {
        drover.define(user, &definition(&source, &destination, user, OFTEN));
    }
    drover.start();
    drover.until_phase("anna", "syncing");
    std::fs::rename(drover.path("definitions"), drover.path("unmounted")).expect("move it away");
    drover.until("the hold", |d| !d.status()["daemon"]["held"].is_null());
    source.connect("anna").append_many("INBOX", &[note("meanwhile")]);
    drover.until("passes go on", |_| destination.connect("anna").uids("INBOX").len() == 1);
    std::fs::rename(drover.path("unmounted"), drover.path("definitions")).expect("bring it back");
    drover.until("no hold", |d| d.status()["daemon"]["held"].is_null());
    assert_eq!(drover.status()["migrations"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_suspended_migration_runs_no_pass_until_it_is_resumed() {
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    source.connect("anna").append_many("INBOX", &[note("one")]);
    let mut drover = Drover::new();
    let text = definition(&source, &destination, "anna", OFTEN);
    drover.define("one", &format!("suspend = true\n{text}"));
    drover.start();
    drover.until_phase("one", "suspended");
    std::thread::sleep(Duration::from_millis(1_200));
    assert!(destination.connect("anna").uids("INBOX").is_empty());
    drover.define("one", &text);
    drover.until_phase("one", "syncing");
    same(&source, &destination, "anna");
}

#[test]
fn a_second_drover_on_the_same_state_is_refused() {
    let mut drover = Drover::new();
    drover.start();
    let output = drover.run(&["run"]);
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
    // Even if it could have a socket of its own.
    drover.write(
        "config.toml",
        "definitions = \"definitions\"\nstate = \"state\"\nsocket = \"other.sock\"\n",
    );
    let output = drover.run(&["run"]);
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn law_7_a_stop_in_the_middle_of_a_seed_takes_seconds_and_costs_only_time() {
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    mail::fill(&mut source.connect("anna"), 600, &FOLDERS[..6], 21);
    let mut drover = Drover::new();
    // Slow enough to be caught in the middle.
    let slow = "[sync]\nevery = \"1s\"\nrate = \"150KiB/s\"";
    drover.define("one", &definition(&source, &destination, "anna", slow));
    drover.start();
    drover.until("half of it", |d| {
        d.mailbox("one")["progress"]["messages"].as_u64().is_some_and(|n| n > 50)
    });
    let took = drover.stop();
    assert!(took < Duration::from_secs(8), "stopped after {took:?}");
    let there = snapshot(&mut destination.connect("anna"));
    let arrived: usize = there.values().map(Vec::len).sum();
    assert!((1..600).contains(&arrived), "{arrived} had arrived");
    drover.define("one", &definition(&source, &destination, "anna", OFTEN));
    drover.start();
    drover.until_phase("one", "syncing");
    same(&source, &destination, "anna");
}

#[test]
fn law_8_refused_credentials_block_one_mailbox_until_the_secret_changes() {
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    for user in ["anna", "bela"] {
        source.connect(user).append_many("INBOX", &[note(user)]);
    }
    let mut drover = Drover::new();
    drover.write("secrets/anna", "wrong\n");
    let text = definition(&source, &destination, "anna", OFTEN);
    drover.define(
        "bad",
        &text.replacen(r#"command = ["echo", "pw"]"#, r#"file = "../secrets/anna""#, 1),
    );
    drover.define("good", &definition(&source, &destination, "bela", OFTEN));
    drover.start();
    drover.until_phase("good", "syncing");
    drover.until_phase("bad", "blocked");
    let bad = drover.mailbox("bad");
    assert_eq!(bad["reason"], "CredentialsRefused", "{bad:#}");
    let attempts = || source.log().matches("auth failed").count();
    let before = attempts();
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(attempts(), before, "refused credentials are not tried in a loop");
    drover.write("secrets/anna", "pw\n");
    drover.until_phase("bad", "syncing");
    same(&source, &destination, "anna");
}

#[test]
fn a_cutover_ends_in_complete_and_late_mail_is_drained() {
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    mail::fill(&mut source.connect("anna"), 60, &FOLDERS[..4], 22);
    let mut drover = Drover::new();
    drover.define("one", &definition(&source, &destination, "anna", OFTEN));
    drover.start();
    drover.until_phase("one", "syncing");
    source.connect("anna").append_many("INBOX", &[note("last minute")]);
    let cut = format!("{OFTEN}\n[cutover]\nat = 2026-01-01T00:00:00Z\ntail = \"6s\"");
    drover.define("one", &definition(&source, &destination, "anna", &cut));
    drover.until_phase("one", "draining");
    same(&source, &destination, "anna");
    drover.expect(0, &["verify", "one"]);
    source.connect("anna").append_many("INBOX", &[note("late")]);
    drover.until("the late mail", |_| {
        subjects(&mut destination.connect("anna"), "INBOX").contains(&"late".to_owned())
    });
    drover.until_phase("one", "complete");
    assert_eq!(drover.migration("one")["summary"], "Complete");
    // No pass runs again.
    source.connect("anna").append_many("INBOX", &[note("too late")]);
    std::thread::sleep(Duration::from_millis(1_500));
    let there = subjects(&mut destination.connect("anna"), "INBOX");
    assert!(!there.contains(&"too late".to_owned()));
}

#[test]
fn systemd_is_told_when_it_is_ready_and_when_it_stops() {
    let mut drover = Drover::new();
    let path = drover.path("notify");
    let socket = UnixDatagram::bind(&path).expect("bind a socket");
    socket.set_read_timeout(Some(Duration::from_secs(20))).expect("set a timeout");
    drover.start_with(&[("NOTIFY_SOCKET", &path)]);
    let mut told = String::new();
    let mut hear = |wanted: &str| {
        let mut bytes = [0; 4096];
        while !told.contains(wanted) {
            let n = socket.recv(&mut bytes).unwrap_or_else(|e| panic!("no {wanted}: {e}: {told}"));
            told.push_str(&String::from_utf8_lossy(&bytes[..n]));
            told.push('\n');
        }
    };
    hear("READY=1");
    hear("STATUS=");
    drover.signal("HUP");
    hear("RELOADING=1");
    drover.signal("TERM");
    hear("STOPPING=1");
    assert_eq!(drover.wait(), Some(0));
}
