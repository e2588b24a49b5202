//! Why there is no consent, and what to do about it.

use std::time::Duration;

use oauth2::{ErrorResponseType, RequestTokenError, StandardErrorResponse};
use secrecy::SecretString;

use super::super::endpoint::Endpoint;
use super::super::grants::words;
use super::super::token_error::Way;
use super::super::{Denial, SecretError, TokenError};

/// Why there is no refresh token. Never holds any of a token, code or secret.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// It is not known where users consent.
    #[error("it is not known where users consent in a browser")]
    NoAuthorizeUrl,
    /// It is not known where device codes are asked for.
    #[error("it is not known where device codes are asked for")]
    NoDeviceUrl,
    /// Nobody can come back to this machine.
    #[error("cannot listen on port {port} of 127.0.0.1: {cause}")]
    Port {
        /// Which; 0: any.
        port: u16,
        /// The operating system's word.
        cause: std::io::Error,
    },
    /// The user, or the provider in the user's stead, said no.
    #[error("there is no consent: {0}")]
    Denied(String),
    /// Nobody came in time.
    #[error("nobody consented within {} minutes", .0.as_secs().div_ceil(60))]
    Expired(Duration),
    /// The provider gave an access token alone.
    #[error("the provider took the consent and gave no refresh token")]
    NoRefreshToken,
    /// The provider's server, asked for a code or a token.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// What cannot be.
    #[error("{0}; please report it")]
    Defect(String),
}

impl From<SecretError> for LoginError {
    fn from(error: SecretError) -> Self {
        Self::Token(error.into())
    }
}

impl LoginError {
    /// What the operator can do about it; empty if nothing more can be said.
    pub fn remedy(&self) -> String {
        match self {
            Self::NoAuthorizeUrl => {
                "write `authorize_url` in `auth`, as the provider documents it".into()
            }
            Self::NoDeviceUrl => "leave `--device` out, to consent in a browser; or write \
                 `device_url` in `auth`, if the provider has such codes"
                .into(),
            Self::Port { port: 0, .. } | Self::Defect(_) => String::new(),
            Self::Port { .. } => "choose another with `--port`".into(),
            Self::Denied(_) => "run the command again, sign in as the mailbox's owner and allow \
                 what is asked; if the page says that an administrator must approve, do that \
                 first at the provider's console"
                .into(),
            Self::Expired(_) => "run the command again".into(),
            Self::NoRefreshToken => "add the scope `offline_access` to `scopes`, where the \
                 provider has it; or take drover's access away in the account's security \
                 settings, and run the command again"
                .into(),
            Self::Token(TokenError::Refused(denial)) => {
                format!("{}; then run the command again", denial.remedy())
            }
            Self::Token(error) => error.remedy(),
        }
    }
}

/// What came of a request that failed. Refusals that are a user's, or of time, are told apart:
/// RFC 6749, 4.1.2.1, and RFC 8628, 3.5; `authorization_declined` is Entra ID's word for the same.
pub(super) fn of_refusal(
    endpoint: &Endpoint,
    asker: String,
    (error, text): (&str, &str),
    sent: &[SecretString],
) -> LoginError {
    let (error, text) = (words(error, sent), words(text, sent));
    match error.as_str() {
        "access_denied" | "authorization_declined" => LoginError::Denied(said(&error, &text)),
        "expired_token" => LoginError::Expired(super::PATIENCE),
        "temporarily_unavailable" | "server_error" => {
            TokenError::Unreachable { endpoint: endpoint.host().into(), cause: error }.into()
        }
        _ => {
            let endpoint = endpoint.host().into();
            TokenError::Refused(Box::new(Denial {
                endpoint,
                asker,
                error,
                text,
                way: Way::Consent,
            }))
            .into()
        }
    }
}

/// The same of any request of the oauth2 crate.
pub(super) fn of_request<T>(
    endpoint: &Endpoint,
    asker: String,
    error: RequestTokenError<TokenError, StandardErrorResponse<T>>,
    sent: &[SecretString],
) -> LoginError
where
    T: ErrorResponseType + AsRef<str> + std::fmt::Display + 'static,
{
    let detail = match error {
        RequestTokenError::Request(error) => return error.into(),
        RequestTokenError::ServerResponse(refusal) => {
            let text = refusal.error_description().map_or("", String::as_str);
            return of_refusal(endpoint, asker, (refusal.error().as_ref(), text), sent);
        }
        // The body that could not be read may hold a token.
        RequestTokenError::Parse(error, _) => format!("at `{}`", error.path()),
        RequestTokenError::Other(detail) => detail,
    };
    TokenError::Protocol { endpoint: endpoint.host().into(), detail: words(&detail, sent) }.into()
}

/// A server's error and what it says of it.
pub(super) fn said(error: &str, text: &str) -> String {
    if text.is_empty() { error.to_owned() } else { format!("{error}: {text}") }
}
