//! Every row comes back as it was put in; leases, locks, versions.

use std::collections::{BTreeSet, HashSet};
use std::os::unix::fs::PermissionsExt;

use chrono::{DateTime, TimeDelta, Utc};
use drover::ledger::{
    Blocked, Change, Counts, Deed, Error, Failure, Filed, FolderNo, FollowedFolder, HISTORY,
    Intent, IntentItem, MailboxState, MovedFrom, Opening, Origin, PassRecord, Place, PlaceNo,
    Renaming, Retired, Stranger, Verdict,
};
use drover::model::{
    Accounts, Cursor, Epoch, Fingerprint, Flags, FolderName, FolderPath, IdSet, ItemId, PassKind,
};

use super::{INBOX, SENT, key, open, open_alice, record, records};

pub(crate) fn noon() -> DateTime<Utc> {
    "2026-03-01T12:00:00.123456789Z".parse().unwrap()
}

pub(crate) fn folder(no: FolderNo, path: &str) -> FollowedFolder {
    FollowedFolder {
        no,
        name: FolderName(b"Entw&APw-rfe\xff".to_vec()),
        path: FolderPath::parse(path),
        epoch: Epoch(7),
        cursor: Some(Cursor(vec![0, 255, 3])),
        selection: u64::MAX,
        place: PlaceNo(1),
        leaving: BTreeSet::new(),
        filtered: IdSet::range(ItemId(2), ItemId(5)),
    }
}

pub(crate) fn place(no: u32) -> Place {
    Place {
        no: PlaceNo(no),
        name: FolderName(b"INBOX".to_vec()),
        path: FolderPath::inbox(),
        epoch: Some(Epoch(9)),
        known: IdSet::from_iter([1, 2, 9].map(ItemId)),
        created: true,
        renaming: Some(Renaming {
            name: FolderName(b"Inbox=".to_vec()),
            path: FolderPath::inbox(),
        }),
    }
}

fn intent(no: u64) -> Intent {
    let item = |deed: Deed| IntentItem {
        folder: INBOX,
        id: ItemId(no),
        flags: Flags::parse(["\\Answered", "$Junk"]),
        fingerprint: Fingerprint(u64::MAX),
        size: 12,
        date: Some(1_12),
        deed,
    };
    let moved = MovedFrom {
        place: PlaceNo(2),
        at: ItemId(5),
        origin: Origin::Adopted,
        filed: Filed::Record(SENT, ItemId(3)),
    };
    Intent {
        no,
        place: PlaceNo(1),
        epoch: Epoch(9),
        next: ItemId(41),
        made: noon() + TimeDelta::seconds(no as i64),
        items: vec![
            item(Deed::Copy { content: Some([7; 32]) }),
            item(Deed::Copy { content: None }),
            item(Deed::Move(moved)),
            item(Deed::Flag(ItemId(6))),
            item(Deed::Remove(ItemId(7))),
        ],
    }
}

fn failure(folder: FolderNo, id: u64, verdict: Verdict) -> Failure {
    Failure {
        folder,
        id: ItemId(id),
        verdict,
        message_id: Some("a@b".into()),
        size: 9,
        reason: "NO [LIMIT] größer".into(),
        attempts: 2,
        at: noon(),
    }
}

fn retired(print: u64, at: u64) -> Retired {
    Retired {
        no: 0,
        fingerprint: Fingerprint(print),
        size: 5,
        date: Some(1_5),
        place: PlaceNo(1),
        at: Some(ItemId(at)),
        origin: Origin::Copied,
        flags: Flags::parse(["\\Seen"]),
        identity: None,
    }
}

fn pass(n: i64) -> PassRecord {
    PassRecord {
        kind: PassKind::Delta,
        began: noon() + TimeDelta::minutes(n),
        ended: noon() + TimeDelta::minutes(n) + TimeDelta::seconds(3),
        accounts: Accounts { seen: 3, copied: 2, adopted: 1, ..Accounts::default() },
        bytes: 77,
        flag_changes: 1,
        moves: 2,
        removed: 3,
        in_part: 1,
        error: Some("stopped".into()),
    }
}

