//! How many connections drover holds to a server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Limits connections per server, over all migrations. Clones share the count.
#[derive(Debug, Clone)]
pub struct Connections {
    per_server: usize,
    servers: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
}

/// The right to hold one connection, given back on drop.
#[derive(Debug)]
pub struct ConnectionPermit {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Connections {
    /// At most this many to each server; at least two, for a pass may meet itself: source and
    /// destination on the same server.
    pub fn new(per_server: usize) -> Self {
        Self { per_server: per_server.max(2), servers: Arc::default() }
    }

    /// Waits for the right to one more connection to a server.
    pub async fn acquire(&self, server: &str) -> ConnectionPermit {
        // Semaphores are never closed, so waiting cannot fail.
        ConnectionPermit { _permit: self.server(server).acquire_owned().await.ok() }
    }

    /// Waits for the right to one more connection to each of two servers (which may be one and
    /// the same). Never holds one right while it waits for the other: many passes that did could
    /// wait for each other for ever.
    pub async fn acquire_both(
        &self,
        one: &str,
        other: &str,
    ) -> (ConnectionPermit, ConnectionPermit) {
        if one == other {
            let both = self.server(one).acquire_many_owned(2).await.ok();
            return (ConnectionPermit { _permit: both }, ConnectionPermit { _permit: None });
        }
        let (mut first, mut second) = (one, other);
        let mut swapped = false;
        loop {
            // Semaphores are never closed, so waiting cannot fail.
            let held = ConnectionPermit { _permit: self.server(first).acquire_owned().await.ok() };
            if let Some(both) = self.try_acquire(second) {
                return if swapped { (both, held) } else { (held, both) };
            }
            drop(held);
            std::mem::swap(&mut first, &mut second);
            swapped = !swapped;
        }
    }

    /// The right to one more connection, if there is one at once. For connections that only make
    /// a pass faster: waiting for those while holding others could wait for ever.
    pub fn try_acquire(&self, server: &str) -> Option<ConnectionPermit> {
        let permit = self.server(server).try_acquire_owned().ok()?;
        Some(ConnectionPermit { _permit: Some(permit) })
    }

    fn server(&self, server: &str) -> Arc<Semaphore> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Semaphore::new(self.per_server));
        Arc::clone(servers.entry(server.to_owned()).or_insert_with(new))
    }
}
