//! What was found, and what it means. Pure.

use schemars::JsonSchema;
use serde::Serialize;

use crate::definition::{Labels, Mailbox};
use crate::platform::{Inspection, Oversized, Quota, Size, Unseen};
use crate::preset;

/// Days that a seed takes anyway; more than this is worth a word.
const SOON: u64 = 1;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Mail would be left behind, or the seed cannot end.
    Error,
    /// Something will not be as expected.
    Warning,
    /// Good to know.
    Notice,
}

/// What a finding is about; CamelCase in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Kind {
    /// The source shows a part of its mail only.
    MailHidden,
    /// Labels of the source are not shown.
    LabelsHidden,
    /// The destination has no room.
    QuotaTooSmall,
    /// Messages are larger than the destination takes.
    MessagesTooLarge,
    /// The daily budgets of the accounts stretch the seed.
    SeedTakesDays,
    /// Something could not be found out cheaply.
    NotLookedAt,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is about.
    pub kind: Kind,
    /// One sentence.
    pub message: String,
    /// What to do; may be empty.
    pub remedy: String,
}

/// Does the mailbox take messages above this size, so that they would be refused?
pub(super) fn is_above(mailbox: &Mailbox, limit: u64) -> bool {
    mailbox.select.max_size.is_none_or(|most| most > limit)
}

/// What two inspections mean for the seed of a mailbox, the worst first.
pub fn judge(
    mailbox: &Mailbox,
    source: &Inspection,
    destination: &Inspection,
    oversized: Option<Oversized>,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = source.unseen.iter().map(unseen).collect();
    // Dates and sizes that are selected make less of it.
    let is_all = mailbox.select.dates == Default::default() && mailbox.select.max_size.is_none();
    let size = source.size.map(|size| Size { exact: size.exact && is_all, ..size });
    if let (Some(size), Some(quota)) = (size, destination.quota) {
        findings.extend(room(size, quota));
    }
    if let (Some(oversized), Some(limit)) = (oversized, destination.max_message) {
        findings.extend(too_large(oversized, limit));
    }
    findings.extend(days(mailbox, source.messages, size));
    findings.sort_by_key(|finding| finding.level);
    findings
}

fn finding(level: Level, kind: Kind, message: String, remedy: impl Into<String>) -> Finding {
    Finding { level, kind, message, remedy: remedy.into() }
}

/// What to do about a Gmail account's folders that are cut.
fn show_all() -> &'static str {
    preset::find("gmail").and_then(|gmail| gmail.show_all.as_deref()).unwrap_or_default()
}

const SHOW_LABELS: &str = "in the account's Gmail settings, under Labels, tick \"Show in IMAP\"; or sign in \
     with a service account and the scope https://www.googleapis.com/auth/gmail.imap_admin, which sees \
     everything";

fn unseen(unseen: &Unseen) -> Finding {
    match unseen {
        Unseen::Labels(names) => finding(
            Level::Warning,
            Kind::LabelsHidden,
            format!(
                "messages of the source bear labels that it does not show, which get lost: {}",
                names.join(", ")
            ),
            SHOW_LABELS,
        ),
        Unseen::Folder(name) => finding(
            Level::Warning,
            Kind::MailHidden,
            format!("the source does not show {name}: what is in it is not copied"),
            SHOW_LABELS,
        ),
        Unseen::Cut { folder, shown, whole: true } => finding(
            Level::Error,
            Kind::MailHidden,
            format!(
                "the source's {folder} shows exactly {shown} messages, as if its owner had limited it: \
                 older ones would not be copied"
            ),
            show_all(),
        ),
        Unseen::Cut { folder, shown, whole: false } => finding(
            Level::Warning,
            Kind::MailHidden,
            format!(
                "the source's {folder} shows exactly {shown} messages, as if its owner had limited \
                 folders"
            ),
            show_all(),
        ),
        Unseen::Window { folder, shown } => finding(
            Level::Error,
            Kind::MailHidden,
            format!(
                "the source's {folder} shows exactly {shown} messages, which is all that the server \
                 shows of a folder: older ones would not be copied"
            ),
            "use the platform's host for exports (host = \"export.imap.mail.yahoo.com\", or \
             \"export.imap.aol.com\"), and leave UIDONLY and PARTIAL out of `veto`",
        ),
    }
}

