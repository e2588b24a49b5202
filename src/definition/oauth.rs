//! What is known of OAuth servers, by tenant and platform, and what may be written of them.

use url::Url;

use super::document::{Wrong, wrong};
use super::grant::{Consent, is_confidential};
use crate::preset::{self, OAuth, Preset};

/// The platform whose tenants are meant by `tenant`.
const TENANTS: &str = "microsoft365";

/// What to write if nothing is known.
pub(super) const WHERE: &str = "write where tokens are to be asked for: \
    token_url = \"https://login.example.org/oauth2/token\"; or, for Microsoft 365, tenant = \
    \"acme.example\"";

/// An OAuth server, as far as it is known.
#[derive(Default)]
pub(super) struct Known {
    /// Where tokens are asked for.
    pub(super) token_url: Option<Url>,
    /// How users are asked for their consent.
    pub(super) consent: Consent,
}

/// A tenant's place at Entra ID.
pub(super) fn of_tenant(tenant: &str) -> Known {
    // Only letters, digits, `-` and `.` are in the name.
    preset::find(TENANTS).map(|preset| of(&preset.oauth.of_tenant(tenant))).unwrap_or_default()
}

/// A platform's OAuth server; where each tenant has its own, what they have in common.
pub(super) fn of_platform(preset: &Preset) -> Known {
    let known = of(&preset.oauth);
    match preset.oauth.has_tenants() {
        false => known,
        true => {
            let consent = Consent { authorize_url: None, device_url: None, ..known.consent };
            Known { token_url: None, consent }
        }
    }
}

fn of(oauth: &OAuth) -> Known {
    let url = |text: &Option<String>| text.as_ref().and_then(|text| Url::parse(text).ok());
    let parameters = oauth.parameters.iter();
    Known {
        token_url: url(&oauth.token_url),
        consent: Consent {
            authorize_url: url(&oauth.authorize_url),
            device_url: url(&oauth.device_url),
            scopes: oauth.scopes.clone(),
            loopback: oauth.loopback.clone(),
            parameters: parameters.map(|(name, value)| (name.clone(), value.clone())).collect(),
        },
    }
}

/// A tenant's id or domain.
pub(super) fn tenant(text: &str) -> Result<String, Wrong> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    match !text.is_empty() && text.chars().all(is_name) {
        true => Ok(text.to_owned()),
        false => Err(wrong(
            format!("`{text}` is no tenant"),
            "write the tenant's id, or one of its domains: \"acme.example\"",
        )),
    }
}

/// RFC 6749, A.1: printable ASCII.
pub(super) fn client_id(text: &str) -> Result<String, Wrong> {
    match !text.is_empty() && text.chars().all(|c| matches!(c, ' '..='~')) {
        true => Ok(text.to_owned()),
        false => Err(wrong("this is no client id", "write the application's id")),
    }
}

/// RFC 6749, 3.3.
pub(super) fn scope(text: &str) -> Result<String, Wrong> {
    let is_legal = |c: char| matches!(c, '!' | '#'..='[' | ']'..='~');
    match !text.is_empty() && text.chars().all(is_legal) {
        true => Ok(text.to_owned()),
        false => Err(wrong(
            format!("`{text}` is no scope"),
            "write each in quotes of its own: [\"https://mail.google.com/\", \"email\"]",
        )),
    }
}

/// Secrets go there, so it is HTTPS, but for what never leaves the machine.
pub(super) fn url(text: &str) -> Result<Url, Wrong> {
    let help = "write it as \"https://login.example.org/oauth2/token\"";
    // What stands there is not shown: it may hold a password.
    let url = Url::parse(text.trim()).map_err(|_| wrong("this is no URL", help))?;
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(wrong("there is something in the URL that does not belong there", help));
    }
    match is_confidential(&url) {
        true => Ok(url),
        false => Err(wrong("secrets are sent there, so it must be https", help)),
    }
}
