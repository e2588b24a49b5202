//! The command line as people and scripts meet it: results, messages, exit codes.

mod support;

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::mail::{self, FOLDERS};
use support::{Dovecot, note};
use tempfile::TempDir;

/// How long a daemon may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory with settings, where commands run.
struct Place {
    dir: TempDir,
}

/// What a command said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Self {
        let place = Self { dir: TempDir::new().expect("make a directory") };
        let config = "definitions = \"definitions\"\nstate = \"state\"\nsocket = \"d.sock\"\n";
        place.write("config.toml", config);
        std::fs::create_dir(place.path("definitions")).expect("make a directory");
        place
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("make a directory");
        std::fs::write(path, text).expect("write a file");
    }

    /// A migration `move` of `users` between two servers, all with the password `pw`.
    fn define(&self, source: &Dovecot, destination: &Dovecot, users: &[&str]) {
        let side = |name: &str, server: &Dovecot| {
            format!(
                "[{name}]\nplatform = \"imap\"\nhost = \"{}\"\nport = {}\ntls = \"none\"\n\
                 auth = {{ method = \"password\", password = {{ file = \"../secret\" }} }}\n",
                server.host(),
                server.port()
            )
        };
        let mut text = side("source", source) + &side("destination", destination);
        text += "[sync]\nevery = \"1h\"\n";
        for user in users {
            text += &format!("[[mailboxes]]\nsource = \"{user}\"\ndestination = \"{user}\"\n");
        }
        self.secret("pw\n");
        self.write("definitions/move.toml", &text);
    }

    fn secret(&self, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        self.write("secret", text);
        let only_ours = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.path("secret"), only_ours).expect("close the secret");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_drover"));
        command.current_dir(self.dir.path()).env_remove("RUST_LOG").env("NO_COLOR", "1");
        command.args(["--config", "config.toml"]).args(args);
        command
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Said {
        said(self.command(args).output().expect("run drover"))
    }

    /// Runs a command that must end with this code.
    #[track_caller]
    fn expect(&self, code: i32, args: &[&str]) -> Said {
        let said = self.run(args);
        assert_eq!(said.code, code, "{args:?}\n{}\n{}", said.out, said.err);
        said
    }

    #[track_caller]
    fn json(&self, code: i32, args: &[&str]) -> Value {
        let said = self.expect(code, &[args, &["-o", "json"]].concat());
        serde_json::from_str(&said.out).unwrap_or_else(|e| panic!("{e}: {}", said.out))
    }

    fn daemon(&self) -> Daemon {
        let log = std::fs::File::create(self.path("log")).expect("make a log");
        let child = self.command(&["run"]).stdout(Stdio::null()).stderr(log).spawn();
        let daemon = Daemon { child: child.expect("start the daemon") };
        let deadline = Instant::now() + PATIENCE;
        while !self.path("d.sock").exists() {
            assert!(Instant::now() < deadline, "no socket: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until the phase of the first mailbox is this.
    #[track_caller]
    fn wait_for_phase(&self, phase: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.json(0, &["status"]);
            if status["mailboxes"][0]["phase"] == phase {
                return;
            }
            assert!(Instant::now() < deadline, "not {phase}: {status}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// A running daemon, stopped when dropped.
struct Daemon {
    child: Child,
}

impl Daemon {
    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.expect("run kill").success());
    }

    #[track_caller]
    fn stop(mut self) -> i32 {
        self.signal("-TERM");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("ask about a child") {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "the daemon does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn wrong_usage_ends_with_64_and_help_with_0() {
    let place = Place::new();
    for args in [&["fly"][..], &["sync"], &["status", "--wings"], &["-o", "xml", "status"], &[]] {
        let said = place.expect(64, args);
        assert!(said.out.is_empty() && said.err.contains("--help"), "{}", said.err);
    }
    let said = place.expect(0, &["--help"]);
    assert!(said.out.contains("Exit codes:"), "{}", said.out);
    assert!(place.expect(0, &["--version"]).out.starts_with("drover "));
}

#[test]
fn wrong_settings_end_with_78_and_show_where() {
    let place = Place::new();
    place.write("config.toml", "stat = \"x\"\n[limits]\nmailboxes = 0\n");
    for args in [&["run"][..], &["status"], &["check"], &["plan"]] {
        let said = place.expect(78, args);
        assert!(said.err.contains("config.toml:1:1"), "{}", said.err);
        assert!(said.err.contains("config.toml:3:13"), "{}", said.err);
    }
    std::fs::remove_file(place.path("config.toml")).expect("remove a file");
    assert!(place.expect(78, &["status"]).err.contains("cannot read the file"));
}

#[test]
fn check_tells_every_mistake_of_every_definition_at_once() {
    let place = Place::new();
    place.write("definitions/a.toml", "[source]\nplatfrom = \"imap\"\n");
    place.write("definitions/deep/b.toml", "= nothing\n");
    let said = place.expect(78, &["check"]);
    assert!(said.err.contains("did you mean `platform`?"), "{}", said.err);
    assert!(said.err.contains("b.toml:1:1"), "{}", said.err);
    assert!(said.out.starts_with("2 definitions: "), "{}", said.out);

    let json = place.json(78, &["check"]);
    assert_eq!(json["files"], 2);
    let diagnostics = json["diagnostics"].as_array().expect("an array");
    assert_eq!(json["errors"], diagnostics.len());
    assert!(diagnostics.iter().all(|d| d["severity"] == "error"));
    assert!(diagnostics.iter().any(|d| d["line"] == 2 && d["column"] == 1), "{json}");
}

#[test]
fn check_finds_what_is_wrong_between_definitions() {
    let place = Place::new();
    let side = |name: &str, host: &str| {
        format!(
            "[{name}]\nplatform = \"imap\"\nhost = \"{host}\"\nauth = {{ method = \
                 \"password\", password = {{ env = \"PW\" }} }}\n"
        )
    };
    let mailbox = "[[mailboxes]]\nsource = \"anna\"\ndestination = \"anna\"\n";
    let text = side("source", "old.example") + &side("destination", "new.example") + mailbox;
    place.write("definitions/a.toml", &text);
    assert_eq!(place.expect(0, &["check"]).out, "1 definition, 1 mailbox: good\n");

    place.write("definitions/x/b.toml", &text);
    let said = place.expect(78, &["check"]);
    assert!(said.err.contains("also a source of a.toml: `anna`"), "{}", said.err);
    assert!(said.err.contains("definitions/x/b.toml"), "{}", said.err);

    std::fs::rename(place.path("definitions/x/b.toml"), place.path("definitions/x/a.toml"))
        .expect("rename");
    let said = place.expect(78, &["check"]);
    assert!(said.err.contains("the migration's name is also taken by"), "{}", said.err);
}

#[test]
fn check_takes_paths_and_then_needs_no_settings() {
    let place = Place::new();
    place.write("elsewhere/a.toml", "nonsense = 1\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_drover"));
    command.current_dir(place.dir.path()).args(["check", "elsewhere", "missing"]);
    let said = said(command.output().expect("run drover"));
    assert_eq!(said.code, 78);
    assert!(said.err.contains("elsewhere/a.toml") && said.err.contains("missing"), "{}", said.err);
}

#[test]
fn check_warns_of_secrets_that_others_can_read_and_of_missing_ones() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let side = |name: &str| {
        format!(
            "[{name}]\nplatform = \"imap\"\nhost = \"{name}.example\"\nauth = {{ method = \
                 \"password\", password = {{ file = \"../{name}\" }} }}\n"
        )
    };
    let mailbox = "[[mailboxes]]\nsource = \"anna\"\ndestination = \"anna\"\n";
    place.write("definitions/a.toml", &(side("source") + &side("destination") + mailbox));
    place.write("source", "hunter2\n");
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(place.path("source"), open).expect("open the secret");
    let said = place.expect(0, &["check"]);
    assert!(said.err.contains("can be read by others"), "{}", said.err);
    assert!(said.err.contains("cannot be read here"), "{}", said.err);
    assert!(said.out.contains("good, with 2 warnings"), "{}", said.out);
    assert!(!(said.err + &said.out).contains("hunter2"));
}

#[test]
fn schemas_completions_and_the_manual_are_whole() {
    let place = Place::new();
    for of in ["definition", "config", "status", "check", "plan", "sync", "verify", "failed"] {
        let said = place.expect(0, &["schema", of]);
        let schema: Value = serde_json::from_str(&said.out).expect("JSON");
        assert!(schema["$schema"].is_string(), "{of}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(place.expect(0, &["completions", shell]).out.contains("drover"));
    }
    let manual = place.expect(0, &["man"]).out;
    for text in [".TH drover 1", "ignore\\-flags", "drover verify", "Exit codes"] {
        assert!(manual.contains(text), "{text} is missing:\n{manual}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let place = Place::new();
    let run = "\"$0\" man | head -n 1; echo \"${PIPESTATUS[0]}\"";
    let out = Command::new("bash").args(["-c", run, env!("CARGO_BIN_EXE_drover")]).output();
    let said = said(out.expect("run bash"));
    assert!(said.err.is_empty(), "{}", said.err);
    assert!(said.out.ends_with("\n0\n"), "{}", said.out);
    drop(place);
}

#[test]
fn an_unknown_name_is_wrong_usage_and_a_near_one_is_suggested() {
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    let place = Place::new();
    place.define(&source, &destination, &["anna"]);
    for args in [&["status", "mvoe"][..], &["plan", "mvoe"], &["sync", "mvoe"], &["failed", "mvoe"]]
    {
        let said = place.expect(64, args);
        assert!(said.err.contains("did you mean `move`?"), "{}", said.err);
    }
    let said = place.expect(64, &["verify", "something-else"]);
    assert!(said.err.contains("there are: move"), "{}", said.err);
}

#[test]
fn connecting_tells_what_works_and_what_to_do_about_the_rest() {
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    let place = Place::new();
    place.define(&source, &destination, &["anna", "bert"]);
    mail::fill(&mut source.connect("anna"), 20, &FOLDERS[..4], 1);
    let said = place.expect(0, &["check", "--connect"]);
    assert!(said.out.contains("ok      move/anna: "), "{}", said.out);
    assert!(said.out.contains("20 messages → "), "{}", said.out);
    assert!(said.out.contains("2 mailboxes: both sides can be used"), "{}", said.out);

    place.secret("wrong\n");
    let said = place.expect(1, &["check", "--connect"]);
    assert!(said.out.contains("FAILED  move/anna: CredentialsRefused"), "{}", said.out);
    assert!(said.out.contains("do: correct the secret"), "{}", said.out);
    let json = place.json(1, &["check", "--connect"]);
    assert_eq!(json["connections"][1]["mailbox"], "move/bert");
    assert_eq!(json["connections"][1]["source"]["error"]["reason"], "CredentialsRefused");
    assert!(!said.out.contains("wrong\n"));
}

#[test]
fn a_migration_without_a_daemon_from_plan_to_verify() {
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    let place = Place::new();
    place.define(&source, &destination, &["anna"]);
    mail::fill(&mut source.connect("anna"), 40, &FOLDERS[..5], 2);

    let said = place.expect(2, &["plan"]);
    assert!(said.out.contains("40 messages to copy"), "{}", said.out);
    assert!(said.out.contains("(new)"), "{}", said.out);
    let plan = place.json(2, &["plan", "move"]);
    let copies = plan[0]["plan"]["folders"].as_array().expect("folders").iter();
    assert_eq!(copies.map(|f| f["copy"].as_u64().expect("a number")).sum::<u64>(), 40);
    assert_eq!(destination.connect("anna").uids("INBOX").len(), 0, "planning writes nothing");

    let said = place.expect(0, &["sync", "move"]);
    assert!(said.out.contains("seed pass: 40 messages copied"), "{}", said.out);
    assert!(place.expect(0, &["plan", "move/anna"]).out.contains("1 mailbox: nothing to do"));
    let synced = place.json(0, &["sync", "move/anna"]);
    assert_eq!(synced[0]["pass"]["kind"], "delta");
    assert_eq!(synced[0]["pass"]["accounts"]["already_there"], 40);

    let status = place.json(0, &["status"]);
    assert_eq!(status["mailboxes"][0]["phase"], "syncing");
    assert_eq!(status["mailboxes"][0]["passes"].as_array().map(Vec::len), Some(2));
    assert_eq!(status["migrations"][0]["summary"], "Synced");
    let said = place.expect(0, &["status"]);
    assert!(said.out.contains("no daemon is running"), "{}", said.out);

    let said = place.expect(0, &["verify", "move"]);
    assert!(said.out.contains("move/anna: equal: 40 messages"), "{}", said.out);
    assert!(place.expect(0, &["failed", "move"]).out.contains("every message was brought over"));
    assert_eq!(place.json(0, &["failed", "move"]), serde_json::json!([]));
}

#[test]
fn verify_names_what_differs_and_can_leave_flags_aside() {
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    let place = Place::new();
    place.define(&source, &destination, &["anna"]);
    source.connect("anna").append_many("INBOX", &[note("one"), note("two"), note("three")]);
    place.expect(0, &["sync", "move"]);
    let mut there = destination.connect("anna");
    let uids = there.uids("INBOX");
    there.store("INBOX", &uids[..1], "+FLAGS (\\Flagged)");
    let said = place.expect(2, &["verify", "move"]);
    assert!(said.out.contains("1 difference among 3 messages"), "{}", said.out);
    assert!(said.out.contains("1 with other flags"), "{}", said.out);
    place.expect(0, &["verify", "move", "--ignore-flags"]);

    there.store("INBOX", &uids[1..2], "+FLAGS (\\Deleted)");
    there.expunge_uids("INBOX", &uids[1..2]);
    let said = place.expect(2, &["verify", "move", "--ignore-flags"]);
    assert!(said.out.contains("INBOX: 2 of 3 found; 1 missing"), "{}", said.out);
    assert!(said.out.contains("<two@notes.example>"), "{}", said.out);
    let json = place.json(2, &["verify", "move"]);
    assert_eq!(json[0]["equal"], false);
    assert_eq!(json[0]["comparison"]["folders"][0]["missing"], 1);
}

#[test]
fn some_failed_mailboxes_end_with_3_and_say_what_to_do() {
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    let place = Place::new();
    place.define(&source, &destination, &["anna"]);
    let mut text = std::fs::read_to_string(place.path("definitions/move.toml")).expect("read");
    text += "[[mailboxes]]\nsource = \"bert\"\ndestination = \"bert\"\n\
             source_password = { file = \"../bert\" }\n";
    place.write("definitions/move.toml", &text);
    place.write("bert", "wrong\n");
    let said = place.expect(3, &["sync", "move"]);
    assert!(said.out.contains("move/bert: CredentialsRefused"), "{}", said.out);
    assert!(said.out.contains("do: correct the secret"), "{}", said.out);
    place.expect(1, &["sync", "move/bert"]);

    // The block is remembered, and status says why.
    let status = place.json(0, &["status", "move/bert"]);
    assert_eq!(status["mailboxes"][0]["phase"], "blocked");
    assert_eq!(status["mailboxes"][0]["reason"], "CredentialsRefused");
    let said = place.expect(0, &["status"]);
    assert!(said.out.contains("NeedsAttention"), "{}", said.out);
    assert!(said.out.contains("correct the secret"), "{}", said.out);
}

#[test]
fn commands_talk_to_a_running_daemon() {
    let (source, destination) = (Dovecot::start(), Dovecot::start());
    let place = Place::new();
    place.define(&source, &destination, &["anna"]);
    mail::fill(&mut source.connect("anna"), 20, &FOLDERS[..3], 3);
    let daemon = place.daemon();
    place.wait_for_phase("syncing");
    assert_eq!(
        destination.connect("anna").uids("INBOX").len(),
        source.connect("anna").uids("INBOX").len()
    );

    source.connect("anna").append_many("INBOX", &[note("late")]);
    assert!(place.expect(2, &["plan", "move"]).out.contains("1 message to copy"));
    assert!(place.expect(0, &["sync", "move"]).out.contains("delta pass: 1 message copied"));
    place.expect(0, &["verify", "move"]);
    place.expect(0, &["failed", "move"]);
    let refused = place.expect(64, &["sync", "mvoe"]);
    assert!(refused.err.contains("did you mean `move`?"), "{}", refused.err);
    // A watch shows what is there and then only what changes; it ends when told to.
    let watch = place.command(&["status", "--watch"]).stdout(Stdio::piped()).spawn();
    let watch = watch.expect("watch");
    std::thread::sleep(Duration::from_millis(2500));
    let sent = Command::new("kill").args(["-INT", &watch.id().to_string()]).status();
    assert!(sent.expect("run kill").success());
    let seen = said(watch.wait_with_output().expect("watch"));
    assert_eq!((seen.code, seen.out.lines().count()), (0, 1), "{}", seen.out);
    assert!(seen.out.contains("move/anna: syncing: "), "{}", seen.out);
    let status = place.json(0, &["status", "move"]);
    assert_eq!(status["daemon"]["pid"], u64::from(daemon.child.id()));
    let verified = status["migrations"][0]["conditions"].as_array().expect("an array");
    let verified = verified.iter().find(|condition| condition["type"] == "Verified");
    assert_eq!(verified.expect("a condition")["status"], "true");

    // A definition that is gone is held until somebody says that it is meant.
    std::fs::remove_file(place.path("definitions/move.toml")).expect("remove the definition");
    place.expect(0, &["reload"]);
    let deadline = Instant::now() + PATIENCE;
    while !place.expect(0, &["status"]).out.contains("there is no definition") {
        assert!(Instant::now() < deadline, "{}", place.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(daemon.stop(), 0, "{}", place.log());
    assert!(!place.path("d.sock").exists(), "the socket goes with the daemon");
}

#[test]
fn a_second_daemon_and_a_command_past_the_socket_find_the_ledger_in_use() {
    let place = Place::new();
    let daemon = place.daemon();
    place.write("other.toml", "definitions = \"definitions\"\nstate = \"state\"\nsocket = \"o\"\n");
    let said = place.expect(4, &["run"]);
    assert!(said.err.contains(&format!("process {}", daemon.child.id())), "{}", said.err);
    place.expect(4, &["status", "--config", "other.toml"]);
    assert_eq!(daemon.stop(), 0, "{}", place.log());
    place.expect(0, &["status", "--config", "other.toml"]);
}

#[test]
fn journald_gets_priorities_and_no_time_of_day() {
    let place = Place::new();
    let config = std::fs::read_to_string(place.path("config.toml")).expect("read");
    place.write("config.toml", &(config + "[log]\nformat = \"journald\"\n"));
    let daemon = place.daemon();
    daemon.signal("-HUP");
    assert_eq!(daemon.stop(), 0);
    let log = place.log();
    assert!(log.lines().count() > 1 && log.lines().all(|line| line.starts_with("<6>")), "{log}");
    assert!(log.contains("<6>drover is at work"), "{log}");
}

#[test]
fn a_message_that_is_refused_is_named_with_its_reason_and_can_be_tried_again() {
    let (source, mut destination) = (Dovecot::start(), Dovecot::builder().max_size("20k").start());
    let place = Place::new();
    place.define(&source, &destination, &["anna"]);
    let mut large = note("large");
    large.bytes.extend(std::iter::repeat_n(*b"0123456789abcde\r\n", 4000).flatten());
    source.connect("anna").append_many("INBOX", &[note("small"), large]);
    let said = place.expect(3, &["sync", "move"]);
    assert!(
        said.out.contains("1 message not brought over: drover failed move/anna"),
        "{}",
        said.out
    );

    let failed = place.json(0, &["failed", "move/anna"]);
    assert_eq!((&failed[0]["verdict"], &failed[0]["folder"]), (&"failed".into(), &"INBOX".into()));
    // After some tries it is given up.
    place.expect(3, &["sync", "move"]);
    place.expect(3, &["sync", "move"]);
    let said = place.expect(0, &["failed", "move"]);
    assert!(said.out.contains("<large@notes.example>"), "{}", said.out);
    assert!(said.out.contains("skipped ones are tried again with --retry"), "{}", said.out);
    assert_eq!(place.json(0, &["failed", "move/anna"])[0]["verdict"], "skipped");

    destination.reconfigure(|builder| builder.max_size("1M"));
    place.expect(3, &["sync", "move"]);
    assert_eq!(place.json(0, &["failed", "move", "--retry"])[0]["verdict"], "arrived");
    assert_eq!(place.json(0, &["failed", "move"]), serde_json::json!([]));
    place.expect(0, &["verify", "move"]);
}
