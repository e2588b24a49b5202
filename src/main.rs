//! drover moves live mailboxes between mail platforms.

use std::process::ExitCode;

use clap::Parser;
use drover::cli::{Cli, exit};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too; a closed stream is nobody's concern.
            let _ = error.print();
            let exit = if error.use_stderr() { exit::USAGE } else { exit::OK };
            return exit.into();
        }
    };
    cli.run()
}
