//! Why there is no access token, and what to do about it.

use std::time::Duration;

use super::SecretError;

mod aadsts;

/// Why there is no access token. Never holds any of a token or secret.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A secret that is needed could not be read.
    #[error("{0}")]
    Secret(#[from] SecretError),
    /// A key or certificate is not as it must be.
    #[error("{what} cannot be used: {why}")]
    Key {
        /// Which.
        what: &'static str,
        /// Nothing of its content.
        why: String,
    },
    /// The token endpoint did not answer, or only that something is wrong with it.
    #[error("no answer from {endpoint}, where tokens are asked for: {cause}")]
    Unreachable {
        /// Its host.
        endpoint: String,
        /// What was seen.
        cause: String,
    },
    /// The token endpoint shows no certificate that is trusted.
    #[error("no trusted TLS with {endpoint}, where tokens are asked for: {cause}")]
    Tls {
        /// Its host.
        endpoint: String,
        /// What was seen.
        cause: String,
    },
    /// The token endpoint wants to be asked less often.
    #[error("{endpoint} asks to wait {} s before it is asked for tokens again", delay.as_secs())]
    Throttled {
        /// Its host.
        endpoint: String,
        /// How long.
        delay: Duration,
    },
    /// The token endpoint refused.
    #[error("{0}")]
    Refused(Box<Denial>),
    /// The token endpoint answered with something else than a token or a refusal.
    #[error("{endpoint} was asked for a token and gave something else: {detail}")]
    Protocol {
        /// Its host.
        endpoint: String,
        /// Nothing that could be a token.
        detail: String,
    },
}

/// A token endpoint's refusal (RFC 6749, 5.2).
#[derive(Debug, thiserror::Error)]
#[error("{endpoint} refused {asker} a token: {error}: {text}")]
pub struct Denial {
    /// Its host.
    pub endpoint: String,
    /// Who asked.
    pub asker: String,
    /// `invalid_grant` and so on.
    pub error: String,
    /// The server's words.
    pub text: String,
    /// How it was asked.
    pub(super) way: Way,
}

/// How a token was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ServiceAccount,
    ClientCredentials,
    RefreshToken,
    /// By a user, just now.
    Consent,
}

impl TokenError {
    /// Only after an operator changed something is it worth another try.
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Secret(_) | Self::Key { .. } | Self::Refused(_))
    }

    /// Not before this long is it worth another try.
    pub fn delay(&self) -> Option<Duration> {
        match self {
            Self::Throttled { delay, .. } => Some(*delay),
            _ => None,
        }
    }

    /// Will every mailbox with an equal grant meet it?
    pub fn is_of_all(&self) -> bool {
        match self {
            Self::Secret(_) | Self::Key { .. } => true,
            // A service account's token is one user's own, and so may be what is wrong with it.
            Self::Refused(denial) => {
                denial.way != Way::ServiceAccount
                    || denial.error == "invalid_client"
                    || denial.text.contains("JWT Signature")
            }
            _ => false,
        }
    }

    /// One CamelCase word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Secret(_) | Self::Key { .. } => "SecretUnreadable",
            Self::Unreachable { .. } => "Unreachable",
            Self::Tls { .. } => "TlsFailed",
            Self::Throttled { .. } => "Throttled",
            Self::Refused(_) => "CredentialsRefused",
            Self::Protocol { .. } => "ProtocolViolated",
        }
    }

    /// What the operator can do about it; empty if nothing needs doing.
    pub fn remedy(&self) -> String {
        match self {
            Self::Secret(error) => error.remedy(),
            Self::Key { .. } => "put the file there as it was given to you; drover tries again \
                 by itself"
                .into(),
            Self::Unreachable { endpoint, .. } => format!(
                "check that drover's machine can reach {endpoint} over HTTPS (firewall, proxy, \
                 name), and `token_url` if there is one; drover tries again by itself"
            ),
            Self::Tls { .. } => {
                "for a private authority set `ca_file` in `auth` to a file with its \
                 certificate, PEM; else check that the host of `token_url` is a name in the \
                 server's certificate, and the clock of drover's machine; drover tries again by \
                 itself"
                    .into()
            }
            Self::Throttled { .. } => String::new(),
            Self::Refused(denial) => format!(
                "{}; drover tries again once the definition or a secret changes, or \
                 `drover sync` asks for it",
                denial.remedy()
            ),
            Self::Protocol { .. } => "check `tenant` or `token_url`".into(),
        }
    }
}

