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
    key("source", Kind::Table(ENDPOINT), Required, "Where the mail is. Never written to."),
    key("destination", Kind::Table(ENDPOINT), Required, "Where the mail goes."),
    key("sync", Kind::Table(SYNC), Optional, "How and when passes run."),
    key("select", Kind::Table(SELECT), Optional, "Which folders and messages take part."),
    key("folders", Kind::Table(FOLDERS), Optional, "Where folders go."),
    key("cutover", Kind::Table(CUTOVER), Optional, "When the destination becomes the live system."),
    key("mailboxes", Kind::Tables(MAILBOX), Optional, "The roster, one table for each mailbox."),
    key("roster", Kind::Table(ROSTER), Optional, "The roster, from a CSV file."),
    key("accept", Kind::Tables(ACCEPT), Optional, "Messages whose loss is accepted."),
];

const ENDPOINT: &[Key] = &[
    key("platform", Kind::Text, Default("\"imap\""), "The mail system: a preset's name."),
    key("access", Kind::Text, Default("\"imap\""), "How the platform is spoken to."),
    key("host", Kind::Text, Optional, "Host name or address; some presets know it."),
    key("port", PORTS, Optional, "TCP port; 993, or 143 where TLS is not implicit."),
    key(
        "tls",
        Kind::Choice(&["implicit", "starttls", "none"]),
        Default("\"implicit\""),
        "How the connection is protected. Certificates are always verified.",
    ),
    key("ca_file", Kind::Text, Optional, "An extra trust root, PEM, relative to this file."),
    key("auth", Kind::Table(AUTH), Optional, "How accounts are entered."),
    key("connections", CONNECTIONS, Default("4"), "Connections per mailbox at once, at most."),
    key(
        "compress",
        Kind::Choice(&["auto", "always", "never"]),
        Default("\"auto\""),
        "COMPRESS=DEFLATE, where the server has it; auto: if the server is far.",
    ),
];

const AUTH: &[Key] = &[
    key(
        "method",
        Kind::Text,
        Default("\"password\""),
        "password: each account with its own. master-user: SASL PLAIN as another user who may \
         act for the account.",
    ),
    key("user", Kind::Text, Optional, "The master user's name; only with master-user."),
    key(
        "password",
        Kind::Secret(SECRET),
        Optional,
        "The master user's password; or one for every mailbox without its own.",
    ),
];

const SECRET: &[Key] = &[
    key("env", Kind::Text, Optional, "An environment variable of the drover process."),
    key("file", Kind::Text, Optional, "A file, relative to this one; holds one line."),
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
    key("source_password", Kind::Secret(SECRET), Optional, "Its password at the source."),
    key("destination_password", Kind::Secret(SECRET), Optional, "Its password there."),
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
     source_password_env, _file or _credential, and the same for the destination.",
)];
