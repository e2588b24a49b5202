//! What describes drover itself: schemas, completions, the manual.

use clap::CommandFactory;
use schemars::schema_for;

use super::{Cli, output};
use crate::controller::status::Status;
use crate::{config, definition};

/// What `drover schema` can describe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Schema {
    /// A definition file.
    Definition,
    /// The daemon's configuration.
    Config,
    /// `drover status -o json`.
    Status,
    /// `drover check -o json`.
    Check,
    /// `drover plan -o json`.
    Plan,
    /// `drover sync -o json`.
    Sync,
    /// `drover verify -o json`.
    Verify,
    /// `drover failed -o json`.
    Failed,
}

/// Prints a JSON Schema.
///
/// # Errors
/// It cannot be written.
pub(super) fn schema(of: Schema) -> std::io::Result<()> {
    match of {
        Schema::Definition => output::print_json(&definition::schema()),
        Schema::Config => output::print_json(&config::schema()),
        Schema::Status => output::print_json(&schema_for!(Status)),
        Schema::Check => output::print_json(&schema_for!(super::check::Checked)),
        Schema::Plan => output::print_json(&schema_for!(Vec<super::work::MailboxPlan>)),
        Schema::Sync => output::print_json(&schema_for!(Vec<super::sync::Synced>)),
        Schema::Verify => output::print_json(&schema_for!(Vec<super::work::Verified>)),
        Schema::Failed => output::print_json(&schema_for!(Vec<super::work::FailedMessage>)),
    }
}

/// Prints a shell's completions.
///
/// # Errors
/// They cannot be written.
pub(super) fn completions(shell: clap_complete::Shell) -> std::io::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "drover", &mut text);
    output::print(&String::from_utf8_lossy(&text))
}

/// Prints the manual page, for man(1).
///
/// # Errors
/// It cannot be written.
pub(super) fn man() -> std::io::Result<()> {
    let mut text = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut text)?;
    output::print(&String::from_utf8_lossy(&text))
}
