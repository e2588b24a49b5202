//! The daemon's own settings: what is true for all migrations. `config.example.toml` shows
//! every key with its default.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::definition::document::{Document, Wrong, wrong};
use crate::definition::schema::{self, Key, Kind, Need};
use crate::definition::{Diagnostic, SecretRef, keys, secret_from, section, values};

/// Where `drover` looks without `--config`, in this order.
pub const PLACES: [&str; 2] = ["/etc/drover/config.toml", "config.toml"];

/// Connections to one server at once over all migrations.
const CONNECTIONS_PER_SERVER: usize = 32;

/// Passes at once.
const MAILBOXES: usize = 8;

/// Message bytes in flight: with what connections and the ledger take besides, eight mailboxes of
/// typical mail stay below 64 MiB (docs/performance.md).
const MEMORY: u64 = 16 << 20;

/// How long a write whose answer was lost may still land. Large mail systems take seconds.
const SETTLE: Duration = Duration::from_secs(10);

/// Less than this would make every message wait for the one before it.
const LEAST_MEMORY: u64 = 1 << 20;

/// The daemon's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The directory of definitions.
    pub definitions: PathBuf,
    /// The directory of the ledger.
    pub state: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// Bounds over all migrations.
    pub limits: Limits,
    /// How drover keeps what it signs in with.
    pub auth: Auth,
    /// How drover logs.
    pub log: Log,
}

/// Bounds over all migrations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Passes at once.
    pub mailboxes: usize,
    /// Budget for message bytes in flight, in bytes.
    pub memory: u64,
    /// Connections to one server at once.
    pub connections_per_server: usize,
    /// How long a write whose answer was lost may still land.
    pub settle: Duration,
}

/// How drover keeps what it signs in with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Auth {
    /// With which refresh tokens are encrypted in the ledger that servers gave in place of those in
    /// the definitions; none: they are kept in memory only.
    pub token_key: Option<SecretRef>,
}

/// How drover logs, on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// Which events: `info`, or filters as `drover=debug,info`.
    pub level: String,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
    /// With the priority prefix that journald reads, without time.
    Journald,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            definitions: "/etc/drover/definitions".into(),
            state: "/var/lib/drover".into(),
            socket: "/run/drover/drover.sock".into(),
            limits: Limits {
                mailboxes: MAILBOXES,
                memory: MEMORY,
                connections_per_server: CONNECTIONS_PER_SERVER,
                settle: SETTLE,
            },
            auth: Auth::default(),
            log: Log { format: LogFormat::Pretty, level: "info".into() },
        }
    }
}

const fn key(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
    Key { name, kind, doc, need: Need::Default(default) }
}

const COUNT: Kind = Kind::Count { min: 1, max: 10_000 };

const KEYS: &[Key] = &[
    key(
        "definitions",
        Kind::Text,
        "\"/etc/drover/definitions\"",
        "The directory of definitions; it and all below it are watched for *.toml.",
    ),
    key("state", Kind::Text, "\"/var/lib/drover\"", "The directory of the ledger."),
    key(
        "socket",
        Kind::Text,
        "\"/run/drover/drover.sock\"",
        "The control socket, accessible only to drover's own user.",
    ),
    Key {
        name: "limits",
        kind: Kind::Table(LIMITS),
        need: Need::Optional,
        doc: "Bounds over all migrations.",
    },
    Key {
        name: "auth",
        kind: Kind::Table(AUTH),
        need: Need::Optional,
        doc: "How drover keeps what it signs in with.",
    },
    Key {
        name: "log",
        kind: Kind::Table(LOG),
        need: Need::Optional,
        doc: "How drover logs, on standard error.",
    },
];

