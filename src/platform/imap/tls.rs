//! TLS: always verified, against the platform's roots and, where the definition names a file,
//! those in it too (law 10).

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
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
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    match timeout(options.idle, handshake).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(Error::Silent { host: host.clone(), after: options.idle }),
    }
}

/// Made anew for every connection: both the platform's roots and the file may be renewed while
/// drover runs.
fn config(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut extra_roots = Vec::new();
    if let Some(path) = ca_file {
        let show = |error: rustls::pki_types::pem::Error| {
            format!("cannot read ca_file {}: {error}", path.display())
        };
        for certificate in CertificateDer::pem_file_iter(path).map_err(show)? {
            extra_roots.push(certificate.map_err(show)?);
        }
        if extra_roots.is_empty() {
            return Err(format!("ca_file {} holds no certificate", path.display()));
        }
    }
    let provider = Arc::new(default_provider());
    let verifier = Verifier::new_with_extra_roots(extra_roots, Arc::clone(&provider))
        .map_err(|error| error.to_string())?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(config)
}
