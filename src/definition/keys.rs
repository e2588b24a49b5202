//! Every key of a definition. The reader accepts these and no others, and the JSON Schema is
//! made from them, so neither can drift from the other.

use super::schema::{Key, Kind, Need};
use Need::{Default, Optional, Required};

/// Ports, connections and concurrency beyond these are mistakes.
const PORTS: Kind = Kind::Count { min: 1, max: 65_535 };
const CONNECTIONS: Kind = Kind::Count { min: 1, max: 64 };
const CONCURRENCY: Kind = Kind::Count { min: 1, max: 10_000 };

/// RFC 9051, 2.3.1.1.
const UIDS: Kind = Kind::Count { min: 1, max: 0xFFFF_FFFF };

const fn key(name: &'static str, kind: Kind, need: Need, doc: &'static str) -> Key {
    Key { name, kind, doc, need }
}

/// The top of the file.
pub(crate) const DEFINITION: &[Key] = &[
    key("description", Kind::Text, Optional, "What this migration is, in the operator's words."),
    key("suspend", Kind::Bool, Default("false"), "No pass runs while true."),
    key("source", Kind::Table(SOURCE), Required, "Where the mail is. Never written to."),
    key("destination", Kind::Table(DESTINATION), Required, "Where the mail goes."),
    key("sync", Kind::Table(SYNC), Optional, "How and when passes run."),
    key("select", Kind::Table(SELECT), Optional, "Which folders and messages take part."),
    key("folders", Kind::Table(FOLDERS), Optional, "Where folders go."),
    key("cutover", Kind::Table(CUTOVER), Optional, "When the destination becomes the live system."),
    key("mailboxes", Kind::Tables(MAILBOX), Optional, "The roster, one table for each mailbox."),
    key("roster", Kind::Table(ROSTER), Optional, "The roster, from a CSV file."),
    key("accept", Kind::Tables(ACCEPT), Optional, "Messages whose loss is accepted."),
];

const ENDPOINT: &[Key] = &[
    key(
        "platform",
        Kind::Platform,
        Default("\"imap\""),
        "The mail system. What is known of it fills in the keys that are left out here; see \
         docs/platforms.md.",
    ),
    key("access", Kind::Text, Default("\"imap\""), "How the platform is spoken to."),
    key("host", Kind::Text, Optional, "Host name or address; some presets know it."),
    key("port", PORTS, Optional, "TCP port; 993, or 143 where TLS is not implicit."),
    key(
        "tls",
        Kind::Choice(&["implicit", "starttls", "none"]),
        Optional,
        "How the connection is protected; the platform's own way, or else implicit. Certificates \
         are always verified.",
    ),
    key("ca_file", Kind::Text, Optional, "An extra trust root, PEM, relative to this file."),
    key("auth", Kind::Table(AUTH), Optional, "How accounts are entered."),
    key(
        "connections",
        CONNECTIONS,
        Optional,
        "Connections per mailbox at once, at most; as many as the platform bears, or else 4.",
    ),
    key(
        "daily_bytes",
        Kind::Size,
        Optional,
        "Bytes of messages an account may give, or take, in any 24 hours; then it waits. Instead of \
         the platform's.",
    ),
    key(
        "compress",
        Kind::Choice(&["auto", "always", "never"]),
        Default("\"auto\""),
        "COMPRESS=DEFLATE, where the server has it; auto: if the server is far.",
    ),
    key(
        "veto",
        Kind::Texts,
        Optional,
        "Capabilities that are not used although the server announces them: `QRESYNC`, \
         `COMPRESS=DEFLATE`; instead of the platform's.",
    ),
    key(
        "rewrites",
        Kind::Bool,
        Optional,
        "Whether the server takes messages apart and puts them together anew, as Exchange does: \
         then they are compared by naming headers and decoded parts, and not byte by byte; instead \
         of the platform's.",
    ),
    key(
        "id",
        Kind::TextMap,
        Optional,
        "What the server is told of drover besides name and version (RFC 2971): contact = \
         \"postmaster@acme.example\"; instead of the platform's.",
    ),
];

