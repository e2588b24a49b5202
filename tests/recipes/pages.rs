//! The pages of docs/recipes/: each is put together from the parts of its two platforms, so that
//! what is to be done on a platform's console is written once. `UPDATE_DOCS=1` writes them.

use std::fmt::Write;
use std::path::PathBuf;

/// One request type: from a platform to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recipe {
    /// Its page, and what people ask for: `o365-gmail`.
    pub(super) name: &'static str,
    /// The names of the parts.
    pub(super) source: &'static str,
    pub(super) destination: &'static str,
}

/// The ends of a migration, with what a page calls their domain and their secrets.
pub(super) const SOURCE: [&str; 3] = ["source", "old.example", "old"];
pub(super) const DESTINATION: [&str; 3] = ["destination", "acme.example", "new"];

pub(super) const ALL: [Recipe; 11] = [
    recipe("o365-gmail", "microsoft365", "gmail"),
    recipe("gmail-o365", "gmail", "microsoft365"),
    recipe("yahoo-o365", "yahoo", "microsoft365"),
    recipe("yahoo-gmail", "yahoo", "gmail"),
    recipe("yahoo-other", "yahoo", "imap"),
    recipe("o365-o365", "microsoft365", "microsoft365"),
    recipe("gmail-other", "gmail", "imap"),
    recipe("exchange-o365", "exchange", "microsoft365"),
    recipe("other-gmail", "imap", "gmail"),
    recipe("other-o365", "imap", "microsoft365"),
    recipe("gmail-gmail", "gmail", "gmail"),
];

const fn recipe(name: &'static str, source: &'static str, destination: &'static str) -> Recipe {
    Recipe { name, source, destination }
}

fn title(part: &str) -> &'static str {
    match part {
        "gmail" => "Google Workspace",
        "microsoft365" => "Microsoft 365",
        "exchange" => "Exchange on premises",
        "yahoo" => "Yahoo Mail",
        _ => "any IMAP server",
    }
}

/// The address of the mailbox in all examples.
pub(super) fn user(part: &str, [_, domain, _]: [&str; 3]) -> String {
    match part {
        "yahoo" => "anna@yahoo.com".to_owned(),
        _ => format!("anna@{domain}"),
    }
}

/// A user's own secret, where everybody has one.
fn own_secret(part: &str, [side, _, end]: [&str; 3]) -> Option<String> {
    let has_own = ["yahoo", "imap"].contains(&part);
    has_own.then(|| format!("{side}_password = {{ file = \"secrets/anna-{end}\" }}\n"))
}

impl Recipe {
    /// The definition that the page shows.
    pub(super) fn definition(&self) -> String {
        let ends = [(self.source, SOURCE), (self.destination, DESTINATION)];
        let mut text = String::new();
        for (part, end) in ends {
            text += &filled(&read(&format!("parts/{part}.toml")), end);
        }
        text += "\n[[mailboxes]]\n";
        for (part, end) in ends {
            let _ = writeln!(text, "{} = \"{}\"", end[0], user(part, end));
        }
        text.extend(ends.into_iter().filter_map(|(part, end)| own_secret(part, end)));
        text
    }

    /// The page, as it is to be.
    pub(super) fn page(&self) -> String {
        let [from, to] = [self.source, self.destination].map(title);
        let mut page = format!("# {}: from {from} to {to}\n\n", self.name.to_uppercase());
        page += "Mailboxes of `old.example` move to `acme.example`, and people go on working until the cutover. \
                 Put your own\nnames in their place.\n\n";
        let ends = [(self.source, SOURCE, from), (self.destination, DESTINATION, to)];
        for (n, (part, end, title)) in ends.into_iter().enumerate() {
            let _ = writeln!(page, "## {}. Prepare the {}: {title}\n", n + 1, end[0]);
            for text in
                [read(&format!("parts/{part}.md")), read(&format!("parts/{part}.{}.md", end[0]))]
            {
                page += &filled(&text, end);
            }
            page += "\n";
        }
        page += "## 3. Write the definition\n\n`definitions/acme.toml`; the secrets lie beside it, in `definitions/secrets/`:\n\n";
        let _ = writeln!(page, "```toml\n{}```\n", self.definition());
        page + &read("parts/after.md")
    }

    /// Where the page is.
    pub(super) fn path(&self) -> PathBuf {
        directory().join(format!("{}.md", self.name))
    }
}

fn filled(text: &str, [side, domain, end]: [&str; 3]) -> String {
    text.replace("{side}", side).replace("{domain}", domain).replace("{end}", end)
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/recipes")
}

/// A part; empty where there is nothing more to say.
fn read(name: &str) -> String {
    std::fs::read_to_string(directory().join(name)).unwrap_or_default()
}
