//! A pair of connections, one to each side, with the right to hold them.

use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use crate::definition::{Account, Mailbox};
use crate::flow::ConnectionPermit;
use crate::platform::{self, Destination, Source};

use super::queue::Upcoming;
use super::{Context, Error, Side};

/// One signed-in connection to each side.
pub(crate) struct Lane {
    pub(crate) source: Box<dyn Source>,
    pub(crate) destination: Box<dyn Destination>,
    pub(crate) upcoming: Upcoming,
    _permits: (ConnectionPermit, ConnectionPermit),
}

impl Lane {
    /// Opens a lane; waits until both servers may be connected to.
    pub(crate) async fn open(context: &Context, mailbox: &Mailbox) -> Result<Self, Error> {
        let servers = (server(&mailbox.source), server(&mailbox.destination));
        let permits = context.connections.acquire_both(&servers.0, &servers.1).await;
        Self::connect(context, mailbox, permits).await
    }

    /// Did a server ask for fewer connections?
    pub(crate) fn is_one_enough(context: &Context, mailbox: &Mailbox) -> bool {
        let patience = &context.options.patience;
        [&mailbox.source, &mailbox.destination]
            .into_iter()
            .any(|a| patience.is_strained(&server(a)))
    }

    /// Opens one more lane if both servers may be connected to at once.
    pub(crate) async fn open_another(
        context: &Context,
        mailbox: &Mailbox,
    ) -> Option<Result<Self, Error>> {
        if Self::is_one_enough(context, mailbox) {
            return None;
        }
        let source = context.connections.try_acquire(&server(&mailbox.source))?;
        let destination = context.connections.try_acquire(&server(&mailbox.destination))?;
        Some(Self::connect(context, mailbox, (source, destination)).await)
    }

    async fn connect(
        context: &Context,
        mailbox: &Mailbox,
        permits: (ConnectionPermit, ConnectionPermit),
    ) -> Result<Self, Error> {
        let (source, destination) = tokio::try_join!(
            async { platform::source(&mailbox.source, &context.options).await.map_err(at_source) },
            async {
                let account = &mailbox.destination;
                platform::destination(account, &context.options).await.map_err(at_destination)
            },
        )?;
        Ok(Self { source, destination, upcoming: Upcoming::default(), _permits: permits })
    }

    /// Takes leave of both servers, for which nobody has to wait: a round trip and more, and the
    /// right to the connections is kept until they are closed.
    pub(crate) fn close(mut self) {
        tokio::spawn(async move {
            tokio::join!(self.source.logout(), self.destination.logout());
        });
    }
}

/// A lane that is being opened while there is still something to find out. Given up when dropped.
pub(crate) struct Promised(AbortOnDropHandle<Option<Result<Lane, Error>>>);

impl Promised {
    /// Begins to open one more lane, if both servers may be connected to at once.
    pub(crate) fn open(context: &Context, mailbox: &Arc<Mailbox>) -> Self {
        let (context, mailbox) = (context.clone(), Arc::clone(mailbox));
        let open = async move { Lane::open_another(&context, &mailbox).await };
        Self(AbortOnDropHandle::new(tokio::spawn(open)))
    }

    /// The lane. `None`: there is none to be had.
    pub(crate) async fn take(self) -> Option<Result<Lane, Error>> {
        match self.0.await {
            Ok(opened) => opened,
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            Err(_) => None,
        }
    }
}

/// One signed-in connection to the destination alone, with the right to hold it.
pub(crate) struct Landing {
    pub(crate) destination: Box<dyn Destination>,
    _permit: ConnectionPermit,
}

impl Landing {
    /// Connects; waits until the server may be connected to.
    pub(crate) async fn open(context: &Context, mailbox: &Mailbox) -> Result<Self, Error> {
        let permit = context.connections.acquire(&server(&mailbox.destination)).await;
        let opened = platform::destination(&mailbox.destination, &context.options).await;
        Ok(Self { destination: opened.map_err(at_destination)?, _permit: permit })
    }

    /// Takes leave.
    pub(crate) async fn close(mut self) {
        self.destination.logout().await;
    }
}

fn server(account: &Account) -> String {
    format!("{}:{}", account.endpoint.host, account.endpoint.port)
}

pub(crate) const fn at_source(error: platform::Error) -> Error {
    Error::Platform { side: Side::Source, error }
}

pub(crate) const fn at_destination(error: platform::Error) -> Error {
    Error::Platform { side: Side::Destination, error }
}
