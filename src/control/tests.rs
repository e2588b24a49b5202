use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::controller::testing::{migration, report, snapshot_of};
use crate::controller::{Book, Controller, Memory, Settings};
use crate::ledger::MailboxKey;
use crate::sync::verify::Scratch;

/// A daemon without a ledger, whose passes take 50 ms, on a socket in a directory of its own.
struct Daemon {
    _directory: tempfile::TempDir,
    path: PathBuf,
    stop: CancellationToken,
}

impl Daemon {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/drover.sock");
        let socket = Socket::bind(&path).await.unwrap();
        let stop = CancellationToken::new();
        let book = Book {
            recall: Arc::new(|_| Box::pin(async { Ok(Memory::default()) })),
            keep: Arc::new(|_, _| Box::pin(async { Ok(()) })),
            known: Arc::new(|| Box::pin(async { Ok(vec![]) })),
            keep_known: Arc::new(|_| Box::pin(async { Ok(()) })),
        };
        let runner: crate::controller::PassRunner = Arc::new(|job| {
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Ok(report(job.kind, chrono::Utc::now(), 3))
            })
        });
        let key =
            |mailbox: &crate::definition::Mailbox| MailboxKey(mailbox.source.user.as_str().into());
        let (controller, handle) = Controller::new(Settings::new(4, runner, book, key));
        tokio::spawn(controller.run(stop.clone()));
        handle.declare_now(snapshot_of(&[migration("m", &["alice", "bob"])]), false).await;
        let handlers = Handlers {
            plan: Arc::new(|names, progress| {
                Box::pin(async move {
                    for n in 0..3 {
                        let _ = progress.send(json!(n)).await;
                    }
                    Ok(json!({ "planned": names }))
                })
            }),
            failed: Arc::new(|(name, _), _| {
                Box::pin(async move { Err((format!("no {name}"), "look again".into())) })
            }),
            verify: Arc::new(|_, _| Box::pin(std::future::pending())),
            scratch: Scratch::new(directory.path()),
        };
        tokio::spawn(
            Server { handle, handlers, reload: Arc::new(|| {}) }.run(socket, stop.clone()),
        );
        Self { _directory: directory, path, stop }
    }

    async fn ask(&self, request: Request) -> Result<serde_json::Value, ClientError> {
        Client::connect(&self.path).await.unwrap().unwrap().ask(&request, |_| {}).await
    }

    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = UnixStream::connect(&self.path).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_socket_is_for_its_owner_alone() {
    let daemon = Daemon::start().await;
    assert_eq!((mode(&daemon.path), mode(daemon.path.parent().unwrap())), (0o600, 0o700));
}

#[tokio::test]
async fn a_dead_socket_is_replaced_a_live_one_and_other_files_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    assert!(Client::connect(&path).await.unwrap().is_none());
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(Client::connect(&path).await.unwrap().is_none());
    let live = Socket::bind(&path).await.unwrap();
    assert!(matches!(Socket::bind(&path).await, Err(SocketError::InUse(_))));
    drop(live);
    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(Socket::bind(&path).await, Err(SocketError::NotASocket(_))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn status_comes_as_data() {
    let daemon = Daemon::start().await;
    let value = daemon.ask(Request::Status { name: Some("m".into()) }).await.unwrap();
    let status: crate::controller::status::Status = serde_json::from_value(value).unwrap();
    assert_eq!(status.mailboxes.len(), 2);
    let unknown = daemon.ask(Request::Status { name: Some("n".into()) }).await.unwrap_err();
    assert!(unknown.to_string().contains("no migration or mailbox `n`"), "{unknown}");
}

#[tokio::test]
async fn a_sync_tells_what_came_of_each_mailbox() {
    let daemon = Daemon::start().await;
    let results = daemon.ask(Request::Sync { names: vec!["m".into()] }).await.unwrap();
    let mailboxes: Vec<_> = results.as_array().unwrap().iter().map(|r| &r["mailbox"]).collect();
    assert_eq!(mailboxes, ["m/alice@old.example", "m/bob@old.example"]);
    assert_eq!(results[0]["pass"]["accounts"]["copied"], 3);
}

#[tokio::test]
async fn progress_comes_in_order_and_before_the_result() {
    let daemon = Daemon::start().await;
    let client = Client::connect(&daemon.path).await.unwrap().unwrap();
    let mut told = Vec::new();
    let request = Request::Plan { names: vec!["m".into()] };
    let result = client.ask(&request, |data| told.push(data)).await.unwrap();
    assert_eq!((told, result), (vec![json!(0), json!(1), json!(2)], json!({ "planned": ["m"] })));
}

#[tokio::test]
async fn errors_bring_their_remedy() {
    let daemon = Daemon::start().await;
    let failed = Request::Failed { name: "x".into(), retry: false };
    let Err(ClientError::Refused { message, remedy }) = daemon.ask(failed).await else {
        panic!("not refused");
    };
    assert_eq!((&*message, &*remedy), ("no x", "look again"));
}

#[tokio::test]
async fn nonsense_gets_an_error_and_harms_nobody() {
    let daemon = Daemon::start().await;
    for nonsense in [&b"nonsense\n"[..], b"{\"op\":\"burn\"}\n", b"\xff\xfe\n", b"{}\n"] {
        let answer = daemon.raw(nonsense).await;
        assert!(answer.starts_with(r#"{"event":"error""#), "{answer}");
    }
    let endless = vec![b'x'; protocol::MAX_REQUEST];
    assert!(daemon.raw(&endless).await.contains("too long"));
    assert!(daemon.ask(Request::Ping).await.is_ok());
}

#[tokio::test]
async fn clients_that_are_silent_slow_or_gone_hold_up_nobody() {
    let daemon = Daemon::start().await;
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(UnixStream::connect(&daemon.path).await.unwrap());
        let mut waiting = UnixStream::connect(&daemon.path).await.unwrap();
        waiting.write_all(b"{\"op\":\"verify\",\"names\":[]}\n").await.unwrap();
        idle.push(waiting);
    }
    let answer = tokio::time::timeout(Duration::from_secs(5), daemon.ask(Request::Ping)).await;
    assert!(answer.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_says_nothing_is_not_waited_for_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("drover.sock");
    let _listener = tokio::net::UnixListener::bind(&path).unwrap();
    let client = Client::connect(&path).await.unwrap().unwrap();
    let answer = client.ask(&Request::Status { name: None }, |_| {}).await;
    assert!(matches!(answer, Err(ClientError::Silent)), "{answer:?}");
    // A comparison takes as long as it takes.
    let client = Client::connect(&path).await.unwrap().unwrap();
    let compare = serde_json::from_str(r#"{"op":"verify"}"#).unwrap();
    let asking = client.ask(&compare, |_| {});
    assert!(tokio::time::timeout(Duration::from_secs(24 * 3600), asking).await.is_err());
}

#[tokio::test]
async fn a_client_that_closed_its_half_is_still_answered() {
    let daemon = Daemon::start().await;
    let mut stream = UnixStream::connect(&daemon.path).await.unwrap();
    stream.write_all(b"{\"op\":\"ping\"}").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with(r#"{"event":"result""#), "{answer}");
}

#[tokio::test]
async fn a_request_looks_as_documented() {
    let request = Request::Sync { names: vec!["m".into()] };
    assert_eq!(serde_json::to_string(&request).unwrap(), r#"{"op":"sync","names":["m"]}"#);
    let status: Request = serde_json::from_str(r#"{"op":"status","name":null}"#).unwrap();
    assert_eq!(status, Request::Status { name: None });
}
