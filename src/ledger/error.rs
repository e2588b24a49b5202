//! What can go wrong with the ledger, and what the operator can do about it.

use std::io;

use super::MailboxKey;

/// Why the ledger did not do what it was asked.
///
/// Cloneable, because one failed flush fails every commit that waited for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another process has it open. The command line exits with 4.
    #[error("another drover{} uses this state directory", pid.map(|p| format!(" (process {p})")).unwrap_or_default())]
    Locked {
        /// Its process id, if it could be read.
        pid: Option<u32>,
    },
    /// A newer drover wrote it.
    #[error("the ledger has format {found}, this drover knows formats up to {known}")]
    Version {
        /// The format on disk.
        found: u32,
        /// The newest format this program reads.
        known: u32,
    },
    /// Its bytes are not what was written. The next opening sets it aside and starts anew.
    #[error("the ledger is damaged: {what}")]
    Damaged {
        /// What was found where.
        what: String,
    },
    /// The disk, a quota or a file size limit is reached. Nothing of the commit is kept.
    #[error("no space is left for the ledger: {what}")]
    Full {
        /// What the system said.
        what: String,
    },
    /// The system refused a read or a write. The ledger must be opened again.
    #[error("the ledger cannot be read or written: {what}")]
    Io {
        /// What was done, and what the system said.
        what: String,
    },
    /// Another pass works on this mailbox.
    #[error("the mailbox {0} is being worked on")]
    Leased(MailboxKey),
    /// The disk has not answered for minutes; whether a commit took place is not known.
    #[error("the ledger does not answer")]
    Stuck,
    /// The ledger was closed.
    #[error("the ledger is closed")]
    Closed,
}

impl Error {
    /// What the operator can do about it; empty if nothing needs doing.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Locked { .. } => "talk to the running drover, or stop it first",
            Self::Version { .. } => "run the newer drover that wrote it",
            Self::Damaged { .. } => {
                "restart drover: it sets the damaged ledger aside, keeps what is sound of it and \
                 rebuilds the rest from the destination; check the disk"
            }
            Self::Full { .. } => "make room on the disk that holds `state`; drover then goes on",
            Self::Io { .. } | Self::Stuck => "check the disk that holds `state` and restart drover",
            Self::Leased(_) | Self::Closed => "",
        }
    }

    /// An input or output error met while doing `what`.
    pub(super) fn io(what: impl std::fmt::Display, error: &io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let what = format!("{what}: {error}");
        match error.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full { what },
            _ => Self::Io { what },
        }
    }

    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into() }
    }
}

impl From<sled::Error> for Error {
    fn from(error: sled::Error) -> Self {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        match error {
            // A file that ends too early is a file that was cut.
            sled::Error::Io(error) if !matches!(error.kind(), InvalidData | UnexpectedEof) => {
                Self::io("database", &error)
            }
            error => Self::Damaged { what: error.to_string() },
        }
    }
}
