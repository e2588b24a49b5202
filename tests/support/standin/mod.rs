//! A stand-in for servers that cannot be run here: Gmail, Microsoft 365 and Yahoo, as far as their
//! own documents and what others measured tell how they behave over IMAP. It keeps mail in memory,
//! speaks in the clear on loopback, and is gone when the value is dropped.
//!
//! It knows nothing of drover. `tests/standin/` holds it against clients that others wrote.
//!
//! ```ignore
//! let gmail = Standin::gmail()
//!     .user("anna", |mailbox| mailbox.message(&["INBOX", "Work"], &note("hello")).folder_limit(1000))
//!     .start();
//! ```

mod account;
mod auth;
mod builder;
mod dialect;
mod fetch;
mod folders;
mod gmail;
mod input;
mod microsoft365;
mod news;
pub mod parse;
mod search;
mod server;
mod session;
pub mod set;
mod write;
mod yahoo;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};

pub use self::account::Role;
pub use self::builder::{Builder, MailboxBuilder};
pub use self::dialect::Kind;
pub use self::gmail::{LastExpunge, Twins};
use self::server::Server;
use super::Imap;

/// A running server.
pub struct Standin {
    server: Arc<Server>,
    port: u16,
}

/// A message as the server keeps it, wherever it is seen.
#[derive(Debug, Clone)]
pub struct Stored {
    /// All of it.
    pub bytes: Vec<u8>,
    /// Its flags, without `\Deleted`.
    pub flags: BTreeSet<String>,
    /// The names of the folders that are its labels; of the one that holds it where there are none.
    pub labels: BTreeSet<String>,
    /// INTERNALDATE.
    pub date: DateTime<Utc>,
}

impl Stored {
    /// The value of a header field.
    pub fn header(&self, name: &str) -> Option<String> {
        account::header(&self.bytes, name)
    }
}

impl Standin {
    /// A server like Gmail's, as accounts have it whose language is English.
    pub fn gmail() -> Builder {
        Builder::new(Kind::Gmail)
    }

    /// A server like Exchange Online's.
    pub fn microsoft365() -> Builder {
        Builder::new(Kind::Microsoft365)
    }

    /// A server like Yahoo's.
    pub fn yahoo() -> Builder {
        Builder::new(Kind::Yahoo)
    }

    /// A server like no one's, without quirks.
    pub fn plain() -> Builder {
        Builder::new(Kind::Plain)
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Signs in with the user's password.
    #[track_caller]
    pub fn connect(&self, user: &str) -> Imap {
        self.try_connect(user).unwrap_or_else(|e| panic!("cannot sign in as {user}: {e}"))
    }

    /// The same, with the refusal as the error.
    pub fn try_connect(&self, user: &str) -> Result<Imap, String> {
        let password = self.server.user(user, |user| user.password.clone());
        Imap::try_login("127.0.0.1", self.port, user, &password)
    }

    /// Signs in with a bearer token.
    pub fn connect_with_token(&self, user: &str, token: &str) -> Result<Imap, String> {
        let response = format!("user={user}\u{1}auth=Bearer {token}\u{1}\u{1}");
        let command = format!("AUTHENTICATE XOAUTH2 {}", super::base64(response.as_bytes()));
        Imap::try_sign_in("127.0.0.1", self.port, &command)
    }

    /// All messages of a user, in the order in which they came.
    pub fn stored(&self, user: &str) -> Vec<Stored> {
        self.server.user(user, |user| {
            let name = |id: &account::FolderId| user.account[*id].name.clone();
            let stored = |message: &account::Message| Stored {
                bytes: message.bytes.to_vec(),
                flags: message.flags.clone(),
                labels: message.labels.iter().map(name).collect(),
                date: message.date.to_utc(),
            };
            user.account.messages.values().map(stored).collect()
        })
    }

    /// How many messages each folder holds, whether it shows them or not; empty ones are left out.
    pub fn counts(&self, user: &str) -> BTreeMap<String, usize> {
        self.server.user(user, |user| {
            let folders = user.account.folders.values().filter(|f| !f.entries.is_empty());
            folders.map(|f| (f.name.clone(), f.entries.len())).collect()
        })
    }

    /// Lets the user put one more message there.
    pub fn deliver(&self, user: &str, labels: &[&str], mail: &super::mail::Mail) {
        self.server.user(user, |user| builder::deliver(user, labels, mail));
    }

    /// Ends the user's sessions at their next command, in the platform's words.
    pub fn end_sessions(&self, user: &str) {
        self.server.user(user, |user| user.n_ends += 1);
    }

    /// Ends a token's time, and that of the sessions it began.
    pub fn expire_token(&self, user: &str, token: &str) {
        self.server.user(user, |user| user.expired.insert(token.to_owned()));
    }

    /// From now on this token is good, too.
    pub fn allow_token(&self, user: &str, token: &str) {
        self.server.user(user, |user| user.tokens.insert(token.to_owned()));
    }

    /// The user's bytes of today count no more.
    pub fn next_day(&self, user: &str) {
        self.server.user(user, |user| user.spent = [0; 2]);
    }

    /// The user's bytes of today: to the client, and from it.
    pub fn spent(&self, user: &str) -> [u64; 2] {
        self.server.user(user, |user| user.spent)
    }

    /// Microsoft 365: answers the user's next `n` commands by asking to wait so long.
    pub fn throttle(&self, user: &str, n: u32, backoff: Duration) {
        self.server.user(user, |user| (user.n_throttled, user.backoff) = (n, backoff));
    }

    /// Microsoft 365: ends the sessions of the user's next `n` commands as an unavailable server.
    pub fn be_unavailable(&self, user: &str, n: u32) {
        self.server.user(user, |user| user.n_unavailable = n);
    }

    /// Gmail: lets the OK of every FETCH say `[THROTTLED]`, or no more.
    pub fn be_slow(&self, is_slow: bool) {
        self.server.is_slow.store(is_slow, Ordering::SeqCst);
    }

    /// Messages of the largest command so far, where a command handles so many and no more.
    pub fn largest(&self) -> usize {
        self.server.largest.load(Ordering::SeqCst)
    }

    /// The verbs of all commands so far, in the order in which they came: `UID FETCH`.
    pub fn heard(&self) -> Vec<String> {
        self.server.heard()
    }

    /// From now on the user's password is this.
    pub fn set_password(&self, user: &str, password: &str) {
        self.server.user(user, |user| user.password = password.to_owned());
    }

    /// How often somebody tried to sign in as this user, in vain or not.
    pub fn sign_ins(&self, user: &str) -> usize {
        self.server.user(user, |user| user.n_sign_ins)
    }

    /// Signed-in connections of a user.
    pub fn connections(&self, user: &str) -> usize {
        self.server.user(user, |user| user.n_connections)
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.server.stop();
        // Wakes the listener up.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// A name or label as text on the wire: quoted, or a literal if it cannot be.
fn wire_text(text: &str) -> String {
    if text.contains(['\r', '\n', '\0']) {
        return format!("{{{}}}\r\n{text}", text.len());
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
