//! The daemon's end of the control socket.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::protocol::{MAX_REQUEST, Reply, Request};
use crate::controller::{BoxFuture, Handle, Update};
use crate::sync::Progress;
use crate::sync::verify::Scratch;
use crate::sync::verify::sample::Sample;

/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(500);
/// A client must send its request, and take each line, within this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// A client that may have left is answered within this long, or not at all.
const LAST_MOMENT: Duration = Duration::from_secs(5);
/// Progress that waits for a slow client; the handler waits when there is more.
const BACKLOG: usize = 64;

/// Sends progress to a client; sending fails once it is gone, which ends the work.
pub type ProgressSender = mpsc::Sender<Value>;
/// Answers a request that takes names. An error is a message and a remedy.
pub type Handler<A> = Arc<
    dyn Fn(A, ProgressSender) -> BoxFuture<'static, Result<Value, (String, String)>> + Send + Sync,
>;

/// Who answers what the controller does not.
#[derive(Clone)]
pub struct Handlers {
    /// `plan`, of these names.
    pub plan: Handler<Vec<String>>,
    /// `failed`, of this name, and whether to retry.
    pub failed: Handler<(String, bool)>,
    /// `verify`.
    pub verify: Handler<Compare>,
    /// For what clients send along.
    pub scratch: Scratch,
}

/// What is to be compared, and how.
#[derive(Debug)]
pub struct Compare {
    /// Migrations and mailboxes.
    pub names: Vec<String>,
    /// Flags may differ.
    pub ignore_flags: bool,
    /// Only a part.
    pub sample: Option<Sample>,
    /// Tell what the source holds as a manifest.
    pub write_manifest: bool,
    /// Stands for the source.
    pub manifest: Option<File>,
}

/// Why the socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error("another drover listens on {0}; stop it, or give this one another `socket`")]
    InUse(PathBuf),
    /// It is something else than a socket.
    #[error("{0} is there and is not a socket; remove it, or set another `socket`")]
    NotASocket(PathBuf),
    /// The operating system refuses.
    #[error("cannot listen on {path}: {cause}; check the permissions of its directory")]
    Io {
        /// Where.
        path: PathBuf,
        /// Its word.
        cause: io::Error,
    },
}

/// A socket that is listened on. Its file goes with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens, for the owner alone. A directory that is missing is made, closed to others; a
    /// file left behind by a daemon that died is replaced.
    pub async fn bind(path: &Path) -> Result<Self, SocketError> {
        let io = |cause| SocketError::Io { path: path.to_owned(), cause };
        if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(io)?;
        }
        match std::fs::symlink_metadata(path) {
            Ok(found) if !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
                return Err(SocketError::NotASocket(path.to_owned()));
            }
            Ok(_) => match UnixStream::connect(path).await {
                Ok(_) => return Err(SocketError::InUse(path.to_owned())),
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    std::fs::remove_file(path).map_err(io)?;
                }
                Err(error) => return Err(io(error)),
            },
            Err(_) => {}
        }
        // Bound under another name and moved once closed to others: there is no moment at which
        // anybody else could connect.
        let hidden = path.with_extension(format!("{}.new", std::process::id()));
        let _ = std::fs::remove_file(&hidden);
        let listener = UnixListener::bind(&hidden).map_err(io)?;
        std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o600)).map_err(io)?;
        std::fs::rename(&hidden, path).map_err(io)?;
        Ok(Self { listener, path: path.to_owned() })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Answers clients.
#[derive(Clone)]
pub struct Server {
    /// The controller.
    pub handle: Handle,
    /// Who answers the rest.
    pub handlers: Handlers,
    /// What SIGHUP does.
    pub reload: Arc<dyn Fn() + Send + Sync>,
}

