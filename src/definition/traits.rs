//! What has to be known of a server and it does not tell: from its preset, as far as the
//! definition says nothing else.

use std::collections::BTreeMap;

use super::document::wrong;
use super::section::Section;
use super::values;
use crate::model::{Flags, FolderPath, Keyword};
use crate::preset::Preset;

/// Of a server's protocol.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Traits {
    /// Capabilities that it announces and that are not to be used, as it spells them.
    pub veto: Vec<String>,
    /// What it is told of drover besides name and version (RFC 2971). If there is any, it is told
    /// whether or not the server asks for it.
    pub id: BTreeMap<String, String>,
    /// The largest message it takes, bytes, where it does not say (RFC 7889).
    pub max_message: Option<u64>,
    /// Keywords that it is not to be given, although it would keep them.
    pub drop_keywords: Vec<Keyword>,
    /// Flags that it loses when they are given with APPEND: they are stored afterwards.
    pub late_flags: Flags,
    /// At a source: a folder of so many messages may be a part of a larger one.
    pub windows: Option<Vec<u64>>,
    /// At a source: folders that show a part of themselves only do not hold up the cutover.
    pub accepts_partial: bool,
    /// Does it take messages apart and put them together anew when they are read?
    pub rewrites: bool,
}

/// Of the names of a destination's folders.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameRules {
    /// Top folders that the server keeps for itself, in any case. Mail goes into one only if it
    /// is there and has a role.
    pub reserved: Vec<String>,
    /// Characters that no name may hold.
    pub illegal: String,
}

/// What `[source]` says of its server besides how it is reached.
pub(super) fn of_source(section: &mut Section<'_>, preset: &Preset) -> (Traits, Vec<FolderPath>) {
    let left_out = or(section, "left_out", &preset.left_out, |text| {
        let path = FolderPath::parse(text);
        match path.segments().is_empty() || path.is_inbox() {
            false => Ok(path),
            true => {
                let help = "write a folder's path, with `/` between its parts: \"Calendar\"";
                Err(wrong(format!("`{text}` cannot be left out"), help))
            }
        }
    });
    let mut traits = of_both(section, preset);
    traits.windows = match section.count("window") {
        Some(0) => Some(Vec::new()),
        Some(window) => Some(vec![window]),
        None => preset.windows.clone(),
    };
    traits.accepts_partial = section.choice("partial", &[false, true]).unwrap_or_default();
    (traits, left_out)
}

/// What `[destination]` says of its server besides how it is reached.
pub(super) fn of_destination(section: &mut Section<'_>, preset: &Preset) -> (Traits, NameRules) {
    let mut traits = of_both(section, preset);
    let max_message = section.parsed("max_message", values::size).map(|size| size.value);
    traits.max_message = max_message.or(preset.max_message);
    let dropped: Vec<Keyword> = preset.drop_keywords.iter().map(|k| keyword(k)).collect();
    traits.drop_keywords = or(section, "drop_keywords", &dropped, |text| Ok(keyword(text)));
    let late = or(section, "late_flags", &preset.late_flags, |text| {
        match text.starts_with('\\') && !Flags::parse([text]).is_empty() {
            true => Ok(text.to_owned()),
            false => {
                Err(wrong(format!("`{text}` is no flag"), "write one such as \"\\\\Flagged\""))
            }
        }
    });
    traits.late_flags = Flags::parse(late.iter().map(String::as_str));
    let illegal = section.text("illegal_characters").map(|text| text.value);
    let names = NameRules {
        reserved: or(section, "reserved_names", &preset.reserved_names, |text| Ok(text.to_owned())),
        illegal: illegal.unwrap_or_else(|| preset.illegal_characters.clone()),
    };
    (traits, names)
}

fn of_both(section: &mut Section<'_>, preset: &Preset) -> Traits {
    let veto = or(section, "veto", &preset.veto, |text| Ok(text.to_owned()));
    let id = match section.at_key("id") {
        None => preset.id.clone(),
        Some(_) => section.text_map("id").into_iter().filter_map(id_field).collect(),
    };
    let rewrites = section.bool("rewrites").unwrap_or(preset.rewrites);
    Traits { veto, id, rewrites, ..Traits::default() }
}

/// RFC 2971, 3.3: at most 30 and 1024 bytes; here what every server can read.
fn id_field(
    (name, value): (super::document::Placed<'_, String>, super::document::Placed<'_, String>),
) -> Option<(String, String)> {
    let is_plain = |text: &str, most| {
        (1..=most).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b))
    };
    if !is_plain(&name.value, 30) || !is_plain(&value.value, 1024) {
        let help = "write plain ASCII: a name of up to 30 characters, a value of up to 1024";
        name.at.error(format!("`{}` cannot be told to a server", name.value), help);
        return None;
    }
    Some((name.value, value.value))
}

fn keyword(text: &str) -> Keyword {
    Keyword(text.into())
}

/// A list as the definition has it; if it has none, the preset's.
fn or<T: Clone>(
    section: &mut Section<'_>,
    name: &'static str,
    preset: &[T],
    parse: impl FnMut(&str) -> Result<T, super::document::Wrong>,
) -> Vec<T> {
    match section.at_key(name) {
        Some(_) => section.parsed_list(name, parse),
        None => preset.to_vec(),
    }
}
