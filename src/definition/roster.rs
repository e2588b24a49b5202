//! The roster: which account goes where. Inline tables and CSV rows become the same entries.

use std::ops::Range;

use super::SecretRef;
use super::auth::Own;
use super::document::{At, Document, Placed};
use super::schema::{SECRET_FORMS, quoted};
use super::section::Section;

/// One row of the roster, as written.
pub(super) struct Entry<'d> {
    pub(super) source: Placed<'d, String>,
    pub(super) destination: Placed<'d, String>,
    pub(super) source_own: Own<'d>,
    pub(super) destination_own: Own<'d>,
}

/// A CSV column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Source,
    Destination,
    /// Its side's password.
    Password(Side, Origin),
    /// Its side's refresh token.
    RefreshToken(Side, Origin),
    /// What its side's server calls it.
    Alias(Side),
    /// Reported; its cells are neither read nor shown.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

/// Where a CSV cell says that a secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Env,
    File,
    Credential,
}

const COLUMNS: [(&str, Column); 16] = [
    ("source", Column::Source),
    ("destination", Column::Destination),
    ("source_alias", Column::Alias(Side::Source)),
    ("destination_alias", Column::Alias(Side::Destination)),
    ("source_password_env", Column::Password(Side::Source, Origin::Env)),
    ("source_password_file", Column::Password(Side::Source, Origin::File)),
    ("source_password_credential", Column::Password(Side::Source, Origin::Credential)),
    ("destination_password_env", Column::Password(Side::Destination, Origin::Env)),
    ("destination_password_file", Column::Password(Side::Destination, Origin::File)),
    ("destination_password_credential", Column::Password(Side::Destination, Origin::Credential)),
    ("source_refresh_token_env", Column::RefreshToken(Side::Source, Origin::Env)),
    ("source_refresh_token_file", Column::RefreshToken(Side::Source, Origin::File)),
    ("source_refresh_token_credential", Column::RefreshToken(Side::Source, Origin::Credential)),
    ("destination_refresh_token_env", Column::RefreshToken(Side::Destination, Origin::Env)),
    ("destination_refresh_token_file", Column::RefreshToken(Side::Destination, Origin::File)),
    (
        "destination_refresh_token_credential",
        Column::RefreshToken(Side::Destination, Origin::Credential),
    ),
];

/// One `[[mailboxes]]` table; `None` if it is incomplete, which is reported.
pub(super) fn inline<'d>(mut section: Section<'d>) -> Option<Entry<'d>> {
    let source = section.text("source").and_then(user);
    let destination = section.text("destination").and_then(user);
    let source_own = Own {
        password: section.secret("source_password"),
        refresh_token: section.secret("source_refresh_token"),
        alias: section.text("source_alias").and_then(user),
    };
    let destination_own = Own {
        password: section.secret("destination_password"),
        refresh_token: section.secret("destination_refresh_token"),
        alias: section.text("destination_alias").and_then(user),
    };
    Some(Entry { source: source?, destination: destination?, source_own, destination_own })
}

/// The cells of a CSV file, for the generation: headers and comments count as little as there.
pub(super) type Cells = Vec<Vec<String>>;

/// All rows of a CSV file that can be read; the others are reported in it.
pub(super) fn csv(document: &Document) -> (Vec<Entry<'_>>, Cells) {
    let text = document.text();
    let mut rows = rows(text).into_iter();
    let Some(header) = rows.next() else {
        document.whole().error("the file is empty", "begin it with: source,destination");
        return (Vec::new(), Vec::new());
    };
    let mut columns: Vec<Column> = Vec::new();
    for cell in &header {
        let column = column(&cell.text, &document.at(cell.span.clone()));
        if column != Column::Unknown && columns.contains(&column) {
            let message = format!("the column `{}` stands twice", cell.text);
            document.at(cell.span.clone()).error(message, "remove one");
        }
        columns.push(column);
    }
    let line = header.first().map_or(0, |c| c.span.start)..header.last().map_or(0, |c| c.span.end);
    for (name, column) in &COLUMNS[..2] {
        if !columns.contains(column) {
            let help = "the first line names the columns: source,destination";
            document.at(line.clone()).error(format!("there is no column `{name}`"), help);
        }
    }
    let mut entries = Vec::new();
    let mut n_rows = 0;
    let mut cells: Cells = vec![header.into_iter().map(|cell| cell.text).collect()];
    let complete = columns.contains(&Column::Source) && columns.contains(&Column::Destination);
    for row in rows {
        for (cell, _) in row.iter().zip(&columns).filter(|(_, c)| **c == Column::Unknown) {
            document.mask(cell.span.clone());
        }
        if complete {
            entries.extend(entry(document, &columns, &row));
        }
        n_rows += 1;
        cells.push(row.into_iter().map(|cell| cell.text).collect());
    }
    if n_rows == 0 {
        document.whole().error("the roster is empty", "add a row for each mailbox");
    }
    (entries, cells)
}

