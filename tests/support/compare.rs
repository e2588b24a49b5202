//! Exact comparison of two mailboxes: folders, order, bytes, flags, keywords, dates.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::imap::{Imap, Msg};

/// Folder path → its messages in order. Paths are those of [`Imap`]: the same on every server.
pub type Snapshot = BTreeMap<String, Vec<Msg>>;

/// What two mailboxes may differ in. The default is: in nothing.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Folders without messages count as absent, on both sides.
    pub ignore_empty: bool,
    /// Folders that only the destination has are fine.
    pub ignore_extra_folders: bool,
    /// The source's folder → where it must be at the destination.
    pub map: Vec<(String, String)>,
    /// Leave these folders (as named at the destination) out on both sides.
    pub skip: Vec<String>,
    /// Do not compare flags and keywords.
    pub ignore_flags: bool,
    /// Compare the five system flags, not keywords.
    pub ignore_keywords: bool,
    /// Do not compare INTERNALDATE.
    pub ignore_dates: bool,
    /// Do not compare the order of messages in a folder.
    pub ignore_order: bool,
}

impl Options {
    /// Empty folders do not count.
    pub fn ignoring_empty() -> Self {
        Self { ignore_empty: true, ..Self::default() }
    }

    /// The order of messages does not count.
    pub fn any_order() -> Self {
        Self { ignore_order: true, ..Self::default() }
    }

    /// With `from` of the source expected at `to`.
    pub fn map(mut self, from: &str, to: &str) -> Self {
        self.map.push((from.into(), to.into()));
        self
    }
}

/// Everything in a mailbox.
pub fn snapshot(imap: &mut Imap) -> Snapshot {
    let mut snapshot = Snapshot::new();
    for folder in imap.list() {
        let is = |name: &str| folder.attributes.iter().any(|a| a.eq_ignore_ascii_case(name));
        if !is("\\Noselect") && !is("\\NonExistent") {
            let messages = imap.messages(&folder.path);
            snapshot.insert(folder.path, messages);
        }
    }
    snapshot
}

/// Panics with every difference, a readable line each.
#[track_caller]
pub fn assert_same(source: &Snapshot, destination: &Snapshot, options: &Options) {
    let differences = differences(source, destination, options);
    assert!(
        differences.is_empty(),
        "the mailboxes differ:\n{}",
        shorten(&differences, 60).join("\n")
    );
}

/// What differs, a line each; empty if nothing does.
pub fn differences(source: &Snapshot, destination: &Snapshot, options: &Options) -> Vec<String> {
    let mut expected: BTreeMap<&str, Vec<&Msg>> = BTreeMap::new();
    for (path, messages) in source {
        let mapped = options.map.iter().find(|(from, _)| from == path);
        expected.entry(mapped.map_or(path, |(_, to)| to)).or_default().extend(messages);
    }
    let mut found: BTreeMap<&str, Vec<&Msg>> = destination
        .iter()
        .map(|(path, messages)| (path.as_str(), messages.iter().collect()))
        .collect();
    for side in [&mut expected, &mut found] {
        side.retain(|path, messages| {
            let counts = !options.ignore_empty || !messages.is_empty();
            counts && !options.skip.iter().any(|s| s == path)
        });
    }
    let mut out = Vec::new();
    for (path, messages) in &expected {
        match found.get(path) {
            Some(others) => folder(path, messages, others, options, &mut out),
            None => out.push(format!("{path}: folder missing, with {} messages", messages.len())),
        }
    }
    for (path, messages) in &found {
        if !expected.contains_key(path) && !options.ignore_extra_folders {
            out.push(format!("{path}: extra folder, with {} messages", messages.len()));
        }
    }
    out
}

fn folder(
    path: &str,
    source: &[&Msg],
    destination: &[&Msg],
    options: &Options,
    out: &mut Vec<String>,
) {
    // Twins have equal bodies, so the k-th of the one side belongs to the k-th of the other.
    let mut missing: Vec<&&Msg> = Vec::new();
    let mut by_body: BTreeMap<&[u8], Vec<(usize, &Msg)>> = BTreeMap::new();
    for (place, message) in destination.iter().enumerate().rev() {
        by_body.entry(&message.body).or_default().push((place, message));
    }
    let mut last_place = None;
    let mut is_ordered = true;
    for message in source {
        let Some((place, copy)) = by_body.get_mut(message.body.as_slice()).and_then(Vec::pop)
        else {
            missing.push(message);
            continue;
        };
        is_ordered &= last_place < Some(place);
        last_place = Some(place);
        compare(path, message, copy, options, out);
    }
    out.extend(missing.iter().map(|m| format!("{path}: missing {}", describe(m))));
    for (_, message) in by_body.into_values().flatten() {
        out.push(format!("{path}: extra {}", describe(message)));
    }
    if !is_ordered && !options.ignore_order {
        out.push(format!("{path}: messages are in another order"));
    }
}

fn compare(path: &str, source: &Msg, copy: &Msg, options: &Options, out: &mut Vec<String>) {
    let flags = |message: &Msg| -> Vec<String> {
        let wanted = |f: &&String| !options.ignore_keywords || f.starts_with('\\');
        message.flags.iter().filter(wanted).cloned().collect()
    };
    let mut line = format!("{path}: {} → uid {}", describe(source), copy.uid);
    let unchanged = line.len();
    if !options.ignore_flags && flags(source) != flags(copy) {
        let (was, is) = (flags(source).join(" "), flags(copy).join(" "));
        let _ = write!(line, ", flags ({was}) became ({is})");
    }
    if !options.ignore_dates && source.date != copy.date {
        let _ = write!(line, ", date {} became {}", source.date, copy.date);
    }
    if line.len() > unchanged {
        out.push(line);
    }
}

fn describe(message: &Msg) -> String {
    let head = &message.body[..message.body.len().min(2000)];
    let head = String::from_utf8_lossy(head);
    let header = |name: &str| {
        let line = head
            .lines()
            .take_while(|l| !l.is_empty())
            .find(|l| l.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
        line.map_or("none", |l| l[name.len()..].trim()).to_owned()
    };
    format!(
        "uid {} ({} bytes, {}, subject: {})",
        message.uid,
        message.body.len(),
        header("Message-ID:"),
        header("Subject:")
    )
}

fn shorten(lines: &[String], most: usize) -> Vec<String> {
    let mut out: Vec<String> = lines.iter().take(most).map(|l| format!("  {l}")).collect();
    if lines.len() > most {
        out.push(format!("  … and {} more", lines.len() - most));
    }
    out
}

impl std::fmt::Debug for Msg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Bodies would drown a failed assertion.
        write!(f, "{} {:?} {}", describe(self), self.flags, self.date)
    }
}
