//! `drover run`: the directory, the controller and the control socket put together, with signals.
//!
//! [`Parts`] is what it is made of (`definitions` and `keeping` are the directory and the ledger),
//! [`Engine`] the same for a single command without a daemon, and [`Work`] answers questions
//! about mailboxes that are no passes, for both.
//!
//! SIGTERM and SIGINT stop it, passes first; SIGHUP reads the definitions now, accepts removals
//! and tries blocked mailboxes again.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::control::{Handlers, Server, Socket, SocketError};
use crate::controller::catalog::Catalog;
use crate::controller::{Controller, Handle, Settings, systemd, watch};

mod comparing;
mod definitions;
mod engine;
mod failures;
mod keeping;
mod work;

pub use comparing::{Refused, Verified};
pub use engine::{Engine, OpenError, Parts, handlers};
pub use failures::{FailedMessage, Failures, Fate, Unmatched};
pub use keeping::{close, open, vault};
pub use work::{MailboxPlan, Work};

/// What the daemon is made of.
pub struct Daemon {
    /// How the controller runs.
    pub settings: Settings,
    /// The definitions.
    pub catalog: Catalog,
    /// Where clients find it.
    pub socket: PathBuf,
    /// Who answers what the controller does not, given a way to ask the controller.
    pub handlers: Box<dyn FnOnce(&Handle) -> Handlers + Send>,
}

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The control socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The ledger does not say which migrations it knows; without that an unmounted directory
    /// would look empty.
    #[error("the ledger cannot be read: {0}; check the disk that holds `state`")]
    Ledger(String),
    /// The operating system gives no thread or no signals.
    #[error("cannot start: {0}")]
    Os(#[from] std::io::Error),
}

impl Daemon {
    /// Runs until a signal or `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        // Before anybody can find it: a signal that nobody heeds kills.
        let signals = signals()?;
        let socket = Socket::bind(&self.socket).await?;
        let known = (self.settings.book.known)().await.map_err(Error::Ledger)?;
        self.catalog.remember(known);
        let (controller, handle) = Controller::new(self.settings);

        let declare = handle.clone();
        let (was_read, mut is_read) = tokio::sync::watch::channel(false);
        let watch = watch::watch(self.catalog, move |snapshot, reload| {
            let goes_on = declare.declare(snapshot, reload);
            was_read.send_replace(true);
            goes_on
        })?;
        let reload = {
            let watch = watch.clone();
            move || {
                systemd::reloading();
                watch.reload();
            }
        };
        let signals = tokio::spawn(heed(signals, shutdown.clone(), reload.clone()));
        let handlers = (self.handlers)(&handle);
        let server = Server { handle, handlers, reload: Arc::new(reload) };
        let serving = CancellationToken::new();
        let stop = serving.clone();
        let server = tokio::spawn(async move {
            // Who asks before anything is declared would hear that there is nothing.
            let _ = stop.run_until_cancelled(is_read.wait_for(|is_read| *is_read)).await;
            server.run(socket, stop).await;
        });

        controller.run(shutdown).await;
        // Clients hear until the end how it goes.
        serving.cancel();
        watch.stop();
        signals.abort();
        if let Err(error) = server.await {
            warn!("the control socket ended badly: {error}");
        }
        Ok(())
    }
}

type Signals = [tokio::signal::unix::Signal; 3];

fn signals() -> std::io::Result<Signals> {
    Ok([
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    ])
}

async fn heed(signals: Signals, shutdown: CancellationToken, reload: impl Fn()) {
    let [mut terminate, mut interrupt, mut hangup] = signals;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                info!("reading the definitions again");
                reload();
            }
        }
    }
    info!("stopping");
    shutdown.cancel();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::control::{Client, Request};
    use crate::controller::catalog::Loaded;
    use crate::controller::testing::{migration, report};
    use crate::controller::{Book, Memory};
    use crate::definition::MigrationName;
    use crate::ledger::MailboxKey;
    use crate::sync::verify::Scratch;

    fn daemon(directory: &std::path::Path) -> Daemon {
        daemon_that_reads(directory, Duration::ZERO)
    }

    /// It takes so long to read a definition.
    fn daemon_that_reads(directory: &std::path::Path, time: Duration) -> Daemon {
        let load = move |path: &std::path::Path| {
            std::thread::sleep(time);
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let migration = migration(&name, &[&name]);
            Ok(Loaded { migration, warnings: vec![], files: vec![] })
        };
        let book = Book {
            recall: Arc::new(|_| Box::pin(async { Ok(Memory::default()) })),
            keep: Arc::new(|_, _| Box::pin(async { Ok(()) })),
            known: Arc::new(|| Box::pin(async { Ok(vec![MigrationName("gone".into())]) })),
            keep_known: Arc::new(|_| Box::pin(async { Ok(()) })),
        };
        let runner: crate::controller::PassRunner =
            Arc::new(|job| Box::pin(async move { Ok(report(job.kind, chrono::Utc::now(), 0)) }));
        let scratch = Scratch::new(directory);
        let nobody = |_: &Handle| Handlers {
            scratch,
            plan: Arc::new(|_, _| Box::pin(std::future::pending())),
            failed: Arc::new(|_, _| Box::pin(std::future::pending())),
            verify: Arc::new(|_, _| Box::pin(std::future::pending())),
        };
        Daemon {
            settings: Settings::new(2, runner, book, |m| MailboxKey(m.source.user.as_str().into())),
            catalog: Catalog::new(directory.join("defs"), Box::new(load), Box::new(|_| vec![])),
            socket: directory.join("drover.sock"),
            handlers: Box::new(nobody),
        }
    }

    async fn until(socket: &std::path::Path, wanted: &str) {
        for _ in 0..100 {
            if let Ok(Some(client)) = Client::connect(socket).await {
                let status = client.ask(&Request::Status { name: None }, |_| {}).await.unwrap();
                if status.to_string().contains(wanted) {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never seen: {wanted}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_asks_while_it_starts_hears_of_what_is_declared() {
        let directory = tempfile::tempdir().unwrap();
        let definitions = directory.path().join("defs");
        std::fs::create_dir(&definitions).unwrap();
        std::fs::write(definitions.join("acme.toml"), "").unwrap();
        let socket = directory.path().join("drover.sock");
        let shutdown = CancellationToken::new();
        let daemon = daemon_that_reads(directory.path(), Duration::from_millis(500));
        let running = tokio::spawn(daemon.run(shutdown.clone()));
        let client = loop {
            match Client::connect(&socket).await {
                Ok(Some(client)) => break client,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        let status = client.ask(&Request::Status { name: None }, |_| {}).await.unwrap();
        assert!(status.to_string().contains("acme"), "{status}");
        shutdown.cancel();
        running.await.unwrap().unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_starts_follows_the_directory_reloads_and_stops() {
        let directory = tempfile::tempdir().unwrap();
        let definitions = directory.path().join("defs");
        std::fs::create_dir(&definitions).unwrap();
        let socket = directory.path().join("drover.sock");
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(daemon(directory.path()).run(shutdown.clone()));
        // What it knew before the restart is not there: held until an operator says so.
        until(&socket, "shows no definition any more").await;
        let client = Client::connect(&socket).await.unwrap().unwrap();
        client.ask(&Request::Reload, |_| {}).await.unwrap();
        until(&socket, r#""held":null"#).await;
        std::fs::write(definitions.join("acme.toml"), "").unwrap();
        until(&socket, r#""phase":"syncing""#).await;
        shutdown.cancel();
        running.await.unwrap().unwrap();
        assert!(!socket.exists());
    }
}
