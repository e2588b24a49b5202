//! What the connections of one server share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::account::{Account, Ways};
use super::dialect::{Dialect, Kind};
use super::gmail::{self, LastExpunge, Twins};
use super::parse::Command;
use super::session::Session;

/// Says whether a token lets a user in.
pub(super) type TokenCheck = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

pub(super) struct Server {
    pub(super) dialect: Dialect,
    pub(super) token_check: Option<TokenCheck>,
    /// OK says `[THROTTLED]` where there is much to do.
    pub(super) is_slow: AtomicBool,
    /// Messages of the largest command.
    pub(super) largest: AtomicUsize,
    pub(super) is_over: AtomicBool,
    users: Mutex<BTreeMap<String, User>>,
    streams: Mutex<Vec<TcpStream>>,
    heard: Mutex<Vec<String>>,
}

/// An account, who may enter it, and what it has used up.
#[derive(Debug)]
pub(super) struct User {
    pub(super) account: Account,
    pub(super) password: String,
    pub(super) tokens: BTreeSet<String>,
    pub(super) admin_tokens: BTreeSet<String>,
    /// Their time is over, and that of the sessions they began.
    pub(super) expired: BTreeSet<String>,
    /// Sessions begun before this many ends are over.
    pub(super) n_ends: u64,
    /// The answer to any sign-in.
    pub(super) refuses_all: Option<&'static str>,
    /// The answer to any password.
    pub(super) refuses_passwords: Option<&'static str>,
    pub(super) n_connections: usize,
    /// Tries to sign in.
    pub(super) n_sign_ins: usize,
    /// A folder shows its newest so many messages.
    pub(super) folder_limit: Option<usize>,
    pub(super) twins: Twins,
    pub(super) last_expunge: LastExpunge,
    /// Bytes a day to the client and from it, and those of today.
    pub(super) budget: [u64; 2],
    pub(super) spent: [u64; 2],
    /// Bytes come back as they were appended.
    pub(super) is_exact: bool,
    pub(super) is_connected: bool,
    /// So many commands more are answered by a wish for rest, of this length.
    pub(super) n_throttled: u32,
    pub(super) backoff: Duration,
    /// And so many end their session.
    pub(super) n_unavailable: u32,
}

impl User {
    pub(super) fn new(dialect: &Dialect) -> Self {
        let ways = Ways {
            has_labels: dialect.is_gmail(),
            first_uid: dialect.first_uid,
            uid_step: dialect.uid_step,
            labels_change_unseen: false,
        };
        let mut account = Account::new(ways);
        for (name, role, is_selectable) in &dialect.folders {
            let id = account.create(name, *role);
            if let Some(folder) = account.folders.get_mut(&id) {
                folder.is_selectable = *is_selectable;
            }
        }
        let is_gmail = dialect.is_gmail();
        Self {
            account,
            password: "pw".into(),
            tokens: BTreeSet::new(),
            admin_tokens: BTreeSet::new(),
            expired: BTreeSet::new(),
            n_ends: 0,
            refuses_all: None,
            refuses_passwords: None,
            n_connections: 0,
            n_sign_ins: 0,
            folder_limit: None,
            twins: Twins::default(),
            last_expunge: LastExpunge::default(),
            budget: if is_gmail { gmail::BYTES_A_DAY } else { [u64::MAX; 2] },
            spent: [0; 2],
            is_exact: dialect.kind != Kind::Microsoft365,
            is_connected: true,
            n_throttled: 0,
            backoff: Duration::ZERO,
            n_unavailable: 0,
        }
    }

    /// Counts bytes to the client (0) or from it (1); false if they are more than the day has.
    pub(super) fn spend(&mut self, direction: usize, n: usize) -> bool {
        let spent = self.spent[direction].saturating_add(n as u64);
        let is_within = spent <= self.budget[direction];
        // What was refused had come all the same, or is not sent.
        if is_within || direction == 1 {
            self.spent[direction] = spent;
        } else {
            self.spent[direction] = self.budget[direction];
        }
        is_within
    }

    pub(super) fn has_used_up(&self, direction: usize) -> bool {
        self.spent[direction] >= self.budget[direction]
    }
}

impl Server {
    pub(super) fn new(
        dialect: Dialect,
        users: BTreeMap<String, User>,
        token_check: Option<TokenCheck>,
    ) -> Self {
        Self {
            dialect,
            token_check,
            is_slow: false.into(),
            largest: 0.into(),
            is_over: false.into(),
            users: Mutex::new(users),
            streams: Mutex::default(),
            heard: Mutex::default(),
        }
    }

    /// Takes connections, a thread each, until it is over.
    pub(super) fn listen(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming() {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let Ok(stream) = stream else { continue };
            let _ = stream.set_nodelay(true);
            let Ok(clone) = stream.try_clone() else { continue };
            lock(&self.streams).push(clone);
            let server = Arc::clone(self);
            std::thread::spawn(move || {
                let last = stream.try_clone();
                Session::run(server, stream);
                // The listener's copy would keep it open.
                last.map(|last| last.shutdown(Shutdown::Both)).ok();
            });
        }
    }

    pub(super) fn stop(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        for stream in lock(&self.streams).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(super) fn users(&self) -> MutexGuard<'_, BTreeMap<String, User>> {
        lock(&self.users)
    }

    /// Does something with an account that exists.
    pub(super) fn user<T>(&self, name: &str, act: impl FnOnce(&mut User) -> T) -> T {
        let mut users = self.users();
        act(users.get_mut(name).unwrap_or_else(|| panic!("the stand-in has no user {name}")))
    }

    pub(super) fn checks_token(&self, user: &str, token: &str) -> bool {
        self.token_check.as_ref().is_some_and(|check| check(user, token))
    }

    /// Is this command's OK to say that the account is slowed down?
    pub(super) fn is_slow(&self, verb: &str) -> bool {
        verb.contains("FETCH") && self.is_slow.load(Ordering::SeqCst)
    }

    pub(super) fn hear(&self, command: &Command) {
        lock(&self.heard).push(command.verb.clone());
    }

    /// The verbs so far, in order.
    pub(super) fn heard(&self) -> Vec<String> {
        lock(&self.heard).clone()
    }
}

/// A test that panicked has said what it had to say.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
