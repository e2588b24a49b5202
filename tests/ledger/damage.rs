//! Damaged files: everything is there, or it is said that it is not. Never a part in silence.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::panic::catch_unwind;
use std::path::Path;
use std::thread;

use drover::ledger::{Change, Error, Ledger, MailboxState, Opening, PlaceNo};
use drover::model::{IdSet, ItemId};

use super::rows::{folder, noon, place};
use super::{Dice, INBOX, SENT, key, open, open_alice, record, records};

const ROUNDS: u64 = 20;
const RECORDS: u64 = 12_000;
/// Enough that a database of three mailboxes has several of sled's segments.
const MANY: u64 = 40_000;

/// A ledger as a killed process leaves it (copied while it is open) or as a closed one.
async fn prepare(dir: &Path, closed: bool) {
    let live = tempfile::tempdir().unwrap();
    let (ledger, alice) = open_alice(live.path()).await;
    for first in (0..RECORDS).step_by(400) {
        let batch = vec![
            Change::PutFolder(folder(INBOX, "INBOX")),
            Change::PutFolder(folder(SENT, "Sent")),
            Change::PutPlace(place(1)),
            Change::PutRecords(INBOX, records(first..first + 400)),
            Change::PutRecords(SENT, records((first..first + 400).rev())),
            Change::PutState(MailboxState::default()),
        ];
        alice.commit(batch).await.unwrap();
    }
    if closed {
        drop(alice);
        ledger.close().await.unwrap();
    }
    copy(live.path(), dir);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Whole,
    Rebuilt,
    /// Noticed only when it was read; the next opening rebuilt.
    NoticedLate,
}

/// Reads everything there is.
async fn read_all(ledger: &Ledger) -> Result<Vec<u64>, Error> {
    let alice = ledger.mailbox(&key("alice")).await?;
    let mut found = Vec::new();
    for folder in [INBOX, SENT] {
        let all = IdSet::range(ItemId(0), ItemId(u64::MAX - 1));
        let rows = alice.records(folder, &all).await?;
        assert!(rows.iter().all(|row| *row == record(row.id.0)), "a record is not what it was");
        let counts = alice.overview().await?.counts.get(&folder).copied().unwrap_or_default();
        assert_eq!(counts.records, rows.len() as u64);
        found.push(rows.len() as u64);
    }
    Ok(found)
}

async fn outcome(dir: &Path) -> Outcome {
    let (ledger, opening) = open(dir).await;
    let rebuilt = |opening: Opening| match opening {
        Opening::Rebuild { reason, moved_to } => {
            assert!(!reason.is_empty());
            assert!(moved_to.is_dir());
            true
        }
        Opening::Fresh => panic!("a damaged ledger passed for a new one"),
        Opening::Continued => false,
    };
    let late = if rebuilt(opening) {
        false
    } else {
        match read_all(&ledger).await {
            Ok(found) => {
                assert_eq!(found, [RECORDS, RECORDS], "a part is lost in silence");
                ledger.close().await.unwrap();
                return Outcome::Whole;
            }
            Err(Error::Damaged { .. }) => true,
            Err(other) => panic!("{other}"),
        }
    };
    let ledger = if late {
        // Closing may fail too; what counts is the next opening.
        let _ = ledger.close().await;
        let (ledger, opening) = open(dir).await;
        assert!(rebuilt(opening), "the damage was forgotten");
        ledger
    } else {
        ledger
    };
    // What was saved is what was there; `read_all` compares it.
    let saved = read_all(&ledger).await.unwrap();
    println!("{saved:?} records of {RECORDS} each were saved");
    ledger.put_state(&key("alice"), MailboxState::default()).await.unwrap();
    ledger.close().await.unwrap();
    assert_eq!(open(dir).await.1, Opening::Continued);
    if late { Outcome::NoticedLate } else { Outcome::Rebuilt }
}

async fn each_round(damage: impl Fn(&File, u64, &mut Dice)) -> Vec<Outcome> {
    let sound = tempfile::tempdir().unwrap();
    let mut dice = Dice(4711);
    let mut outcomes = Vec::new();
    for closed in [true, false] {
        let sound = sound.path().join(closed.to_string());
        prepare(&sound, closed).await;
        for _ in 0..ROUNDS / 2 {
            let dir = tempfile::tempdir().unwrap();
            copy(&sound, dir.path());
            let path = dir.path().join("sled/db");
            let db = OpenOptions::new().read(true).write(true).open(path).unwrap();
            damage(&db, db.metadata().unwrap().len(), &mut dice);
            outcomes.push(outcome(dir.path()).await);
        }
    }
    outcomes
}

#[tokio::test]
async fn a_sound_copy_of_a_live_ledger_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), false).await;
    assert_eq!(outcome(dir.path()).await, Outcome::Whole);
}

#[tokio::test]
async fn a_cut_database_is_whole_or_rebuilt() {
    let outcomes = each_round(|db, length, dice| db.set_len(dice.below(length)).unwrap()).await;
    println!("{outcomes:?}");
    assert!(outcomes.iter().any(|outcome| *outcome != Outcome::Whole));
}