#[tokio::test]
async fn every_row_comes_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, alice) = open_alice(dir.path()).await;
    let state = MailboxState {
        seeded: Some(noon()),
        verified: Some((noon(), 3)),
        blocked: Some(Blocked {
            reason: "AuthFailed".into(),
            message: "the password is wrong".into(),
            under: "abc".into(),
            since: noon(),
        }),
        failures_in_a_row: 2,
        lost: Some(noon()),
        ..MailboxState::default()
    };
    let stranger = Stranger { id: ItemId(8), fingerprint: Fingerprint(1), size: 2 };
    alice
        .commit(vec![
            Change::PutFolder(folder(INBOX, "INBOX")),
            Change::PutFolder(folder(SENT, "Gesendet/A=2FB")),
            Change::PutPlace(place(1)),
            Change::PutRecords(INBOX, records(1..=3)),
            Change::Retire(retired(11, 1)),
            Change::PutStrangers(PlaceNo(1), vec![stranger]),
            Change::PutFailure(failure(SENT, 4, Verdict::Failed)),
            Change::PutFailure(failure(SENT, 5, Verdict::Skipped)),
            Change::PutIntent(intent(2)),
            Change::PutIntent(intent(1)),
            Change::PutState(state.clone()),
            Change::AddPass(pass(1)),
        ])
        .await
        .unwrap();
    ledger.put_note("definitions", b"\x00\xff").await.unwrap();
    drop(alice);
    ledger.close().await.unwrap();

    let (ledger, opening) = open(dir.path()).await;
    assert_eq!(opening, Opening::Continued);
    let alice = ledger.mailbox(&key("alice")).await.unwrap();
    let overview = alice.overview().await.unwrap();
    assert_eq!(overview.folders[&INBOX], folder(INBOX, "INBOX"));
    assert_eq!(overview.folders[&SENT], folder(SENT, "Gesendet/A=2FB"));
    assert_eq!(overview.places[&PlaceNo(1)], place(1));
    assert_eq!(overview.counts[&INBOX], Counts { records: 3, failed: 0, skipped: 0, repaired: 0 });
    assert_eq!(overview.counts[&SENT], Counts { records: 0, failed: 1, skipped: 1, repaired: 0 });
    assert_eq!(overview.intents, [intent(1), intent(2)]);
    assert_eq!(overview.retired, 1);
    assert_eq!(overview.state, state);
    assert_eq!(ledger.overview(&key("alice")).await.unwrap(), Some(overview));
    let all = IdSet::range(ItemId(1), ItemId(u64::from(u32::MAX)));
    assert_eq!(alice.records(INBOX, &all).await.unwrap(), records(1..=3));
    assert_eq!(alice.strangers(PlaceNo(1)).await.unwrap(), [stranger]);
    assert_eq!(ledger.passes(&key("alice")).await.unwrap(), [pass(1)]);
    assert_eq!(
        ledger.failures(&key("alice")).await.unwrap(),
        [Verdict::Failed, Verdict::Skipped]
            .into_iter()
            .zip(4..)
            .map(|(verdict, id)| (FolderPath::parse("Gesendet/A=2FB"), failure(SENT, id, verdict)))
            .collect::<Vec<_>>()
    );
    assert_eq!(ledger.note("definitions").await.unwrap().as_deref(), Some(&b"\x00\xff"[..]));
    assert_eq!(ledger.note("other").await.unwrap(), None);
}

#[tokio::test]
async fn a_mailbox_without_rows_is_empty_and_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, alice) = open_alice(dir.path()).await;
    assert_eq!(alice.overview().await.unwrap(), Default::default());
    assert_eq!(alice.page_after(INBOX, None).await.unwrap(), []);
    assert_eq!(ledger.overview(&key("alice")).await.unwrap(), None);
    assert_eq!(ledger.mailboxes().await.unwrap(), []);
    ledger.put_state(&key("bob"), MailboxState::default()).await.unwrap();
    assert_eq!(ledger.mailboxes().await.unwrap(), [key("bob")]);
}

