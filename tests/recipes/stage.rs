//! The servers of a request type, and what happens to a mailbox between them.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::pages::{DESTINATION, Recipe, SOURCE, user};
use super::support::standin::MailboxBuilder;
use super::support::{Dovecot, Drover, Imap, Oidc, Standin, note};

/// What people in the test sign in with where only tokens are taken.
const OWN: &str = "their-own-token";

/// A platform, or what stands in for it.
enum Server {
    Standin(Standin),
    Dovecot(Box<Dovecot>),
}

/// An end of a migration.
struct End {
    server: Server,
    user: String,
    /// What Sent is called there.
    sent: &'static str,
}

impl End {
    /// The server of a part, with an empty mailbox or a filled one.
    fn new(part: &str, user: &str, oidc: &Oidc, is_source: bool) -> Self {
        let sent = match part {
            "gmail" => "[Gmail]/Sent Mail",
            "microsoft365" | "exchange" => "Sent Items",
            _ => "Sent",
        };
        let filled = move |mailbox: MailboxBuilder| {
            let mailbox = mailbox.token(OWN);
            if !is_source {
                return mailbox;
            }
            mailbox
                .notes("INBOX", ["one", "two", "to be moved"])
                .notes("Work/Größe", ["three"])
                .notes(sent, ["four"])
        };
        let issuer = oidc.issuer();
        let takes = move |user: &str, token: &str| is_for(token, &issuer, user);
        let standin = match part {
            "gmail" => Standin::gmail(),
            "microsoft365" => Standin::microsoft365(),
            "exchange" => {
                Standin::microsoft365().with_passwords().admin("migrator@old.example", "pw")
            }
            "yahoo" => Standin::yahoo(),
            _ => {
                let dovecot = Dovecot::start();
                if is_source {
                    let mut imap = dovecot.connect(user);
                    let notes = |of: &[&str]| of.iter().map(|text| note(text)).collect::<Vec<_>>();
                    imap.create("Work/Größe");
                    imap.create(sent);
                    imap.append_many("INBOX", &notes(&["one", "two", "to be moved"]));
                    imap.append_many("Work/Größe", &notes(&["three"]));
                    imap.append_many(sent, &notes(&["four"]));
                }
                return Self {
                    server: Server::Dovecot(Box::new(dovecot)),
                    user: user.into(),
                    sent,
                };
            }
        };
        let standin = standin.user(user, filled).tokens_checked_by(takes).start();
        Self { server: Server::Standin(standin), user: user.into(), sent }
    }

    fn port(&self) -> u16 {
        match &self.server {
            Server::Standin(standin) => standin.port(),
            Server::Dovecot(dovecot) => dovecot.port(),
        }
    }

    /// As its user.
    fn connect(&self) -> Imap {
        match &self.server {
            Server::Standin(s) => s.connect_with_token(&self.user, OWN).expect("sign in"),
            Server::Dovecot(dovecot) => dovecot.connect(&self.user),
        }
    }

    /// Subjects and flags by folder, views left out; Sent is called so everywhere.
    fn holds(&self) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
        let mut imap = self.connect();
        let is_view =
            |a: &String| ["\\All", "\\Flagged", "\\Important", "\\Noselect"].contains(&a.as_str());
        let folders: Vec<_> =
            imap.list().into_iter().filter(|f| !f.attributes.iter().any(is_view)).collect();
        let mut held: BTreeMap<String, BTreeMap<_, _>> = BTreeMap::new();
        for folder in folders {
            let name = if [self.sent, "Sent Mail", "Sent Items"].contains(&folder.path.as_str()) {
                "Sent"
            } else {
                &folder.path
            };
            for message in imap.messages(&folder.path) {
                let text = String::from_utf8_lossy(&message.body).into_owned();
                let subject = text.lines().find_map(|line| line.strip_prefix("Subject: "));
                let subject = subject.unwrap_or_default().to_owned();
                let flags =
                    message.flags.into_iter().filter(|flag| flag.starts_with('\\')).collect();
                let twin = held.entry(name.to_owned()).or_default().insert(subject.clone(), flags);
                assert!(twin.is_none(), "{subject} is twice in {name}");
            }
        }
        held
    }
}

/// Is it a token of this issuer for this user, or for an application that may act for all?
/// Signatures are the OAuth server's and Dovecot's affair; see tests/sign_in.rs.
fn is_for(token: &str, issuer: &str, user: &str) -> bool {
    let Some(payload) = token.split('.').nth(1) else { return false };
    let Ok(claims) = URL_SAFE_NO_PAD.decode(payload) else { return false };
    let Ok(claims) = serde_json::from_slice::<serde_json::Value>(&claims) else { return false };
    claims["iss"] == issuer && (claims["sub"] == user || claims["sub"] == "secretive")
}