fn column(name: &str, at: &At<'_>) -> Column {
    let lower = name.to_lowercase();
    if let Some((_, column)) = COLUMNS.iter().find(|(known, _)| *known == lower) {
        return *column;
    }
    let help = match lower.as_str() {
        "source_password" | "destination_password" => {
            format!("a password must not stand here: use {lower}_env, _file or _credential")
        }
        "source_refresh_token" | "destination_refresh_token" => {
            format!("a token must not stand here: use {lower}_env, _file or _credential")
        }
        _ => {
            let names = COLUMNS.map(|(name, _)| name);
            let best = names.iter().max_by(|a, b| {
                strsim::jaro_winkler(a, &lower).total_cmp(&strsim::jaro_winkler(b, &lower))
            });
            match best.filter(|best| strsim::jaro_winkler(best, &lower) > 0.85) {
                Some(best) => format!("did you mean `{best}`?"),
                None => format!("known are {}", quoted(&names)),
            }
        }
    };
    at.error(format!("unknown column `{name}`"), help);
    Column::Unknown
}

fn entry<'d>(document: &'d Document, columns: &[Column], row: &[Cell]) -> Option<Entry<'d>> {
    let whole = row.first()?.span.start..row.last()?.span.end;
    if row.len() != columns.len() {
        // More cells than columns: nobody knows what is in them.
        row.iter().skip(columns.len()).for_each(|cell| document.mask(cell.span.clone()));
        let message =
            format!("this row has {} cells, the first line has {}", row.len(), columns.len());
        document.at(whole).error(message, "a cell with a comma in it needs quotes around it");
        return None;
    }
    let (mut source, mut destination) = (None, None);
    let (mut source_own, mut destination_own) = (Own::default(), Own::default());
    for (column, cell) in columns.iter().zip(row) {
        let at = document.at(cell.span.clone());
        let (slot, origin) = match column {
            Column::Source => {
                source = user(at.place(cell.text.clone()));
                continue;
            }
            Column::Destination => {
                destination = user(at.place(cell.text.clone()));
                continue;
            }
            Column::Alias(side) => {
                let own = match side {
                    Side::Source => &mut source_own,
                    Side::Destination => &mut destination_own,
                };
                if !cell.text.is_empty() {
                    own.alias = user(at.place(cell.text.clone()));
                }
                continue;
            }
            Column::Password(Side::Source, origin) => (&mut source_own.password, origin),
            Column::Password(Side::Destination, origin) => (&mut destination_own.password, origin),
            Column::RefreshToken(Side::Source, origin) => (&mut source_own.refresh_token, origin),
            Column::RefreshToken(Side::Destination, origin) => {
                (&mut destination_own.refresh_token, origin)
            }
            Column::Unknown => continue,
        };
        if cell.text.is_empty() {
            continue;
        }
        let secret = match origin {
            Origin::Env => SecretRef::Env(cell.text.clone()),
            Origin::File => SecretRef::File(cell.text.clone().into()),
            Origin::Credential => SecretRef::Credential(cell.text.clone()),
        };
        if !secret.is_plausible() {
            at.error("this does not name a secret", SECRET_FORMS);
        } else if slot.is_some() {
            let what = match column {
                Column::RefreshToken(..) => "refresh tokens",
                _ => "passwords",
            };
            let message = format!("this mailbox has two {what} for one side");
            at.error(message, "leave one of the cells empty");
        } else {
            *slot = Some(at.place(secret));
        }
    }
    Some(Entry { source: source?, destination: destination?, source_own, destination_own })
}