#[tokio::test]
async fn mailboxes_do_not_see_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, alice) = open_alice(dir.path()).await;
    let bob = ledger.mailbox(&key("bob")).await.unwrap();
    alice.commit(vec![Change::PutRecords(INBOX, records(1..=600))]).await.unwrap();
    bob.commit(vec![Change::PutRecords(INBOX, records(5..=6))]).await.unwrap();
    bob.commit(vec![Change::DropFolder(INBOX)]).await.unwrap();
    assert_eq!(alice.record_ids(INBOX).await.unwrap().len(), 600);
    assert!(bob.record_ids(INBOX).await.unwrap().is_empty());
}

#[tokio::test]
async fn retired_rows_get_numbers_and_are_found_by_fingerprint() {
    let dir = tempfile::tempdir().unwrap();
    let (_ledger, alice) = open_alice(dir.path()).await;
    let rows = [(7, 1), (7, 2), (8, 3), (9, 4)];
    alice
        .commit(rows.map(|(print, at)| Change::Retire(retired(print, at))).to_vec())
        .await
        .unwrap();
    let of = |prints: &[u64]| prints.iter().copied().map(Fingerprint).collect::<HashSet<_>>();
    let twins = alice.retired(&of(&[7])).await.unwrap();
    assert_eq!(
        twins.iter().map(|r| (r.no, r.at)).collect::<Vec<_>>(),
        [(1, Some(ItemId(1))), (2, Some(ItemId(2)))]
    );
    // One is taken out, the other is replaced under its number.
    let moved = Retired { at: None, ..twins[1].clone() };
    alice.commit(vec![Change::Unretire(1), Change::Retire(moved.clone())]).await.unwrap();
    assert_eq!(alice.retired(&of(&[7, 100])).await.unwrap(), [moved]);
    assert_eq!(alice.overview().await.unwrap().retired, 3);
    // More fingerprints than rows: the other way to look.
    let many: Vec<u64> = (0..100).collect();
    assert_eq!(alice.retired(&of(&many)).await.unwrap().len(), 3);
}

#[tokio::test]
async fn failures_are_counted_by_verdict_through_every_change() {
    let dir = tempfile::tempdir().unwrap();
    let (_ledger, alice) = open_alice(dir.path()).await;
    let put = |id, verdict| Change::PutFailure(failure(INBOX, id, verdict));
    alice
        .commit(vec![put(1, Verdict::Failed), put(2, Verdict::Failed), put(3, Verdict::Skipped)])
        .await
        .unwrap();
    alice.commit(vec![put(1, Verdict::Skipped)]).await.unwrap();
    let counts = alice.overview().await.unwrap().counts[&INBOX];
    assert_eq!(counts, Counts { records: 0, failed: 1, skipped: 2, repaired: 0 });
    let ids = IdSet::range(ItemId(2), ItemId(u64::MAX));
    alice.commit(vec![Change::DropFailures(INBOX, ids)]).await.unwrap();
    let counts = alice.overview().await.unwrap().counts[&INBOX];
    assert_eq!(counts, Counts { records: 0, failed: 0, skipped: 1, repaired: 0 });
    let left = alice.failures(INBOX).await.unwrap();
    assert_eq!(left, [failure(INBOX, 1, Verdict::Skipped)]);
}

#[tokio::test]
async fn the_history_keeps_the_newest_passes() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, alice) = open_alice(dir.path()).await;
    let n_passes = HISTORY as i64 + 3;
    for n in 0..n_passes {
        alice.commit(vec![Change::AddPass(pass(n))]).await.unwrap();
    }
    let kept = ledger.passes(&key("alice")).await.unwrap();
    assert_eq!(kept, (3..n_passes).map(pass).collect::<Vec<_>>());
}