/// The same for the errors of RFC 6749, 5.2, by how the token was asked for.
const DELEGATION: &str = "in the Google Admin console, Security > Access and data control > API \
     controls > Domain-wide delegation, add the service account's numeric client ID with exactly \
     the scopes of the definition, and check that the user is of that Workspace";

impl Denial {
    pub(super) fn remedy(&self) -> &'static str {
        if let Some(remedy) = self.aadsts() {
            return remedy;
        }
        let says = |words: &str| self.text.contains(words);
        match (self.error.as_str(), self.way) {
            ("invalid_grant", _) if says("short-lived token") || says("iat") => {
                "set the clock of drover's machine: it is wrong by more than a minute"
            }
            ("invalid_grant", Way::ServiceAccount) if says("JWT Signature") => {
                "Google does not know the key any more: make a new one for the service account \
                 and put its JSON file in the old one's place"
            }
            ("invalid_grant", Way::ServiceAccount) if says("account not found") => {
                "the service account is gone or disabled: look for it in the Google Cloud console, \
                 IAM & Admin > Service Accounts, or make another and delegate to it"
            }
            ("invalid_grant", Way::ServiceAccount) => {
                "check that there is such a user, by its primary address, and that it is not \
                 suspended"
            }
            ("unauthorized_client" | "access_denied" | "invalid_scope", Way::ServiceAccount) => {
                DELEGATION
            }
            // Google, where an administrator limits how long a sign-in lasts.
            ("invalid_grant", Way::RefreshToken) if says("invalid_rapt") || says("reauth") => {
                "the organisation lets sign-ins run out: in the Google Admin console, Security > \
                 Access and data control > Google Cloud session control, trust the application; \
                 then sign in anew"
            }
            ("invalid_grant", Way::RefreshToken) if says("Account has been deleted") => {
                "the account the token was of is gone: check that it is the one that is meant"
            }
            // https://developers.google.com/identity/protocols/oauth2#expiration
            ("invalid_grant", Way::RefreshToken) if says("Token has been expired or revoked") => {
                "the refresh token has expired or was revoked, as after a new password; those of an \
                 application whose consent screen is in \"Testing\" die after 7 days (Google Cloud \
                 console, Google Auth Platform > Audience: publish it): then sign in anew and put \
                 the new one in its place"
            }
            ("invalid_grant", Way::RefreshToken) => {
                "the refresh token has expired or was revoked: sign in anew and put the new one \
                 in its place"
            }
            ("invalid_grant", Way::Consent) => {
                "the provider did not take its own code any more: run the command again"
            }
            // Google.
            ("admin_policy_enforced", _) => {
                "the organisation blocks the application: in the Google Admin console, Security > \
                 Access and data control > API controls > App access control, trust it by its \
                 client ID"
            }
            ("deleted_client" | "disabled_client", _) => {
                "the OAuth client is gone or disabled: look for it in the Google Cloud console, \
                 APIs & Services > Credentials, or make another and let users consent anew"
            }
            ("invalid_client", _) => "check `client_id`, and that the secret or certificate is its",
            ("unauthorized_client", _) => {
                "allow the application to get tokens in this way at the provider's console, and \
                 check `client_id`"
            }
            ("invalid_scope", _) => "check `scopes` against what the application may ask for",
            _ => "check the application's settings at the provider",
        }
    }

    fn aadsts(&self) -> Option<&'static str> {
        let (_, after) = self.text.split_once("AADSTS")?;
        let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        aadsts::remedy(after[..digits].parse().ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remedy(error: &str, text: &str, way: Way) -> String {
        let denial = Denial {
            endpoint: "login.example".into(),
            asker: "anna".into(),
            error: error.into(),
            text: text.into(),
            way,
        };
        TokenError::Refused(Box::new(denial)).remedy()
    }

    #[test]
    fn entra_ids_numbers_say_which_console_page_helps() {
        let expired = "AADSTS7000222: The provided client secret keys for app 'x' are expired.";
        let remedy = remedy("invalid_client", expired, Way::ClientCredentials);
        assert!(remedy.starts_with("the client secret has expired"), "{remedy}");
        assert!(remedy.contains("Certificates & secrets"), "{remedy}");
    }

    #[test]
    fn an_unknown_number_falls_back_on_the_error_itself() {
        let remedy = remedy("invalid_grant", "AADSTS9: ?", Way::RefreshToken);
        assert!(remedy.starts_with("the refresh token has expired or was revoked"), "{remedy}");
    }

    #[test]
    fn a_missing_delegation_names_the_admin_console() {
        let text = "Client is unauthorized to retrieve access tokens using this method, or client \
                    not authorized for any of the scopes requested.";
        let remedy = remedy("unauthorized_client", text, Way::ServiceAccount);
        assert!(remedy.contains("Domain-wide delegation"), "{remedy}");
    }

    /// What the two providers say when something is not as it must be, and a word of what helps.
    #[test]
    fn each_refusal_an_administrator_meets_has_its_own_remedy() {
        use Way::{ClientCredentials, RefreshToken, ServiceAccount};
        for (error, text, way, word) in [
            ("invalid_grant", "Invalid JWT Signature.", ServiceAccount, "make a new one"),
            (
                "invalid_grant",
                "Invalid grant: account not found",
                ServiceAccount,
                "Service Accounts",
            ),
            (
                "unauthorized_client",
                "Unauthorized client or scope in request.",
                ServiceAccount,
                "Domain-wide",
            ),
            ("access_denied", "Requested client not authorized.", ServiceAccount, "Domain-wide"),
            ("invalid_grant", "Token has been expired or revoked.", RefreshToken, "7 days"),
            (
                "invalid_grant",
                "reauth related error (invalid_rapt)",
                RefreshToken,
                "session control",
            ),
            ("invalid_grant", "Account has been deleted", RefreshToken, "gone"),
            ("admin_policy_enforced", "", RefreshToken, "App access control"),
            ("deleted_client", "The OAuth client was deleted.", RefreshToken, "Credentials"),
            (
                "invalid_client",
                "AADSTS7000215: Invalid client secret",
                ClientCredentials,
                "not its ID",
            ),
            (
                "invalid_client",
                "AADSTS700024: Client assertion is not within its valid time range.",
                ClientCredentials,
                "clock",
            ),
            (
                "invalid_client",
                "AADSTS700027: The certificate is not registered",
                ClientCredentials,
                "upload it",
            ),
            (
                "unauthorized_client",
                "AADSTS700016: Application not found",
                ClientCredentials,
                "client_id",
            ),
            ("invalid_request", "AADSTS90002: Tenant 'x' not found.", ClientCredentials, "tenant"),
            (
                "invalid_request",
                "AADSTS900023: Specified tenant identifier 'x'",
                ClientCredentials,
                "tenant",
            ),
            (
                "invalid_scope",
                "AADSTS70011: The provided value for scope",
                ClientCredentials,
                ".default",
            ),
            (
                "invalid_resource",
                "AADSTS500011: The resource principal named",
                ClientCredentials,
                "Exchange Online",
            ),
            (
                "unauthorized_client",
                "AADSTS7000112: Application is disabled.",
                ClientCredentials,
                "Enterprise applications",
            ),
            (
                "invalid_grant",
                "AADSTS65001: The user or administrator has not consented",
                RefreshToken,
                "consent",
            ),
            (
                "invalid_grant",
                "AADSTS53003: Access has been blocked",
                RefreshToken,
                "Conditional Access",
            ),
            (
                "invalid_grant",
                "AADSTS700082: The refresh token has expired due to inactivity.",
                RefreshToken,
                "unused",
            ),
            (
                "invalid_grant",
                "AADSTS70043: The refresh token has expired",
                RefreshToken,
                "sign-in frequency",
            ),
            (
                "invalid_grant",
                "AADSTS50057: The user account is disabled.",
                RefreshToken,
                "disabled",
            ),
            (
                "interaction_required",
                "AADSTS50076: Due to a configuration change",
                RefreshToken,
                "second factor",
            ),
            (
                "invalid_client",
                "AADSTS7000218: The request body must contain",
                RefreshToken,
                "client_secret",
            ),
        ] {
            let remedy = remedy(error, text, way);
            assert!(remedy.contains(word), "{error}: {text}: {remedy}");
        }
    }

    #[test]
    fn a_wrong_clock_is_told_from_a_wrong_user() {
        let text = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a \
                    reasonable timeframe.";
        let clock = remedy("invalid_grant", text, Way::ServiceAccount);
        assert!(clock.contains("clock"), "{clock}");
        let user = remedy("invalid_grant", "Invalid email or User ID", Way::ServiceAccount);
        assert!(user.contains("such a user"), "{user}");
    }
}
