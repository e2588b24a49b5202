//! Refresh tokens that a server gives in place of others: oidc-provider takes each only once, and
//! revokes the whole consent if one comes again.

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use drover::auth::{Store, Tokens, Vault};
use drover::definition::{Grant, SecretRef};
use drover::ledger::Ledger;
use serde_json::{Value, json};
use support::drover::{BY_PASSWORD, loopback, mailbox};
use support::{Dovecot, Drover, Oidc, note};

/// A daemon that writes to an account of Dovecot with a refresh token.
struct Scene {
    oidc: Oidc,
    drover: Drover,
    source: Dovecot,
    _destination: Dovecot,
}

impl Scene {
    fn new() -> Self {
        let oidc = Oidc::start();
        let (source, destination) = (Dovecot::start(), oidc.dovecot().start());
        source.connect("anna").append_many("INBOX", &[note("one")]);
        let drover = Drover::new();
        let Grant::RefreshToken { .. } = oidc.by_refresh_token() else { panic!("another grant") };
        let auth = format!(
            "[destination.auth]\nmethod = \"refresh-token\"\nclient_id = \"consented\"\n\
             client_secret = {{ file = \"{}\" }}\ntoken_url = \"{}\"\n\
             refresh_token = {{ file = \"{}\" }}\n[sync]\nevery = \"1s\"\n",
            oidc.file("secret").display(),
            oidc.token_url(),
            oidc.file("refresh").display(),
        );
        let sides = loopback("source", source.port())
            + BY_PASSWORD
            + &loopback("destination", destination.port())
            + &auth;
        drover.define("pilot", &(sides + &mailbox("anna", "anna")));
        Self { oidc, drover, source, _destination: destination }
    }

    fn key(&self, key: &str) {
        self.drover.write("secrets/key", key);
        self.key_from("{ file = \"secrets/key\" }");
    }

    fn key_from(&self, reference: &str) {
        let settings = format!(
            "definitions = \"definitions\"\nstate = \"state\"\nsocket = \"drover.sock\"\n\
             [auth]\ntoken_key = {reference}\n"
        );
        self.drover.write("config.toml", &settings);
    }

    /// `drover check --connect -o json`, which must exit with `code`.
    fn checked(&self, code: i32) -> Value {
        let said = self.drover.expect(code, &["check", "--connect", "-o", "json"]);
        serde_json::from_str(&said).expect("JSON")
    }

    /// Runs the daemon until this note has arrived.
    fn carries(&mut self, subject: &str) {
        self.source.connect("anna").append_many("INBOX", &[note(subject)]);
        let before = self.copied();
        self.drover.start();
        let what = format!("a pass that copied {subject}");
        self.drover.until(&what, |drover| {
            let passes = drover.mailbox("pilot")["passes"].clone();
            copied(&passes) > before
        });
        self.drover.stop();
    }

    fn copied(&self) -> u64 {
        copied(&self.drover.mailbox("pilot")["passes"])
    }
}

fn copied(passes: &Value) -> u64 {
    let passes = passes.as_array().cloned().unwrap_or_default();
    passes.iter().filter_map(|pass| pass["accounts"]["copied"].as_u64()).sum()
}

const KEY: &str = "Zm9yIGEgdGVzdCwgYW5kIGZvciBub3RoaW5nIGVsc2U=";

/// Every byte below a directory.
fn everything(directory: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(directory).expect("list") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => bytes.extend(everything(&path)),
            false => bytes.extend(std::fs::read(path).expect("read")),
        }
    }
    bytes
}

#[test]
fn a_rotated_refresh_token_outlives_restarts_and_nothing_on_disk_shows_it() {
    let mut scene = Scene::new();
    scene.key(KEY);
    for subject in ["two", "three", "four"] {
        scene.carries(subject);
    }
    let tokens = scene.oidc.refresh_tokens();
    assert!(tokens.len() >= 4, "each restart used one: {}", tokens.len());
    let (disk, log) = (everything(&scene.drover.path("state")), scene.drover.log());
    assert!(disk.len() > 1000);
    for token in &tokens {
        assert!(!disk.windows(token.len()).any(|window| window == token.as_bytes()));
        assert!(!log.contains(token.as_str()));
    }
}