fn room(size: Size, quota: Quota) -> Option<Finding> {
    let free = quota.limit.saturating_sub(quota.used);
    let about = about(size);
    let level = match () {
        () if size.exact && size.bytes > quota.limit => Level::Error,
        () if size.bytes > free => Level::Warning,
        () => return None,
    };
    let (free, all) = (amount(free), amount(quota.limit));
    Some(finding(
        level,
        Kind::QuotaTooSmall,
        format!(
            "the source holds {about}{}, and the destination has room for {free} of its {all}",
            amount(size.bytes)
        ),
        "raise the destination account's quota, or copy less (`since`, `exclude`, `max_size` in [select])",
    ))
}

fn too_large(found: Oversized, limit: u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    let limit = amount(limit);
    if found.messages > 0 {
        let (n, are) = match found.messages {
            1 => ("1 message".to_owned(), "is"),
            n => (format!("{n} messages"), "are"),
        };
        findings.push(finding(
            Level::Warning,
            Kind::MessagesTooLarge,
            format!(
                "{n} of the source {are} above {limit}, the most that the destination takes: skipped, \
                 and listed by `drover failed`"
            ),
            "raise the destination's limit if that is possible, or say with `max_size` in [select] \
             that larger ones stay",
        ));
    }
    if found.unseen_folders > 0 {
        findings.push(finding(
            Level::Notice,
            Kind::NotLookedAt,
            format!(
                "{} smaller folders were not looked into for messages above {limit}",
                found.unseen_folders
            ),
            "",
        ));
    }
    findings
}

/// How long a seed takes if both ends keep to their daily budgets.
fn days(mailbox: &Mailbox, messages: u64, size: Option<Size>) -> Option<Finding> {
    let ends = [("source", &mailbox.source), ("destination", &mailbox.destination)];
    let budgets =
        ends.iter().filter_map(|(end, account)| Some((account.endpoint.daily_bytes?, end)));
    let (budget, end) = budgets.min().filter(|(budget, _)| *budget > 0)?;
    let a_day = amount(budget);
    let Some(size) = size else {
        let message = format!(
            "how large the {messages} messages of the source are could not be found out cheaply; the \
             {end} allows {a_day} a day"
        );
        return Some(finding(Level::Notice, Kind::NotLookedAt, message, ""));
    };
    let days = size.bytes.div_ceil(budget);
    let copies = match mailbox.source.endpoint.labels {
        Labels::Folders => ", and more where messages bear several labels",
        _ => "",
    };
    let copies = if mailbox.source.endpoint.platform == "gmail" { copies } else { "" };
    (days > SOON).then(|| {
        let message = format!(
            "at {a_day} a day, which is what the {end} allows, this seed takes {days} days for {}{}{copies}",
            about(size),
            amount(size.bytes)
        );
        let remedy = "begin that long before the cutover, or write `daily_bytes` if the account allows more";
        finding(Level::Notice, Kind::SeedTakesDays, message, remedy)
    })
}

const fn about(size: Size) -> &'static str {
    if size.exact { "" } else { "about " }
}

/// As providers state limits: powers of ten.
fn amount(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] =
        [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];
    let Some((unit, name)) = UNITS.iter().find(|(unit, _)| bytes >= *unit) else {
        return format!("{bytes} bytes");
    };
    let tenths = (u128::from(bytes) * 10 + u128::from(unit / 2)) / u128::from(*unit);
    match tenths % 10 {
        0 => format!("{} {name}", tenths / 10),
        rest => format!("{}.{rest} {name}", tenths / 10),
    }
}
