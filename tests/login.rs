//! `drover auth login`: a user consents at a real OAuth server (oidc-provider), and what comes of
//! it signs in at a real IMAP server (Dovecot). The user's browser is driven by the test.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStderr, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use support::browser::Browser;
use support::drover::{BY_PASSWORD, loopback, mailbox};
use support::oidc::SECRET;
use support::{Dovecot, Drover, Oidc, note};

/// A migration whose destination is entered by consent, of two mailboxes; and one message.
struct Scene {
    oidc: Oidc,
    drover: Drover,
    source: Dovecot,
    destination: Dovecot,
}

impl Scene {
    fn new() -> Self {
        Self::with("destination_refresh_token = { file = \"../secrets/anna\" }")
    }

    /// With this for anna's refresh token.
    fn with(token: &str) -> Self {
        let oidc = Oidc::start();
        let (source, destination) = (Dovecot::start(), oidc.dovecot().start());
        source.connect("anna").append_many("INBOX", &[note("one")]);
        let this = Self { oidc, drover: Drover::new(), source, destination };
        this.drover.write("secrets/anna", "of old\n");
        this.drover.define("pilot", &this.definition(token));
        this
    }

    fn definition(&self, token: &str) -> String {
        let issuer = self.oidc.issuer();
        let auth = format!(
            "[destination.auth]\nmethod = \"refresh-token\"\nclient_id = \"desk\"\n\
             client_secret = {{ file = \"{}\" }}\ntoken_url = \"{}\"\n\
             authorize_url = \"{issuer}/auth\"\ndevice_url = \"{issuer}/device/auth\"\n\
             scopes = [\"openid\", \"email\", \"offline_access\", \"mail\"]\n",
            self.oidc.file("secret").display(),
            self.oidc.token_url(),
        );
        let sides = loopback("source", self.source.port())
            + BY_PASSWORD
            + &loopback("destination", self.destination.port())
            + &auth;
        sides + &mailbox("anna", "anna") + token + "\n"
    }

    /// Begins to sign in.
    fn login(&self, more: &[&str]) -> Waiting {
        let mut arguments = vec!["auth", "login", "pilot"];
        arguments.extend(more);
        let mut command = self.drover.command(&arguments);
        command.env("RUST_LOG", "trace").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start drover");
        let told = BufReader::new(child.stderr.take().expect("its words"));
        Waiting { child, told, said: String::new() }
    }

    fn stored(&self) -> String {
        std::fs::read_to_string(self.drover.path("secrets/anna")).expect("read the token")
    }

    /// Files beside the token: a draft that was left would be one.
    fn secrets(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.drover.path("secrets")).expect("list");
        let name = |entry: std::io::Result<std::fs::DirEntry>| entry.expect("an entry").file_name();
        let mut names: Vec<_> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(self.stored(), "of old\n");
        assert_eq!(self.secrets(), ["anna", "pw"]);
    }

    #[track_caller]
    fn assert_a_pass_signs_in(&self) {
        let said = self.drover.expect(0, &["sync", "pilot"]);
        assert!(said.contains("1 message copied"), "{said}");
    }
}

/// `drover auth login`, which waits for a user.
struct Waiting {
    child: Child,
    told: BufReader<ChildStderr>,
    said: String,
}

impl Waiting {
    /// What stands alone on the next indented line: a URL, a code.
    fn shown(&mut self) -> String {
        loop {
            let mut line = String::new();
            let n = self.told.read_line(&mut line).expect("hear drover");
            assert!(n > 0, "drover ended: {}", self.said);
            self.said += &line;
            if let Some(shown) = line.strip_prefix("    ") {
                return shown.trim_end().to_owned();
            }
        }
    }

