//! Gmail: <https://developers.google.com/gmail/imap/imap-extensions>. Labels, the names they may
//! have, and what expunging means. What nobody outside has verified is marked as uncertain.

use std::collections::BTreeSet;

use super::super::utf7;
use super::account::{Account, FolderId, MessageId, Role, header};
use super::dialect::{Dialect, Kind, Says, plain};
use super::parse::Arg;
use super::session::{Done, Stop};

const BEFORE: &str = "IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 XYZZY \
                      SASL-IR AUTH=XOAUTH2 AUTH=PLAIN AUTH=PLAIN-CLIENTTOKEN AUTH=OAUTHBEARER";
const AFTER: &str = "IMAP4rev1 UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 UIDPLUS \
                     COMPRESS=DEFLATE ENABLE MOVE CONDSTORE ESEARCH UTF8=ACCEPT LIST-EXTENDED \
                     LIST-STATUS LITERAL- SPECIAL-USE APPENDLIMIT=35651584";

/// 34 MiB.
const LARGEST: usize = 35_651_584;

/// What is said when the day's bytes are used up, and when an account is asked too much.
pub(super) const OVER_BANDWIDTH: &str =
    "NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)";

/// Bytes a day, to the client and from it.
pub(super) const BYTES_A_DAY: [u64; 2] = [2500 << 20, 500 << 20];

/// The longest label, in characters.
const LONGEST_LABEL: usize = 225;

/// Leaf names of the special folders in a language: all, drafts, important, sent, spam, starred,
/// trash.
pub(super) type Names = [&'static str; 7];

pub(super) const ENGLISH: Names =
    ["All Mail", "Drafts", "Important", "Sent Mail", "Spam", "Starred", "Trash"];
pub(super) const GERMAN: Names =
    ["Alle Nachrichten", "Entwürfe", "Wichtig", "Gesendet", "Spam", "Markiert", "Papierkorb"];

pub(super) fn dialect(prefix: &str, names: Names) -> Dialect {
    let roles = [
        Role::All,
        Role::Drafts,
        Role::Important,
        Role::Sent,
        Role::Junk,
        Role::Flagged,
        Role::Trash,
    ];
    let mut folders = vec![("INBOX".into(), Role::Inbox, true), (prefix.into(), Role::None, false)];
    let special = names.into_iter().zip(roles);
    folders.extend(special.map(|(name, role)| (format!("{prefix}/{name}"), role, true)));
    Dialect {
        kind: Kind::Gmail,
        greeting: "* OK Gimap ready for requests from 127.0.0.1 a640c23a62f3a".into(),
        before: BEFORE.into(),
        after: AFTER.into(),
        tells_capabilities: true,
        id: "(\"name\" \"GImap\" \"vendor\" \"Google, Inc.\")",
        folders,
        append_limit: LARGEST,
        connections: 15,
        says: Says {
            done: |verb| match verb {
                "CAPABILITY" => "Thats all she wrote! a640c23a62f3a".into(),
                _ => "Success".into(),
            },
            signed_in: |user| format!("{user} authenticated (Success)"),
            token_challenge: Some(
                r#"{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}"#,
            ),
            refused: "NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)",
            too_many: "NO [ALERT] Too many simultaneous connections. (Failure)",
            // Its exact words are uncertain.
            too_big: "NO [TOOBIG] Message too large. (Failure)",
            no_folder: |name| {
                format!(
                    "NO [NONEXISTENT] Unknown Mailbox: {name} (now in authenticated state) (Failure)"
                )
            },
            exists: "NO [ALREADYEXISTS] Duplicate folder name (Failure)",
            unknown: "BAD Unknown command",
            arguments: "BAD Could not parse command",
            expired: "BYE Session expired, please login again.",
        },
        ..plain()
    }
}

/// What becomes of a message expunged from the last folder that showed it: its owner's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LastExpunge {
    /// It stays in All Mail.
    #[default]
    Archive,
    /// It goes to Trash.
    Trash,
    /// It is gone.
    Delete,
}

/// By what an appended message is taken for one that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Twins {
    /// By its Message-ID. Which of the two Gmail goes by is uncertain.
    #[default]
    ByMessageId,
    /// By all of its bytes.
    ByContent,
    /// Never: every append is a message.
    Kept,
}

/// The message that an appended one would be discarded for. Trash and Spam do not count, which is
/// uncertain.
pub(super) fn twin(account: &Account, twins: Twins, bytes: &[u8]) -> Option<MessageId> {
    let is_there = |id: &MessageId| {
        let hidden = [Role::Trash, Role::Junk].map(|role| account.with_role(role));
        !account[*id].labels.iter().any(|label| hidden.contains(&Some(*label)))
    };
    match twins {
        Twins::Kept => None,
        Twins::ByMessageId => account.message_named(&header(bytes, "Message-ID")?).filter(is_there),
        Twins::ByContent => {
            let same = account.messages.iter().filter(|(_, m)| *m.bytes == *bytes);
            same.map(|(id, _)| *id).find(is_there)
        }
    }
}

