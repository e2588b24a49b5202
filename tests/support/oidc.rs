//! A real OAuth server on loopback: oidc-provider from npm, see `tests/peers/oidc.js`. It gives
//! out tokens for the user `anna` and ends with the value, or with the test process.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Child;
use std::sync::OnceLock;
use std::time::Duration;

use drover::definition::{ClientProof, Grant, RefreshClient, SecretRef};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, PublicKeyData};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::dovecot::Builder;
use super::tls::Certificate;
use super::{Dovecot, node, tls};

/// The secret of the applications that have one.
pub const SECRET: &str = "Hirtenhund-4f7a-secret";

/// The service account that may act for users.
const SERVICE_ACCOUNT: &str = "drover@project.example";

/// It answers at once, or never.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server, and the secrets of its clients as files.
pub struct Oidc {
    child: Child,
    port: u16,
    tls_port: u16,
    /// With which its tokens are signed, PEM.
    key: String,
    files: TempDir,
}

impl Oidc {
    /// A server whose tokens live for an hour.
    pub fn start() -> Self {
        Self::with(Certificate::Good)
    }

    /// The same with this certificate where it speaks TLS.
    pub fn with(certificate: Certificate) -> Self {
        let peers = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
        assert!(
            peers.join("node_modules/oidc-provider").is_dir(),
            "these tests need oidc-provider: run scripts/need-oidc-provider.sh, or `make test`"
        );
        let files = tempfile::tempdir().expect("make a directory");
        let [signing, rsa] = rsa_keys();
        let served = tls::write(files.path(), certificate);
        let read = |path| std::fs::read_to_string(path).expect("read a certificate");
        let certificate = CertificateParams::default().self_signed(rsa).expect("a certificate");
        let public = pem("PUBLIC KEY", &rsa.subject_public_key_info());
        let settings = json!({
            "secret": SECRET, "user": "anna", "certificateKey": public,
            "serviceAccountKey": public, "serviceAccount": SERVICE_ACCOUNT,
            "signingKey": signing.serialize_pem(),
            "certificate": read(served.certificate), "key": read(served.key),
        });
        let (child, line) = node::start(&peers, &["oidc.js", &settings.to_string()]);
        let said: Value = serde_json::from_str(&line).expect("its port and key");
        let port = |name| said[name].as_u64().and_then(|port| u16::try_from(port).ok());
        let (port, tls_port) = (port("port").expect("a port"), port("tlsPort").expect("another"));
        let key = pem("PUBLIC KEY", &signing.subject_public_key_info());
        let this = Self { child, port, tls_port, key, files };
        this.write("secret", SECRET);
        this.write("certificate.pem", &certificate.pem());
        this.write("key.pem", &rsa.serialize_pem());
        let google = json!({
            "type": "service_account", "project_id": "project", "private_key_id": "one",
            "private_key": rsa.serialize_pem(), "client_email": SERVICE_ACCOUNT,
            "client_id": "1234567890", "token_uri": this.token_url(),
        });
        this.write("google.json", &format!("{google:#}\n"));
        this
    }

    /// A Dovecot that takes this server's tokens, and passwords from others.
    pub fn dovecot(&self) -> Builder {
        self.dovecot_by("xoauth2 oauthbearer")
    }

    /// The same by these mechanisms.
    pub fn dovecot_by(&self, mechanisms: &str) -> Builder {
        Dovecot::builder().tokens(&self.issuer(), &self.key, mechanisms)
    }

    /// Where it lives.
    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where it is asked for tokens.
    pub fn token_url(&self) -> String {
        format!("{}/token", self.issuer())
    }

    /// The same over TLS.
    pub fn https_token_url(&self) -> String {
        format!("https://127.0.0.1:{}/token", self.tls_port)
    }

