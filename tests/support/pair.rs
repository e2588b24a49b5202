//! Two servers for many worlds, a user for each.

use std::sync::atomic::{AtomicU32, Ordering};

use drover::definition::Tls;

use super::{Dovecot, Proxy, Tapped, World};

/// Two servers, and as many worlds between them as a test has cases.
pub struct Pair {
    source: Dovecot,
    destination: Dovecot,
    n_users: AtomicU32,
}

impl Pair {
    /// Of these two.
    pub fn of(source: Dovecot, destination: Dovecot) -> Self {
        Self { source, destination, n_users: AtomicU32::new(0) }
    }

    /// Source, destination.
    pub fn both(&self) -> [&Dovecot; 2] {
        [&self.source, &self.destination]
    }

    /// A world of a user that has nothing yet.
    pub async fn world(&self) -> World {
        let user = format!("user{}", self.n_users.fetch_add(1, Ordering::Relaxed));
        World::of(&user, self.source.handle(), self.destination.handle()).await
    }

    /// The same with a proxy on each side, over so many connections to each.
    pub async fn tapped(&self, connections: usize) -> Tapped {
        let proxies = self.both().map(|server| Proxy::before(server.port()));
        Tapped::new(self.world().await, proxies, connections)
    }

    /// The same in TLS, where a proxy sees nothing but bytes.
    pub async fn encrypted(&self, connections: usize) -> Tapped {
        let proxies = self.both().map(|server| Proxy::raw(server.tls_port()));
        let mut tapped = Tapped::new(self.world().await, proxies, connections);
        for (side, server) in self.both().into_iter().enumerate() {
            let endpoint = tapped.endpoint(side);
            (endpoint.tls, endpoint.ca_file) = (Tls::Implicit, Some(server.ca_file()));
        }
        tapped
    }
}
