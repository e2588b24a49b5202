//! What is known of mail systems, as data: one TOML file for each, next to this one.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::model::{FolderPath, Role};

#[cfg(test)]
mod page;

/// The presets' files. Adding a platform's data means adding a line here.
const FILES: [&str; 21] = [
    include_str!("gmail.toml"),
    include_str!("microsoft365.toml"),
    include_str!("exchange.toml"),
    include_str!("yahoo.toml"),
    include_str!("aol.toml"),
    include_str!("icloud.toml"),
    include_str!("zoho.toml"),
    include_str!("fastmail.toml"),
    include_str!("workmail.toml"),
    include_str!("ovh.toml"),
    include_str!("gmx.toml"),
    include_str!("ionos.toml"),
    include_str!("yandex.toml"),
    include_str!("mailru.toml"),
    include_str!("rackspace.toml"),
    include_str!("zimbra.toml"),
    include_str!("skyconnect.toml"),
    include_str!("vaultastic.toml"),
    include_str!("netease.toml"),
    include_str!("proton-bridge.toml"),
    include_str!("imap.toml"),
];

/// Connections per mailbox where neither definition nor preset say.
pub const DEFAULT_CONNECTIONS: usize = 4;

/// The port where TLS begins at once (RFC 8314, 3.2).
const PORT_IMPLICIT: u16 = 993;

/// The port where it does not (RFC 9051, 2.1).
const PORT_PLAIN: u16 = 143;

/// Stands for a tenant's name.
const TENANT: &str = "{tenant}";

/// How a connection is protected. Certificates are always verified.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema, Default,
)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// TLS from the first byte.
    #[default]
    Implicit,
    /// STARTTLS before anything else; refused if the server does not offer it.
    Starttls,
    /// Plain text: only where the definition says `tls = "none"`.
    None,
}

impl Tls {
    /// The port IMAP servers use with it.
    pub const fn imap_port(self) -> u16 {
        match self {
            Self::Implicit => PORT_IMPLICIT,
            Self::Starttls | Self::None => PORT_PLAIN,
        }
    }
}

/// What is known of one mail system. A definition's own words are stronger.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// What `platform` says.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// Its host, if all of its accounts live on one.
    pub host: Option<String>,
    /// Its port, if not the usual one.
    pub port: Option<u16>,
    /// How it is reached.
    #[serde(default)]
    pub tls: Tls,
    /// How many connections per mailbox it bears.
    #[serde(default = "default_connections")]
    pub connections: usize,
    /// Names of its folders with a role, where it does not say the role itself.
    #[serde(default)]
    roles: BTreeMap<Role, Vec<String>>,
    /// Folders that are listed and hold no mail, or mail that lives elsewhere too: not copied
    /// unless the definition takes them in.
    #[serde(default)]
    pub left_out: Vec<FolderPath>,
    /// Capabilities that it announces and that do not work.
    #[serde(default)]
    pub veto: Vec<String>,
    /// What a folder shows at most, in messages, unless UIDs alone are spoken of (RFC 9586). If
    /// nothing is said, what the server offers tells.
    pub windows: Option<Vec<u64>>,
    /// What to do so that folders show more.
    pub show_all: Option<String>,
    /// The largest message it takes, bytes, where it does not say (RFC 7889).
    pub max_message: Option<u64>,
    /// Bytes of messages an account gives in 24 hours.
    pub daily_read: Option<u64>,
    /// Bytes of messages an account takes in 24 hours.
    pub daily_written: Option<u64>,
    /// Keywords that it would keep and that are better left out.
    #[serde(default)]
    pub drop_keywords: Vec<String>,
    /// Flags that it loses when they are given with APPEND, and keeps when they are stored.
    #[serde(default)]
    pub late_flags: Vec<String>,
    /// Does it take messages apart and put them together anew when they are read?
    #[serde(default)]
    pub rewrites: bool,
    /// Top folders that it keeps for itself.
    #[serde(default)]
    pub reserved_names: Vec<String>,
    /// Characters that no folder's name may hold.
    #[serde(default)]
    pub illegal_characters: String,
    /// What it wants to know of a client besides its name and version (RFC 2971). If there is
    /// any, it is told before anything else, asked or not.
    #[serde(default)]
    pub id: BTreeMap<String, String>,
    /// The methods by which accounts are entered; empty: not known.
    #[serde(default)]
    pub auth: Vec<String>,
    /// How a master user's name and the account's are given, if not apart: `{user}\\{alias}`.
    pub master_form: Option<String>,
    /// What else to know of them.
    pub auth_note: Option<String>,
    /// Where its users consent to programs that read their mail, if it is known.
    #[serde(default)]
    pub oauth: OAuth,
    /// Where an administrator prepares it: a page, or commands.
    pub page: Option<String>,
    /// What else an administrator must know.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A provider's OAuth server (RFC 6749), as programs without a secret place of their own use it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth {
    /// Where a user consents, in a browser. `{tenant}` in a URL stands for what the definition says.
    pub authorize_url: Option<String>,
    /// Where tokens are asked for.
    pub token_url: Option<String>,
    /// Where a code is asked for with which a user consents on another device (RFC 8628).
    pub device_url: Option<String>,
    /// What a user consents to, so that IMAP can be used without the user.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// How it calls this machine where it sends the browser back to it; `127.0.0.1` (RFC 8252,
    /// 8.3) if nothing is written.
    pub loopback: Option<String>,
    /// What it wants to be told besides when a user is sent to it.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
}

