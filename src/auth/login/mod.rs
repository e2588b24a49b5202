//! Asking a user for consent, once, for a refresh token: in a browser that comes back to this
//! machine ([`Way::Browser`]; RFC 8252, with PKCE, RFC 7636), or with a code that the user enters
//! on another device ([`Way::Device`]; RFC 8628). Nothing here reads a terminal or starts a browser.

use std::net::Ipv4Addr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use oauth2::basic::BasicRequestTokenError;
use oauth2::{
    AuthUrl, AuthorizationCode, CsrfToken, PkceCodeChallenge, RedirectUrl, Scope, TokenResponse,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use url::Url;

use super::answer::{Answer, Client, client};
use super::endpoint::Endpoint;
use super::{TokenError, resolve};
use crate::definition::RefreshClient;

mod device;
mod error;
mod loopback;
mod place;

pub use error::LoginError;
pub use place::Place;

/// So long a user may take; no device code is waited for longer either.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// How a user is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In a browser, which comes back to this port of the machine; 0: any that is free.
    Browser {
        /// TCP port.
        port: u16,
    },
    /// With a code, on any device.
    Device,
}

/// What a user is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// To open this, in a browser that reaches this port of this machine's loopback address.
    Open {
        /// Where.
        url: Url,
        /// TCP port.
        port: u16,
    },
    /// To open this anywhere and to enter the code.
    Enter {
        /// Where, in the server's words.
        url: String,
        /// What.
        code: String,
        /// The same with the code in it, if the server has that.
        complete: Option<String>,
        /// Until when.
        life: Duration,
    },
}

/// What a user gave.
#[derive(Debug)]
pub struct Consent {
    /// The refresh token.
    pub token: SecretString,
    /// Who it was, if the server tells.
    pub account: Option<String>,
    /// When the token ends, if the server tells.
    pub ends: Option<DateTime<Utc>>,
}

/// Asks a user to consent to an application. `hint`: whom the page should propose to sign in.
/// `show` is called once, with what the user must do.
///
/// # Errors
/// See [`LoginError`].
pub async fn consent(
    application: &RefreshClient,
    way: Way,
    hint: Option<&str>,
    show: impl FnOnce(Step),
) -> Result<Consent, LoginError> {
    let asker = Asker::new(application).await?;
    let answer = match way {
        Way::Browser { port } => asker.in_browser(port, hint, show).await?,
        Way::Device => asker.by_device(show).await?,
    };
    let Some(token) = answer.refresh_token() else { return Err(LoginError::NoRefreshToken) };
    let life = answer.extra_fields().refresh_life();
    Ok(Consent {
        token: token.secret().as_str().into(),
        account: answer.extra_fields().account(),
        ends: life.and_then(|life| Utc::now().checked_add_signed(TimeDelta::from_std(life).ok()?)),
    })
}

/// One application that asks.
struct Asker<'a> {
    application: &'a RefreshClient,
    secret: Option<SecretString>,
    /// Where codes are exchanged for tokens.
    tokens: Endpoint,
}

impl<'a> Asker<'a> {
    async fn new(application: &'a RefreshClient) -> Result<Self, LoginError> {
        let secret = match &application.client_secret {
            Some(secret) => Some(resolve(&secret.secret).await?),
            None => None,
        };
        let tokens = Endpoint::new(&application.token_url, application.ca_file.as_deref());
        Ok(Self { application, secret, tokens })
    }

    fn client(&self) -> Client {
        client(&self.application.client_id, self.secret.as_ref(), &self.application.token_url)
    }

    fn scopes(&self) -> impl Iterator<Item = Scope> {
        self.application.consent.scopes.iter().cloned().map(Scope::new)
    }

    async fn in_browser(
        &self,
        port: u16,
        hint: Option<&str>,
        show: impl FnOnce(Step),
    ) -> Result<Answer, LoginError> {
        let how = &self.application.consent;
        let Some(url) = &how.authorize_url else { return Err(LoginError::NoAuthorizeUrl) };
        let unusable = |cause| LoginError::Port { port, cause };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(unusable)?;
        let port = listener.local_addr().map_err(unusable)?.port();
        let host = how.loopback.as_deref().unwrap_or("127.0.0.1");
        let back = RedirectUrl::new(format!("http://{host}:{port}"))
            .map_err(|error| LoginError::Defect(error.to_string()))?;
        let client =
            self.client().set_auth_uri(AuthUrl::from_url(url.clone())).set_redirect_uri(back);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut request = client
            .authorize_url(CsrfToken::new_random)
            .add_scopes(self.scopes())
            .set_pkce_challenge(challenge);
        for (name, value) in &how.parameters {
            request = request.add_extra_param(name, value);
        }
        // OpenID Connect Core, 3.1.2.1; Google and Entra ID both know it.
        if let Some(hint) = hint {
            request = request.add_extra_param("login_hint", hint);
        }
        let (url, state) = request.url();
        show(Step::Open { url, port });
        let code = loopback::code(listener, state.secret(), PATIENCE).await?;
        let sent = self.sent(&[&code, &SecretString::from(verifier.secret().as_str())]);
        let code = AuthorizationCode::new(code.expose_secret().to_owned());
        let request = client.exchange_code(code).set_pkce_verifier(verifier);
        let answer = request.request_async(&self.tokens).await;
        answer.map_err(|error| self.failed(error, &sent))
    }

    /// What was sent in confidence.
    fn sent(&self, more: &[&SecretString]) -> Vec<SecretString> {
        self.secret.iter().chain(more.iter().copied()).cloned().collect()
    }

    fn failed(
        &self,
        error: BasicRequestTokenError<TokenError>,
        sent: &[SecretString],
    ) -> LoginError {
        let asker = format!("the application {}", self.application.client_id);
        error::of_request(&self.tokens, asker, error, sent)
    }
}
