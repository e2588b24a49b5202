//! A manifest stands for the source once that is gone.

mod support;

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use support::{Dovecot, Drover, definition, note};

/// A migrated mailbox with three messages in INBOX and one in Deep/er, and its manifest `m`.
struct Migrated {
    source: Dovecot,
    destination: Dovecot,
    drover: Drover,
}

fn migrated() -> Migrated {
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    let drover = Drover::new();
    drover.define("move", &definition(&source, &destination, "anna", ""));
    let mut here = source.connect("anna");
    let mut seen = note("b");
    seen.flags = "\\Seen".into();
    here.append_many("INBOX", &[note("a"), seen, note("c")]);
    here.create("Deep/er");
    here.append_many("Deep/er", &[note("d")]);
    drover.expect(0, &["sync", "move"]);
    drover.expect(0, &["verify", "move", "--write-manifest", "m"]);
    Migrated { source, destination, drover }
}

impl Migrated {
    fn text(&self) -> String {
        std::fs::read_to_string(self.drover.path("m")).expect("read the manifest")
    }

    /// What the re-check says, as JSON; it ends with `code`.
    #[track_caller]
    fn recheck(&self, code: i32) -> Value {
        let out = self.drover.expect(code, &["verify", "move", "--manifest", "m", "-o", "json"]);
        serde_json::from_str(&out).expect("JSON")
    }
}

#[test]
fn the_destination_is_checked_after_the_source_is_gone_with_a_daemon_and_without() {
    let mut world = migrated();
    world.source.stop();
    let said = world.drover.expect(0, &["verify", "move", "--manifest", "m"]);
    assert!(
        said.contains("equal: 4 messages in 2 folders of the manifest of imap://anna@"),
        "{said}"
    );
    world.drover.start();
    world.drover.expect(0, &["verify", "move", "--manifest", "m"]);

    let mut there = world.destination.connect("anna");
    let uids = there.uids("INBOX");
    there.store("INBOX", &uids[1..2], "-FLAGS (\\Seen)");
    there.expunge_uids("INBOX", &uids[..1]);
    there.append_many("Deep/er", &[note("d"), note("the user's own")]);
    let json = world.recheck(2);
    let folders = json[0]["comparison"]["folders"].as_array().expect("folders");
    let inbox = folders.iter().find(|f| f["destination"] == "INBOX").expect("INBOX");
    assert_eq!((&inbox["missing"], &inbox["flags_differ"]), (&1.into(), &1.into()), "{inbox}");
    assert_eq!(inbox["differences"][0]["message_id"], "a@notes.example");
    let deep = folders.iter().find(|f| f["destination"] == "Deep/er").expect("Deep/er");
    assert_eq!((&deep["duplicated"], &deep["others"]), (&1.into(), &1.into()), "{deep}");
}

#[test]
fn it_is_the_same_written_by_the_daemon_and_again_but_for_its_date() {
    let mut world = migrated();
    let body = |text: &str| -> Vec<String> {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines[1..lines.len() - 1].to_vec()
    };
    let first = world.text();
    let mode = std::fs::metadata(world.drover.path("m")).expect("the manifest").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    world.drover.start();
    world.drover.expect(0, &["verify", "move", "--write-manifest", "m"]);
    let second = world.text();
    assert_eq!(body(&first), body(&second));
    assert_eq!(first.lines().count(), 1 + 4 + 2 + 1);
    assert!(first.contains("\"message_id\":\"b@notes.example\"") && first.contains("\\\\Seen"));
    assert!(!first.contains("pw"), "no secret stands in a manifest");
}

#[test]
fn one_that_was_altered_cut_or_is_anothers_is_refused_and_says_where() {
    let world = migrated();
    let good = world.text();
    let refused = |text: &str, says: &str| {
        world.drover.write("m", text);
        let output = world.drover.run(&["verify", "move", "--manifest", "m"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(says), "{said}");
    };
    refused(&good.replacen("a@notes", "x@notes", 1), "line 8: the digest is not that");
    refused(&good[..good.len() / 2], "the manifest was cut");
    refused(&good.replace("@127.0.0.1", "@127.0.0.9"), "line 8: the digest is not that");
    refused("From a@b\n", "line 1: this is no manifest of drover");
    refused("", "line 1: the file is empty");

    let other = Drover::new();
    other.define("other", &definition(&world.source, &world.destination, "bert", ""));
    other.write("m", &good);
    let output = other.run(&["verify", "other", "--manifest", "m"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the manifest is about other accounts: line 1: imap://anna@"), "{said}");
}

#[test]
fn a_manifest_that_cannot_be_finished_is_not_written() {
    let mut world = migrated();
    let before = world.text();
    world.source.stop();
    world.drover.expect(1, &["verify", "move", "--write-manifest", "m"]);
    assert_eq!(world.text(), before, "the old one stays");
    let left = std::fs::read_dir(world.drover.path(".")).expect("a directory");
    let parts = left.flatten().filter(|e| e.file_name().to_string_lossy().contains(".part"));
    assert_eq!(parts.count(), 0);
}

#[test]
fn several_mailboxes_stand_in_one_manifest() {
    let (mut source, destination) = (Dovecot::start(), Dovecot::start());
    let drover = Drover::new();
    let more = "[[mailboxes]]\nsource = \"bert\"\ndestination = \"bert\"\n";
    drover.define("move", &definition(&source, &destination, "anna", more));
    source.connect("anna").append_many("INBOX", &[note("a")]);
    source.connect("bert").append_many("INBOX", &[note("b")]);
    drover.expect(0, &["sync", "move"]);
    drover.expect(0, &["verify", "move", "--write-manifest", "m"]);
    source.stop();
    drover.expect(0, &["verify", "move", "--manifest", "m"]);
    drover.expect(0, &["verify", "move/bert", "--manifest", "m"]);
    let mut there = destination.connect("bert");
    let uids = there.uids("INBOX");
    there.expunge_uids("INBOX", &uids);
    drover.expect(0, &["verify", "move/anna", "--manifest", "m"]);
    let said = drover.expect(2, &["verify", "move", "--manifest", "m"]);
    assert!(
        said.contains("move/bert: 1 difference") && said.contains("<b@notes.example>"),
        "{said}"
    );
}
