//! Where a mailbox stands, what a pass is, and the accounts that every pass closes.

use std::fmt;
use std::ops::AddAssign;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a mailbox stands on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// No pass has begun.
    #[default]
    Pending,
    /// The first pass is under way, or was cut short.
    Seeding,
    /// Seeded; deltas follow the source.
    Syncing,
    /// The cutover's moment has come; final passes until one finds nothing.
    Finalizing,
    /// Cut over; late mail is still fetched until the tail ends.
    Draining,
    /// Done; no pass will run again.
    Complete,
    /// The definition says `suspend = true`.
    Suspended,
    /// Waits for an operator: credentials, quota, `max_delete` …
    Blocked,
}

/// What kind of pass: the phase it serves decides what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PassKind {
    /// The first.
    Seed,
    /// A later one, before the cutover.
    Delta,
    /// One at the cutover.
    Final,
    /// One after it: brings late mail, mirrors neither deletes nor moves (law 5).
    Tail,
}

impl PassKind {
    /// May deletes and moves at the source be mirrored? Only before the destination is live.
    pub const fn mirrors(self) -> bool {
        !matches!(self, Self::Tail)
    }
}

/// Where every message that a pass saw has gone (law 6), in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Accounts {
    /// Messages in the source folders that take part.
    pub seen: u64,
    /// Copied by this pass.
    pub copied: u64,
    /// Found at the destination by this pass, not written by drover.
    pub adopted: u64,
    /// In the ledger before this pass began.
    pub already_there: u64,
    /// Left out by `[select]`.
    pub filtered: u64,
    /// Will not be tried again by itself, each with its reason in the ledger.
    pub skipped: u64,
    /// Refused or unreadable this time, each with its reason in the ledger; tried again.
    pub failed: u64,
    /// Left for the next pass: the pass was stopped, or the message left its place meanwhile.
    pub deferred: u64,
    /// Of those skipped and failed: losses that the definition accepts.
    #[serde(default)]
    pub accepted: u64,
}

impl Accounts {
    /// The right-hand side of law 6.
    pub const fn accounted(&self) -> u64 {
        self.copied
            + self.adopted
            + self.already_there
            + self.filtered
            + self.skipped
            + self.failed
            + self.deferred
    }

    /// Do they close?
    pub const fn close(&self) -> bool {
        self.seen == self.accounted()
    }

    /// Messages that were not brought over and whose loss nobody has accepted.
    pub const fn lost(&self) -> u64 {
        (self.skipped + self.failed).saturating_sub(self.accepted)
    }

    /// Is every selected message at the destination, or its loss accepted?
    pub const fn is_whole(&self) -> bool {
        self.close() && self.lost() == 0 && self.deferred == 0
    }
}

impl AddAssign for Accounts {
    fn add_assign(&mut self, other: Self) {
        self.seen += other.seen;
        self.copied += other.copied;
        self.adopted += other.adopted;
        self.already_there += other.already_there;
        self.filtered += other.filtered;
        self.skipped += other.skipped;
        self.failed += other.failed;
        self.deferred += other.deferred;
        self.accepted += other.accepted;
    }
}

macro_rules! display_as_serialized {
    ($($type:ty),*) => {$(
        /// In lower case, as in JSON.
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!("{self:?}").to_lowercase())
            }
        }
    )*};
}
display_as_serialized!(Phase, PassKind);