#[tokio::test]
async fn changes_of_a_batch_take_effect_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let (_ledger, alice) = open_alice(dir.path()).await;
    let one = IdSet::range(ItemId(1), ItemId(1));
    let renamed =
        FollowedFolder { filtered: IdSet::range(ItemId(1), ItemId(99)), ..folder(INBOX, "INBOX") };
    alice
        .commit(vec![
            Change::PutRecords(INBOX, records([1, 2])),
            Change::DropRecords(INBOX, one),
            Change::PutFolder(folder(INBOX, "INBOX")),
            Change::DropFolder(SENT),
            Change::PutFolder(renamed.clone()),
            Change::PutIntent(intent(1)),
            Change::DropIntent(1),
        ])
        .await
        .unwrap();
    let overview = alice.overview().await.unwrap();
    assert_eq!(overview.counts[&INBOX].records, 1);
    assert_eq!(overview.folders[&INBOX], renamed);
    assert_eq!(overview.intents, []);
    assert_eq!(alice.page_after(INBOX, None).await.unwrap(), [record(2)]);
}

#[tokio::test]
async fn a_mailbox_has_one_lease_and_its_last_clone_gives_it_back() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, alice) = open_alice(dir.path()).await;
    let clone = alice.clone();
    drop(alice);
    let refused = ledger.mailbox(&key("alice")).await.err();
    assert_eq!(refused, Some(Error::Leased(key("alice"))));
    drop(clone);
    assert!(ledger.mailbox(&key("alice")).await.is_ok());
}

#[tokio::test]
async fn a_second_opening_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path()).await;
    let refused = drover::ledger::Ledger::open(dir.path()).await.err();
    assert_eq!(refused, Some(Error::Locked { pid: Some(std::process::id()) }));
    ledger.close().await.unwrap();
    assert_eq!(open(dir.path()).await.1, Opening::Continued);
}

#[tokio::test]
async fn a_closed_ledger_answers_so() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, alice) = open_alice(dir.path()).await;
    ledger.close().await.unwrap();
    assert_eq!(alice.overview().await.err(), Some(Error::Closed));
    let refused = alice.commit(vec![Change::PutRecords(INBOX, records([1]))]).await;
    assert_eq!(refused, Err(Error::Closed));
}

#[tokio::test]
async fn only_the_owner_can_enter() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let (_ledger, _) = open(&state).await;
    let mode = |path: &str| state.join(path).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("sled")), (0o700, 0o700));
    for file in ["lock", "witness", "sled/db", "sled/journal"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
}

#[tokio::test]
async fn a_ledger_from_a_newer_drover_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path()).await;
    ledger.close().await.unwrap();
    let said = format!("ledger format=3 identity={} generation=900 records=0", "0".repeat(32));
    let line = format!("{said} crc={:08x}", crc32c::crc32c(said.as_bytes()));
    std::fs::write(dir.path().join("witness"), format!("{line:<191}\n")).unwrap();
    let refused = drover::ledger::Ledger::open(dir.path()).await.err();
    assert_eq!(refused, Some(Error::Version { found: 3, known: 2 }));
    assert!(dir.path().join("sled/db").exists());
}

#[tokio::test]
async fn commits_of_many_tasks_share_their_fsyncs_and_all_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for mailbox in 0..8 {
        let name = key(&format!("box{mailbox}"));
        let mailbox = ledger.mailbox(&name).await.unwrap();
        for part in 0..3_u64 {
            let mailbox = mailbox.clone();
            tasks.spawn(async move {
                for n in 0..10 {
                    let first = part * 1000 + n * 50;
                    let batch = Change::PutRecords(INBOX, records(first..first + 50));
                    mailbox.commit(vec![batch]).await.unwrap();
                }
            });
        }
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    for name in ledger.mailboxes().await.unwrap() {
        let counts = ledger.overview(&name).await.unwrap().unwrap().counts;
        assert_eq!(counts[&INBOX].records, 3 * 10 * 50);
    }
    assert_eq!(ledger.mailboxes().await.unwrap().len(), 8);
}

#[tokio::test]
async fn after_the_allowance_of_a_test_no_commit_changes_anything() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, alice) = open_alice(dir.path()).await;
    ledger.fail_after(1);
    alice.commit(vec![Change::PutRecords(INBOX, records([1]))]).await.unwrap();
    let refused = alice.commit(vec![Change::PutRecords(INBOX, records([2]))]).await;
    assert_eq!(refused, Err(Error::Closed));
    assert_eq!(alice.record_ids(INBOX).await.unwrap().len(), 1);
}
