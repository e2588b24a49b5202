//! What servers say, and what it means. The sayings are data, in [`table`]; this is how they are
//! read: top-down, the first row that fits decides. What people can do when they are not let in is
//! in [`advice`].
//!
//! One table for all platforms, not a part of each preset: no platform's words mean something else
//! elsewhere so far, servers stand behind gateways that speak with another's voice, and which row
//! comes first can only be judged where all of them are seen. One whose words did clash would have
//! rows of its own go before.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::saying::{Saying, Status};
use crate::platform::{Remedy, Scope};

mod advice;
mod table;

pub(super) use advice::Entered;

#[cfg(test)]
mod tests;

/// What a saying means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// User name, password, or token.
    Credentials,
    /// The sign-in has run out; with a fresh secret on a new connection work goes on.
    Expired,
    /// The account may not be used like this.
    Forbidden,
    /// Come back later.
    Throttled,
    /// Too many connections: fewer of them, and later.
    Crowded,
    /// Said in an OK: the work is done, slowly. Fewer connections, more patience.
    Slowed,
    /// The account's space is used up.
    Quota,
    /// The folder does not exist.
    FolderGone,
    /// It exists already.
    Exists,
    /// The folder may not be called that.
    NameTaken,
    /// Trying the same again may help.
    Transient,
    /// Trying the same again will not help.
    Permanent,
    /// Too large today, too large tomorrow.
    TooBig,
    /// Says nothing that would need a reaction.
    Nothing,
}

/// While doing what?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum During {
    /// Signing in, the greeting included.
    SignIn,
    /// APPEND.
    Append,
    /// COPY, MOVE.
    Copy,
    /// CREATE, RENAME.
    Create,
    /// FETCH.
    Fetch,
    /// Anything else, and what is said between commands.
    Other,
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// As the usual backoff says.
    Backoff,
    /// So long.
    For(Duration),
    /// As many milliseconds as the text says, within reason.
    Suggested,
    /// So long the first time, each time twice as long, up to the second.
    Doubling(Duration, Duration),
}

/// One saying, and what to do about it.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// The response code, upper case; empty: whatever code there is or none.
    pub(super) code: Cow<'static, str>,
    /// Found anywhere in the text, lower case; empty: whatever the text.
    pub(super) text: Cow<'static, str>,
    /// Empty: at any time.
    pub(super) during: Cow<'static, [During]>,
    pub(super) class: Class,
    pub(super) wait: Wait,
    /// What stands still because of it.
    pub(super) parks: Scope,
    /// What may make a refused message acceptable.
    pub(super) remedy: Option<Remedy>,
    /// A line as a server really sends it.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the documentation and its test"))]
    pub(super) example: Cow<'static, str>,
}

/// What a saying comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) class: Class,
    pub(super) wait: Wait,
    pub(super) parks: Scope,
    pub(super) remedy: Option<Remedy>,
    /// The longest or only wait there is a number for.
    pub(super) delay: Duration,
}

/// The rows a connection goes by. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Sayings {
    /// Before the common ones.
    own: Arc<[Row]>,
}

/// A wait that a server suggests is not believed beyond this: the longest lock-out that is
/// documented anywhere is a day (Gmail).
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Sayings {
    /// With rows that go before the common ones.
    #[cfg_attr(not(test), expect(dead_code, reason = "presets have no rows of their own yet"))]
    pub(super) fn with(own: Vec<Row>) -> Self {
        Self { own: own.into() }
    }

    /// What a saying means, whatever its status; an OK mostly means `Nothing`.
    pub(super) fn read(&self, saying: &Saying, during: During) -> Verdict {
        let code = saying.code.as_ref().map_or("", |(name, _)| name.as_str());
        let text = saying.text.to_ascii_lowercase();
        let fits = |row: &&Row| {
            // In an OK only what is meant for one is looked for: OKs quote anything.
            ((saying.status == Status::Ok) == (row.class == Class::Slowed))
                && (row.code.is_empty() || row.code == code)
                && text.contains(&*row.text)
                && (row.during.is_empty() || row.during.contains(&during))
        };
        match self.own.iter().chain(table::rows()).find(fits) {
            Some(row) => row.verdict(&text),
            None => unknown(saying.status, during),
        }
    }

    /// What people can do about it, if this is one of the sayings by which a server keeps an account
    /// closed that was entered like this.
    pub(super) fn advice(saying: &Saying, entered: Entered, user: &str) -> Option<String> {
        advice::find(saying, entered).map(|row| row.advice.replace("{user}", user))
    }

    /// Is this one of the sayings, whatever it means?
    pub(super) fn knows(&self, saying: &Saying) -> bool {
        self.read(saying, During::Other) != unknown(saying.status, During::Other)
    }
}

impl Row {
    fn verdict(&self, text: &str) -> Verdict {
        let delay = match self.wait {
            Wait::Backoff => Duration::ZERO,
            Wait::For(delay) | Wait::Doubling(delay, _) => delay,
            Wait::Suggested => suggested(text),
        };
        let Self { class, wait, parks, remedy, .. } = *self;
        Verdict { class, wait, parks, remedy, delay }
    }
}

/// A saying that no row knows.
fn unknown(status: Status, during: During) -> Verdict {
    let (class, parks) = match (status, during) {
        (Status::Ok | Status::Preauth, _) => (Class::Nothing, Scope::Message),
        (Status::Bye, _) => (Class::Transient, Scope::Connection),
        (_, During::SignIn) => (Class::Credentials, Scope::Mailbox),
        (_, During::Create) => (Class::Permanent, Scope::Folder),
        _ => (Class::Permanent, Scope::Message),
    };
    Verdict { class, wait: Wait::Backoff, parks, remedy: None, delay: Duration::ZERO }
}

/// Exchange: `Suggested Backoff Time: 92415 milliseconds`.
fn suggested(text: &str) -> Duration {
    let after = text.split_once("suggested backoff time:").map_or("", |(_, after)| after);
    let digits = after.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    match (&digits[..end], digits[..end].parse().map(Duration::from_millis)) {
        ("", _) => table::MINUTE,
        (_, Ok(told)) => told.min(LONGEST),
        // More than 64 bits hold.
        (_, Err(_)) => LONGEST,
    }
}
