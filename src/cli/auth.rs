//! `drover auth login`: gets a refresh token for a mailbox, or for all of a side, by asking a user
//! for consent, and puts it where the definition says that it is. Asks nothing on the terminal.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::exit::{self, Exit, Failure};
use super::human::{counted, tame};
use super::output::{self, Format};
use crate::auth::in_days;
use crate::auth::login::{Consent, LoginError, Place, Step, Way, consent};
use crate::config::Config;
use crate::controller::catalog::definition_files;
use crate::definition::{
    self, Account, Grant, Login, Migration, RefreshClient, SecretRef, render_all,
};
use crate::model::text::tame_lines;
use crate::telemetry::colors;

/// Accounts that are named where one must be chosen; the rest is counted.
const NAMED: usize = 5;

/// What `drover auth` can do.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Gets a refresh token, by a user's consent in a browser or by a code
    Login(How),
}

/// Whose token is to be got, and how.
#[derive(Debug, clap::Args)]
pub(super) struct How {
    /// The migration whose definition says `method = "refresh-token"`
    migration: String,
    /// For its source [default: the side that is entered with refresh tokens]
    #[arg(long, conflicts_with = "destination")]
    source: bool,
    /// For its destination
    #[arg(long)]
    destination: bool,
    /// The account on that side, where mailboxes have tokens of their own
    #[arg(long, value_name = "ADDRESS")]
    user: Option<String>,
    /// By a code that is entered on any device, instead of a browser that reaches this machine
    #[arg(long)]
    device: bool,
    /// The port of 127.0.0.1 that the browser comes back to [default: any that is free]
    #[arg(long, default_value_t = 0, hide_default_value = true, conflicts_with = "device")]
    port: u16,
    /// Put the token into this file instead of where the definition reads it
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LoggedIn {
    /// The account of the definition; absent if the token is for more than one.
    user: Option<String>,
    /// Who consented, if the provider tells.
    account: Option<String>,
    /// The file that has the refresh token now.
    file: PathBuf,
    /// When the token ends, if the provider tells.
    expires: Option<DateTime<Utc>>,
}

/// What a token is got for.
struct Wanted<'a> {
    side: &'static str,
    client: &'a RefreshClient,
    reference: &'a SecretRef,
    /// The one account that it is for.
    user: Option<&'a str>,
}

/// Gets a refresh token.
///
/// # Errors
/// With [`exit::USAGE`] if it is not clear for whom, [`exit::CONFIG`] if the definition is not
/// good, [`exit::ERROR`] if there is no consent or no place for it.
pub(super) async fn login(config: &Config, how: &How, format: Format) -> anyhow::Result<Exit> {
    let migration = load(&config.definitions, &how.migration)?;
    let wanted = wanted(&migration, how)?;
    let path = path(&wanted, how)?;
    let place = Place::take(&path).map_err(|cause| no_place(&path, &cause))?;
    let way = if how.device { Way::Device } else { Way::Browser { port: how.port } };
    let hint = wanted.user.filter(|user| user.contains('@'));
    let consented = consent(wanted.client, way, hint, |step| eprintln!("{}", told(&step, &wanted)));
    let Consent { token, account, ends } = consented.await.map_err(|error| failed(&error))?;
    let file = place.put(&token).map_err(|cause| no_place(&path, &cause))?;
    let logged_in =
        LoggedIn { user: wanted.user.map(ToOwned::to_owned), account, file, expires: ends };
    match format {
        Format::Json => output::print_json(&logged_in)?,
        Format::Table => output::print(&render(&logged_in, &wanted, how))?,
    }
    Ok(exit::OK)
}

/// The migration of this name, whatever is wrong with others.
fn load(directory: &Path, name: &str) -> anyhow::Result<Migration> {
    let (files, _) = definition_files(directory);
    let mut named = files.iter().filter(|file| file.file_stem().is_some_and(|stem| stem == name));
    let Some(file) = named.next() else {
        let message = format!("there is no migration `{name}` in {}", directory.display());
        return Err(Failure::new(exit::USAGE, message).into());
    };
    match definition::load(file) {
        Ok(loaded) => Ok(loaded.migration),
        Err(rejected) => {
            let color = colors(std::io::stderr().is_terminal());
            eprintln!("{}", render_all(&rejected.diagnostics, color));
            let message = format!("the definition of `{name}` is not good");
            Err(Failure::new(exit::CONFIG, message).into())
        }
    }
}

