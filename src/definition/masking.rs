//! Finds what could be a secret in a file that should hold none, so that no message about the
//! line it stands on shows it (law 9).

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::Document;

/// A key that contains one of these holds a secret, well spelt or not.
const SECRET_WORDS: [&str; 5] = ["pas", "pwd", "secret", "token", "private"];

/// This one does not, whatever it contains.
const PLAIN_KEY: &str = "token_url";

/// Hides every value that looks like a secret, wherever it stands: it could be on the line of
/// some other mistake.
pub(super) fn mask_secrets(document: &Document, table: &DeTable<'_>) {
    for (key, value) in table.iter() {
        mask_value(document, value, key.get_ref(), false);
    }
}

fn mask_value(document: &Document, value: &Spanned<DeValue<'_>>, key: &str, within: bool) {
    let secret = within || looks_secret(key);
    match value.get_ref() {
        DeValue::Table(table) => {
            for (key, value) in table.iter() {
                let name = key.get_ref().as_ref();
                let reference = matches!(name, "env" | "file" | "credential" | "command");
                mask_value(document, value, name, secret && !reference);
            }
        }
        // The place of a login: whatever is not a table there may be meant as a password.
        _ if secret || key == "auth" => document.mask(value.span()),
        DeValue::Array(items) => {
            items.iter().for_each(|item| mask_value(document, item, "", false));
        }
        _ => {}
    }
}

fn looks_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace(PLAIN_KEY, "");
    SECRET_WORDS.iter().any(|part| key.contains(part))
}

/// Hides what could be a secret on a line that is no TOML: everything behind a word that looks
/// secret, and all of a line that could be the inside of a text.
pub(super) fn mask_line(document: &Document, at: usize) {
    let text = document.text();
    let at = text.floor_char_boundary(at);
    let start = text[..at].rfind('\n').map_or(0, |n| n + 1);
    let line = text[start..].split('\n').next().unwrap_or_default();
    let end = start + line.len();
    let begin = match line.split_once('=') {
        Some(_) if looks_secret(line) => {
            let lower = line.to_ascii_lowercase();
            let words = SECRET_WORDS.iter().filter_map(|word| lower.find(word));
            let first = words.min().unwrap_or(0);
            let equals = line[first..].find('=').map_or(first, |n| first + n + 1);
            start + equals
        }
        Some(_) => return,
        None if line.trim_start().starts_with(['[', '#']) => return,
        None => start,
    };
    if begin < end {
        document.mask(begin..end);
    }
}
