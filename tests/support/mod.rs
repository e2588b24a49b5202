//! What the integration tests stand on: real servers, a raw IMAP client, varied mail and an exact
//! comparison. Nothing here uses drover's own IMAP code, so that a mistake there cannot hide
//! itself.
//!
//! Use it with `mod support;` at the top of a file in `tests/`.

// Every test binary compiles all of this and uses a part.
#![allow(dead_code, unreachable_pub, unused_imports)]

pub mod compare;
pub mod dovecot;
pub mod imap;
pub mod mail;
pub mod tls;
mod utf7;
pub mod world;

pub use compare::{Options, assert_same, snapshot};
pub use dovecot::Dovecot;
pub use imap::Imap;
pub use world::{World, note, subjects};
