use super::*;
use crate::ledger::{Change, FolderNo, Ledger, MailboxKey, Opening, Origin, PlaceNo, Record};
use crate::model::{Fingerprint, Flags, IdSet, ItemId};

const FOLDER: FolderNo = FolderNo(1);

fn record(id: u64) -> Record {
    Record {
        id: ItemId(id),
        place: PlaceNo(1),
        at: Some(ItemId(id)),
        origin: Origin::Copied,
        flags: Flags::NONE,
        fingerprint: Fingerprint(id),
        size: id,
        date: None,
        identity: None,
    }
}

async fn commit(ledger: &Ledger, id: u64) {
    let mailbox = ledger.mailbox(&MailboxKey("anna".into())).await.unwrap();
    mailbox.commit(vec![Change::PutRecords(FOLDER, vec![record(id)])]).await.unwrap();
}

/// Makes a closed ledger what it was before there was a journal.
fn age(dir: &Path) {
    let (database, _) = Database::open(dir).unwrap();
    database.take_in().unwrap();
    let none = Staged::new();
    let meta: Meta = View::new(&database.tree, &none).row(keys::META).unwrap().unwrap();
    let meta = Meta { format: 1, ..meta };
    let row = view::encode_row(keys::META, &meta).unwrap();
    database.tree.insert(keys::META, row).unwrap();
    database.tree.flush().unwrap();
    database.tell(&meta);
    database.tell(&meta);
    database.close().unwrap();
    std::fs::remove_file(dir.join(DATABASE).join("journal")).unwrap();
}

fn format(dir: &Path) -> u32 {
    Witness::open(&dir.join(WITNESS)).unwrap().read().unwrap().unwrap().format
}

#[tokio::test]
async fn a_ledger_without_a_journal_is_read_and_gets_one_with_its_first_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(dir.path()).await.unwrap();
    commit(&ledger, 1).await;
    ledger.close().await.unwrap();
    age(dir.path());
    assert_eq!(format(dir.path()), 1);
    for id in 2..4 {
        let (ledger, opening) = Ledger::open(dir.path()).await.unwrap();
        assert!(matches!(opening, Opening::Continued), "{opening:?}");
        commit(&ledger, id).await;
        let mailbox = ledger.mailbox(&MailboxKey("anna".into())).await.unwrap();
        let records = mailbox.records(FOLDER, &IdSet::range(ItemId(1), ItemId(9))).await.unwrap();
        assert_eq!(records, (1..=id).map(record).collect::<Vec<_>>());
        drop(mailbox);
        ledger.close().await.unwrap();
        assert_eq!(format(dir.path()), 2);
    }
}
