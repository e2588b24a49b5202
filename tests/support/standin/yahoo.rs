//! Yahoo Mail and AOL: what was measured from outside. The window on a folder, the way around it
//! (RFC 9586, RFC 9394), limits on one command (RFC 9738), and answers that are wrong.

use super::account::Role;
use super::dialect::{Dialect, Kind, Says, plain};
use super::session::Stop;
use super::write;

const OFFERED: &str = "IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER ID MOVE NAMESPACE \
                       XYMHIGHESTMODSEQ UIDPLUS LITERAL+ CHILDREN UNSELECT X-MSG-EXT OBJECTID IDLE \
                       ENABLE UIDONLY X-UIDONLY LIST-EXTENDED LIST-STATUS SPECIAL-USE PARTIAL \
                       APPENDLIMIT=41697280";

/// What a folder shows without UIDONLY.
const WINDOW: usize = 10_000;

/// Messages one command handles.
const AT_ONCE: usize = 1000;

pub(super) fn dialect() -> Dialect {
    let folders = [
        ("INBOX", Role::Inbox),
        ("Archive", Role::Archive),
        ("Bulk", Role::Junk),
        ("Draft", Role::Drafts),
        ("Sent", Role::Sent),
        ("Trash", Role::Trash),
    ];
    Dialect {
        kind: Kind::Yahoo,
        greeting: "* OK Welcome! IMAP Server up and ready to accept your request".into(),
        before: OFFERED.into(),
        after: after(AT_ONCE),
        id: "(\"name\" \"Yahoo\" \"vendor\" \"Yahoo! Inc.\")",
        folders: folders.map(|(name, role)| (name.into(), role, true)).into(),
        append_limit: 41_697_280,
        // Uncertain.
        connections: 5,
        window: Some(WINDOW),
        message_limit: Some(AT_ONCE),
        first_uid: 107,
        uid_step: 3,
        says: Says {
            done: |verb| format!("{verb} completed"),
            signed_in: |_| "AUTHENTICATE completed".into(),
            // Uncertain.
            token_challenge: Some(r#"{"status":"401","schemes":"bearer","scope":"mail-w"}"#),
            refused: "NO [AUTHENTICATIONFAILED] (#AUTH005) Too many bad auth attempts.",
            too_many: "NO [LIMIT] Too many simultaneous connections",
            too_big: "NO [TOOBIG] APPEND Message is too big",
            no_folder: |name| format!("NO [NONEXISTENT] Unknown mailbox {name}"),
            exists: "NO [ALREADYEXISTS] CREATE Mailbox exists",
            unknown: "BAD [CLIENTBUG] Unknown command",
            arguments: "BAD [CLIENTBUG] Bad arguments in the command",
            expired: "BYE [UNAVAILABLE] Session expired",
        },
        ..plain()
    }
}

/// The capabilities after sign-in.
pub(super) fn after(at_once: usize) -> String {
    format!("{OFFERED} MESSAGELIMIT={at_once}")
}

/// A message must end with CRLF, or what follows it is taken for arguments.
pub(super) fn refuse_message(bytes: &[u8]) -> Result<(), Stop> {
    match bytes.ends_with(b"\r\n") {
        true => Ok(()),
        false => {
            let text = "[CLIENTBUG] Additional arguments found after last expected argument";
            Err(Stop::Bad(text.into()))
        }
    }
}

/// Fields that the index knows nothing of: neither HEADER.FIELDS nor SEARCH HEADER finds them.
pub(super) fn is_unindexed(field: &str) -> bool {
    field.to_ascii_lowercase().starts_with("list-")
}

/// Small bodies come as quoted strings.
pub(super) fn is_quotable(bytes: &[u8]) -> bool {
    let is_plain = |b: &u8| (0x20..0x7f).contains(b) && *b != b'"' && *b != b'\\';
    bytes.len() < 64 && bytes.iter().all(is_plain)
}

/// The second set of COPYUID after a move of several messages: its numbers are right, and stand
/// in the wrong order. How they are mixed is uncertain; here the first goes last.
pub(super) fn permuted(uids: &[u32], moves: bool) -> String {
    let mut uids = uids.to_vec();
    if moves && uids.len() > 1 {
        uids.rotate_left(1);
    }
    write::written(&uids)
}

/// A page of a result (RFC 9394).
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    from: usize,
    to: usize,
    from_the_end: bool,
}

/// `1:500`, from the oldest on, or `-1:-500`, from the newest back.
pub(super) fn page(text: &str) -> Option<Page> {
    let (a, b) = text.split_once(':')?;
    let (a, b): (i64, i64) = (a.parse().ok()?, b.parse().ok()?);
    if a == 0 || b == 0 || (a < 0) != (b < 0) {
        return None;
    }
    let [a, b] = [a, b].map(|n| usize::try_from(n.unsigned_abs()).unwrap_or(usize::MAX));
    let from_the_end = text.starts_with('-');
    Some(Page { from: a.min(b), to: a.max(b), from_the_end })
}

impl Page {
    /// This page of what was found, ascending.
    pub(super) fn of<T>(self, found: &[T]) -> &[T] {
        let n = found.len();
        let (from, to) = ((self.from - 1).min(n), self.to.min(n));
        if self.from_the_end { &found[n - to..n - from] } else { &found[from..to] }
    }
}
