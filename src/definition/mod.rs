//! One migration, as declared: raw TOML on one side, a validated [`Migration`] on the other.
//! Nothing past this module sees raw values.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{FolderPath, ItemId, Normalisation, Role};

mod accept;
mod auth;
mod conflicts;
mod diagnostic;
pub(crate) mod document;
mod endpoint;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub(crate) mod grant;
pub(crate) mod keys;
mod load;
mod mailboxes;
mod masking;
mod master;
mod methods;
mod oauth;
mod roster;
pub(crate) mod schema;
pub(crate) mod section;
mod select;
mod traits;
mod validate;
pub(crate) mod values;

pub use accept::{Acceptance, Loss};
pub use conflicts::conflicts;
pub use diagnostic::{Diagnostic, Severity, render_all};
pub(crate) use endpoint::secret_from;
pub use grant::{ClientProof, ClientSecret, Consent, Grant, RefreshClient};
pub use load::{Loaded, Rejected, load, load_text};
pub use master::{MasterForm, Names};
pub use select::{FolderPattern, Selection};
pub use traits::{NameRules, Traits};
pub use validate::{DEFAULT_EVERY, DEFAULT_MAX_DELETE, DEFAULT_TAIL, UNLIMITED_CONCURRENCY};

pub use crate::preset::Tls;

/// The JSON Schema of a definition.
pub fn schema() -> serde_json::Value {
    schema::document("drover definition", keys::DEFINITION)
}

/// A migration's name: its file's stem.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(transparent)]
pub struct MigrationName(pub Arc<str>);

impl MigrationName {
    /// As operators name a mailbox of this migration: `acme-wave-1/alice@old.example`.
    pub fn of_mailbox(&self, mailbox: &Mailbox) -> String {
        format!("{}/{}", self.0, mailbox.source.user)
    }
}

/// A digest of a definition's parsed content (comments and layout do not count).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Generation(pub Arc<str>);

/// A validated definition.
#[derive(Debug, Clone, PartialEq)]
pub struct Migration {
    /// Its name.
    pub name: MigrationName,
    /// Digest of everything below.
    pub generation: Generation,
    /// The operator's words.
    pub description: Option<String>,
    /// No pass runs while true.
    pub suspend: bool,
    /// How and when passes run.
    pub sync: SyncRules,
    /// When the destination becomes the live system.
    pub cutover: Option<Cutover>,
    /// The roster. Each entry stands alone: it has its endpoints and rules with it.
    pub mailboxes: Vec<Arc<Mailbox>>,
}

/// One account pair with everything a pass over it needs to know. Two values are equal exactly
/// if nothing about the mailbox changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Mailbox {
    /// The migration that declares it: its mailboxes share its `rate`.
    pub migration: MigrationName,
    /// The account at the source.
    pub source: Account,
    /// The account at the destination.
    pub destination: Account,
    /// What is carried.
    pub carry: Carry,
    /// Which messages take part.
    pub select: Selection,
    /// Where folders go.
    pub folders: FolderRules,
    /// Losses that the operator accepts.
    pub accept: Vec<Acceptance>,
}

impl Mailbox {
    /// Why the loss of a message is accepted, if it is.
    pub fn accepted(
        &self,
        folder: &FolderPath,
        id: ItemId,
        message_id: Option<&str>,
    ) -> Option<&str> {
        let found = self.accept.iter().find(|one| one.loss.covers(folder, id, message_id));
        found.map(|one| one.reason.as_str())
    }

    /// The same by the Message-ID alone.
    pub fn accepted_by_message_id(&self, message_id: Option<&str>) -> Option<&str> {
        let is_it = |one: &&Acceptance| match &one.loss {
            Loss::MessageId(wanted) => message_id == Some(wanted.as_str()),
            Loss::Place { .. } => false,
        };
        self.accept.iter().find(is_it).map(|one| one.reason.as_str())
    }

