//! Losses that the operator accepts.

mod support;

use serde_json::Value;
use support::{Dovecot, Drover, definition, note};

/// A mailbox of which one message is too large for the destination, and a definition with `more`.
struct World {
    source: Dovecot,
    destination: Dovecot,
    drover: Drover,
}

impl World {
    fn new() -> Self {
        let (source, destination) = (Dovecot::start(), Dovecot::builder().max_size("20k").start());
        let world = Self { source, destination, drover: Drover::new() };
        world.declare("");
        let mut large = note("large");
        large.bytes.extend(std::iter::repeat_n(*b"0123456789abcde\r\n", 4000).flatten());
        world.source.connect("anna").append_many("INBOX", &[note("small"), large]);
        world
    }

    fn declare(&self, more: &str) {
        let more = format!("[sync]\nevery = \"1h\"\n[cutover]\nat = 2099-01-01T00:00:00Z\n{more}");
        self.drover.define("move", &definition(&self.source, &self.destination, "anna", &more));
    }

    #[track_caller]
    fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let out = self.drover.expect(code, &[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&out).expect("JSON")
    }

    fn condition(&self, kind: &str) -> Value {
        let migration = self.drover.migration("move");
        let conditions = migration["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|c| c["type"] == kind).unwrap_or(Value::Null)
    }
}

const BY_ID: &str = "[[accept]]\nmessage_id = \"<large@notes.example>\"\nreason = \"a video\"\n";

#[test]
fn what_is_lost_blocks_until_its_loss_is_accepted() {
    let world = World::new();
    for _ in 0..3 {
        world.drover.expect(3, &["sync", "move"]);
    }
    world.drover.expect(3, &["sync", "move"]);
    world.drover.expect(2, &["verify", "move"]);
    assert_eq!(world.drover.migration("move")["summary"], "NeedsAttention");
    assert_eq!(world.condition("CutoverReady")["reason"], "MessagesLost");
    assert_eq!(world.condition("Verified")["status"], "false");

    world.declare(BY_ID);
    let failed = world.json(0, &["failed", "move"]);
    assert_eq!(
        (&failed[0]["verdict"], &failed[0]["accepted"]),
        (&"accepted".into(), &"a video".into())
    );
    let said = world.drover.expect(0, &["failed", "move"]);
    assert!(said.contains("accepted: a video"), "{said}");
    let synced = world.json(0, &["sync", "move"]);
    let accounts = &synced[0]["pass"]["accounts"];
    assert_eq!((&accounts["skipped"], &accounts["accepted"]), (&1.into(), &1.into()));
    let verified = world.json(0, &["verify", "move"]);
    let inbox = &verified[0]["comparison"]["folders"][0];
    assert_eq!((&inbox["missing"], &inbox["accepted"]), (&0.into(), &1.into()), "{inbox}");
    assert_eq!(inbox["differences"][0]["detail"], "a video");
    assert_eq!(world.drover.migration("move")["summary"], "CutoverReady");
    assert_eq!(world.condition("CutoverReady")["status"], "true");
    assert_eq!(world.condition("Verified")["status"], "true");
    let mailbox = world.drover.mailbox("move");
    assert_eq!(mailbox["accept"][0]["message"], "<large@notes.example>");
    assert_eq!(mailbox["accept"][0]["reason"], "a video");
}

#[test]
fn an_accepted_message_is_tried_again_only_when_asked_for() {
    let mut world = World::new();
    world.declare(BY_ID);
    world.drover.expect(0, &["sync", "move"]);
    world.destination.reconfigure(|builder| builder.max_size("1M"));
    world.drover.expect(0, &["sync", "move"]);
    assert_eq!(world.destination.connect("anna").uids("INBOX").len(), 1);
    let failed = world.json(0, &["failed", "move", "--retry"]);
    assert_eq!(failed[0]["verdict"], "arrived");
    assert_eq!(world.destination.connect("anna").uids("INBOX").len(), 2);
    world.drover.expect(0, &["verify", "move"]);
}

#[test]
fn a_message_may_be_named_by_its_place() {
    let world = World::new();
    let uid = world.source.connect("anna").uids("INBOX")[1];
    let by_place = format!(
        "[[accept]]\nmailbox = \"anna\"\nfolder = \"INBOX\"\nuid = {uid}\nreason = \"a video\"\n"
    );
    world.declare(&by_place);
    world.drover.expect(0, &["sync", "move"]);
    world.drover.expect(0, &["verify", "move"]);
    assert_eq!(world.json(0, &["failed", "move"])[0]["verdict"], "accepted");
}

#[test]
fn an_entry_that_matches_nothing_is_mentioned() {
    let world = World::new();
    world.declare("[[accept]]\nmessage_id = \"no@such.example\"\nreason = \"?\"\n");
    world.drover.expect(3, &["sync", "move"]);
    let said = world.drover.expect(0, &["failed", "move"]);
    assert!(said.contains("`accept` names <no@such.example>, which has not failed"), "{said}");
    world.drover.expect(2, &["verify", "move"]);
}

#[test]
fn a_manifest_keeps_what_was_accepted() {
    let mut world = World::new();
    world.declare(BY_ID);
    world.drover.expect(0, &["sync", "move"]);
    world.drover.expect(0, &["verify", "move", "--write-manifest", "m"]);
    world.declare("");
    world.source.stop();
    let verified = world.json(0, &["verify", "move", "--manifest", "m"]);
    assert_eq!(verified[0]["comparison"]["folders"][0]["accepted"], 1);
}

/// What `drover check` says about an entry: line, message and help.
fn checked(entry: &str) -> Vec<(u64, String)> {
    let text = format!(
        "[source]\nhost = \"a\"\nauth = {{ password = {{ env = \"P\" }} }}\n\
         [destination]\nhost = \"b\"\nauth = {{ password = {{ env = \"P\" }} }}\n\
         [[mailboxes]]\nsource = \"alice@old\"\ndestination = \"alice@new\"\n{entry}"
    );
    let base = std::path::Path::new("/");
    match drover::definition::load_text("move", &text, base) {
        Ok(_) => Vec::new(),
        Err(rejected) => {
            let line = |d: &drover::definition::Diagnostic| {
                let help = d.help.clone().unwrap_or_default();
                (d.line.unwrap_or_default() as u64 - 9, format!("{}; {help}", d.message))
            };
            rejected.diagnostics.iter().map(line).collect()
        }
    }
}

#[test]
fn every_mistake_in_an_entry_is_shown_where_it_stands() {
    let entry = |keys: &str| format!("[[accept]]\n{}\n", keys.replace("; ", "\n"));
    let good = [
        "message_id = \"<a@b>\"; reason = \"spam\"",
        "message_id = \"a@b\"; mailbox = \"ALICE@old\"; reason = \"spam\"",
        "mailbox = \"alice@old\"; folder = \"INBOX\"; uid = 17; reason = \"spam\"",
    ];
    for keys in good {
        assert_eq!(checked(&entry(keys)), [], "{keys}");
    }
    let bad = [
        ("message_id = \"a@b\"", 1, "`reason` is missing"),
        ("message_id = \"a@b\"; reason = \" \"", 3, "the reason is empty"),
        ("reason = \"x\"", 1, "does not name a message"),
        ("message_id = \"<>\"; reason = \"x\"", 2, "no Message-ID"),
        ("message_id = \"a@b\"; uid = 1; reason = \"x\"", 1, "in two ways"),
        ("folder = \"INBOX\"; uid = 1; reason = \"x\"", 1, "`mailbox` is missing"),
        ("mailbox = \"alice@old\"; uid = 1; reason = \"x\"", 1, "does not name a message"),
        ("mailbox = \"alice@old\"; folder = \"A\"; uid = 0; reason = \"x\"", 4, "cannot be 0"),
        (
            "mailbox = \"alise@old\"; message_id = \"a@b\"; reason = \"x\"",
            2,
            "did you mean `alice@old`",
        ),
        ("mesage_id = \"a@b\"; reason = \"x\"", 2, "did you mean `message_id`"),
    ];
    for (keys, line, says) in bad {
        let found = checked(&entry(keys));
        assert!(
            found.iter().any(|(at, text)| *at == line && text.contains(says)),
            "{keys}: {found:?}"
        );
    }
    let twice = entry(good[0]).repeat(2);
    let found = checked(&twice);
    assert!(
        found.len() == 1 && found[0].0 == 4 && found[0].1.contains("move.toml:10"),
        "{found:?}"
    );
}
