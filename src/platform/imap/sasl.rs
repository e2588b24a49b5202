//! How drover proves who it is: the SASL mechanisms, and what each sends.

use std::sync::Arc;

use serde::Deserialize;

use super::names::base64;
use super::session::Capabilities;
use crate::auth::{self, Token};
use crate::definition::{Account, Login, Names};
use crate::platform::{Error, Options, Result};
use secrecy::{ExposeSecret, SecretString};

/// So many characters of what a failure challenge says are shown.
const WORDS: usize = 100;

/// What proves that drover may enter.
pub(super) enum Credential {
    Password(SecretString),
    Token(Arc<Token>),
}

impl Credential {
    /// What the account's login says, read or asked for.
    pub(super) async fn of(account: &Account, options: &Options) -> Result<Self> {
        match &account.login {
            Login::Password(secret) | Login::MasterUser { password: secret, .. } => {
                Ok(Self::Password(auth::resolve(secret).await?))
            }
            Login::Token(grant) => {
                Ok(Self::Token(options.tokens.token(grant, &account.user).await?))
            }
        }
    }

    /// Another in place of this one, which the server refused with this error; `None` if there is
    /// none that could help.
    pub(super) async fn renewed(
        &self,
        account: &Account,
        options: &Options,
        error: &Error,
    ) -> Result<Option<Self>> {
        match (self, &account.login, error) {
            (
                Self::Token(token),
                Login::Token(grant),
                Error::Expired { .. } | Error::Credentials { .. },
            ) => {
                let renewed = options.tokens.renewed(grant, &account.user, token).await?;
                Ok(renewed.map(Self::Token))
            }
            // Passwords may be tokens too, renewed behind our back.
            (Self::Password(before), _, Error::Expired { .. }) => {
                let now = Self::of(account, options).await?;
                let is_new = |now: &SecretString| now.expose_secret() != before.expose_secret();
                Ok(Some(now).filter(|now| matches!(now, Self::Password(now) if is_new(now))))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn expose(&self) -> &str {
        match self {
            Self::Password(password) => password.expose_secret(),
            Self::Token(token) => token.expose(),
        }
    }
}

/// A mechanism and what it says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mechanism {
    /// RFC 4616.
    Plain,
    /// <https://developers.google.com/workspace/gmail/imap/xoauth2-protocol>
    XOAuth2,
    /// RFC 7628.
    OAuthBearer,
}

impl Mechanism {
    /// The one to use for a token. XOAUTH2 is what every provider documents, and what there was
    /// first; servers that offer only OAUTHBEARER are rare.
    pub(super) fn for_token(offered: &Capabilities) -> Option<Self> {
        let has = |mechanism: &Self| offered.has(&format!("AUTH={}", mechanism.name()));
        [Self::XOAuth2, Self::OAuthBearer].into_iter().find(has)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::XOAuth2 => "XOAUTH2",
            Self::OAuthBearer => "OAUTHBEARER",
        }
    }

    /// The initial response, not encoded yet.
    pub(super) fn first(self, account: &Account, secret: &str) -> String {
        let (user, endpoint) = (account.user.as_str(), &account.endpoint);
        match self {
            // Whom to act for, who one is, the password.
            Self::Plain => {
                let Names { who, for_whom } = account.names();
                format!("{}\0{who}\0{secret}", for_whom.unwrap_or_default())
            }
            Self::XOAuth2 => format!("user={user}\x01auth=Bearer {secret}\x01\x01"),
            Self::OAuthBearer => {
                // A saslname (RFC 5801, 4).
                let name = user.replace('=', "=3D").replace(',', "=2C");
                let (host, port) = (&endpoint.host, endpoint.port);
                format!("n,a={name},\x01host={host}\x01port={port}\x01auth=Bearer {secret}\x01\x01")
            }
        }
    }

    /// The answer to the challenge by which a failure is explained, where the mechanism has one:
    /// a client must give it before the server says NO.
    const fn farewell(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::XOAuth2 => Some(""),
            // RFC 7628, 3.2.3.
            Self::OAuthBearer => Some("\x01"),
        }
    }
}

/// One conversation.
pub(super) struct Dialogue<'a> {
    mechanism: Mechanism,
    /// The initial response, and whether it was sent.
    first: String,
    is_sent: bool,
    /// Why the server refuses, once it said so.
    failure: &'a mut Option<String>,
}

impl<'a> Dialogue<'a> {
    /// A conversation, and the argument of AUTHENTICATE that begins it: with the initial response
    /// where the server takes it there (RFC 4959).
    pub(super) fn begin(
        mechanism: Mechanism,
        first: String,
        offered: &Capabilities,
        failure: &'a mut Option<String>,
    ) -> (String, Self) {
        let is_sent = offered.has("SASL-IR");
        let argument = match is_sent {
            true => format!("{} {}", mechanism.name(), base64(first.as_bytes())),
            false => mechanism.name().to_owned(),
        };
        (argument, Self { mechanism, first, is_sent, failure })
    }
}

impl async_imap::Authenticator for Dialogue<'_> {
    type Response = String;

    fn process(&mut self, challenge: &[u8]) -> String {
        let Some(farewell) = self.mechanism.farewell() else { return self.first.clone() };
        // An empty challenge asks for the initial response, some servers a second time.
        if !self.is_sent || challenge.is_empty() {
            self.is_sent = true;
            return self.first.clone();
        }
        *self.failure = explained(challenge);
        farewell.to_owned()
    }
}

/// RFC 7628, 3.2.2; Google sends the same with XOAUTH2.
#[derive(Deserialize)]
struct Explanation {
    status: String,
    scope: Option<String>,
}

/// A failure challenge in words.
fn explained(challenge: &[u8]) -> Option<String> {
    let Explanation { status, scope } = serde_json::from_slice(challenge).ok()?;
    let words = match scope {
        Some(scope) => format!("status {status}, scope {scope}"),
        None => format!("status {status}"),
    };
    Some(words.chars().filter(|c| !c.is_control()).take(WORDS).collect())
}