/// Why a label may not be called this.
pub(super) fn refuse_name(account: &Account, name: &str) -> Option<Stop> {
    let parts = || name.split('/');
    let has_blanks = |part: &str| part != part.trim() || part.contains("  ");
    let is_reserved = |part: &str| {
        ["inbox", "sent", "spam", "trash", "starred", "drafts", "important", "chats", "muted"]
            .contains(&part.to_lowercase().as_str())
    };
    let special = account.folders.values().find(|f| !f.is_selectable).map(|f| f.name.as_str());
    let no = |text: &str| Some(Stop::No(format!("[CANNOT] {text} (Failure)")));
    match name {
        _ if parts().any(has_blanks) => no("Folder contains excess whitespace"),
        _ if parts().any(str::is_empty) || name.contains('^') || is_reserved(name) => {
            no("Invalid folder name")
        }
        _ if special.is_some_and(|special| name.starts_with(&format!("{special}/"))) => {
            no("Invalid folder name")
        }
        _ if name.chars().count() > LONGEST_LABEL => no("Label name is too long"),
        _ => None,
    }
}

/// The system label of a special folder.
fn system_label(role: Role) -> Option<&'static str> {
    Some(match role {
        Role::Inbox => "\\Inbox",
        Role::Sent => "\\Sent",
        Role::Important => "\\Important",
        Role::Flagged => "\\Starred",
        Role::Drafts => "\\Draft",
        Role::Trash => "\\Trash",
        Role::Junk => "\\Spam",
        Role::All | Role::Archive | Role::None => return None,
    })
}

/// What XLIST, which came before SPECIAL-USE, says of a folder.
pub(super) fn xlist_attribute(role: Role) -> Option<&'static str> {
    Some(match role {
        Role::Inbox => "\\Inbox",
        Role::All => "\\AllMail",
        Role::Drafts => "\\Drafts",
        Role::Flagged => "\\Starred",
        Role::Important => "\\Important",
        Role::Junk => "\\Spam",
        Role::Sent => "\\Sent",
        Role::Trash => "\\Trash",
        Role::Archive | Role::None => return None,
    })
}

/// X-GM-LABELS of a message: all labels but the selected folder's own. The first system label is
/// quoted and the others are not, as both forms are met.
pub(super) fn labels(account: &Account, id: MessageId, selected: FolderId, utf8: bool) -> String {
    let others = account[id].labels.iter().filter(|label| **label != selected);
    let text = |label: &FolderId| {
        let folder = &account[*label];
        match system_label(folder.role) {
            Some("\\Inbox") => "\"\\\\Inbox\"".to_owned(),
            Some(name) => name.to_owned(),
            None => {
                let name = if utf8 { folder.name.clone() } else { utf7::encode(&folder.name) };
                let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_/&.,+".contains(&b);
                if name.bytes().all(is_plain) { name } else { super::wire_text(&name) }
            }
        }
    };
    others.map(text).collect::<Vec<_>>().join(" ")
}

/// The folder that a label names; a label that is not there is made if `make`.
fn label(account: &mut Account, arg: &Arg, utf8: bool, make: bool) -> Result<FolderId, Stop> {
    let bytes = match arg {
        Arg::Atom(text) => text.as_bytes(),
        Arg::Text(bytes) => bytes,
        Arg::List(_) => return Err(Stop::Arguments),
    };
    let wire = String::from_utf8_lossy(bytes).into_owned();
    if wire.starts_with('\\') {
        let is_it =
            |role: Role| system_label(role).is_some_and(|name| name.eq_ignore_ascii_case(&wire));
        let found = account.folders.iter().find(|(_, folder)| is_it(folder.role));
        let no = || Stop::No("[CANNOT] Invalid label (Failure)".into());
        return found.map(|(id, _)| *id).ok_or_else(no);
    }
    let name = if utf8 { wire } else { utf7::decode(&wire) };
    match account.find(&name) {
        Some(folder) => Ok(folder),
        None => match refuse_name(account, &name) {
            Some(stop) => Err(stop),
            None if make => Ok(account.create(&name, Role::None)),
            None => Err(Stop::No("[CANNOT] Invalid label (Failure)".into())),
        },
    }
}

/// Does the message bear the label that a search asks for?
pub(super) fn bears(account: &mut Account, id: MessageId, arg: &Arg, utf8: bool) -> bool {
    label(account, arg, utf8, false).is_ok_and(|label| account[id].labels.contains(&label))
}