#[tokio::test]
async fn flipped_bytes_are_noticed_or_harmless() {
    let outcomes = each_round(|db, length, dice| {
        for _ in 0..=dice.below(8) {
            let at = dice.below(length);
            let mut byte = [0];
            db.read_exact_at(&mut byte, at).unwrap();
            byte[0] ^= 1 + dice.below(255) as u8;
            db.write_all_at(&byte, at).unwrap();
        }
    })
    .await;
    println!("{outcomes:?}");
    assert!(outcomes.iter().any(|outcome| *outcome != Outcome::Whole));
}

#[tokio::test]
async fn zeroed_blocks_are_noticed_or_harmless() {
    let outcomes = each_round(|db, length, dice| {
        let at = dice.below(length) & !4095;
        db.write_all_at(&vec![0; 64 << 10], at).unwrap();
    })
    .await;
    println!("{outcomes:?}");
    assert!(outcomes.iter().any(|outcome| *outcome != Outcome::Whole));
}

#[tokio::test]
async fn a_missing_database_is_rebuilt_not_begun() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), true).await;
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    assert_eq!(outcome(dir.path()).await, Outcome::Rebuilt);
}

/// What a process that is killed leaves in its journal: 3,000 records in each of two folders.
async fn prepare_journal(dir: &Path) {
    let live = tempfile::tempdir().unwrap();
    let (_ledger, alice) = open_alice(live.path()).await;
    for first in (0..3_000).step_by(100) {
        let batch = vec![
            Change::PutFolder(folder(INBOX, "INBOX")),
            Change::PutFolder(folder(SENT, "Sent")),
            Change::PutPlace(place(1)),
            Change::PutRecords(INBOX, records(first..first + 100)),
            Change::PutRecords(SENT, records(first..first + 100)),
        ];
        alice.commit(batch).await.unwrap();
    }
    copy(live.path(), dir);
}

#[tokio::test]
async fn a_damaged_journal_is_noticed_or_nothing_is_lost() {
    let sound = tempfile::tempdir().unwrap();
    prepare_journal(sound.path()).await;
    let (mut rebuilt, mut dice) = (0, Dice(42));
    for round in 0..24 {
        let dir = tempfile::tempdir().unwrap();
        copy(sound.path(), dir.path());
        let path = dir.path().join("sled/journal");
        let journal = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let at = dice.below(journal.metadata().unwrap().len());
        match round % 4 {
            0 => journal.set_len(at).unwrap(),
            1 => fs::remove_file(&path).unwrap(),
            2 => journal.write_all_at(&[0; 4096], at & !4095).unwrap(),
            _ => {
                let mut byte = [0];
                journal.read_exact_at(&mut byte, at).unwrap();
                journal.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
            }
        }
        let (ledger, opening) = open(dir.path()).await;
        let found = read_all(&ledger).await.unwrap();
        match opening {
            Opening::Continued => assert_eq!(found, [3_000, 3_000], "a part is lost in silence"),
            Opening::Rebuild { .. } => rebuilt += 1,
            Opening::Fresh => panic!("a damaged ledger passed for a new one"),
        }
        ledger.close().await.unwrap();
        assert_eq!(open(dir.path()).await.1, Opening::Continued);
    }
    println!("{rebuilt} of 24 rebuilt");
    assert!(rebuilt >= 6, "{rebuilt} rebuilt");
}

#[tokio::test]
async fn what_only_the_journal_had_is_kept_of_a_damaged_database() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, alice) = open_alice(dir.path()).await;
    let rows = vec![Change::PutFolder(folder(INBOX, "INBOX")), Change::PutPlace(place(1))];
    alice.commit(rows).await.unwrap();
    alice.commit(vec![Change::PutRecords(INBOX, records(0..500))]).await.unwrap();
    let state = MailboxState { cut_over: Some(noon()), ..MailboxState::default() };
    ledger.put_state(&key("alice"), state.clone()).await.unwrap();
    drop(alice);
    ledger.close().await.unwrap();
    // Anything that makes the next opening set it aside.
    fs::write(dir.path().join("damaged"), "as the test wants it").unwrap();
    let (ledger, opening) = open(dir.path()).await;
    assert!(matches!(opening, Opening::Rebuild { .. }), "{opening:?}");
    assert_eq!(ledger.state(&key("alice")).await.unwrap(), state);
    let alice = ledger.mailbox(&key("alice")).await.unwrap();
    assert_eq!(alice.record_ids(INBOX).await.unwrap().len(), 500);
}

#[tokio::test]
async fn an_older_database_beside_its_witness_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = open(dir.path()).await;
    ledger.put_note("a", b"1").await.unwrap();
    ledger.close().await.unwrap();
    let older = tempfile::tempdir().unwrap();
    copy(&dir.path().join("sled"), older.path());
    let (ledger, _) = open(dir.path()).await;
    ledger.put_note("a", b"2").await.unwrap();
    ledger.close().await.unwrap();
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    copy(older.path(), &dir.path().join("sled"));
    let (_ledger, opening) = open(dir.path()).await;
    assert!(matches!(opening, Opening::Rebuild { .. }), "{opening:?}");
}

