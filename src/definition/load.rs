//! One definition from disk: its TOML, its CSV, every mistake in both.

use std::path::{Path, PathBuf};

use ring::digest;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostic;
use super::document::{Document, Placed};
use super::roster::{self, Entry};
use super::section;
use super::{Generation, Migration, MigrationName, SecretRef, accept, keys, mailboxes, validate};

/// A good definition.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What it declares.
    pub migration: Migration,
    /// What somebody should look at.
    pub warnings: Vec<Diagnostic>,
    /// The other files it depends on: CSV, trust roots, secrets. Absolute, sorted.
    pub files: Vec<PathBuf>,
}

/// A definition that cannot be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Rejected {
    /// Every mistake, and warnings; at least one is an error.
    pub diagnostics: Vec<Diagnostic>,
    /// The other files it depends on as far as is known: a change there may make it good.
    pub files: Vec<PathBuf>,
}

/// Reads a definition and its CSV.
///
/// # Errors
/// All mistakes in both at once.
pub fn load(path: &Path) -> Result<Loaded, Box<Rejected>> {
    let file = path.display().to_string();
    let document = Document::read(&file, path)
        .map_err(|diagnostic| Rejected { diagnostics: vec![diagnostic], files: Vec::new() })?;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let relative = path.parent().unwrap_or(Path::new(""));
    read(&document, &name.unwrap_or_default(), &base_of(path), relative)
}

/// The same from text. Relative paths in it start from `base`; `name` is the migration's name.
///
/// # Errors
/// All mistakes at once.
pub fn load_text(name: &str, text: &str, base: &Path) -> Result<Loaded, Box<Rejected>> {
    let document = Document::new(format!("{name}.toml"), text);
    read(&document, name, base, Path::new(""))
}

/// `shown`: how `base` was named to drover, for messages about files in it.
fn read(
    document: &Document,
    name: &str,
    base: &Path,
    shown: &Path,
) -> Result<Loaded, Box<Rejected>> {
    if !is_name(name) {
        let help = "letters, digits, `-`, `_` and `.`, beginning with a letter or digit";
        document.whole().error(format!("`{name}` is no name for a migration"), help);
    }
    let Some(mut top) = section::open(document, keys::DEFINITION) else {
        return finish(vec![document], None, Vec::new());
    };
    let content = canonical(top.table());
    let rules = validate::rules(&mut top, base);
    let roster_at = top.at_key("roster");
    let csv = top.section("roster").and_then(|mut section| section.text("csv"));
    let csv_path = csv.as_ref().map(|csv| base.join(&csv.value));
    let csv_file = csv.as_ref().and_then(|csv| csv_document(csv, base, shown));
    let inline = top.sections("mailboxes");
    if roster_at.is_none() && inline.as_ref().is_some_and(Vec::is_empty) {
        document.whole().error("the roster is empty", "add [[mailboxes]] tables or [roster] csv");
    }
    let accepted = top.sections("accept").unwrap_or_default();
    let accepted = accepted.into_iter().filter_map(accept::read).collect();
    // What nobody has read by now is unknown.
    drop(top);
    let mut entries: Vec<Entry<'_>> =
        inline.into_iter().flatten().filter_map(roster::inline).collect();
    let mut rows = Vec::new();
    if let Some(file) = &csv_file {
        let (more, cells) = roster::csv(file);
        entries.extend(more);
        rows = cells;
    }
    let name = MigrationName(name.into());
    let mailboxes = mailboxes::validate(entries, &name, &rules, base, accepted);
    let migration = Migration {
        name,
        generation: generation(&content, &rows),
        description: rules.description,
        suspend: rules.suspend,
        sync: rules.sync,
        cutover: rules.cutover,
        mailboxes,
    };
    let documents = [Some(document), csv_file.as_ref()].into_iter().flatten().collect();
    finish(documents, Some(migration), csv_path.into_iter().collect())
}

fn finish(
    documents: Vec<&Document>,
    migration: Option<Migration>,
    mut files: Vec<PathBuf>,
) -> Result<Loaded, Box<Rejected>> {
    let diagnostics: Vec<_> = documents.into_iter().flat_map(Document::diagnostics).collect();
    let accounts = migration.iter().flat_map(|migration| &migration.mailboxes);
    for account in accounts.flat_map(|mailbox| [&mailbox.source, &mailbox.destination]) {
        files.extend(account.endpoint.ca_file.clone());
        files.extend(account.login.ca_file().map(Path::to_owned));
        files.extend(account.login.secrets().into_iter().filter_map(|secret| match secret {
            SecretRef::File(path) => Some(path.clone()),
            _ => None,
        }));
    }
    files.sort();
    files.dedup();
    match migration {
        Some(migration) if !diagnostics.iter().any(Diagnostic::is_error) => {
            Ok(Loaded { migration, warnings: diagnostics, files })
        }
        _ => Err(Box::new(Rejected { diagnostics, files })),
    }
}

/// The CSV file, if it can be read; if not, that is reported where it is named.
fn csv_document(csv: &Placed<'_, String>, base: &Path, shown: &Path) -> Option<Document> {
    let file = shown.join(&csv.value).display().to_string();
    match Document::read(&file, &base.join(&csv.value)) {
        Ok(document) => Some(document),
        Err(diagnostic) => {
            let place = diagnostic.line.map(|line| format!(":{line}")).unwrap_or_default();
            let message = format!("{file}{place}: {}", diagnostic.message);
            csv.at.error(message, diagnostic.help.unwrap_or_default());
            None
        }
    }
}

/// The directory that a file's relative paths start from, absolute.
fn base_of(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.parent().map(Path::to_owned).unwrap_or_default()
}

/// A name stands in commands, logs, file names and labels.
fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.starts_with(char::is_alphanumeric) && name.chars().all(legal)
}

/// Hexadecimal digits of a generation.
const GENERATION_DIGITS: usize = 16;

/// The digest of a definition's content and its CSV's rows.
fn generation(content: &str, rows: &[Vec<String>]) -> Generation {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(content.as_bytes());
    for row in rows {
        context.update(b"row");
        for cell in row {
            context.update(format!("{}:{cell}", cell.len()).as_bytes());
        }
    }
    let hash = context.finish();
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Generation(hex[..GENERATION_DIGITS].into())
}

/// The content of a table without its layout: keys sorted, values in one spelling each,
/// lengths before texts so that no two contents come out the same.
fn canonical(table: &DeTable<'_>) -> String {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by(|a, b| a.0.get_ref().cmp(b.0.get_ref()));
    let of = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let key: &std::borrow::Cow<'_, str> = key.get_ref();
        format!("{}:{key}={};", key.len(), canonical_value(value.get_ref()))
    };
    format!("{{{}}}", entries.into_iter().map(of).collect::<String>())
}

fn canonical_value(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("s{}:{text}", text.len()),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => format!("i{number}"),
            Err(_) => format!("i{number}"),
        },
        DeValue::Float(number) => format!("f{}", number.as_str()),
        DeValue::Boolean(truth) => format!("b{truth}"),
        DeValue::Datetime(at) => format!("d{at}"),
        DeValue::Array(items) => {
            let items: String = items.iter().map(|i| canonical_value(i.get_ref()) + ",").collect();
            format!("[{items}]")
        }
        DeValue::Table(table) => canonical(table),
    }
}
