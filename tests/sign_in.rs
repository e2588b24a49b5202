//! Signing in with access tokens: a real OAuth server (oidc-provider) gives them out, a real IMAP
//! server (Dovecot) validates them.

mod support;

use std::time::Duration;

use drover::auth::Tokens;
use drover::definition::{Grant, Login};
use drover::model::PassKind;
use drover::platform::{self, Error, Options, Retry};
use serde_json::json;
use support::drover::{loopback, mailbox};
use support::oidc::SECRET;
use support::tls::Certificate;
use support::{Dovecot, Drover, Oidc, World, account, endpoint, note};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Between two servers that take the tokens of this one, anna's mail at the source.
async fn world(oidc: &Oidc, grant: Grant) -> World {
    let server = || oidc.dovecot().start();
    let mut world = World::between(server(), server()).await;
    world.mailbox.source.login = Login::Token(grant.clone());
    world.mailbox.destination.login = Login::Token(grant);
    world.at_source().append_many("INBOX", &[note("one"), note("two")]);
    world
}

async fn carries_mail(oidc: &Oidc, grant: Grant) {
    let world = world(oidc, grant).await;
    world.seed().await;
    world.assert_same();
    assert_eq!(oidc.requests(), 1, "one token serves all connections to both servers");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_with_a_secret_carries_mail() {
    let oidc = Oidc::start();
    carries_mail(&oidc, oidc.by_secret()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_with_a_certificate_carries_mail() {
    let oidc = Oidc::start();
    carries_mail(&oidc, oidc.by_certificate()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_carries_mail_in_the_name_of_the_mailboxs_user() {
    let oidc = Oidc::start();
    carries_mail(&oidc, oidc.by_service_account()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_does_with_less_where_more_is_not_delegated() {
    let oidc = Oidc::start();
    let (tokens, grant) = (Tokens::default(), oidc.service_account_for(&["admin"], &["mail"]));
    for _ in 0..2 {
        tokens.token(&grant, "anna").await.expect("a token");
    }
    assert_eq!(oidc.requests(), 2, "refused, and granted; then it is there");
    let grant = oidc.service_account_for(&["admin"], &["none"]);
    let refused = tokens.token(&grant, "anna").await.expect_err("neither is granted");
    assert!(refused.to_string().contains("not authorized for any of the scopes"), "{refused}");
}

/// An application that asks for its token over TLS, and trusts this file of the server's.
fn over_tls(oidc: &Oidc, trusted: Option<&str>) -> Grant {
    let Grant::ClientCredentials { client_id, proof, scopes, .. } = oidc.by_secret() else {
        panic!("another grant")
    };
    let token_url = oidc.https_token_url().parse().expect("a URL");
    let ca_file = trusted.map(|name| oidc.file(name));
    Grant::ClientCredentials { client_id, proof, token_url, ca_file, scopes }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_of_a_private_authority_is_trusted_by_its_ca_file() {
    let oidc = Oidc::start();
    carries_mail(&oidc, over_tls(&oidc, Some("ca.pem"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_is_trusted_by_its_very_certificate() {
    let oidc = Oidc::with(Certificate::SelfSigned);
    let grant = over_tls(&oidc, Some("server.pem"));
    Tokens::default().token(&grant, "anna").await.expect("a token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_of_an_unknown_authority_is_refused_with_what_to_do() {
    let oidc = Oidc::start();
    let error = Tokens::default().token(&over_tls(&oidc, None), "anna").await;
    let error = error.expect_err("nobody knows its authority");
    assert!(error.to_string().contains("no trusted TLS with 127.0.0.1:"), "{error}");
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    assert!(error.remedy().contains("set `ca_file` in `auth`"), "{}", error.remedy());
    assert_eq!((error.reason(), oidc.requests()), ("TlsFailed", 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_with_a_bad_certificate_is_refused_whatever_the_ca_file() {
    for bad in [Certificate::WrongHost, Certificate::Expired, Certificate::UnknownAuthority] {
        let oidc = Oidc::with(bad);
        let error = Tokens::default().token(&over_tls(&oidc, Some("ca.pem")), "anna").await;
        let error = error.expect_err("it is bad");
        assert_eq!((error.reason(), oidc.requests()), ("TlsFailed", 0), "{bad:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_file_that_was_corrected_counts_without_a_restart() {
    let (oidc, tokens) = (Oidc::start(), Tokens::default());
    let (right, grant) =
        (std::fs::read(oidc.file("ca.pem")).unwrap(), over_tls(&oidc, Some("ca.pem")));
    let stranger = std::fs::read_to_string(oidc.file("certificate.pem")).unwrap();
    for (wrong, why) in [("", "holds no certificate"), (&stranger, "UnknownIssuer")] {
        oidc.write("ca.pem", wrong);
        // A failure is everybody's answer for a while who asks with the same secrets.
        oidc.write("secret", why);
        let error = tokens.token(&grant, "anna").await.expect_err("it is wrong");
        assert!(error.to_string().contains(why), "{error}");
    }
    std::fs::write(oidc.file("ca.pem"), right).unwrap();
    oidc.write("secret", SECRET);
    tokens.token(&grant, "anna").await.expect("a token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_carries_mail() {
    let oidc = Oidc::start();
    carries_mail(&oidc, oidc.by_refresh_token()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_offers_only_oauthbearer_is_entered_by_it() {
    let oidc = Oidc::start();
    let source = oidc.dovecot_by("oauthbearer").start();
    let mut world = World::between(source, Dovecot::start()).await;
    world.mailbox.source.login = Login::Token(oidc.by_secret());
    world.at_source().append_many("INBOX", &[note("one")]);
    world.seed().await;
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_has_expired_is_renewed_and_a_rotated_refresh_token_is_used_from_then_on() {
    let oidc = Oidc::start();
    oidc.lives(3);
    let world = world(&oidc, oidc.by_refresh_token()).await;
    // The server takes each refresh token once, and revokes all of them if one comes again.
    for name in ["three", "four", "five"] {
        world.delta().await;
        world.at_source().append_many("INBOX", &[note(name)]);
        tokio::time::sleep(Duration::from_millis(3200)).await;
    }
    world.delta().await;
    world.assert_same();
    assert!(oidc.requests() >= 4, "{} requests", oidc.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_ask_at_once_the_server_is_asked_for_one_token() {
    let oidc = Oidc::start();
    let (tokens, grant) = (Tokens::default(), oidc.by_secret());
    let asking = (0..200).map(|n| {
        let (tokens, grant) = (tokens.clone(), grant.clone());
        tokio::spawn(async move { tokens.token(&grant, &format!("user{n}")).await.is_ok() })
    });
    for asked in asking.collect::<Vec<_>>() {
        assert!(asked.await.expect("no panic"));
    }
    assert_eq!(oidc.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_asks_once_for_each_user() {
    let oidc = Oidc::start();
    let (tokens, grant) = (Tokens::default(), oidc.by_service_account());
    for user in ["anna", "bela", "anna", "bela"] {
        tokens.token(&grant, user).await.expect("a token");
    }
    assert_eq!(oidc.requests(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_endpoint_that_asks_to_wait_is_left_alone_by_everybody() {
    let oidc = Oidc::start();
    oidc.refuse(1, 429, json!({ "retry-after": "70" }), json!({}));
    let (tokens, grant) = (Tokens::default(), oidc.by_service_account());
    for user in ["anna", "bela", "anna"] {
        let error = Error::from(tokens.token(&grant, user).await.expect_err("throttled"));
        let Retry::After(wait) = error.retry() else { panic!("{error}") };
        assert!((60..=70).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(error.reason(), "Throttled");
    }
    assert_eq!(oidc.requests(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_refresh_token_blocks_with_its_remedy_until_another_is_in_its_place() {
    let oidc = Oidc::start();
    let world = world(&oidc, oidc.by_refresh_token()).await;
    let good = std::fs::read_to_string(oidc.file("refresh")).expect("read a secret");
    oidc.write("refresh", "revoked-long-ago");
    let error = world.try_pass(PassKind::Seed).await.expect_err("it was revoked");
    assert_eq!((error.retry(), error.reason()), (Retry::Never, "CredentialsRefused"));
    assert!(error.to_string().contains("invalid_grant"), "{error}");
    assert!(error.remedy().contains("sign in anew"), "{}", error.remedy());
    let asked = oidc.requests();
    world.try_pass(PassKind::Seed).await.expect_err("it still is");
    assert_eq!(oidc.requests(), asked, "the same answer need not be asked for at once");
    oidc.write("refresh", &good);
    world.seed().await;
    world.assert_same();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_repeats_the_secret_is_not_quoted() {
    let oidc = Oidc::start();
    let text = format!("AADSTS7000215: Invalid client secret provided: {SECRET}");
    let body = json!({ "error": "invalid_client", "error_description": text });
    oidc.refuse(1, 401, json!({}), body);
    let error = Tokens::default().token(&oidc.by_secret(), "anna").await.expect_err("refused");
    let said = format!("{error} {error:?} {}", error.remedy());
    assert!(said.contains("[secret]") && !said.contains(SECRET), "{said}");
    assert!(error.remedy().contains("the secret's Value, not its ID"), "{}", error.remedy());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_the_token_is_not_good_for_is_told_in_the_words_of_the_failure_challenge() {
    let oidc = Oidc::start();
    for (mechanism, status) in [("xoauth2", "401"), ("oauthbearer", "invalid_token")] {
        let server = oidc.dovecot_by(mechanism).start();
        let mut account = account(endpoint(server.port()));
        account.user = "bela".into();
        account.login = Login::Token(oidc.by_refresh_token());
        let refused = platform::source(&account, &Options::default()).await.err();
        let Some(Error::Credentials { user, text, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(user, "bela");
        assert!(text.contains(&format!("status {status}")), "{mechanism}: {text}");
    }
}

// ---- what is said, line by line ----------------------------------------------------------------

/// Serves connections one after the other, each by its script: the answers to the client's lines,
/// in which `$` is the tag of the last command. What the client said, by connection.
async fn scripted(
    capabilities: &'static str,
    scripts: Vec<Vec<&'static str>>,
) -> (u16, JoinHandle<Vec<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let task = tokio::spawn(async move {
        let mut heard = Vec::new();
        for script in scripts {
            let (stream, _) = listener.accept().await.expect("a client");
            let mut stream = BufReader::new(stream);
            let greeting = format!("* OK [CAPABILITY IMAP4rev1 {capabilities}] hello\r\n");
            stream.write_all(greeting.as_bytes()).await.expect("greet");
            let (mut said, mut tag) = (Vec::new(), String::new());
            for answer in script {
                let mut line = String::new();
                stream.read_line(&mut line).await.expect("a line");
                let line = line.trim_end().to_owned();
                if let Some((begins, _)) = line.split_once(' ') {
                    tag = begins.to_owned();
                }
                said.push(line);
                let answer = answer.replace('$', &tag);
                stream.write_all(answer.as_bytes()).await.expect("answer");
            }
            heard.push(said);
        }
        heard
    });
    (port, task)
}

/// `{"status":"401","schemes":"bearer","scope":"mail"}`
const CHALLENGE: &str =
    "+ eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIiwic2NvcGUiOiJtYWlsIn0=\r\n";
const NO: &str = "$ NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)\r\n";
const IN: &str = "$ OK [CAPABILITY IMAP4rev1] in\r\n";

async fn sign_in(port: u16, grant: &Grant, options: &Options) -> platform::Result<()> {
    let mut account = account(endpoint(port));
    account.user = "anna".into();
    account.login = Login::Token(grant.clone());
    platform::source(&account, options).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_sasl_ir_the_token_is_sent_when_the_server_asks_for_it() {
    let oidc = Oidc::start();
    let (options, grant) = (Options::default(), oidc.by_secret());
    let (port, heard) = scripted("AUTH=XOAUTH2 AUTH=OAUTHBEARER", vec![vec!["+ \r\n", IN]]).await;
    sign_in(port, &grant, &options).await.expect("signed in");
    let token = options.tokens.token(&grant, "anna").await.expect("a token");
    let first = format!("user=anna\x01auth=Bearer {}\x01\x01", token.expose());
    let heard = heard.await.expect("no panic").remove(0);
    assert!(heard[0].ends_with("AUTHENTICATE XOAUTH2"), "{heard:?}");
    assert_eq!(heard[1], support::base64(first.as_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_failure_challenge_is_answered_as_each_mechanism_wants_it() {
    let oidc = Oidc::start();
    let grant = oidc.by_secret();
    for (capabilities, name, answer) in [
        ("SASL-IR AUTH=XOAUTH2", "AUTHENTICATE XOAUTH2 dXNlcj1hbm5h", ""),
        ("SASL-IR AUTH=OAUTHBEARER", "AUTHENTICATE OAUTHBEARER bixhPWFubmEs", "AQ=="),
    ] {
        let (port, heard) = scripted(capabilities, vec![vec![CHALLENGE, NO]]).await;
        let refused = sign_in(port, &grant, &Options::default()).await.err();
        let Some(Error::Credentials { text, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(text, "Invalid credentials (Failure) (status 401, scope mail)");
        let heard = heard.await.expect("no panic").remove(0);
        assert!(heard[0].contains(name), "{heard:?}");
        assert_eq!(heard[1], answer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_token_is_asked_for_anew_once_and_a_new_one_not_at_all() {
    let oidc = Oidc::start();
    oidc.lives(40);
    let (options, grant) = (Options::default(), oidc.by_secret());
    let refused = vec![CHALLENGE, NO];
    let scripts = vec![vec![IN], refused.clone(), vec![IN], refused];
    let (port, heard) = scripted("SASL-IR AUTH=XOAUTH2", scripts).await;
    sign_in(port, &grant, &options).await.expect("the first token is good");
    // Past the time in which a refusal cannot be of the token's age, and not past its own.
    tokio::time::sleep(Duration::from_millis(4300)).await;
    sign_in(port, &grant, &options).await.expect("the second token is good");
    let error = sign_in(port, &grant, &options).await.expect_err("refused");
    assert!(matches!(error, Error::Credentials { .. }), "{error}");
    assert_eq!(oidc.requests(), 2);
    let heard = heard.await.expect("no panic");
    let token = |n: usize| heard[n][0].split(' ').next_back().unwrap_or_default().to_owned();
    assert_eq!(token(0), token(1));
    assert_ne!(token(1), token(2));
    assert_eq!(token(2), token(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_tokens_is_told_so_and_gets_none() {
    let oidc = Oidc::start();
    let (port, heard) = scripted("SASL-IR AUTH=PLAIN", vec![vec![]]).await;
    let refused = sign_in(port, &oidc.by_secret(), &Options::default()).await.err();
    assert!(matches!(refused, Some(Error::Forbidden { .. })), "{refused:?}");
    assert!(heard.await.expect("no panic")[0].is_empty());
}

// ---- through the program -----------------------------------------------------------------------

#[test]
fn law_9_the_program_at_its_chattiest_tells_no_token() {
    let oidc = Oidc::start();
    let (source, destination) = (oidc.dovecot().start(), oidc.dovecot().start());
    source.connect("anna").append_many("INBOX", &[note("one")]);
    let Grant::RefreshToken { .. } = oidc.by_refresh_token() else { panic!("another grant") };
    let drover = Drover::new();
    let side = |name: &str, server: &Dovecot, auth: &str| {
        let (secret, url) = (oidc.file("secret"), oidc.token_url());
        let auth = format!(
            "[{name}.auth]\n{auth}\n\
             token_url = \"{url}\"\nclient_secret = {{ file = \"{}\" }}\n",
            secret.display()
        );
        loopback(name, server.port()) + &auth
    };
    let application = "method = \"client-credentials\"\nclient_id = \"secretive\"\n\
                       scopes = [\"mail\"]";
    let user = "method = \"refresh-token\"\nclient_id = \"consented\"";
    let token = oidc.file("refresh");
    let token = format!("destination_refresh_token = {{ file = \"{}\" }}\n", token.display());
    let sides = side("source", &source, application) + &side("destination", &destination, user);
    drover.define("pilot", &(sides + &mailbox("anna", "anna") + &token));
    let refresh = std::fs::read_to_string(oidc.file("refresh")).expect("read a secret");
    let mut command = drover.command(&["sync", "pilot"]);
    let output = command.env("RUST_LOG", "trace").output().expect("run drover");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said += &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("1 message copied"), "{said}");
    // A JWT begins with `{"`, what SASL sends with `user=` or `n,a=`; in base64.
    for form in [SECRET, refresh.trim(), "eyJ", "dXNlcj", "bixhP", "Bearer"] {
        let line = said.lines().find(|line| line.contains(form));
        assert_eq!(line, None, "{form}");
    }
}
