//! Questions about single mailboxes that are no passes: what would one do, are both sides equal,
//! what could not be brought over. The daemon answers them through its socket, a command without
//! a daemon by itself, both with this.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::control::ProgressSender;
use crate::controller::{Failed, Handle, PassJob, Selected, phase};
use crate::ledger::{self, Change, MailboxKey, MailboxLedger, Verdict};
use crate::model::PassKind;
use crate::sync::plan::Summary;
use crate::sync::verify::Comparison;
use crate::sync::{self, Context, Progress};

/// Between two tries to get at a mailbox that a pass is working on.
const AGAIN: Duration = Duration::from_millis(200);

/// How long a question waits for a pass to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the next pass over a mailbox would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MailboxPlan {
    /// `migration/source account`.
    pub mailbox: String,
    /// Which kind of pass it would be.
    pub kind: PassKind,
    /// What it would do; absent if that could not be found out.
    pub plan: Option<Summary>,
    /// Why not.
    pub error: Option<Failed>,
}

/// What a comparison of both sides of a mailbox found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// `migration/source account`.
    pub mailbox: String,
    /// True if nothing differs.
    pub equal: bool,
    /// What was found; absent if a side could not be read.
    pub comparison: Option<Comparison>,
    /// Why not.
    pub error: Option<Failed>,
}

/// A message that could not be brought over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailedMessage {
    /// `migration/source account`.
    pub mailbox: String,
    /// The source folder.
    pub folder: String,
    /// Its id there.
    pub uid: u64,
    /// Its Message-ID, if it could be read.
    pub message_id: Option<String>,
    /// Bytes.
    pub size: u64,
    /// Will it be tried again?
    pub verdict: Verdict,
    /// What happened.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was last tried.
    pub at: DateTime<Utc>,
}

/// Answers questions. Clones are one.
#[derive(Clone)]
pub struct Work {
    context: Context,
    /// Bounds mailboxes that are looked at at once.
    room: Arc<Semaphore>,
}

impl Work {
    /// Looks at `at_once` mailboxes at a time.
    pub fn new(context: Context, at_once: usize) -> Self {
        Self { context, room: Arc::new(Semaphore::new(at_once.max(1))) }
    }

    /// What the next pass over each would do.
    pub async fn plan(&self, mailboxes: Vec<Selected>, done: &ProgressSender) -> Vec<MailboxPlan> {
        let plan = |work: Self, selected: Selected| async move {
            let (kind, plan) = work.plan_one(&selected).await;
            let (plan, error) = split(plan);
            MailboxPlan { mailbox: name(&selected), kind, plan, error }
        };
        self.each(mailboxes, done, plan).await
    }

    /// Compares both sides of each, and tells the controller.
    pub async fn verify(
        &self,
        mailboxes: Vec<Selected>,
        ignore_flags: bool,
        handle: &Handle,
        done: &ProgressSender,
    ) -> Vec<Verified> {
        let verify = |work: Self, selected: Selected| {
            let handle = handle.clone();
            async move {
                let began = Utc::now();
                let progress = Progress::default();
                let mut found =
                    sync::verify::verify(&work.context, &selected.mailbox, &progress).await;
                if let (true, Ok(comparison)) = (ignore_flags, &mut found) {
                    forget_flags(comparison);
                }
                if let Ok(comparison) = &found {
                    handle.verified(selected.key.clone(), began, comparison.total()).await;
                }
                let equal = found.as_ref().is_ok_and(Comparison::is_equal);
                let (comparison, error) = split(found);
                Verified { mailbox: name(&selected), equal, comparison, error }
            }
        };
        self.each(mailboxes, done, verify).await
    }

    /// Messages that were not brought over. With `retry` the next pass tries all of them again.
    ///
    /// # Errors
    /// The ledger's.
    pub async fn failed(
        &self,
        mailboxes: &[Selected],
        retry: bool,
    ) -> Result<Vec<FailedMessage>, ledger::Error> {
        let mut all = Vec::new();
        for selected in mailboxes {
            if retry {
                self.retry(&selected.key).await?;
            }
            let failures = self.context.ledger.failures(&selected.key).await?;
            all.extend(failures.into_iter().map(|(folder, failure)| FailedMessage {
                mailbox: name(selected),
                folder: folder.to_string(),
                uid: failure.id.0,
                message_id: failure.message_id,
                size: failure.size,
                verdict: failure.verdict,
                reason: failure.reason,
                attempts: failure.attempts,
                at: failure.at,
            }));
        }
        Ok(all)
    }

