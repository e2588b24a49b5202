//! Random changes against a plain map: whatever the pages do, the answers are the map's.

use std::collections::BTreeMap;

use drover::ledger::{Change, MailboxLedger, PlaceNo, Record, Stranger};
use drover::model::{Fingerprint, IdSet, ItemId};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{INBOX, open_alice, record};

const PLACE: PlaceNo = PlaceNo(4);

#[derive(Debug, Clone)]
enum Step {
    /// Records from an id on, every so many.
    Put {
        first: u64,
        n: u64,
        step: u64,
        place: u32,
    },
    Drop(Vec<(u64, u64)>),
    PutStrangers {
        first: u64,
        n: u64,
    },
    DropStrangers(Vec<(u64, u64)>),
    DropFolder,
    Reopen,
}

fn ranges() -> impl Strategy<Value = Vec<(u64, u64)>> {
    let range = (0u64..6000, prop_oneof![Just(0u64), 0u64..700, Just(u64::from(u32::MAX))]);
    vec(range, 0..4)
}

fn step() -> impl Strategy<Value = Step> {
    let put = (0u64..5000, 1u64..700, 1u64..8, 0u32..3)
        .prop_map(|(first, n, step, place)| Step::Put { first, n, step, place });
    prop_oneof![
        8 => put,
        5 => ranges().prop_map(Step::Drop),
        2 => (0u64..900, 1u64..400).prop_map(|(first, n)| Step::PutStrangers { first, n }),
        2 => ranges().prop_map(Step::DropStrangers),
        1 => Just(Step::DropFolder),
        1 => Just(Step::Reopen),
    ]
}

fn set(ranges: &[(u64, u64)]) -> IdSet {
    let mut ids = IdSet::new();
    for (first, n) in ranges {
        ids.insert_range(ItemId(*first), ItemId(first + n));
    }
    ids
}

#[derive(Default)]
struct Model {
    records: BTreeMap<u64, Record>,
    strangers: BTreeMap<u64, Stranger>,
}

impl Model {
    fn change(&mut self, step: &Step) -> Option<Change> {
        Some(match step {
            Step::Put { first, n, step, place } => {
                let ids = (0..*n).map(|k| first + k * step);
                let place = PlaceNo(*place);
                let mut rows: Vec<_> = ids.map(|id| Record { place, ..record(id) }).collect();
                self.records.extend(rows.iter().map(|row| (row.id.0, row.clone())));
                // In any order.
                rows.reverse();
                Change::PutRecords(INBOX, rows)
            }
            Step::Drop(ranges) => {
                let ids = set(ranges);
                self.records.retain(|id, _| !ids.contains(ItemId(*id)));
                Change::DropRecords(INBOX, ids)
            }
            Step::PutStrangers { first, n } => {
                let stranger =
                    |id| Stranger { id: ItemId(id), fingerprint: Fingerprint(id ^ n), size: *n };
                let rows: Vec<_> = (*first..first + n).map(stranger).collect();
                self.strangers.extend(rows.iter().map(|row| (row.id.0, *row)));
                Change::PutStrangers(PLACE, rows)
            }
            Step::DropStrangers(ranges) => {
                let ids = set(ranges);
                self.strangers.retain(|id, _| !ids.contains(ItemId(*id)));
                Change::DropStrangers(PLACE, ids)
            }
            Step::DropFolder => {
                self.records.clear();
                Change::DropFolder(INBOX)
            }
            Step::Reopen => return None,
        })
    }

    async fn compare(&self, mailbox: &MailboxLedger, asked: &IdSet) {
        let expected: Vec<_> = self.records.values().cloned().collect();
        let mut walked = Vec::new();
        loop {
            let after = walked.last().map(|row: &Record| row.id);
            let page = mailbox.page_after(INBOX, after).await.unwrap();
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= 128, "a page of {} rows", page.len());
            walked.extend(page);
        }
        assert_eq!(walked, expected);
        let ids: IdSet = expected.iter().map(|row| row.id).collect();
        assert_eq!(mailbox.record_ids(INBOX).await.unwrap(), ids);
        let found = mailbox.records(INBOX, asked).await.unwrap();
        let some: Vec<_> = expected.into_iter().filter(|r| asked.contains(r.id)).collect();
        assert_eq!(found, some);
        let counts = mailbox.overview().await.unwrap().counts;
        let counted = counts.get(&INBOX).map_or(0, |counts| counts.records);
        assert_eq!(counted, self.records.len() as u64);
        let strangers: Vec<_> = self.strangers.values().copied().collect();
        assert_eq!(mailbox.strangers(PLACE).await.unwrap(), strangers);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_sequence_of_changes_leaves_what_a_map_would_hold(
        steps in vec((vec(step(), 1..4), ranges()), 1..10),
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let (mut ledger, mut mailbox) = open_alice(dir.path()).await;
            let mut model = Model::default();
            for (batch, asked) in steps {
                if batch.iter().any(|step| matches!(step, Step::Reopen)) {
                    drop(mailbox);
                    ledger.close().await.unwrap();
                    (ledger, mailbox) = open_alice(dir.path()).await;
                }
                let changes = batch.iter().filter_map(|step| model.change(step)).collect();
                mailbox.commit(changes).await.unwrap();
                model.compare(&mailbox, &set(&asked)).await;
            }
        });
    }
}
