//! How an access token is obtained (OAuth 2.0, RFC 6749), as declared.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::NaiveDate;
use url::{Host, Url};

use super::SecretRef;

/// What a token is asked for with. Two values are equal exactly if they ask for the same token,
/// so that whatever asks with equal grants can share it; only a service account's token is one
/// user's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Grant {
    /// A Google service account with domain-wide delegation: an assertion signed with its key,
    /// in the name of the mailbox's user (RFC 7523, 2.1).
    ServiceAccount {
        /// Google's key file, JSON.
        key: SecretRef,
        /// Where to ask; none: where the key file says (`token_uri`).
        token_url: Option<Url>,
        /// Certificates to trust there besides the platform's roots, PEM.
        ca_file: Option<PathBuf>,
        /// What the token is to be good for.
        scopes: Vec<String>,
        /// What it is to be good for if that is not granted; none: nothing else.
        otherwise: Vec<String>,
    },
    /// An application with rights of its own (RFC 6749, 4.4).
    ClientCredentials {
        /// The application.
        client_id: String,
        /// What proves that drover is it.
        proof: ClientProof,
        /// Where to ask.
        token_url: Url,
        /// Certificates to trust there besides the platform's roots, PEM.
        ca_file: Option<PathBuf>,
        /// What the token is to be good for; may be none.
        scopes: Vec<String>,
    },
    /// What a user once consented to (RFC 6749, 6).
    RefreshToken {
        /// The application that the user consented to.
        client: RefreshClient,
        /// The consent.
        refresh_token: SecretRef,
    },
}

/// How an application proves who it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientProof {
    /// By a secret it shares with the server.
    Secret(ClientSecret),
    /// By an assertion that it signs (RFC 7523, 2.2).
    Certificate {
        /// The certificate that the server knows, PEM.
        certificate: SecretRef,
        /// Its key, PEM.
        private_key: SecretRef,
    },
}

/// A secret that an application shares with the server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientSecret {
    /// The secret.
    pub secret: SecretRef,
    /// The day on which it ends, as its owner knows; no protocol tells.
    pub expires: Option<NaiveDate>,
}

impl From<SecretRef> for ClientSecret {
    fn from(secret: SecretRef) -> Self {
        Self { secret, expires: None }
    }
}

/// The application in whose name refresh tokens are used.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RefreshClient {
    /// Its id.
    pub client_id: String,
    /// Its secret, if it has one: programs on people's own machines mostly have none.
    pub client_secret: Option<ClientSecret>,
    /// Where to ask.
    pub token_url: Url,
    /// Certificates to trust there besides the platform's roots, PEM.
    pub ca_file: Option<PathBuf>,
    /// What the token is to be good for; none: whatever the user consented to.
    pub scopes: Vec<String>,
    /// How users are asked for their consent.
    pub consent: Arc<Consent>,
}

/// How a user is asked to consent to an application.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Consent {
    /// Where the user's browser goes (RFC 6749, 3.1).
    pub authorize_url: Option<Url>,
    /// Where a code is asked for that the user enters on another device (RFC 8628, 3.1).
    pub device_url: Option<Url>,
    /// What the user consents to.
    pub scopes: Vec<String>,
    /// What the server calls this machine when it sends the browser back; none: `127.0.0.1`.
    pub loopback: Option<String>,
    /// What the server is told besides.
    pub parameters: Vec<(String, String)>,
}

impl Grant {
    /// The secrets it needs.
    pub fn secrets(&self) -> Vec<&SecretRef> {
        match self {
            Self::ServiceAccount { key, .. } => vec![key],
            Self::ClientCredentials { proof: ClientProof::Secret(secret), .. } => {
                vec![&secret.secret]
            }
            Self::ClientCredentials {
                proof: ClientProof::Certificate { certificate, private_key },
                ..
            } => vec![certificate, private_key],
            Self::RefreshToken { client, refresh_token } => {
                let own = client.client_secret.iter().map(|secret| &secret.secret);
                own.chain([refresh_token]).collect()
            }
        }
    }

    /// Certificates to trust where tokens are asked for, besides the platform's roots.
    pub fn ca_file(&self) -> Option<&Path> {
        match self {
            Self::ServiceAccount { ca_file, .. } | Self::ClientCredentials { ca_file, .. } => {
                ca_file.as_deref()
            }
            Self::RefreshToken { client, .. } => client.ca_file.as_deref(),
        }
    }

    /// The day on which its client secret ends, if its owner said.
    pub fn secret_expires(&self) -> Option<NaiveDate> {
        match self {
            Self::ClientCredentials { proof: ClientProof::Secret(secret), .. } => secret.expires,
            Self::RefreshToken { client, .. } => client.client_secret.as_ref()?.expires,
            _ => None,
        }
    }
}

/// Whether secrets may be sent there: over HTTPS, or without it to this very machine.
pub(crate) fn is_confidential(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    };
    url.scheme() == "https" || url.scheme() == "http" && is_loopback
}
