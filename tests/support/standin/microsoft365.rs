//! Exchange Online, and Exchange Server: what Microsoft's documents and the transcripts of other
//! clients show. What nobody outside has verified is marked as uncertain.

use super::account::{Role, header_lines};
use super::dialect::{Dialect, Keywords, Kind, Says, plain};
use super::server::User;
use super::session::Stop;

const BEFORE: &str = "IMAP4 IMAP4rev1 AUTH=XOAUTH2 LOGINDISABLED SASL-IR UIDPLUS ID UNSELECT \
                      CHILDREN IDLE NAMESPACE LITERAL+";
const AFTER: &str = "IMAP4 IMAP4rev1 AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE \
                     NAMESPACE LITERAL+";
/// Where an administrator left passwords on, as on premises.
pub(super) const BEFORE_WITH_PASSWORDS: &str = "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR \
                                                UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+";

/// About 35 MB, unless the mailbox's MaxReceiveSize says otherwise.
const LARGEST: usize = 35 << 20;

/// A longer line makes the server refuse the message.
const LONGEST_LINE: usize = 10_239;

/// English names; the list of folders that hold no mail is uncertain.
const FOLDERS: [&str; 15] = [
    "Archive",
    "Calendar",
    "Contacts",
    "Conversation History",
    "Deleted Items",
    "Drafts",
    "Journal",
    "Junk Email",
    "Notes",
    "Outbox",
    "RSS Feeds",
    "Sent Items",
    "Sync Issues",
    "Sync Issues/Conflicts",
    "Tasks",
];

pub(super) fn dialect() -> Dialect {
    let mut folders = vec![("INBOX".into(), Role::Inbox, true)];
    // Roles are not told: they only say which folders stay.
    folders.extend(FOLDERS.map(|name| {
        let role = match name {
            "Archive" => Role::Archive,
            "Drafts" => Role::Drafts,
            "Junk Email" => Role::Junk,
            "Sent Items" => Role::Sent,
            "Deleted Items" => Role::Trash,
            _ => Role::None,
        };
        (name.into(), role, true)
    }));
    Dialect {
        kind: Kind::Microsoft365,
        // The host behind it, UTF-16LE in base64: no response code.
        greeting: "* OK The Microsoft Exchange IMAP4 service is ready. [UwBUAEEATgBEAA==]".into(),
        before: BEFORE.into(),
        after: AFTER.into(),
        id: "(\"name\" \"Microsoft.Exchange.Imap4.Imap4Server\" \"version\" \"15.20\")",
        folders,
        keywords: Keywords::Only(&["$MDNSent"]),
        append_limit: LARGEST,
        connections: 20,
        errors: 10,
        says: Says {
            done: |verb| format!("{verb} completed."),
            signed_in: |_| "AUTHENTICATE completed.".into(),
            token_challenge: None,
            refused: "NO AUTHENTICATE failed.",
            // These words are uncertain.
            too_many: "NO Too many connections for this mailbox.",
            too_big: "NO Maximum size of appendable message has been exceeded",
            no_folder: |name| format!("NO {name} doesn't exist."),
            exists: "NO Mailbox already exists",
            unknown: "BAD Command received in Invalid state.",
            arguments: "BAD Command Argument Error. 11",
            expired: "BYE Session invalidated - AccessTokenExpired",
        },
        ..plain()
    }
}

/// Refuses a mailbox that the token does not reach, and one that asked too much.
pub(super) fn is_allowed(user: &mut User, verb: &str) -> Result<(), Stop> {
    if !user.is_connected {
        return Err(Stop::Bad("User is authenticated but not connected.".into()));
    }
    if verb != "NOOP" && user.n_unavailable > 0 {
        user.n_unavailable -= 1;
        return Err(Stop::LastWords("Server Unavailable. 15".into()));
    }
    if verb != "NOOP" && user.n_throttled > 0 {
        user.n_throttled -= 1;
        let time = user.backoff.as_millis();
        let text = format!("Request is throttled. Suggested Backoff Time: {time} milliseconds");
        return Err(Stop::Bad(text));
    }
    Ok(())
}

pub(super) fn refuse_name(name: &str) -> Option<Stop> {
    let is_reserved = name.eq_ignore_ascii_case("Files");
    is_reserved.then(|| Stop::No("Folder name is reserved".into()))
}

/// Refuses a message with a line that is too long.
pub(super) fn refuse_message(bytes: &[u8]) -> Result<(), Stop> {
    match bytes.split(|b| *b == b'\n').any(|line| line.len() > LONGEST_LINE) {
        true => Err(Stop::Arguments),
        false => Ok(()),
    }
}

/// What is kept of a message is no MIME: what is fetched was made anew. How exactly is uncertain;
/// here a field is added before the others.
pub(super) fn regenerated(bytes: &[u8]) -> Vec<u8> {
    let n_header: usize = header_lines(bytes).map(<[u8]>::len).sum();
    let (header, body) = bytes.split_at(n_header);
    let mut out = b"X-MS-Exchange-Organization-AuthAs: Anonymous\r\n".to_vec();
    out.extend_from_slice(header);
    if !header.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(body);
    out
}

/// RFC822.SIZE where it is not exact.
pub(super) fn estimate(size: usize) -> usize {
    size + size / 50 + 17
}
