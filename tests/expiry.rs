//! When credentials end: told by their owner, or by a certificate itself, and warned of in time.

mod support;

use drover::auth::Tokens;
use support::{Drover, Oidc};

#[tokio::test(flavor = "multi_thread")]
async fn a_certificates_end_is_known_once_it_was_used() {
    let oidc = Oidc::start();
    let (tokens, grant) = (Tokens::default(), oidc.by_certificate());
    assert_eq!(tokens.expiry(&grant), None);
    tokens.token(&grant, "anna").await.expect("a token");
    let expiry = tokens.expiry(&grant).expect("it ends");
    assert_eq!(expiry.what.to_string(), "the certificate");
    // What rcgen writes if nothing is said.
    assert_eq!(expiry.at.to_rfc3339(), "4096-01-01T00:00:00+00:00");
}

#[test]
fn check_warns_of_credentials_that_end_within_fourteen_days() {
    let drover = Drover::new();
    let now = chrono::Utc::now();
    let day = |days: i64| (now + chrono::TimeDelta::days(days)).format("%Y-%m-%d");
    let definition = |expires: &dyn std::fmt::Display| {
        format!(
            "[source]\nplatform = \"microsoft365\"\n[source.auth]\nmethod = \"client-credentials\"\n\
             tenant = \"a.example\"\nclient_id = \"app\"\nclient_secret = {{ env = \"S\" }}\n\
             expires = {expires}\n[destination]\nhost = \"b.example\"\n[destination.auth]\n\
             method = \"client-credentials\"\ntoken_url = \"https://b.example/t\"\nclient_id = \"app\"\n\
             certificate = {{ file = \"../secrets/cert.pem\" }}\n\
             private_key = {{ file = \"../secrets/key.pem\" }}\n[[mailboxes]]\n\
             source = \"anna@a.example\"\ndestination = \"anna@b.example\"\n[[mailboxes]]\n\
             source = \"bela@a.example\"\ndestination = \"bela@b.example\"\n"
        )
    };
    let certificate = |year: i32| {
        let mut params = rcgen::CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("a certificate").pem()
    };
    drover.write("secrets/cert.pem", &certificate(2020));
    drover.write("secrets/key.pem", "not looked at here\n");
    drover.define("pilot", &definition(&day(9)));
    let output = drover.run(&["check"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(said.matches("the client secret ends on").count(), 1, "{said}");
    assert!(said.contains("make a new one at the provider's console"), "{said}");
    assert!(said.contains("the certificate ends on 2020-01-01, that is over"), "{said}");
    drover.write("secrets/cert.pem", &certificate(2999));
    drover.define("pilot", &definition(&day(30)));
    let output = drover.run(&["check"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("ends on"), "{said}");
}
