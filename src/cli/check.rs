//! `drover check`: every mistake in every definition in one go.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use chrono::Utc;
use schemars::JsonSchema;
use serde::Serialize;

use super::human::counted;
use super::keyring::Keyring;
use super::output::{self, Format};
use super::{connect, exit};
use crate::auth::{self, Expiry, Tokens};
use crate::config::Config;
use crate::controller::catalog::definition_files;
use crate::definition::{self, Diagnostic, Grant, Login, Migration, SecretRef, Severity};
use crate::telemetry::colors;

/// Diagnostics of one kind in one file that are shown to people; the rest is counted. A roster
/// of 600 has every mistake 600 times.
const ALIKE: usize = 3;

/// `drover check -o json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Checked {
    /// Definition files looked at.
    pub(super) files: usize,
    /// Mailboxes in those that are good.
    pub(super) mailboxes: usize,
    /// Diagnostics that are errors.
    pub(super) errors: usize,
    /// Diagnostics that are warnings.
    pub(super) warnings: usize,
    /// All of them.
    pub(super) diagnostics: Vec<Diagnostic>,
    /// With `--connect`: every mailbox of the good definitions.
    pub(super) connections: Option<Vec<connect::Tried>>,
}

/// Checks files and directories; with settings, by which refresh tokens are kept, also signs in.
///
/// # Errors
/// The result cannot be written, or it cannot be found out who has the refresh tokens.
pub(super) async fn check(
    paths: &[PathBuf],
    connect: Option<&Config>,
    format: Format,
) -> anyhow::Result<exit::Exit> {
    let Found { files, mut diagnostics } = find(paths);
    let mut good: Vec<(PathBuf, Migration)> = Vec::new();
    for file in &files {
        match definition::load(file) {
            Ok(loaded) => {
                diagnostics.extend(loaded.warnings);
                diagnostics.extend(secrets(file, &loaded.migration));
                diagnostics.extend(expiries(file, &loaded.migration).await);
                good.push((file.clone(), loaded.migration));
            }
            Err(rejected) => diagnostics.extend(rejected.diagnostics),
        }
    }
    diagnostics.extend(between(&files, &good));
    let migrations: Vec<&Migration> = good.iter().map(|(_, migration)| migration).collect();
    let count = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    let mut checked = Checked {
        files: files.len(),
        mailboxes: migrations.iter().map(|migration| migration.mailboxes.len()).sum(),
        errors: count(Severity::Error),
        warnings: count(Severity::Warning),
        diagnostics,
        connections: None,
    };
    if format == Format::Table {
        show(&checked.diagnostics);
        output::print(&summary(&checked))?;
    }
    let mut failed = false;
    if let Some(config) = connect.filter(|_| checked.errors == 0) {
        let keyring = Keyring::take(config, &migrations).await?;
        let tried = connect::all(&migrations, &keyring, format).await;
        let lost: Vec<_> =
            good.iter().flat_map(|(file, m)| lost(file, m, &keyring.tokens)).collect();
        keyring.put_back().await;
        let tried = tried?;
        if format == Format::Table {
            show(&lost);
        }
        failed = tried.iter().any(|one| !one.is_ok());
        checked.warnings += lost.len();
        checked.diagnostics.extend(lost);
        checked.connections = Some(tried);
    }
    if format == Format::Json {
        output::print_json(&checked)?;
    }
    Ok(match (checked.errors, failed) {
        (0, false) => exit::OK,
        (0, true) => exit::ERROR,
        _ => exit::CONFIG,
    })
}

struct Found {
    files: Vec<PathBuf>,
    diagnostics: Vec<Diagnostic>,
}

