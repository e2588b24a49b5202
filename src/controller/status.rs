//! What `drover status` shows: plain data, stable and additive.

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::catalog::Problem;
use crate::definition::{Generation, MigrationName};
use crate::ledger::PassRecord;
use crate::model::{Condition, PassKind, Phase};
use crate::sync::ProgressReading;

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The daemon itself.
    pub daemon: DaemonStatus,
    /// By name.
    pub migrations: Vec<MigrationStatus>,
    /// By migration, then by source account.
    pub mailboxes: Vec<MailboxStatus>,
}

/// The daemon itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DaemonStatus {
    /// Of drover.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started: DateTime<Utc>,
    /// Digest of all definitions in force.
    pub generation: Generation,
    /// Why nothing is removed, if something is wrong with the directory of definitions.
    pub held: Option<String>,
    /// Why the ledger cannot be written, if it cannot.
    pub ledger_error: Option<String>,
    /// Passes under way.
    pub running: usize,
    /// Mailboxes that are due and wait for room.
    pub waiting: usize,
}

/// A migration in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Summary {
    /// No pass has begun.
    Pending,
    /// The seed is under way, or a delta has not caught up.
    Active,
    /// Everything carried so far as the last passes saw.
    Synced,
    /// Synced, and the declared cutover would be short.
    CutoverReady,
    /// Final or tail passes are under way.
    CuttingOver,
    /// Over.
    Complete,
    /// Something waits for an operator.
    NeedsAttention,
    /// The definition says so.
    Suspended,
    /// No version of the definition could be read.
    Invalid,
}

/// One migration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MigrationStatus {
    /// Its name.
    pub name: MigrationName,
    /// Its file; absent if it is gone.
    pub file: Option<PathBuf>,
    /// The generation in force.
    pub generation: Option<Generation>,
    /// The generation the newest pass of all its mailboxes ran under, if it is one.
    pub observed_generation: Option<Generation>,
    /// In one word.
    pub summary: Summary,
    /// In detail.
    pub conditions: Vec<Condition>,
    /// When the next pass of any mailbox is due.
    pub next_run: Option<DateTime<Utc>>,
    /// When the destination becomes the live system.
    pub cutover_at: Option<DateTime<Utc>>,
    /// Mailboxes by phase.
    pub counts: BTreeMap<String, u64>,
    /// What is wrong with the newest version of its file, and warnings.
    pub problems: Vec<Problem>,
}

/// One mailbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MailboxStatus {
    /// The migration that declares it.
    pub migration: MigrationName,
    /// The account at the source.
    pub source: String,
    /// The account at the destination.
    pub destination: String,
    /// Where it stands.
    pub phase: Phase,
    /// Why it is blocked or failing, in one word.
    pub reason: Option<String>,
    /// … in a sentence.
    pub message: Option<String>,
    /// What the operator can do.
    pub remedy: Option<String>,
    /// Age of the oldest change at the source that may not have been carried yet: seconds since
    /// the last pass began that left nothing behind. Absent until there was one, and once over.
    pub lag_seconds: Option<u64>,
    /// The last pass that ended.
    pub last_pass: Option<PassRecord>,
    /// The last passes, the newest last.
    pub passes: Vec<PassRecord>,
    /// What runs now.
    pub running: Option<PassKind>,
    /// How far it is.
    pub progress: Option<ProgressReading>,
    /// Losses that the definition accepts for this mailbox; how many there are, its last pass
    /// says.
    #[serde(default)]
    pub accept: Vec<AcceptedLoss>,
    /// When the next pass is due.
    pub next_run: Option<DateTime<Utc>>,
}

/// A loss that the definition accepts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AcceptedLoss {
    /// `<a@b>`, or `INBOX, UID 17`.
    pub message: String,
    /// Why, in the operator's words.
    pub reason: String,
}