    /// A file with a secret, or a certificate.
    pub fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Writes a secret.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.file(name), text).expect("write a secret");
    }

    /// An application with a secret.
    pub fn by_secret(&self) -> Grant {
        self.application("secretive", ClientProof::Secret(self.secret("secret").into()))
    }

    /// An application with a certificate.
    pub fn by_certificate(&self) -> Grant {
        let (certificate, private_key) = (self.secret("certificate.pem"), self.secret("key.pem"));
        self.application("certified", ClientProof::Certificate { certificate, private_key })
    }

    /// A service account with delegation.
    pub fn by_service_account(&self) -> Grant {
        self.service_account_for(&["mail"], &[])
    }

    /// The same, which asks for these scopes, and if they are not granted, for those.
    pub fn service_account_for(&self, scopes: &[&str], otherwise: &[&str]) -> Grant {
        let [scopes, otherwise] =
            [scopes, otherwise].map(|list| list.iter().map(|&scope| scope.into()).collect());
        let key = self.secret("google.json");
        Grant::ServiceAccount { key, token_url: None, ca_file: None, scopes, otherwise }
    }

    /// What anna consents to just now; the token is in the file `refresh`.
    pub fn by_refresh_token(&self) -> Grant {
        let wanted = json!({ "consent": { "client": "consented", "user": "anna" } });
        let answer = self.control(&wanted);
        self.write("refresh", answer["refresh_token"].as_str().expect("a refresh token"));
        let client = RefreshClient {
            client_id: "consented".into(),
            client_secret: Some(self.secret("secret").into()),
            token_url: self.token_url().parse().expect("a URL"),
            ca_file: None,
            scopes: vec![],
            consent: Default::default(),
        };
        Grant::RefreshToken { client, refresh_token: self.secret("refresh") }
    }

    /// Tokens given out from now on live so long, seconds.
    pub fn lives(&self, seconds: u64) {
        self.control(&json!({ "lives": seconds }));
    }

    /// The next requests are refused like this.
    pub fn refuse(&self, times: u64, status: u16, headers: Value, body: Value) {
        let refuse = json!({ "status": status, "headers": headers, "body": body });
        self.control(&json!({ "times": times, "refuse": refuse }));
    }

    /// The next requests are answered like this, one after the other.
    pub fn answer_with(&self, answers: &[(u16, Value)]) {
        let answer = |(status, body): &(u16, Value)| json!({ "status": status, "headers": {}, "body": body });
        let answers: Vec<_> = answers.iter().map(answer).collect();
        self.control(&json!({ "answers": answers }));
    }

    /// Refresh tokens given out or used from now on say that they end after so long, seconds.
    pub fn consents_end(&self, seconds: u64) {
        self.control(&json!({ "refreshLives": seconds }));
    }

    /// Every refresh token that was given out, the newest last.
    pub fn refresh_tokens(&self) -> Vec<String> {
        let all = self.http("GET", "/control/refresh-tokens", "");
        let text = |token: &Value| token.as_str().expect("a token").to_owned();
        all.as_array().expect("a list").iter().map(text).collect()
    }

    /// How often it was asked for a token.
    pub fn requests(&self) -> usize {
        self.http("GET", "/control", "").as_array().expect("a list").len()
    }

    fn application(&self, client_id: &str, proof: ClientProof) -> Grant {
        let token_url = self.token_url().parse().expect("a URL");
        let (client_id, scopes) = (client_id.to_owned(), vec!["mail".to_owned()]);
        Grant::ClientCredentials { client_id, proof, token_url, ca_file: None, scopes }
    }

    fn secret(&self, name: &str) -> SecretRef {
        SecretRef::File(self.file(name))
    }

    fn control(&self, wish: &Value) -> Value {
        self.http("POST", "/control", &wish.to_string())
    }

    fn http(&self, method: &str, path: &str, body: &str) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("reach it");
        stream.set_read_timeout(Some(PATIENCE)).expect("set a timeout");
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(format!("{head}{body}").as_bytes()).expect("ask it");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("hear it");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body).expect("JSON")
    }
}

impl Drop for Oidc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two RSA keys, made once for all tests of a program. ring makes none; the one program that does
/// and is there is Node.js.
fn rsa_keys() -> &'static [KeyPair; 2] {
    const SCRIPT: &str = "const key = () => require('crypto').generateKeyPairSync('rsa', \
                          { modulusLength: 2048, \
                          privateKeyEncoding: { type: 'pkcs8', format: 'pem' }, \
                          publicKeyEncoding: { type: 'spki', format: 'pem' } }).privateKey; \
                          console.log(JSON.stringify([key(), key()]))";
    static KEYS: OnceLock<[KeyPair; 2]> = OnceLock::new();
    KEYS.get_or_init(|| {
        let (mut node, line) = node::start(&std::env::temp_dir(), &["-e", SCRIPT]);
        let _ = node.kill();
        node.wait().expect("the end of node");
        let keys: [String; 2] = serde_json::from_str(&line).expect("two keys");
        keys.map(|pem| KeyPair::from_pem_and_sign_algo(&pem, &PKCS_RSA_SHA256).expect("an RSA key"))
    })
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = super::base64(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}