const LIMITS: &[Key] = &[
    key("mailboxes", COUNT, "8", "Passes at once."),
    key(
        "memory",
        Kind::Size,
        "\"16MiB\"",
        "Budget for message bytes in flight; more is faster for large mail over long lines.",
    ),
    key("connections_per_server", COUNT, "32", "Connections to one server at once."),
    key(
        "settle",
        Kind::Duration,
        "\"10s\"",
        "How long a write whose answer was lost may still land.",
    ),
];

const AUTH: &[Key] = &[Key {
    name: "token_key",
    kind: Kind::Secret(keys::SECRET),
    need: Need::Optional,
    doc: "With which refresh tokens are encrypted in the ledger that servers gave in place of those \
          in the definitions: 32 characters or more.",
}];

const LOG: &[Key] = &[
    key(
        "format",
        Kind::Choice(&["pretty", "json", "journald"]),
        "\"pretty\"",
        "The form of a line.",
    ),
    key("level", Kind::Text, "\"info\"", "error, warn, info, debug, trace, or filters."),
];

/// The JSON Schema of the configuration.
pub fn schema() -> serde_json::Value {
    schema::document("drover configuration", KEYS)
}

impl Config {
    /// Reads `explicit`, or the first of [`PLACES`] that exists, or takes the defaults.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn find(explicit: Option<&Path>) -> Result<Self, Vec<Diagnostic>> {
        let found = PLACES.iter().map(Path::new).find(|place| place.exists());
        match explicit.or(found) {
            Some(path) => Self::load(path),
            None => Ok(Self::default()),
        }
    }

    /// Reads a configuration; relative paths in it start from its own directory.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn load(path: &Path) -> Result<Self, Vec<Diagnostic>> {
        let document = Document::read(&path.display().to_string(), path).map_err(|d| vec![d])?;
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        read(&document, absolute.parent().unwrap_or(Path::new("/")))
    }

    /// The same from text.
    ///
    /// # Errors
    /// All mistakes at once.
    pub fn load_text(text: &str, base: &Path) -> Result<Self, Vec<Diagnostic>> {
        read(&Document::new("config.toml", text), base)
    }
}

fn read(document: &Document, base: &Path) -> Result<Config, Vec<Diagnostic>> {
    let mut config = Config::default();
    // A file of comments only leaves all defaults in place.
    if let Some(mut top) = section::open_or_empty(document, KEYS) {
        let mut path = |name, default: &mut PathBuf| {
            let path = top.parsed(name, |text| match text {
                "" => Err(wrong(format!("`{name}` is empty"), "write a path")),
                text => Ok(base.join(text)),
            });
            if let Some(path) = path {
                *default = path.value;
            }
        };
        path("definitions", &mut config.definitions);
        path("state", &mut config.state);
        path("socket", &mut config.socket);
        if let Some(mut limits) = top.section("limits") {
            let defaults = &mut config.limits;
            let mut count = |name, default: &mut usize| {
                let count = limits.count(name).and_then(|n| usize::try_from(n).ok());
                *default = count.unwrap_or(*default);
            };
            count("mailboxes", &mut defaults.mailboxes);
            count("connections_per_server", &mut defaults.connections_per_server);
            let memory = limits.parsed("memory", memory);
            defaults.memory = memory.map_or(defaults.memory, |memory| memory.value);
            let settle = limits.parsed("settle", values::duration);
            defaults.settle = settle.map_or(defaults.settle, |settle| settle.value);
        }
        if let Some(mut auth) = top.section("auth") {
            let key = auth.secret("token_key");
            config.auth.token_key = key.map(|key| secret_from(key.value, base));
        }
        if let Some(mut log) = top.section("log") {
            let formats = [LogFormat::Pretty, LogFormat::Json, LogFormat::Journald];
            config.log.format = log.choice("format", &formats).unwrap_or(config.log.format);
            let level = log.parsed("level", level);
            config.log.level = level.map_or(config.log.level.clone(), |level| level.value);
        }
    }
    let diagnostics = document.diagnostics();
    if diagnostics.is_empty() { Ok(config) } else { Err(diagnostics) }
}

