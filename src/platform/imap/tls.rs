//! TLS around a connection to a mail server (law 10).

use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::wire::Stream;
use crate::definition::Endpoint;
use crate::platform::{Error, Options, Result};
use crate::tls;

/// Puts TLS around a connection to the endpoint, for the name in the definition.
pub(super) async fn wrap(
    stream: Box<dyn Stream>,
    endpoint: &Endpoint,
    options: &Options,
) -> Result<Box<dyn Stream>> {
    let host = &endpoint.host;
    let failed = |cause: String| Error::Tls { host: host.clone(), cause };
    let config =
        tls::config(endpoint.ca_file.as_deref()).map_err(|error| failed(error.to_string()))?;
    let name = ServerName::try_from(host.clone())
        .map_err(|_| failed("the host is no name a certificate could hold".into()))?;
    let handshake = TlsConnector::from(config).connect(name, stream);
    match timeout(options.idle, handshake).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(Error::Silent { host: host.clone(), after: options.idle }),
    }
}
