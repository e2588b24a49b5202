//! The keys of a file as one table of data: the reader accepts exactly these, and the JSON
//! Schema is made from them.

use serde_json::{Map, Value, json};

use crate::preset;

/// One key of a section.
#[derive(Clone, Copy)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// One sentence for editors.
    pub(crate) doc: &'static str,
    pub(crate) need: Need,
}

/// Whether a key must be there.
#[derive(Clone, Copy)]
pub(crate) enum Need {
    /// Without it the section is incomplete.
    Required,
    /// It may be left out, and nothing takes its place.
    Optional,
    /// It may be left out; this, as TOML, takes its place.
    Default(&'static str),
}

/// What a key may hold.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Bool,
    Count {
        min: u64,
        max: u64,
    },
    Duration,
    Size,
    Rate,
    Date,
    Moment,
    /// `"5%"` or a number of messages.
    Brake,
    Choice(&'static [&'static str]),
    /// A preset's name.
    Platform,
    Texts,
    /// Any key, text as value.
    TextMap,
    /// A reference to a secret.
    Secret(&'static [Key]),
    Table(&'static [Key]),
    Tables(&'static [Key]),
}

impl Kind {
    /// What to write, as help for a value of the wrong type.
    pub(crate) fn example(&self) -> String {
        match self {
            Self::Text => "write a text in quotes".into(),
            Self::Bool => "write true or false, without quotes".into(),
            Self::Count { min, max } => format!("write a whole number from {min} to {max}"),
            Self::Duration => "write a duration such as \"15m\"".into(),
            Self::Size => "write a size such as \"50MiB\"".into(),
            Self::Rate => "write a rate such as \"4MiB/s\"".into(),
            Self::Date => "write a date such as 2019-01-31, without quotes".into(),
            Self::Moment => "write a moment with its offset, without quotes: \
                 2026-12-05T22:00:00+01:00"
                .into(),
            Self::Brake => "write \"5%\", or a number of messages".into(),
            Self::Choice(words) => format!("write one of {}", quoted(words)),
            Self::Platform => "write a platform's name in quotes: \"imap\"".into(),
            Self::Texts => "write a list of texts: [\"…\", \"…\"]".into(),
            Self::TextMap => "write a table of texts: { \"…\" = \"…\" }".into(),
            Self::Secret(_) => SECRET_FORMS.into(),
            Self::Table(_) => "write a table: { … }".into(),
            Self::Tables(_) => "write one [[…]] table for each".into(),
        }
    }

    fn schema(&self) -> Value {
        let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
        match self {
            Self::Text => json!({ "type": "string" }),
            Self::Bool => json!({ "type": "boolean" }),
            Self::Count { min, max } => {
                json!({ "type": "integer", "minimum": min, "maximum": max })
            }
            Self::Duration => text("^([0-9]+(ms|s|m|h|d|w))+$"),
            Self::Size => text("^[0-9]+ ?(B|[kKMGT]B|[KMGT]iB)$"),
            Self::Rate => text("^[0-9]+ ?(B|[kKMGT]B|[KMGT]iB)/s$"),
            // TOML's own dates; editors hand them to the schema as text.
            Self::Date => json!({ "type": "string", "format": "date" }),
            Self::Moment => json!({ "type": "string", "format": "date-time" }),
            Self::Brake => json!({ "oneOf": [
                text("^[0-9]+(\\.[0-9]+)?%$"),
                { "type": "integer", "minimum": 0 },
            ] }),
            Self::Choice(words) => json!({ "enum": words }),
            Self::Platform => json!({ "enum": preset::names().collect::<Vec<_>>() }),
            Self::Texts => json!({ "type": "array", "items": { "type": "string" } }),
            Self::TextMap => {
                json!({ "type": "object", "additionalProperties": { "type": "string" } })
            }
            Self::Secret(keys) => {
                let mut schema = object(keys);
                schema["minProperties"] = json!(1);
                schema["maxProperties"] = json!(1);
                schema
            }
            Self::Table(keys) => object(keys),
            Self::Tables(keys) => json!({ "type": "array", "items": object(keys) }),
        }
    }
}

/// How a secret is written.
pub(crate) const SECRET_FORMS: &str = "write { file = \"secrets/alice\" }, { env = \"NAME\" }, \
     { credential = \"name\" } or { command = [\"pass\", \"show\", \"alice\"] }";

/// The words in backquotes, comma between them.
pub(crate) fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The JSON Schema (draft 2020-12) of a file with these keys at the top.
pub(crate) fn document(title: &str, keys: &[Key]) -> Value {
    let mut schema = object(keys);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!(title);
    schema
}

fn object(keys: &[Key]) -> Value {
    let properties: Map<String, Value> = keys
        .iter()
        .map(|key| {
            let mut schema = key.kind.schema();
            schema["description"] = json!(key.doc);
            if let Need::Default(default) = key.need
                && let Some(default) = plain(default)
            {
                schema["default"] = default;
            }
            (key.name.to_owned(), schema)
        })
        .collect();
    let required: Vec<_> =
        keys.iter().filter(|k| matches!(k.need, Need::Required)).map(|k| k.name).collect();
    let mut schema =
        json!({ "type": "object", "additionalProperties": false, "properties": properties });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// A TOML value as JSON.
fn plain(text: &str) -> Option<Value> {
    let table: toml::Table = format!("value = {text}").parse().ok()?;
    serde_json::to_value(table.get("value")?).ok()
}
