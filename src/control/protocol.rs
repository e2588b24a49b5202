//! What goes over the control socket.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::sync::verify::sample::Sample;

/// A request longer than this is refused: nobody types a mebibyte of names.
pub(super) const MAX_REQUEST: usize = 1024 * 1024;

/// What a client wants. A name is a migration's (`acme-wave-1`) or a mailbox's
/// (`acme-wave-1/alice@old.example`); no names mean all.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Is somebody there?
    Ping,
    /// How everything stands.
    Status {
        /// Of this only.
        #[serde(default)]
        name: Option<String>,
    },
    /// Passes now, also of blocked mailboxes.
    Sync {
        /// Of these.
        #[serde(default)]
        names: Vec<String>,
    },
    /// What the next passes would do.
    Plan {
        /// Of these.
        #[serde(default)]
        names: Vec<String>,
    },
    /// Messages that were skipped or failed.
    Failed {
        /// Of this.
        name: String,
        /// Try the skipped ones again in the next pass.
        #[serde(default)]
        retry: bool,
    },
    /// Compares both sides.
    Verify {
        /// Of these.
        #[serde(default)]
        names: Vec<String>,
        /// Flags may differ.
        #[serde(default)]
        ignore_flags: bool,
        /// Only a part.
        #[serde(default)]
        sample: Option<Sample>,
        /// Tell what the source holds as a manifest, in pieces: progress `{manifest}`.
        #[serde(default)]
        write_manifest: bool,
        /// Compare with a manifest instead of the source: so many bytes of it follow the
        /// request's line.
        #[serde(default)]
        manifest: Option<u64>,
    },
    /// Reads the definitions now, accepts removals, and tries blocked mailboxes again.
    Reload,
}

impl Request {
    /// Is it answered from what the daemon has in memory, with no mail server in between?
    pub(super) const fn is_brief(&self) -> bool {
        matches!(self, Self::Ping | Self::Status { .. } | Self::Reload)
    }

    /// How many bytes follow the request's line.
    pub const fn upload(&self) -> Option<u64> {
        match self {
            Self::Verify { manifest, .. } => *manifest,
            _ => None,
        }
    }
}

/// One line of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Reply {
    /// How far it is; any number of them.
    Progress {
        /// Depends on the request.
        data: Value,
    },
    /// The end of the answer.
    Result {
        /// Depends on the request.
        data: Value,
    },
    /// The end of the answer: it could not be done.
    Error {
        /// What happened.
        message: String,
        /// What to do about it; may be empty.
        #[serde(default)]
        remedy: String,
    },
}

impl Reply {
    /// An error without a remedy.
    pub fn error(message: impl Into<String>) -> Self {
        Self::Error { message: message.into(), remedy: String::new() }
    }

    /// True for the last line of an answer.
    pub const fn is_last(&self) -> bool {
        !matches!(self, Self::Progress { .. })
    }
}
