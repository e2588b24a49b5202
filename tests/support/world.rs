//! Two servers, one mailbox between them and a ledger: what a pass needs, without the daemon.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use drover::definition::{
    Account, Carry, Endpoint, FolderRules, Login, Mailbox, MaxDelete, MigrationName, SecretRef,
    Selection,
};
use drover::flow::{Budgets, Connections, Memory, Rates};
use drover::ledger::{Ledger, MailboxKey};
use drover::model::PassKind;
use drover::platform;
use drover::sync::verify::{self, Comparison, Scratch};
use drover::sync::{self, Context, Early, Error, Progress, Report};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::mail::{self, Mail};
use super::{Dovecot, Imap, Options, Proxy, assert_same, endpoint, snapshot};

/// Everything two accounts (named `anna`) and one pass over them need.
pub struct World {
    /// Where mail comes from.
    pub source: Dovecot,
    /// Where it goes.
    pub destination: Dovecot,
    /// The definition of the one mailbox; change it between passes as an operator would.
    pub mailbox: Mailbox,
    context: Option<Context>,
    state: TempDir,
}

impl World {
    /// Between two plain Dovecots.
    pub async fn new() -> Self {
        Self::between(Dovecot::start(), Dovecot::start()).await
    }

    /// The same, and the destination is to equal the source whatever happens, deletes included.
    pub async fn mirroring() -> Self {
        let mut world = Self::new().await;
        world.mailbox.carry.deletes = true;
        world.mailbox.carry.max_delete = MaxDelete::Percent(100.0);
        world
    }

    /// Between these two.
    pub async fn between(source: Dovecot, destination: Dovecot) -> Self {
        Self::of("anna", source, destination).await
    }

    /// Between the accounts of this user at these two. With [`Dovecot::handle`] and a user each,
    /// many worlds stand on one pair of servers.
    pub async fn of(user: &str, source: Dovecot, destination: Dovecot) -> Self {
        let state = super::dovecot::directory(false);
        let password = state.path().join("password");
        std::fs::write(&password, "pw\n").expect("write a secret");
        let account = |server: &Dovecot| Account {
            user: user.into(),
            endpoint: Arc::new(Endpoint {
                host: server.host().into(),
                connections: 4,
                ..endpoint(server.port())
            }),
            login: Login::Password(SecretRef::File(password.clone())),
        };
        let mailbox = Mailbox {
            migration: MigrationName("world".into()),
            source: account(&source),
            destination: account(&destination),
            carry: Carry {
                flags: true,
                moves: true,
                deletes: false,
                max_delete: MaxDelete::Percent(5.0),
                rate: None,
            },
            select: Selection::default(),
            folders: FolderRules::default(),
            accept: vec![],
        };
        let mut world = Self { source, destination, mailbox, context: None, state };
        world.open_ledger().await;
        world
    }

    /// What passes share.
    pub fn context(&self) -> &Context {
        self.context.as_ref().expect("the ledger is open")
    }

    /// Opens the ledger (again).
    pub async fn open_ledger(&mut self) {
        let path = self.state.path().join("ledger");
        let mut opened = Ledger::open(&path).await;
        // A server that another test starts just now holds a copy of every open file, the lock's
        // too, from its fork to its exec.
        for _ in 0..100 {
            if !matches!(opened, Err(drover::ledger::Error::Locked { .. })) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            opened = Ledger::open(&path).await;
        }
        let (ledger, _) = opened.expect("open the ledger");
        self.context = Some(Context {
            early: Early::default(),
            ledger,
            memory: Memory::new(64 << 20),
            connections: Connections::new(32),
            rates: Rates::default(),
            budgets: Budgets::default(),
            options: platform::Options::default(),
            settle_grace: Duration::from_millis(200),
        });
    }

    /// Closes the ledger, as a stopped daemon does.
    pub async fn close_ledger(&mut self) {
        let context = self.context.take().expect("the ledger is open");
        context.ledger.close().await.expect("close the ledger");
    }

    /// Loses the ledger and starts with an empty one.
    pub async fn lose_ledger(&mut self) {
        self.close_ledger().await;
        std::fs::remove_dir_all(self.state.path().join("ledger")).expect("remove the ledger");
        self.open_ledger().await;
    }

    /// Keeps a copy of the ledger's files, as a backup would; the ledger is closed.
    pub fn copy_ledger(&self) {
        assert!(self.context.is_none(), "the ledger is open");
        let copy = self.state.path().join("copy");
        let _ = std::fs::remove_dir_all(&copy);
        copy_directory(&self.state.path().join("ledger"), &copy);
    }

    /// Closes the ledger and opens the copy that was kept in its place.
    pub async fn restore_ledger(&mut self) {
        self.close_ledger().await;
        let ledger = self.state.path().join("ledger");
        std::fs::remove_dir_all(&ledger).expect("remove the ledger");
        copy_directory(&self.state.path().join("copy"), &ledger);
        self.open_ledger().await;
    }

    /// Puts a proxy between drover and the source. For the first pass on: a server is known by
    /// its address.
    pub fn tap_source(&mut self) -> Proxy {
        tap(&mut self.mailbox.source)
    }

