//! Every bound in one place: memory, rates, connections, backoff, patience.

mod backoff;
mod connections;
mod memory;
mod patience;
mod rate;

pub use backoff::Backoff;
pub use connections::{ConnectionPermit, Connections};
pub use memory::{Memory, Room};
pub use patience::Patience;
pub use rate::{Rate, Rates};
