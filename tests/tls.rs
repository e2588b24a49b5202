//! Law 10: TLS is on and verified by default; plain text must be asked for by name.

mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use drover::definition::{Account, Endpoint, Mailbox, Tls};
use drover::model::PassKind;
use drover::platform::{Error as PlatformError, Options};
use drover::sync::{Error, Side};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use support::dovecot::Builder;
use support::tls::Certificate;
use support::{Dovecot, World, note};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

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

// ---- handshakes --------------------------------------------------------------------------------

/// Whom the client is told to trust.
#[derive(Debug, Clone, Copy)]
enum Trust {
    PlatformOnly,
    Authority,
    ThatCertificate,
}

/// What a TLS server with these files is set up with.
fn server_config(files: &support::tls::Files) -> rustls::ServerConfig {
    let chain = CertificateDer::pem_file_iter(&files.certificate).expect("certificates");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a configuration")
}

/// A server with this certificate, and an account on it. What a client that was let through to it
/// said first is sent to the receiver.
async fn certified(kind: Certificate, trust: Trust) -> (Account, oneshot::Receiver<String>) {
    let dir = tempfile::tempdir().expect("a directory").keep();
    let files = support::tls::write(&dir, kind);
    let config = server_config(&files);
    let (said, heard) = oneshot::channel();
    let port = accepting(async move |stream| {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let Ok(stream) = acceptor.accept(stream).await else { return };
        let mut stream = BufReader::new(stream);
        let _ = stream.write_all(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] x\r\n").await;
        let mut line = String::new();
        let _ = stream.read_line(&mut line).await;
        let _ = said.send(line);
    })
    .await;
    let ca_file = match trust {
        Trust::PlatformOnly => None,
        Trust::Authority => Some(files.ca),
        Trust::ThatCertificate => Some(files.certificate),
    };
    (account(port, Tls::Implicit, ca_file), heard)
}

/// Serves the first connection to the port that is returned.
async fn accepting<F: Future<Output = ()> + Send>(
    serve: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        if let Ok((stream, _)) = listener.accept().await {
            serve(stream).await;
        }
    });
    port
}

fn account(port: u16, tls: Tls, ca_file: Option<PathBuf>) -> Account {
    support::account(Endpoint { tls, ca_file, ..support::endpoint(port) })
}

async fn connect(account: &Account) -> PlatformError {
    let options = Options { idle: Duration::from_secs(10), ..Options::default() };
    drover::platform::source(account, &options).await.err().expect("the server hangs up")
}

#[tokio::test]
async fn law_10_only_a_certificate_that_proves_the_host_is_taken() {
    use Certificate::*;
    for (kind, trust, is_taken) in [
        (Good, Trust::Authority, true),
        (Good, Trust::ThatCertificate, true),
        (Good, Trust::PlatformOnly, false),
        (WrongHost, Trust::Authority, false),
        (WrongHost, Trust::ThatCertificate, false),
        (Expired, Trust::Authority, false),
        (NotYetValid, Trust::Authority, false),
        (UnknownAuthority, Trust::Authority, false),
        (CommonNameOnly, Trust::Authority, false),
        (CommonNameOnly, Trust::ThatCertificate, false),
        (SelfSigned, Trust::PlatformOnly, false),
        (SelfSigned, Trust::Authority, false),
        (SelfSigned, Trust::ThatCertificate, true),
    ] {
        let (account, heard) = certified(kind, trust).await;
        let error = connect(&account).await;
        let said = heard.await.ok();
        if is_taken {
            assert!(said.is_some_and(|line| line.contains("AUTHENTICATE")), "{kind:?}: {error}");
        } else {
            assert!(matches!(error, PlatformError::Tls { .. }), "{kind:?} {trust:?}: {error}");
            assert_eq!(said, None, "{kind:?} {trust:?}: something was said to a stranger");
        }
    }
}

#[tokio::test]
async fn law_10_tls_1_1_is_refused() {
    let port = accepting(async |mut stream: TcpStream| {
        let mut hello = [0; 512];
        let _ = stream.read(&mut hello).await;
        // A ServerHello of TLS 1.1 (RFC 4346, 7.4.1.3), as far as a client reads it.
        let mut body = vec![3, 2];
        body.extend([7; 32]);
        body.extend([0, 0xc0, 0x14, 0]);
        let mut record = vec![22, 3, 2, 0, body.len() as u8 + 4, 2, 0, 0, body.len() as u8];
        record.extend(body);
        let _ = stream.write_all(&record).await;
        let _ = stream.read(&mut hello).await;
    })
    .await;
    let error = connect(&account(port, Tls::Implicit, None)).await;
    assert!(matches!(error, PlatformError::Tls { .. }), "{error}");
}

#[tokio::test]
async fn law_10_what_was_offered_before_tls_counts_for_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = support::tls::write(dir.path(), Certificate::Good);
    let config = server_config(&files);
    let (said, heard) = oneshot::channel();
    let port = accepting(async move |stream| {
        let mut stream = BufReader::new(stream);
        let greeting = b"* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN SASL-IR] x\r\n";
        let _ = stream.write_all(greeting).await;
        let mut line = String::new();
        let _ = stream.read_line(&mut line).await;
        let tag = line.split(' ').next().unwrap_or_default().to_owned();
        let _ = stream.write_all(format!("{tag} OK go\r\n").as_bytes()).await;
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let Ok(stream) = acceptor.accept(stream.into_inner()).await else { return };
        let mut stream = BufReader::new(stream);
        let mut all = Vec::new();
        loop {
            let mut line = String::new();
            if !matches!(stream.read_line(&mut line).await, Ok(1..)) {
                break;
            }
            let tag = line.split(' ').next().unwrap_or_default().to_owned();
            all.push(line);
            let answer = format!("* CAPABILITY IMAP4rev1 LOGINDISABLED\r\n{tag} OK\r\n");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        let _ = said.send(all);
    })
    .await;
    let error = connect(&account(port, Tls::Starttls, Some(files.ca))).await;
    assert!(matches!(error, PlatformError::Forbidden { .. }), "{error}");
    let said = heard.await.expect("TLS came about");
    assert!(said.len() == 1 && said[0].contains("CAPABILITY"), "{said:?}");
}
