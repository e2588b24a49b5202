//! Law 10: TLS is on and verified by default; plain text must be asked for by name.

mod support;

use std::sync::Arc;

use drover::definition::{Endpoint, Mailbox, Tls};
use drover::model::PassKind;
use drover::platform::Error as PlatformError;
use drover::sync::{Error, Side};
use support::dovecot::Builder;
use support::tls::Certificate;
use support::{Dovecot, World, note};

/// A world whose destination is reached as `change` says.
async fn world(server: Builder, change: impl FnOnce(&Dovecot, &mut Endpoint)) -> World {
    let mut world = World::between(Dovecot::start(), server.start()).await;
    world.at_source().append_many("INBOX", &[note("one")]);
    let mut endpoint = (*world.mailbox.destination.endpoint).clone();
    change(&world.destination, &mut endpoint);
    world.mailbox.destination.endpoint = Arc::new(endpoint);
    world
}

fn implicit(server: &Dovecot, endpoint: &mut Endpoint) {
    endpoint.tls = Tls::Implicit;
    endpoint.port = server.tls_port();
    endpoint.ca_file = Some(server.ca_file());
}

async fn refused(world: &World) -> PlatformError {
    match world.try_pass(PassKind::Seed).await {
        Err(Error::Platform { side: Side::Destination, error }) => error,
        other => panic!("the destination was to be refused, not {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_10_implicit_tls_is_verified_against_the_named_authority() {
    let world = world(Dovecot::builder().tls(), implicit).await;
    world.seed().await;
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn law_10_an_unknown_authority_is_refused() {
    let world = world(Dovecot::builder().tls(), |server, endpoint| {
        implicit(server, endpoint);
        endpoint.ca_file = None;
    })
    .await;
    let error = refused(&world).await;
    assert!(matches!(error, PlatformError::Tls { .. }), "{error}");
    assert!(error.remedy().contains("ca_file"), "{}", error.remedy());
}

#[tokio::test(flavor = "multi_thread")]
async fn law_10_bad_certificates_are_refused() {
    for bad in [Certificate::WrongHost, Certificate::Expired, Certificate::UnknownAuthority] {
        let world = world(Dovecot::builder().tls().certificate(bad), implicit).await;
        let error = refused(&world).await;
        assert!(matches!(error, PlatformError::Tls { .. }), "{bad:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_10_starttls_is_used_where_it_is_asked_for() {
    let world = world(Dovecot::builder().starttls_only(), |server, endpoint| {
        endpoint.tls = Tls::Starttls;
        endpoint.ca_file = Some(server.ca_file());
    })
    .await;
    world.seed().await;
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn law_10_a_server_without_starttls_is_refused_rather_than_trusted() {
    let world = world(Dovecot::builder(), |_, endpoint| endpoint.tls = Tls::Starttls).await;
    let error = refused(&world).await;
    assert!(matches!(error, PlatformError::Tls { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn law_10_plain_text_is_not_the_default() {
    let text = "[source]\nhost = \"a.example\"\nauth = { password = { env = \"X\" } }\n\
                [destination]\nhost = \"b.example\"\nauth = { password = { env = \"X\" } }\n\
                [[mailboxes]]\nsource = \"a\"\ndestination = \"b\"\n";
    let loaded = drover::definition::load_text("x", text, std::path::Path::new("/"));
    let mailbox: Arc<Mailbox> = Arc::clone(&loaded.expect("a definition").migration.mailboxes[0]);
    assert_eq!(mailbox.source.endpoint.tls, Tls::Implicit);
    assert_eq!(mailbox.destination.endpoint.port, 993);
}
