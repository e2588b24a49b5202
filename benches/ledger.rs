//! How large and how fast the ledger is at a million messages: `cargo bench --bench ledger`.
//!
//! Eight mailboxes commit at once, as passes do: an intent, then the outcome. The numbers in
//! `docs/ledger.md` come from here.

use std::path::Path;
use std::time::{Instant, SystemTime};

use drover::ledger::{
    Change, Deed, FolderNo, Intent, IntentItem, Ledger, MailboxKey, MailboxLedger, Origin, PlaceNo,
    Record,
};
use drover::model::{Epoch, Fingerprint, Flags, IdSet, ItemId};

const MAILBOXES: u64 = 8;
const RECORDS: u64 = 125_000;
const BATCH: u64 = 50;
/// Seconds of rest before the disk is measured again.
const SETTLE: u64 = 4;
const FOLDER: FolderNo = FolderNo(1);

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome {
    // `cargo test --benches` only wants to know that it runs.
    let n_records = if std::env::args().any(|arg| arg == "--bench") { RECORDS } else { BATCH * 4 };
    let dir = tempfile::tempdir()?;
    let total = (MAILBOXES * n_records) as f64;

    let (ledger, _) = Ledger::open(dir.path()).await?;
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for no in 0..MAILBOXES {
        let mailbox = ledger.mailbox(&MailboxKey(no.to_string().into())).await?;
        tasks.spawn(fill(mailbox, n_records));
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    let elapsed = began.elapsed();
    let commits = total / BATCH as f64 * 2.0;
    println!(
        "fill     {total} messages in {:.1} s: {:.0} messages/s, {:.0} durable commits/s",
        elapsed.as_secs_f64(),
        total / elapsed.as_secs_f64(),
        commits / elapsed.as_secs_f64()
    );
    println!("memory   {}", memory());
    let disk = |bytes: u64| {
        let share = bytes as f64 / total;
        format!("{:.1} MiB, {share:.1} bytes/message", bytes as f64 / f64::from(1 << 20))
    };
    println!("disk     {} at once", disk(size(dir.path())?));
    // The database collects garbage in the background, once a second.
    tokio::time::sleep(std::time::Duration::from_secs(SETTLE)).await;
    println!("disk     {} after {SETTLE} s of rest", disk(size(dir.path())?));
    ledger.close().await?;

    let began = Instant::now();
    let (ledger, opening) = Ledger::open(dir.path()).await?;
    println!("reopen   {:?} ({opening:?})", began.elapsed());
    let mailbox = ledger.mailbox(&MailboxKey("3".into())).await?;
    let began = Instant::now();
    let counted = mailbox.overview().await?.counts[&FOLDER].records;
    println!("overview {:?} ({counted} records)", began.elapsed());
    let began = Instant::now();
    let (mut after, mut n_read) = (None, 0);
    loop {
        let page = mailbox.page_after(FOLDER, after).await?;
        let Some(last) = page.last() else { break };
        (after, n_read) = (Some(last.id), n_read + page.len());
    }
    println!("walk     {:?} for {n_read} records", began.elapsed());
    let began = Instant::now();
    for n in 0..1000 {
        let id = ItemId(1 + n * 7919 % n_records);
        mailbox.records(FOLDER, &IdSet::range(id, id)).await?;
    }
    println!("lookup   {:?} each", began.elapsed() / 1000);
    let began = Instant::now();
    for n in 0..200 {
        let changed = record(1 + n * 7919 % n_records, Flags::parse(["\\Seen", "\\Flagged"]));
        mailbox.commit(vec![Change::PutRecords(FOLDER, vec![changed])]).await?;
    }
    println!("flag     {:?} each, one durable commit at a time", began.elapsed() / 200);
    println!("memory   {}", memory());
    ledger.close().await?;
    Ok(())
}

async fn fill(mailbox: MailboxLedger, n_records: u64) -> Outcome {
    for first in (1..=n_records).step_by(BATCH as usize) {
        let rows: Vec<_> =
            (first..first + BATCH).map(|id| record(id, Flags::parse(["\\Seen"]))).collect();
        let copy = Deed::Copy { content: None };
        let items = rows.iter().map(|row| IntentItem::of(FOLDER, row, copy.clone()));
        let intent = Intent {
            no: first,
            place: PlaceNo(1),
            epoch: Epoch(1),
            next: ItemId(first),
            made: SystemTime::now().into(),
            items: items.collect(),
        };
        mailbox.commit(vec![Change::PutIntent(intent)]).await?;
        let outcome = vec![Change::PutRecords(FOLDER, rows), Change::DropIntent(first)];
        mailbox.commit(outcome).await?;
    }
    Ok(())
}

fn record(id: u64, flags: Flags) -> Record {
    Record {
        id: ItemId(id),
        place: PlaceNo(1),
        at: Some(ItemId(id + 7)),
        origin: Origin::Copied,
        flags,
        fingerprint: Fingerprint(id.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
        size: 2000 + id * 977 % 100_000,
        date: Some(1_700_000_000 + (id * 7919 % 90_000).cast_signed()),
        identity: None,
    }
}

/// What the files take on the disk.
fn size(path: &Path) -> std::io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(bytes)
}

/// This process' resident set, now and at its highest.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status.lines().filter(|l| l.starts_with("VmRSS") || l.starts_with("VmHWM"));
    lines.map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
}
