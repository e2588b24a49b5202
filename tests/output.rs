//! Words of strangers in drover's output: folders, messages, servers' texts and account names may
//! hold anything, and nothing of it reaches a terminal, breaks a line or spoils JSON.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

use serde_json::Value;
use support::Drover;
use support::drover::{BY_PASSWORD, loopback, mailbox};

/// A title for the window, colours, a bell, a line of its own, and text in the other direction.
/// As UTF-8: the last two escapes are C1 and bidi controls.
const HOSTILE: &str = "x\u{1b}]0;pwned\u{7}\u{1b}[31mred\r\u{9b}2J\u{202e}gpj.exe";
/// The same in modified UTF-7, with path tricks around it, as one IMAP name.
const FOLDERS: [&str; 6] = [
    "../../etc/passwd",
    "/etc/cron.d/x",
    "a&ABsAWwAzADEAbQ-b",
    "line&AA0ACg-break",
    "&IC4-gpj.exe",
    "nul&AAA-nul",
];

/// A source that signs everybody in, has the folders above with a message each, and says hostile
/// things wherever it can; `login` is what it answers to a login. It ends with the test process.
fn server(login: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || talk(stream, login));
        }
    });
    port
}

fn talk(mut stream: TcpStream, login: &str) {
    let reader = stream.try_clone().map(BufReader::new);
    let Ok(reader) = reader else { return };
    let mut say = |text: String| stream.write_all(text.as_bytes());
    if say("* OK [CAPABILITY IMAP4rev1] hello\r\n".into()).is_err() {
        return;
    }
    for line in reader.split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        let (tag, command) = line.trim_end().split_once(' ').unwrap_or_default();
        let folder = FOLDERS.iter().map(|name| format!("* LIST () \"/\" \"{name}\"\r\n"));
        let data = match command {
            c if c.starts_with("LOGIN") => login.replace('$', tag),
            c if c.starts_with("LIST \"\" \"\"") => "* LIST () \"/\" \"\"\r\n".into(),
            c if c.starts_with("LIST") => folder.collect(),
            c if c.starts_with("EXAMINE") => {
                "* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 2] x\r\n".into()
            }
            c if c.starts_with("UID FETCH") && c.contains("BODY.PEEK[]") => {
                format!("{tag} NO [SERVERBUG] {HOSTILE}\r\n")
            }
            c if c.starts_with("UID FETCH") && c.contains("HEADER") => {
                let header = format!("Message-ID: <{HOSTILE}@x>\r\n\r\n");
                format!("* 1 FETCH (UID 1 BODY[HEADER] {{{}}}\r\n{header})\r\n", header.len())
            }
            c if c.starts_with("UID FETCH") => "* 1 FETCH (UID 1 FLAGS () RFC822.SIZE 5 \
                 INTERNALDATE \"01-Jul-2003 10:52:37 +0200\")\r\n"
                .into(),
            _ => String::new(),
        };
        let end = if data.starts_with(tag) { String::new() } else { format!("{tag} OK x\r\n") };
        if say(data + &end).is_err() {
            return;
        }
    }
}

const WELCOME: &str = "$ OK in\r\n";

fn define(drover: &Drover, source: u16, destination: &support::Dovecot, user: &str) {
    let destination = loopback("destination", destination.port()) + BY_PASSWORD;
    let sides = loopback("source", source) + BY_PASSWORD + &destination;
    drover.define("pilot", &(sides + &mailbox(user, "anna")));
}

/// Fails if this would do something to a terminal or to the reader's mind.
#[track_caller]
fn assert_tame(what: &str, text: &[u8]) {
    let text = std::str::from_utf8(text).unwrap_or_else(|e| panic!("{what} is no UTF-8: {e}"));
    let odd = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t')) || ('\u{202a}'..='\u{202e}').contains(&c)
    };
    if let Some(at) = text.find(odd) {
        let from = text[..at].rfind('\n').map_or(0, |at| at + 1);
        panic!("{what} holds {:?}: {:?}", &text[at..].chars().next(), text[from..].lines().next());
    }
}