/// The definition files that these paths mean, each once, in order of name.
fn find(paths: &[PathBuf]) -> Found {
    let mut files = BTreeSet::new();
    let mut diagnostics = Vec::new();
    for path in paths {
        if !path.is_dir() && path.exists() {
            files.insert(path.clone());
            continue;
        }
        // What is not there at all comes back as unreadable.
        let (found, unreadable) = definition_files(path);
        if found.is_empty() && unreadable.is_empty() {
            let mut empty = Diagnostic::about_file(
                &path.display().to_string(),
                "there is no definition in this directory",
                "a definition is a file that ends in .toml; its stem is the migration's name",
            );
            empty.severity = Severity::Warning;
            diagnostics.push(empty);
        }
        files.extend(found);
        diagnostics.extend(unreadable.into_iter().map(|(path, cause)| {
            let message = format!("cannot be read: {cause}");
            let help = "check the path, and that drover may read it";
            Diagnostic::about_file(&path.display().to_string(), message, help)
        }));
    }
    Found { files: files.into_iter().collect(), diagnostics }
}

/// What is wrong between definitions that are each good alone: as the daemon would see it.
fn between(files: &[PathBuf], good: &[(PathBuf, Migration)]) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    let mut by_name: BTreeMap<_, Vec<&PathBuf>> = BTreeMap::new();
    for file in files {
        by_name.entry(file.file_stem()).or_default().push(file);
    }
    for files in by_name.values().filter(|files| files.len() > 1) {
        for file in files {
            let others = files.iter().filter(|other| other != &file);
            let others: Vec<_> = others.map(|other| other.display().to_string()).collect();
            let message = format!("the migration's name is also taken by {}", others.join(", "));
            let help = "a migration is named after its file; rename one of them";
            diagnostics.push(Diagnostic::about_file(&file.display().to_string(), message, help));
        }
    }
    let migrations: Vec<&Migration> = good.iter().map(|(_, migration)| migration).collect();
    let named: HashMap<String, &PathBuf> =
        good.iter().map(|(file, migration)| (format!("{}.toml", migration.name.0), file)).collect();
    diagnostics.extend(definition::conflicts(&migrations).into_iter().map(|mut conflict| {
        if let Some(file) = named.get(&conflict.file) {
            conflict.file = file.display().to_string();
        }
        conflict
    }));
    diagnostics
}

/// Warnings about the secrets a definition points to. That they are not here is no error: the
/// place where definitions are checked is not always the one where they run.
fn secrets(file: &Path, migration: &Migration) -> Vec<Diagnostic> {
    let accounts = migration.mailboxes.iter().flat_map(|m| [&m.source, &m.destination]);
    let mut seen = BTreeSet::new();
    let mut warnings = Vec::new();
    for secret in accounts.flat_map(|account| account.login.secrets()) {
        let SecretRef::File(path) = secret else { continue };
        if !seen.insert(path) {
            continue;
        }
        let (message, help) = match (std::fs::File::open(path), auth::warnings(secret)) {
            (Err(cause), _) => (
                format!("the secret file `{}` cannot be read here: {cause}", path.display()),
                "drover needs it before the first pass",
            ),
            (Ok(_), Some(_)) => (
                format!("the secret file `{}` can be read by others", path.display()),
                "chmod 600 it",
            ),
            (Ok(_), None) => continue,
        };
        let mut warning = Diagnostic::about_file(&file.display().to_string(), message, help);
        warning.severity = Severity::Warning;
        warnings.push(warning);
    }
    warnings
}

/// Warnings about credentials that end soon, as far as it can be known without asking anybody.
async fn expiries(file: &Path, migration: &Migration) -> Vec<Diagnostic> {
    let now = Utc::now();
    let accounts = migration.mailboxes.iter().flat_map(|m| [&m.source, &m.destination]);
    let grants: HashSet<&Grant> = accounts
        .filter_map(|account| match &account.login {
            Login::Token(grant) => Some(grant),
            _ => None,
        })
        .collect();
    // Most mailboxes share what they are entered with: it is said once.
    let mut ends = BTreeSet::new();
    for grant in grants {
        ends.extend(auth::expiry(grant).await.filter(|expiry| expiry.is_soon(now)));
    }
    let warn = |Expiry { at, what }: Expiry| {
        let message = format!("{what} ends on {}", auth::in_days(at, now));
        let mut warning =
            Diagnostic::about_file(&file.display().to_string(), message, what.remedy());
        warning.severity = Severity::Warning;
        warning
    };
    ends.into_iter().map(warn).collect()
}

