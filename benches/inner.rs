//! The parts that run once for each message or each batch: `cargo bench --bench inner`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use drover::flow::Memory;
use drover::ledger::{
    Change, FolderNo, Ledger, MailboxKey, MailboxLedger, Origin, PlaceNo, Record, inner,
};
use drover::model::fingerprint::{ContentHasher, of_headers};
use drover::model::{Cursor, Epoch, Fingerprint, Flags, IdSet, Item, ItemId, Meta};
use drover::platform::imap::inner::fetched;
use drover::platform::{Changes, Gone};
use drover::sync::inner::diff;
use tokio::runtime::Runtime;

const FOLDER: FolderNo = FolderNo(1);
const PAGE: u64 = 128;
const BATCH: u64 = 100;
const LISTED: u64 = 10_000;
const WALKED: u64 = 100_000;

criterion_group!(benches, pages, commits, walk, fingerprints, responses, diffs);
criterion_main!(benches);

fn pages(c: &mut Criterion) {
    let rows: Vec<_> = (1..=PAGE).map(record).collect();
    let page = inner::pack(&rows);
    let mut group = c.benchmark_group("ledger/page");
    group.throughput(Throughput::Elements(PAGE));
    group.bench_function("pack", |b| b.iter(|| inner::pack(black_box(&rows))));
    group.bench_function("unpack", |b| b.iter(|| inner::unpack(black_box(&page))));
    group.finish();
}

/// Durable, each at the end of a folder that grows; on the disk that has the temporary directory.
fn commits(c: &mut Criterion) {
    let runtime = runtime();
    let (_directory, mailbox) = ledger(&runtime);
    let mut next = 1;
    let mut group = c.benchmark_group("ledger/commit");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("100 records", |b| {
        b.iter_batched(
            || {
                next += BATCH;
                vec![Change::PutRecords(FOLDER, (next - BATCH..next).map(record).collect())]
            },
            |batch| runtime.block_on(mailbox.commit(batch)).expect("a commit"),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn walk(c: &mut Criterion) {
    let runtime = runtime();
    let (_directory, mailbox) = ledger(&runtime);
    for first in (1..=WALKED).step_by(5_000) {
        let rows = (first..first + 5_000).map(record).collect();
        let batch = vec![Change::PutRecords(FOLDER, rows)];
        runtime.block_on(mailbox.commit(batch)).expect("a commit");
    }
    let mut group = c.benchmark_group("ledger/walk");
    group.sample_size(20).throughput(Throughput::Elements(WALKED));
    group.bench_function("100,000 records", |b| {
        b.iter(|| {
            runtime.block_on(async {
                let (mut walk, mut n_read) = (mailbox.walk(FOLDER), 0);
                while let Some(rows) = walk.next().await.expect("a page") {
                    n_read += rows.len() as u64;
                }
                assert_eq!(n_read, WALKED);
            });
        });
    });
    group.finish();
}

fn fingerprints(c: &mut Criterion) {
    let headers = b"Received: from mail.example (mail.example [192.0.2.1])\r\n\tby mx.example; \
        Mon, 2 Mar 2026 12:00:00 +0100\r\nMessage-ID: <20260302.110000.1@old.example>\r\n\
        Date: Mon, 2 Mar 2026 12:00:00 +0100\r\nFrom: =?UTF-8?Q?J=C3=BCrgen?= <j@old.example>\r\n\
        To: Anna <anna@old.example>\r\nSubject: =?UTF-8?Q?Gr=C3=BC=C3=9Fe?=\r\n\
        Content-Type: text/plain; charset=utf-8\r\n\r\n";
    let content =
        [&headers[..], &b"A line of text, as people write it.\r\n".repeat(1_700)].concat();
    let mut group = c.benchmark_group("fingerprint");
    group.throughput(Throughput::Bytes(headers.len() as u64));
    group.bench_function("headers", |b| b.iter(|| of_headers(black_box(headers))));
    group.throughput(Throughput::Bytes(content.len() as u64));
    group.bench_function("content", |b| b.iter(|| ContentHasher::digest(black_box(&content))));
    group.finish();
}

/// A FETCH of a survey, and one that brings messages.
fn responses(c: &mut Criterion) {
    let runtime = runtime();
    let memory = Memory::new(64 << 20);
    let listed: String = (1..=LISTED)
        .map(|n| {
            format!(
                "* {n} FETCH (UID {} FLAGS (\\Seen $Work) INTERNALDATE \
                 \" 2-Mar-2026 12:00:00 +0100\" RFC822.SIZE 6144)\r\n",
                n + 7
            )
        })
        .collect();
    let body = "A line of text, as people write it.\r\n".repeat(160);
    let whole: String = (1..=BATCH)
        .map(|n| {
            format!(
                "* {n} FETCH (UID {n} FLAGS () INTERNALDATE \" 2-Mar-2026 12:00:00 +0100\" \
                 BODY[] {{{}}}\r\n{body})\r\n",
                body.len()
            )
        })
        .collect();
    let mut group = c.benchmark_group("imap/fetch");
    for (name, said, n) in [("10,000 listed", listed, LISTED), ("100 messages", whole, BATCH)] {
        group.throughput(Throughput::Bytes(said.len() as u64));
        group.bench_function(name, |b| {
            b.iter_batched(
                || said.clone().into_bytes(),
                |said| assert_eq!(runtime.block_on(fetched(said, &memory)), n),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

/// A folder of 100,000 messages that was listed whole: ten came, ten are gone, of ten the flags changed.
fn diffs(c: &mut Criterion) {
    let item = |id: u64| Item {
        id: ItemId(id),
        flags: Some(Flags::parse(if id <= 20 { "\\Flagged" } else { "\\Seen" }.split(' '))),
        meta: Some(Meta { date: None, size: 6_144 }),
    };
    let changes = Changes {
        epoch: Epoch(1),
        cursor: Cursor(Vec::new()),
        messages: WALKED,
        items: (11..=WALKED + 10).map(item).collect(),
        gone: Gone::AllBut(IdSet::range(ItemId(11), ItemId(WALKED + 10))),
    };
    let records: Vec<Record> = (1..=WALKED).map(record).collect();
    let pages: Vec<Vec<Record>> = records.chunks(PAGE as usize).map(<[Record]>::to_vec).collect();
    let mut group = c.benchmark_group("sync/diff");
    group.sample_size(20).throughput(Throughput::Elements(WALKED));
    group.bench_function("100,000 messages", |b| {
        b.iter_batched(
            || pages.clone(),
            |pages| assert_eq!(diff(black_box(&changes), pages), [10, 10, 10]),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .expect("a runtime")
}

fn ledger(runtime: &Runtime) -> (tempfile::TempDir, MailboxLedger) {
    let directory = tempfile::tempdir().expect("a directory");
    let mailbox = runtime.block_on(async {
        let (ledger, _) = Ledger::open(directory.path()).await.expect("the ledger opens");
        ledger.mailbox(&MailboxKey("anna".into())).await.expect("the lease is free")
    });
    (directory, mailbox)
}

fn record(id: u64) -> Record {
    Record {
        id: ItemId(id),
        place: PlaceNo(1),
        at: Some(ItemId(id + 7)),
        origin: Origin::Copied,
        flags: Flags::parse(["\\Seen"]),
        fingerprint: Fingerprint(id.wrapping_mul(0x9E37_79B9_7F4A_7C15)),
        size: 2000 + id * 977 % 100_000,
        date: Some(1_700_000_000 + (id * 7919 % 90_000).cast_signed()),
        identity: None,
    }
}