const SOURCE: &[Key] = &joined::<{ ENDPOINT.len() + 4 }>(
    ENDPOINT,
    &[
        key(
            "left_out",
            Kind::Texts,
            Optional,
            "Folders, with those below them, that are not copied unless `include` names them; \
             instead of the platform's.",
        ),
        key(
            "labels",
            Kind::Choice(&["folders", "first", "all-mail", "keywords"]),
            Default("\"folders\""),
            "What becomes of Gmail's labels: a folder each, with a copy of a message in each of \
             its own; only the first of them; one folder for all mail; or keywords of a message \
             that is copied once.",
        ),
        key(
            "window",
            Kind::Count { min: 0, max: u32::MAX as u64 },
            Optional,
            "Messages of a folder that the server shows at most; a folder that shows as many may \
             hold more. 0: it shows all. Instead of the platform's.",
        ),
        key(
            "partial",
            Kind::Choice(&["refuse", "accept"]),
            Default("\"refuse\""),
            "What the cutover does if folders show a part of their messages only: wait for an \
             operator, or go on without what is hidden.",
        ),
    ],
);

const DESTINATION: &[Key] = &joined::<{ ENDPOINT.len() + 5 }>(
    ENDPOINT,
    &[
        key(
            "max_message",
            Kind::Size,
            Optional,
            "The largest message that is tried, where the server does not say; instead of the \
             platform's. Larger ones are skipped and reported.",
        ),
        key(
            "drop_keywords",
            Kind::Texts,
            Optional,
            "Keywords that are not written; instead of the platform's.",
        ),
        key(
            "late_flags",
            Kind::Texts,
            Optional,
            "Flags such as `\\Flagged` that the server loses on APPEND and that are stored \
             afterwards; instead of the platform's.",
        ),
        key(
            "reserved_names",
            Kind::Texts,
            Optional,
            "Top folders that the server keeps for itself: others of that name get a `=` at the \
             end; instead of the platform's.",
        ),
        key(
            "illegal_characters",
            Kind::Text,
            Optional,
            "Characters that folder names may not hold, besides `/` and the separator; instead of \
             the platform's.",
        ),
    ],
);

/// The keys of both lists.
const fn joined<const N: usize>(one: &[Key], other: &[Key]) -> [Key; N] {
    let mut all = [one[0]; N];
    let mut at = 0;
    while at < N {
        all[at] = if at < one.len() { one[at] } else { other[at - one.len()] };
        at += 1;
    }
    all
}

const AUTH: &[Key] = &[
    key(
        "method",
        Kind::Text,
        Default("\"password\""),
        "password: each account with its own. master-user: SASL PLAIN as another user who may \
         act for the account. service-account, client-credentials, refresh-token: with an access \
         token (XOAUTH2, OAUTHBEARER).",
    ),
    key("user", Kind::Text, Optional, "The master user's name; only with master-user."),
    key(
        "form",
        Kind::Text,
        Optional,
        "How the master user's name and the account's are given: authzid, apart (SASL PLAIN); or as \
         one name, made of {user} and {mailbox} or {alias}; the platform's own form, or else authzid.",
    ),
    key(
        "password",
        Kind::Secret(SECRET),
        Optional,
        "The master user's password; or one for every mailbox without its own.",
    ),
    key(
        "key",
        Kind::Secret(SECRET),
        Optional,
        "Google's JSON key file of a service account with domain-wide delegation.",
    ),
    key("tenant", Kind::Text, Optional, "The tenant at Entra ID; instead of `token_url`."),
    key("client_id", Kind::Text, Optional, "The application's id."),
    key("client_secret", Kind::Secret(SECRET), Optional, "The application's secret."),
    key(
        "certificate",
        Kind::Secret(SECRET),
        Optional,
        "The application's certificate, PEM; with `private_key`, instead of `client_secret`.",
    ),
    key("private_key", Kind::Secret(SECRET), Optional, "The certificate's RSA key, PEM."),
    key(
        "refresh_token",
        Kind::Secret(SECRET),
        Optional,
        "A refresh token for every mailbox without its own.",
    ),
    key(
        "token_url",
        Kind::Text,
        Optional,
        "Where tokens are asked for; known of `tenant`, of a service account's `key` and of some \
         platforms.",
    ),
    key(
        "ca_file",
        Kind::Text,
        Optional,
        "An extra trust root for where tokens are asked for, PEM, relative to this file.",
    ),
    key(
        "authorize_url",
        Kind::Text,
        Optional,
        "Where users consent in a browser, for `drover auth login`; instead of the platform's.",
    ),
    key(
        "device_url",
        Kind::Text,
        Optional,
        "Where device codes are asked for, for `drover auth login --device`; instead of the \
         platform's.",
    ),
    key(
        "expires",
        Kind::Date,
        Optional,
        "The day on which `client_secret` ends: drover warns from 14 days ahead.",
    ),
    key(
        "scopes",
        Kind::Texts,
        Optional,
        "What tokens are to be good for: `https://mail.google.com/` with service-account and \
         `https://outlook.office365.com/.default` with client-credentials, if left out.",
    ),
];

