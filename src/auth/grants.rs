//! From a grant and its secrets to an access token.

use std::time::Duration;

use chrono::{DateTime, Utc};
use oauth2::basic::{BasicErrorResponse, BasicErrorResponseType, BasicRequestTokenError};
use oauth2::http::header::{ACCEPT, CONTENT_TYPE};
use oauth2::{RefreshToken, Scope, TokenResponse};
use secrecy::{ExposeSecret, SecretString};
use url::{Url, form_urlencoded};

use super::answer::{Answer, client};
use super::assertion::{ClientCertificate, ServiceAccountKey};
use super::endpoint::Endpoint;
use super::token_error::Way;
use super::{Denial, TokenError, resolve, resolve_text};
use crate::definition::{ClientProof, Grant};

/// RFC 7523, 2.1 and 2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const CLIENT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// So many characters of the server's words are shown.
const WORDS: usize = 300;

/// A request for a token, ready to be made.
pub(super) struct Question {
    /// Where it is to be asked.
    pub(super) url: Url,
    asker: String,
    scopes: Vec<String>,
    proof: Proof,
}

enum Proof {
    ServiceAccount { key: Box<ServiceAccountKey>, user: String, otherwise: Vec<String> },
    Secret { client_id: String, secret: SecretString },
    Certificate { client_id: String, certificate: Box<ClientCertificate> },
    Refresh { client_id: String, secret: Option<SecretString>, token: SecretString },
}

/// What came of it.
pub(super) struct Granted {
    pub(super) token: SecretString,
    /// How long it is good for, if the server told.
    pub(super) life: Option<Duration>,
    /// A refresh token to use in place of the one that was used (RFC 6749, 6).
    pub(super) refresh_token: Option<SecretString>,
    /// How long the refresh token is good for, the one given or the one used, if the server told.
    pub(super) refresh_life: Option<Duration>,
}

/// Reads a grant's secrets; the refresh token is the last.
pub(super) async fn secrets(grant: &Grant) -> Result<Vec<SecretString>, TokenError> {
    let mut secrets = Vec::new();
    for secret in grant.secrets() {
        secrets.push(match grant {
            Grant::ServiceAccount { .. }
            | Grant::ClientCredentials { proof: ClientProof::Certificate { .. }, .. } => {
                resolve_text(secret).await?
            }
            _ => resolve(secret).await?,
        });
    }
    Ok(secrets)
}

/// Was it refused for what it was asked for, as Google says of scopes that are not delegated?
fn is_not_granted(error: &BasicRequestTokenError<TokenError>) -> bool {
    use BasicErrorResponseType::{Extension, InvalidScope, UnauthorizedClient};
    let BasicRequestTokenError::ServerResponse(refusal) = error else { return false };
    match refusal.error() {
        UnauthorizedClient | InvalidScope => true,
        Extension(other) => other == "access_denied",
        _ => false,
    }
}

impl Question {
    /// With what [`secrets`] read. `user`: in whose name a service account asks.
    pub(super) fn new(
        grant: &Grant,
        user: &str,
        secrets: &[SecretString],
    ) -> Result<Self, TokenError> {
        let secret = |n: usize| secrets.get(n).cloned().unwrap_or_default();
        Ok(match grant {
            Grant::ServiceAccount { token_url, scopes, otherwise, .. } => {
                let key = ServiceAccountKey::parse(&secret(0))?;
                let (user, otherwise) = (user.to_owned(), otherwise.clone());
                Self {
                    url: token_url.clone().unwrap_or_else(|| key.token_url.clone()),
                    asker: format!("{} for {user}", key.email()),
                    scopes: scopes.clone(),
                    proof: Proof::ServiceAccount { key: Box::new(key), user, otherwise },
                }
            }
            Grant::ClientCredentials { client_id, proof, token_url, scopes, .. } => {
                let client = client_id.clone();
                let proof = match proof {
                    ClientProof::Secret(_) => {
                        Proof::Secret { client_id: client, secret: secret(0) }
                    }
                    ClientProof::Certificate { .. } => {
                        let certificate = ClientCertificate::parse(&secret(0), &secret(1))?;
                        Proof::Certificate { client_id: client, certificate: Box::new(certificate) }
                    }
                };
                let asker = format!("the application {client_id}");
                Self { url: token_url.clone(), asker, scopes: scopes.clone(), proof }
            }
            Grant::RefreshToken { client, .. } => Self {
                url: client.token_url.clone(),
                asker: format!("the application {}", client.client_id),
                scopes: client.scopes.clone(),
                proof: Proof::Refresh {
                    client_id: client.client_id.clone(),
                    secret: client.client_secret.as_ref().map(|_| secret(0)),
                    token: secrets.last().cloned().unwrap_or_default(),
                },
            },
        })
    }

    /// When the certificate ends by which it is asked.
    pub(super) fn certificate_ends(&self) -> Option<DateTime<Utc>> {
        match &self.proof {
            Proof::Certificate { certificate, .. } => certificate.ends(),
            _ => None,
        }
    }

