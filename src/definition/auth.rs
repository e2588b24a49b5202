//! `auth`: how the accounts of a side are entered.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::NaiveDate;
use toml::de::DeValue;
use url::Url;

use super::document::{At, Placed, Wrong, wrong};
use super::endpoint::{ca_file, secret_from};
use super::grant::{ClientProof, ClientSecret, Consent, Grant, RefreshClient};
use super::schema::SECRET_FORMS;
use super::section::Section;
use super::{Login, MasterForm, SecretRef, oauth, values};
use crate::preset::Preset;

/// The scope of everything that IMAP can do at Google
/// (<https://developers.google.com/workspace/gmail/imap/xoauth2-protocol>).
const GOOGLE_SCOPE: &str = "https://mail.google.com/";
/// The same for administrators' service accounts, which are shown what users hide from IMAP
/// (<https://developers.google.com/gmail/imap/xoauth2-protocol>).
const GOOGLE_ADMIN_SCOPE: &str = "https://www.googleapis.com/auth/gmail.imap_admin";

/// What an application without a user must ask for to use IMAP at Exchange Online
/// (<https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth>).
const MICROSOFT_SCOPE: &str = "https://outlook.office365.com/.default";

/// Entra ID's names for everybody's tenants: an application without a user has one of its own.
const NO_TENANT: [&str; 3] = ["common", "organizations", "consumers"];

/// How the accounts of a side are entered.
pub(super) enum Auth {
    /// Each with its own password, or with this one.
    Password(Option<SecretRef>),
    /// As a master user.
    MasterUser { user: String, password: SecretRef, form: MasterForm },
    /// With a token that one grant gets for all of them.
    Grant(Grant),
    /// Each with its own refresh token, or with this one.
    RefreshToken(RefreshClient, Option<SecretRef>),
    /// Not as written; that is reported, and nothing more shall be said of secrets.
    Broken,
}

/// What a mailbox of the roster has of its own for one side.
#[derive(Default)]
pub(super) struct Own<'d> {
    pub(super) password: Option<Placed<'d, SecretRef>>,
    pub(super) refresh_token: Option<Placed<'d, SecretRef>>,
    /// What the server calls the account, where a master user enters it.
    pub(super) alias: Option<Placed<'d, String>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Method {
    Password,
    MasterUser,
    ServiceAccount,
    ClientCredentials,
    RefreshToken,
}

use Method::{ClientCredentials, MasterUser, Password, RefreshToken, ServiceAccount};

const METHODS: [(&str, Method); 5] = [
    ("password", Password),
    ("master-user", MasterUser),
    ("service-account", ServiceAccount),
    ("client-credentials", ClientCredentials),
    ("refresh-token", RefreshToken),
];

/// Which keys go with which methods.
const MEANING: [(&str, &[Method]); 16] = [
    ("user", &[MasterUser]),
    ("form", &[MasterUser]),
    ("password", &[Password, MasterUser]),
    ("key", &[ServiceAccount]),
    ("tenant", &[ClientCredentials, RefreshToken]),
    ("client_id", &[ClientCredentials, RefreshToken]),
    ("client_secret", &[ClientCredentials, RefreshToken]),
    ("certificate", &[ClientCredentials]),
    ("private_key", &[ClientCredentials]),
    ("refresh_token", &[RefreshToken]),
    ("token_url", &[ServiceAccount, ClientCredentials, RefreshToken]),
    ("ca_file", &[ServiceAccount, ClientCredentials, RefreshToken]),
    ("authorize_url", &[RefreshToken]),
    ("device_url", &[RefreshToken]),
    ("expires", &[ClientCredentials, RefreshToken]),
    ("scopes", &[ServiceAccount, ClientCredentials, RefreshToken]),
];

/// Reads `auth` of a side on this platform.
pub(super) fn read(mut section: Section<'_>, base: &Path, preset: &'static Preset) -> Auth {
    let method_written = section.at_key("method").is_some();
    let method = section.parsed("method", |name| {
        let known = METHODS.iter().find(|(known, _)| *known == name);
        known.map(|(_, method)| *method).ok_or_else(|| {
            let known = METHODS.map(|(name, _)| name).join(", ");
            wrong(
                format!("`{name}` is not supported by this version"),
                format!("known are: {known}"),
            )
        })
    });
    let written = Written::read(&mut section, base, preset);
    let method = match method {
        Some(method) => method.value,
        None if method_written => return Auth::Broken,
        None => Password,
    };
    written.report_meaningless(method);
    let auth = match method {
        Password => written.password(),
        MasterUser => written.master_user(),
        ServiceAccount => written.service_account(),
        ClientCredentials => written.client_credentials(),
        RefreshToken => written.refresh_token(),
    };
    auth.unwrap_or(Auth::Broken)
}

