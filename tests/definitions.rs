//! From text to validated values, and from mistakes to what an operator reads.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use drover::definition::*;
use drover::model::{FolderPath, Role};

/// Enough of a definition for what is not under test.
const ENDPOINTS: &str = "\
[source]
host = \"old.example\"
auth = { method = \"password\", password = { env = \"OLD\" } }
[destination]
host = \"new.example\"
auth = { method = \"password\", password = { env = \"NEW\" } }
";

const ROSTER: &str = "\
[[mailboxes]]
source = \"alice@old.example\"
destination = \"alice@new.example\"
";

fn good(text: &str) -> Loaded {
    load_text("acme", text, Path::new("/herd"))
        .unwrap_or_else(|rejected| panic!("{}", render_all(&rejected.diagnostics, false)))
}

fn bad(text: &str) -> Vec<Diagnostic> {
    match load_text("acme", text, Path::new("/herd")) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(rejected) => rejected.diagnostics,
    }
}

fn rendered(text: &str) -> String {
    render_all(&bad(text), false)
}

/// A definition in a directory of its own with these files.
fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        std::fs::write(directory.path().join(name), bytes).unwrap();
    }
    directory
}

#[test]
fn a_full_definition_means_exactly_what_it_says() {
    let text = r#"
description = "Acme, pilot group"
suspend = true
[source]
platform = "imap"
access = "imap"
host = "Mail.Old.example"
port = 1143
tls = "starttls"
ca_file = "old-ca.pem"
auth = { method = "master-user", user = "admin", password = { command = ["pass", "show", "x"] } }
connections = 2
[destination]
host = "2001:db8::1"
auth = { method = "password", password = { credential = "new" } }
[sync]
schedule = "*/15 * * * *"
timezone = "Europe/Berlin"
windows = ["mon-fri 19:00-07:00", "sat-sun"]
flags = false
moves = false
deletes = "carry"
max_delete = 100
rate = "4MiB/s"
concurrency = 3
[select]
since = 2019-01-01
before = 2026-01-01
max_size = "50MiB"
include = ["INBOX", "\\Sent"]
exclude = ["Projects/**"]
[folders]
prefix = "Imported/Acme"
map = { "Sent Items" = "\\sent", "a/b" = "c" }
[cutover]
at = 2026-12-05T22:00:00+01:00
tail = "24h"
[[mailboxes]]
source = "alice"
destination = "alice@new.example"
[[mailboxes]]
source = " bob "
destination = "bob@new.example"
destination_password = { file = "secrets/bob" }
"#;
    let Loaded { migration, warnings, files } = good(text);
    let source = Arc::new(Endpoint {
        platform: "imap".into(),
        host: "Mail.Old.example".into(),
        port: 1143,
        tls: Tls::Starttls,
        ca_file: Some("/herd/old-ca.pem".into()),
        connections: 2,
    });
    let destination = Arc::new(Endpoint {
        platform: "imap".into(),
        host: "2001:db8::1".into(),
        port: 993,
        tls: Tls::Implicit,
        ca_file: None,
        connections: 4,
    });
    let master = SecretRef::Command(["pass", "show", "x"].map(String::from).to_vec());
    let mailbox = |user: &str, secret: SecretRef| {
        Arc::new(Mailbox {
            source: Account {
                user: user.into(),
                endpoint: Arc::clone(&source),
                login: Login::MasterUser { user: "admin".into(), password: master.clone() },
            },
            destination: Account {
                user: format!("{user}@new.example"),
                endpoint: Arc::clone(&destination),
                login: Login::Password(secret),
            },
            carry: Carry {
                flags: false,
                moves: false,
                deletes: true,
                max_delete: MaxDelete::Messages(100),
                rate: Some(4 << 20),
            },
            select: Selection {
                dates: DateRange {
                    since: chrono::NaiveDate::from_ymd_opt(2019, 1, 1),
                    before: chrono::NaiveDate::from_ymd_opt(2026, 1, 1),
                },
                max_size: Some(50 << 20),
                include: ["INBOX", "\\Sent"].map(|p| FolderPattern::parse(p).unwrap()).to_vec(),
                exclude: vec![FolderPattern::parse("Projects/**").unwrap()],
            },
            folders: FolderRules {
                prefix: Some(FolderPath::parse("Imported/Acme")),
                map: vec![
                    (FolderPath::parse("Sent Items"), FolderTarget::Role(Role::Sent)),
                    (FolderPath::parse("a/b"), FolderTarget::Path(FolderPath::parse("c"))),
                ],
            },
        })
    };
    let expected = Migration {
        name: MigrationName("acme".into()),
        generation: migration.generation.clone(),
        description: Some("Acme, pilot group".into()),
        suspend: true,
        sync: SyncRules {
            schedule: Schedule::Cron("*/15 * * * *".into()),
            timezone: chrono_tz::Europe::Berlin,
            windows: vec![
                Window { days: vec![0, 1, 2, 3, 4], from: 1140, to: 420 },
                Window { days: vec![5, 6], from: 0, to: 1440 },
            ],
            concurrency: 3,
        },
        cutover: Some(Cutover {
            at: "2026-12-05T21:00:00Z".parse().unwrap(),
            tail: Duration::from_secs(24 * 3600),
        }),
        mailboxes: vec![
            mailbox("alice", SecretRef::Credential("new".into())),
            mailbox("bob", SecretRef::File("/herd/secrets/bob".into())),
        ],
    };
    assert_eq!(migration, expected);
    assert_eq!(files, [Path::new("/herd/old-ca.pem"), Path::new("/herd/secrets/bob")]);
    assert_eq!(warnings.len(), 1, "the trust root is not there");
    assert_eq!(
        migration.mailboxes[0].identity(),
        "imap://alice@mail.old.example:1143 → imap://alice@new.example@2001:db8::1:993"
    );
}