    /// How its messages are compared: both servers must keep what is looked at.
    pub fn normalisation(&self) -> Normalisation {
        let rewrites = |account: &Account| account.endpoint.traits.rewrites;
        match rewrites(&self.source) || rewrites(&self.destination) {
            true => Normalisation::Parts,
            false => Normalisation::Content,
        }
    }

    /// Which account goes where: `imap://alice@old.example:993 → imap://alice@new.example:993`.
    /// The same mailbox gives the same text in every definition.
    pub fn identity(&self) -> String {
        format!("{} → {}", self.source.identity(), self.destination.identity())
    }
}

/// One account of one platform.
#[derive(Debug, Clone, PartialEq)]
pub struct Account {
    /// The account's name, as the platform knows it (mostly an address).
    pub user: String,
    /// Where it lives. Shared by all accounts of a migration.
    pub endpoint: Arc<Endpoint>,
    /// What proves that drover may enter.
    pub login: Login,
}

impl Account {
    /// The account and its server: `imap://alice@old.example:993`, the host in lower case.
    pub fn identity(&self) -> String {
        let Endpoint { platform, host, port, .. } = &*self.endpoint;
        let host = match host.contains(':') {
            true => format!("[{}]", host.to_lowercase()),
            false => host.to_lowercase(),
        };
        format!("{platform}://{}@{host}:{port}", self.user)
    }

    /// The same for every spelling of the same account, since servers do not tell
    /// `Alice@example.org` from `alice@example.org`.
    pub fn same_as_key(&self) -> String {
        self.identity().to_lowercase()
    }
}

/// Where a platform is reached. Presets have filled in what the definition left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// The preset's name: `imap`, …
    pub platform: String,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: Tls,
    /// An extra trust root, PEM, absolute.
    pub ca_file: Option<PathBuf>,
    /// Connections drover may hold per mailbox at once.
    pub connections: usize,
    /// Bytes of messages that an account may give (at a source) or take (at a destination) in any
    /// 24 hours.
    pub daily_bytes: Option<u64>,
    /// Whether what passes is compressed, where the server can.
    pub compress: Compress,
    /// What has to be known of the server and it does not tell.
    pub traits: Traits,
    /// At a source: what becomes of labels.
    pub labels: Labels,
}

/// What becomes of a source's labels (Gmail), of which a message may have many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Labels {
    /// Each is a folder; a message is copied into each of its own.
    #[default]
    Folders,
    /// Each is a folder; a message is copied into the first of its own: the inbox, sent mail,
    /// drafts, then the others as the server lists them.
    First,
    /// They are left behind; all messages but spam and trash are copied into one folder.
    AllMail,
    /// They are keywords; a message is copied once: into the inbox, sent mail, drafts, or the
    /// archive.
    Keywords,
}

/// Whether a connection is compressed (RFC 4978), where the server can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compress {
    /// If the server is far: near, processors are dearer than the line.
    #[default]
    Auto,
    /// Wherever the server is.
    Always,
    /// Nowhere.
    Never,
}

/// How an account is entered.
#[derive(Debug, Clone, PartialEq)]
pub enum Login {
    /// With its own password.
    Password(SecretRef),
    /// As another user who may act for it.
    MasterUser {
        /// The master's own name.
        user: String,
        /// The master's password.
        password: SecretRef,
        /// How the two names are given.
        form: MasterForm,
        /// What the server calls the account, if not as the roster does: mailNickname, at Exchange.
        alias: Option<String>,
    },
    /// With an access token that is asked for: SASL XOAUTH2 or OAUTHBEARER (RFC 7628).
    Token(Grant),
}

impl Login {
    /// The secrets it needs.
    pub fn secrets(&self) -> Vec<&SecretRef> {
        match self {
            Self::Password(secret) | Self::MasterUser { password: secret, .. } => vec![secret],
            Self::Token(grant) => grant.secrets(),
        }
    }

