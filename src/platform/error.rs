//! What goes wrong in a conversation with a platform: how much it spoils, and whether trying
//! again helps. Both are decided here, where the error is born; nothing above guesses.

use std::sync::Arc;
use std::time::Duration;

use super::Remedy;
use crate::auth::TokenError;

/// How much of the work an error spoils.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One command and the message it was about; the connection is fine.
    Message,
    /// One folder.
    Folder,
    /// The connection is of no use any more; another may do.
    Connection,
    /// This mailbox, until an operator does something.
    Mailbox,
    /// Everything that uses this account, for a time.
    Account,
    /// Everything that uses this server: it is to be gone easy on for a time.
    Server,
}

/// Whether trying again is worth anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// At once or after a backoff.
    Soon,
    /// Not before this long: the server said so.
    After(Duration),
    /// Only after an operator changed something.
    Never,
}

/// A server's refusal of one thing, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The response code, upper case, without brackets: `OVERQUOTA`, `TOOBIG` …
    pub code: Option<String>,
    /// The text after it.
    pub text: String,
    /// True if trying the same again may help (`INUSE`, `UNAVAILABLE`, `SERVERBUG` …), false if
    /// the server will not take this message (`TOOBIG`, malformed …).
    pub transient: bool,
    /// True if nothing but another message would help: it is too large.
    pub hopeless: bool,
    /// A change that may help.
    pub remedy: Option<Remedy>,
    /// What it concerns.
    pub scope: Scope,
}