/// A recipe being followed.
pub(super) struct Stage {
    source: End,
    destination: End,
    drover: Drover,
    /// The definition as it is used here.
    text: String,
    _oidc: Oidc,
}

impl Stage {
    pub(super) fn new(recipe: &Recipe) -> Self {
        let oidc = Oidc::start();
        // Whom an administrator enters at Exchange is called by the alias.
        let user = |part: &str, end| match (part, user(part, end)) {
            ("exchange", user) => user.split('@').next().unwrap_or_default().to_owned(),
            (_, user) => user,
        };
        let source = End::new(recipe.source, &user(recipe.source, SOURCE), &oidc, true);
        let there = user(recipe.destination, DESTINATION);
        let destination = End::new(recipe.destination, &there, &oidc, false);
        let drover = Drover::new();
        std::fs::create_dir(drover.path("definitions/secrets")).expect("make a directory");
        let text = at_home(&recipe.definition(), [source.port(), destination.port()], &oidc);
        for secret in text.split('"').filter(|part| part.starts_with("secrets/")) {
            let held = match secret {
                google if google.ends_with("google.json") => {
                    std::fs::read_to_string(oidc.file("google.json")).expect("read a secret")
                }
                microsoft if microsoft.ends_with("m365") => super::support::oidc::SECRET.to_owned(),
                _ => "pw".to_owned(),
            };
            drover.write(&format!("definitions/{secret}"), &held);
        }
        Self { source, destination, drover, text, _oidc: oidc }
    }

    /// All mail is there.
    pub(super) fn seed(&mut self) {
        self.drover.define("acme", &self.text);
        self.drover.start();
        self.drover.until_phase("acme", "syncing");
        self.assert_same();
        assert_eq!(self.destination.holds().values().map(BTreeMap::len).sum::<usize>(), 5);
    }

    /// New mail, a flag and a move are there.
    pub(super) fn delta(&mut self) {
        let mut imap = self.source.connect();
        imap.append_many("INBOX", &[note("new")]);
        let uids = imap.uids("INBOX");
        imap.store("INBOX", &uids[..1], "+FLAGS (\\Seen \\Flagged)");
        imap.uid_move("INBOX", &uids[2..3], "Work/Größe");
        let (source, destination) = (&self.source, &self.destination);
        self.drover.until("the delta", |_| source.holds() == destination.holds());
        assert_eq!(destination.holds()["Work/Größe"].len(), 2);
    }

    /// The last mail is there, and that is proved.
    pub(super) fn cut_over(&mut self) {
        self.source.connect().append_many("INBOX", &[note("last minute")]);
        let cut = "\n[cutover]\nat = 2026-01-01T00:00:00Z\ntail = \"1s\"\n";
        self.drover.define(
            "acme",
            &self.text.replace("\n[[mailboxes]]", &format!("{cut}\n[[mailboxes]]")),
        );
        self.drover.until_phase("acme", "complete");
        self.assert_same();
        self.drover.expect(0, &["verify", "acme"]);
    }

    fn assert_same(&self) {
        assert_eq!(self.source.holds(), self.destination.holds(), "{}", self.drover.log());
    }
}

/// The definition with the test's addresses, and tokens from the test's OAuth server.
fn at_home(text: &str, [source, destination]: [u16; 2], oidc: &Oidc) -> String {
    let mut port = source;
    let mut lines = vec!["[sync]".to_owned(), "every = \"1s\"".to_owned()];
    for line in text.lines() {
        match line.split(' ').next().unwrap_or_default() {
            "host" => {}
            "tenant" => lines.extend([
                format!("token_url = \"{}\"", oidc.token_url()),
                "scopes = [\"mail\"]".into(),
            ]),
            "client_id" => lines.push("client_id = \"secretive\"".into()),
            "key" => lines.extend([line.into(), "scopes = [\"mail\"]".into()]),
            head => {
                lines.push(line.into());
                if head == "[destination]" {
                    port = destination;
                }
                if ["[source]", "[destination]"].contains(&head) {
                    lines.extend([
                        "host = \"127.0.0.1\"".into(),
                        format!("port = {port}"),
                        "tls = \"none\"".into(),
                    ]);
                }
            }
        }
    }
    lines.join("\n") + "\n"
}
