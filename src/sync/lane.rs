//! A pair of connections, one to each side, with the right to hold them.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::definition::{self, Mailbox};
use crate::flow::{ConnectionPermit, Connections, End, Gauge};
use crate::model::Normalisation;
use crate::platform::{self, Account, Destination, FolderStatus, Source};

use super::listing::Listing;
use super::queue::Upcoming;
use super::{Context, Error, Progress, Side, Stage};

/// One signed-in connection to each side.
pub(crate) struct Lane {
    pub(crate) source: Box<dyn Source>,
    pub(crate) destination: Box<dyn Destination>,
    pub(crate) upcoming: Upcoming,
    /// Cancelled when others are to have it, or a server bears fewer: it is given back then, at the
    /// next batch.
    pub(crate) recalled: CancellationToken,
    _permit: ConnectionPermit,
}

impl Lane {
    /// Opens a lane; waits until both servers may be connected to.
    pub(crate) async fn open(context: &Context, mailbox: &Mailbox) -> Result<Self, Error> {
        match context.early.take(mailbox) {
            Some(begun) => begun.take().await,
            None => Self::first(&context.connections, &context.options, mailbox).await,
        }
    }

    async fn first(
        connections: &Connections,
        options: &platform::Options,
        mailbox: &Mailbox,
    ) -> Result<Self, Error> {
        let permit = connections.first(&ends(mailbox)).await;
        // Boxed: it is large, and held by whoever waits for a lane.
        Ok(Box::pin(Self::connect(options, mailbox, permit, None)).await?.0)
    }

    /// Opens a lane and lists both sides, each as soon as it has signed in.
    pub(crate) async fn open_and_list(
        context: &Context,
        mailbox: &Mailbox,
        progress: &Progress,
    ) -> Result<(Self, Listing), Error> {
        if let Some(begun) = context.early.take(mailbox) {
            let mut lane = begun.take().await?;
            progress.enter(Stage::Surveying);
            let listing = lane.list().await?;
            return Ok((lane, listing));
        }
        let (options, permit) = (&context.options, context.connections.first(&ends(mailbox)).await);
        let opened = Box::pin(Self::connect(options, mailbox, permit, Some(progress))).await?;
        let (lane, [source, destination]) = opened;
        Ok((lane, Listing { source, destination }))
    }

    /// Opens one more lane; waits until it is the mailbox's turn to have it.
    ///
    /// # Errors
    /// Also if one of the servers takes no more connections, which is noted: it counts as refused.
    pub(crate) async fn open_further(context: &Context, mailbox: &Mailbox) -> Result<Self, Error> {
        let ends = ends(mailbox);
        let permit = context.connections.further(&ends).await;
        let gauges = ends.each_ref().map(|end| permit.gauge(end));
        let opened = Box::pin(Self::connect(&context.options, mailbox, permit, None)).await;
        if let Err(Error::Platform { side, error }) = &opened {
            // Others stand. Whoever says why was heard when it was said.
            let [source, destination] = &gauges;
            let gauge = if *side == Side::Source { source } else { destination };
            if is_shut_out(error) {
                gauge.crowded();
            }
        }
        Ok(opened?.0)
    }

    /// Folders are listed if somebody is to be told that it has come so far.
    async fn connect(
        options: &platform::Options,
        mailbox: &Mailbox,
        permit: ConnectionPermit,
        lists: Option<&Progress>,
    ) -> Result<(Self, [Vec<FolderStatus>; 2]), Error> {
        let [source, destination] =
            ends(mailbox).map(|end| told(options, mailbox, permit.gauge(&end)));
        let ((source, ours), (destination, theirs)) = tokio::try_join!(
            async {
                let opened = platform::source(&mailbox.source, &source).await;
                let mut source = opened.map_err(at_source)?;
                let listing = listed(source.as_mut(), lists).await;
                listing.map(|folders| (source, folders)).map_err(at_source)
            },
            async {
                let opened = platform::destination(&mailbox.destination, &destination).await;
                let mut destination = opened.map_err(at_destination)?;
                let listing = listed(destination.as_mut(), lists).await;
                listing.map(|folders| (destination, folders)).map_err(at_destination)
            },
        )?;
        permit.opened();
        let (upcoming, recalled) = (Upcoming::default(), permit.recalled().clone());
        let lane = Self { source, destination, upcoming, recalled, _permit: permit };
        Ok((lane, [ours, theirs]))
    }