#[test]
fn without_a_key_the_log_says_once_what_is_needed_and_a_restart_blocks() {
    let mut scene = Scene::new();
    scene.carries("two");
    let told = scene.drover.log().matches("set `token_key` in [auth]").count();
    assert_eq!(told, 1, "{}", scene.drover.log());
    scene.drover.start();
    scene.drover.until_phase("pilot", "blocked");
    assert_eq!(scene.drover.mailbox("pilot")["reason"], "CredentialsRefused");
}

#[test]
fn another_key_is_told_and_the_definitions_token_is_used() {
    let mut scene = Scene::new();
    scene.key(KEY);
    scene.carries("two");
    scene.key("another key, which is just as long as the first");
    // As its owner signed in anew, for the key is lost.
    scene.oidc.by_refresh_token();
    scene.carries("three");
    let log = scene.drover.log();
    assert_eq!(log.matches("does not open with `token_key`").count(), 1, "{log}");
    // What was rotated since is kept with the key that there is.
    scene.carries("four");
    let log = scene.drover.log();
    assert_eq!(log.matches("does not open with `token_key`").count(), 1, "{log}");
}

#[test]
fn a_key_that_protects_nothing_is_refused_and_mail_is_carried_all_the_same() {
    let mut scene = Scene::new();
    scene.key("short");
    scene.carries("two");
    let log = scene.drover.log();
    assert!(log.contains("kept in memory only: `token_key` is too short"), "{log}");
}

#[test]
fn the_end_of_a_consent_is_told_ahead_where_the_provider_says_it() {
    let mut scene = Scene::new();
    scene.key(KEY);
    scene.oidc.consents_end(9 * 86_400 + 600);
    scene.drover.start();
    let valid = |drover: &Drover| {
        let conditions = drover.migration("pilot")["conditions"].clone();
        let all = conditions.as_array().cloned().unwrap_or_default();
        all.into_iter().find(|c| c["type"] == "CredentialsValid").unwrap_or_default()
    };
    // Known with the first token, before the first pass has ended.
    scene.drover.until("a warning of what is good still", |drover| {
        let condition = valid(drover);
        condition["reason"] == "ExpiresSoon" && condition["status"] == "true"
    });
    let condition = valid(&scene.drover);
    assert!(condition["expires"].is_string(), "{condition}");
    let said = condition["message"].as_str().unwrap_or_default();
    assert!(said.contains("the refresh token of the destination ends on"), "{said}");
    assert!(said.contains("in 9 days: get a new one with `drover auth login`"), "{said}");
    let shown = scene.drover.expect(0, &["status"]);
    assert!(shown.contains("! pilot: the refresh token of the destination"), "{shown}");
    // Two more passes, and no second warning on the same day.
    scene.drover.until("three passes", |drover| {
        drover.mailbox("pilot")["passes"].as_array().is_some_and(|passes| passes.len() >= 3)
    });
    let told = scene.drover.log().matches("the refresh token of the destination ends on").count();
    assert_eq!(told, 1, "{}", scene.drover.log());
}

// ---- drover check --connect --------------------------------------------------------------------

#[test]
fn a_check_uses_the_kept_successor_and_keeps_the_next() {
    let mut scene = Scene::new();
    scene.key(KEY);
    scene.carries("two");
    let checked = scene.checked(0);
    assert_eq!(checked["connections"][0]["destination"]["messages"], 2, "{checked}");
    assert!(!checked.to_string().contains("another refresh token"), "{checked}");
    // A file that is named is checked with the same settings.
    let said = scene.drover.expect(0, &["check", "--connect", "definitions/pilot.toml"]);
    assert!(said.contains("1 mailbox: both sides can be used"), "{said}");
    assert_eq!(scene.oidc.requests(), 3, "each used one");
    scene.carries("three");
}