    /// Certificates to trust where its token is asked for, besides the platform's roots.
    pub fn ca_file(&self) -> Option<&Path> {
        match self {
            Self::Password(_) | Self::MasterUser { .. } => None,
            Self::Token(grant) => grant.ca_file(),
        }
    }

    /// Is it one sign-in for both accounts, so that one refusal is of both?
    pub fn is_shared_with(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::MasterUser { user, password, form, .. },
                Self::MasterUser { user: theirs, password: secret, form: shape, .. },
            ) => (user, password, form) == (theirs, secret, shape),
            _ => self == other,
        }
    }
}

/// A secret by reference (law 9). Relative files are already absolute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretRef {
    /// An environment variable of the drover process.
    Env(String),
    /// A file; one trailing newline is not part of the secret.
    File(PathBuf),
    /// A systemd credential: a file of `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// A command's standard output; one trailing newline is not part of the secret.
    Command(Vec<String>),
}

impl SecretRef {
    /// False if it cannot name a secret: an empty name, or one that leaves its directory.
    pub fn is_plausible(&self) -> bool {
        match self {
            Self::Env(name) => !name.is_empty() && !name.contains(['=', '\0']),
            Self::File(path) => !path.as_os_str().is_empty(),
            Self::Credential(name) => {
                !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != ".."
            }
            Self::Command(words) => words.first().is_some_and(|program| !program.is_empty()),
        }
    }
}

/// How and when passes run.
#[derive(Debug, Clone, PartialEq)]
pub struct SyncRules {
    /// When.
    pub schedule: Schedule,
    /// The zone that cron expressions and windows are read in.
    pub timezone: chrono_tz::Tz,
    /// When passes may run; empty: always.
    pub windows: Vec<Window>,
    /// Passes of this migration at once.
    pub concurrency: usize,
}

/// When passes are due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// A five-field cron expression, already known to parse.
    Cron(String),
    /// This long after the last pass began.
    Every(Duration),
}

/// A weekly span of time in which passes may run, in the migration's zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Days on which it opens, Monday = 0.
    pub days: Vec<u8>,
    /// Minutes after midnight at which it opens.
    pub from: u16,
    /// Minutes after midnight at which it closes; at or before `from`: on the next day.
    /// `0..1440` is the whole day.
    pub to: u16,
}

/// What a pass carries besides new messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Carry {
    /// Flag and keyword changes.
    pub flags: bool,
    /// Moves, as moves.
    pub moves: bool,
    /// Deletes; only before the cutover, only of what drover wrote (law 5).
    pub deletes: bool,
    /// More than this in one pass stops it.
    pub max_delete: MaxDelete,
    /// Bytes a second of the migration, over all its mailboxes; none: unlimited.
    pub rate: Option<u64>,
}

/// The brake on deletes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxDelete {
    /// Percent of the messages in the ledger of the mailbox, 0 to 100.
    Percent(f64),
    /// Messages.
    Messages(u64),
}

/// Where folders go.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FolderRules {
    /// Put everything below this folder at the destination. Roles are not matched then.
    pub prefix: Option<FolderPath>,
    /// Explicit destinations of source folders; stronger than roles and prefix.
    pub map: Vec<(FolderPath, FolderTarget)>,
    /// What the destination does not allow in names.
    pub names: NameRules,
}

/// Where a mapped folder goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FolderTarget {
    /// To the folder with this role.
    Role(Role),
    /// To this path.
    Path(FolderPath),
}

/// The moment after which the destination is the live system.
#[derive(Debug, Clone, PartialEq)]
pub struct Cutover {
    /// In the past: now.
    pub at: DateTime<Utc>,
    /// How long late mail is still drained.
    pub tail: Duration,
}

/// Dates of `[select]`, in whole days, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DateRange {
    /// Inclusive.
    pub since: Option<NaiveDate>,
    /// Exclusive.
    pub before: Option<NaiveDate>,
}