    /// The same before the destination.
    pub fn tap_destination(&mut self) -> Proxy {
        tap(&mut self.mailbox.destination)
    }

    /// Puts these proxies before the servers they were made for, and allows this many
    /// connections to each.
    pub fn connect_through(&mut self, source: &Proxy, destination: &Proxy, connections: usize) {
        let accounts = [&mut self.mailbox.source, &mut self.mailbox.destination];
        for (account, proxy) in accounts.into_iter().zip([source, destination]) {
            let endpoint = Arc::make_mut(&mut account.endpoint);
            (endpoint.port, endpoint.connections) = (proxy.port(), connections);
        }
    }

    /// Changes what passes share, until the ledger is opened again.
    pub fn context_mut(&mut self) -> &mut Context {
        self.context.as_mut().expect("the ledger is open")
    }

    /// A destination that never says which ids messages got there (no UIDPLUS).
    pub fn tap_destination_without_ids(&mut self) -> Proxy {
        let tap = self.tap_destination();
        tap.hide_ids();
        tap
    }

    /// A client at the source.
    pub fn at_source(&self) -> Imap {
        self.source.connect(&self.mailbox.source.user)
    }

    /// A client at the destination.
    pub fn at_destination(&self) -> Imap {
        self.destination.connect(&self.mailbox.destination.user)
    }

    /// Runs a pass that must succeed.
    pub async fn pass(&self, kind: PassKind) -> Report {
        self.try_pass(kind).await.unwrap_or_else(|error| panic!("the pass failed: {error}"))
    }

    /// A delta pass that must succeed.
    pub async fn delta(&self) -> Report {
        self.pass(PassKind::Delta).await
    }

    /// A first pass that must succeed.
    pub async fn seed(&self) -> Report {
        self.pass(PassKind::Seed).await
    }

    /// Runs a pass.
    pub async fn try_pass(&self, kind: PassKind) -> Result<Report, Error> {
        let mailbox = Arc::new(self.mailbox.clone());
        let (progress, stop) = (Progress::default(), CancellationToken::new());
        sync::run(self.context(), &mailbox, kind, &progress, &stop).await
    }

    /// Compares with `drover verify`'s own means.
    pub async fn verify(&self) -> Comparison {
        self.verify_with(&self.compare_all()).await
    }

    /// The same in another way.
    pub async fn verify_with(&self, options: &verify::Options) -> Comparison {
        let verified = self.try_verify(options).await;
        verified.unwrap_or_else(|error| panic!("verify failed: {error}"))
    }

    /// The same, if it can be done.
    pub async fn try_verify(&self, options: &verify::Options) -> Result<Comparison, Error> {
        let mailbox = Arc::new(self.mailbox.clone());
        let progress = Progress::default();
        let verified = verify::verify(self.context(), &mailbox, options, None, &progress);
        // As large as a comparison is; every test would carry it.
        Box::pin(verified).await
    }

    /// How to compare everything.
    pub fn compare_all(&self) -> verify::Options {
        verify::Options::new(Scratch::new(self.state.path()))
    }

    /// The ledger's key of the mailbox.
    pub fn key(&self) -> MailboxKey {
        MailboxKey::of(&self.mailbox)
    }

    /// Panics unless both sides are the same in folders, order, bytes, flags and dates.
    #[track_caller]
    pub fn assert_same(&self) {
        self.assert_same_but(&Options::default());
    }

    /// The same, but for what the options allow.
    #[track_caller]
    pub fn assert_same_but(&self, options: &Options) {
        let source = snapshot(&mut self.at_source());
        let destination = snapshot(&mut self.at_destination());
        assert_same(&source, &destination, options);
    }
}

fn tap(account: &mut Account) -> Proxy {
    let proxy = Proxy::before(account.endpoint.port);
    Arc::make_mut(&mut account.endpoint).port = proxy.port();
    proxy
}

/// Copies a directory with all that is in it.
pub fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("make a directory");
    for entry in std::fs::read_dir(from).expect("read a directory") {
        let entry = entry.expect("read a directory");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_directory(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copy a file");
        }
    }
}

/// A short plain message whose subject is `text` and whose Message-ID derives from it.
pub fn note(text: &str) -> Mail {
    let mut mail = mail::message(0, 0);
    mail.bytes = format!(
        "Message-ID: <{}@notes.example>\r\nDate: Thu, 1 Jan 2026 10:00:00 +0000\r\n\
         From: bo@a.example\r\nSubject: {text}\r\n\r\n{text}\r\n",
        text.replace(' ', "-")
    )
    .into_bytes();
    mail.flags = String::new();
    mail
}

/// Subjects of a folder's messages, in order.
pub fn subjects(imap: &mut Imap, folder: &str) -> Vec<String> {
    let subject = |body: &[u8]| {
        let text = String::from_utf8_lossy(body).into_owned();
        let line = text.lines().find_map(|l| l.strip_prefix("Subject: ").map(str::to_owned));
        line.unwrap_or_default()
    };
    imap.messages(folder).iter().map(|m| subject(&m.body)).collect()
}
