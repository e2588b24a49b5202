//! One pass over one mailbox: survey → plan → transfer.
//!
//! - `survey` looks at both sides and the ledger and makes a [`plan`] of it, as plain data;
//!   `basis`, `listing`, `folding`, `naming`, `diff`, `pairing` and `recognise` are its parts. Nothing is written.
//! - `pass` carries the plan out, folder by folder, over as many lanes (pairs of connections) as
//!   the definition allows, which is `crew`; `early`, `job`, `arrive`, `copy`, `again`, `moves`, `flags`, `departures`, `mend`, `renewed` and `allowance` are its parts.
//! - `preflight` looks at both sides before the seed, for what will not go as expected.
//! - `verify` compares both sides without the ledger.
//!
//! `docs/pass.md` tells the whole story.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::flow::{Budgets, Connections, Memory, Rates};
use crate::ledger::{Ledger, PassRecord};
use crate::platform;

mod again;
mod allowance;
mod arrive;
mod basis;
mod bench;
mod copy;
mod crew;
mod departures;
mod diff;
mod early;
mod flags;
mod folding;
#[doc(hidden)]
pub mod inner;
mod job;
mod lane;
mod listing;
mod mend;
mod moves;
pub(crate) mod naming;
mod pairing;
mod pass;
pub mod plan;
pub mod preflight;
mod queue;
mod recognise;
mod renewed;
mod survey;
pub mod verify;

pub use early::Early;
pub use pass::{plan, run};

/// What all passes share. Clones share it too.
#[derive(Clone)]
pub struct Context {
    /// The durable record.
    pub ledger: Ledger,
    /// The budget for message bytes in flight.
    pub memory: Memory,
    /// Connections to each server.
    pub connections: Connections,
    /// Each migration's rate.
    pub rates: Rates,
    /// What each account spent today.
    pub budgets: Budgets,
    /// How connections behave.
    pub options: platform::Options,
    /// What was begun before there was a ledger.
    pub early: Early,
    /// How long a write whose answer was lost may still land.
    pub settle_grace: Duration,
}

impl Context {
    /// The same, on behalf of one mailbox: what is shared is shared fairly with others.
    #[must_use]
    pub(crate) fn for_mailbox(&self) -> Self {
        let (memory, connections) = (self.memory.for_mailbox(), self.connections.for_mailbox());
        Self { memory, connections, ..self.clone() }
    }
}

/// How far a pass is, readable at any time from anywhere.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    stage: AtomicU64,
    messages: AtomicU64,
    messages_total: AtomicU64,
    bytes: AtomicU64,
    bytes_total: AtomicU64,
}

/// What a pass is doing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, Default,
)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Waiting for a slot or a connection.
    #[default]
    Waiting,
    /// Looking at both sides.
    Surveying,
    /// Carrying.
    Transferring,
    /// Closing the accounts.
    Finishing,
}

/// A reading of [`Progress`].
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, Default,
)]
pub struct ProgressReading {
    /// What the pass is doing.
    pub stage: Stage,
    /// Messages settled so far by this pass.
    pub messages: u64,
    /// Messages it set out to settle.
    pub messages_total: u64,
    /// Bytes copied so far.
    pub bytes: u64,
    /// Bytes it set out to copy.
    pub bytes_total: u64,
}

impl Progress {
    /// Says what the pass is doing now.
    pub fn enter(&self, stage: Stage) {
        self.counters.stage.store(stage as u64, Ordering::Relaxed);
    }

