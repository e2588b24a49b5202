use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Few values, so that many agree.
fn message() -> impl Strategy<Value = Trait> {
    (0..5_u64, 0..3_u64, prop::option::of(0..2_i64), any::<bool>()).prop_map(
        |(fingerprint, size, date, named)| Trait {
            fingerprint: Fingerprint(fingerprint),
            size,
            date,
            named,
            identity: None,
        },
    )
}

fn list() -> impl Strategy<Value = Vec<Trait>> {
    prop::collection::vec(message(), 0..14)
}

fn digest(n: u8) -> ContentDigest {
    [n; 32]
}

proptest! {
    #[test]
    fn every_message_is_in_one_group_at_most(left in list(), right in list(), one in any::<bool>()) {
        let sizes = if one { Sizes::OneServer } else { Sizes::TwoServers };
        let paired = pair(&left, &right, sizes);
        let ours = paired.sure.iter().map(|p| p.0);
        let ours: Vec<usize> = ours.chain(paired.doubtful.iter().flat_map(|g| g.0.clone())).collect();
        let theirs = paired.sure.iter().map(|p| p.1);
        let theirs: Vec<usize> =
            theirs.chain(paired.doubtful.iter().flat_map(|g| g.1.clone())).collect();
        for (used, list) in [(&ours, &left), (&theirs, &right)] {
            prop_assert_eq!(used.iter().collect::<BTreeSet<_>>().len(), used.len());
            prop_assert!(used.iter().all(|&at| at < list.len()));
        }
        let may = |a: &Trait, b: &Trait| a.fingerprint == b.fingerprint
            && (sizes == Sizes::TwoServers || a.size == b.size);
        // What is left alone has nothing it could be.
        for (at, message) in left.iter().enumerate().filter(|(at, _)| !ours.contains(at)) {
            prop_assert!(!right.iter().any(|other| may(message, other)), "{at} was left out");
        }
        for &(a, b) in &paired.sure {
            prop_assert!(agree(&left[a], &right[b]));
            prop_assert_eq!(left.iter().filter(|m| may(m, &right[b])).count(), 1);
            prop_assert_eq!(right.iter().filter(|m| may(&left[a], m)).count(), 1);
        }
        for (mine, yours) in &paired.doubtful {
            prop_assert!(!mine.is_empty() && !yours.is_empty());
            for (&a, &b) in mine.iter().flat_map(|a| yours.iter().map(move |b| (a, b))) {
                prop_assert!(may(&left[a], &right[b]));
            }
        }
    }

    #[test]
    fn equal_contents_are_paired_as_often_as_both_sides_have_them(
        left in prop::collection::vec(0..4_u8, 0..12),
        right in prop::collection::vec(0..4_u8, 0..12),
    ) {
        let of = |list: &[u8]| -> Vec<_> {
            list.iter().enumerate().map(|(at, n)| (at, digest(*n))).collect()
        };
        let pairs = by_digest(&of(&left), &of(&right));
        let mut expected = 0;
        for n in 0..4 {
            let count = |list: &[u8]| list.iter().filter(|&&m| m == n).count();
            expected += count(&left).min(count(&right));
        }
        prop_assert_eq!(pairs.len(), expected);
        prop_assert!(pairs.iter().all(|&(a, b)| left[a] == right[b]));
        let yours: BTreeSet<usize> = pairs.iter().map(|p| p.1).collect();
        prop_assert_eq!(yours.len(), pairs.len());
    }
}

/// A nameless message of the same headers and size as others, with this identity.
fn alike(identity: Option<&str>) -> Trait {
    let identity = identity.map(|text| Identity::of(text.as_bytes()));
    Trait { named: false, identity, ..Trait::at_destination(Fingerprint(1), 1) }
}

fn paired(left: &[Option<&str>], right: &[Option<&str>]) -> Paired {
    let of = |list: &[Option<&str>]| -> Vec<Trait> { list.iter().map(|id| alike(*id)).collect() };
    pair(&of(left), &of(right), Sizes::OneServer)
}

#[test]
fn the_same_identity_is_the_same_message() {
    let mut found = paired(&[Some("a"), Some("b")], &[Some("b"), Some("c"), Some("a")]);
    found.sure.sort_unstable();
    assert_eq!(found, Paired { sure: vec![(0, 2), (1, 0)], doubtful: vec![] });
}

#[test]
fn other_identities_are_other_messages() {
    assert_eq!(paired(&[Some("a")], &[Some("b")]), Paired::default());
}

#[test]
fn what_has_none_may_be_any_that_is_left() {
    let found = paired(&[Some("a"), Some("b")], &[Some("a"), None]);
    assert_eq!(found, Paired { sure: vec![(0, 0)], doubtful: vec![(vec![1], vec![1])] });
    let found = paired(&[None], &[Some("a"), Some("b")]);
    assert_eq!(found.doubtful, [(vec![0], vec![0, 1])]);
}

#[test]
fn copies_that_share_an_identity_are_told_apart_by_content() {
    let found = paired(&[Some("a"), Some("a")], &[Some("a")]);
    assert_eq!(found, Paired { sure: vec![], doubtful: vec![(vec![0, 1], vec![0])] });
}

#[test]
fn a_server_that_calls_everything_the_same_is_not_believed() {
    let other = Trait { fingerprint: Fingerprint(2), ..alike(Some("a")) };
    let found = pair(&[alike(Some("a")), other], &[alike(Some("a"))], Sizes::OneServer);
    assert_eq!(found, Paired { sure: vec![], doubtful: vec![(vec![0], vec![0])] });
}