    /// Asks.
    pub(super) async fn ask(&self, endpoint: &Endpoint) -> Result<Granted, TokenError> {
        let scopes = self.scopes.iter().cloned().map(Scope::new);
        let mut sent = Vec::new();
        let (way, answer) = match &self.proof {
            Proof::ServiceAccount { key, user, otherwise } => {
                let assertion = key.assertion(user, &self.scopes, &self.url)?;
                let mut answer = self.ask_by_assertion(endpoint, &assertion).await;
                sent.push(assertion);
                if !otherwise.is_empty() && answer.as_ref().is_err_and(is_not_granted) {
                    let assertion = key.assertion(user, otherwise, &self.url)?;
                    answer = self.ask_by_assertion(endpoint, &assertion).await;
                    sent.push(assertion);
                }
                (Way::ServiceAccount, answer)
            }
            Proof::Secret { client_id, secret } => {
                sent.push(secret.clone());
                let client = client(client_id, Some(secret), &self.url);
                let request = client.exchange_client_credentials().add_scopes(scopes);
                (Way::ClientCredentials, request.request_async(endpoint).await)
            }
            Proof::Certificate { client_id, certificate } => {
                let assertion = certificate.assertion(client_id, &self.url)?;
                sent.push(assertion.clone());
                let client = client(client_id, None, &self.url);
                let request = client
                    .exchange_client_credentials()
                    .add_scopes(scopes)
                    .add_extra_param("client_assertion_type", CLIENT_ASSERTION)
                    .add_extra_param("client_assertion", assertion.expose_secret());
                (Way::ClientCredentials, request.request_async(endpoint).await)
            }
            Proof::Refresh { client_id, secret, token } => {
                sent.extend(secret.iter().chain([token]).cloned());
                let client = client(client_id, secret.as_ref(), &self.url);
                let token = RefreshToken::new(token.expose_secret().to_owned());
                let request = client.exchange_refresh_token(&token).add_scopes(scopes);
                (Way::RefreshToken, request.request_async(endpoint).await)
            }
        };
        match answer {
            Ok(answer) => Ok(Granted {
                token: answer.access_token().secret().as_str().into(),
                life: answer.expires_in(),
                refresh_token: answer.refresh_token().map(|token| token.secret().as_str().into()),
                refresh_life: answer.extra_fields().refresh_life(),
            }),
            Err(error) => Err(self.error(endpoint, way, error, &sent)),
        }
    }

    /// The oauth2 crate knows no such grant; only what is sent differs.
    async fn ask_by_assertion(
        &self,
        endpoint: &Endpoint,
        assertion: &SecretString,
    ) -> Result<Answer, BasicRequestTokenError<TokenError>> {
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", JWT_BEARER)
            .append_pair("assertion", assertion.expose_secret())
            .finish();
        let request = oauth2::http::Request::post(self.url.as_str())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body.into_bytes())
            .map_err(|error| BasicRequestTokenError::Other(error.to_string()))?;
        let answer = endpoint.send(request).await?;
        if answer.status().is_success() {
            return serde_json::from_slice(answer.body())
                .map_err(|_| BasicRequestTokenError::Other("it is no token".into()));
        }
        Err(match serde_json::from_slice::<BasicErrorResponse>(answer.body()) {
            Ok(refusal) => BasicRequestTokenError::ServerResponse(refusal),
            Err(_) => BasicRequestTokenError::Other(format!("HTTP {}", answer.status().as_u16())),
        })
    }

    fn error(
        &self,
        endpoint: &Endpoint,
        way: Way,
        error: BasicRequestTokenError<TokenError>,
        sent: &[SecretString],
    ) -> TokenError {
        let host = endpoint.host().to_owned();
        let detail = match error {
            BasicRequestTokenError::Request(error) => return error,
            BasicRequestTokenError::ServerResponse(refusal) => {
                let text = refusal.error_description().cloned().unwrap_or_default();
                let error = words(refusal.error().as_ref(), sent);
                if is_passing(refusal.error()) {
                    return TokenError::Unreachable { endpoint: host, cause: error };
                }
                let denial = Denial {
                    endpoint: host,
                    asker: self.asker.clone(),
                    error,
                    text: words(&text, sent),
                    way,
                };
                return TokenError::Refused(Box::new(denial));
            }
            // The body that could not be read may hold a token.
            BasicRequestTokenError::Parse(error, _) => format!("at `{}`", error.path()),
            BasicRequestTokenError::Other(detail) => detail,
        };
        TokenError::Protocol { endpoint: host, detail: words(&detail, sent) }
    }
}

/// RFC 6749, 4.1.2.1; some token endpoints say so too.
pub(super) fn is_passing(error: &BasicErrorResponseType) -> bool {
    matches!(error.as_ref(), "temporarily_unavailable" | "server_error")
}

/// The first line of what a server said, without what was sent to it in confidence.
pub(super) fn words(text: &str, sent: &[SecretString]) -> String {
    let mut line = text.lines().next().unwrap_or_default().to_owned();
    for secret in sent {
        if !secret.expose_secret().is_empty() {
            line = line.replace(secret.expose_secret(), "[secret]");
        }
    }
    line.chars().filter(|c| !c.is_control()).take(WORDS).collect()
}