/// STORE X-GM-LABELS with `+`, `-` or neither before it.
pub(super) fn store(
    account: &mut Account,
    messages: &[MessageId],
    sign: Option<char>,
    args: &[Arg],
    utf8: bool,
) -> Done {
    let given = args.iter().map(|arg| label(account, arg, utf8, true));
    let given = given.collect::<Result<BTreeSet<_>, _>>()?;
    for id in messages {
        let mut labels = account[*id].labels.clone();
        match sign {
            Some('+') => labels.extend(&given),
            Some(_) => labels.retain(|label| !given.contains(label)),
            None => labels.clone_from(&given),
        }
        set_labels(account, *id, labels);
    }
    Ok(String::new())
}

/// Gives a message exactly these labels: `\Starred` is `\Flagged` by another name.
pub(super) fn set_labels(account: &mut Account, id: MessageId, mut labels: BTreeSet<FolderId>) {
    let role = |role| account.with_role(role);
    let (all, starred, inbox) = (role(Role::All), role(Role::Flagged), role(Role::Inbox));
    labels.retain(|label| Some(*label) != all);
    let is_away =
        [Role::Trash, Role::Junk].iter().any(|r| role(*r).is_some_and(|l| labels.contains(&l)));
    if is_away {
        labels.retain(|label| Some(*label) != inbox);
    }
    let Some(message) = account.messages.get_mut(&id) else { return };
    let is_flag_changed = if starred.is_some_and(|starred| labels.contains(&starred)) {
        message.flags.insert("\\Flagged".into())
    } else {
        message.flags.remove("\\Flagged")
    };
    account.relabel(id, labels);
    if is_flag_changed {
        account.settle(id);
    }
}

/// The other way round: a message whose flags changed is starred or not.
pub(super) fn follow_flags(account: &mut Account, id: MessageId) {
    let Some(starred) = account.with_role(Role::Flagged) else { return };
    let Some(message) = account.messages.get_mut(&id) else { return };
    if message.flags.contains("\\Flagged") {
        message.labels.insert(starred);
    } else {
        message.labels.remove(&starred);
    }
}

/// Puts a message into a folder too; its UID there.
pub(super) fn add_label(account: &mut Account, id: MessageId, folder: FolderId) -> u32 {
    let mut labels = account[id].labels.clone();
    // What leaves Trash or Spam is neither any more.
    for role in [Role::Trash, Role::Junk] {
        labels.retain(|label| account.with_role(role) != Some(*label));
    }
    labels.insert(folder);
    set_labels(account, id, labels);
    account[id].uids.get(&folder).copied().unwrap_or_default()
}

/// Expunges a message from a folder: for good only in Trash and Spam.
pub(super) fn expunge(account: &mut Account, id: MessageId, from: FolderId, last: LastExpunge) {
    let role = account[from].role;
    if matches!(role, Role::Trash | Role::Junk) {
        return account.destroy(id);
    }
    let mut labels = account[id].labels.clone();
    labels.remove(&from);
    let is_last = role == Role::All || labels.is_empty();
    match last {
        LastExpunge::Delete if is_last => return account.destroy(id),
        LastExpunge::Trash if is_last => labels.extend(account.with_role(Role::Trash)),
        _ => {}
    }
    if role == Role::All && labels == account[id].labels {
        // It stays, and is no longer marked; uncertain.
        if let Some(uid) = account[id].uids.get(&from).copied() {
            account.set_deleted(from, uid, false);
        }
        return;
    }
    set_labels(account, id, labels);
}

/// A part of Gmail's own search language: `in:`, `label:`, `is:`, `subject:`, `from:`,
/// `rfc822msgid:`, and words.
pub(super) fn raw(account: &Account, id: MessageId, query: &str) -> bool {
    let message = &account[id];
    let field = |name: &str, part: &str| {
        header(&message.bytes, name)
            .is_some_and(|v| v.to_lowercase().contains(&part.to_lowercase()))
    };
    query.split_whitespace().all(|term| match term.split_once(':') {
        Some(("in" | "label", place)) => message.labels.iter().any(|label| {
            let folder = &account[*label];
            let system = system_label(folder.role).map(|name| &name[1..]);
            system.unwrap_or(&folder.name).eq_ignore_ascii_case(place)
        }),
        Some(("is", "unread")) => !message.flags.contains("\\Seen"),
        Some(("is", "read")) => message.flags.contains("\\Seen"),
        Some(("is", "starred")) => message.flags.contains("\\Flagged"),
        Some(("subject", part)) => field("Subject", part),
        Some(("from", part)) => field("From", part),
        Some(("rfc822msgid", part)) => field("Message-ID", part),
        _ => String::from_utf8_lossy(&message.bytes).to_lowercase().contains(&term.to_lowercase()),
    })
}