#[test]
fn what_is_left_out_has_documented_defaults() {
    let migration = good(&format!("{ENDPOINTS}{ROSTER}")).migration;
    let written = "[sync]\nevery = \"15m\"\ntimezone = \"UTC\"\nwindows = []\nflags = true\n\
         moves = true\ndeletes = \"ignore\"\nmax_delete = \"5%\"\n[select]\ninclude = []\n\
         exclude = []\n[folders]\nmap = {}\n";
    let endpoints = ENDPOINTS.replace(
        "host =",
        "platform = \"imap\"\naccess = \"imap\"\nport = 993\ntls = \"implicit\"\n\
         connections = 4\nhost =",
    );
    let mut spelt_out = good(&format!("suspend = false\n{endpoints}{written}{ROSTER}")).migration;
    assert_ne!(spelt_out.generation, migration.generation);
    spelt_out.generation = migration.generation.clone();
    assert_eq!(spelt_out, migration);
    assert_eq!(migration.sync.concurrency, UNLIMITED_CONCURRENCY);
    let tail = good(&format!("{ENDPOINTS}[cutover]\nat = 2026-01-01T00:00:00Z\n{ROSTER}"));
    assert_eq!(tail.migration.cutover.map(|cutover| cutover.tail), Some(DEFAULT_TAIL));
}

#[test]
fn ports_follow_the_protection_of_the_connection() {
    for (tls, port, warnings) in [("implicit", 993, 0), ("starttls", 143, 0), ("none", 143, 1)] {
        let text = format!("{ENDPOINTS}{ROSTER}").replacen(
            "host = \"old.example\"",
            &format!("host = \"old.example\"\ntls = \"{tls}\""),
            1,
        );
        let loaded = good(&text);
        assert_eq!(loaded.migration.mailboxes[0].source.endpoint.port, port);
        assert_eq!(loaded.warnings.len(), warnings, "{tls}");
    }
}

#[test]
fn an_unknown_key_is_shown_as_a_compiler_would() {
    let text = format!("shedule = \"*/15 * * * *\"\n{ENDPOINTS}[sync]\nshedule = \"x\"\n{ROSTER}");
    let errors = rendered(&text);
    let expected = "\
error: unknown key `shedule`
 --> acme.toml:9:1
  |
9 | shedule = \"x\"
  | ^^^^^^^ help: did you mean `schedule`?";
    assert!(errors.ends_with(expected), "{errors}");
}
