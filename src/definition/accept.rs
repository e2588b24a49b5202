//! Losses that the operator accepts: messages that will not be at the destination, and why that
//! is fine.

use super::document::{At, Placed, wrong};
use super::section::Section;
use crate::model::{FolderPath, ItemId};

/// How alike a source account must be to one of the roster to be suggested: 0 to 1.
const ALIKE: f64 = 0.8;

/// One accepted loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// Which message.
    pub loss: Loss,
    /// Why, in the operator's words.
    pub reason: String,
}

/// How an accepted loss is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// By its Message-ID, without the angle brackets; wherever it lies.
    MessageId(String),
    /// By its place at the source.
    Place {
        /// The folder.
        folder: FolderPath,
        /// Its id there.
        id: ItemId,
    },
}

impl Loss {
    /// Is it this message?
    pub fn covers(&self, folder: &FolderPath, id: ItemId, message_id: Option<&str>) -> bool {
        match self {
            Self::MessageId(wanted) => message_id == Some(wanted.as_str()),
            Self::Place { folder: there, id: wanted } => (there, *wanted) == (folder, id),
        }
    }
}

/// `<a@b>`, or `INBOX, UID 17`.
impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::MessageId(id) => write!(f, "<{id}>"),
            Self::Place { folder, id } => write!(f, "{folder}, UID {}", id.0),
        }
    }
}

/// An entry as written.
pub(super) struct Accepted<'d> {
    at: At<'d>,
    mailbox: Option<Placed<'d, String>>,
    acceptance: Acceptance,
}

/// Reads one entry; `None` if it is incomplete, which is reported.
pub(super) fn read(mut section: Section<'_>) -> Option<Accepted<'_>> {
    let at = section.at().clone();
    let has = |section: &Section<'_>, name: &str| section.at_key(name).is_some();
    let by_id = has(&section, "message_id");
    let (by_folder, by_uid) = (has(&section, "folder"), has(&section, "uid"));
    let message_id = section.parsed("message_id", |text| {
        let id = text.trim();
        let id = id.strip_prefix('<').and_then(|id| id.strip_suffix('>')).unwrap_or(id).trim();
        match id.is_empty() || id.chars().any(char::is_control) {
            true => Err(wrong("this is no Message-ID", "write it as \"<a@b.example>\"")),
            false => Ok(id.to_owned()),
        }
    });
    let folder = section.parsed("folder", |text| {
        let path = FolderPath::parse(text);
        match path.segments().is_empty() {
            true => {
                Err(wrong("this names no folder", "write its path as `drover failed` shows it"))
            }
            false => Ok(path),
        }
    });
    let uid = section.count("uid");
    let mailbox = section.text("mailbox");
    let has_reason = has(&section, "reason");
    let reason = section.parsed("reason", |text| match text.trim() {
        "" => {
            Err(wrong("the reason is empty", "say why the message may be lost: somebody will ask"))
        }
        reason => Ok(reason.to_owned()),
    });
    let one = "name the message by `message_id`, or by `mailbox`, `folder` and `uid`";
    if by_id && (by_folder || by_uid) {
        at.error("this names a message in two ways", one);
        return None;
    }
    if !(by_id || by_folder && by_uid) {
        at.error("this does not name a message", one);
        return None;
    }
    if !by_id && mailbox.is_none() {
        at.error("`mailbox` is missing", "a folder and a UID mean something in one mailbox only");
        return None;
    }
    let loss = match message_id {
        Some(id) => Loss::MessageId(id.value),
        None => Loss::Place { folder: folder?.value, id: ItemId(uid?) },
    };
    // One that is missing was reported when the section was opened.
    if !has_reason {
        return None;
    }
    Some(Accepted { at, mailbox, acceptance: Acceptance { loss, reason: reason?.value } })
}

/// Checks the entries against each other and against the roster's source accounts.
pub(super) fn validate<'d>(entries: Vec<Accepted<'d>>, sources: &[&str]) -> Vec<Accepted<'d>> {
    let mut good: Vec<Accepted<'d>> = Vec::new();
    for entry in entries {
        if let Some(mailbox) = &entry.mailbox
            && !sources.iter().any(|source| is_same(source, &mailbox.value))
        {
            let name = &mailbox.value;
            let near = sources.iter().map(|source| (strsim::jaro_winkler(source, name), source));
            let near = near.filter(|near| near.0 >= ALIKE).max_by(|a, b| a.0.total_cmp(&b.0));
            let help = match near {
                Some((_, near)) => format!("did you mean `{near}`?"),
                None => "write the account as `source` of the roster has it".into(),
            };
            mailbox.at.error(format!("there is no mailbox `{name}` in the roster"), help);
            continue;
        }
        let twin = good.iter().find(|other| {
            let here =
                |entry: &Accepted<'_>| entry.mailbox.as_ref().map(|m| m.value.to_lowercase());
            other.acceptance.loss == entry.acceptance.loss && here(other) == here(&entry)
        });
        match twin {
            Some(first) => {
                let message = format!("{} is accepted twice", entry.acceptance.loss);
                entry.at.error(message, format!("it stands at {} already; remove one", first.at));
            }
            None => good.push(entry),
        }
    }
    good
}

/// Those of a mailbox.
pub(super) fn of(entries: &[Accepted<'_>], source: &str) -> Vec<Acceptance> {
    let is_its = |entry: &&Accepted<'_>| {
        entry.mailbox.as_ref().is_none_or(|mailbox| is_same(source, &mailbox.value))
    };
    entries.iter().filter(is_its).map(|entry| entry.acceptance.clone()).collect()
}

fn is_same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}
