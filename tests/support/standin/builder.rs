//! What a test says of the server it wants.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;

use super::account::{FolderId, Role};
use super::dialect::{Dialect, Kind};
use super::gmail::{self, LastExpunge, Twins};
use super::server::{Server, TokenCheck, User};
use super::{Standin, microsoft365, yahoo};
use crate::support::mail::Mail;

/// A server that does not run yet.
pub struct Builder {
    dialect: Dialect,
    users: Vec<(String, Prepare)>,
    token_check: Option<TokenCheck>,
}

type Prepare = Box<dyn FnOnce(MailboxBuilder) -> MailboxBuilder>;

/// An account that nobody has signed in to yet. Its password is `pw`.
pub struct MailboxBuilder {
    user: User,
}

impl Builder {
    pub(super) fn new(kind: Kind) -> Self {
        Self { dialect: Dialect::of(kind), users: Vec::new(), token_check: None }
    }

    /// An account, filled by `prepare` when the server starts.
    pub fn user(
        mut self,
        name: &str,
        prepare: impl FnOnce(MailboxBuilder) -> MailboxBuilder + 'static,
    ) -> Self {
        self.users.push((name.to_owned(), Box::new(prepare)));
        self
    }

    /// Lets in whoever brings a token that this says is good for that user.
    pub fn tokens_checked_by(
        mut self,
        check: impl Fn(&str, &str) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.token_check = Some(Arc::new(check));
        self
    }

    /// Takes a capability out, before sign-in and after: `CONDSTORE`.
    pub fn without(mut self, capability: &str) -> Self {
        for list in [&mut self.dialect.before, &mut self.dialect.after] {
            let kept = list.split(' ').filter(|c| *c != capability);
            *list = kept.collect::<Vec<_>>().join(" ");
        }
        self
    }

    /// The largest message, in bytes, instead of the platform's.
    pub fn append_limit(mut self, bytes: usize) -> Self {
        let old = format!("APPENDLIMIT={}", self.dialect.append_limit);
        self.dialect.append_limit = bytes;
        let new = format!("APPENDLIMIT={bytes}");
        self.dialect.before = self.dialect.before.replace(&old, &new);
        self.dialect.after = self.dialect.after.replace(&old, &new);
        self
    }

    /// Connections of one account at once, instead of the platform's number.
    pub fn connections(mut self, n: usize) -> Self {
        self.dialect.connections = n;
        self
    }

    /// Gmail: the special folders' names as a German account has them, below `[Google Mail]`.
    pub fn in_german(mut self) -> Self {
        assert_eq!(self.dialect.kind, Kind::Gmail);
        self.dialect.folders = gmail::dialect("[Google Mail]", gmail::GERMAN).folders;
        self
    }

    /// Microsoft 365: takes passwords too, as servers on premises do.
    pub fn with_passwords(mut self) -> Self {
        assert_eq!(self.dialect.kind, Kind::Microsoft365);
        self.dialect.before = microsoft365::BEFORE_WITH_PASSWORDS.into();
        self
    }

    /// On premises: an admin who enters every mailbox as `admin\\mailbox`, or for it by SASL PLAIN.
    pub fn admin(mut self, name: &'static str, password: &'static str) -> Self {
        self.dialect.admin = Some((name, password));
        self
    }

    /// Yahoo: what a folder shows, and what one command handles.
    pub fn window(mut self, messages: usize, at_once: usize) -> Self {
        assert_eq!(self.dialect.kind, Kind::Yahoo);
        (self.dialect.window, self.dialect.message_limit) = (Some(messages), Some(at_once));
        self.dialect.after = yahoo::after(at_once);
        self
    }

    /// Yahoo: STATUS counts what the window hides, too. It was seen to, and not to.
    pub fn status_counts_all(mut self) -> Self {
        assert_eq!(self.dialect.kind, Kind::Yahoo);
        self.dialect.status_counts_all = true;
        self
    }

    /// Starts it.
    pub fn start(self) -> Standin {
        let mut users = BTreeMap::new();
        for (name, prepare) in self.users {
            let prepared = prepare(MailboxBuilder { user: User::new(&self.dialect) });
            users.insert(name, prepared.user);
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen on loopback");
        let port = listener.local_addr().expect("an address").port();
        let server = Arc::new(Server::new(self.dialect, users, self.token_check));
        let shared = Arc::clone(&server);
        std::thread::spawn(move || shared.listen(&listener));
        Standin { server, port }
    }
}

impl MailboxBuilder {
    /// A message under these labels, or in this folder. A folder that is not there is made. With
    /// no label it is archived, which only Gmail knows.
    pub fn message(mut self, labels: &[&str], mail: &Mail) -> Self {
        deliver(&mut self.user, labels, mail);
        self
    }

