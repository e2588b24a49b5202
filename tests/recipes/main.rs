//! docs/recipes: the definition on each page is valid, and each request type moves a mailbox from
//! the seed over deltas to the cutover, between servers that behave as its two platforms do, with
//! the page's own definition. Only addresses, and where tokens are asked for, are the test's.

mod pages;
mod stage;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use assert_cmd::Command;
use pages::{ALL, Recipe};
use stage::Stage;

#[test]
fn the_pages_are_what_their_parts_say() {
    for recipe in ALL {
        let (page, path) = (recipe.page(), recipe.path());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &page).expect("write the page");
        }
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(written, page, "{}: UPDATE_DOCS=1 cargo test --test recipes", path.display());
    }
}

#[test]
fn the_definition_on_every_page_is_valid() {
    for recipe in ALL {
        let directory = tempfile::tempdir().expect("make a directory");
        std::fs::create_dir(directory.path().join("secrets")).expect("make a directory");
        let text = recipe.definition();
        for secret in text.split('"').filter(|part| part.starts_with("secrets/")) {
            write(directory.path(), secret, "pw");
        }
        write(directory.path(), "acme.toml", &text);
        let mut command = Command::new(env!("CARGO_BIN_EXE_drover"));
        command.current_dir(directory.path()).args(["check", "acme.toml"]).assert().success();
    }
}

fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).expect("write a file");
}

/// Seed, delta, cutover.
fn carries_a_mailbox(name: &str) {
    let recipe = ALL.into_iter().find(|recipe: &Recipe| recipe.name == name).expect("a recipe");
    let mut stage = Stage::new(&recipe);
    stage.seed();
    stage.delta();
    stage.cut_over();
}

#[test]
fn o365_gmail() {
    carries_a_mailbox("o365-gmail");
}

#[test]
fn gmail_o365() {
    carries_a_mailbox("gmail-o365");
}

#[test]
fn yahoo_o365() {
    carries_a_mailbox("yahoo-o365");
}

#[test]
fn yahoo_gmail() {
    carries_a_mailbox("yahoo-gmail");
}

#[test]
fn yahoo_other() {
    carries_a_mailbox("yahoo-other");
}

#[test]
fn o365_o365() {
    carries_a_mailbox("o365-o365");
}

#[test]
fn gmail_other() {
    carries_a_mailbox("gmail-other");
}

#[test]
fn exchange_o365() {
    carries_a_mailbox("exchange-o365");
}

#[test]
fn other_gmail() {
    carries_a_mailbox("other-gmail");
}

#[test]
fn other_o365() {
    carries_a_mailbox("other-o365");
}

#[test]
fn gmail_gmail() {
    carries_a_mailbox("gmail-gmail");
}
