//! Reads one table of a TOML file key by key. Nothing stops at the first mistake: every getter
//! reports what it dislikes and answers `None`, and what nobody asked for is reported when the
//! section is dropped.

use toml::de::{DeTable, DeValue};

use super::document::{At, Document, Placed, Wrong, wrong};
use super::schema::{Key, Kind, Need, SECRET_FORMS};
use super::{SecretRef, masking};

/// How alike an unknown key must be to a known one to be suggested: 0 to 1.
const ALIKE: f64 = 0.75;

/// What is left to read of a table.
pub(crate) struct Section<'d> {
    document: &'d Document,
    keys: &'static [Key],
    table: DeTable<'d>,
    at: At<'d>,
    /// As people call it: `[source]`; empty for the top of the file.
    name: String,
}

/// Parses a document and opens its top. `None` if it is no TOML or empty; that is reported.
pub(crate) fn open<'d>(document: &'d Document, keys: &'static [Key]) -> Option<Section<'d>> {
    let section = open_or_empty(document, keys)?;
    if section.table.is_empty() {
        document.whole().error("the file is empty", "fill it or remove it");
        return None;
    }
    section.report_missing();
    Some(section)
}

/// The same where every key may be left out. `None` if it is no TOML; that is reported.
pub(crate) fn open_or_empty<'d>(
    document: &'d Document,
    keys: &'static [Key],
) -> Option<Section<'d>> {
    let (top, errors) = DeTable::parse_recoverable(document.text());
    if !errors.is_empty() {
        let mut lines = Vec::new();
        for error in errors {
            let at = error.span().map_or(0, |span| span.start).min(document.text().len());
            let text = document.text();
            let line = text.as_bytes()[..at].iter().filter(|&&b| b == b'\n').count();
            // What follows on the same line follows from the first mistake.
            if lines.contains(&line) {
                continue;
            }
            lines.push(line);
            masking::mask_line(document, at);
            let span = error.span().unwrap_or(at..at);
            document.at(span).error(format!("this is no TOML: {}", error.message()), "");
        }
        return None;
    }
    let table = top.into_inner();
    masking::mask_secrets(document, &table);
    Some(Section { document, keys, table, at: document.whole(), name: String::new() })
}

