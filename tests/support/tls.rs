//! Certificates for test servers: one authority, and server certificates good and bad.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

/// What is wrong with a server's certificate, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// For `localhost`, 127.0.0.1 and 127.0.0.2, valid today.
    Good,
    /// Signed by the same authority, for another host.
    WrongHost,
    /// Signed by the same authority, not valid any more.
    Expired,
    /// Signed by the same authority, not valid yet.
    NotYetValid,
    /// Signed by nobody that [`Files::ca`] knows.
    UnknownAuthority,
    /// Signed by itself, and no authority; old servers have such.
    SelfSigned,
    /// The host is its common name only, not one of its names.
    CommonNameOnly,
}

/// The PEM files of one server.
#[derive(Debug, Clone)]
pub struct Files {
    /// The authority that clients are to trust.
    pub ca: PathBuf,
    /// The server's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Makes an authority and a server certificate in `dir`.
pub fn write(dir: &Path, kind: Certificate) -> Files {
    let files = Files {
        ca: dir.join("ca.pem"),
        certificate: dir.join("server.pem"),
        key: dir.join("server.key"),
    };
    let (ca_pem, issuer) = authority("drover test authority");
    let issuer = match kind {
        Certificate::UnknownAuthority => authority("some other authority").1,
        _ => issuer,
    };
    let names: &[&str] = match kind {
        Certificate::WrongHost => &["mail.elsewhere.example"],
        Certificate::CommonNameOnly => &[],
        _ => &["localhost", "127.0.0.1", "127.0.0.2"],
    };
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("server names");
    let common = match kind {
        Certificate::CommonNameOnly => "127.0.0.1",
        _ => "drover test server",
    };
    params.distinguished_name.push(rcgen::DnType::CommonName, common);
    (params.not_before, params.not_after) = match kind {
        Certificate::Expired => (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1)),
        Certificate::NotYetValid => (date_time_ymd(2090, 1, 1), date_time_ymd(2099, 1, 1)),
        _ => (date_time_ymd(2020, 1, 1), date_time_ymd(2099, 1, 1)),
    };
    let key = KeyPair::generate().expect("a key");
    let certificate = match kind {
        Certificate::SelfSigned => params.self_signed(&key),
        _ => params.signed_by(&key, &issuer),
    };
    let certificate = certificate.expect("a certificate");
    for (path, text) in [
        (&files.ca, ca_pem),
        (&files.certificate, certificate.pem()),
        (&files.key, key.serialize_pem()),
    ] {
        std::fs::write(path, text).expect("write a certificate");
    }
    files
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2099, 1, 1));
    let key = KeyPair::generate().expect("a key");
    let pem = params.self_signed(&key).expect("an authority").pem();
    (pem, Issuer::new(params, key))
}