/// What stands there, whatever the method. A key that is in `places` but has no value was not
/// understood, which is reported.
struct Written<'d> {
    at: At<'d>,
    preset: &'static Preset,
    places: Vec<(&'static str, At<'d>)>,
    user: Option<Placed<'d, String>>,
    form: Option<MasterForm>,
    password: Option<SecretRef>,
    key: Option<SecretRef>,
    tenant: Option<Placed<'d, String>>,
    client_id: Option<String>,
    client_secret: Option<SecretRef>,
    certificate: Option<SecretRef>,
    private_key: Option<SecretRef>,
    refresh_token: Option<SecretRef>,
    token_url: Option<Url>,
    ca_file: Option<PathBuf>,
    authorize_url: Option<Url>,
    device_url: Option<Url>,
    expires: Option<NaiveDate>,
    scopes: Vec<String>,
}

impl<'d> Written<'d> {
    fn read(section: &mut Section<'d>, base: &Path, preset: &'static Preset) -> Self {
        let at = section.at().clone();
        let places = MEANING.iter().filter_map(|(key, _)| Some((*key, section.at_key(key)?)));
        let places = places.collect();
        let secret = |section: &mut Section<'d>, name| {
            section.secret(name).map(|secret| secret_from(secret.value, base))
        };
        let url =
            |section: &mut Section<'d>, name| section.parsed(name, oauth::url).map(|url| url.value);
        Self {
            at,
            preset,
            places,
            user: section.text("user"),
            form: section.parsed("form", MasterForm::parse).map(|form| form.value),
            password: secret(section, "password"),
            key: secret(section, "key"),
            tenant: section.parsed("tenant", oauth::tenant),
            client_id: section.parsed("client_id", oauth::client_id).map(|id| id.value),
            client_secret: secret(section, "client_secret"),
            certificate: secret(section, "certificate"),
            private_key: secret(section, "private_key"),
            refresh_token: secret(section, "refresh_token"),
            token_url: url(section, "token_url"),
            ca_file: ca_file(section, base),
            authorize_url: url(section, "authorize_url"),
            device_url: url(section, "device_url"),
            expires: section.value("expires", date).map(|date| date.value),
            scopes: section.parsed_list("scopes", oauth::scope),
        }
    }

    fn place(&self, key: &str) -> Option<&At<'d>> {
        self.places.iter().find(|(name, _)| *name == key).map(|(_, at)| at)
    }

    fn has(&self, key: &str) -> bool {
        self.place(key).is_some()
    }

    fn report_meaningless(&self, method: Method) {
        for (key, methods) in MEANING.iter().filter(|(_, methods)| !methods.contains(&method)) {
            let Some(at) = self.place(key) else { continue };
            let named = METHODS.iter().filter(|(_, method)| methods.contains(method));
            let named: Vec<_> = named.map(|(name, _)| format!("\"{name}\"")).collect();
            let help = format!("it needs method = {}", named.join(" or "));
            at.error(format!("`{key}` has no meaning here"), help);
        }
    }

    fn report_missing(&self, key: &str, help: &str) {
        if !self.has(key) {
            self.at.error(format!("`{key}` is missing"), help);
        }
    }

    fn password(self) -> Option<Auth> {
        match self.password {
            None if self.has("password") => None,
            password => Some(Auth::Password(password)),
        }
    }

    fn master_user(self) -> Option<Auth> {
        self.report_missing("user", "write the master user's name");
        if !self.has("password") {
            self.at.error("the master user's `password` is missing", SECRET_FORMS);
        }
        let user = self.user?;
        if user.value.trim().is_empty() {
            user.at.error("this is no user name", "write the master user's name");
            return None;
        }
        let form = match self.form {
            None if self.places.iter().any(|(key, _)| *key == "form") => return None,
            None => self
                .preset
                .master_form
                .as_deref()
                .and_then(|form| MasterForm::parse(form).ok())
                .unwrap_or_default(),
            Some(form) => form,
        };
        Some(Auth::MasterUser { user: user.value, password: self.password?, form })
    }

    fn service_account(mut self) -> Option<Auth> {
        let help = "point to the JSON key file that Google made for the service account: \
                    key = { file = \"secrets/google.json\" }";
        self.report_missing("key", help);
        let (scopes, otherwise) = match self.has("scopes") {
            true => (std::mem::take(&mut self.scopes), Vec::new()),
            false => (vec![GOOGLE_ADMIN_SCOPE.into()], vec![GOOGLE_SCOPE.into()]),
        };
        if self.has("token_url") && self.token_url.is_none() {
            return None;
        }
        let (key, token_url, ca_file) = (self.key?, self.token_url, self.ca_file);
        Some(Auth::Grant(Grant::ServiceAccount { key, token_url, ca_file, scopes, otherwise }))
    }

    fn client_credentials(mut self) -> Option<Auth> {
        self.report_missing("client_id", "write the application's id");
        let proof = self.proof();
        if let Some(tenant) = self.tenant.take_if(|t| NO_TENANT.contains(&t.value.as_str())) {
            let help = "write the tenant's id, or one of its domains: \"acme.example\"";
            tenant.at.error(format!("`{}` is no tenant of its own", tenant.value), help);
            return None;
        }
        if self.at_odds_about_url() {
            return None;
        }
        if !self.has("token_url") && !self.has("tenant") {
            self.at.error("`token_url` is missing", oauth::WHERE);
        }
        let token_url = self.token_url.take().or_else(|| self.known().token_url);
        let scopes = self.scopes_or(MICROSOFT_SCOPE);
        let (client_id, proof, token_url) = (self.client_id?, proof?, token_url?);
        let ca_file = self.ca_file;
        let grant = Grant::ClientCredentials { client_id, proof, token_url, ca_file, scopes };
        Some(Auth::Grant(grant))
    }

    fn refresh_token(mut self) -> Option<Auth> {
        self.report_missing("client_id", "write the id of the application that users consent to");
        if self.at_odds_about_url() {
            return None;
        }
        let known = self.known();
        if !self.has("token_url") && !self.has("tenant") && known.token_url.is_none() {
            self.at.error("`token_url` is missing", oauth::WHERE);
        }
        if self.has("expires") && !self.has("client_secret") {
            self.report_no_secret();
        }
        let is_broken = |key: &str, is_understood: bool| self.has(key) && !is_understood;
        if is_broken("client_secret", self.client_secret.is_some())
            || is_broken("refresh_token", self.refresh_token.is_some())
            || is_broken("token_url", self.token_url.is_some())
        {
            return None;
        }
        let scopes = std::mem::take(&mut self.scopes);
        let consent = Consent {
            authorize_url: self.authorize_url.or(known.consent.authorize_url),
            device_url: self.device_url.or(known.consent.device_url),
            scopes: if scopes.is_empty() { known.consent.scopes } else { scopes.clone() },
            ..known.consent
        };
        let expires = self.expires;
        let client = RefreshClient {
            client_id: self.client_id?,
            client_secret: self.client_secret.map(|secret| ClientSecret { secret, expires }),
            token_url: self.token_url.or(known.token_url)?,
            ca_file: self.ca_file,
            scopes,
            consent: Arc::new(consent),
        };
        Some(Auth::RefreshToken(client, self.refresh_token))
    }

    fn proof(&mut self) -> Option<ClientProof> {
        let by_certificate = self.has("certificate") || self.has("private_key");
        let both = "an application proves itself by `client_secret`, or by `certificate` and \
                    `private_key`";
        if by_certificate && let Some(at) = self.place("client_secret") {
            at.error("`client_secret` and `certificate` exclude each other", both);
            return None;
        }
        if by_certificate {
            self.report_missing("certificate", "drover needs both: the certificate and its key");
            self.report_missing("private_key", "drover needs both: the certificate and its key");
            if self.has("expires") {
                self.report_no_secret();
            }
            let (certificate, private_key) = (self.certificate.take()?, self.private_key.take()?);
            return Some(ClientProof::Certificate { certificate, private_key });
        }
        self.report_missing("client_secret", both);
        let (secret, expires) = (self.client_secret.take()?, self.expires);
        Some(ClientProof::Secret(ClientSecret { secret, expires }))
    }

    fn report_no_secret(&self) {
        let Some(at) = self.place("expires") else { return };
        let help = "remove it: it is for `client_secret`; of certificates drover knows by itself";
        at.error("`expires` has no meaning here", help);
    }

    fn at_odds_about_url(&self) -> bool {
        let (true, Some(at)) = (self.has("token_url"), self.place("tenant")) else { return false };
        at.error("`tenant` and `token_url` exclude each other", "remove one of them");
        true
    }

    /// What is known of the OAuth server: the tenant's place at Entra ID, or the platform's.
    fn known(&self) -> oauth::Known {
        match (&self.tenant, self.has("tenant")) {
            (Some(tenant), _) => oauth::of_tenant(&tenant.value),
            // What is wrong with it is reported.
            (None, true) => oauth::Known::default(),
            (None, false) => oauth::of_platform(self.preset),
        }
    }

    fn scopes_or(&mut self, default: &str) -> Vec<String> {
        match self.has("scopes") {
            true => std::mem::take(&mut self.scopes),
            false => vec![default.to_owned()],
        }
    }
}

