//! The command line's end of the control socket.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::protocol::{Reply, Request};

/// A daemon that has not answered what it has in memory by then does nothing any more.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon that answers.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
}

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The daemon says so.
    #[error("{message}")]
    Refused {
        /// What happened.
        message: String,
        /// What to do about it; may be empty.
        remedy: String,
    },
    /// It went away, or does not speak this version's language.
    #[error("the daemon did not answer: {0}; see its log")]
    Broken(String),
    /// It is there and says nothing.
    #[error(
        "the daemon has said nothing for {} s; look at its log, and restart it if it is stuck",
        PATIENCE.as_secs()
    )]
    Silent,
}

impl Client {
    /// Connects; `None` if no daemon answers there: there is no socket, or nobody behind it. A
    /// socket that may not be used is an error, for a daemon is there.
    pub async fn connect(path: &Path) -> std::io::Result<Option<Self>> {
        use std::io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound};
        match UnixStream::connect(path).await {
            Ok(stream) => Ok(Some(Self { stream: BufReader::new(stream) })),
            Err(error) if matches!(error.kind(), NotFound | NotADirectory | ConnectionRefused) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends a request and waits for its result; `progress` sees what comes before. What takes
    /// long by its nature is waited for as long as it takes.
    pub async fn ask(
        self,
        request: &Request,
        progress: impl FnMut(Value),
    ) -> Result<Value, ClientError> {
        self.ask_with(request, tokio::io::empty(), progress).await
    }

    /// The same with what the request says that follows it.
    pub async fn ask_with(
        mut self,
        request: &Request,
        upload: impl AsyncRead + Unpin,
        mut progress: impl FnMut(Value),
    ) -> Result<Value, ClientError> {
        let broken = |error: &dyn std::fmt::Display| ClientError::Broken(error.to_string());
        let mut line = serde_json::to_vec(request).map_err(|error| broken(&error))?;
        line.push(b'\n');
        // A daemon that refuses early may have closed already; what it said is still there.
        let mut sent = self.stream.get_mut().write_all(&line).await;
        if let (Ok(()), Some(n)) = (&sent, request.upload()) {
            sent = tokio::io::copy(&mut upload.take(n), self.stream.get_mut()).await.map(drop);
        }
        let patience = if request.is_brief() { PATIENCE } else { Duration::MAX };
        let mut line = String::new();
        loop {
            line.clear();
            let read = tokio::time::timeout(patience, self.stream.read_line(&mut line)).await;
            match read.map_err(|_| ClientError::Silent)? {
                Ok(0) => {
                    let cause = sent.err().map_or("it hung up".into(), |error| error.to_string());
                    return Err(ClientError::Broken(cause));
                }
                Ok(_) => {}
                Err(error) => return Err(broken(&error)),
            }
            match serde_json::from_str(&line).map_err(|error| broken(&error))? {
                Reply::Progress { data } => progress(data),
                Reply::Result { data } => return Ok(data),
                Reply::Error { message, remedy } => {
                    return Err(ClientError::Refused { message, remedy });
                }
            }
        }
    }
}
