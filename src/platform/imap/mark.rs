//! The cursor of an IMAP folder: how it stood when a survey began.

use crate::model::{Cursor, Epoch};

/// Written first, so that another form can be told from this one.
const FORM: u8 = 1;

/// UIDVALIDITY, UIDNEXT, the number of messages, and HIGHESTMODSEQ where the folder has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) epoch: Epoch,
    pub(super) next: u64,
    pub(super) messages: u64,
    pub(super) modseq: Option<u64>,
    /// An earlier one, after which changes are asked for once more: the last answer showed none,
    /// and a server that shows nothing may have been in trouble.
    pub(super) doubted: Option<u64>,
}

impl Mark {
    pub(super) fn to_cursor(self) -> Cursor {
        let mut bytes = vec![FORM];
        // No folder has a HIGHESTMODSEQ of 0 (RFC 7162, 3.1.2.1).
        for n in [self.epoch.0, self.next, self.messages, self.modseq.unwrap_or(0)] {
            bytes.extend(n.to_le_bytes());
        }
        bytes.extend(self.doubted.into_iter().flat_map(u64::to_le_bytes));
        Cursor(bytes)
    }

    /// `None` for what drover never wrote: the folder is then surveyed whole.
    pub(super) fn from_cursor(cursor: &Cursor) -> Option<Self> {
        let (&FORM, numbers) = cursor.0.split_first()? else { return None };
        let (numbers, []) = numbers.as_chunks::<8>() else { return None };
        let (&[epoch, next, messages, modseq], doubted) = numbers.split_first_chunk()?;
        let doubted = match doubted {
            [] => None,
            [doubted] => Some(u64::from_le_bytes(*doubted)),
            _ => return None,
        };
        let modseq = u64::from_le_bytes(modseq);
        Some(Self {
            epoch: Epoch(u64::from_le_bytes(epoch)),
            next: u64::from_le_bytes(next),
            messages: u64::from_le_bytes(messages),
            modseq: (modseq > 0).then_some(modseq),
            doubted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_tells_what_was_put_in() {
        for (modseq, doubted) in [(None, None), (Some(u64::MAX), None), (Some(9), Some(7))] {
            let mark = Mark { epoch: Epoch(7), next: 9, messages: 3, modseq, doubted };
            assert_eq!(Mark::from_cursor(&mark.to_cursor()), Some(mark));
        }
        for bytes in [vec![], vec![1], vec![2; 33], vec![1; 34], vec![1; 49]] {
            assert_eq!(Mark::from_cursor(&Cursor(bytes)), None);
        }
    }
}