/// An error of a platform, with what is needed to act on it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Could not reach the server.
    #[error("cannot connect to {host}:{port}: {cause}")]
    Unreachable {
        /// As in the definition.
        host: String,
        /// TCP port.
        port: u16,
        /// The operating system's word.
        cause: std::io::Error,
    },
    /// The TLS handshake failed, or TLS was not offered.
    #[error("no trusted TLS connection to {host}: {cause}")]
    Tls {
        /// As in the definition.
        host: String,
        /// What was wrong.
        cause: String,
    },
    /// The server did not accept the credentials.
    #[error("{host} refused the login of {user}: {text}")]
    Credentials {
        /// As in the definition.
        host: String,
        /// Who tried.
        user: String,
        /// The server's words.
        text: String,
        /// What the operator can do about it, as far as more is known than for all servers; may be
        /// empty.
        remedy: String,
    },
    /// The secret could not be read.
    #[error("{0}")]
    Secret(#[from] crate::auth::SecretError),
    /// There is no access token.
    #[error("{0}")]
    Token(#[from] Arc<TokenError>),
    /// The account exists but may not be used like this (IMAP disabled, no permission …).
    #[error("{host} does not let {user} in: {text}")]
    Forbidden {
        /// As in the definition.
        host: String,
        /// Who tried.
        user: String,
        /// The server's words.
        text: String,
        /// What the operator can do about it, as far as more is known than for all servers; may be
        /// empty.
        remedy: String,
    },
    /// The account shows only a part of its mail: what is not shown would be lost.
    #[error("{host} does not show all mail of {user}: {text}")]
    Hidden {
        /// As in the definition.
        host: String,
        /// Whose account.
        user: String,
        /// What is missing.
        text: String,
        /// What the operator can do about it.
        remedy: &'static str,
    },
    /// The sign-in has run out in the middle of the work.
    #[error("{host} wants {user} to sign in anew: {text}")]
    Expired {
        /// As in the definition.
        host: String,
        /// Who was signed in.
        user: String,
        /// The server's words.
        text: String,
    },
    /// The server asked to wait.
    #[error("the server asks to wait {} s: {text}", delay.as_secs())]
    Throttled {
        /// How long, by its word or by the preset.
        delay: Duration,
        /// The server's words.
        text: String,
    },
    /// The account's space is used up.
    #[error("the account is full: {0}")]
    Quota(String),
    /// The folder does not exist (any more).
    #[error("there is no folder {0}")]
    FolderGone(String),
    /// The folder's ids are not those that were expected.
    #[error("the ids of folder {0} are not valid any more (UIDVALIDITY changed)")]
    EpochChanged(String),
    /// The server answered a command with NO or BAD.
    #[error("{command} was refused: {}", .refusal.text)]
    Refused {
        /// The command's name, without arguments.
        command: &'static str,
        /// The answer.
        refusal: Refusal,
    },
    /// The connection broke, or the server said BYE.
    #[error("the connection to {host} broke: {cause}")]
    Broken {
        /// As in the definition.
        host: String,
        /// What was seen: an I/O error, end of stream, the words of BYE.
        cause: String,
    },
    /// Nothing came for too long.
    #[error("{host} did not answer within {} s", after.as_secs())]
    Silent {
        /// As in the definition.
        host: String,
        /// How long was waited.
        after: Duration,
    },
    /// Something came all the time, but not what was asked for, or a few bytes of it a minute.
    #[error("{host} kept drover waiting for {} s and brought next to nothing", after.as_secs())]
    Stalled {
        /// As in the definition.
        host: String,
        /// How long was waited.
        after: Duration,
    },
    /// The server said what the protocol does not allow, in a place where it matters.
    #[error("{host} answered against the protocol: {detail}")]
    Protocol {
        /// As in the definition.
        host: String,
        /// What was wrong, without message content.
        detail: String,
    },
}

impl Error {
    /// How much of the work it spoils.
    pub fn scope(&self) -> Scope {
        match self {
            Self::Unreachable { .. }
            | Self::Broken { .. }
            | Self::Silent { .. }
            | Self::Stalled { .. }
            | Self::Expired { .. }
            | Self::Protocol { .. } => Scope::Connection,
            Self::Tls { .. }
            | Self::Credentials { .. }
            | Self::Secret(_)
            | Self::Forbidden { .. }
            | Self::Hidden { .. }
            | Self::Quota(_) => Scope::Mailbox,
            Self::Token(error) if error.is_lasting() => Scope::Mailbox,
            Self::Token(error) if error.delay().is_none() => Scope::Connection,
            Self::Throttled { .. } | Self::Token(_) => Scope::Account,
            Self::FolderGone(_) | Self::EpochChanged(_) => Scope::Folder,
            Self::Refused { refusal, .. } => refusal.scope,
        }
    }

    /// Whether and when trying again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Credentials { .. }
            | Self::Secret(_)
            | Self::Forbidden { .. }
            | Self::Hidden { .. }
            | Self::Quota(_) => Retry::Never,
            Self::Throttled { delay, .. } => Retry::After(*delay),
            Self::Token(error) if error.is_lasting() => Retry::Never,
            Self::Token(error) => error.delay().map_or(Retry::Soon, Retry::After),
            // A certificate may be renewed under us: worth trying again, slowly.
            _ => Retry::Soon,
        }
    }

    /// One CamelCase word: the reason of a condition, the label of a metric.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "Unreachable",
            Self::Tls { .. } => "TlsFailed",
            Self::Credentials { .. } => "CredentialsRefused",
            Self::Secret(_) => "SecretUnreadable",
            Self::Token(error) => error.reason(),
            Self::Forbidden { .. } => "AccessForbidden",
            Self::Hidden { .. } => "MailHidden",
            Self::Expired { .. } => "SessionExpired",
            Self::Throttled { .. } => "Throttled",
            Self::Quota(_) => "DestinationFull",
            Self::FolderGone(_) => "FolderGone",
            Self::EpochChanged(_) => "UidValidityChanged",
            Self::Refused { .. } => "CommandRefused",
            Self::Broken { .. } => "ConnectionBroken",
            Self::Silent { .. } => "ServerSilent",
            Self::Stalled { .. } => "ServerStalled",
            Self::Protocol { .. } => "ProtocolViolated",
        }
    }

    /// What the operator can do about it; empty if nothing needs doing.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unreachable { .. } => {
                "check host and port in the definition, the server, and the firewall between".into()
            }
            Self::Tls { .. } => "check that `host` is the name in the server's certificate; for a \
                 private authority set `ca_file`; for a server without TLS set `tls = \"none\"`"
                .into(),
            Self::Credentials { remedy, .. } => {
                let remedy = match &**remedy {
                    "" => {
                        "correct the secret the definition points to, or, where drover signs in \
                         with a token, give its owner access to the mailbox"
                    }
                    known => known,
                };
                format!("{remedy}; drover tries again once a secret or the definition changes")
            }
            Self::Secret(error) => error.remedy(),
            Self::Token(error) => error.remedy(),
            Self::Hidden { remedy, .. } => (*remedy).into(),
            Self::Forbidden { remedy, .. } => {
                let remedy = match &**remedy {
                    "" => "enable IMAP for the account, or give the master user access to it",
                    known => known,
                };
                format!("{remedy}; then `drover sync`")
            }
            Self::Quota(_) => "raise the destination account's quota; drover tries again when the \
                 definition changes or `drover sync` asks for it"
                .into(),
            _ => String::new(),
        }
    }
}
