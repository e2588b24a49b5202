//! `drover run` and `drover reload`.

use tokio_util::sync::CancellationToken;
use tracing::info;

use super::backend;
use super::exit::{self, Failure};
use crate::config::Config;
use crate::control::Request;
use crate::daemon::{Daemon, Parts, close, handlers};

/// Runs until SIGTERM or SIGINT. SIGHUP reads the definitions.
///
/// # Errors
/// [`exit::LOCKED`] if another drover has the ledger.
pub(super) async fn run(config: &Config) -> anyhow::Result<exit::Exit> {
    let Parts { ledger, settings, catalog, work } =
        Parts::open(config).await.map_err(Failure::from)?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        definitions = %config.definitions.display(),
        "drover is at work"
    );
    let daemon = Daemon {
        settings,
        catalog,
        socket: config.socket.clone(),
        handlers: Box::new(|handle| handlers(work, handle)),
    };
    let ran = daemon.run(CancellationToken::new()).await;
    close(ledger).await;
    ran?;
    info!("drover has stopped");
    Ok(exit::OK)
}

/// Makes a running daemon read its definitions.
///
/// # Errors
/// There is none.
pub(super) async fn reload(config: &Config) -> anyhow::Result<()> {
    let none = || Failure::new(exit::ERROR, "no daemon answers, so there is nothing to reload");
    let daemon = backend::reach(&config.socket).await?.ok_or_else(none)?;
    daemon.ask(&Request::Reload, |_| {}).await?;
    Ok(())
}