fn date(value: &DeValue<'_>) -> Option<Result<NaiveDate, Wrong>> {
    match value {
        DeValue::Datetime(date) => Some(values::date(date)),
        _ => None,
    }
}

/// How an account is entered, by what its side says and what the mailbox has of its own; `None`
/// if it cannot be, which is reported. `name`: `source` or `destination`.
pub(super) fn login(
    auth: &Auth,
    own: Own<'_>,
    user: &Placed<'_, String>,
    name: &str,
    base: &Path,
) -> Option<Login> {
    let (takes_password, takes_token) = match auth {
        Auth::Broken => return None,
        Auth::Password(_) => (true, false),
        Auth::RefreshToken(..) => (false, true),
        Auth::MasterUser { .. } | Auth::Grant(_) => (false, false),
    };
    let takes_alias = matches!(auth, Auth::MasterUser { .. });
    let misplaced = [
        (own.password.as_ref().map(|own| &own.at).filter(|_| !takes_password), "password"),
        (own.refresh_token.as_ref().map(|own| &own.at).filter(|_| !takes_token), "refresh token"),
        (own.alias.as_ref().map(|own| &own.at).filter(|_| !takes_alias), "alias"),
    ];
    let mut is_misplaced = false;
    for (at, what) in misplaced.into_iter().filter_map(|(at, what)| Some((at?, what))) {
        is_misplaced = true;
        let how = match auth {
            Auth::MasterUser { .. } => "is entered by the master user",
            Auth::Password(_) => "is entered with a password",
            _ => "is entered with a token",
        };
        let help = format!("remove its own {name} {what}");
        at.error(format!("`{}` {how}", user.value), help);
    }
    if is_misplaced {
        return None;
    }
    let chosen = |own: Option<Placed<'_, SecretRef>>, shared: &Option<SecretRef>, what: &str| {
        let own = own.map(|own| secret_from(own.value, base));
        let secret = own.or_else(|| shared.clone());
        if secret.is_none() {
            let message = format!("there is no {what} for the {name} `{}`", user.value);
            let key = what.replace(' ', "_");
            let help = format!(
                "give the mailbox a `{name}_{key}`, or all of them one in [{name}] auth; \
                 {SECRET_FORMS}"
            );
            user.at.error(message, help);
        }
        secret
    };
    Some(match auth {
        Auth::Broken => return None,
        Auth::Password(shared) => Login::Password(chosen(own.password, shared, "password")?),
        Auth::MasterUser { user, password, form } => Login::MasterUser {
            user: user.clone(),
            password: password.clone(),
            form: form.clone(),
            alias: own.alias.map(|alias| alias.value),
        },
        Auth::Grant(grant) => Login::Token(grant.clone()),
        Auth::RefreshToken(client, shared) => Login::Token(Grant::RefreshToken {
            client: client.clone(),
            refresh_token: chosen(own.refresh_token, shared, "refresh token")?,
        }),
    })
}
