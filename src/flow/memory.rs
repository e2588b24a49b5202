//! One budget for all message bytes in flight.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Permits are counted in blocks, so that budgets beyond 4 GiB fit a `u32` count.
const BLOCK: u64 = 1024;

/// The budget. Clones share it.
#[derive(Debug, Clone)]
pub struct Memory {
    blocks: Arc<Semaphore>,
    total: u32,
}

/// A message's share of the budget, given back on drop.
#[derive(Debug, Default)]
pub struct Room {
    _permit: Option<OwnedSemaphorePermit>,
}

impl Memory {
    /// A budget of this many bytes; at least one block.
    pub fn new(bytes: u64) -> Self {
        let total = u32::try_from(bytes.div_ceil(BLOCK).max(1)).unwrap_or(u32::MAX >> 3);
        let total = total.min(u32::MAX >> 3);
        Self { blocks: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Waits until `bytes` fit. A message larger than the whole budget waits until it is alone:
    /// it must pass too, so it takes all there is.
    pub async fn room(&self, bytes: u64) -> Room {
        let wanted = u32::try_from(bytes.div_ceil(BLOCK)).unwrap_or(u32::MAX).clamp(1, self.total);
        // The semaphore is never closed, so the only error cannot happen.
        Room { _permit: Arc::clone(&self.blocks).acquire_many_owned(wanted).await.ok() }
    }
}
