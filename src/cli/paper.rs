//! What describes drover itself: schemas, completions, the manual.

use clap::CommandFactory;
use clap_mangen::Man;
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
    /// `drover auth login -o json`.
    AuthLogin,
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
        Schema::Plan => output::print_json(&schema_for!(Vec<crate::daemon::MailboxPlan>)),
        Schema::Sync => output::print_json(&schema_for!(Vec<super::sync::Synced>)),
        Schema::Verify => output::print_json(&schema_for!(Vec<crate::daemon::Verified>)),
        Schema::Failed => output::print_json(&schema_for!(Vec<crate::daemon::FailedMessage>)),
        Schema::AuthLogin => output::print_json(&schema_for!(super::auth::LoggedIn)),
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

/// Prints the manual page, for man(1): all of it on one page.
///
/// # Errors
/// It cannot be written.
pub(super) fn man() -> std::io::Result<()> {
    let mut drover = Cli::command();
    drover.build();
    let page = Man::new(drover.clone().disable_help_subcommand(true));
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    text.extend(b".SH COMMANDS\n");
    let commands = drover.get_subcommands().flat_map(|command| {
        // `drover auth` alone does nothing; what is below it does.
        let below: Vec<_> = command.get_subcommands().collect();
        if below.is_empty() { vec![command] } else { below }
    });
    for command in commands.filter(|command| command.get_name() != "help") {
        // Its own arguments only: the global ones stand above.
        let command = command.clone().mut_args(|arg| {
            let is_global = arg.is_global_set() || arg.get_id() == "help";
            arg.hide(is_global)
        });
        let page = Man::new(command.clone());
        let name = command.get_bin_name().unwrap_or(command.get_name());
        text.extend(format!(".SS {name}\n").bytes());
        let mut section = Vec::new();
        page.render_description_section(&mut section)?;
        if command.get_arguments().any(|arg| !arg.is_hide_set()) {
            page.render_options_section(&mut section)?;
        }
        let section = String::from_utf8_lossy(&section);
        let lines = section.lines().filter(|line| !line.starts_with(".SH "));
        text.extend(lines.flat_map(|line| [line, "\n"]).flat_map(str::bytes));
    }
    page.render_extra_section(&mut text)?;
    text.extend(
        b".SH FILES\n/etc/drover/config.toml, /etc/drover/definitions/*.toml, \
          /var/lib/drover, /run/drover/drover.sock\n",
    );
    output::print(&String::from_utf8_lossy(&text))
}
