//! A world over wires that break, stall, dawdle and lie, and what must come of it all the same.

use std::sync::Arc;
use std::time::Duration;

use drover::definition::Endpoint;
use drover::model::PassKind;
use drover::sync::Error;

use super::compare::differences;
use super::{Options, Proxy, World, snapshot};

/// No pass or comparison may take longer, whatever the wire does: several waits, none of them
/// forever.
pub const BOUND: Duration = Duration::from_secs(20);

/// One mailbox with a proxy on each side.
pub struct Tapped {
    /// What lies between the servers.
    pub world: World,
    /// Source, destination.
    pub proxies: [Proxy; 2],
}

impl Tapped {
    /// This world through these proxies, over so many connections to each side.
    pub fn new(mut world: World, proxies: [Proxy; 2], connections: usize) -> Self {
        world.connect_through(&proxies[0], &proxies[1], connections);
        Self { world, proxies }
    }

    /// How drover reaches a side: 0 the source, 1 the destination.
    pub fn endpoint(&mut self, side: usize) -> &mut Endpoint {
        let mailbox = &mut self.world.mailbox;
        Arc::make_mut(&mut [&mut mailbox.source, &mut mailbox.destination][side].endpoint)
    }

    /// Runs a pass over a wire that may be anything, within bounds.
    pub async fn pass(&self, kind: PassKind) -> Result<(), Error> {
        let pass = tokio::time::timeout(BOUND, Box::pin(self.world.try_pass(kind)));
        pass.await.expect("the pass ends").map(|_| ())
    }

    /// Takes the faults away and passes until there is nothing to do.
    pub async fn rest(&self, hint: &str) {
        for proxy in &self.proxies {
            proxy.clear();
            proxy.sever();
        }
        self.proxies.iter().for_each(Proxy::drained);
        self.proxies.iter().for_each(Proxy::heal);
        for _ in 0..4 {
            match Box::pin(self.world.try_pass(PassKind::Delta)).await {
                Ok(report) if report.quiet => return,
                Ok(_) => {}
                Err(error) => panic!("{hint}: the wire is sound, and yet: {error}"),
            }
        }
        panic!("{hint}: drover finds no rest");
    }

    /// The same, and then both sides must be the same.
    pub async fn ends_equal(&self, hint: &str) {
        self.rest(hint).await;
        self.assert_equal(hint);
    }

    /// Panics unless both sides are the same but for the order of messages.
    #[track_caller]
    pub fn assert_equal(&self, hint: &str) {
        let source = snapshot(&mut self.world.at_source());
        let destination = snapshot(&mut self.world.at_destination());
        let found = differences(&source, &destination, &Options::any_order());
        assert!(found.is_empty(), "{hint}:\n{}", found.join("\n"));
    }
}
