//! The sayings themselves. docs/sayings.md is written from them. In each comment, where a saying
//! is known from: an RFC, a server on which it was seen, or whose report.

use std::borrow::Cow;
use std::time::Duration;

use super::During::{Append, Copy, Create, Fetch, Other, SignIn};
use super::{Class, During, Row, Wait};
use crate::platform::Remedy;
use crate::platform::Scope::{self, Account, Connection, Folder, Mailbox, Message, Server};

pub(super) const MINUTE: Duration = Duration::from_secs(60);
const QUARTER: Duration = Duration::from_secs(15 * 60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

const SOON: Wait = Wait::Backoff;
const A_MINUTE: Wait = Wait::For(MINUTE);
const DAILY: Wait = Wait::Doubling(HOUR, DAY);

const ANY: &[During] = &[];
const STORING: &[During] = &[Append, Copy, Create];

/// Texts before codes: where both are there, the words say more. An example begins with the
/// status; the tag or star is left out.
pub(super) const ROWS: &[Row] = &[
    // ---- The server asks to wait.
    // Microsoft 365, Exchange (MailKit, imapsync FAQ.Office365): up to 300,000 ms; often closes.
    row(
        "",
        "suggested backoff time",
        ANY,
        Class::Throttled,
        Wait::Suggested,
        Account,
        "BAD Request is throttled. Suggested Backoff Time: 92415 milliseconds",
    ),
    row(
        "",
        "request is throttled",
        ANY,
        Class::Throttled,
        A_MINUTE,
        Account,
        "BAD Request is throttled.",
    ),
    // Gmail: the day's bandwidth, never the space; older servers with [ALERT]. The lock-out takes
    // up to 24 hours (Google's bandwidth limits; chatwoot #6082).
    row(
        "",
        "command or bandwidth limits",
        ANY,
        Class::Throttled,
        DAILY,
        Account,
        "NO [OVERQUOTA] Account exceeded command or bandwidth limits",
    ),
    // RFC 5530 and Dovecot: the destination is full. Others have no code for it.
    row(
        "OVERQUOTA",
        "",
        STORING,
        Class::Quota,
        SOON,
        Mailbox,
        "NO [OVERQUOTA] Quota exceeded (mailbox for user is full)",
    ),
    row("", "quota exceeded", STORING, Class::Quota, SOON, Mailbox, "NO Quota exceeded"),
    row("", "over quota", STORING, Class::Quota, SOON, Mailbox, "NO Mailbox is over quota"),
    row("", "mailbox is full", STORING, Class::Quota, SOON, Mailbox, "NO Mailbox is full"),
    // Without anything stored, a quota can only be one of traffic (Gmail, on FETCH and EXAMINE).
    row("OVERQUOTA", "", ANY, Class::Throttled, DAILY, Account, "BYE [OVERQUOTA] Try again later"),
    row("", "quota exceeded", ANY, Class::Throttled, DAILY, Account, "NO Quota exceeded"),
    // Gmail: `A5 OK Success [THROTTLED]`. Replies may take minutes from now on.
    row(
        "",
        "[throttled]",
        ANY,
        Class::Slowed,
        Wait::For(QUARTER),
        Server,
        "OK Success [THROTTLED]",
    ),
    row("THROTTLED", "", ANY, Class::Slowed, Wait::For(QUARTER), Server, "OK [THROTTLED] Success"),
    row("THROTTLED", "", ANY, Class::Throttled, A_MINUTE, Account, "NO [THROTTLED] Slow down"),
    // Gmail, one report.
    row(
        "",
        "sent too fast",
        ANY,
        Class::Throttled,
        A_MINUTE,
        Account,
        "NO [LIMIT] IMAP command sent too fast",
    ),
    // ---- Too many connections.
    // Gmail: more than 15 of an account; at sign-in, sometimes as the greeting.
    row(
        "",
        "too many simultaneous connections",
        ANY,
        Class::Crowded,
        A_MINUTE,
        Server,
        "NO [ALERT] Too many simultaneous connections. (Failure)",
    ),
    // Dovecot: mail_max_userip_connections.
    row(
        "",
        "maximum number of connections",
        ANY,
        Class::Crowded,
        A_MINUTE,
        Server,
        "NO [LIMIT] Maximum number of connections from user+IP exceeded \
         (mail_max_userip_connections=10)",
    ),
    row(
        "",
        "too many connections",
        ANY,
        Class::Crowded,
        A_MINUTE,
        Server,
        "BYE Too many connections",
    ),
    row("LIMIT", "", &[SignIn], Class::Crowded, A_MINUTE, Server, "NO [LIMIT] Sessions"),
    // ---- Who one is, and what one may.
    // Yahoo: further tries prolong the lock.
    row(
        "",
        "too many bad auth attempts",
        ANY,
        Class::Credentials,
        SOON,
        Mailbox,
        "NO [AUTHENTICATIONFAILED] (#AUTH005) Too many bad auth attempts.",
    ),
    // Microsoft 365: the token's hour is over, said on any command and as BYE.
    row(
        "",
        "accesstokenexpired",
        ANY,
        Class::Expired,
        SOON,
        Connection,
        "BYE Session invalidated - AccessTokenExpired",
    ),
    // Gmail (imapsync FAQ.Gmail).
    row(
        "",
        "session expired",
        ANY,
        Class::Expired,
        SOON,
        Connection,
        "BYE Session expired, please login again.",
    ),
    // RFC 5530.
    row(
        "EXPIRED",
        "",
        ANY,
        Class::Expired,
        SOON,
        Connection,
        "NO [EXPIRED] That password is not valid any more",
    ),
    row(
        "AUTHENTICATIONFAILED",
        "",
        ANY,
        Class::Credentials,
        SOON,
        Mailbox,
        "NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)",
    ),
    // Gmail: an app password is needed, or a sign-in with a browser.
    row(
        "",
        "application-specific password required",
        ANY,
        Class::Credentials,
        SOON,
        Mailbox,
        "NO [ALERT] Application-specific password required: https://support.google.com/ (Failure)",
    ),
    row(
        "",
        "log in via your web browser",
        ANY,
        Class::Credentials,
        SOON,
        Mailbox,
        "NO [ALERT] Please log in via your web browser: https://support.google.com/ (Failure)",
    ),
    row(
        "",
        "not enabled for imap",
        ANY,
        Class::Forbidden,
        SOON,
        Mailbox,
        "NO [ALERT] Your account is not enabled for IMAP use",
    ),
    row(
        "",
        "imap access is disabled",
        ANY,
        Class::Forbidden,
        SOON,
        Mailbox,
        "NO IMAP access is disabled for your account",
    ),
    // Microsoft 365 (imapsync FAQ.Office365): the token is right, but the mailbox has no licence,
    // no IMAP, or is not open to who signed in. Not the network's fault.
    row(
        "",
        "authenticated but not connected",
        ANY,
        Class::Forbidden,
        SOON,
        Mailbox,
        "BAD User is authenticated but not connected.",
    ),
    // RFC 5530. While signing in they are about the account, later about one thing in it.
    row(
        "AUTHORIZATIONFAILED",
        "",
        ANY,
        Class::Forbidden,
        SOON,
        Mailbox,
        "NO [AUTHORIZATIONFAILED] No such authorization-ID",
    ),
    row(
        "PRIVACYREQUIRED",
        "",
        ANY,
        Class::Forbidden,
        SOON,
        Mailbox,
        "NO [PRIVACYREQUIRED] Connection offers no privacy",
    ),
    row(
        "CONTACTADMIN",
        "",
        &[SignIn],
        Class::Forbidden,
        SOON,
        Mailbox,
        "NO [CONTACTADMIN] Your account is locked",
    ),
    row("NOPERM", "", &[SignIn], Class::Forbidden, SOON, Mailbox, "NO [NOPERM] Access denied"),
    row("NOPERM", "", ANY, Class::Permanent, SOON, Folder, "NO [NOPERM] Access denied"),
    row(
        "CONTACTADMIN",
        "",
        ANY,
        Class::Permanent,
        SOON,
        Folder,
        "NO [CONTACTADMIN] The folder is damaged",
    ),
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

const fn row(
    code: &'static str,
    text: &'static str,
    during: &'static [During],
    class: Class,
    wait: Wait,
    parks: Scope,
    example: &'static str,
) -> Row {
    let during = Cow::Borrowed(during);
    let (code, text, example) = (Cow::Borrowed(code), Cow::Borrowed(text), Cow::Borrowed(example));
    Row { code, text, during, class, wait, parks, remedy: None, example }
}

/// A refusal of a message that may be taken after a change that loses nothing of its content.
const fn remedied(
    code: &'static str,
    text: &'static str,
    remedy: Remedy,
    example: &'static str,
) -> Row {
    let during = Cow::Borrowed(&[Append] as &[During]);
    let (code, text, example) = (Cow::Borrowed(code), Cow::Borrowed(text), Cow::Borrowed(example));
    let (class, remedy) = (Class::Permanent, Some(remedy));
    Row { code, text, during, class, wait: SOON, parks: Message, remedy, example }
}
