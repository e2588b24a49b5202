//! drover moves live mailboxes between mail platforms.
//!
//! A directory of TOML definitions is the desired state; drover reconciles every mailbox in it
//! against a ledger of the messages it has copied, runs delta passes on a schedule, and at the
//! cutover makes the final pass, drains late mail, and stops.
//!
//! Modules in reading order; each may use only those above it in this list
//! (`tests/architecture.rs` holds that):
//!
//! 1. [`model`]: the words. No I/O, no clock.
//! 2. [`preset`]: what is known of mail systems, as data. [`definition`] and [`config`]: what
//!    the operator declared.
//! 3. [`tls`]: whom drover trusts. [`auth`], [`flow`], [`ledger`]: secrets, bounds, the durable
//!    record.
//! 4. [`platform`]: the mail systems, behind `Source` and `Destination`.
//! 5. [`sync`]: one pass: survey → plan → transfer.
//! 6. [`controller`]: which passes run, and when.
//! 7. [`control`]: the socket by which the command line talks to the daemon.
//! 8. [`daemon`]: all of it put together, with signals; and without a daemon, for one command.
//! 9. [`telemetry`] and [`cli`]: the faces. They parse, call and print, and decide nothing.

pub mod auth;
pub mod cli;
pub mod config;
pub mod control;
pub mod controller;
pub mod daemon;
pub mod definition;
pub mod flow;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod ledger;
pub mod model;
pub mod platform;
pub mod preset;
pub mod sync;
pub mod telemetry;
pub mod tls;
