//! IMAP.
mod command;
mod names;
mod parse;
mod reply;
mod sayings;
mod session;
mod wire;