impl Server {
    /// Answers every client in a task of its own until `stop`.
    pub async fn run(self, socket: Socket, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = socket.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (server, stop) = (self.clone(), stop.clone());
                    tokio::spawn(async move {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            result = server.serve(stream) => if let Err(error) = result {
                                debug!("a control client left: {error}");
                            },
                        }
                    });
                }
                Err(error) => {
                    // Out of descriptors, mostly: clients must leave first.
                    warn!("cannot accept on the control socket: {error}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    async fn serve(&self, stream: UnixStream) -> io::Result<()> {
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let request = match tokio::time::timeout(PATIENCE, read_request(&mut reader)).await {
            Ok(Ok(request)) => request,
            Ok(Err(reply)) => return send(&mut writer, &reply).await,
            Err(_) => return Ok(()),
        };
        let upload = match request.upload() {
            Some(n) => match self.receive(&mut reader, n).await {
                Ok(file) => Some(file),
                Err(error) => {
                    let reply = Reply::error(format!("what was sent along broke off: {error}"));
                    return send(&mut writer, &reply).await;
                }
            },
            None => None,
        };
        let (progress, mut told) = mpsc::channel(BACKLOG);
        let answer = self.answer(request, upload, progress);
        tokio::pin!(answer);
        let mut end = [0; 1];
        let mut left: Option<std::pin::Pin<Box<tokio::time::Sleep>>> = None;
        let last = loop {
            tokio::select! {
                // Everything told before the answer is sent before the answer.
                biased;
                Some(data) = told.recv() => send(&mut writer, &Reply::Progress { data }).await?,
                reply = &mut answer => break reply,
                // The client has nothing more to say, so this is its end: it left, or it closed
                // only its half (`socat` does). What runs only for it ends after a moment.
                _ = reader.read(&mut end), if left.is_none() => {
                    left = Some(Box::pin(tokio::time::sleep(LAST_MOMENT)));
                }
                () = async { if let Some(left) = &mut left { left.await } }, if left.is_some() => {
                    return Ok(());
                }
            }
        };
        while let Ok(data) = told.try_recv() {
            send(&mut writer, &Reply::Progress { data }).await?;
        }
        send(&mut writer, &last).await
    }

    /// Keeps what follows a request in a file without a name.
    async fn receive<R>(&self, reader: &mut BufReader<R>, n: u64) -> io::Result<File>
    where
        R: tokio::io::AsyncRead + Unpin,
    {
        let mut file = tokio::fs::File::from_std(self.handlers.scratch.file()?);
        let mut left = n;
        while left > 0 {
            let read = tokio::time::timeout(PATIENCE, reader.fill_buf()).await;
            let piece = read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            if piece.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let taken = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            file.write_all(&piece[..taken]).await?;
            reader.consume(taken);
            left -= taken as u64;
        }
        file.flush().await?;
        Ok(file.into_std().await)
    }

    /// Answers one request. The socket does it through this; a command without a daemon, too.
    /// `upload` is what came with the request.
    pub async fn answer(
        &self,
        request: Request,
        upload: Option<File>,
        progress: ProgressSender,
    ) -> Reply {
        let result = match request {
            Request::Ping => Ok(json!({ "version": env!("CARGO_PKG_VERSION") })),
            Request::Status { name } => self
                .handle
                .status(name)
                .await
                .and_then(|status| serde_json::to_value(status).map_err(|e| e.to_string()))
                .map_err(|message| (message, String::new())),
            Request::Sync { names } => {
                self.sync(names, progress).await.map_err(|message| (message, String::new()))
            }
            Request::Plan { names } => (self.handlers.plan)(names, progress).await,
            Request::Failed { name, retry } => {
                (self.handlers.failed)((name, retry), progress).await
            }
            Request::Verify { names, ignore_flags, sample, write_manifest, manifest: _ } => {
                let manifest = upload;
                let compare = Compare { names, ignore_flags, sample, write_manifest, manifest };
                (self.handlers.verify)(compare, progress).await
            }
            Request::Reload => {
                (self.reload)();
                Ok(Value::Null)
            }
        };
        match result {
            Ok(data) => Reply::Result { data },
            Err((message, remedy)) => Reply::Error { message, remedy },
        }
    }

    /// Progress: `{mailbox, kind, progress}`. Result: one
    /// `{mailbox, pass, notes}` or `{mailbox, error}` for each mailbox, by name.
    async fn sync(&self, names: Vec<String>, progress: ProgressSender) -> Result<Value, String> {
        let (updates, mut heard) = mpsc::unbounded_channel();
        self.handle.sync(names, updates).await?;
        let mut running: BTreeMap<String, (Value, Progress)> = BTreeMap::new();
        let mut results = BTreeMap::new();
        let mut tick = tokio::time::interval(PROGRESS);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                update = heard.recv() => match update {
                    Some(Update::Started { mailbox, kind, progress }) => {
                        running.insert(mailbox, (json!(kind), progress));
                    }
                    Some(Update::Ended { mailbox, result }) => {
                        running.remove(&mailbox);
                        let result = match result {
                            Ok(report) => json!({
                                "mailbox": mailbox, "pass": report.0, "notes": report.1,
                            }),
                            Err(failed) => json!({ "mailbox": mailbox, "error": failed }),
                        };
                        results.insert(mailbox, result);
                    }
                    // The controller holds a sender for each pass that has not ended.
                    None => return Ok(results.into_values().collect()),
                },
                _ = tick.tick() => for (mailbox, (kind, now)) in &running {
                    let now = json!({ "mailbox": mailbox, "kind": kind, "progress": now.read() });
                    // A slow client misses some.
                    let _ = progress.try_send(now);
                },
            }
        }
    }
}

async fn read_request<R>(reader: &mut BufReader<R>) -> Result<Request, Reply>
where
    R: tokio::io::AsyncRead + Unpin,
{
    let mut line = Vec::new();
    let mut limited = reader.take(MAX_REQUEST as u64);
    match limited.read_until(b'\n', &mut line).await {
        Ok(0) => Err(Reply::error("no request came")),
        Ok(_) if line.len() >= MAX_REQUEST && !line.ends_with(b"\n") => {
            Err(Reply::error("the request is too long"))
        }
        Ok(_) => serde_json::from_slice(&line)
            .map_err(|error| Reply::error(format!("not a request: {error}"))),
        Err(error) => Err(Reply::error(format!("the request broke off: {error}"))),
    }
}

/// A client that does not read is left, so that it holds up nobody but itself.
async fn send(writer: &mut (impl AsyncWrite + Unpin), reply: &Reply) -> io::Result<()> {
    let mut line = serde_json::to_vec(reply)?;
    line.push(b'\n');
    tokio::time::timeout(PATIENCE, async {
        writer.write_all(&line).await?;
        writer.flush().await
    })
    .await
    .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
