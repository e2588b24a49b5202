//! What the controller knows of each mailbox in its care.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use super::Update;
use super::phase::{Next, Pace};
use crate::definition::{Generation, Mailbox, MigrationName};
use crate::ledger::{HISTORY, MailboxState, PassRecord};
use crate::model::PassKind;
use crate::sync::Progress;

/// What the ledger remembers of a mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// Its state.
    pub state: MailboxState,
    /// Its last passes, the newest last.
    pub passes: Vec<PassRecord>,
}

impl Memory {
    /// Passes that ran to their end, the newest first.
    pub(super) fn completed(&self) -> impl Iterator<Item = &PassRecord> {
        self.passes.iter().rev().filter(|pass| pass.error.is_none())
    }

    /// Takes a pass into the history.
    pub(super) fn remember(&mut self, pass: PassRecord) {
        self.passes.push(pass);
        let too_many = self.passes.len().saturating_sub(HISTORY);
        self.passes.drain(..too_many);
    }

    /// When the last pass began that left nothing behind: whatever changed at the source before
    /// has been carried.
    pub(super) fn in_sync_as_of(&self) -> Option<DateTime<Utc>> {
        self.completed().find(|pass| pass.accounts.is_whole()).map(|pass| pass.began)
    }

    /// How long a delta takes lately: the median of the last five.
    pub(super) fn usual_delta(&self) -> Option<TimeDelta> {
        let mut lately: Vec<TimeDelta> = self
            .completed()
            .filter(|pass| pass.kind != PassKind::Seed)
            .take(5)
            .map(|pass| pass.ended - pass.began)
            .collect();
        lately.sort_unstable();
        lately.get(lately.len() / 2).copied()
    }
}

/// Something that went wrong lately and that time may mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) remedy: String,
    /// Throttled until then, by the server's word.
    pub(super) throttled_until: Option<DateTime<Utc>>,
}

/// A pass under way.
#[derive(Debug)]
pub(super) struct Run {
    /// Tells this pass from an earlier one of the same mailbox.
    pub(super) number: u64,
    /// Whose room it takes.
    pub(super) migration: MigrationName,
    /// What it runs under.
    pub(super) generation: Generation,
    pub(super) kind: PassKind,
    pub(super) began: DateTime<Utc>,
    /// When it was first seen connected.
    pub(super) connected: Option<DateTime<Utc>>,
    /// When it was first seen carrying messages.
    pub(super) carrying: Option<DateTime<Utc>>,
    pub(super) progress: Progress,
    pub(super) stop: CancellationToken,
    /// What a block that comes of it is under: as things stood when it began.
    pub(super) under: String,
    /// Operators who wait for this pass.
    pub(super) asked: Vec<UnboundedSender<Update>>,
}

/// One mailbox in the controller's care.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) migration: MigrationName,
    pub(super) mailbox: Arc<Mailbox>,
    /// Absent until the ledger was asked; no pass begins before.
    pub(super) memory: Option<Memory>,
    pub(super) pace: Pace,
    pub(super) next: Option<Next>,
    pub(super) trouble: Option<Trouble>,
    pub(super) run: Option<Run>,
    /// Operators who wait for a pass that has not begun.
    pub(super) asked: Vec<UnboundedSender<Update>>,
    /// True while it waits for room.
    pub(super) lined_up: bool,
    /// The generation its last completed pass ran under.
    pub(super) observed: Option<Generation>,
    /// No definition has it any more; it goes when its pass has stopped.
    pub(super) gone: bool,
}

impl Entry {
    pub(super) fn new(migration: MigrationName, mailbox: Arc<Mailbox>) -> Self {
        Self {
            migration,
            mailbox,
            memory: None,
            pace: Pace::default(),
            next: None,
            trouble: None,
            run: None,
            asked: Vec::new(),
            lined_up: false,
            observed: None,
            gone: false,
        }
    }

    /// As operators name it: `acme-wave-1/alice@old.example`.
    pub(super) fn name(&self) -> String {
        self.migration.of_mailbox(&self.mailbox)
    }

    pub(super) fn state(&self) -> Option<&MailboxState> {
        self.memory.as_ref().map(|memory| &memory.state)
    }
}
