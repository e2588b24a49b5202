//! What is known of mail systems, as data: one TOML file for each, next to this one.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::model::Role;

/// The presets' files. Adding a platform's data means adding a line here.
const FILES: [&str; 1] = [include_str!("imap.toml")];

/// Connections per mailbox where neither definition nor preset say.
pub const DEFAULT_CONNECTIONS: usize = 4;

/// The port where TLS begins at once (RFC 8314, 3.2).
const PORT_IMPLICIT: u16 = 993;

/// The port where it does not (RFC 9051, 2.1).
const PORT_PLAIN: u16 = 143;

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
}

const fn default_connections() -> usize {
    DEFAULT_CONNECTIONS
}

/// The preset with this name.
pub fn find(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
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