    /// Counts from the start again: the pass looks at everything anew.
    pub fn restart(&self) {
        let Counters { stage: _, messages, messages_total, bytes, bytes_total } = &*self.counters;
        for counter in [messages, messages_total, bytes, bytes_total] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// Says what the pass has set out to do.
    pub fn expect(&self, messages: u64, bytes: u64) {
        self.counters.messages_total.fetch_add(messages, Ordering::Relaxed);
        self.counters.bytes_total.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts settled messages and their bytes.
    pub fn advance(&self, messages: u64, bytes: u64) {
        self.counters.messages.fetch_add(messages, Ordering::Relaxed);
        self.counters.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How far it is now.
    pub fn read(&self) -> ProgressReading {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProgressReading {
            stage: match get(&self.counters.stage) {
                1 => Stage::Surveying,
                2 => Stage::Transferring,
                3 => Stage::Finishing,
                _ => Stage::Waiting,
            },
            messages: get(&self.counters.messages),
            messages_total: get(&self.counters.messages_total),
            bytes: get(&self.counters.bytes),
            bytes_total: get(&self.counters.bytes_total),
        }
    }
}

/// What came of a pass that ran to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// For the history.
    pub record: PassRecord,
    /// True if the pass found nothing to do.
    pub quiet: bool,
    /// Things an operator should know that stopped nothing (a keyword dropped, a name repaired).
    pub notes: Vec<String>,
}

/// Why a pass did not run to its end. Everything committed before stands.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One of the two servers.
    #[error("{side}: {error}")]
    Platform {
        /// `source` or `destination`.
        side: Side,
        /// What it said.
        error: crate::platform::Error,
    },
    /// The ledger.
    #[error("the ledger cannot be written: {0}")]
    Ledger(#[from] crate::ledger::Error),
    /// More deletes than `max_delete` allows (law 5).
    #[error(
        "{planned} messages would be removed at the destination, more than max_delete allows ({allowed})"
    )]
    TooManyDeletes {
        /// What the plan held.
        planned: u64,
        /// What the definition allows.
        allowed: u64,
    },
    /// The source shows nothing although the ledger has messages.
    #[error("the source shows no message at all, but {recorded} are recorded")]
    SourceEmpty {
        /// Messages in the ledger.
        recorded: u64,
    },
    /// The cutover's pass was to look at everything, and was not shown everything.
    #[error("{folders} folders of the source show a part of their messages only")]
    PartialView {
        /// How many folders.
        folders: u64,
        /// What to do so that they show more.
        show_all: Option<&'static str>,
    },
    /// A pass whose accounts do not close (law 6): a defect of drover, or a server that lies.
    #[error("the accounts do not close: {seen} messages seen, {accounted} accounted for")]
    Accounts {
        /// Messages the source showed.
        seen: u64,
        /// Messages that are accounted for.
        accounted: u64,
    },
    /// A comparison cannot put aside what it does not hold in memory, or write what it was asked
    /// for.
    #[error("the comparison cannot be written down: {0}")]
    Scratch(std::io::Error),
    /// The manifest is not what it was when it was checked.
    #[error("the manifest cannot be used: {0}")]
    Manifest(#[from] verify::manifest::Wrong),
    /// An account has given, or taken, as much as the definition allows in a day.
    #[error(
        "{side}: the day's {} MB are used up, as daily_bytes allows no more; going on at {}",
        limit / 1_000_000,
        until.format("%Y-%m-%d %H:%M UTC")
    )]
    DayBudget {
        /// Which account.
        side: Side,
        /// Bytes in any 24 hours.
        limit: u64,
        /// When some of it is free again.
        until: chrono::DateTime<chrono::Utc>,
        /// How long that is.
        wait: Duration,
    },
    /// Asked to stop. What was in flight is settled or will be.
    #[error("stopped")]
    Stopped,
}

/// One of the two accounts of a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Where mail comes from.
    Source,
    /// Where it goes.
    Destination,
}

impl std::fmt::Display for Side {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Destination => "destination",
        })
    }
}

impl Error {
    /// Whether and when trying again may help.
    pub fn retry(&self) -> crate::platform::Retry {
        use crate::platform::Retry;
        match self {
            Self::Platform { error, .. } => error.retry(),
            Self::Ledger(_) | Self::Accounts { .. } | Self::Scratch(_) | Self::Stopped => {
                Retry::Soon
            }
            Self::DayBudget { wait, .. } => Retry::After(*wait),
            Self::TooManyDeletes { .. }
            | Self::SourceEmpty { .. }
            | Self::PartialView { .. }
            | Self::Manifest(_) => Retry::Never,
        }
    }

    /// One CamelCase word.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Platform { error, .. } => error.reason(),
            Self::Ledger(_) => "LedgerFailed",
            Self::TooManyDeletes { .. } => "TooManyDeletes",
            Self::SourceEmpty { .. } => "SourceEmpty",
            Self::PartialView { .. } => "PartialView",
            Self::Accounts { .. } => "AccountsOpen",
            Self::Scratch(_) => "ScratchFailed",
            Self::Manifest(_) => "ManifestUnusable",
            Self::DayBudget { .. } => "DayBudgetSpent",
            Self::Stopped => "Stopped",
        }
    }

    /// What the operator can do about it; empty if nothing needs doing.
    pub fn remedy(&self) -> String {
        match self {
            Self::Platform { error, .. } => error.remedy(),
            Self::Ledger(error) => error.remedy().into(),
            Self::Accounts { .. } => "drover looks again; if it stays so, please report it".into(),
            Self::TooManyDeletes { .. } => {
                "if the deletes at the source are meant, raise `max_delete` in [sync]".into()
            }
            Self::SourceEmpty { .. } => "check that the source account is the right one and holds \
                 its mail; drover removes nothing"
                .into(),
            Self::PartialView { show_all, .. } => {
                let show_all = show_all.map_or(String::new(), |what| format!("{what}; or "));
                format!(
                    "{show_all}let the account's owner empty these folders of what need not move; \
                     or, if what is hidden may stay behind, or if there is nothing hidden, set \
                     `partial = \"accept\"` in [source]"
                )
            }
            Self::Scratch(_) => "check the room and the permissions of the directory that is \
                 written to; large folders take about 150 bytes a message in `state`"
                .into(),
            Self::Manifest(_) => "take the manifest from its backup".into(),
            Self::DayBudget { .. } | Self::Stopped => String::new(),
        }
    }
}
