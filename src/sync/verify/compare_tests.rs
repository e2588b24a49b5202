use proptest::prelude::*;

use super::super::entry::FlagText;
use super::*;

const FLAGS: [&str; 3] = ["", "\\Seen", "\\Flagged $Mine"];

/// A message of content `content` with these flags and this date.
fn entry(content: u8, flags: usize, date: i64) -> Entry {
    Entry {
        digest: [content; 32],
        flags: FlagText(FLAGS[flags].into()),
        date: Some(date),
        folder: 0,
        id: ItemId(1),
        size: 1,
        message_id: None,
        accepted: None,
    }
}

fn compared(mut ours: Vec<Entry>, mut theirs: Vec<Entry>) -> Findings {
    ours.sort();
    theirs.sort();
    let mut shown = Vec::new();
    let each = |entry: &Entry| {
        shown.push(entry.clone());
        Ok(())
    };
    let findings = compare(ours.clone().into_iter().map(Ok), theirs.into_iter().map(Ok), each);
    assert_eq!(shown, ours, "every message of ours is shown, in order");
    findings.expect("no error")
}

#[test]
fn twins_are_paired_so_that_the_least_differs() {
    // Whoever takes the first that agrees in flags leaves the second pair with two differences.
    let ours = vec![entry(1, 0, 1), entry(1, 0, 2)];
    let theirs = vec![entry(1, 0, 3), entry(1, 1, 1)];
    let findings = compared(ours, theirs);
    assert_eq!((findings.found, findings.flags_differ, findings.dates_differ), (2, 1, 1));
}

#[test]
fn an_accepted_loss_is_not_missing() {
    let mut lost = entry(1, 0, 1);
    lost.accepted = Some("spam".into());
    let findings = compared(vec![lost, entry(2, 0, 1)], vec![]);
    assert_eq!((findings.accepted, findings.missing), (1, 1));
}

#[test]
fn only_copies_of_what_is_expected_are_duplicates() {
    let findings =
        compared(vec![entry(1, 0, 1)], vec![entry(1, 0, 1), entry(1, 1, 1), entry(2, 0, 1)]);
    assert_eq!((findings.found, findings.duplicated, findings.others), (1, 1, 1));
}

#[test]
fn many_twins_are_paired_too() {
    let ours = (0..2000).map(|n| entry(1, 0, n)).collect();
    let theirs = (0..2000).map(|n| entry(1, 1, n)).collect();
    let findings = compared(ours, theirs);
    assert_eq!((findings.found, findings.flags_differ, findings.dates_differ), (2000, 2000, 0));
}

/// The least number of differences over all pairings, by trying them all.
fn least(ours: &[Entry], theirs: &[Entry]) -> u64 {
    if ours.len() > theirs.len() {
        return least(theirs, ours);
    }
    let Some((first, rest)) = ours.split_first() else { return 0 };
    let with = |at: usize| {
        let there = &theirs[at];
        let differs = u64::from(first.flags != there.flags) + u64::from(first.date != there.date);
        let mut left = theirs.to_vec();
        left.remove(at);
        differs + least(rest, &left)
    };
    (0..theirs.len()).map(with).min().unwrap_or_default()
}

fn twins() -> impl Strategy<Value = Vec<Entry>> {
    let one = (0..FLAGS.len(), 0..3i64).prop_map(|(flags, date)| entry(1, flags, date));
    proptest::collection::vec(one, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_pairing_of_twins_has_fewer_differences(ours in twins(), theirs in twins()) {
        let found = ours.len().min(theirs.len()) as u64;
        let best = least(&ours, &theirs);
        let (n_ours, n_theirs) = (ours.len() as u64, theirs.len() as u64);
        let findings = compared(ours, theirs);
        prop_assert_eq!(findings.found, found);
        prop_assert_eq!(findings.missing, n_ours - found);
        prop_assert_eq!(findings.duplicated + findings.others, n_theirs - found);
        prop_assert_eq!(findings.flags_differ + findings.dates_differ, best);
    }
}
