//! The ledger from outside: rows come back, batches are whole, damage is noticed.

mod crash;
mod damage;
mod model;
mod rows;

use std::path::Path;
use std::time::Duration;

use drover::ledger::{
    Error, FolderNo, Ledger, MailboxKey, MailboxLedger, Opening, Origin, PlaceNo, Record,
};
use drover::model::{Fingerprint, Flags, ItemId};

pub(crate) const INBOX: FolderNo = FolderNo(1);
pub(crate) const SENT: FolderNo = FolderNo(2);

pub(crate) fn key(name: &str) -> MailboxKey {
    MailboxKey(name.into())
}

/// A child that another test is starting this very moment has a copy of every lock of this
/// process, until it becomes another program.
pub(crate) async fn open(dir: &Path) -> (Ledger, Opening) {
    for _ in 0..100 {
        match Ledger::open(dir).await {
            Err(Error::Locked { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
            opened => return opened.expect("the ledger opens"),
        }
    }
    panic!("the ledger stays locked");
}

/// A ledger and the mailbox `alice` of it.
pub(crate) async fn open_alice(dir: &Path) -> (Ledger, MailboxLedger) {
    let (ledger, _) = open(dir).await;
    let alice = ledger.mailbox(&key("alice")).await.expect("the lease is free");
    (ledger, alice)
}

/// The same record for the same id, every time.
pub(crate) fn record(id: u64) -> Record {
    Record {
        id: ItemId(id),
        place: PlaceNo(1),
        at: (!id.is_multiple_of(17)).then_some(ItemId(id + 40)),
        origin: if id.is_multiple_of(5) { Origin::Adopted } else { Origin::Copied },
        flags: match id % 3 {
            0 => Flags::parse(["\\Seen", "$Forwarded"]),
            _ => Flags::parse(["\\Seen"]),
        },
        fingerprint: Fingerprint(id.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
        size: 1000 + id * 13,
        date: Some(1_700_000_000 + (id * 61).cast_signed()),
        identity: None,
    }
}

pub(crate) fn records(ids: impl IntoIterator<Item = u64>) -> Vec<Record> {
    ids.into_iter().map(record).collect()
}

/// Numbers that look random and are the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % n
    }
}
