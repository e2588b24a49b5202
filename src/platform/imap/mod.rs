//! IMAP.
mod command;
mod connect;
mod folder;
mod folders;
mod guard;
mod look;
mod mark;
mod names;
mod parse;
mod reply;
mod sayings;
mod session;
mod tls;
mod wire;
pub async fn connect_source(_: &crate::definition::Account, _: &super::Options) -> super::Result<Box<dyn super::Source>> { loop {} }
pub async fn connect_destination(_: &crate::definition::Account, _: &super::Options) -> super::Result<Box<dyn super::Destination>> { loop {} }