impl OAuth {
    /// The same with a tenant's name in its URLs.
    pub fn of_tenant(&self, tenant: &str) -> Self {
        let fill = |url: &Option<String>| Some(url.as_ref()?.replace(TENANT, tenant));
        Self {
            authorize_url: fill(&self.authorize_url),
            token_url: fill(&self.token_url),
            device_url: fill(&self.device_url),
            ..self.clone()
        }
    }

    /// Does each tenant have URLs of its own?
    pub fn has_tenants(&self) -> bool {
        self.token_url.as_ref().is_some_and(|url| url.contains(TENANT))
    }
}

impl Preset {
    /// Can an account be entered like this, as far as is known?
    pub fn takes(&self, method: &str) -> bool {
        self.auth.is_empty() || self.auth.iter().any(|known| known == method)
    }
}

const fn default_connections() -> usize {
    DEFAULT_CONNECTIONS
}

/// The preset with this name.
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// All presets, those with most accounts first.
pub fn all() -> &'static [Preset] {
    &PRESETS
}

/// The names of all presets.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|preset| preset.name.as_str())
}

/// The role that a folder's well-known leaf name suggests, in the common languages, without
/// regard to case: `Sent Items`, `Gesendete Elemente`, … Only for servers that do not say.
pub fn role_of_name(leaf: &str) -> Option<Role> {
    ROLES.get(&folded(leaf)).copied()
}

/// A file that does not parse is left out; a test sees to it that none is.
static PRESETS: LazyLock<Vec<Preset>> =
    LazyLock::new(|| FILES.iter().filter_map(|file| toml::from_str(file).ok()).collect());

static ROLES: LazyLock<HashMap<String, Role>> = LazyLock::new(|| {
    let of = |preset: &'static Preset| preset.roles.iter();
    let names = PRESETS.iter().flat_map(of);
    names.flat_map(|(role, names)| names.iter().map(|name| (folded(name), *role))).collect()
});

