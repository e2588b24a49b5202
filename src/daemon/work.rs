//! Questions about single mailboxes that are no passes: what would one do, and in files beside this
//! one, are both sides equal, what could not be brought over. The daemon answers them through its
//! socket, a command without a daemon by itself, both with this.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::control::ProgressSender;
use crate::controller::{Failed, PassJob, Selected, phase};
use crate::ledger::{self, MailboxKey, MailboxLedger};
use crate::model::PassKind;
use crate::sync::plan::Summary;
use crate::sync::verify::Scratch;
use crate::sync::{self, Context};

/// Between two tries to get at a mailbox that a pass is working on.
const AGAIN: Duration = Duration::from_millis(200);

/// How long a question waits for a pass to end.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

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

/// Answers questions. Clones are one.
#[derive(Clone)]
pub struct Work {
    pub(super) context: Context,
    /// For what does not fit in memory.
    pub(super) scratch: Scratch,
    /// Bounds mailboxes that are looked at at once.
    room: Arc<Semaphore>,
}

impl Work {
    /// Looks at `at_once` mailboxes at a time.
    pub fn new(context: Context, scratch: Scratch, at_once: usize) -> Self {
        Self { context, scratch, room: Arc::new(Semaphore::new(at_once.max(1))) }
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

    async fn plan_one(&self, selected: &Selected) -> (PassKind, Result<Summary, sync::Error>) {
        let overview = self.context.ledger.overview(&selected.key).await;
        let state = overview.ok().flatten().unwrap_or_default().state;
        let kind = phase::kind(&state, &selected.migration, Utc::now());
        let plan = patiently(|| sync::plan(&self.context, &selected.mailbox, kind)).await;
        (kind, plan)
    }

    /// Asks of each, some at once; tells how many are done. In the order of the mailboxes.
    pub(super) async fn each<T, F>(
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
pub(super) fn name(selected: &Selected) -> String {
    selected.migration.name.of_mailbox(&selected.mailbox)
}

pub(super) fn split<T>(result: Result<T, sync::Error>) -> (Option<T>, Option<Failed>) {
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

pub(super) async fn lease(
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
