//! What a server's certificate is verified against, whatever is spoken: always the platform's roots
//! and, where the definition names a file, the certificates in it too (law 10).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier;

/// Why there is nothing to verify with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The definition's file cannot be read, or is no PEM.
    #[error("cannot read ca_file {}: {cause}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What was seen.
        cause: PemError,
    },
    /// There is nothing in it.
    #[error("ca_file {} holds no certificate", .0.display())]
    Empty(PathBuf),
    /// The roots, or the library.
    #[error(transparent)]
    Unusable(#[from] rustls::Error),
}

/// Reading the platform's roots takes longer than a handshake. They may be renewed while drover runs,
/// so they are kept for no more than this.
const KEPT: Duration = Duration::from_secs(60);

/// What was made lately, by the certificates of the definition's file. Connections that share one
/// resume each other's sessions.
static LATELY: LazyLock<Mutex<Made>> = LazyLock::new(Mutex::default);

type Made = HashMap<Vec<CertificateDer<'static>>, (Instant, Arc<ClientConfig>)>;

/// How a client speaks TLS: trusting the platform's roots, and what is in this file.
///
/// # Errors
/// See [`TlsError`].
pub fn config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut trusted = Vec::new();
    if let Some(path) = ca_file {
        let unreadable = |cause| TlsError::Unreadable { path: path.to_owned(), cause };
        for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
            trusted.push(certificate.map_err(unreadable)?);
        }
        if trusted.is_empty() {
            return Err(TlsError::Empty(path.to_owned()));
        }
    }
    let mut lately = LATELY.lock().unwrap_or_else(PoisonError::into_inner);
    lately.retain(|_, (made, _)| made.elapsed() < KEPT);
    if let Some((_, config)) = lately.get(&trusted) {
        return Ok(Arc::clone(config));
    }
    let config = Arc::new(make(trusted.clone())?);
    lately.insert(trusted, (Instant::now(), Arc::clone(&config)));
    Ok(config)
}

fn make(trusted: Vec<CertificateDer<'static>>) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(default_provider());
    let roots = Verifier::new_with_extra_roots(trusted.iter().cloned(), Arc::clone(&provider))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trust { trusted, roots }))
        .with_no_client_auth();
    Ok(config)
}

/// Verifies by the roots; a certificate that is itself in the definition's file needs none.
///
/// Old servers have certificates that sign themselves and call themselves an authority, which
/// no chain may end in. Naming that very certificate is as good as naming its authority; the
/// host must still be one of its names.
#[derive(Debug)]
struct Trust {
    trusted: Vec<CertificateDer<'static>>,
    roots: Verifier,
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.trusted.iter().any(|trusted| trusted == end_entity) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.roots.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.roots.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.roots.supported_verify_schemes()
    }
}