/// As names are compared: without case, and with typographic signs as typed ones.
fn folded(name: &str) -> String {
    let plain = name.trim().replace(['\u{2019}', '\u{02bc}'], "'").replace(['_', '\u{a0}'], " ");
    // The Turkish dotted capital becomes two characters, of which one would never match.
    plain.to_lowercase().replace("i\u{307}", "i")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Flags;

    #[test]
    fn every_file_parses() {
        for file in FILES {
            if let Err(error) = toml::from_str::<Preset>(file) {
                panic!("{error}");
            }
        }
        assert_eq!(names().count(), FILES.len());
    }

    #[test]
    fn no_name_has_two_roles() {
        let mut seen: HashMap<String, Role> = HashMap::new();
        for (role, names) in PRESETS.iter().flat_map(|preset| &preset.roles) {
            for name in names {
                let before = seen.insert(folded(name), *role);
                assert!(before.is_none_or(|before| before == *role), "{name}");
            }
        }
        assert!(seen.len() > 100);
    }

    #[test]
    fn what_a_preset_names_is_what_is_meant() {
        const METHODS: [&str; 5] =
            ["password", "master-user", "service-account", "client-credentials", "refresh-token"];
        for preset in PRESETS.iter() {
            let name = &preset.name;
            for method in &preset.auth {
                assert!(METHODS.contains(&method.as_str()), "{name}: {method}");
            }
            let oauth = preset.oauth.of_tenant("acme.example");
            for url in [oauth.authorize_url, oauth.token_url, oauth.device_url].iter().flatten() {
                let url: url::Url = url.parse().unwrap();
                assert!(url.scheme() == "https" && url.path().len() > 1, "{name}: {url}");
            }
            let flags = Flags::parse(preset.late_flags.iter().map(String::as_str));
            let n_flags = flags.to_string().split_whitespace().count();
            assert_eq!(n_flags, preset.late_flags.len(), "{name}: {flags}");
            assert!(preset.left_out.iter().all(|path| !path.segments().is_empty()), "{name}");
            assert!(preset.left_out.iter().all(|path| !path.is_inbox()), "{name}");
            for text in preset.id.values().chain(preset.id.keys()) {
                assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b)), "{name}: {text}");
            }
        }
    }

    /// The hosts and ports that providers give to mail programs.
    #[test]
    fn each_platform_is_reached_where_its_provider_says() {
        let known = [
            ("gmail", Some("imap.gmail.com"), None),
            ("microsoft365", Some("outlook.office365.com"), None),
            ("exchange", None, None),
            ("yahoo", Some("imap.mail.yahoo.com"), None),
            ("aol", Some("imap.aol.com"), None),
            ("icloud", Some("imap.mail.me.com"), None),
            ("zoho", Some("imap.zoho.com"), None),
            ("fastmail", Some("imap.fastmail.com"), None),
            ("workmail", None, None),
            ("ovh", Some("ssl0.ovh.net"), None),
            ("gmx", Some("imap.gmx.net"), None),
            ("ionos", Some("imap.1und1.de"), None),
            ("yandex", Some("imap.yandex.com"), None),
            ("mailru", Some("imap.mail.ru"), None),
            ("rackspace", Some("secure.emailsrvr.com"), None),
            ("zimbra", None, None),
            ("skyconnect", None, None),
            ("vaultastic", None, Some(3817)),
            ("netease", Some("imap.163.com"), None),
            ("proton-bridge", Some("127.0.0.1"), Some(1143)),
            ("imap", None, None),
        ];
        let found: Vec<_> =
            PRESETS.iter().map(|p| (p.name.as_str(), p.host.as_deref(), p.port)).collect();
        assert_eq!(found, known);
        let is_plain = |p: &&Preset| p.tls != Tls::Implicit;
        let plain: Vec<_> = PRESETS.iter().filter(is_plain).map(|p| (&*p.name, p.tls)).collect();
        assert_eq!(plain, [("proton-bridge", Tls::Starttls)]);
    }

    #[test]
    fn names_are_found_in_any_case_and_language() {
        for (name, role) in [
            ("Sent Items", Role::Sent),
            ("SENT", Role::Sent),
            ("Gesendete Elemente", Role::Sent),
            ("ÉLÉMENTS ENVOYÉS", Role::Sent),
            ("Отправленные", Role::Sent),
            ("Entwürfe", Role::Drafts),
            ("BORRADORES", Role::Drafts),
            ("下書き", Role::Drafts),
            ("papierkorb", Role::Trash),
            ("Deleted Messages", Role::Trash),
            ("ÇÖP KUTUSU", Role::Trash),
            ("Courrier indésirable", Role::Junk),
            ("İstenmeyen Posta", Role::Junk),
            ("Junk E-mail", Role::Junk),
            ("Archief", Role::Archive),
        ] {
            assert_eq!(role_of_name(name), Some(role), "{name}");
        }
        assert_eq!(role_of_name("Sent to the lawyers"), None);
        assert_eq!(role_of_name(""), None);
    }

    #[test]
    fn any_imap_server_has_no_host_of_its_own() {
        let imap = find("imap").map(|preset| (preset.host.clone(), preset.tls, preset.connections));
        assert_eq!(imap, Some((None, Tls::Implicit, DEFAULT_CONNECTIONS)));
        assert_eq!(find("pigeon"), None);
    }
}