/// A reference to a secret.
pub(crate) const SECRET: &[Key] = &[
    key("env", Kind::Text, Optional, "An environment variable of the drover process."),
    key("file", Kind::Text, Optional, "A file, relative to this one."),
    key("credential", Kind::Text, Optional, "A systemd credential's name."),
    key("command", Kind::Texts, Optional, "A command and its arguments, run without a shell."),
];

const SYNC: &[Key] = &[
    key("schedule", Kind::Text, Optional, "Cron, five fields; instead of `every`."),
    key("every", Kind::Duration, Default("\"15m\""), "This long after the last pass began."),
    key("timezone", Kind::Text, Default("\"UTC\""), "Zone of `schedule` and `windows`."),
    key("windows", Kind::Texts, Default("[]"), "When passes may run: `mon-fri 19:00-07:00`."),
    key("flags", Kind::Bool, Default("true"), "Carry changes of flags and keywords."),
    key("moves", Kind::Bool, Default("true"), "Move what was moved, instead of copying again."),
    key(
        "deletes",
        Kind::Choice(&["ignore", "carry"]),
        Default("\"ignore\""),
        "Whether what vanishes at the source vanishes at the destination.",
    ),
    key("max_delete", Kind::Brake, Default("\"5%\""), "More deletes than this stop a pass."),
    key("rate", Kind::Rate, Optional, "Bytes a second of this migration, at most."),
    key("concurrency", CONCURRENCY, Optional, "Mailboxes of this migration at once, at most."),
];

const SELECT: &[Key] = &[
    key("since", Kind::Date, Optional, "Messages received on this day or later."),
    key("before", Kind::Date, Optional, "Messages received before this day."),
    key("max_size", Kind::Size, Optional, "Messages up to this size."),
    key("include", Kind::Texts, Default("[]"), "Only these folders: globs, or roles as `\\Sent`."),
    key("exclude", Kind::Texts, Default("[]"), "Not these folders; stronger than `include`."),
];

const FOLDERS: &[Key] = &[
    key("prefix", Kind::Text, Optional, "Put everything below this folder."),
    key("map", Kind::TextMap, Optional, "Source folder = destination folder, or `\\Sent`."),
];

const CUTOVER: &[Key] = &[
    key("at", Kind::Moment, Required, "The moment; in the past: now."),
    key("tail", Kind::Duration, Default("\"72h\""), "How long late mail is still drained."),
];

const MAILBOX: &[Key] = &[
    key("source", Kind::Text, Required, "The account at the source."),
    key("destination", Kind::Text, Required, "The account at the destination."),
    key(
        "source_alias",
        Kind::Text,
        Optional,
        "What the server calls it where a master user enters it; if left out, what `source` says.",
    ),
    key("destination_alias", Kind::Text, Optional, "The same there."),
    key("source_password", Kind::Secret(SECRET), Optional, "Its password at the source."),
    key("destination_password", Kind::Secret(SECRET), Optional, "Its password there."),
    key("source_refresh_token", Kind::Secret(SECRET), Optional, "Its refresh token at the source."),
    key("destination_refresh_token", Kind::Secret(SECRET), Optional, "Its refresh token there."),
];

const ACCEPT: &[Key] = &[
    key("message_id", Kind::Text, Optional, "The message, by its Message-ID."),
    key("mailbox", Kind::Text, Optional, "Its source account; needed with `folder` and `uid`."),
    key("folder", Kind::Text, Optional, "Its source folder, instead of `message_id`."),
    key("uid", UIDS, Optional, "Its UID there; both as `drover failed` shows them."),
    key("reason", Kind::Text, Required, "Why it may be lost, for whoever reads the record."),
];

const ROSTER: &[Key] = &[key(
    "csv",
    Kind::Text,
    Required,
    "A CSV file, relative to this one, with the columns source, destination and, where needed, \
     source_alias, source_password_env, _file or _credential, source_refresh_token_env, _file or _credential, \
     and the same for the destination.",
)];
