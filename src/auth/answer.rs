//! What token endpoints say besides what RFC 6749 has them say, and the client that reads it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
    BasicTokenType,
};
use oauth2::{
    AuthType, ClientId, ClientSecret, EndpointNotSet, EndpointSet, ExtraTokenFields,
    StandardRevocableToken, StandardTokenResponse, TokenUrl,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

/// A token endpoint's answer.
pub(super) type Answer = StandardTokenResponse<Besides, BasicTokenType>;

/// An OAuth client that asks a token endpoint, and others as they are set.
pub(super) type Client<Authorize = EndpointNotSet, Device = EndpointNotSet> = oauth2::Client<
    BasicErrorResponse,
    Answer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    Authorize,
    Device,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// What only some providers say. Of any type, for nobody has agreed on it.
#[derive(Serialize, Deserialize)]
pub(super) struct Besides {
    /// OpenID Connect Core, 3.1.3.3.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    id_token: Value,
    /// Google's and Microsoft's name for how long the refresh token is good, seconds.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    refresh_token_expires_in: Value,
}

impl ExtraTokenFields for Besides {}

impl std::fmt::Debug for Besides {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Besides").finish_non_exhaustive()
    }
}

impl Besides {
    /// How long the refresh token is good; none: nobody says.
    pub(super) fn refresh_life(&self) -> Option<Duration> {
        let said = &self.refresh_token_expires_in;
        let seconds = said.as_u64().or_else(|| said.as_str()?.parse().ok())?;
        // Nought stands for ever.
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    /// Who consented, if the server tells: it came from the server itself over TLS, so its
    /// signature need not be looked at (OpenID Connect Core, 3.1.3.7).
    pub(super) fn account(&self) -> Option<String> {
        let payload = self.id_token.as_str()?.split('.').nth(1)?;
        let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
        let claims: Value = serde_json::from_slice(&payload).ok()?;
        let names = ["email", "preferred_username", "upn"];
        names.iter().find_map(|name| claims[*name].as_str()).map(ToOwned::to_owned)
    }
}

/// Secrets are sent in the body: every provider takes them there, and no log of headers shows
/// them.
pub(super) fn client(client_id: &str, secret: Option<&SecretString>, token_url: &Url) -> Client {
    let client = oauth2::Client::new(ClientId::new(client_id.to_owned()))
        .set_auth_type(AuthType::RequestBody)
        .set_token_uri(TokenUrl::from_url(token_url.clone()));
    match secret {
        Some(secret) => {
            client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()))
        }
        None => client,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn besides(id_token: Value, refresh_token_expires_in: Value) -> Besides {
        Besides { id_token, refresh_token_expires_in }
    }

    #[test]
    fn an_id_token_tells_who_consented() {
        let claims = URL_SAFE_NO_PAD.encode(r#"{"sub":"1","email":"anna@acme.example"}"#);
        let token = json!(format!("eyJ9.{claims}.c2ln"));
        assert_eq!(besides(token, Value::Null).account().as_deref(), Some("anna@acme.example"));
        for nonsense in [json!("a.b.c"), json!(".."), json!(7), Value::Null] {
            assert_eq!(besides(nonsense, Value::Null).account(), None);
        }
    }

    #[test]
    fn a_refresh_tokens_life_may_be_a_number_or_a_text() {
        let life = |said| besides(Value::Null, said).refresh_life().map(|life| life.as_secs());
        assert_eq!(life(json!(604_799)), Some(604_799));
        assert_eq!(life(json!("604799")), Some(604_799));
        for none in [json!(0), json!(-1), json!({}), Value::Null] {
            assert_eq!(life(none), None);
        }
    }
}
