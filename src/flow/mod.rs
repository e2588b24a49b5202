//! Every bound in one place: memory, rates, connections, backoff.

mod backoff;
mod connections;
mod memory;
mod rate;

pub use backoff::Backoff;
pub use connections::{ConnectionPermit, Connections};
pub use memory::{Memory, Room};
pub use rate::{Rate, Rates};
