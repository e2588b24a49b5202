//! The cursor of a folder that shows a part of a store: how the account stood, and what the folder
//! held.
//!
//! Gmail tells what changed (CONDSTORE) and not what is gone (it has no QRESYNC), and no word of
//! its own says that a label was taken away. So whole sets are kept, as compact as ids lie close,
//! and compared.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use crate::model::{Cursor, Epoch, IdSet};
use crate::platform::imap::reply::id_set;

/// Written first, so that it is told from an IMAP folder's own.
const FORM: u8 = 3;
/// Bytes of a SHA-256.
const DIGEST: usize = 32;
/// A set is no longer than this when it is written out, bytes; drover wrote it.
const LONGEST: u64 = 1 << 30;

/// A digest over how the account stood, or how it was built.
pub(super) type Digest = [u8; DIGEST];

/// What a folder held when its store was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    /// UIDVALIDITY of the store.
    pub(super) epoch: Epoch,
    /// HIGHESTMODSEQ of the store, from before it was read; without one, changes cannot be told.
    pub(super) modseq: Option<u64>,
    /// How labels became folders.
    pub(super) structure: Digest,
    /// All messages of the store that bear the folder's label.
    pub(super) labelled: IdSet,
    /// Those of them that the folder shows, which the policy decides.
    pub(super) placed: IdSet,
}

/// The cursor of an account that stands so, without what the folder holds.
pub(super) fn of_state(state: Digest) -> Cursor {
    let mut bytes = vec![FORM];
    bytes.extend(state);
    Cursor(bytes)
}

/// The same cursor, with what the folder holds.
pub(super) fn with_held(state: &Cursor, held: &Held) -> Cursor {
    let Held { epoch, modseq, structure, labelled, placed } = held;
    let placed = if placed == labelled { "=".into() } else { placed.to_string() };
    // No folder has a HIGHESTMODSEQ of 0 (RFC 7162, 3.1.2.1).
    let text = format!("{} {} {labelled} {placed}", epoch.0, modseq.unwrap_or(0));
    let mut bytes = state.0.clone();
    bytes.truncate(1 + DIGEST);
    bytes.extend(structure);
    let mut deflate = DeflateEncoder::new(bytes, Compression::default());
    // Into memory: there is nothing that could fail.
    let written = deflate.write_all(text.as_bytes()).and_then(|()| deflate.finish());
    Cursor(written.unwrap_or_default())
}

/// Stands the account as it did?
pub(super) fn is_unchanged(then: &Cursor, now: &Cursor) -> bool {
    let state = |cursor: &Cursor| cursor.0.get(..=DIGEST).map(<[u8]>::to_vec);
    then.0.first() == Some(&FORM) && state(then) == state(now)
}

/// What the folder held; `None` if the cursor does not tell, or drover never wrote it.
pub(super) fn held(then: &Cursor) -> Option<Held> {
    let (&FORM, rest) = then.0.split_first()? else { return None };
    let (structure, packed) = rest.get(DIGEST..)?.split_first_chunk()?;
    let mut text = String::new();
    DeflateDecoder::new(packed).take(LONGEST).read_to_string(&mut text).ok()?;
    let mut parts = text.split(' ');
    let epoch = parts.next()?.parse().ok()?;
    let modseq = Some(parts.next()?.parse().ok()?).filter(|&modseq| modseq > 0);
    let (labelled, placed) = (parts.next()?, parts.next()?);
    let labelled = id_set(labelled.as_bytes());
    let placed = if placed == "=" { labelled.clone() } else { id_set(placed.as_bytes()) };
    Some(Held { epoch: Epoch(epoch), modseq, structure: *structure, labelled, placed })
}

impl Held {
    /// What bears its label and what it shows, of what is still there and is not told anew.
    pub(super) fn left(&self, there: &IdSet, told: &IdSet) -> (IdSet, IdSet) {
        let left = |ids: &IdSet| ids.intersection(there).difference(told);
        (left(&self.labelled), left(&self.placed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ItemId;

    fn set(ids: &[u64]) -> IdSet {
        ids.iter().copied().map(ItemId).collect()
    }

    fn some(labelled: &[u64], placed: &[u64]) -> Held {
        let (labelled, placed) = (set(labelled), set(placed));
        Held { epoch: Epoch(7), modseq: Some(9), structure: [5; DIGEST], labelled, placed }
    }

    #[test]
    fn a_cursor_tells_what_was_put_in() {
        let state = of_state([1; DIGEST]);
        for one in [some(&[1, 2, 9], &[1, 2, 9]), some(&[1, 2, 9], &[2]), some(&[3], &[])] {
            let cursor = with_held(&state, &one);
            assert_eq!(held(&cursor), Some(one));
            assert!(is_unchanged(&cursor, &state));
            assert!(!is_unchanged(&cursor, &of_state([2; DIGEST])));
        }
        assert_eq!(held(&state), None);
    }

    #[test]
    fn what_drover_never_wrote_tells_nothing() {
        for bytes in [vec![], vec![FORM], vec![FORM; 40], vec![1; 90], vec![FORM; 90]] {
            assert_eq!(held(&Cursor(bytes.clone())), None, "{bytes:?}");
        }
        assert!(!is_unchanged(&Cursor(vec![1; 33]), &Cursor(vec![1; 33])));
    }

    #[test]
    fn sets_are_kept_in_few_bytes() {
        let third: Vec<u64> = (0..100_000).step_by(3).collect();
        let scattered: Vec<u64> = (0..100_000).filter(|n| n * 2_654_435_761 % 7 == 0).collect();
        for ids in [third, scattered] {
            let bytes = with_held(&of_state([1; DIGEST]), &some(&ids, &ids)).0.len();
            assert!(bytes < 3 * ids.len(), "{bytes} bytes for {} ids", ids.len());
        }
    }
}
