use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Ids close together, and those at the ends of what there can be.
fn id() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..40_u64, 1 => u64::MAX - 4..=u64::MAX]
}

#[derive(Debug, Clone)]
enum Op {
    Insert(u64),
    Range(u64, u64),
    Remove(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        id().prop_map(Op::Insert),
        (id(), 0..9_u64).prop_map(|(a, n)| Op::Range(a, a.saturating_add(n))),
        (1..40_u64, 1..9_u64).prop_map(|(a, n)| Op::Range(a, a.saturating_sub(n))),
        id().prop_map(Op::Remove),
    ]
}

fn apply(ops: &[Op]) -> (IdSet, BTreeSet<u64>) {
    let (mut set, mut model) = (IdSet::new(), BTreeSet::new());
    for op in ops {
        match *op {
            Op::Insert(id) => {
                set.insert(ItemId(id));
                model.insert(id);
            }
            Op::Range(a, b) => {
                set.insert_range(ItemId(a), ItemId(b));
                model.extend(a..=b);
            }
            Op::Remove(id) => {
                set.remove(ItemId(id));
                model.remove(&id);
            }
        }
    }
    (set, model)
}

fn ids(set: &IdSet) -> BTreeSet<u64> {
    set.iter().map(|id| id.0).collect()
}

fn is_canonical(set: &IdSet) -> bool {
    let ranges: Vec<_> = set.ranges().collect();
    ranges.iter().all(|r| r.start() <= r.end())
        && ranges.windows(2).all(|w| w[0].end() + 1 < *w[1].start())
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 0..25)
}

proptest! {
    #[test]
    fn a_set_of_ranges_is_a_set(ops in ops(), probe in id()) {
        let (set, model) = apply(&ops);
        prop_assert!(is_canonical(&set), "{set:?}");
        prop_assert_eq!(ids(&set), model.clone());
        prop_assert_eq!(set.len(), model.len() as u64);
        prop_assert_eq!(set.is_empty(), model.is_empty());
        prop_assert_eq!(set.contains(ItemId(probe)), model.contains(&probe));
        prop_assert_eq!(set.first().map(|id| id.0), model.first().copied());
        prop_assert_eq!(set.last().map(|id| id.0), model.last().copied());
        let collected: IdSet = model.iter().map(|&id| ItemId(id)).collect();
        prop_assert_eq!(collected, set);
    }

    #[test]
    fn two_sets_combine_as_sets_do(a in ops(), b in ops()) {
        let ((a, model_a), (b, model_b)) = (apply(&a), apply(&b));
        let difference = a.difference(&b);
        prop_assert!(is_canonical(&difference), "{difference:?}");
        prop_assert_eq!(ids(&difference), &model_a - &model_b);
        let intersection = a.intersection(&b);
        prop_assert!(is_canonical(&intersection), "{intersection:?}");
        prop_assert_eq!(ids(&intersection), &model_a & &model_b);
        let mut union = a.clone();
        union.extend_set(&b);
        prop_assert!(is_canonical(&union), "{union:?}");
        prop_assert_eq!(ids(&union), &model_a | &model_b);
    }
}

#[test]
fn a_cursor_is_kept_as_text_and_read_as_numbers_too() {
    let cursor = Cursor(vec![0, 1, 254, 255]);
    let json = serde_json::to_string(&cursor).expect("JSON");
    assert_eq!(json, "\"AAH+/w==\"");
    for json in [json.as_str(), "[0,1,254,255]"] {
        assert_eq!(serde_json::from_str::<Cursor>(json).expect("a cursor"), cursor);
    }
}