fn wanted<'a>(migration: &'a Migration, how: &How) -> anyhow::Result<Wanted<'a>> {
    let usage = |message: String| Err(Failure::new(exit::USAGE, message).into());
    let of = |side: &'static str| -> Vec<&'a Account> {
        let mailboxes = migration.mailboxes.iter();
        mailboxes.map(|m| if side == "source" { &m.source } else { &m.destination }).collect()
    };
    let takes = |side: &&'static str| of(side).into_iter().any(|a| consented(a).is_some());
    let side = match (how.source, how.destination) {
        (true, _) => "source",
        (_, true) => "destination",
        _ => {
            match ["source", "destination"].iter().filter(|side| takes(side)).collect::<Vec<_>>()[..]
            {
                [side] => side,
                [] => "source",
                _ => {
                    return usage(
                        "both sides are entered with refresh tokens: say `--source` or \
                               `--destination`"
                            .into(),
                    );
                }
            }
        }
    };
    if !takes(&side) {
        return usage(format!(
            "the {side} of `{}` is not entered with refresh tokens: this is for auth = {{ method = \
             \"refresh-token\", … }}",
            migration.name.0
        ));
    }
    let mut accounts = of(side);
    if let Some(user) = &how.user {
        accounts.retain(|account| account.user.to_lowercase() == user.to_lowercase());
    }
    let Some((client, reference)) = accounts.first().and_then(|account| consented(account)) else {
        let user = how.user.as_deref().unwrap_or_default();
        return usage(format!(
            "there is no account `{user}` at the {side} of `{}`",
            migration.name.0
        ));
    };
    if accounts.iter().any(|account| consented(account) != Some((client, reference))) {
        let mut named: Vec<_> = accounts.iter().map(|account| account.user.clone()).collect();
        let n_more = named.len().saturating_sub(NAMED) as u64;
        named.truncate(NAMED);
        let more = if n_more > 0 {
            format!(" and {} more", counted(n_more, "other"))
        } else {
            String::new()
        };
        return usage(format!(
            "each mailbox has a token of its own: say whose with `--user`: {}{more}",
            named.join(", ")
        ));
    }
    let user = match accounts[..] {
        [only] => Some(only.user.as_str()),
        _ => None,
    };
    Ok(Wanted { side, client, reference, user })
}

fn consented(account: &Account) -> Option<(&RefreshClient, &SecretRef)> {
    match &account.login {
        Login::Token(Grant::RefreshToken { client, refresh_token }) => {
            Some((client, refresh_token))
        }
        _ => None,
    }
}

/// The file to write. Where the definition reads something else, nobody is asked for a consent
/// that could not be kept.
fn path(wanted: &Wanted<'_>, how: &How) -> anyhow::Result<PathBuf> {
    let (what, then) = match (&how.to, wanted.reference) {
        (Some(path), _) | (None, SecretRef::File(path)) => return Ok(path.clone()),
        (None, SecretRef::Env(name)) => {
            (format!("the environment variable {name}"), "set the variable to what is in it")
        }
        (None, SecretRef::Credential(name)) => (
            format!("the systemd credential {name}"),
            "give it to systemd (LoadCredential=, or systemd-creds encrypt)",
        ),
        (None, SecretRef::Command(words)) => (
            format!("the command `{}`", words.first().map_or("", String::as_str)),
            "put what is in it where the command finds it",
        ),
    };
    let message = format!(
        "the definition reads this refresh token from {what}, where drover cannot put it: add `--to \
         FILE`, {then}, remove FILE, and restart drover if its environment or credentials changed; \
         or write {{ file = … }} in the definition"
    );
    Err(Failure::new(exit::USAGE, message).into())
}

/// What the user must do, in words.
fn told(step: &Step, wanted: &Wanted<'_>) -> String {
    let whom = match wanted.user {
        Some(user) => format!("as {user}"),
        None => "as the user whose consent is wanted".into(),
    };
    let text = match step {
        Step::Open { url, port } => format!(
            "Open this in a browser and sign in {whom}:\n\n    {url}\n\nIf the browser is on another \
             machine, run there first: ssh -L {port}:127.0.0.1:{port} THIS-MACHINE\n"
        ),
        Step::Enter { url, code, complete, life } => {
            let complete = complete.as_ref().map_or_else(String::new, |complete| {
                format!("\n\nor, with the code in it:\n\n    {complete}")
            });
            let minutes = life.as_secs().div_ceil(60);
            format!(
                "Open this in any browser and sign in {whom}:\n\n    {url}\n\nand enter this code, \
                 within {}:\n\n    {code}{complete}\n",
                counted(minutes, "minute")
            )
        }
    };
    tame_lines(&text)
}

fn render(done: &LoggedIn, wanted: &Wanted<'_>, how: &How) -> String {
    let whom = done.user.as_deref().unwrap_or("all its mailboxes without their own");
    let file = done.file.display();
    let mut text =
        format!("the refresh token of the {} for {} is in {file}\n", wanted.side, tame(whom));
    if let Some(account) = &done.account {
        text += &format!("{} consented", tame(account));
        if done.user.as_ref().is_some_and(|user| user.to_lowercase() != account.to_lowercase()) {
            text += ", which is another account: right only if it may enter that mailbox";
        }
        text += "\n";
    }
    if let Some(ends) = done.expires {
        text += &format!("it ends on {}\n", in_days(ends, Utc::now()));
    }
    if how.to.is_some() && !matches!(wanted.reference, SecretRef::File(path) if *path == done.file)
    {
        text += "the definition reads it from elsewhere: put it there, and remove the file\n";
    }
    text
}

fn no_place(path: &Path, cause: &std::io::Error) -> anyhow::Error {
    let message = format!(
        "the refresh token cannot be put into {}: {cause}; run this as drover's user, or choose a \
         file with `--to`",
        path.display()
    );
    Failure::new(exit::ERROR, message).into()
}

fn failed(error: &LoginError) -> anyhow::Error {
    let remedy = error.remedy();
    let separator = if remedy.is_empty() { "" } else { "; " };
    Failure::new(exit::ERROR, format!("{error}{separator}{remedy}")).into()
}