fn files(path: &Path) -> Vec<std::path::PathBuf> {
    let entries = path.read_dir().into_iter().flatten().flatten();
    let below = entries.flat_map(|entry| match entry.path() {
        path if path.is_dir() => files(&path),
        path => vec![path],
    });
    below.collect()
}

#[test]
fn what_strangers_say_does_nothing_to_a_terminal() {
    let destination = support::Dovecot::start();
    let drover = Drover::new();
    define(&drover, server(WELCOME), &destination, "anna");
    let commands: [&[&str]; 9] = [
        &["plan"],
        &["plan", "-o", "json"],
        &["sync", "pilot"],
        &["sync", "pilot", "-o", "json"],
        &["status", "pilot"],
        &["status", "-o", "json"],
        &["verify", "pilot"],
        &["failed", "pilot"],
        &["failed", "pilot", "-o", "json"],
    ];
    let mut all = String::new();
    for arguments in commands {
        for level in ["warn", "trace"] {
            let output = drover.command(arguments).env("RUST_LOG", level).output().expect("run");
            let what = arguments.join(" ");
            assert_tame(&format!("the output of {what}"), &output.stdout);
            assert_tame(&format!("the log of {what}"), &output.stderr);
            if arguments.contains(&"json") && !output.stdout.is_empty() {
                serde_json::from_slice::<Value>(&output.stdout)
                    .unwrap_or_else(|e| panic!("{what} is no JSON: {e}"));
            }
            all += &String::from_utf8_lossy(&output.stdout);
        }
    }
    assert!(all.contains("gpj.exe") && all.contains("passwd"), "the strangers said nothing: {all}");
    assert!(!Path::new("/etc/cron.d/x").exists());
    let strays: Vec<_> = files(&drover.path("."))
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("passwd"))
        .collect();
    assert!(strays.is_empty(), "a folder became a file: {strays:?}");
}

#[test]
fn a_refused_login_does_nothing_to_a_terminal_or_a_log() {
    let refusal = "$ NO [AUTHENTICATIONFAILED] x\u{1b}]0;pwned\u{7}\u{9b}2J\u{202e}gpj.exe\r\n";
    let destination = support::Dovecot::start();
    for format in ["pretty", "json", "journald"] {
        let mut drover = Drover::new();
        let config = std::fs::read_to_string(drover.path("config.toml")).expect("read it");
        drover.write("config.toml", &format!("{config}[log]\nformat = \"{format}\"\n"));
        define(&drover, server(refusal), &destination, "anna");
        drover.start_with(&[("RUST_LOG", Path::new("drover=trace"))]);
        drover.until("a refusal", |d| {
            !d.mailbox("pilot")["error"].is_null() || d.log().contains("gpj")
        });
        let shown = drover.run(&["status", "pilot"]);
        assert_tame("status", &shown.stdout);
        drover.stop();
        let log = drover.log();
        assert!(log.contains("gpj.exe"), "{log}");
        assert_tame(&format!("the {format} log"), log.as_bytes());
        if format == "json" {
            for line in log.lines() {
                serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{line}: {e}"));
            }
        }
    }
}

#[test]
fn a_roster_of_strangers_does_nothing_to_a_terminal() {
    let drover = Drover::new();
    drover.write(
        "definitions/people.csv",
        &format!("source,destination\n{HOSTILE},b\n\"{HOSTILE}\n"),
    );
    drover.define(
        "pilot",
        "[source]\nhost = \"a.example\"\nauth = { password = { env = \"X\" } }\n\
         [destination]\nhost = \"b.example\"\nauth = { password = { env = \"X\" } }\n\
         [roster]\ncsv = \"people.csv\"\n",
    );
    for arguments in [&["check"][..], &["check", "-o", "json"], &["status"], &["plan"]] {
        let output = drover.run(arguments);
        assert_tame(&arguments.join(" "), &output.stdout);
        assert_tame(&format!("{}, on standard error", arguments.join(" ")), &output.stderr);
    }
}
