//! Whom a command talks to: the running daemon, or, without one, an engine of its own. Both are
//! asked the same and answer the same.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;

use super::exit::{self, Failure};
use crate::config::Config;
use crate::control::{Client, ClientError, Reply, Request};
use crate::controller::UNKNOWN;
use crate::daemon::Engine;

/// Progress that waits to be shown.
const BACKLOG: usize = 64;

/// Whom a command talks to.
pub(super) enum Backend {
    /// The daemon behind this socket, and the connection by which it was found.
    Daemon(PathBuf, Mutex<Option<Client>>),
    /// An engine of this process.
    Local(Box<Engine>),
}

impl Backend {
    /// The daemon if it answers, else the ledger itself. `wanted`: over what passes are about to be
    /// asked for.
    ///
    /// # Errors
    /// [`exit::LOCKED`] if another process has the ledger and does not answer.
    pub(super) async fn connect(
        config: &Config,
        wanted: Option<&[String]>,
    ) -> anyhow::Result<Self> {
        let daemon = |found| Self::Daemon(config.socket.clone(), Mutex::new(Some(found)));
        match reach(&config.socket).await? {
            Some(found) => Ok(daemon(found)),
            None => match Engine::start(config, wanted).await {
                Ok(engine) => Ok(Self::Local(Box::new(engine))),
                // A daemon that was starting has its socket by now.
                Err(error) => match reach(&config.socket).await? {
                    Some(found) => Ok(daemon(found)),
                    None => Err(Failure::from(error).into()),
                },
            },
        }
    }

    /// Asks and waits; `progress` sees what is told meanwhile.
    ///
    /// # Errors
    /// [`exit::USAGE`] for a name that is not known.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        request: Request,
        progress: impl FnMut(Value),
    ) -> anyhow::Result<T> {
        self.ask_with(request, None, progress).await
    }

    /// The same with a file that goes along.
    ///
    /// # Errors
    /// [`exit::USAGE`] for a name that is not known.
    pub(super) async fn ask_with<T: DeserializeOwned>(
        &self,
        request: Request,
        upload: Option<File>,
        mut progress: impl FnMut(Value),
    ) -> anyhow::Result<T> {
        let answer = match self {
            Self::Daemon(socket, found) => match connected(socket, found).await? {
                Some(daemon) => match upload {
                    Some(file) => {
                        let file = tokio::fs::File::from_std(file);
                        daemon.ask_with(&request, file, progress).await
                    }
                    None => daemon.ask(&request, progress).await,
                },
                None => Err(ClientError::Broken("it has ended".into())),
            },
            Self::Local(engine) => {
                let (sender, mut told) = mpsc::channel(BACKLOG);
                let answer = engine.server.answer(request, upload, sender);
                tokio::pin!(answer);
                let reply = loop {
                    tokio::select! {
                        biased;
                        Some(data) = told.recv() => progress(data),
                        reply = &mut answer => break reply,
                    }
                };
                match reply {
                    Reply::Progress { data } | Reply::Result { data } => Ok(data),
                    Reply::Error { message, remedy } => {
                        Err(ClientError::Refused { message, remedy })
                    }
                }
            }
        };
        match answer {
            Ok(data) => Ok(serde_json::from_value(data)?),
            Err(ClientError::Refused { message, .. }) if message.starts_with(UNKNOWN) => {
                Err(Failure::new(exit::USAGE, message).into())
            }
            Err(ClientError::Refused { message, remedy }) if !remedy.is_empty() => {
                Err(Failure::new(exit::ERROR, format!("{message}; {remedy}")).into())
            }
            Err(error) => Err(Failure::new(exit::ERROR, error.to_string()).into()),
        }
    }

    /// Takes leave; an engine of our own keeps what it knows.
    pub(super) async fn close(self) {
        if let Self::Local(engine) = self {
            engine.stop().await;
        }
    }
}

/// A connection to the daemon: the one by which it was found, if that was not used yet.
async fn connected(
    socket: &std::path::Path,
    found: &Mutex<Option<Client>>,
) -> anyhow::Result<Option<Client>> {
    let found = found.lock().unwrap_or_else(PoisonError::into_inner).take();
    match found {
        Some(found) => Ok(Some(found)),
        None => reach(socket).await,
    }
}

/// The daemon, if one is there.
pub(super) async fn reach(socket: &std::path::Path) -> anyhow::Result<Option<Client>> {
    Client::connect(socket).await.map_err(|error| {
        let socket = socket.display();
        let message = format!(
            "the daemon's socket {socket} cannot be used: {error}; run this as drover's user"
        );
        Failure::new(exit::ERROR, message).into()
    })
}
