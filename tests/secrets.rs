//! Law 9: secrets are referenced, never held: not in logs at any level, errors, or panics.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use drover::definition::{Login, SecretRef, load_text};
use drover::model::PassKind;
use support::drover::{BY_PASSWORD, loopback, mailbox};
use support::{Dovecot, Drover, World, note};
use tracing_subscriber::fmt::MakeWriter;

const PASSWORD: &str = "Tr0ub4dor&Wachtmeister-9f31";

/// Keeps everything that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no writer panics").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Forms in which it could leak: as it is, and as SASL PLAIN sends it.
fn forms() -> Vec<String> {
    let plain = |authorisation: &str, user: &str| {
        let text = format!("{authorisation}\0{user}\0{PASSWORD}");
        support::base64(text.as_bytes())
    };
    vec![
        PASSWORD.into(),
        support::base64(PASSWORD.as_bytes()),
        plain("", "anna"),
        plain("anna", "anna"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn law_9_no_log_at_any_level_and_no_error_holds_a_secret() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(log.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).expect("the first subscriber");

    let server = || Dovecot::builder().password(PASSWORD).start();
    let mut world = World::between(server(), server()).await;
    let secret = tempfile::NamedTempFile::new().expect("make a file");
    std::fs::write(secret.path(), format!("{PASSWORD}\n")).expect("write a secret");
    let login = Login::Password(SecretRef::File(secret.path().to_owned()));
    world.mailbox.source.login = login.clone();
    world.mailbox.destination.login = login;
    world.at_source().append_many("INBOX", &[note("one")]);
    world.seed().await;
    let mut said = format!("{:?}", world.mailbox);

    // Refused: the error is what people copy into tickets.
    std::fs::write(secret.path(), format!("{PASSWORD}x\n")).expect("write a secret");
    let error = world.try_pass(PassKind::Delta).await.expect_err("the password is wrong");
    said.push_str(&format!("{error} {error:?} {}", error.remedy()));

    // Not one line of text: told without telling it.
    std::fs::write(secret.path(), format!("{PASSWORD}\n{PASSWORD}\n")).expect("write a secret");
    let error = world.try_pass(PassKind::Delta).await.expect_err("two lines are no password");
    said.push_str(&format!("{error} {error:?} {}", error.remedy()));

    said.push_str(&String::from_utf8_lossy(&log.0.lock().expect("no writer panics")));
    assert!(said.contains("CredentialsRefused") || said.contains("refused the login"), "{said}");
    for form in forms() {
        assert!(!said.contains(&form), "a secret shows in what drover says, as {form}");
    }
}

// ---- through the program -----------------------------------------------------------------------

/// A definition whose password is in `secrets/pw`.
fn definition(source: u16, destination: u16) -> String {
    let side = |name, port| loopback(name, port) + BY_PASSWORD;
    side("source", source) + &side("destination", destination) + &mailbox("anna", "anna")
}

/// A server that offers only these capabilities, and refuses every login by repeating it.
fn parrot(capabilities: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let greeting = format!("* OK [CAPABILITY IMAP4rev1 {capabilities}] x\r\n");
                let _ = stream.write_all(greeting.as_bytes());
                let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
                let mut line = String::new();
                while matches!(reader.read_line(&mut line), Ok(1..)) {
                    let said = line.trim_end().replace(['"', '\\'], "");
                    let tag = said.split(' ').next().unwrap_or_default();
                    let answer =
                        format!("* BAD {said}\r\n{tag} NO [AUTHENTICATIONFAILED] no: {said}\r\n");
                    let _ = stream.write_all(answer.as_bytes());
                    line.clear();
                }
            });
        }
    });
    port
}

/// Everything that the program's commands print and log, as chatty as can be.
fn everything_said(drover: &Drover) -> String {
    let commands: [&[&str]; 6] = [
        &["check", "--connect"],
        &["sync", "pilot"],
        &["plan", "-o", "json"],
        &["status", "-o", "json"],
        &["verify", "pilot"],
        &["failed", "pilot"],
    ];
    let mut said = String::new();
    for arguments in commands {
        let mut command = drover.command(arguments);
        command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
        let output = command.output().expect("run drover");
        said += &String::from_utf8_lossy(&output.stdout);
        said += &String::from_utf8_lossy(&output.stderr);
    }
    said
}

#[track_caller]
fn assert_silent_about_it(said: &str) {
    assert!(said.len() > 200, "nothing was said at all: {said}");
    for form in forms() {
        if let Some(at) = said.find(&form) {
            let from = said[..at].rfind('\n').map_or(0, |at| at + 1);
            panic!("a secret shows, as {form}: {:?}", said[from..].lines().next());
        }
    }
}

#[test]
fn law_9_the_program_at_its_chattiest_tells_no_secret() {
    let server = || Dovecot::builder().password(PASSWORD).start();
    let (source, destination) = (server(), server());
    source.connect("anna").append_many("INBOX", &[note("one")]);
    let drover = Drover::new();
    drover.write("secrets/pw", &format!("{PASSWORD}\n"));
    drover.define("pilot", &definition(source.port(), destination.port()));
    let said = everything_said(&drover);
    assert!(said.contains("1 message copied"), "{said}");
    assert_silent_about_it(&said);
}

#[test]
fn law_9_a_server_that_repeats_the_secret_is_not_quoted() {
    for capabilities in ["", "AUTH=PLAIN SASL-IR"] {
        let drover = Drover::new();
        drover.write("secrets/pw", &format!("{PASSWORD}\n"));
        let port = parrot(capabilities);
        let two_users =
            definition(port, port).replace("destination = \"anna\"", "destination = \"bo\"");
        drover.define("pilot", &two_users);
        let said = everything_said(&drover);
        assert!(said.contains("[secret]"), "{said}");
        assert_silent_about_it(&said);
    }
}

#[test]
fn law_9_a_secret_in_the_wrong_place_is_not_repeated() {
    let drover = Drover::new();
    let wrong = [
        format!("auth = {{ password = \"{PASSWORD}\" }}"),
        format!("auth = {{ method = \"password\", password = \"{PASSWORD}\" }}"),
        format!("password = \"{PASSWORD}\"\nauth = {{ password = {{ env = \"X\" }} }}"),
        format!("auth = {{ password = {{ value = \"{PASSWORD}\" }} }}"),
    ];
    for (n, auth) in wrong.iter().enumerate() {
        let text = format!(
            "[source]\nhost = \"a.example\"\n{auth}\n[destination]\nhost = \"b.example\"\n{auth}\n\
             [[mailboxes]]\nsource = \"anna\"\ndestination = \"anna\"\n"
        );
        let loaded = load_text("x", &text, std::path::Path::new("/nonexistent"));
        assert!(loaded.is_err());
        assert_silent_about_it(&format!("{:300}{loaded:?}", ""));
        drover.define(&format!("pilot{n}"), &text);
    }
    drover.write(
        "definitions/people.csv",
        &format!("source,destination,source_password\nanna,anna,{PASSWORD}\n"),
    );
    drover.define(
        "roster",
        "[source]\nhost = \"a.example\"\nauth = { password = { env = \"X\" } }\n\
         [destination]\nhost = \"b.example\"\nauth = { password = { env = \"X\" } }\n\
         [roster]\ncsv = \"people.csv\"\n",
    );
    assert_silent_about_it(&everything_said(&drover));
}
