//! A message, a folder or a command is refused; for good, or for now.

use super::*;

pub(super) const ROWS: &[Row] = &[
    // ---- One message.
    // Exchange: the MaxReceiveSize of who signed in (imapsync FAQ.Exchange).
    row(
        "",
        "maximum size of appendable message",
        ANY,
        Class::TooBig,
        SOON,
        Message,
        "NO Maximum size of appendable message has been exceeded",
    ),
    // RFC 7889; Gmail: `Message too large.`
    row("TOOBIG", "", ANY, Class::TooBig, SOON, Message, "NO [TOOBIG] Message too large."),
    // Dovecot: quota_max_mail_size. A setting of the server, and an operator may raise it.
    row(
        "LIMIT",
        "",
        &[Append],
        Class::Permanent,
        SOON,
        Message,
        "NO [LIMIT] Mail size is larger than the maximum size allowed by server configuration",
    ),
    // Exchange (imapsync FAQ.Exchange): too large, a line too long, or malformed. It is not our
    // syntax.
    row(
        "",
        "command argument error",
        &[Append],
        Class::Permanent,
        SOON,
        Message,
        "BAD Command Argument Error. 11",
    ),
    // Yahoo (imapsync FAQ.Yahoo): the message does not end in a line end.
    remedied(
        "",
        "additional arguments found after last expected argument",
        Remedy::FinalLineEnd,
        "BAD [CLIENTBUG] Additional arguments found after last expected argument",
    ),
    // Cyrus 3.6, 3.10.
    remedied("", "bare newlines", Remedy::LineEnds, "NO Message contains bare newlines"),
    remedied("", "keyword", Remedy::Keywords, "NO Too many keywords"),
    remedied("", "flag", Remedy::Flags, "BAD Invalid system flag \\Flagged"),
    // RFC 5530: what is stored cannot be read.
    row(
        "CORRUPTION",
        "",
        &[Fetch],
        Class::Permanent,
        SOON,
        Message,
        "NO [CORRUPTION] The message's file is damaged",
    ),
    row(
        "CORRUPTION",
        "",
        ANY,
        Class::Transient,
        SOON,
        Folder,
        "NO [CORRUPTION] The index is damaged",
    ),
    row("PARSE", "", ANY, Class::Permanent, SOON, Message, "NO [PARSE] Cannot read the header"),
    row("UNKNOWN-CTE", "", ANY, Class::Permanent, SOON, Message, "NO [UNKNOWN-CTE] Cannot decode"),
    // ---- One folder.
    // RFC 9051, 7.1: made anew and gone on with, once a pass.
    row(
        "TRYCREATE",
        "",
        ANY,
        Class::FolderGone,
        SOON,
        Folder,
        "NO [TRYCREATE] Mailbox doesn't exist",
    ),
    row(
        "NONEXISTENT",
        "",
        ANY,
        Class::FolderGone,
        SOON,
        Folder,
        "NO [NONEXISTENT] Unknown Mailbox: Archive (Failure)",
    ),
    row(
        "ALREADYEXISTS",
        "",
        ANY,
        Class::Exists,
        SOON,
        Folder,
        "NO [ALREADYEXISTS] Mailbox already exists",
    ),
    // Exchange, for `Files` (imapsync FAQ.Exchange).
    row(
        "",
        "folder name is reserved",
        ANY,
        Class::NameTaken,
        SOON,
        Folder,
        "NO Folder name is reserved",
    ),
    // Gmail: blanks at the ends, `^`, system names.
    row("CANNOT", "", &[Create], Class::NameTaken, SOON, Folder, "NO [CANNOT] Invalid folder name"),
    row("CANNOT", "", ANY, Class::Permanent, SOON, Message, "NO [CANNOT] Not possible here"),
    row("LIMIT", "", &[Create], Class::Permanent, SOON, Folder, "NO [LIMIT] Too many folders"),
    // ---- It may pass.
    // Exchange, also without tag or star: the mailbox is being moved between servers, or is full.
    row(
        "",
        "server unavailable",
        ANY,
        Class::Transient,
        SOON,
        Connection,
        "NO Server Unavailable. 15",
    ),
    // Exchange: after ten errors in a session.
    row(
        "",
        "connection closed. 14",
        ANY,
        Class::Transient,
        SOON,
        Connection,
        "BYE Connection closed. 14",
    ),
    // Exchange: the session lost the thread.
    row(
        "",
        "command received in invalid state",
        ANY,
        Class::Transient,
        SOON,
        Connection,
        "BAD Command received in Invalid state",
    ),
    // Gmail.
    row(
        "",
        "temporary system problem",
        ANY,
        Class::Transient,
        SOON,
        Connection,
        "NO [UNAVAILABLE] Temporary System Problem (Failure)",
    ),
    row("", "system error", ANY, Class::Transient, SOON, Connection, "NO System Error (Failure)"),
    // RFC 5530; Yahoo says SERVERBUG for what a new connection mends.
    row(
        "UNAVAILABLE",
        "",
        ANY,
        Class::Transient,
        SOON,
        Connection,
        "NO [UNAVAILABLE] The backend is down",
    ),
    row(
        "SERVERBUG",
        "",
        &[Fetch],
        Class::Permanent,
        SOON,
        Message,
        "NO [SERVERBUG] FETCH Server error",
    ),
    row(
        "SERVERBUG",
        "",
        ANY,
        Class::Transient,
        SOON,
        Connection,
        "NO [SERVERBUG] MOVE Server error - Please try again later",
    ),
    row("INUSE", "", ANY, Class::Transient, SOON, Folder, "NO [INUSE] Mailbox in use"),
    row(
        "EXPUNGEISSUED",
        "",
        ANY,
        Class::Transient,
        SOON,
        Folder,
        "NO [EXPUNGEISSUED] Some of the requested messages no longer exist.",
    ),
    row("LIMIT", "", ANY, Class::Throttled, A_MINUTE, Account, "NO [LIMIT] Rate limit hit"),
    // ---- It will not.
    // RFC 5530; Yahoo, for a sequence beyond its window.
    row(
        "CLIENTBUG",
        "",
        ANY,
        Class::Permanent,
        SOON,
        Message,
        "BAD [CLIENTBUG] FETCH Bad sequence in the command",
    ),
    row("BADCHARSET", "", ANY, Class::Permanent, SOON, Message, "NO [BADCHARSET] Unknown charset"),
    row(
        "READ-ONLY",
        "",
        &[Other],
        Class::Permanent,
        SOON,
        Folder,
        "NO [READ-ONLY] The folder is read-only",
    ),
];
