//! The server asks to wait, to come with fewer connections, or has no room left.

use super::*;

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
];
