//! `drover run`: the daemon from its start to its end.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::backend;
use super::engine::Engine;
use super::exit::{self, Failure};
use crate::config::Config;
use crate::control::{Request, Socket};
use crate::controller::systemd;
use crate::controller::watch::WatchHandle;

/// Runs until SIGTERM or SIGINT. SIGHUP reads the definitions.
///
/// # Errors
/// [`exit::LOCKED`] if another drover has the ledger.
pub(super) async fn run(config: &Config) -> anyhow::Result<exit::Exit> {
    // Before anything is started, so that no signal is missed.
    let (mut terminate, mut interrupt, mut hang_up) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    );
    let (engine, watch) = Engine::daemon(config).await?;
    // The ledger's lock is ours: whoever listens on the socket is not at this ledger.
    let socket = match Socket::bind(&config.socket).await {
        Ok(socket) => socket,
        Err(error) => {
            watch.stop();
            engine.stop().await;
            return Err(Failure::new(exit::ERROR, error.to_string()).into());
        }
    };
    let stop = CancellationToken::new();
    let clients = tokio::spawn(engine.server.clone().run(socket, stop.clone()));
    info!(
        version = env!("CARGO_PKG_VERSION"),
        definitions = %config.definitions.display(),
        "drover is at work"
    );
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => reload_now(&watch),
        }
    }
    info!("drover stops");
    watch.stop();
    // Passes first, so that clients hear what became of theirs.
    let stopped = tokio::select! {
        () = engine.stop() => exit::OK,
        _ = again(&mut terminate, &mut interrupt) => {
            error!("asked twice: leaving now; the next start settles what was in flight");
            exit::ERROR
        }
    };
    stop.cancel();
    if let Err(error) = clients.await {
        error!("the control socket ended badly: {error}");
    }
    Ok(stopped)
}

/// `drover reload`.
///
/// # Errors
/// There is no daemon.
pub(super) async fn reload(config: &Config) -> anyhow::Result<()> {
    let none = || Failure::new(exit::ERROR, "no daemon answers, so there is nothing to reload");
    let daemon = backend::reach(&config.socket).await?.ok_or_else(none)?;
    daemon.ask(&Request::Reload, |_| {}).await?;
    Ok(())
}

pub(super) fn reload_now(watch: &WatchHandle) {
    info!("reading the definitions, as asked");
    systemd::reloading();
    watch.reload();
}

async fn again(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
