//! From text to validated values, and from mistakes to what an operator reads.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use drover::definition::*;
use drover::model::{FolderPath, Role};

/// A definition with everything in it.
const FULL: &str = r#"
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
compress = "always"
daily_bytes = "2500MB"
labels = "first"
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
    let text = FULL;
    let Loaded { migration, warnings, files } = good(text);
    let source = Arc::new(Endpoint {
        platform: "imap".into(),
        host: "Mail.Old.example".into(),
        port: 1143,
        tls: Tls::Starttls,
        ca_file: Some("/herd/old-ca.pem".into()),
        connections: 2,
        daily_bytes: Some(2_500_000_000),
        compress: Compress::Always,
        traits: Default::default(),
        labels: Labels::First,
    });
    let destination = Arc::new(Endpoint {
        platform: "imap".into(),
        host: "2001:db8::1".into(),
        port: 993,
        tls: Tls::Implicit,
        ca_file: None,
        connections: 4,
        daily_bytes: None,
        compress: Compress::Auto,
        traits: Default::default(),
        labels: Labels::Folders,
    });
    let master = SecretRef::Command(["pass", "show", "x"].map(String::from).to_vec());
    let mailbox = |user: &str, secret: SecretRef| {
        Arc::new(Mailbox {
            migration: MigrationName("acme".into()),
            source: Account {
                user: user.into(),
                endpoint: Arc::clone(&source),
                login: Login::MasterUser {
                    user: "admin".into(),
                    password: master.clone(),
                    form: MasterForm::Authzid,
                    alias: None,
                },
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
                left_out: vec![],
            },
            folders: FolderRules {
                prefix: Some(FolderPath::parse("Imported/Acme")),
                map: vec![
                    (FolderPath::parse("Sent Items"), FolderTarget::Role(Role::Sent)),
                    (FolderPath::parse("a/b"), FolderTarget::Path(FolderPath::parse("c"))),
                ],
                names: NameRules::default(),
            },
            accept: vec![],
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
        "imap://alice@mail.old.example:1143 → imap://alice@new.example@[2001:db8::1]:993"
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

#[test]
fn every_mistake_of_a_file_is_told_at_once_where_it_stands() {
    let text = r#"suspend = "no"
[source]
platform = "pigeon"
[destination]
host = "imap://new.example"
auth = { method = "xoauth2" }
[sync]
schedule = "61 * * * *"
every = "often"
windows = ["sat-sun", "mon-fri 19:00"]
max_delete = "500%"
[select]
since = 2026-01-01
before = 2019-01-01
include = ["\\Sentt"]
[folders]
map = { a = "\\All" }
[cutover]
tail = 72
[roster]
csv = "missing.csv"
"#;
    let errors = bad(text);
    let places: Vec<_> = errors.iter().map(|d| (d.line.unwrap(), d.column.unwrap())).collect();
    let expected = [
        (1, 11),
        (3, 12),
        (5, 8),
        (6, 19),
        (8, 12),
        (9, 1),
        (9, 9),
        (10, 23),
        (11, 14),
        (14, 10),
        (15, 12),
        (17, 13),
        (18, 1),
        (19, 8),
        (21, 7),
    ];
    assert_eq!(places, expected, "{}", render_all(&errors, false));
    assert!(errors.iter().all(|error| error.is_error() && error.file == "acme.toml"));
}

#[test]
fn one_mistake_makes_one_message() {
    let good = format!("{ENDPOINTS}{ROSTER}");
    let auth = "auth = { method = \"password\", password = { env = \"OLD\" } }";
    for text in [
        good.replacen(auth, "auth = \"none\"", 1),
        good.replacen(auth, "auth = { method = \"xoauth2\" }", 1),
        good.replacen(auth, "auth = { password = \"hunter2\" }", 1),
        good.replacen("host = \"old.example\"", "platform = \"pigeon\"", 1),
        good.replacen("host = \"old.example\"", "host = 5", 1),
        good.replacen("host = \"old.example\"\n", "", 1),
        format!("roster = 5\n{ENDPOINTS}"),
        format!("{ENDPOINTS}[roster]\n"),
        format!("mailboxes = 5\n{ENDPOINTS}"),
        format!("{ENDPOINTS}[[mailboxes]]\nsource = \"a\"\n"),
    ] {
        let errors = bad(&text);
        assert_eq!(errors.len(), 1, "{text}\n{}", render_all(&errors, false));
    }
}

#[test]
fn mistakes_render_with_caret_and_remedy() {
    let text =
        format!("{ENDPOINTS}[sync]\nschedule = \"61 * * * *\"\nwindows = [\"mo\"]\n{ROSTER}");
    insta::assert_snapshot!(rendered(&text), @r#"
    error: `61 * * * *` is no cron expression: Component error: Number out of bounds
     --> acme.toml:8:12
      |
    8 | schedule = "61 * * * *"
      |            ^^^^^^^^^^^^
      |
      = help: five fields: minute hour day month weekday, as in "*/15 * * * *"

    error: `mo` is no window: `mo` is no day of the week; they are mon tue wed thu fri sat sun
     --> acme.toml:9:12
      |
    9 | windows = ["mo"]
      |            ^^^^
      |
      = help: write "mon-fri 19:00-07:00", "sat-sun" or "daily 22:00-06:00"
    "#);
}

#[test]
fn diagnostics_are_plain_data_too() {
    let errors = bad(&format!("shedule = 1\n{ENDPOINTS}{ROSTER}"));
    let expected = serde_json::json!([{
        "severity": "error",
        "file": "acme.toml",
        "line": 1,
        "column": 1,
        "message": "unknown key `shedule`",
        "help": errors[0].help,
    }]);
    assert_eq!(serde_json::to_value(&errors).unwrap(), expected);
}

#[test]
fn colour_is_only_where_it_is_asked_for() {
    let errors = bad("a = 1\n");
    assert!(!render_all(&errors, false).contains('\u{1b}'));
    assert!(render_all(&errors, true).contains('\u{1b}'));
}

#[test]
fn a_file_cannot_write_on_the_terminal() {
    let errors = rendered("\"\\u001b[2J\" = 1\ndescription = \"\u{202e}\"\n[source]\n");
    assert!(!errors.contains('\u{1b}'), "{errors:?}");
}

#[test]
fn a_bare_password_is_refused_and_never_shown() {
    let text = format!("{ENDPOINTS}{ROSTER}source_password = \"hunter2\"\n");
    insta::assert_snapshot!(rendered(&text), @r#"
    error: `source_password` must not hold the secret itself
      --> acme.toml:10:19
       |
    10 | source_password = …
       |                   ^
       |
       = help: write { file = "secrets/alice" }, { env = "NAME" }, { credential = "name" } or { command = ["pass", "show", "alice"] }
    "#);
}

#[test]
fn no_mistake_near_a_password_shows_it() {
    for text in [
        "source_pasword = \"hunter2\"",
        "[source]\nauth = \"hunter2\"",
        "[source]\nauth = { password = \"hunter2\", methud = 1 }",
        "[source]\nauth = { password = { value = \"hunter2\" }, methud = 1 }",
        "[source]\nauth = { password = 'hunter2', method = 5 }",
        "[source]\nauth = { password = [\"hunter2\"], method = 5 }",
        "[sorce]\nhost = \"a\"\n[sorce.auth]\npassword = \"hunter2\"",
        "sorce = { auth = { password = \"hunter2\" } }",
        "password = \"\"\"\nhunter2\"\"\" x",
        "password = hunter2",
        "password = \"hunter2",
        "password = \"\"\"\nhunter2",
        "[source]\nauth = { method = \"password\", password = hunter2 }",
        "[[mailboxes]]\nsource_password = \"hunter2\" destination = 1",
        "[[mailboxes]]\nsource_password = \"x\"\nsource_password = \"hunter2\"",
        "[source]\nhost = \"imap://alice:hunter2@old.example\"",
    ] {
        let errors = bad(text);
        let shown = render_all(&errors, false) + &serde_json::to_string(&errors).unwrap();
        assert!(!shown.contains("hunter2"), "{text}\n{shown}");
    }
}

#[test]
fn a_mailbox_without_a_password_is_named() {
    let text = format!("[source]\nhost = \"old.example\"\n[destination]\nhost = \"x\"\n{ROSTER}");
    let errors = rendered(&text);
    assert!(errors.contains("no password for the source `alice@old.example`"), "{errors}");
    assert!(errors.contains("no password for the destination `alice@new.example`"), "{errors}");
}

#[test]
fn an_account_is_in_a_roster_once_in_any_case() {
    let twin = ROSTER.replace("alice", "ALICE");
    let errors = rendered(&format!("{ENDPOINTS}{ROSTER}{twin}"));
    assert!(errors.contains("the source `ALICE@old.example` is in the roster twice"), "{errors}");
    assert!(errors.contains("the destination `ALICE@new.example` is in the"), "{errors}");
    assert!(errors.contains("it stands at acme.toml:8 already"), "{errors}");
}

#[test]
fn an_account_is_not_copied_to_itself() {
    let endpoints = ENDPOINTS.replace("new.example", "OLD.example");
    let roster = ROSTER.replace("alice@new", "Alice@old");
    let errors = rendered(&format!("{endpoints}{roster}"));
    assert!(errors.contains("`alice@old.example` would be copied to itself"), "{errors}");
    let elsewhere = endpoints.replace("OLD.example\"", "OLD.example\"\nport = 1993");
    good(&format!("{elsewhere}{roster}"));
}

#[test]
fn a_master_user_and_own_passwords_exclude_each_other() {
    let master = "auth = { method = \"master-user\", user = \"m\", password = { env = \"M\" } }";
    let endpoints = ENDPOINTS.replacen(
        "auth = { method = \"password\", password = { env = \"OLD\" } }",
        master,
        1,
    );
    good(&format!("{endpoints}{ROSTER}"));
    let own = format!("{endpoints}{ROSTER}source_password = {{ env = \"A\" }}\n");
    assert!(rendered(&own).contains("is entered by the master user"));
    let incomplete = endpoints.replace(", user = \"m\", password = { env = \"M\" }", "");
    assert_eq!(bad(&format!("{incomplete}{ROSTER}")).len(), 2);
}

#[test]
fn an_empty_file_or_roster_is_an_error() {
    for text in ["", "# nothing\n", "\u{feff}"] {
        assert!(rendered(text).starts_with("error: the file is empty\n"));
    }
    assert!(rendered(ENDPOINTS).starts_with("error: the roster is empty"));
    assert!(rendered(&format!("mailboxes = []\n{ENDPOINTS}")).contains("the roster is empty"));
}

#[test]
fn windows_line_ends_and_byte_order_marks_change_nothing() {
    let text = format!("{ENDPOINTS}{ROSTER}");
    let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    assert_eq!(good(&windows).migration, good(&text).migration);
    let errors = bad(&format!("\u{feff}{}", format!("{text}x = 1\n").replace('\n', "\r\n")));
    assert_eq!((errors[0].line, errors[0].column), (Some(10), Some(1)));
    assert!(!errors[0].render(false).contains('\r'));
}

#[test]
fn what_is_not_utf8_is_refused_with_its_place() {
    let directory = directory(&[("acme.toml", b"# \xc3\xbcber\n# \xe4\n")]);
    let rejected = load(&directory.path().join("acme.toml")).unwrap_err();
    let first = &rejected.diagnostics[0];
    assert_eq!((first.line, first.column), (Some(2), Some(3)));
    assert_eq!(first.message, "the file is not UTF-8 text");
}

#[test]
fn only_regular_files_are_read() {
    let directory = directory(&[]);
    let toml = format!("{ENDPOINTS}[roster]\ncsv = \"/dev/zero\"\n");
    std::fs::write(directory.path().join("acme.toml"), toml).unwrap();
    std::fs::create_dir(directory.path().join("dir.toml")).unwrap();
    for name in ["acme.toml", "dir.toml", "gone.toml"] {
        let rejected = load(&directory.path().join(name)).unwrap_err();
        assert_eq!(rejected.diagnostics.len(), 1);
        assert!(rejected.diagnostics[0].message.contains("cannot read the file"));
    }
}

#[test]
fn a_large_roster_with_as_many_mistakes_is_answered_at_once() {
    let rows: String =
        (0..20_000).map(|n| format!("u{n}@old.example,same@new.example\n")).collect();
    let csv = format!("source,destination\n{rows}");
    let toml = format!("{ENDPOINTS}[roster]\ncsv = \"wave.csv\"\n");
    let directory = directory(&[("acme.toml", toml.as_bytes()), ("wave.csv", csv.as_bytes())]);
    let began = std::time::Instant::now();
    let rejected = load(&directory.path().join("acme.toml")).unwrap_err();
    assert_eq!(rejected.diagnostics.len(), 19_999);
    assert_eq!(rejected.diagnostics[19_998].line, Some(20_001));
    // Generous: a quadratic reader takes minutes.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn a_syntax_error_has_its_place() {
    let errors = bad("[source]\nhost = old\n[destination\n");
    assert_eq!((errors[0].line, errors[0].column), (Some(2), Some(8)));
    assert_eq!(errors[1].line, Some(3));
}

#[test]
fn the_generation_follows_the_content_and_not_the_layout() {
    let generation = |text: &str| good(text).migration.generation;
    let text = format!("{ENDPOINTS}[sync]\nflags = true\nmoves = true\n{ROSTER}");
    let layout = format!("# note\n{ENDPOINTS}[sync]\nmoves=true # why\nflags  =  true\n\n{ROSTER}");
    assert_eq!(generation(&text), generation(&layout));
    assert_eq!(generation(&text).0.len(), 16);
    for changed in [
        text.replace("flags = true", "flags = false"),
        text.replace("alice@new", "bob@new"),
        text.replace("OLD", "OLDER"),
    ] {
        assert_ne!(generation(&text), generation(&changed));
    }
}

#[test]
fn a_csv_roster_joins_the_inline_one() {
    let toml = format!("{ENDPOINTS}{ROSTER}[roster]\ncsv = \"wave.csv\"\n");
    let csv = "Source,destination,source_password_file,destination_password_env\n\
         # the board\nbob@old.example, bob@new.example ,secrets/bob,\n\n\
         carol@old.example,\"carol@new.example\",,CAROL\n";
    let directory = directory(&[("acme.toml", toml.as_bytes()), ("wave.csv", csv.as_bytes())]);
    let loaded = load(&directory.path().join("acme.toml")).unwrap();
    let of = |m: &Arc<Mailbox>| {
        let secret = |login: &Login| match login {
            Login::Password(secret) => secret.clone(),
            other => panic!("{other:?}"),
        };
        let (source, destination) = (secret(&m.source.login), secret(&m.destination.login));
        (m.source.user.clone(), m.destination.user.clone(), source, destination)
    };
    let env = |name: &str| SecretRef::Env(name.into());
    let file = directory.path().join("secrets/bob");
    let row = |name: &str, source, destination| {
        (format!("{name}@old.example"), format!("{name}@new.example"), source, destination)
    };
    let mailboxes: Vec<_> = loaded.migration.mailboxes.iter().map(of).collect();
    let expected = [
        row("alice", env("OLD"), env("NEW")),
        row("bob", SecretRef::File(file.clone()), env("NEW")),
        row("carol", env("OLD"), env("CAROL")),
    ];
    assert_eq!(mailboxes, expected);
    assert_eq!(loaded.files, [file, directory.path().join("wave.csv")]);

    std::fs::write(directory.path().join("wave.csv"), csv.replace("carol", "dora")).unwrap();
    let changed = load(&directory.path().join("acme.toml")).unwrap();
    assert_ne!(changed.migration.generation, loaded.migration.generation);
}

#[test]
fn mistakes_in_a_csv_are_shown_in_the_csv() {
    let toml = format!("{ENDPOINTS}[roster]\ncsv = \"wave.csv\"\n");
    let csv = "source,destination,source_password,note\n\na@x,b@y,hunter2,\n\"A@x\",c@y,hunter2,\n\
         d@x,e@y\n,f@y,hunter2,hunter2\n";
    let directory = directory(&[("acme.toml", toml.as_bytes()), ("wave.csv", csv.as_bytes())]);
    let path = directory.path().join("acme.toml");
    let rejected = load(&path).unwrap_err();
    let base = format!("{}/", directory.path().display());
    let shown = render_all(&rejected.diagnostics, false).replace(&base, "");
    insta::assert_snapshot!(shown, @r#"
    error: unknown column `source_password`
     --> wave.csv:1:20
      |
    1 | source,destination,source_password,note
      |                    ^^^^^^^^^^^^^^^
      |
      = help: a password must not stand here: use source_password_env, _file or _credential

    error: unknown column `note`
     --> wave.csv:1:36
      |
    1 | source,destination,source_password,note
      |                                    ^^^^
      |
      = help: known are `source`, `destination`, `source_alias`, `destination_alias`, `source_password_env`, `source_password_file`, `source_password_credential`, `destination_password_env`, `destination_password_file`, `destination_password_credential`, `source_refresh_token_env`, `source_refresh_token_file`, `source_refresh_token_credential`, `destination_refresh_token_env`, `destination_refresh_token_file`, `destination_refresh_token_credential`

    error: the source `A@x` is in the roster twice
     --> wave.csv:4:1
      |
    4 | "A@x",c@y,…,
      | ^^^^^ help: it stands at wave.csv:3 already; remove one

    error: this row has 2 cells, the first line has 4
     --> wave.csv:5:1
      |
    5 | d@x,e@y
      | ^^^^^^^ help: a cell with a comma in it needs quotes around it

    error: this is no account name
     --> wave.csv:6:1
      |
    6 | ,f@y,…,…
      | ^ help: write the account's address or user name
    "#);
    assert_eq!(rejected.files, [directory.path().join("wave.csv")], "a change there may help");
}

#[test]
fn a_csv_without_rows_or_columns_is_refused() {
    let toml = format!("{ENDPOINTS}[roster]\ncsv = \"wave.csv\"\n");
    for (csv, expected) in [
        ("", "the file is empty"),
        ("source,destination\n", "the roster is empty"),
        ("source\na@x\n", "there is no column `destination`"),
        ("source,destination,source\na,b,c\n", "the column `source` stands twice"),
        (
            "source,destination,source_password_env,source_password_file\na,b,c,d\n",
            "this mailbox has two passwords for one side",
        ),
        (
            "source,destination,source_password_credential\na,b,../c\n",
            "this does not name a secret",
        ),
    ] {
        let directory = directory(&[("acme.toml", toml.as_bytes()), ("wave.csv", csv.as_bytes())]);
        let rejected = load(&directory.path().join("acme.toml")).unwrap_err();
        let first = &rejected.diagnostics[0];
        assert_eq!(first.message, expected);
        assert!(first.file.ends_with("wave.csv"));
    }
}

#[test]
fn two_migrations_may_not_share_an_account() {
    let named = |name: &str, text: &str| load_text(name, text, Path::new("/")).unwrap().migration;
    let first = named("first", &format!("{ENDPOINTS}{ROSTER}"));
    let other = named("other", &format!("{ENDPOINTS}{}", ROSTER.replace("alice", "bob")));
    let shared = named("shared", &format!("{ENDPOINTS}{}", ROSTER.replace("alice@old", "Bob@old")));
    assert_eq!(conflicts(&[&first, &other]), []);
    let found = conflicts(&[&first, &other, &shared]);
    insta::assert_snapshot!(render_all(&found, false), @r"
    error: also a destination of shared.toml: `alice@new.example`
    --> first.toml
     = help: a mailbox belongs to one migration; remove it from the other

    error: also a source of shared.toml: `Bob@old.example`
    --> other.toml
     = help: a mailbox belongs to one migration; remove it from the other

    error: also a source of other.toml: `Bob@old.example`
    --> shared.toml
     = help: a mailbox belongs to one migration; remove it from the other

    error: also a destination of first.toml: `alice@new.example`
    --> shared.toml
     = help: a mailbox belongs to one migration; remove it from the other
    ");
}

#[test]
fn a_name_that_could_not_stand_in_a_command_is_refused() {
    for name in ["", "-x", ".hidden", "a b", "a/b", "a\nb"] {
        assert!(
            load_text(name, &format!("{ENDPOINTS}{ROSTER}"), Path::new("/")).is_err(),
            "{name}"
        );
    }
    load_text("acme-wave_1.b", &format!("{ENDPOINTS}{ROSTER}"), Path::new("/")).unwrap();
}

/// Every key of an object's schema, as a path.
fn keys_of(schema: &serde_json::Value, above: &str, all: &mut Vec<String>) {
    for (key, value) in schema["properties"].as_object().into_iter().flatten() {
        all.push(format!("{above}{key}"));
        let below = format!("{above}{key}.");
        keys_of(value, &below, all);
        keys_of(&value["items"], &below, all);
    }
}

#[test]
fn the_parser_and_the_schema_know_the_same_keys() {
    let mut known = Vec::new();
    keys_of(&schema(), "", &mut known);
    assert!(known.len() > 50, "{known:?}");
    for path in known {
        let parts: Vec<_> = path.split('.').collect();
        // As inline tables, with a value of the wrong type at the end: what the parser knows it
        // judges, what it does not it calls unknown.
        let list = matches!(parts[0], "mailboxes" | "accept") && parts.len() > 1;
        let inner = parts[1..].iter().rev().fold("1979-05-27T07:32:00".to_owned(), |value, key| {
            format!("{{ {key} = {value}, not_a_key = 1 }}")
        });
        let value = if list { format!("[{inner}]") } else { inner };
        let errors = bad(&format!("{} = {value}\nnot_a_key = 1\n", parts[0]));
        let unknown: Vec<_> =
            errors.iter().filter(|e| e.message.starts_with("unknown key")).collect();
        let strangers = unknown.iter().filter(|e| e.message.contains("not_a_key")).count();
        assert_eq!(strangers, parts.len(), "{path}: {unknown:?}");
        assert_eq!(unknown.len(), strangers, "{path}: {unknown:?}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config {
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn any_text_is_answered_without_a_panic(at in 0..FULL.len(), noise in "\\PC{0,4}|[\"'=\\[{\n\r]{1,3}") {
        let text = format!("{}{noise}{}", &FULL[..at], &FULL[at..]);
        if let Err(rejected) = load_text("acme", &text, Path::new("/herd")) {
            proptest::prop_assert!(rejected.diagnostics.iter().any(Diagnostic::is_error));
            render_all(&rejected.diagnostics, true);
        }
        if let Err(rejected) = load_text("acme", &text[..at], Path::new("/herd")) {
            render_all(&rejected.diagnostics, false);
        }
    }

    #[test]
    fn any_csv_is_answered_without_a_panic(rows in "[a,;\"#\n\r \u{e4}]{0,30}") {
        let toml = format!("{ENDPOINTS}[roster]\ncsv = \"wave.csv\"\n");
        let csv = format!("source,destination\n{rows}");
        let files = [("acme.toml", toml.as_bytes()), ("wave.csv", csv.as_bytes())];
        let directory = directory(&files);
        if let Err(rejected) = load(&directory.path().join("acme.toml")) {
            render_all(&rejected.diagnostics, false);
        }
    }
}

/// Carriage returns that end no line belong to nobody's excerpt.
#[test]
fn a_mistake_behind_stray_carriage_returns_is_shown_all_the_same() {
    for (end, _) in FULL.match_indices('\n') {
        for stray in ["\r\r", "\r\r\r", "=\r\r\r"] {
            let text = format!("{}{stray}{}", &FULL[..end], &FULL[end..]);
            for error in load_text("acme", &text, Path::new("/"))
                .map_or_else(|rejected| rejected.diagnostics, |loaded| loaded.warnings)
            {
                assert!(!error.render(false).contains('\r'), "{text}");
            }
        }
    }
}
