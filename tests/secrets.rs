//! Law 9: secrets are referenced, never held: not in logs at any level, errors, or panics.

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use drover::definition::{Login, SecretRef};
use drover::model::PassKind;
use support::{Dovecot, World, note};
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
