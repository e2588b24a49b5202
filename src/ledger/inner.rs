//! What `benches/inner.rs` measures by itself. Not part of the interface.

use super::{Record, page};

const KEY: &[u8] = b"key";

/// Packs at most 128 records with ascending ids.
pub fn pack(records: &[Record]) -> Vec<u8> {
    page::encode(KEY, records)
}

/// Unpacks what [`pack`] packed.
pub fn unpack(page: &[u8]) -> Option<Vec<Record>> {
    page::decode(KEY, page).ok()
}
