//! From the keys of a definition to its validated rules. The roster is `mailboxes`.

use std::path::Path;
use std::time::Duration;

use toml::de::DeValue;

use super::document::{Wrong, wrong};
use super::endpoint::{End, Side, side};
use super::schema::quoted;
use super::section::Section;
use super::{
    Carry, Cutover, DateRange, FolderPattern, FolderRules, FolderTarget, MaxDelete, Schedule,
    Selection, SyncRules, values,
};
use crate::model::{FolderPath, Role};

/// How often passes run where the definition does not say.
pub const DEFAULT_EVERY: Duration = Duration::from_secs(15 * 60);

/// How long late mail is drained where the definition does not say.
pub const DEFAULT_TAIL: Duration = Duration::from_secs(72 * 3600);

/// The brake on deletes where the definition does not say.
pub const DEFAULT_MAX_DELETE: MaxDelete = MaxDelete::Percent(5.0);

/// Mailboxes of a migration at once where the definition does not say: more than any daemon's
/// own limit.
pub const UNLIMITED_CONCURRENCY: usize = 1 << 20;

/// A server that is asked more often than this is not served better.
const SHORTEST_EVERY: Duration = Duration::from_secs(1);

/// Everything but the roster.
pub(super) struct Rules {
    pub(super) description: Option<String>,
    pub(super) suspend: bool,
    /// None if it is missing or broken, which is reported.
    pub(super) source: Option<Side>,
    pub(super) destination: Option<Side>,
    pub(super) sync: SyncRules,
    pub(super) carry: Carry,
    pub(super) select: Selection,
    pub(super) folders: FolderRules,
    pub(super) cutover: Option<Cutover>,
}

/// Reads everything but the roster. Relative paths are relative to `base`.
pub(super) fn rules(top: &mut Section<'_>, base: &Path) -> Rules {
    let description = top.text("description").map(|text| text.value);
    let suspend = top.bool("suspend").unwrap_or(false);
    let source = top.section("source").and_then(|section| side(section, base, End::Source));
    let destination =
        top.section("destination").and_then(|section| side(section, base, End::Destination));
    let (sync, carry) = sync(top.section("sync"));
    let mut select = top.section("select").map(select).unwrap_or_default();
    let mut folders = top.section("folders").map(folders).unwrap_or_default();
    if let Some(side) = &source {
        select.left_out = side.left_out.clone();
    }
    if let Some(side) = &destination {
        folders.names = side.names.clone();
    }
    let cutover = top.section("cutover").and_then(cutover);
    Rules { description, suspend, source, destination, sync, carry, select, folders, cutover }
}

fn sync(section: Option<Section<'_>>) -> (SyncRules, Carry) {
    let mut rules = SyncRules {
        schedule: Schedule::Every(DEFAULT_EVERY),
        timezone: chrono_tz::UTC,
        windows: Vec::new(),
        concurrency: UNLIMITED_CONCURRENCY,
    };
    let mut carry = Carry {
        flags: true,
        moves: true,
        deletes: false,
        max_delete: DEFAULT_MAX_DELETE,
        rate: None,
    };
    let Some(mut section) = section else { return (rules, carry) };
    let at_every = section.at_key("every");
    if let (Some(_), Some(at)) = (section.at_key("schedule"), at_every) {
        at.error("`schedule` and `every` exclude each other", "remove one of them");
    }
    let cron = section.parsed("schedule", values::cron);
    let every = section.parsed("every", |text| {
        values::duration(text).and_then(|every| match every < SHORTEST_EVERY {
            true => Err(wrong(format!("`{text}` is too often"), "write \"1s\" at least")),
            false => Ok(every),
        })
    });
    if let Some(cron) = cron {
        rules.schedule = Schedule::Cron(cron.value);
    } else if let Some(every) = every {
        rules.schedule = Schedule::Every(every.value);
    }
    rules.timezone =
        section.parsed("timezone", values::timezone).map_or(rules.timezone, |t| t.value);
    rules.windows = section.parsed_list("windows", values::window);
    let concurrency = section.count("concurrency").and_then(|n| usize::try_from(n).ok());
    rules.concurrency = concurrency.unwrap_or(rules.concurrency);
    carry.flags = section.bool("flags").unwrap_or(carry.flags);
    carry.moves = section.bool("moves").unwrap_or(carry.moves);
    carry.deletes = section.choice("deletes", &[false, true]).unwrap_or(carry.deletes);
    let max_delete = section.value("max_delete", |value| match value {
        DeValue::String(text) => Some(values::percent(text)),
        DeValue::Integer(number) => {
            let count = u64::from_str_radix(number.as_str(), number.radix());
            let help = "write a number of messages, or \"5%\"";
            let refuse = |_| wrong(format!("`max_delete` cannot be {number}"), help);
            Some(count.map(MaxDelete::Messages).map_err(refuse))
        }
        _ => None,
    });
    carry.max_delete = max_delete.map_or(carry.max_delete, |max| max.value);
    carry.rate = section.parsed("rate", values::rate).map(|rate| rate.value);
    (rules, carry)
}

