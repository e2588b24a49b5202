//! What `benches/inner.rs` measures by itself. Not part of the interface.

use std::io::Cursor;

use tokio::io::{join, sink};

use super::reply::{Reply, read};
use super::wire::{Bodies, Wire};
use crate::flow::Memory;
use crate::platform::Options;

/// Reads all that a server says, bodies too; how many messages it told of.
pub async fn fetched(said: Vec<u8>, memory: &Memory) -> u64 {
    let stream = join(Cursor::new(said), sink());
    let mut wire = Wire::new(Box::new(stream), "bench", &Options::default());
    let mut n_fetched = 0;
    while let Ok(response) = wire.response(Bodies::Keep(memory)).await {
        n_fetched += u64::from(matches!(read(response), Reply::Fetch(_)));
    }
    n_fetched
}
