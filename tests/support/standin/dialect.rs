//! What one platform's server says and allows, as data. What data cannot say stands in the file
//! of its platform.

use std::collections::BTreeSet;

use super::account::Role;
use super::input::Literals;

/// Whose server this one is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nobody's: IMAP4rev1 with the common extensions.
    Plain,
    /// Gmail, `imap.gmail.com`.
    Gmail,
    /// Exchange Online, `outlook.office365.com`, and its kin on premises.
    Microsoft365,
    /// Yahoo and AOL, `imap.mail.yahoo.com`.
    Yahoo,
}

/// Which keywords (flags without a backslash) are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keywords {
    All,
    Only(&'static [&'static str]),
}

/// The platform's ways. Limits are the builder's to change.
#[derive(Debug, Clone)]
pub(super) struct Dialect {
    pub(super) kind: Kind,
    pub(super) greeting: String,
    /// Capabilities before sign-in.
    pub(super) before: String,
    /// And after.
    pub(super) after: String,
    /// CAPABILITY comes unasked with the sign-in's answer.
    pub(super) tells_capabilities: bool,
    /// What ID answers.
    pub(super) id: &'static str,
    /// Folders of every account; those that only hold others come with `false`.
    pub(super) folders: Vec<(String, Role, bool)>,
    pub(super) keywords: Keywords,
    /// The largest message, in bytes.
    pub(super) append_limit: usize,
    /// Connections of one account at once.
    pub(super) connections: usize,
    /// A folder shows its newest so many messages.
    pub(super) window: Option<usize>,
    /// STATUS counts what the window hides.
    pub(super) status_counts_all: bool,
    /// One command handles so many messages (RFC 9738).
    pub(super) message_limit: Option<usize>,
    pub(super) first_uid: u32,
    pub(super) uid_step: u32,
    /// Answered NO or BAD so often, a session is closed.
    pub(super) errors: usize,
    /// Who may enter every mailbox, and the password.
    pub(super) admin: Option<(&'static str, &'static str)>,
    pub(super) says: Says,
}

/// The platform's words; what begins with NO or BAD is the whole answer without its tag.
#[derive(Debug, Clone)]
pub(super) struct Says {
    /// After OK, of this verb.
    pub(super) done: fn(&str) -> String,
    pub(super) signed_in: fn(&str) -> String,
    /// Decoded from base64 by the client, before a refused token's NO; nothing if there is none.
    pub(super) token_challenge: Option<&'static str>,
    pub(super) refused: &'static str,
    pub(super) too_many: &'static str,
    pub(super) too_big: &'static str,
    pub(super) no_folder: fn(&str) -> String,
    pub(super) exists: &'static str,
    /// A command that is none, or not here.
    pub(super) unknown: &'static str,
    /// Arguments that are none.
    pub(super) arguments: &'static str,
    /// The last words when a token's time is over.
    pub(super) expired: &'static str,
}

impl Dialect {
    pub(super) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Plain => plain(),
            Kind::Gmail => super::gmail::dialect("[Gmail]", super::gmail::ENGLISH),
            Kind::Microsoft365 => super::microsoft365::dialect(),
            Kind::Yahoo => super::yahoo::dialect(),
        }
    }

    pub(super) fn is_gmail(&self) -> bool {
        self.kind == Kind::Gmail
    }

    /// Is this advertised after sign-in? `LIST-STATUS`, or `APPENDLIMIT` for any value of it.
    pub(super) fn has(&self, name: &str) -> bool {
        has(&self.after, name)
    }

    pub(super) fn literals(&self, is_signed_in: bool) -> Literals {
        let offered = if is_signed_in { &self.after } else { &self.before };
        match () {
            () if has(offered, "LITERAL+") => Literals::All,
            () if has(offered, "LITERAL-") => Literals::Small,
            () => Literals::Waiting,
        }
    }

    /// The flags of these that a message keeps.
    pub(super) fn kept(&self, flags: &[String]) -> BTreeSet<String> {
        let is_kept = |flag: &&String| match self.keywords {
            _ if flag.starts_with('\\') => SYSTEM.iter().any(|f| f.eq_ignore_ascii_case(flag)),
            Keywords::All => true,
            Keywords::Only(known) => known.iter().any(|k| k.eq_ignore_ascii_case(flag)),
        };
        flags.iter().filter(is_kept).map(|flag| canonical(flag)).collect()
    }

    /// What PERMANENTFLAGS holds.
    pub(super) fn permanent_flags(&self) -> String {
        let system = SYSTEM.join(" ");
        match self.keywords {
            Keywords::All => format!("{system} \\Deleted \\*"),
            Keywords::Only(known) => format!("{system} \\Deleted {}", known.join(" ")),
        }
    }
}

/// Flags that a message keeps wherever it goes.
pub(super) const SYSTEM: [&str; 4] = ["\\Answered", "\\Flagged", "\\Draft", "\\Seen"];

/// System flags as the RFC writes them, whatever case the client chose.
fn canonical(flag: &str) -> String {
    let known = SYSTEM.iter().find(|known| known.eq_ignore_ascii_case(flag));
    known.map_or_else(|| flag.to_owned(), |known| (*known).to_owned())
}

pub(super) fn has(capabilities: &str, name: &str) -> bool {
    capabilities.split(' ').any(|c| c == name || c.split_once('=').is_some_and(|(c, _)| c == name))
}

/// A server without quirks. The others say in what they differ.
pub(super) fn plain() -> Dialect {
    let before = "IMAP4rev1 SASL-IR LITERAL+ ID ENABLE AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER";
    let after = "IMAP4rev1 LITERAL+ ID ENABLE NAMESPACE CHILDREN UNSELECT UIDPLUS MOVE IDLE \
                 CONDSTORE ESEARCH LIST-EXTENDED LIST-STATUS SPECIAL-USE STATUS=SIZE OBJECTID \
                 PARTIAL COMPRESS=DEFLATE";
    let folders = [
        ("INBOX", Role::Inbox),
        ("Archive", Role::Archive),
        ("Drafts", Role::Drafts),
        ("Junk", Role::Junk),
        ("Sent", Role::Sent),
        ("Trash", Role::Trash),
    ];
    Dialect {
        kind: Kind::Plain,
        greeting: format!("* OK [CAPABILITY {before}] ready"),
        before: before.into(),
        after: after.into(),
        tells_capabilities: false,
        id: "(\"name\" \"stand-in\")",
        folders: folders.map(|(name, role)| (name.into(), role, true)).into(),
        keywords: Keywords::All,
        append_limit: 64 << 20,
        connections: 100,
        window: None,
        status_counts_all: false,
        message_limit: None,
        first_uid: 1,
        uid_step: 1,
        errors: usize::MAX,
        admin: None,
        says: Says {
            done: |verb| format!("{verb} completed"),
            signed_in: |_| "signed in".into(),
            token_challenge: Some(r#"{"status":"invalid_token"}"#),
            refused: "NO [AUTHENTICATIONFAILED] no",
            too_many: "NO [LIMIT] Too many connections",
            too_big: "NO [TOOBIG] Too large",
            no_folder: |name| format!("NO [NONEXISTENT] No such folder: {name}"),
            exists: "NO [ALREADYEXISTS] It is there",
            unknown: "BAD No such command",
            arguments: "BAD Cannot read the arguments",
            expired: "BYE Signed out",
        },
    }
}