fn select(mut section: Section<'_>) -> Selection {
    let date = |value: &DeValue<'_>| match value {
        DeValue::Datetime(date) => Some(values::date(date)),
        _ => None,
    };
    let since = section.value("since", date);
    let before = section.value("before", date);
    if let (Some(since), Some(before)) = (&since, &before)
        && since.value >= before.value
    {
        let help = "`before` is exclusive and must be later than `since`";
        before.at.error("no message can be in this range", help);
    }
    let max_size = section.parsed("max_size", |text| {
        values::size(text).and_then(|size| match size {
            0 => Err(wrong("no message is as small as this", "write a size such as \"50MiB\"")),
            size => Ok(size),
        })
    });
    let pattern = |text: &str| {
        if text.is_empty() {
            return Err(wrong("this names no folder", "write a glob such as \"Projects/**\""));
        }
        FolderPattern::parse(text).map_err(|why| {
            wrong(why, "write a glob such as \"Projects/**\", or a role: \"\\\\Sent\"")
        })
    };
    Selection {
        dates: DateRange { since: since.map(|d| d.value), before: before.map(|d| d.value) },
        max_size: max_size.map(|size| size.value),
        include: section.parsed_list("include", pattern),
        exclude: section.parsed_list("exclude", pattern),
        left_out: Vec::new(),
    }
}

fn folders(mut section: Section<'_>) -> FolderRules {
    let prefix = section.parsed("prefix", path).map(|prefix| prefix.value);
    let mut map: Vec<(FolderPath, FolderTarget)> = Vec::new();
    for (from, to) in section.text_map("map") {
        let (source, target) = (path(&from.value), target(&to.value));
        match source {
            Ok(source) if map.iter().any(|(other, _)| *other == source) => {
                from.at.error(format!("the folder `{source}` is mapped twice"), "remove one");
            }
            Ok(source) => match target {
                Ok(target) => map.push((source, target)),
                Err(wrong) => to.at.refuse(wrong),
            },
            Err(wrong) => {
                from.at.refuse(wrong);
                target.err().into_iter().for_each(|wrong| to.at.refuse(wrong));
            }
        }
    }
    map.sort_by(|a, b| a.0.cmp(&b.0));
    FolderRules { prefix, map, ..FolderRules::default() }
}

/// A folder by its path.
fn path(text: &str) -> Result<FolderPath, Wrong> {
    let path = FolderPath::parse(text);
    if text.starts_with('\\') || path.segments().is_empty() {
        let help = "write the folder's path, with `/` between its parts: \"Projects/2024\"";
        return Err(wrong(format!("`{text}` is no folder's path"), help));
    }
    Ok(path)
}

fn target(text: &str) -> Result<FolderTarget, Wrong> {
    if !text.starts_with('\\') {
        return path(text).map(FolderTarget::Path);
    }
    let targets = || Role::ALL.into_iter().filter(|role| !role.is_view());
    let names: Vec<_> = targets().map(Role::attribute).collect();
    let help = || format!("known are {}", quoted(&names));
    match Role::from_attribute(text) {
        Some(role) if role.is_view() => {
            Err(wrong(format!("`{text}` is a view and holds no messages of its own"), help()))
        }
        Some(role) => Ok(FolderTarget::Role(role)),
        None => Err(wrong(format!("`{text}` is no special-use name"), help())),
    }
}

fn cutover(mut section: Section<'_>) -> Option<Cutover> {
    let at = section.value("at", |value| match value {
        DeValue::Datetime(at) => Some(values::moment(at)),
        _ => None,
    });
    let tail = section.parsed("tail", values::duration).map_or(DEFAULT_TAIL, |tail| tail.value);
    Some(Cutover { at: at?.value, tail })
}
