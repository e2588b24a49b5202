//! Exit codes: part of the contract, for scripts and systemd.

use std::process::ExitCode;

use crate::daemon::OpenError;
use crate::ledger;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit(u8);

/// All is well.
pub const OK: Exit = Exit(0);
/// Something failed.
pub const ERROR: Exit = Exit(1);
/// `plan` found something to do, `verify` a difference.
pub const DIFFERENT: Exit = Exit(2);
/// Some mailboxes failed, others did not.
pub const SOME_FAILED: Exit = Exit(3);
/// The ledger is in use by another drover.
pub const LOCKED: Exit = Exit(4);
/// The command line cannot be understood (`EX_USAGE`).
pub const USAGE: Exit = Exit(64);
/// The configuration or a definition is wrong (`EX_CONFIG`).
pub const CONFIG: Exit = Exit(78);

/// What `--help` says about them.
pub(super) const HELP: &str = "Exit codes:
  0   all is well; nothing to do; both sides equal
  1   an error
  2   plan: there is something to do; verify: the sides differ
  3   some mailboxes failed
  4   the ledger is in use by another drover
  64  wrong usage
  78  wrong configuration or definitions

Data goes to standard output, logs and errors to standard error. RUST_LOG sets what is logged,
NO_COLOR turns colours off.";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.0.into()
    }
}

/// An error that ends the program with a code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// What happened and what to do.
    pub message: String,
}

impl Failure {
    /// A failure with this code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        let exit = match error {
            OpenError::Ledger(ledger::Error::Locked { .. }) => LOCKED,
            OpenError::Ledger(_) | OpenError::Definitions(_) => ERROR,
        };
        Self::new(exit, error.to_string())
    }
}

/// Nothing is selected, although every name is known: the definition is not valid.
pub(super) fn no_mailbox() -> anyhow::Error {
    let message = "no valid definition has a mailbox for that; `drover check` tells more";
    Failure::new(CONFIG, message).into()
}
