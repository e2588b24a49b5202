//! tmp
pub mod catalog;
pub mod phase;
pub mod queue;
pub mod schedule;
pub mod seal;
#[cfg(test)]
mod testing;
mod turns;
mod walk;
pub mod watch;
