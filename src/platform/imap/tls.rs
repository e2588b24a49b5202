//! TLS: always verified, against the platform's roots and, where the definition names a file,
//! the certificates in it too (law 10).

use std::collections::HashMap;
use std::path::Path;
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
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::wire::Stream;
use crate::definition::Endpoint;
use crate::platform::{Error, Options, Result};

/// Puts TLS around a connection to the endpoint, for the name in the definition.
pub(super) async fn wrap(
    stream: Box<dyn Stream>,
    endpoint: &Endpoint,
    options: &Options,
) -> Result<Box<dyn Stream>> {
    let host = &endpoint.host;
    let failed = |cause: String| Error::Tls { host: host.clone(), cause };
    let config = config(endpoint.ca_file.as_deref()).map_err(failed)?;
    let name = ServerName::try_from(host.clone())
        .map_err(|_| failed("the host is no name a certificate could hold".into()))?;
    let handshake = TlsConnector::from(config).connect(name, stream);
    match timeout(options.idle, handshake).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(Error::Silent { host: host.clone(), after: options.idle }),
    }
}

/// Reading the platform's roots takes longer than a handshake. They may be renewed while drover runs,
/// so they are kept for no more than this.
const KEPT: Duration = Duration::from_secs(60);

/// What was made lately, by the certificates of the definition's file. Connections that share one
/// resume each other's sessions.
static LATELY: LazyLock<Mutex<Made>> = LazyLock::new(Mutex::default);

type Made = HashMap<Vec<CertificateDer<'static>>, (Instant, Arc<ClientConfig>)>;

fn config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut trusted = Vec::new();
    if let Some(path) = ca_file {
        let show = |error: PemError| format!("cannot read ca_file {}: {error}", path.display());
        for certificate in CertificateDer::pem_file_iter(path).map_err(show)? {
            trusted.push(certificate.map_err(show)?);
        }
        if trusted.is_empty() {
            return Err(format!("ca_file {} holds no certificate", path.display()));
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

fn make(trusted: Vec<CertificateDer<'static>>) -> Result<ClientConfig, String> {
    let provider = Arc::new(default_provider());
    let roots = Verifier::new_with_extra_roots(trusted.iter().cloned(), Arc::clone(&provider))
        .map_err(|error| error.to_string())?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
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
