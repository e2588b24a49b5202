//! Where results go: standard output, as tables or JSON.

use std::io::{IsTerminal, Write};

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use serde::Serialize;

use crate::model::text::{tame_json, tame_lines};

/// What people are shown where the terminal does not tell its width.
const WIDTH: u16 = 100;

/// The form of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: stable and additive; `drover schema` describes it.
    Json,
}

/// Writes text to standard output, with a line end; harmless to look at, whatever it quotes.
///
/// # Errors
/// It cannot be written; `BrokenPipe` if the reader has gone.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    write(&tame_lines(text))
}

fn write(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.trim_end_matches('\n').as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Writes a value as JSON to standard output.
///
/// # Errors
/// As [`print`].
pub(super) fn print_json(value: &impl Serialize) -> std::io::Result<()> {
    write(&tame_json(&serde_json::to_string_pretty(value)?))
}

/// The same on one line.
///
/// # Errors
/// As [`print`].
pub(super) fn print_json_line(value: &impl Serialize) -> std::io::Result<()> {
    write(&tame_json(&serde_json::to_string(value)?))
}

/// True if results are shown to a person.
pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// An empty table without lines. On a terminal it wraps to its width; elsewhere each row is one
/// line.
pub(super) fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING).set_header(heads);
    if is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        if table.width().is_none() {
            table.set_width(WIDTH);
        }
    }
    table
}

/// A number's cell.
pub(super) fn right(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

/// A table's text, without the blanks at the ends of lines.
pub(super) fn text(table: &mut Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}
