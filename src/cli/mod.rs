//! The command line: parse, call, print. Nothing is decided here.
//!
//! `run` is the daemon. Every other command that needs the ledger talks to a [`backend`]: the
//! daemon behind its socket, or an engine of its own. `check`, `schema`, `completions` and `man`
//! need neither.

use std::io::{ErrorKind, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::config::{Config, Log};
use crate::definition::render_all;
use crate::model::text::tame_lines;
use crate::telemetry;

mod auth;
mod backend;
mod check;
mod connect;
mod daemon;
pub mod exit;
mod failed;
mod human;
mod keyring;
mod output;
mod paper;
mod plan;
mod status;
mod sync;
mod verify;
mod waiting;
mod writing;

use backend::Backend;
use exit::Failure;
use output::Format;

/// Moves live mailboxes between mail platforms.
///
/// Definitions say which mailboxes move where. drover copies what is there, follows what changes,
/// and at the cutover makes the last pass and proves what arrived.
#[derive(Debug, Parser)]
#[command(name = "drover", version, arg_required_else_help = true, after_help = exit::HELP)]
pub struct Cli {
    /// Settings [default: /etc/drover/config.toml, else ./config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The form of results
    #[arg(short, long, global = true, value_enum, default_value_t)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The daemon, in the foreground
    Run,
    /// Validates definitions: every mistake in one go
    Check {
        /// Definition files, or directories of them [default: what the settings say]
        paths: Vec<PathBuf>,
        /// Also sign in to both sides of every mailbox
        #[arg(long)]
        connect: bool,
    },
    /// What the next passes would do; writes nowhere
    Plan {
        /// Migrations, or mailboxes as migration/source-account [default: all]
        names: Vec<String>,
    },
    /// Runs passes now
    Sync {
        /// Migrations, or mailboxes as migration/source-account
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// How migrations and mailboxes stand
    Status {
        /// A migration, or a mailbox as migration/source-account [default: all]
        name: Option<String>,
        /// Show it again every second
        #[arg(long, short)]
        watch: bool,
    },
    /// Compares both sides message by message, without the ledger
    Verify {
        /// Migrations, or mailboxes as migration/source-account
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        how: verify::How,
    },
    /// Messages that could not be brought over, and why
    Failed {
        /// A migration, or a mailbox as migration/source-account
        name: String,
        /// Try them again now, and say how many arrived
        #[arg(long)]
        retry: bool,
    },
    /// Signs in where a user must consent
    Auth {
        #[command(subcommand)]
        what: auth::Command,
    },
    /// Makes the daemon read its definitions, and accept that what is gone is gone
    Reload,
    /// Prints the JSON Schema of a file or a result
    Schema {
        /// Of what
        of: paper::Schema,
    },
    /// Prints a shell's completions
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Prints the manual page
    Man,
}

impl Cli {
    /// Does what was asked.
    pub fn run(self) -> ExitCode {
        // Whatever drover writes holds addresses, subjects of trouble, or more: it is the owner's.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let done = match self.needs_config().then(|| Config::find(self.config.as_deref())) {
            // Before any thread is started: nothing of it depends on more than the file.
            Some(Err(diagnostics)) => {
                let color = telemetry::colors(std::io::stderr().is_terminal());
                eprintln!("{}", render_all(&diagnostics, color));
                return exit::CONFIG.into();
            }
            Some(Ok(config)) => self.run_with(config),
            None => self.run_with(Config::default()),
        };
        match done {
            Ok(exit) => exit.into(),
            Err(error) => explain(&error).into(),
        }
    }

    fn needs_config(&self) -> bool {
        match &self.command {
            Command::Schema { .. } | Command::Completions { .. } | Command::Man => false,
            // Whoever signs in must know where refresh tokens are kept.
            Command::Check { paths, connect } => *connect || paths.is_empty(),
            _ => true,
        }
    }

    fn run_with(self, config: Config) -> anyhow::Result<exit::Exit> {
        let log = match self.command {
            Command::Run => config.log.clone(),
            // A command's results speak for themselves.
            _ => Log { level: "warn".into(), ..Config::default().log },
        };
        telemetry::init(&log);
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?
            .block_on(Box::pin(self.dispatch(config)))
    }

    async fn dispatch(self, config: Config) -> anyhow::Result<exit::Exit> {
        let format = self.output;
        match self.command {
            Command::Run => return daemon::run(&config).await,
            Command::Check { paths, connect } => {
                let paths = if paths.is_empty() { vec![config.definitions.clone()] } else { paths };
                return check::check(&paths, connect.then_some(&config), format).await;
            }
            Command::Auth { what: auth::Command::Login(login) } => {
                return tokio::select! {
                    done = auth::login(&config, &login, format) => done,
                    Ok(()) = tokio::signal::ctrl_c() => {
                        Err(Failure::new(exit::ERROR, "interrupted").into())
                    }
                };
            }
            Command::Schema { of } => paper::schema(of)?,
            Command::Completions { shell } => paper::completions(shell)?,
            Command::Man => paper::man()?,
            Command::Reload => daemon::reload(&config).await?,
            command => {
                let wanted = match &command {
                    Command::Sync { names } | Command::Plan { names } => Some(names.as_slice()),
                    _ => None,
                };
                let backend = Backend::connect(&config, wanted).await?;
                // The way out of a watch; an interruption of everything else.
                let is_watch = matches!(command, Command::Status { watch: true, .. });
                let done = tokio::select! {
                    done = ask(&backend, command, format) => done,
                    // An engine of our own must not be left in the middle of a write.
                    Ok(()) = tokio::signal::ctrl_c() => match is_watch {
                        true => Ok(exit::OK),
                        false => Err(Failure::new(exit::ERROR, "interrupted").into()),
                    },
                };
                backend.close().await;
                return done;
            }
        }
        Ok(exit::OK)
    }
}

async fn ask(backend: &Backend, command: Command, format: Format) -> anyhow::Result<exit::Exit> {
    match command {
        Command::Plan { names } => plan::plan(backend, names, format).await,
        Command::Sync { names } => sync::sync(backend, names, format).await,
        Command::Status { name, watch: false } => status::once(backend, name, format).await,
        Command::Status { name, watch: true } => status::watch(backend, name, format).await,
        Command::Verify { names, how } => verify::verify(backend, names, how, format).await,
        Command::Failed { name, retry } => failed::failed(backend, name, retry, format).await,
        _ => Ok(exit::OK),
    }
}

/// Says what went wrong, on standard error.
fn explain(error: &anyhow::Error) -> exit::Exit {
    let io = error.downcast_ref::<std::io::Error>();
    // Whoever read our results has seen enough: `drover status | head`.
    if io.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        return exit::OK;
    }
    eprintln!("drover: {}", tame_lines(&format!("{error:#}")));
    error.downcast_ref::<Failure>().map_or(exit::ERROR, |failure| failure.exit)
}
