//! `kill -9` and a full disk: what was acknowledged is there, and every batch is whole.
//!
//! The process that is hurt is this test binary, run again with an environment variable.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use drover::ledger::{Change, Error, Intent, MailboxLedger, Opening, PlaceNo};
use drover::model::{Epoch, ItemId};

use super::{Dice, INBOX, SENT, key, open, records};

const CHILD: &str = "DROVER_TEST_LEDGER_CHILD";
const MAILBOXES: u64 = 3;
/// Records of each of the two folders in a batch.
const BATCH: u64 = 40;

fn child_dir() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Batch `n` of a mailbox: records in two folders, its intent in, the one before out.
fn batch(n: u64) -> Vec<Change> {
    let rows = || records(n * BATCH..(n + 1) * BATCH);
    let intent = Intent {
        no: n,
        place: PlaceNo(1),
        epoch: Epoch(1),
        next: ItemId(n),
        made: SystemTime::UNIX_EPOCH.into(),
        items: Vec::new(),
    };
    let mut changes = vec![
        Change::PutRecords(INBOX, rows()),
        Change::PutIntent(intent),
        Change::PutRecords(SENT, rows()),
    ];
    changes.extend(n.checked_sub(1).map(Change::DropIntent));
    changes
}

/// How many batches a mailbox holds; fails unless each is whole.
async fn whole_batches(mailbox: &MailboxLedger) -> u64 {
    let overview = mailbox.overview().await.unwrap();
    let counted = |folder| overview.counts.get(&folder).map_or(0, |counts| counts.records);
    let n_batches = counted(INBOX) / BATCH;
    for folder in [INBOX, SENT] {
        assert_eq!(counted(folder), n_batches * BATCH);
        let mut after = None;
        let mut found = Vec::new();
        loop {
            let page = mailbox.page_after(folder, after).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            found.extend(page);
        }
        assert!(found == records(0..n_batches * BATCH), "the records of {folder:?} differ");
    }
    let intents: Vec<_> = overview.intents.iter().map(|intent| intent.no).collect();
    assert_eq!(intents, Vec::from_iter(n_batches.checked_sub(1)));
    n_batches
}

/// Commits batches from several tasks and says which are through, until killed.
async fn commit_for_ever(dir: &Path) {
    let (ledger, _) = open(dir).await;
    let mut tasks = tokio::task::JoinSet::new();
    for no in 0..MAILBOXES {
        let mailbox = ledger.mailbox(&key(&no.to_string())).await.unwrap();
        tasks.spawn(async move {
            for n in whole_batches(&mailbox).await.. {
                mailbox.commit(batch(n)).await.unwrap();
                say(&format!("acknowledged {no} {n}"));
            }
        });
    }
    tasks.join_next().await;
}

/// Past the test harness, which would keep it, and in one write.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).and_then(|()| out.flush()).unwrap();
}

fn spawn(mut command: Command, test: &str, dir: &Path) -> Child {
    command
        .args([test, "--exact", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_a_kill_is_there_and_every_batch_is_whole() {
    if let Some(dir) = child_dir() {
        return commit_for_ever(&dir).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let mut dice = Dice(u64::from(now.subsec_nanos()));
    let mut total = 0;
    for round in 0..12 {
        let me = Command::new(std::env::current_exe().unwrap());
        let test = "crash::what_was_acknowledged_before_a_kill_is_there_and_every_batch_is_whole";
        let mut child = spawn(me, test, dir.path());
        let out = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            let mut acknowledged = [0; MAILBOXES as usize];
            for line in out.lines().map_while(Result::ok) {
                let words: Vec<&str> = line.split(' ').collect();
                if let ["acknowledged", no, n] = words[..] {
                    acknowledged[no.parse::<usize>().unwrap()] = n.parse::<u64>().unwrap() + 1;
                }
            }
            acknowledged
        });
        tokio::time::sleep(Duration::from_millis(100 + dice.below(500))).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged = reader.join().unwrap();

        let (ledger, opening) = open(dir.path()).await;
        assert!(
            opening == Opening::Continued || round == 0 && opening == Opening::Fresh,
            "round {round}: {opening:?}"
        );
        for (no, acknowledged) in acknowledged.into_iter().enumerate() {
            let mailbox = ledger.mailbox(&key(&no.to_string())).await.unwrap();
            let found = whole_batches(&mailbox).await;
            assert!(found >= acknowledged, "round {round}: {found} of {acknowledged} batches");
            total += acknowledged;
        }
        ledger.close().await.unwrap();
    }
    assert!(total > 0, "no batch was committed before any kill");
}

/// Commits until the limit on file sizes is met, has it lifted, and goes on.
async fn fill_the_disk(dir: &Path) {
    let (ledger, _) = open(dir).await;
    let mailbox = ledger.mailbox(&key("0")).await.unwrap();
    let mut n = 0;
    let error = loop {
        match mailbox.commit(batch(n)).await {
            Ok(()) => n += 1,
            Err(error) => break error,
        }
        assert!(n < 100_000, "the limit was never met");
    };
    assert!(matches!(error, Error::Full { .. }), "{error:?}");
    // Either there is room for reading what is on the disk, or it is said that there is none.
    match mailbox.overview().await {
        Ok(_) => assert!((n..=n + 1).contains(&whole_batches(&mailbox).await)),
        Err(error) => assert!(matches!(error, Error::Full { .. }), "{error:?}"),
    }
    say(&format!("acknowledged 0 {}", n - 1));
    let pid = format!("--pid={}", std::process::id());
    let lifted = Command::new("prlimit").args([&pid, "--fsize=unlimited"]).status();
    if !lifted.is_ok_and(|status| status.success()) {
        return say("the limit could not be lifted: going on is not tested");
    }
    let found = whole_batches(&mailbox).await;
    assert!(found == n || found == n + 1, "{found} of {n} batches");
    mailbox.commit(batch(found)).await.unwrap();
    assert_eq!(whole_batches(&mailbox).await, found + 1);
    say(&format!("acknowledged 0 {found}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_said_and_survived() {
    if let Some(dir) = child_dir() {
        return fill_the_disk(&dir).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut shell = Command::new("sh");
    // A soft limit, in blocks of 512 bytes or 1 KiB. The signal is ignored, so that the write
    // fails as on a full disk.
    shell.args(["-c", r#"trap "" XFSZ; ulimit -S -f 4096; exec "$0" "$@""#]);
    shell.arg(std::env::current_exe().unwrap());
    let child = spawn(shell, "crash::a_full_disk_is_said_and_survived", dir.path());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    let acknowledged: Vec<u64> = said
        .lines()
        .filter_map(|line| line.strip_prefix("acknowledged 0 ")?.parse().ok())
        .collect();
    let (ledger, opening) = open(dir.path()).await;
    assert_eq!(opening, Opening::Continued);
    let mailbox = ledger.mailbox(&key("0")).await.unwrap();
    assert!(whole_batches(&mailbox).await > *acknowledged.last().expect("batches came first"));
}