#[test]
fn a_check_beside_a_running_daemon_leaves_its_tokens_alone() {
    let mut scene = Scene::new();
    scene.drover.start();
    scene.drover.until("a pass", |drover| copied(&drover.mailbox("pilot")["passes"]) == 1);
    let asked = scene.oidc.requests();
    let checked = scene.checked(0);
    let tried = &checked["connections"][0];
    assert_eq!(tried["source"]["messages"], 1, "the other side is tried: {checked}");
    assert_eq!(tried["destination"]["untried"]["reason"], "TokensInUse", "{checked}");
    assert_eq!(tried["destination"]["error"], Value::Null, "{checked}");
    let said = scene.drover.expect(0, &["check", "--connect"]);
    assert!(said.contains("-       pilot/anna: 1 folder, 1 message → TokensInUse"), "{said}");
    assert!(said.contains("destination: not tried: a running drover has"), "{said}");
    assert!(said.contains("do: see `drover status pilot`"), "{said}");
    assert!(said.contains("1 mailbox: 1 not fully tried, nothing found wrong"), "{said}");
    assert_eq!(scene.oidc.requests(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_beside_any_other_drover_leaves_its_tokens_alone() {
    let scene = Scene::new();
    // As a command without a daemon holds it.
    let (ledger, _) = Ledger::open(&scene.drover.path("state")).await.expect("a ledger");
    let checked = scene.checked(0);
    assert_eq!(checked["connections"][0]["destination"]["untried"]["reason"], "TokensInUse");
    assert_eq!(scene.oidc.requests(), 0);
    ledger.close().await.expect("close");
}

#[test]
fn a_check_that_cannot_keep_a_successor_does_not_ask_for_one() {
    let scene = Scene::new();
    scene.key_from("{ credential = \"only-the-daemon-has-it\" }");
    let checked = scene.checked(1);
    let error = &checked["connections"][0]["destination"]["error"];
    assert_eq!(error["reason"], "SecretUnreadable", "{checked}");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains("no systemd credential only-the-daemon-has-it"), "{checked}");
    assert_eq!(scene.oidc.requests(), 0);
}

#[test]
fn a_check_without_a_key_says_that_a_token_was_used_up() {
    let scene = Scene::new();
    let output = scene.drover.run(&["check", "--connect"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("another refresh token for the destination `anna`"), "{said}");
    assert!(said.contains("set `token_key` in [auth] of drover's settings"), "{said}");
    assert!(said.contains("drover auth login pilot --destination --user anna"), "{said}");
    let tokens = scene.oidc.refresh_tokens();
    assert_eq!(tokens.len(), 2, "{tokens:?}");
    assert!(!tokens.iter().any(|token| said.contains(token)), "{said}");
    scene.oidc.by_refresh_token();
    let checked = scene.checked(0);
    let warnings = checked["diagnostics"].as_array().expect("a list");
    assert_eq!(checked["warnings"], warnings.len(), "{checked}");
    assert!(warnings.iter().any(|one| one.to_string().contains("another refresh token")));
}

#[test]
fn a_check_of_passwords_opens_no_ledger() {
    let scene = Scene::new();
    scene.key(KEY);
    let side = |name| loopback(name, scene.source.port()) + BY_PASSWORD;
    let definition = side("source") + &side("destination") + &mailbox("anna", "bert");
    scene.drover.define("pilot", &definition);
    scene.drover.expect(0, &["check", "--connect"]);
    assert!(!scene.drover.path("state").exists());
}

// ---- the same without a daemon -----------------------------------------------------------------

/// What outlives a process.
#[derive(Default, Clone)]
struct Disk {
    notes: Arc<Mutex<HashMap<String, Vec<u8>>>>,
}

impl Disk {
    /// A process that starts.
    fn tokens(&self, oidc: &Oidc) -> Tokens {
        oidc.write("key", KEY);
        let (loading, saving) = (Arc::clone(&self.notes), Arc::clone(&self.notes));
        let store = Store {
            load: Arc::new(move |name| {
                let kept = loading.lock().expect("whole").get(&name).cloned();
                Box::pin(async move { Ok(kept) })
            }),
            save: Arc::new(move |name, value| {
                saving.lock().expect("whole").insert(name, value);
                Box::pin(async { Ok(()) })
            }),
        };
        Tokens::kept_in(Some(Vault::new(SecretRef::File(oidc.file("key")), store)))
    }

    /// Is anything kept?
    fn is_used(&self) -> bool {
        self.notes.lock().expect("whole").values().any(|note| !note.is_empty())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_owner_put_in_the_files_place_wins_over_what_was_kept() {
    let (oidc, disk) = (Oidc::start(), Disk::default());
    let grant = oidc.by_refresh_token();
    disk.tokens(&oidc).token(&grant, "anna").await.expect("a token");
    assert!(disk.is_used());
    // The first comes again: the server revokes its consent, and what is kept with it.
    Tokens::default().token(&grant, "anna").await.expect_err("it was used");
    oidc.by_refresh_token();
    let asked = oidc.requests();
    disk.tokens(&oidc).token(&grant, "anna").await.expect("a token");
    assert_eq!(oidc.requests(), asked + 1, "what was kept is not tried before it");
    disk.tokens(&oidc).token(&grant, "anna").await.expect("a token, by its successor");
    assert_eq!(oidc.requests(), asked + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_client_secret_does_not_make_a_kept_token_void() {
    let (oidc, disk) = (Oidc::start(), Disk::default());
    let grant = oidc.by_refresh_token();
    disk.tokens(&oidc).token(&grant, "anna").await.expect("a token");
    oidc.write("secret", "wrong for a while");
    let tokens = disk.tokens(&oidc);
    let error = tokens.token(&grant, "anna").await.expect_err("the secret is wrong");
    assert!(error.to_string().contains("invalid_client"), "{error}");
    oidc.write("secret", support::oidc::SECRET);
    tokens.token(&grant, "anna").await.expect("a token, by what is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_token_that_is_dead_is_forgotten_and_the_owners_used_at_once() {
    let (oidc, disk) = (Oidc::start(), Disk::default());
    let grant = oidc.by_refresh_token();
    // A successor that the server does not know later, without the first being used up.
    let body = json!({
        "access_token": "a", "token_type": "Bearer", "expires_in": 3600, "refresh_token": "b",
    });
    oidc.refuse(1, 200, json!({}), body);
    disk.tokens(&oidc).token(&grant, "anna").await.expect("a token");
    assert!(disk.is_used());
    // No more rotation: what is kept must be forgotten, not replaced.
    let body = json!({ "access_token": "c", "token_type": "Bearer", "expires_in": 3600 });
    let tokens = disk.tokens(&oidc);
    oidc.answer_with(&[(400, json!({ "error": "invalid_grant" })), (200, body)]);
    let token = tokens.token(&grant, "anna").await.expect("a token, by the owner's");
    assert_eq!((token.expose(), oidc.requests()), ("c", 3));
    assert!(!disk.is_used());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_that_was_damaged_is_as_good_as_none() {
    let (oidc, disk) = (Oidc::start(), Disk::default());
    let grant = oidc.by_refresh_token();
    disk.tokens(&oidc).token(&grant, "anna").await.expect("a token");
    for note in disk.notes.lock().expect("whole").values_mut() {
        note.truncate(20);
    }
    oidc.by_refresh_token();
    disk.tokens(&oidc).token(&grant, "anna").await.expect("a token, by the owner's");
}