    async fn plan_one(&self, selected: &Selected) -> (PassKind, Result<Summary, sync::Error>) {
        let overview = self.context.ledger.overview(&selected.key).await;
        let state = overview.ok().flatten().unwrap_or_default().state;
        let kind = phase::kind(&state, &selected.migration, Utc::now());
        let plan = patiently(|| sync::plan(&self.context, &selected.mailbox, kind)).await;
        (kind, plan)
    }

    async fn retry(&self, mailbox: &MailboxKey) -> Result<(), ledger::Error> {
        let lease = lease(&self.context, mailbox, Some(PATIENCE)).await?;
        let failures = self.context.ledger.failures(mailbox).await?;
        let skipped = failures.into_iter().map(|(_, failure)| failure);
        let skipped = skipped.filter(|failure| failure.verdict == Verdict::Skipped);
        let again = skipped.map(|mut failure| {
            failure.verdict = Verdict::Failed;
            failure.attempts = 0;
            Change::PutFailure(failure)
        });
        lease.commit(again.collect()).await
    }

    /// Asks of each, some at once; tells how many are done. In the order of the mailboxes.
    async fn each<T, F>(
        &self,
        mailboxes: Vec<Selected>,
        done: &ProgressSender,
        one: impl Fn(Self, Selected) -> F,
    ) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let total = mailboxes.len();
        // Dropped when whoever asked has gone, and all tasks with it.
        let mut asking = JoinSet::new();
        for (n, selected) in mailboxes.into_iter().enumerate() {
            let room = Arc::clone(&self.room);
            let answer = one(self.clone(), selected);
            asking.spawn(async move {
                let _room = room.acquire_owned().await;
                (n, answer.await)
            });
        }
        let mut answers = Vec::with_capacity(total);
        while let Some(answer) = asking.join_next().await {
            answers.extend(answer.ok());
            // A slow reader misses some.
            let _ = done.try_send(json!({ "done": answers.len(), "total": total }));
        }
        answers.sort_by_key(|(n, _)| *n);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }
}

/// Runs a pass for the controller, once nobody else looks at the mailbox.
pub(super) async fn run_pass(context: Context, job: PassJob) -> Result<sync::Report, sync::Error> {
    loop {
        // Somebody may be looking at the mailbox just now; they do not look for long.
        let pass = sync::run(&context, &job.mailbox, job.kind, &job.progress, &job.stop).await;
        if !is_leased(&pass) || job.stop.is_cancelled() {
            return pass;
        }
        sleep(AGAIN).await;
    }
}

/// As operators name a mailbox.
fn name(selected: &Selected) -> String {
    format!("{}/{}", selected.migration.name.0, selected.mailbox.source.user)
}

fn forget_flags(comparison: &mut Comparison) {
    for folder in &mut comparison.folders {
        folder.flags_differ = 0;
        folder.differences.retain(|difference| difference.kind != "flags");
    }
}

fn split<T>(result: Result<T, sync::Error>) -> (Option<T>, Option<Failed>) {
    match result {
        Ok(value) => (Some(value), None),
        Err(error) => {
            let (reason, message) = (error.reason().to_owned(), error.to_string());
            (None, Some(Failed { reason, message, remedy: error.remedy() }))
        }
    }
}

fn is_leased<T>(result: &Result<T, sync::Error>) -> bool {
    matches!(result, Err(sync::Error::Ledger(ledger::Error::Leased(_))))
}

/// Tries again while a pass holds the mailbox, but not for ever.
async fn patiently<T, F: Future<Output = Result<T, sync::Error>>>(
    look: impl Fn() -> F,
) -> Result<T, sync::Error> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let looked = look().await;
        if !is_leased(&looked) || tokio::time::Instant::now() >= deadline {
            return looked;
        }
        sleep(AGAIN).await;
    }
}

async fn lease(
    context: &Context,
    mailbox: &MailboxKey,
    patience: Option<Duration>,
) -> Result<MailboxLedger, ledger::Error> {
    let deadline = patience.map(|patience| tokio::time::Instant::now() + patience);
    loop {
        match context.ledger.mailbox(mailbox).await {
            Err(ledger::Error::Leased(_))
                if deadline.is_none_or(|at| tokio::time::Instant::now() < at) =>
            {
                sleep(AGAIN).await;
            }
            taken => return taken,
        }
    }
}
