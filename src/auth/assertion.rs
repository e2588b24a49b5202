//! Signed assertions: JSON Web Tokens (RFC 7519) that say who asks for an access token.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::TokenError;
use super::expiry::not_after;
use crate::definition::grant::is_confidential;

/// An assertion begins to count this long ago: clocks differ, and what is from the future is
/// refused.
const SKEW: Duration = Duration::from_secs(60);

/// Google takes no longer ones
/// (<https://developers.google.com/identity/protocols/oauth2/service-account>).
const SERVICE_ACCOUNT_LIFE: Duration = Duration::from_secs(3600);

/// Microsoft recommends 5 to 10 minutes
/// (<https://learn.microsoft.com/entra/identity-platform/certificate-credentials>).
const CLIENT_LIFE: Duration = Duration::from_secs(600);

/// Google's key file of a service account.
pub(super) struct ServiceAccountKey {
    email: String,
    key_id: String,
    key: RsaKeyPair,
    /// Where its tokens are asked for.
    pub(super) token_url: Url,
}

#[derive(Deserialize)]
struct KeyFile {
    r#type: String,
    private_key_id: String,
    private_key: String,
    client_email: String,
    token_uri: Url,
}

impl ServiceAccountKey {
    /// Reads the key file.
    pub(super) fn parse(text: &SecretString) -> Result<Self, TokenError> {
        let what = "the service account's key file";
        let refuse = |why: &str| TokenError::Key { what, why: why.into() };
        let file: KeyFile = serde_json::from_str(text.expose_secret()).map_err(|error| {
            // The whole message could quote the key.
            let place = format!("at line {}, column {}", error.line(), error.column());
            refuse(&format!("it is not as Google writes it, {place}"))
        })?;
        if file.r#type != "service_account" {
            return Err(refuse("it is of another kind: its `type` must be `service_account`"));
        }
        if !is_confidential(&file.token_uri) {
            return Err(refuse("its `token_uri` is not https"));
        }
        Ok(Self {
            key: rsa_key(what, &file.private_key)?,
            email: file.client_email,
            key_id: file.private_key_id,
            token_url: file.token_uri,
        })
    }

    /// The service account's name.
    pub(super) fn email(&self) -> &str {
        &self.email
    }

    /// Asks for a token in the name of `user` (RFC 7523, 2.1).
    pub(super) fn assertion(
        &self,
        user: &str,
        scopes: &[String],
        audience: &Url,
    ) -> Result<SecretString, TokenError> {
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.key_id });
        let (from, until) = validity(SERVICE_ACCOUNT_LIFE);
        let claims = json!({
            "iss": self.email, "sub": user, "scope": scopes.join(" "),
            "aud": audience.as_str(), "iat": from, "exp": until,
        });
        signed(&self.key, &RSA_PKCS1_SHA256, &header, &claims)
    }
}

/// An application's certificate and key.
pub(super) struct ClientCertificate {
    thumbprint: String,
    ends: Option<DateTime<Utc>>,
    key: RsaKeyPair,
}

impl ClientCertificate {
    /// Reads both, PEM.
    pub(super) fn parse(
        certificate: &SecretString,
        private_key: &SecretString,
    ) -> Result<Self, TokenError> {
        let der = certificate_in(certificate)?;
        let thumbprint = ring::digest::digest(&ring::digest::SHA256, &der);
        Ok(Self {
            thumbprint: URL_SAFE_NO_PAD.encode(thumbprint),
            ends: not_after(&der),
            key: rsa_key("the certificate's private key", private_key.expose_secret())?,
        })
    }

    /// When it ends, if it is as certificates are.
    pub(super) fn ends(&self) -> Option<DateTime<Utc>> {
        self.ends
    }

    /// Proves that drover is the application (RFC 7523, 2.2).
    pub(super) fn assertion(
        &self,
        client_id: &str,
        audience: &Url,
    ) -> Result<SecretString, TokenError> {
        let header = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": self.thumbprint });
        let (from, until) = validity(CLIENT_LIFE);
        let mut id = [0; 16];
        SystemRandom::new().fill(&mut id).map_err(|_| unsigned())?;
        let claims = json!({
            "iss": client_id, "sub": client_id, "aud": audience.as_str(),
            "jti": URL_SAFE_NO_PAD.encode(id), "nbf": from, "iat": from, "exp": until,
        });
        signed(&self.key, &RSA_PSS_SHA256, &header, &claims)
    }
}

/// The first certificate of a PEM file.
pub(super) fn certificate_in(pem: &SecretString) -> Result<CertificateDer<'static>, TokenError> {
    CertificateDer::from_pem_slice(pem.expose_secret().as_bytes()).map_err(|_| TokenError::Key {
        what: "the application's certificate",
        why: "there is no `BEGIN CERTIFICATE` in it".into(),
    })
}

fn rsa_key(what: &'static str, pem: &str) -> Result<RsaKeyPair, TokenError> {
    let refuse = |why: String| TokenError::Key { what, why };
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| refuse("there is no unencrypted private key in PEM form in it".into()))?;
    let key = match &der {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err(refuse("it must be an RSA key".into())),
    };
    key.map_err(|error| refuse(format!("its key is no usable RSA key: {error}")))
}

/// Seconds since 1970: from when until when.
fn validity(life: Duration) -> (u64, u64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let from = now.saturating_sub(SKEW);
    (from.as_secs(), (from + life).as_secs())
}

/// RFC 7515, 3.1.
fn signed(
    key: &RsaKeyPair,
    algorithm: &'static dyn RsaEncoding,
    header: &Value,
    claims: &Value,
) -> Result<SecretString, TokenError> {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut token = format!("{}.{}", part(header), part(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(algorithm, &SystemRandom::new(), token.as_bytes(), &mut signature)
        .map_err(|_| unsigned())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token.into())
}

fn unsigned() -> TokenError {
    TokenError::Key { what: "the private key", why: "nothing can be signed with it".into() }
}

#[cfg(test)]
mod tests;
