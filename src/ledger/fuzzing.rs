//! See [`crate::fuzzing`].

use super::page::{Row, decode, encode};
use super::{Record, Stranger};

/// A page is read or refused, with a right checksum and with a wrong one; what was read, written
/// anew, reads the same.
pub fn pages(data: &[u8]) {
    check::<Record>(data);
    check::<Stranger>(data);
}

fn check<R: Row + PartialEq + std::fmt::Debug>(body: &[u8]) {
    const KEY: &[u8] = b"key";
    let _ = decode::<R>(KEY, body);
    let crc = crc32c::crc32c_append(crc32c::crc32c(KEY), body);
    let page = [body, &crc.to_le_bytes()].concat();
    if let Ok(rows) = decode::<R>(KEY, &page) {
        assert_eq!(decode::<R>(KEY, &encode(KEY, &rows)).as_ref(), Ok(&rows));
    }
}