    /// A message by each of these subjects, one after the other.
    pub fn notes(self, folder: &str, subjects: impl IntoIterator<Item = impl ToString>) -> Self {
        let notes = subjects.into_iter().map(|s| crate::support::note(&s.to_string()));
        notes.fold(self, |mailbox, note| mailbox.message(&[folder], &note))
    }

    /// An empty folder, or a label that no message bears.
    pub fn folder(mut self, name: &str) -> Self {
        made(&mut self.user, name);
        self
    }

    /// The password instead of `pw`.
    pub fn password(mut self, password: &str) -> Self {
        self.user.password = password.into();
        self
    }

    /// The answer to any password: `NO [ALERT] Application-specific password required: …`.
    pub fn refuses_passwords(mut self, answer: &'static str) -> Self {
        self.user.refuses_passwords = Some(answer);
        self
    }

    /// The answer to any sign-in: `NO [ALERT] Your account is not enabled for IMAP use`.
    pub fn refuses(mut self, answer: &'static str) -> Self {
        self.user.refuses_all = Some(answer);
        self
    }

    /// A bearer token that is good.
    pub fn token(mut self, token: &str) -> Self {
        self.user.tokens.insert(token.into());
        self
    }

    /// Gmail: a bearer token of the scope `gmail.imap_admin`, to which nothing is hidden.
    pub fn admin_token(mut self, token: &str) -> Self {
        self.user.admin_tokens.insert(token.into());
        self
    }

    /// Gmail: its owner does not show this label over IMAP.
    pub fn hide(mut self, name: &str) -> Self {
        let id = made(&mut self.user, name);
        if let Some(folder) = self.user.account.folders.get_mut(&id) {
            folder.is_hidden = true;
        }
        self
    }

    /// Gmail: All Mail does not tell that a message got or lost a label. What it does is not
    /// documented.
    pub fn labels_change_unseen(mut self) -> Self {
        self.user.account.ways.labels_change_unseen = true;
        self
    }

    /// Gmail: its owner limits folders to so many messages over IMAP.
    pub fn folder_limit(mut self, messages: usize) -> Self {
        self.user.folder_limit = Some(messages);
        self
    }

    /// Gmail: which appended messages are taken for one that is there.
    pub fn twins(mut self, twins: Twins) -> Self {
        self.user.twins = twins;
        self
    }

    /// Gmail: what becomes of a message expunged from the last folder that showed it.
    pub fn last_expunge(mut self, last: LastExpunge) -> Self {
        self.user.last_expunge = last;
        self
    }

    /// Bytes a day: to the client, and from it.
    pub fn bytes_a_day(mut self, down: u64, up: u64) -> Self {
        self.user.budget = [down, up];
        self
    }

    /// Microsoft 365: bytes come back as they were appended, and sizes are exact.
    pub fn exact(mut self) -> Self {
        self.user.is_exact = true;
        self
    }

    /// Microsoft 365: signing in works, and nothing after it, as without permission or licence.
    pub fn not_connected(mut self) -> Self {
        self.user.is_connected = false;
        self
    }
}

fn made(user: &mut User, name: &str) -> FolderId {
    let found = user.account.find(name);
    found.unwrap_or_else(|| user.account.create(name, Role::None))
}

/// Stores a message as its owner would have it, past all limits and changes.
pub(super) fn deliver(user: &mut User, labels: &[&str], mail: &Mail) {
    let mut labels: Vec<FolderId> = labels.iter().map(|name| made(user, name)).collect();
    if labels.is_empty() {
        labels.extend(user.account.with_role(Role::All));
    }
    let first = *labels.first().expect("a label, or Gmail");
    let flags = mail.flags.split_whitespace().map(str::to_owned).collect();
    let (id, _) = user.account.add(first, mail.bytes.clone().into(), flags, mail.date);
    if user.account.with_role(Role::All).is_some() {
        gmail::follow_flags(&mut user.account, id);
        let mut all = user.account[id].labels.clone();
        all.extend(labels);
        gmail::set_labels(&mut user.account, id, all);
    }
}
