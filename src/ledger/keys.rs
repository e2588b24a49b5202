//! Where each row is filed. All numbers are big-endian, so that keys sort as numbers do.
//!
//! ```text
//! 00 "meta"                                   one row: format, identity, generation
//! 01 name                                     a note of the daemon
//! 02 mailbox key                              its number
//! 10 mailbox:u32 kind:u8 [no:u32] [id:u64]    everything of a mailbox
//! ```

use super::MailboxKey;

/// The one row about the ledger itself.
pub(super) const META: &[u8] = b"\x00meta";
/// Above every key.
pub(super) const END: &[u8] = &[0xff];
const NOTE: u8 = 0x01;
const NAME: u8 = 0x02;
const ROW: u8 = 0x10;

/// A mailbox's number in the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MailboxNo(pub u32);

/// What a row of a mailbox is. Those up to `Intent` make the overview: they lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    State = 1,
    Tally = 2,
    Folder = 3,
    Counts = 4,
    Place = 5,
    Intent = 6,
    /// By fingerprint and number.
    Retired = 7,
    /// By number: the fingerprint under which it is filed.
    RetiredNo = 8,
    Failure = 9,
    Pass = 10,
    /// Pages by folder and lowest possible id.
    Records = 11,
    /// Pages by place and lowest possible id.
    Strangers = 12,
}

impl Kind {
    const ALL: [(Self, &'static str); 12] = [
        (Self::State, "state"),
        (Self::Tally, "tally"),
        (Self::Folder, "folder"),
        (Self::Counts, "counts of folder"),
        (Self::Place, "place"),
        (Self::Intent, "intent"),
        (Self::Retired, "retired message"),
        (Self::RetiredNo, "index of retired messages"),
        (Self::Failure, "failure"),
        (Self::Pass, "pass"),
        (Self::Records, "records of folder"),
        (Self::Strangers, "strangers of place"),
    ];
}

/// A key, or the prefix of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key(Vec<u8>);

impl Key {
    /// Everything of one kind in a mailbox.
    pub(super) fn of(mailbox: MailboxNo, kind: Kind) -> Self {
        let mut key = Vec::with_capacity(18);
        key.push(ROW);
        key.extend(mailbox.0.to_be_bytes());
        key.push(kind as u8);
        Self(key)
    }

    /// A daemon-level note.
    pub(super) fn note(name: &str) -> Self {
        Self([&[NOTE], name.as_bytes()].concat())
    }

    /// The number of a mailbox.
    pub(super) fn name(mailbox: &MailboxKey) -> Self {
        Self([&[NAME], mailbox.0.as_bytes()].concat())
    }

    /// The prefix of all mailbox names.
    pub(super) fn names() -> Self {
        Self(vec![NAME])
    }

    /// Narrowed by a number.
    pub(super) fn no(mut self, no: u32) -> Self {
        self.0.extend(no.to_be_bytes());
        self
    }

    /// Narrowed by an id.
    pub(super) fn id(mut self, id: u64) -> Self {
        self.0.extend(id.to_be_bytes());
        self
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Above every key with this prefix: longer runs of `ff` do not occur, for keys of rows are
    /// short and names are UTF-8.
    pub(super) fn end(&self) -> Vec<u8> {
        [self.0.as_slice(), &[0xff; 24]].concat()
    }
}

/// The mailbox named by a key under [`Key::names`].
pub(super) fn named(key: &[u8]) -> Option<MailboxKey> {
    let name = std::str::from_utf8(key.get(1..)?).ok()?;
    Some(MailboxKey(name.into()))
}

/// The `u64` at the end of a key.
pub(super) fn last_id(key: &[u8]) -> u64 {
    key.last_chunk().map_or(0, |id| u64::from_be_bytes(*id))
}

/// The mailbox and the kind of a mailbox's row; `None` for any other row.
pub(super) fn row(key: &[u8]) -> Option<(u32, u8)> {
    match key {
        [ROW, a, b, c, d, kind, ..] => Some((u32::from_be_bytes([*a, *b, *c, *d]), *kind)),
        _ => None,
    }
}

/// The `u32` after the kind.
pub(super) fn number(key: &[u8]) -> u32 {
    key.get(6..10).and_then(|no| no.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// For messages to people.
pub(super) fn describe(key: &[u8]) -> String {
    match key.first() {
        Some(&ROW) if key.len() >= 6 => {
            let kind = Kind::ALL.iter().find(|k| k.0 as u8 == key[5]).map_or("row", |k| k.1);
            let mailbox = u32::from_be_bytes([key[1], key[2], key[3], key[4]]);
            match key.len() {
                10 => format!("{kind} {} of mailbox no. {mailbox}", number(key)),
                14 => format!("{kind} {} of mailbox no. {mailbox}", last_id(key)),
                18 => format!(
                    "{kind} {}, id {} and up, of mailbox no. {mailbox}",
                    number(key),
                    last_id(key)
                ),
                _ => format!("{kind} of mailbox no. {mailbox}"),
            }
        }
        Some(&NOTE) => format!("note {}", String::from_utf8_lossy(&key[1..])),
        Some(&NAME) => format!("mailbox {}", String::from_utf8_lossy(&key[1..])),
        _ => "row about the ledger itself".into(),
    }
}