/// Warnings about refresh tokens that were used up by signing in, because nothing keeps those that
/// servers gave in their place.
fn lost(file: &Path, migration: &Migration, tokens: &Tokens) -> Vec<Diagnostic> {
    let sides = migration
        .mailboxes
        .iter()
        .flat_map(|mailbox| [("source", &mailbox.source), ("destination", &mailbox.destination)]);
    let mut seen = HashSet::new();
    let mut warnings = Vec::new();
    for (side, account) in sides {
        let Login::Token(grant) = &account.login else { continue };
        if !tokens.loses(grant) || !seen.insert(grant) {
            continue;
        }
        let (migration, user) = (&migration.name.0, &account.user);
        let message = format!(
            "the server gave another refresh token for the {side} `{user}`, which drover does not \
             keep, and may take the one in the definition no more"
        );
        let help = format!(
            "set `token_key` in [auth] of drover's settings; then get a new one: drover auth login \
             {migration} --{side} --user {user}"
        );
        let mut warning = Diagnostic::about_file(&file.display().to_string(), message, help);
        warning.severity = Severity::Warning;
        warnings.push(warning);
    }
    warnings
}

fn show(diagnostics: &[Diagnostic]) {
    let shown = render(diagnostics, colors(std::io::stderr().is_terminal()));
    if !shown.is_empty() {
        eprintln!("{shown}");
    }
}

/// For people: like mistakes of one file in full only a few times.
fn render(diagnostics: &[Diagnostic], color: bool) -> String {
    let mut alike: HashMap<_, usize> = HashMap::new();
    let mut shown: Vec<String> = Vec::new();
    let mut last: Vec<(usize, &Diagnostic)> = Vec::new();
    let mut order = Vec::new();
    for diagnostic in diagnostics {
        let kind = (diagnostic.file.as_str(), without_names(&diagnostic.message));
        let n = alike.entry(kind.clone()).or_default();
        *n += 1;
        if *n <= ALIKE {
            order.push(kind);
            last.push((*n, diagnostic));
        }
    }
    for ((n, diagnostic), kind) in last.into_iter().zip(order) {
        let mut text = diagnostic.render(color);
        let total = alike.get(&kind).copied().unwrap_or(n);
        if n == ALIKE && total > ALIKE {
            text += &format!("\n… and {} more like this in {}", total - n, diagnostic.file);
        }
        shown.push(text);
    }
    shown.join("\n\n")
}

/// A message without what stands in backquotes.
fn without_names(message: &str) -> String {
    message.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

fn summary(checked: &Checked) -> String {
    let files = counted(checked.files as u64, "definition");
    let mailboxes = counted(checked.mailboxes as u64, "mailbox");
    let errors = counted(checked.errors as u64, "error");
    let warnings = counted(checked.warnings as u64, "warning");
    match (checked.errors, checked.warnings) {
        (0, 0) => format!("{files}, {mailboxes}: good"),
        (0, _) => format!("{files}, {mailboxes}: good, with {warnings}"),
        _ => format!("{files}: {errors}, {warnings}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(file: &str, message: &str) -> Diagnostic {
        Diagnostic::about_file(file, message, "")
    }

    #[test]
    fn mistakes_of_a_whole_roster_are_told_three_times_and_counted() {
        let of = |n: usize| about("a.toml", &format!("`user{n}` has no password"));
        let mut all: Vec<Diagnostic> = (0..121).map(of).collect();
        all.push(about("b.toml", "`user1` has no password"));
        let text = render(&all, false);
        assert_eq!(text.matches("has no password").count(), 4, "{text}");
        assert!(text.contains("… and 118 more like this in a.toml"), "{text}");
        assert!(!text.contains("in b.toml"), "{text}");
    }

    #[test]
    fn different_mistakes_are_all_told() {
        let all: Vec<Diagnostic> =
            ["one", "two", "three", "four", "five"].map(|m| about("a.toml", m)).into();
        let text = render(&all, false);
        assert!(text.contains("five") && !text.contains("more like this"), "{text}");
    }
}
