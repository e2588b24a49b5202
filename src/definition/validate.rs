//! From the keys of a definition to its validated rules. The roster is `mailboxes`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeValue;

use super::document::{Wrong, wrong};
use super::schema::quoted;
use super::section::Section;
use super::{
    Carry, Cutover, DateRange, Endpoint, FolderPattern, FolderRules, FolderTarget, MaxDelete,
    Schedule, SecretRef, Selection, SyncRules, values,
};
use crate::model::{FolderPath, Role};
use crate::preset::{self, Tls};

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

/// An endpoint and how its accounts are entered.
pub(super) struct Side {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) auth: Auth,
}

/// How the accounts of a side are entered.
pub(super) enum Auth {
    /// Each with its own password, or with this one.
    Password(Option<SecretRef>),
    /// As a master user.
    MasterUser { user: String, password: SecretRef },
    /// Not as written; that is reported, and nothing more shall be said of passwords.
    Broken,
}

/// Reads everything but the roster. Relative paths are relative to `base`.
pub(super) fn rules(top: &mut Section<'_>, base: &Path) -> Rules {
    let description = top.text("description").map(|text| text.value);
    let suspend = top.bool("suspend").unwrap_or(false);
    let source = top.section("source").and_then(|section| side(section, base));
    let destination = top.section("destination").and_then(|section| side(section, base));
    let (sync, carry) = sync(top.section("sync"));
    let select = top.section("select").map(select).unwrap_or_default();
    let folders = top.section("folders").map(folders).unwrap_or_default();
    let cutover = top.section("cutover").and_then(cutover);
    Rules { description, suspend, source, destination, sync, carry, select, folders, cutover }
}

/// A file or secret that a definition names, relative to its own place.
pub(super) fn secret_from(secret: SecretRef, base: &Path) -> SecretRef {
    match secret {
        SecretRef::File(path) => SecretRef::File(base.join(path)),
        other => other,
    }
}

fn side(mut section: Section<'_>, base: &Path) -> Option<Side> {
    let platform_at = section.at_key("platform");
    let platform = section.parsed("platform", |name| {
        preset::find(name).ok_or_else(|| {
            let known = preset::names().collect::<Vec<_>>().join(", ");
            wrong(
                format!("`{name}` is not supported by this version"),
                format!("known are: {known}"),
            )
        })
    });
    // Which keys a platform needs is not known of an unknown one.
    let known = platform.is_some() || platform_at.is_none();
    let preset = platform.map(|p| p.value).or_else(|| preset::find("imap"))?;
    section.parsed("access", |access| match access {
        "imap" => Ok(()),
        _ => Err(wrong(
            format!("`{access}` access is not supported by this version"),
            "known are: imap",
        )),
    });
    let host_at = section.at_key("host");
    let host = section.text("host").and_then(|text| {
        if text.value.contains('@') {
            // An address with a password in it, perhaps.
            text.at.mask();
        }
        text.at.clone().checked(host(&text.value))
    });
    let host = host.map(|host| host.value).or_else(|| preset.host.clone());
    if host.is_none() && host_at.is_none() && known {
        let help = "write host = \"mail.example.org\"";
        section.at().error(format!("`host` is missing in {}", section.name()), help);
    }
    let tls_at = section.at_key("tls");
    let tls =
        section.choice("tls", &[Tls::Implicit, Tls::Starttls, Tls::None]).unwrap_or(preset.tls);
    if let (Tls::None, Some(at)) = (tls, tls_at) {
        let help = "whoever can read the network can read every message and password";
        at.warning("the connection is not protected", help);
    }
    let port = section.count("port").and_then(|port| u16::try_from(port).ok());
    let ca_file = section.text("ca_file").map(|file| {
        let path = base.join(&file.value);
        if let Err(error) = std::fs::metadata(&path) {
            file.at.warning(format!("`ca_file` cannot be read now: {error}"), "");
        }
        path
    });
    let connections = section.count("connections").and_then(|n| usize::try_from(n).ok());
    let auth = match (section.at_key("auth"), section.section("auth")) {
        (_, Some(section)) => auth(section, base),
        (None, None) => Auth::Password(None),
        (Some(_), None) => Auth::Broken,
    };
    let endpoint = Endpoint {
        platform: preset.name.clone(),
        host: host?,
        port: port.or(preset.port).unwrap_or(tls.imap_port()),
        tls,
        ca_file,
        connections: connections.unwrap_or(preset.connections),
    };
    Some(Side { endpoint: Arc::new(endpoint), auth })
}

fn host(text: &str) -> Result<String, Wrong> {
    let help = "write only the host's name or address: mail.example.org";
    let host = text.trim();
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Ok(host.to_owned());
    }
    if !host.contains(['/', '@'])
        && let Some((name, port)) = host.rsplit_once(':')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        let help = format!("write host = \"{name}\" and port = {port}");
        return Err(wrong(format!("`{text}` is no host"), help));
    }
    let legal = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.' | '_');
    if host.contains('@') {
        return Err(wrong("this is no host", help));
    }
    if host.is_empty() || !host.chars().all(legal) {
        return Err(wrong(format!("`{text}` is no host"), help));
    }
    Ok(host.to_owned())
}

fn auth(mut section: Section<'_>, base: &Path) -> Auth {
    const METHODS: [&str; 2] = ["password", "master-user"];
    let method_written = section.at_key("method").is_some();
    let method = section.parsed("method", |method| {
        METHODS.into_iter().find(|known| *known == method).ok_or_else(|| {
            let message = format!("`{method}` is not supported by this version");
            wrong(message, format!("known are: {}", METHODS.join(", ")))
        })
    });
    let user_at = section.at_key("user");
    let user = section.text("user");
    let password_written = section.at_key("password").is_some();
    let password = section.secret("password").map(|secret| secret_from(secret.value, base));
    match method.map(|method| method.value) {
        Some("master-user") => {
            if user_at.is_none() {
                section.at().error("`user` is missing", "write the master user's name");
            }
            if !password_written {
                let help = super::schema::SECRET_FORMS;
                section.at().error("the master user's `password` is missing", help);
            }
            match (user, password) {
                (Some(user), Some(_)) if user.value.trim().is_empty() => {
                    user.at.error("this is no user name", "write the master user's name");
                    Auth::Broken
                }
                (Some(user), Some(password)) => Auth::MasterUser { user: user.value, password },
                _ => Auth::Broken,
            }
        }
        // Absent: password.
        None if method_written => Auth::Broken,
        _ => {
            if let Some(at) = user_at {
                at.error("`user` has no meaning here", "it needs method = \"master-user\"");
            }
            match password {
                None if password_written => Auth::Broken,
                password => Auth::Password(password),
            }
        }
    }
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
    FolderRules { prefix, map }
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

/// The directory that a file's relative paths start from, absolute.
pub(super) fn base_of(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.parent().map(Path::to_owned).unwrap_or_default()
}