impl<'d> Section<'d> {
    /// Where it stands: its header.
    pub(crate) fn at(&self) -> &At<'d> {
        &self.at
    }

    /// What is left to read.
    pub(crate) fn table(&self) -> &DeTable<'d> {
        &self.table
    }

    /// As people call it: `[source]`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where one of its keys stands, if it is there and was not read yet.
    pub(crate) fn at_key(&self, name: &str) -> Option<At<'d>> {
        self.table.get_key_value(name).map(|(key, _)| self.document.at(key.span()))
    }

    /// A text.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<Placed<'d, String>> {
        let value = self.take(name)?;
        match value.value {
            DeValue::String(text) => Some(value.at.place(text.into_owned())),
            other => self.wrong_type(&value.at, name, &other),
        }
    }

    /// A text that `parse` understands.
    pub(crate) fn parsed<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<Placed<'d, T>> {
        let text = self.text(name)?;
        text.at.clone().checked(parse(&text.value))
    }

    /// One of the key's words, as the value that stands at the same position in `meanings`.
    pub(crate) fn choice<T: Copy>(&mut self, name: &'static str, meanings: &[T]) -> Option<T> {
        let kind = self.kind(name);
        let Some(Kind::Choice(words)) = kind else { return None };
        let chosen = self.parsed(name, |text| {
            let at = words.iter().position(|word| *word == text);
            at.ok_or_else(|| {
                let help = kind.map(Kind::example).unwrap_or_default();
                wrong(format!("`{name}` cannot be `{text}`"), help)
            })
        })?;
        meanings.get(chosen.value).copied()
    }

    /// A list of texts, each of which `parse` understands; absent: empty.
    pub(crate) fn parsed_list<T>(
        &mut self,
        name: &'static str,
        mut parse: impl FnMut(&str) -> Result<T, Wrong>,
    ) -> Vec<T> {
        let Some(value) = self.take(name) else { return Vec::new() };
        let DeValue::Array(items) = value.value else {
            self.wrong_type::<()>(&value.at, name, &value.value);
            return Vec::new();
        };
        let mut list = Vec::new();
        for item in items {
            let at = self.document.at(item.span());
            match item.into_inner() {
                DeValue::String(text) => list.extend(at.checked(parse(&text)).map(|p| p.value)),
                other => {
                    self.wrong_type::<()>(&at, name, &other);
                }
            }
        }
        list
    }

    /// `true` or `false`.
    pub(crate) fn bool(&mut self, name: &'static str) -> Option<bool> {
        let value = self.take(name)?;
        match value.value {
            DeValue::Boolean(truth) => Some(truth),
            other => self.wrong_type(&value.at, name, &other),
        }
    }

    /// A whole number within the bounds of the key.
    pub(crate) fn count(&mut self, name: &'static str) -> Option<u64> {
        let value = self.take(name)?;
        let DeValue::Integer(number) = &value.value else {
            return self.wrong_type(&value.at, name, &value.value);
        };
        let kind = self.kind(name);
        let (min, max) = match kind {
            Some(Kind::Count { min, max }) => (*min, *max),
            _ => (0, u64::MAX),
        };
        let read = u64::from_str_radix(number.as_str(), number.radix());
        let count = read.ok().filter(|count| (min..=max).contains(count));
        if count.is_none() {
            let help = kind.map(Kind::example).unwrap_or_default();
            value.at.error(format!("`{name}` cannot be {number}"), help);
        }
        count
    }

    /// A value that `read` understands; it answers `None` for a type it does not expect.
    pub(crate) fn value<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Option<Result<T, Wrong>>,
    ) -> Option<Placed<'d, T>> {
        let value = self.take(name)?;
        match read(&value.value) {
            Some(result) => value.at.checked(result),
            None => self.wrong_type(&value.at, name, &value.value),
        }
    }

    /// A section below this one.
    pub(crate) fn section(&mut self, name: &'static str) -> Option<Self> {
        let value = self.take(name)?;
        match (value.value, self.kind(name)) {
            (DeValue::Table(table), Some(Kind::Table(keys))) => {
                let name = format!("[{}]", self.path_of(name));
                let section = Self { document: self.document, keys, table, at: value.at, name };
                section.report_missing();
                Some(section)
            }
            (other, _) => self.wrong_type(&value.at, name, &other),
        }
    }

    /// The sections of an array of tables; absent: none. `None` if it is something else.
    pub(crate) fn sections(&mut self, name: &'static str) -> Option<Vec<Self>> {
        let Some(value) = self.take(name) else { return Some(Vec::new()) };
        let (items, keys) = match (value.value, self.kind(name)) {
            (DeValue::Array(items), Some(Kind::Tables(keys))) => (items, keys),
            (other, _) => {
                return self.wrong_type(&value.at, name, &other);
            }
        };
        let mut sections = Vec::new();
        for item in items {
            let at = self.document.at(item.span());
            match item.into_inner() {
                DeValue::Table(table) => {
                    let name = format!("[[{name}]]");
                    let section = Self { document: self.document, keys, table, at, name };
                    section.report_missing();
                    sections.push(section);
                }
                other => {
                    self.wrong_type::<()>(&at, name, &other);
                }
            }
        }
        Some(sections)
    }

    /// A table whose keys are free and whose values are texts, in the order of the file.
    pub(crate) fn text_map(
        &mut self,
        name: &'static str,
    ) -> Vec<(Placed<'d, String>, Placed<'d, String>)> {
        let Some(value) = self.take(name) else { return Vec::new() };
        let DeValue::Table(table) = value.value else {
            self.wrong_type::<()>(&value.at, name, &value.value);
            return Vec::new();
        };
        let mut entries: Vec<_> = table.into_iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut map = Vec::new();
        for (key, value) in entries {
            let at = self.document.at(value.span());
            match value.into_inner() {
                DeValue::String(text) => {
                    let key_at = self.document.at(key.span());
                    let key = key_at.place(key.into_inner().into_owned());
                    map.push((key, at.place(text.into_owned())));
                }
                other => {
                    self.wrong_type::<()>(&at, name, &other);
                }
            }
        }
        map
    }

    /// A reference to a secret. Never shows what stands there unless it is a reference.
    pub(crate) fn secret(&mut self, name: &'static str) -> Option<Placed<'d, SecretRef>> {
        let value = self.take(name)?;
        let (table, keys) = match (value.value, self.kind(name)) {
            (DeValue::Table(table), Some(Kind::Secret(keys))) => (table, keys),
            _ => {
                value.at.mask();
                let message = format!("`{name}` must not hold the secret itself");
                value.at.error(message, SECRET_FORMS);
                return None;
            }
        };
        let written = table.len();
        let name = self.path_of(name);
        let mut section = Self { document: self.document, keys, table, at: value.at.clone(), name };
        let env = section.text("env").map(|env| SecretRef::Env(env.value));
        let file = section.text("file").map(|file| SecretRef::File(file.value.into()));
        let credential = section.text("credential").map(|c| SecretRef::Credential(c.value));
        let command = section
            .at_key("command")
            .map(|_| SecretRef::Command(section.parsed_list("command", |w| Ok(w.to_owned()))));
        if written != 1 {
            value.at.error("a secret has exactly one origin", SECRET_FORMS);
            return None;
        }
        let secret = env.or(file).or(credential).or(command)?;
        if !secret.is_plausible() {
            value.at.error("this does not name a secret", SECRET_FORMS);
            return None;
        }
        Some(value.at.place(secret))
    }

    fn take(&mut self, name: &'static str) -> Option<Placed<'d, DeValue<'d>>> {
        let value = self.table.remove(name)?;
        Some(self.document.at(value.span()).place(value.into_inner()))
    }

    fn kind(&self, name: &str) -> Option<&'static Kind> {
        self.keys.iter().find(|key| key.name == name).map(|key| &key.kind)
    }

    fn wrong_type<T>(&self, at: &At<'d>, name: &str, found: &DeValue<'_>) -> Option<T> {
        let found = match found {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let help = self.kind(name).map(Kind::example).unwrap_or_default();
        at.error(format!("`{name}` cannot be {found}"), help);
        None
    }

    fn report_missing(&self) {
        for key in self.keys {
            if matches!(key.need, Need::Required) && !self.table.contains_key(key.name) {
                let place = if self.name.is_empty() { "" } else { " in " };
                let message = format!("`{}` is missing{place}{}", key.name, self.name);
                let help = match key.kind {
                    Kind::Table(_) => format!("add [{}]", self.path_of(key.name)),
                    _ => key.kind.example(),
                };
                self.at.error(message, help);
            }
        }
    }

    /// `source.auth`
    fn path_of(&self, name: &str) -> String {
        let above = self.name.trim_matches(['[', ']']);
        if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") }
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        for (key, value) in self.table.iter() {
            let name = key.get_ref();
            let known = self.keys.iter().map(|known| known.name);
            let best = known
                .map(|known| (strsim::jaro_winkler(known, &name.to_lowercase()), known))
                .filter(|(alike, _)| *alike >= ALIKE)
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let help = match best {
                Some((_, known)) => {
                    if matches!(self.kind(known), Some(Kind::Secret(_))) {
                        self.document.mask(value.span());
                    }
                    format!("did you mean `{known}`?")
                }
                None => unknown_here(name, self.keys),
            };
            self.document.at(key.span()).error(format!("unknown key `{name}`"), help);
        }
    }
}

/// What to say of an unknown key that is like no known one.
fn unknown_here(name: &str, keys: &[Key]) -> String {
    if matches!(name, "http") {
        return "not part of this version yet".into();
    }
    let known: Vec<_> = keys.iter().map(|key| key.name).collect();
    format!("known here are {}", super::schema::quoted(&known))
}
