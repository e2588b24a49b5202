//! `drover check --connect`: signs in to both sides of every mailbox and looks for what would
//! bite later. Writes nowhere.

use std::collections::HashMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;

use super::human::{counted, tame};
use super::keyring::{Bar, Keyring};
use super::output::{self, Format};
use crate::definition::{Account, Login, Mailbox, Migration};
use crate::platform::{self, Destination, Error, FolderStatus, Naming, Options, Source};
use crate::sync::Side as End;
use crate::sync::naming::Namer;
use crate::sync::preflight::{self, Finding, Level, Preflight};

/// Mailboxes tried at once: each takes one connection to either side.
const AT_ONCE: usize = 8;

/// What trying one mailbox gave.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Tried {
    /// `migration/source account`.
    pub(super) mailbox: String,
    /// The side that is read.
    pub(super) source: Side,
    /// The side that is written to.
    pub(super) destination: Side,
    /// Source folders whose names the destination cannot hold, with the names they would get.
    pub(super) renamed: Vec<Renamed>,
    /// What else will not go as expected, the worst first.
    pub(super) findings: Vec<Finding>,
}

/// What one account answered.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct Side {
    /// Why drover cannot sign in, or cannot look around.
    pub(super) error: Option<Refused>,
    /// Why it was not tried, although nothing is known to be wrong.
    pub(super) untried: Option<Refused>,
    /// Folders that can hold messages.
    pub(super) folders: u64,
    /// Messages in them, as far as the server tells.
    pub(super) messages: u64,
}

/// Why a side cannot be used.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Refused {
    /// CamelCase.
    pub(super) reason: String,
    /// One sentence.
    pub(super) message: String,
    /// What to do.
    pub(super) remedy: String,
}

/// A folder whose name would change.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Renamed {
    /// At the source.
    pub(super) source: String,
    /// At the destination.
    pub(super) destination: String,
}

impl Side {
    /// Why nothing is known of it.
    fn why(&self) -> Option<&Refused> {
        self.error.as_ref().or(self.untried.as_ref())
    }
}

impl Tried {
    /// True if no side is known to be of no use, and nothing would be left behind.
    pub(super) fn is_ok(&self) -> bool {
        let is_grave = |finding: &Finding| finding.level == Level::Error;
        self.source.error.is_none()
            && self.destination.error.is_none()
            && !self.findings.iter().any(is_grave)
    }

    fn is_untried(&self) -> bool {
        self.source.untried.is_some() || self.destination.untried.is_some()
    }
}

/// Tries every mailbox; as a table each is printed when it is known.
///
/// # Errors
/// The result cannot be written.
pub(super) async fn all(
    migrations: &[&Migration],
    keyring: &Keyring,
    format: Format,
) -> std::io::Result<Vec<Tried>> {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let masters = Masters::default();
    let options = Options { tokens: keyring.tokens.clone(), ..Options::default() };
    let mut trying = JoinSet::new();
    for migration in migrations {
        for mailbox in &migration.mailboxes {
            let (room, masters, options) = (Arc::clone(&room), masters.clone(), options.clone());
            let mailbox = Arc::clone(mailbox);
            let name = format!("{}/{}", migration.name.0, mailbox.source.user);
            let bars = [&mailbox.source, &mailbox.destination]
                .map(|account| keyring.bars(account, &migration.name.0));
            trying.spawn(async move {
                let _room = room.acquire().await;
                Box::pin(one(name, &mailbox, bars, &masters, &options)).await
            });
        }
    }
    let mut tried = Vec::new();
    while let Some(done) = trying.join_next().await {
        let Ok(done) = done else { continue };
        if format == Format::Table {
            output::print(&line(&done))?;
        }
        tried.push(done);
    }
    tried.sort_by(|a, b| a.mailbox.cmp(&b.mailbox));
    let n_failed = tried.iter().filter(|one| !one.is_ok()).count();
    let n_untried = tried.iter().filter(|one| one.is_ok() && one.is_untried()).count();
    if format == Format::Table {
        let all = counted(tried.len() as u64, "mailbox");
        output::print(&match (n_failed, n_untried) {
            (0, 0) => format!("{all}: both sides can be used"),
            (0, n) => format!("{all}: {n} not fully tried, nothing found wrong"),
            (n, 0) => format!("{all}: {n} cannot be used as they are"),
            (n, m) => format!("{all}: {n} cannot be used as they are, {m} not fully tried"),
        })?;
    }
    Ok(tried)
}

async fn one(
    name: String,
    mailbox: &Mailbox,
    [source_bar, destination_bar]: [Option<Bar>; 2],
    masters: &Masters,
    options: &Options,
) -> Tried {
    let Mailbox { source, destination, .. } = mailbox;
    let (source, destination) = tokio::join!(
        unless(source_bar, masters.guarded(source, enter_source(source, options))),
        unless(
            destination_bar,
            masters.guarded(destination, enter_destination(destination, options))
        ),
    );
    let mut tried = Tried {
        mailbox: name,
        source: side(source.as_ref().map(|(_, folders)| folders.as_slice())),
        destination: side(destination.as_ref().map(|(_, folders, _)| folders.as_slice())),
        renamed: Vec::new(),
        findings: Vec::new(),
    };
    let (mut source, mut destination) = (source.ok(), destination.ok());
    if let (Some((from, ours)), Some((to, theirs, naming))) = (&mut source, &mut destination) {
        tried.renamed = renamed(mailbox, ours, theirs, naming);
        match preflight::look(mailbox, &mut **from, &mut **to).await {
            Ok(Preflight { findings, messages }) => {
                tried.findings = findings;
                // Of folders that are labels none is told by itself.
                tried.source.messages = tried.source.messages.max(messages);
            }
            Err((End::Source, error)) => tried.source.error = Some(refused(&error)),
            Err((End::Destination, error)) => tried.destination.error = Some(refused(&error)),
        }
    }
    if let Some((mut source, _)) = source {
        source.logout().await;
    }
    if let Some((mut destination, ..)) = destination {
        destination.logout().await;
    }
    tried
}

