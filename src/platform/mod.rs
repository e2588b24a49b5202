//! The mail systems drover can speak to, behind two narrow traits.
//!
//! A [`Source`] is only ever read (law 1): it has no method that could write. A [`Destination`]
//! is written to only through what is here. Both are one signed-in connection; whoever wants
//! parallel work opens several. Adding a platform touches one folder below this one.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::auth::Tokens;
use crate::definition;
use crate::flow::{Gauge, Patience};
use crate::model::{FolderName, FolderPath, Normalisation};

mod account;
mod changes;
mod destination;
mod error;
pub mod imap;
mod inspection;
mod masters;
mod remedy;
mod source;

pub use account::{Account, ContentDigest, FolderStatus, Page, Sighting};
pub use changes::{Changes, Gone};
pub use destination::{
    Append, Appended, Destination, FlagChange, KeywordRule, Landed, Naming, Opened, Turn,
};
pub use error::{Error, Refusal, Retry, Scope};
pub use inspection::{Inspection, Oversized, Quota, Size, Takes, Unseen, Weighed};
pub use masters::Masters;
pub use remedy::Remedy;
pub(crate) use source::unless_closed;
pub use source::{Message, Source, Surveyed, Wanted};

/// The result of a conversation with a platform.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How drover behaves towards every server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bounds every single read and write, and every step of signing in.
    pub idle: Duration,
    /// Bounds a command that brings nothing, however much is said meanwhile; see
    /// `docs/security.md` for what counts.
    pub stall: Duration,
    /// Bounds what is said, bytes, while a command brings nothing.
    pub talk: usize,
    /// How drover introduces itself: its name.
    pub name: String,
    /// And its version.
    pub version: String,
    /// What it says of itself besides. If there is any, it is said whether asked or not.
    pub id: BTreeMap<String, String>,
    /// What servers offer and drover shall not use, as they spell it: `QRESYNC`,
    /// `MULTIAPPEND`, `COMPRESS=DEFLATE` …
    pub veto: Vec<String>,
    /// A folder of so many messages may be a part of a larger one. If nothing is said, what the
    /// server offers tells.
    pub windows: Option<Vec<u64>>,
    /// How content digests are taken.
    pub normalisation: Normalisation,
    /// What servers asked for on earlier connections.
    pub patience: Patience,
    /// Told of what the server bears.
    pub gauge: Gauge,
    /// The access tokens that there are, for everybody who needs one.
    pub tokens: Tokens,
    /// How the sign-ins fared that many mailboxes share.
    pub masters: Masters,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(120),
            // Dovecot and Exchange keep a client waiting for minutes (`* OK Still here`) while they
            // build an index; not for half an hour.
            stall: Duration::from_secs(1800),
            // Above the longest honest answer that comes in one piece: the ids of a folder of
            // three million messages.
            talk: 32 * 1024 * 1024,
            name: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            id: BTreeMap::new(),
            veto: Vec::new(),
            windows: None,
            normalisation: Normalisation::default(),
            patience: Patience::default(),
            gauge: Gauge::default(),
            tokens: Tokens::default(),
            masters: Masters::default(),
        }
    }
}

/// Opens a signed-in connection to an account that is only read.
///
/// # Errors
/// Whatever keeps drover from signing in; see [`Error`].
pub async fn source(account: &definition::Account, options: &Options) -> Result<Box<dyn Source>> {
    // Every platform is IMAP so far; those with an API of their own part ways here, by
    // `account.endpoint.platform`.
    imap::connect_source(account, options).await
}

/// Opens a signed-in connection to an account that is written to.
///
/// # Errors
/// Whatever keeps drover from signing in; see [`Error`].
pub async fn destination(
    account: &definition::Account,
    options: &Options,
) -> Result<Box<dyn Destination>> {
    imap::connect_destination(account, options).await
}

/// Where a destination path lives on its server, and what was done to its name to fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FittedName {
    /// The name to use.
    pub name: FolderName,
    /// The path as it will be read there; differs from what was asked for if it was repaired.
    pub path: FolderPath,
}
