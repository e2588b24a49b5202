//! The stand-ins for servers that cannot be run here, held against clients that others wrote.

#[path = "../support/mod.rs"]
mod support;

mod core;
mod gmail;
mod microsoft365;
mod moves;
mod peers;
mod wire;
mod yahoo;
