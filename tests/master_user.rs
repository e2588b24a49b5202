//! Accounts that an administrator enters: each server has its own way of being told for whom.

mod support;

use drover::definition::{Endpoint, Login, MasterForm, SecretRef};
use drover::platform::{self, Error, Options};
use support::standin::{Builder, Standin};
use support::{Dovecot, account, endpoint, inbox, note};

/// An endpoint on this port that drover enters by a master user.
struct Entered {
    endpoint: Endpoint,
    dir: tempfile::TempDir,
}

impl Entered {
    fn at(port: u16) -> Self {
        let dir = tempfile::tempdir().expect("make a directory");
        std::fs::write(dir.path().join("pw"), "secret").expect("write a secret");
        Self { endpoint: endpoint(port), dir }
    }

    /// How many messages are in the inbox of this account.
    async fn look(
        &self,
        user: &str,
        master: &str,
        form: &str,
        alias: Option<&str>,
    ) -> platform::Result<usize> {
        let mut account = account(self.endpoint.clone());
        account.user = user.into();
        let form = match form {
            "authzid" => MasterForm::Authzid,
            form => MasterForm::Name(form.into()),
        };
        let password = SecretRef::File(self.dir.path().join("pw"));
        let (user, alias) = (master.to_owned(), alias.map(str::to_owned));
        account.login = Login::MasterUser { user, password, form, alias };
        let mut source = platform::source(&account, &Options::default()).await?;
        Ok(source.list(&inbox()).await?.1.len())
    }
}

fn exchange() -> Builder {
    let server = Standin::microsoft365().with_passwords().admin("ACME\\admin", "secret");
    server.user("annas", |mailbox| mailbox.notes("INBOX", ["one", "two"]))
}

const BACKSLASH: &str = "{user}\\{alias}";

#[tokio::test(flavor = "multi_thread")]
async fn exchange_is_entered_as_the_admin_and_the_alias_by_plain_and_by_login() {
    for server in [exchange(), exchange().without("AUTH=PLAIN")] {
        let server = server.start();
        let at = Entered::at(server.port());
        let named = at.look("anna@acme.example", "ACME\\admin", BACKSLASH, Some("annas")).await;
        assert_eq!(named.expect("entered"), 2);
        let local = at.look("annas@acme.example", "ACME\\admin", BACKSLASH, None).await;
        assert_eq!(local.expect("entered"), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exchange_is_entered_for_the_alias_by_an_authorisation_identity() {
    let server = exchange().start();
    let at = Entered::at(server.port());
    let seen = at.look("anna@acme.example", "ACME\\admin", "authzid", Some("annas")).await;
    assert_eq!(seen.expect("entered"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_that_the_server_does_not_know_is_refused_with_what_to_look_at() {
    let server = exchange().start();
    let at = Entered::at(server.port());
    let refused = at.look("anna@acme.example", "ACME\\admin", BACKSLASH, None).await;
    let Err(error @ Error::Credentials { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.remedy().contains("the mailbox's alias"), "{}", error.remedy());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_plain_a_name_given_apart_cannot_be_given() {
    let server = exchange().without("AUTH=PLAIN").start();
    let at = Entered::at(server.port());
    let refused = at.look("annas", "ACME\\admin", "authzid", None).await;
    let Err(error @ Error::Forbidden { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.remedy().contains("write `form`"), "{}", error.remedy());
}

#[tokio::test(flavor = "multi_thread")]
async fn dovecots_master_user_is_entered_apart_and_in_one_name() {
    let server = Dovecot::builder().master_user("admin", "secret").start();
    server.connect("anna").append_many("INBOX", &[note("one")]);
    let at = Entered::at(server.port());
    for form in ["authzid", "{mailbox}*{user}"] {
        assert_eq!(at.look("anna", "admin", form, None).await.expect("entered"), 1, "{form}");
    }
    let wrong = at.look("anna", "admin", BACKSLASH, None).await;
    assert!(matches!(wrong, Err(Error::Credentials { .. })), "{wrong:?}");
}
