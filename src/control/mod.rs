//! The control socket: how `drover status`, `sync`, `plan`, `failed` and `verify` talk to the
//! daemon. JSON, one value a line, over a Unix socket that only its owner may use.
//!
//! A client sends one [`Request`] and reads [`Reply`] lines until a `result` or an `error`.

mod client;
mod protocol;
mod server;

pub use client::{Client, ClientError};
pub use protocol::{Reply, Request};
pub use server::{Compare, Handler, Handlers, ProgressSender, Server, Socket, SocketError};

#[cfg(test)]
mod tests;