#[tokio::test]
async fn an_older_copy_of_the_whole_directory_is_taken_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), true).await;
    let older = tempfile::tempdir().unwrap();
    copy(dir.path(), older.path());
    let (ledger, alice) = open_alice(dir.path()).await;
    alice.commit(vec![Change::DropFolder(INBOX)]).await.unwrap();
    drop((ledger, alice));
    assert_eq!(outcome(older.path()).await, Outcome::Whole);
}

#[tokio::test]
async fn a_missing_witness_costs_nothing_but_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    prepare(dir.path(), true).await;
    fs::remove_file(dir.path().join("witness")).unwrap();
    assert_eq!(outcome(dir.path()).await, Outcome::Whole);
}

/// Three mailboxes that are cut over, with folders and records, and the moment they were.
async fn prepare_three(dir: &Path) -> MailboxState {
    let (ledger, _) = open(dir).await;
    let state = MailboxState { cut_over: Some(noon()), ..MailboxState::default() };
    for name in ["alice", "bob", "carol"] {
        let mailbox = ledger.mailbox(&key(name)).await.unwrap();
        let rows = vec![
            Change::PutFolder(folder(INBOX, "INBOX")),
            Change::PutPlace(place(1)),
            Change::PutState(state.clone()),
        ];
        mailbox.commit(rows).await.unwrap();
        for first in (0..MANY).step_by(1_000) {
            let rows = records(first..first + 1_000);
            mailbox.commit(vec![Change::PutRecords(INBOX, rows)]).await.unwrap();
        }
    }
    ledger.close().await.unwrap();
    state
}

#[tokio::test]
async fn what_is_sound_of_a_damaged_ledger_is_kept_and_the_rest_is_said_to_be_lost() {
    let sound = tempfile::tempdir().unwrap();
    let state = prepare_three(sound.path()).await;
    let mut dice = Dice(815);
    let (mut rebuilt, mut openable, mut states, mut n_records) = (0, 0, 0, 0);
    for round in 0.. {
        // How much sled itself still opens is luck: it places its pages by time.
        if round >= 24 && openable >= 4 || round == 200 {
            break;
        }
        let dir = tempfile::tempdir().unwrap();
        copy(sound.path(), dir.path());
        let db = OpenOptions::new().read(true).write(true).open(dir.path().join("sled/db"));
        let db = db.unwrap();
        let at = dice.below(db.metadata().unwrap().len());
        let mut byte = [0];
        db.read_exact_at(&mut byte, at).unwrap();
        db.write_all_at(&[byte[0] ^ 0x55], at).unwrap();
        let is_openable = sled_opens(dir.path());
        let (ledger, opening) = open(dir.path()).await;
        if opening == Opening::Continued {
            continue;
        }
        rebuilt += 1;
        openable += u64::from(is_openable);
        for name in ["alice", "bob", "carol"] {
            let found = ledger.state(&key(name)).await.unwrap();
            let is_known = found == state;
            assert!(is_known || found.lost.is_some(), "{name} passes for a new one: {found:?}");
            states += u64::from(is_known);
            let mailbox = ledger.mailbox(&key(name)).await.unwrap();
            let all = IdSet::range(ItemId(0), ItemId(u64::MAX - 1));
            let rows = mailbox.records(INBOX, &all).await.unwrap();
            assert!(rows.iter().all(|row| *row == record(row.id.0)));
            n_records += rows.len() as u64;
            let overview = mailbox.overview().await.unwrap();
            let Some(place) = overview.places.get(&PlaceNo(1)) else {
                assert_eq!(rows.iter().filter(|row| row.at.is_some()).count(), 0);
                continue;
            };
            // What has no record any more must be looked at again, or it would be copied again.
            let recorded: IdSet = rows.iter().filter_map(|row| row.at).collect();
            let is_whole = rows.len() as u64 == MANY;
            assert!(is_whole || place.known == recorded, "unknown copies pass for known");
            // The folder's own row may be what was lost.
            let is_settled = overview.folders.get(&INBOX).is_some_and(|f| f.cursor.is_some());
            assert!(is_whole || !is_settled, "a folder with gaps passes for settled");
        }
        ledger.close().await.unwrap();
        // It is a ledger like any other from here on.
        assert_eq!(open(dir.path()).await.1, Opening::Continued);
    }
    println!(
        "{rebuilt} rebuilt, {openable} of them sled opens: {states} states and {n_records} records \
         were saved"
    );
    assert!(openable > 0, "no damage was noticed in what sled opens");
    assert!(states * 2 > openable * 3, "{states} of {} states were saved", openable * 3);
    assert!(n_records * 2 > openable * 3 * MANY, "{n_records} records were saved");
}

/// Does sled open it at all? Tried on a copy, since it writes as it opens.
fn sled_opens(dir: &Path) -> bool {
    let probe = tempfile::tempdir().unwrap();
    copy(&dir.join("sled"), probe.path());
    match catch_unwind(|| sled::open(probe.path())) {
        Ok(Ok(tree)) => {
            // Damaged, it may never end its threads.
            thread::spawn(move || drop(tree));
            true
        }
        _ => false,
    }
}