fn memory(text: &str) -> Result<u64, Wrong> {
    let size = values::size(text)?;
    if size < LEAST_MEMORY {
        return Err(wrong(format!("`{text}` is too little"), "write \"1MiB\" at least"));
    }
    Ok(size)
}

fn level(text: &str) -> Result<String, Wrong> {
    let help = "write error, warn, info, debug, trace, or filters as \"drover=debug,info\"";
    text.parse::<tracing_subscriber::filter::Targets>()
        .map(|_| text.to_owned())
        .map_err(|_| wrong(format!("`{text}` is no log level"), help))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::render_all;

    fn load(text: &str) -> Result<Config, String> {
        Config::load_text(text, Path::new("/base")).map_err(|d| render_all(&d, false))
    }

    #[test]
    fn the_example_shows_every_key_with_its_default() {
        let example = include_str!("../config.example.toml");
        assert_eq!(load(example), Ok(Config::default()));
        // What has no default stands there as a comment.
        let whole = example.replace("# token_key =", "token_key =");
        let table: toml::Table = whole.parse().unwrap();
        assert_eq!(paths(&serde_json::to_value(table).unwrap(), ""), schema_paths(KEYS, ""));
    }

    fn paths(value: &serde_json::Value, above: &str) -> Vec<String> {
        let mut all = Vec::new();
        let is_secret = |value: &serde_json::Value| value.get("credential").is_some();
        for (key, value) in value.as_object().into_iter().flatten() {
            if is_secret(value) {
                all.push(format!("{above}{key}"));
                continue;
            }
            all.push(format!("{above}{key}"));
            all.extend(paths(value, &format!("{above}{key}.")));
        }
        all.sort();
        all
    }

    fn schema_paths(keys: &[Key], above: &str) -> Vec<String> {
        let mut all = Vec::new();
        for key in keys {
            all.push(format!("{above}{}", key.name));
            if let Kind::Table(keys) = key.kind {
                all.extend(schema_paths(keys, &format!("{above}{}.", key.name)));
            }
        }
        all.sort();
        all
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        assert_eq!(load(""), Ok(Config::default()));
        assert_eq!(load("# nothing yet\n"), Ok(Config::default()));
    }

    #[test]
    fn relative_paths_start_beside_the_file() {
        let config = load("definitions = \"herd\"\nstate = \"/abs\"").unwrap();
        assert_eq!(config.definitions, Path::new("/base/herd"));
        assert_eq!(config.state, Path::new("/abs"));
    }

    #[test]
    fn the_token_key_is_a_reference_and_its_file_stands_beside_the_settings() {
        let config = load("[auth]\ntoken_key = { file = \"token-key\" }").unwrap();
        assert_eq!(config.auth.token_key, Some(SecretRef::File("/base/token-key".into())));
        let errors = load("[auth]\ntoken_key = \"s3cr3t-s3cr3t\"").unwrap_err();
        assert!(errors.contains("must not hold the secret itself"), "{errors}");
        assert!(!errors.contains("s3cr3t"), "{errors}");
    }

    #[test]
    fn http_is_not_part_of_this_version() {
        let errors = load("[http]\nlisten = \"127.0.0.1:8025\"").unwrap_err();
        assert!(errors.contains("unknown key `http`"), "{errors}");
        assert!(errors.contains("help: not part of this version yet"), "{errors}");
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let text = "definitons = \"x\"\n[limits]\nmailboxes = 0\nmemory = \"1kB\"\n[log]\n\
             format = \"xml\"\nlevel = \"=loud=\"\n";
        let errors = Config::load_text(text, Path::new("/")).unwrap_err();
        let lines: Vec<_> = errors.iter().map(|d| (d.line, d.column)).collect();
        let at = |line, column| (Some(line), Some(column));
        assert_eq!(lines, [at(1, 1), at(3, 13), at(4, 10), at(6, 10), at(7, 9)]);
    }
}