    /// Its exit code, what it printed, and all that it said.
    fn end(mut self) -> (Option<i32>, String, String) {
        let mut printed = String::new();
        self.told.read_to_string(&mut self.said).expect("hear drover");
        let mut output = self.child.stdout.take().expect("its output");
        output.read_to_string(&mut printed).expect("read its output");
        let status = self.child.wait().expect("wait for drover");
        (status.code(), printed, std::mem::take(&mut self.said))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_user_consents_in_a_browser_and_the_next_pass_signs_in_with_that() {
    let scene = Scene::new();
    let mut login = scene.login(&[]);
    let url = login.shown();
    assert!(url.contains("code_challenge_method=S256") && url.contains("prompt=consent"), "{url}");
    let mut browser = Browser::default();
    browser.open(&url);
    browser.consent("anna");
    assert!(browser.page.contains("You may close this page"), "{}", browser.page);
    let (code, printed, said) = login.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(printed.contains("the refresh token of the destination for anna is in"), "{printed}");
    assert!(printed.contains("anna consented"), "{printed}");
    assert!(said.contains("ssh -L"), "{said}");
    let mode = std::fs::metadata(scene.drover.path("secrets/anna")).expect("it").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let token = scene.stored();
    assert_eq!(Some(token.trim_end()), scene.oidc.refresh_tokens().last().map(String::as_str));
    // Law 9, with every log there is.
    for secret in [token.trim_end(), SECRET] {
        assert!(!said.contains(secret) && !printed.contains(secret), "{said}{printed}");
    }
    scene.assert_a_pass_signs_in();
}

#[test]
fn a_user_consents_with_a_code_on_another_device() {
    let scene = Scene::new();
    // Its first answer; from then on it must be asked five seconds later than it wants otherwise.
    scene.oidc.refuse(1, 400, json!({}), json!({ "error": "slow_down" }));
    let began = Instant::now();
    let mut login = scene.login(&["--device", "-o", "json"]);
    let (url, code) = (login.shown(), login.shown());
    let mut browser = Browser::default();
    browser.open(&url);
    browser.submit(&[("user_code", &code)]);
    browser.consent("anna");
    let (code, printed, said) = login.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(began.elapsed() >= Duration::from_secs(6), "{:?}", began.elapsed());
    let printed: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!((&printed["user"], &printed["account"]), (&json!("anna"), &json!("anna")));
    scene.assert_a_pass_signs_in();
}

#[test]
fn a_user_who_says_no_in_the_browser_changes_nothing() {
    let scene = Scene::new();
    let mut login = scene.login(&[]);
    let mut browser = Browser::default();
    browser.open(&login.shown());
    browser.refuse();
    assert!(browser.page.contains("drover has no consent"), "{}", browser.page);
    let (code, _, said) = login.end();
    assert_eq!(code, Some(1));
    assert!(said.contains("there is no consent: access_denied: End-User aborted"), "{said}");
    assert!(said.contains("run the command again, sign in as the mailbox's owner"), "{said}");
    scene.assert_untouched();
}

#[test]
fn a_user_who_refuses_the_code_changes_nothing() {
    let scene = Scene::new();
    let mut login = scene.login(&["--device"]);
    let (url, code) = (login.shown(), login.shown());
    let mut browser = Browser::default();
    browser.open(&url);
    browser.submit(&[("user_code", &code), ("abort", "yes")]);
    let (code, _, said) = login.end();
    assert_eq!(code, Some(1));
    assert!(said.contains("there is no consent: access_denied"), "{said}");
    scene.assert_untouched();
}

#[test]
fn a_code_that_expired_is_told_as_that() {
    let scene = Scene::new();
    scene.oidc.refuse(1, 400, json!({}), json!({ "error": "expired_token" }));
    let (code, _, said) = scene.login(&["--device"]).end();
    assert_eq!(code, Some(1));
    assert!(said.contains("nobody consented within"), "{said}");
    scene.assert_untouched();
}

#[test]
fn a_refusal_of_the_application_says_what_to_check_and_repeats_no_secret() {
    let scene = Scene::new();
    let text = format!("AADSTS7000215: Invalid client secret provided: {SECRET}");
    let body = json!({ "error": "invalid_client", "error_description": text });
    scene.oidc.refuse(1, 401, json!({}), body);
    let (code, _, said) = scene.login(&["--device"]).end();
    assert_eq!(code, Some(1));
    assert!(said.contains("the secret's Value, not its ID"), "{said}");
    assert!(said.contains("[secret]") && !said.contains(SECRET), "{said}");
    scene.assert_untouched();
}

#[test]
fn an_interruption_leaves_what_was_there() {
    let scene = Scene::new();
    let mut login = scene.login(&[]);
    login.shown();
    let kill = format!("kill -s INT {}", login.child.id());
    let sent = std::process::Command::new("sh").args(["-c", &kill]).status();
    assert!(sent.is_ok_and(|status| status.success()));
    let (code, _, said) = login.end();
    assert_eq!(code, Some(1));
    assert!(said.contains("drover: interrupted"), "{said}");
    scene.assert_untouched();
}

#[test]
fn nobody_is_asked_for_a_consent_that_could_not_be_put_where_the_definition_reads_it() {
    let scene = Scene::with("destination_refresh_token = { credential = \"anna\" }");
    let (code, _, said) = scene.login(&[]).end();
    assert_eq!(code, Some(64), "{said}");
    assert!(said.contains("from the systemd credential anna"), "{said}");
    assert!(said.contains("--to FILE"), "{said}");
    let file = scene.drover.path("elsewhere");
    let mut login = scene.login(&["--to", file.to_str().expect("a path")]);
    let mut browser = Browser::default();
    browser.open(&login.shown());
    browser.consent("anna");
    let (code, printed, _) = login.end();
    assert_eq!(code, Some(0));
    assert!(printed.contains("the definition reads it from elsewhere"), "{printed}");
    let token = std::fs::read_to_string(file).expect("read the token");
    assert_eq!(Some(token.trim_end()), scene.oidc.refresh_tokens().last().map(String::as_str));
}

#[test]
fn where_each_mailbox_has_its_own_it_must_be_said_whose() {
    let scene = Scene::with(
        "destination_refresh_token = { file = \"../secrets/anna\" }\n[[mailboxes]]\n\
         source = \"bela\"\ndestination = \"bela\"\n\
         destination_refresh_token = { file = \"../secrets/bela\" }",
    );
    let (code, _, said) = scene.login(&[]).end();
    assert_eq!(code, Some(64));
    assert!(said.contains("say whose with `--user`: anna, bela"), "{said}");
    let (code, _, said) = scene.login(&["--user", "carl"]).end();
    assert_eq!(code, Some(64));
    assert!(said.contains("there is no account `carl` at the destination"), "{said}");
    let (code, _, said) = scene.login(&["--source"]).end();
    assert_eq!(code, Some(64));
    assert!(said.contains("is not entered with refresh tokens"), "{said}");
    let mut login = scene.login(&["--user", "Bela"]);
    let mut browser = Browser::default();
    browser.open(&login.shown());
    // Somebody else than was asked for.
    browser.consent("carl");
    let (code, printed, _) = login.end();
    assert_eq!(code, Some(0));
    assert!(printed.contains("carl consented, which is another account"), "{printed}");
    assert_eq!(scene.secrets(), ["anna", "bela", "pw"]);
}
