//! Every bound in one place: memory, rates, daily budgets, connections, backoff, patience.
//!
//! What is bounded is shared by mailboxes. [`Memory`], [`Connections`] and [`Rate`] are handles:
//! clones of one stand for the same mailbox, `for_mailbox` makes one that stands for another, and
//! between mailboxes each is fair.

mod backoff;
mod budget;
mod connections;
mod limit;
mod load;
mod memory;
mod patience;
mod rate;
#[cfg(test)]
mod simulation;

pub use backoff::Backoff;
pub use budget::{Budget, Budgets, Spending};
pub use connections::{ConnectionPermit, Connections, End, Gauge};
pub use memory::{Memory, Room};
pub use patience::Patience;
pub use rate::{Rate, Rates};

/// Somebody whom fairness is owed to: a mailbox, for the time of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Party(u64);

impl Party {
    fn new() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static LAST: AtomicU64 = AtomicU64::new(0);
        Self(LAST.fetch_add(1, Ordering::Relaxed))
    }
}