/// An account's name: one line without anything that could break out of a command or a table.
fn user(mut name: Placed<'_, String>) -> Option<Placed<'_, String>> {
    name.value = name.value.trim().to_owned();
    if name.value.is_empty() || name.value.chars().any(char::is_control) {
        name.at.error("this is no account name", "write the account's address or user name");
        return None;
    }
    Some(name)
}

/// A cell and where it stands, quotes included.
#[derive(Debug, PartialEq)]
struct Cell {
    text: String,
    span: Range<usize>,
}

/// Splits a CSV file (RFC 4180) into trimmed cells. Empty lines and lines that begin with `#`
/// are left out. Semicolons separate if the first line has them and no comma: that is what
/// spreadsheets write where the comma is the decimal sign.
fn rows(text: &str) -> Vec<Vec<Cell>> {
    let begins = |line: &&str| !line.trim().is_empty() && !line.starts_with('#');
    let first = text.lines().find(begins).unwrap_or_default();
    let delimiter = if first.contains(';') && !first.contains(',') { b';' } else { b',' };
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(delimiter)
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut rows = Vec::new();
    // The text is UTF-8 and rows may be of any length, so no record can fail.
    for record in reader.records().flatten() {
        if record.iter().all(str::is_empty) {
            continue;
        }
        let start = record.position().map_or(0, |p| usize::try_from(p.byte()).unwrap_or(0));
        let mut at = record_start(text, start);
        let mut cells = Vec::new();
        for cell in &record {
            let span = cell_span(text, at, delimiter);
            at = span.end + 1;
            let raw = text.get(span.clone()).unwrap_or_default();
            let left = span.start + (raw.len() - raw.trim_start().len());
            cells.push(Cell { text: cell.to_owned(), span: left..left + raw.trim().len() });
        }
        rows.push(cells);
    }
    rows
}

/// The reader counts the lines it skips to the record behind them; this steps over them.
fn record_start(text: &str, mut at: usize) -> usize {
    while let Some(rest) = text.get(at..) {
        let line = rest.split_inclusive('\n').next().unwrap_or_default();
        let skipped = line.trim_end_matches(['\r', '\n']).is_empty() || line.starts_with('#');
        if line.is_empty() || !skipped {
            break;
        }
        at += line.len();
    }
    at
}

/// From `start` to the delimiter or line end that closes the cell.
fn cell_span(text: &str, start: usize, delimiter: u8) -> Range<usize> {
    let mut quoted = false;
    let bytes = text.as_bytes().get(start..).unwrap_or_default();
    let length = bytes.iter().position(|&b| {
        quoted ^= b == b'"';
        !quoted && (b == delimiter || b == b'\n' || b == b'\r')
    });
    start.min(text.len())..start.min(text.len()) + length.unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(text: &str) -> Vec<Vec<(String, &str)>> {
        let of = |cell: Cell| (cell.text, &text[cell.span]);
        rows(text).into_iter().map(|row| row.into_iter().map(of).collect()).collect()
    }

    #[test]
    fn every_cell_is_found_where_it_stands() {
        let text =
            "# who\r\n\r\nsource,destination\r\n a@x , \"b, \"\"c\"\"@y\"\r\n\n# end\nd@x,e@y";
        let rows = spans(text);
        assert_eq!(rows[0], [("source".into(), "source"), ("destination".into(), "destination")]);
        assert_eq!(rows[1][0], ("a@x".into(), "a@x"));
        assert_eq!(rows[1][1].1, "\"b, \"\"c\"\"@y\"");
        assert_eq!(rows[2], [("d@x".into(), "d@x"), ("e@y".into(), "e@y")]);
    }

    #[test]
    fn a_spreadsheet_may_separate_by_semicolons() {
        assert_eq!(spans("source;destination\na;b\n")[1][1].0, "b");
    }

    #[test]
    fn lines_of_empty_cells_are_no_rows() {
        assert_eq!(spans("source,destination\n,,,\n\na,b\n").len(), 2);
    }
}