    /// Lists both sides, at once.
    pub(crate) async fn list(&mut self) -> Result<Listing, Error> {
        let Self { source, destination, .. } = self;
        let (source, destination) =
            tokio::try_join!(async { source.folders().await.map_err(at_source) }, async {
                destination.folders().await.map_err(at_destination)
            })?;
        Ok(Listing { source, destination })
    }

    /// Tells both servers that somebody is there; connects anew to one that is not.
    pub(crate) async fn stay_alive(&mut self) -> Result<(), Error> {
        if self.source.ping().await.is_err() {
            self.source.reconnect().await.map_err(at_source)?;
        }
        if self.destination.ping().await.is_err() {
            self.destination.renew(true).await.map_err(at_destination)?;
        }
        Ok(())
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
pub(crate) struct Promised(AbortOnDropHandle<Result<Lane, Error>>);

impl Promised {
    /// Begins to open a mailbox's first lane.
    pub(crate) fn first(
        connections: &Connections,
        options: &platform::Options,
        mailbox: &Arc<Mailbox>,
    ) -> Self {
        let (connections, options) = (connections.clone(), options.clone());
        let mailbox = Arc::clone(mailbox);
        let open = async move { Lane::first(&connections, &options, &mailbox).await };
        Self(AbortOnDropHandle::new(tokio::spawn(open)))
    }

    /// Begins to open one more lane.
    pub(crate) fn open(context: &Context, mailbox: &Arc<Mailbox>) -> Self {
        let (context, mailbox) = (context.clone(), Arc::clone(mailbox));
        let open = async move { Lane::open_further(&context, &mailbox).await };
        Self(AbortOnDropHandle::new(tokio::spawn(open)))
    }

    /// The lane.
    pub(crate) async fn take(self) -> Result<Lane, Error> {
        match self.0.await {
            Ok(opened) => opened,
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            Err(_) => Err(Error::Stopped),
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
    pub(crate) async fn open(
        context: &Context,
        mailbox: &Mailbox,
        normalisation: Normalisation,
    ) -> Result<Self, Error> {
        let end = end(&mailbox.destination);
        let permit = context.connections.first(std::slice::from_ref(&end)).await;
        let options = platform::Options {
            normalisation,
            ..told(&context.options, mailbox, permit.gauge(&end))
        };
        let opened = platform::destination(&mailbox.destination, &options).await;
        Ok(Self { destination: opened.map_err(at_destination)?, _permit: permit })
    }

    /// Takes leave.
    pub(crate) async fn close(mut self) {
        self.destination.logout().await;
    }
}

async fn listed<A: Account + ?Sized>(
    account: &mut A,
    lists: Option<&Progress>,
) -> platform::Result<Vec<FolderStatus>> {
    let Some(progress) = lists else { return Ok(Vec::new()) };
    progress.enter(Stage::Surveying);
    account.folders().await
}

fn ends(mailbox: &Mailbox) -> [End; 2] {
    [end(&mailbox.source), end(&mailbox.destination)]
}

fn end(account: &definition::Account) -> End {
    let endpoint = &account.endpoint;
    let server = format!("{}:{}", endpoint.host, endpoint.port);
    End { server, account: account.user.clone(), most: endpoint.connections }
}

/// The same for one connection of this mailbox.
fn told(options: &platform::Options, mailbox: &Mailbox, gauge: Gauge) -> platform::Options {
    platform::Options { gauge, normalisation: mailbox.normalisation(), ..options.clone() }
}

/// Did the server not let a connection in, without saying why?
const fn is_shut_out(error: &platform::Error) -> bool {
    use platform::Error::{Broken, Silent, Unreachable};
    matches!(error, Unreachable { .. } | Broken { .. } | Silent { .. })
}

pub(crate) const fn at_source(error: platform::Error) -> Error {
    Error::Platform { side: Side::Source, error }
}

pub(crate) const fn at_destination(error: platform::Error) -> Error {
    Error::Platform { side: Side::Destination, error }
}