async fn unless<T>(
    bar: Option<Bar>,
    entering: impl Future<Output = Result<T, Refused>>,
) -> Result<T, Bar> {
    match bar {
        Some(bar) => Err(bar),
        None => entering.await.map_err(Bar::Failed),
    }
}

async fn enter_source(
    account: &Account,
    options: &Options,
) -> platform::Result<(Box<dyn Source>, Vec<FolderStatus>)> {
    let mut source = platform::source(account, options).await?;
    let folders = source.folders().await?;
    Ok((source, folders))
}

async fn enter_destination(
    account: &Account,
    options: &Options,
) -> platform::Result<(Box<dyn Destination>, Vec<FolderStatus>, Naming)> {
    let mut destination = platform::destination(account, options).await?;
    let folders = destination.folders().await?;
    let naming = destination.naming().await?;
    Ok((destination, folders, naming))
}

fn renamed(
    mailbox: &Mailbox,
    ours: &[FolderStatus],
    theirs: &[FolderStatus],
    naming: &Naming,
) -> Vec<Renamed> {
    let namer = Namer::new(&mailbox.folders, naming, ours, theirs);
    ours.iter()
        .filter(|status| status.selectable && mailbox.select.takes_folder(&status.folder))
        .filter_map(|status| {
            let target = namer.target(&status.folder);
            target.repaired.then(|| Renamed {
                source: status.folder.path.to_string(),
                destination: target.path.to_string(),
            })
        })
        .collect()
}

fn side(looked: Result<&[FolderStatus], &Bar>) -> Side {
    match looked {
        Ok(folders) => {
            let folders = folders.iter().filter(|status| status.selectable);
            let messages = folders.clone().filter_map(|status| status.messages).sum();
            Side { folders: folders.count() as u64, messages, ..Side::default() }
        }
        Err(Bar::Failed(refused)) => Side { error: Some(refused.clone()), ..Side::default() },
        Err(Bar::Untried(why)) => Side { untried: Some(why.clone()), ..Side::default() },
    }
}

/// Master users whose login was refused: it must not be tried six hundred times, for it would be
/// locked.
#[derive(Clone, Default)]
struct Masters {
    known: Arc<Mutex<HashMap<MasterLogin, Arc<Mutex<Master>>>>>,
}

/// Server and user.
type MasterLogin = (String, String);

#[derive(Clone, Default)]
enum Master {
    #[default]
    Untried,
    Good,
    Refused(Refused),
}

impl Masters {
    async fn guarded<T>(
        &self,
        account: &Account,
        look: impl Future<Output = platform::Result<T>>,
    ) -> Result<T, Refused> {
        let Login::MasterUser { user, .. } = &account.login else {
            return look.await.map_err(|error| refused(&error));
        };
        let login = (format!("{}:{}", account.endpoint.host, account.endpoint.port), user.clone());
        let master = Arc::clone(self.known.lock().await.entry(login).or_default());
        // The first one goes alone; the others follow once the login is known to be good.
        let mut first = master.lock().await;
        match &*first {
            Master::Good => {
                drop(first);
                look.await.map_err(|error| refused(&error))
            }
            Master::Refused(before) => Err(Refused {
                message: format!(
                    "not tried, because the master user was refused: {}",
                    before.message
                ),
                ..before.clone()
            }),
            Master::Untried => {
                let looked = look.await;
                match &looked {
                    Ok(_) => *first = Master::Good,
                    Err(error @ (Error::Credentials { .. } | Error::Secret(_))) => {
                        *first = Master::Refused(refused(error));
                    }
                    Err(_) => {}
                }
                looked.map_err(|error| refused(&error))
            }
        }
    }
}

fn refused(error: &Error) -> Refused {
    Refused {
        reason: error.reason().into(),
        message: tame(&error.to_string()),
        remedy: error.remedy(),
    }
}

fn line(tried: &Tried) -> String {
    let mut lines = Vec::new();
    let verdict = match (tried.is_ok(), tried.is_untried()) {
        (true, false) => "ok    ",
        (true, true) => "-     ",
        (false, _) => "FAILED",
    };
    let of = |side: &Side| match side.why() {
        None => {
            format!("{}, {}", counted(side.folders, "folder"), counted(side.messages, "message"))
        }
        Some(refused) => refused.reason.clone(),
    };
    let (source, destination) = (of(&tried.source), of(&tried.destination));
    lines.push(format!("{verdict}  {}: {source} → {destination}", tried.mailbox));
    for (name, side) in [("source", &tried.source), ("destination", &tried.destination)] {
        if let Some(refused) = side.why() {
            lines.push(format!("        {name}: {}", refused.message));
            if !refused.remedy.is_empty() {
                lines.push(format!("        do: {}", refused.remedy));
            }
        }
    }
    for one in &tried.renamed {
        let (from, to) = (tame(&one.source), tame(&one.destination));
        lines.push(format!("        the folder {from} will be called {to}"));
    }
    for finding in &tried.findings {
        let level = match finding.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Notice => "notice",
        };
        lines.push(format!("        {level}: {}", tame(&finding.message)));
        if !finding.remedy.is_empty() {
            lines.push(format!("        do: {}", tame(&finding.remedy)));
        }
    }
    lines.join("\n")
}
