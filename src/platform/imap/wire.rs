//! The connection's bytes: framed on the way in, buffered on the way out.
//!
//! A response is a line whose literals (`{n}`, `{n+}`, `~{n}`) are read in place: text, literal,
//! text, … Message bodies are never copied twice, never read before there is room for them, and
//! never trusted in their announced size. Knows nothing of what a response means.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout};

use super::compress::Compressed;
use super::frame::{ends_in_body, framed, names_messages};
use super::patience::Patience;
use crate::flow::{Memory, Room};
use crate::model::Normalisation;
use crate::platform::{ContentDigest, Error, Options, Result};

/// What is read from the socket at once, bytes.
const READ_SIZE: usize = 32 * 1024;
/// Output is handed to the socket once this much is waiting, bytes.
const WRITE_SIZE: usize = 32 * 1024;
/// The longest line, bytes. Real lines stay far below.
const MAX_LINE: usize = 1024 * 1024;
/// The longest line of those that name every message of a folder, bytes.
const MAX_LONG_LINE: usize = 24 * 1024 * 1024;
/// The largest literal that is no message body, bytes: names, header fields.
const MAX_LITERAL: usize = 1024 * 1024;
/// What all literals of one response that are no message body may have together, bytes.
pub(super) const MAX_LITERALS: usize = 4 * MAX_LITERAL;
/// The largest message body, bytes.
const MAX_BODY: usize = 1024 * 1024 * 1024;
/// The most that is allocated on the word of an announcement alone, bytes.
const MAX_GRANT: usize = 1024 * 1024;
/// The most pieces of one response.
const MAX_PARTS: usize = 4096;

/// TCP, TLS over it, compression over that, or a test's pipe.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What happens to message bodies while a response is read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bodies<'a> {
    /// None is expected.
    None,
    /// They are kept, each once the budget has room for it.
    Keep(&'a Memory),
    /// Only their digest is.
    Digest,
}

/// A piece of a response.
#[derive(Debug)]
pub(super) enum Part {
    /// Text between literals, without line ends and announcements.
    Text(Bytes),
    /// A literal.
    Literal(Literal),
}

/// A literal, or what is left of it.
#[derive(Debug)]
pub(super) enum Literal {
    /// Its bytes.
    Plain(Bytes),
    /// A message body with its share of the budget.
    Body(Bytes, Room),
    /// A message body's digest.
    Digest(ContentDigest),
}

/// One response: alternately text and literal, text first.
pub(super) type Response = Vec<Part>;

/// One end of a connection to a server.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    host: Arc<str>,
    idle: Duration,
    /// How content digests are taken.
    pub(super) normalisation: Normalisation,
    patience: Patience,
    patient: bool,
    input: BytesMut,
    /// So much of `input` is known to hold no line end.
    scanned: usize,
    output: BytesMut,
    /// A read or write was begun and not ended: where the next response starts is not known.
    torn: bool,
}

/// Shows no bytes: they may be secret, and are many.
impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Wire {
    /// Every single read and write is bounded by the options' `idle`, what they add up to by
    /// their `stall`.
    pub(super) fn new(stream: Box<dyn Stream>, host: &str, options: &Options) -> Self {
        Self {
            stream,
            host: host.into(),
            idle: options.idle,
            normalisation: options.normalisation,
            patience: Patience::new(options.stall, options.talk),
            patient: false,
            input: BytesMut::new(),
            scanned: 0,
            output: BytesMut::new(),
            torn: false,
        }
    }

    /// The stream beneath, to put TLS around it; `None` if the server has already sent
    /// something, which then came from whoever sits on the plain connection.
    pub(super) fn into_stream(self) -> Option<Box<dyn Stream>> {
        self.input.is_empty().then_some(self.stream)
    }

    /// From here on both sides compress (RFC 4978). What was read already is the first of it.
    pub(super) fn compress(&mut self) {
        let plain = std::mem::replace(&mut self.stream, Box::new(tokio::io::empty()));
        self.stream = Box::new(Compressed::new(plain, self.input.split().into()));
        self.scanned = 0;
    }

    /// Reads the next response.
    ///
    /// # Errors
    /// `Broken` at the end of the stream, wherever it comes: a server ends with BYE, and even
    /// then nothing that is outstanding was answered. `Silent`, `Protocol`.
    pub(super) async fn response(&mut self, bodies: Bodies<'_>) -> Result<Response> {
        self.tear()?;
        let mut parts = Vec::with_capacity(1);
        let (mut plain, mut has_body) = (0, false);
        loop {
            let line = match self.buffered_line()? {
                Some(line) => line,
                None => {
                    self.fill().await?;
                    continue;
                }
            };
            self.heard(line.len())?;
            let Some((text, announced)) = framed(line, parts.is_empty()) else { continue };
            // Where none is expected, a body is no more than any other literal.
            let is_body = !matches!(bodies, Bodies::None) && ends_in_body(&text);
            parts.push(Part::Text(text));
            let Some(size) = announced else { break };
            let size = self.checked_size(size, is_body, parts.len())?;
            if is_body {
                // A second one would wait for the room that the first one holds.
                if std::mem::replace(&mut has_body, true) {
                    return Err(self.protocol("two bodies of one message"));
                }
            } else {
                plain += size;
                if plain > MAX_LITERALS {
                    return Err(self.protocol("a response of too many literals"));
                }
                self.heard(size)?;
            }
            let literal = match bodies {
                Bodies::Keep(memory) if is_body => {
                    let room = memory.room(size as u64).await;
                    Literal::Body(self.literal(size, true).await?, room)
                }
                Bodies::Digest if is_body => Literal::Digest(self.digest(size).await?),
                _ => Literal::Plain(self.literal(size, false).await?),
            };
            parts.push(Part::Literal(literal));
        }
        self.torn = false;
        Ok(parts)
    }

    /// From now on replies may take minutes.
    pub(super) fn wait_longer(&mut self) {
        /// Ten minutes, by default.
        const TIMES: u32 = 5;
        if !self.patient {
            self.patient = true;
            self.idle = self.idle.saturating_mul(TIMES);
        }
    }

    /// From now on nothing is worth a long wait.
    pub(super) fn wait_briefly(&mut self) {
        self.idle = self.idle.min(Duration::from_secs(5));
    }

    /// Marks the connection as unusable: something on it was left unread.
    pub(super) fn abandon(&mut self) {
        self.torn = true;
    }

    /// Puts bytes into the output; [`Wire::flush`] sends them.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Was anything put into the output that was not sent?
    pub(super) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Sends a body after what was put into the output; large ones without copying them.
    pub(super) async fn push_body(&mut self, body: &Bytes) -> Result<()> {
        if body.len() < WRITE_SIZE {
            self.push(body);
            return if self.output.len() < WRITE_SIZE { Ok(()) } else { self.flush().await };
        }
        self.flush().await?;
        self.write(&mut body.clone()).await
    }

    /// Sends what was put into the output.
    pub(super) async fn flush(&mut self) -> Result<()> {
        let mut output = self.output.split();
        self.write(&mut output).await?;
        self.tear()?;
        waited(self.idle, &mut self.patience, self.stream.flush())
            .await
            .map_err(|failure| self.failed(failure))?;
        self.torn = false;
        Ok(())
    }

    async fn write(&mut self, bytes: &mut (impl Buf + Send)) -> Result<()> {
        self.tear()?;
        while bytes.has_remaining() {
            match waited(self.idle, &mut self.patience, self.stream.write_buf(bytes)).await {
                Ok(0) => return Err(self.broken("the server takes no more".into())),
                Ok(n) => self.patience.carry(n),
                Err(failure) => return Err(self.failed(failure)),
            }
        }
        self.torn = false;
        Ok(())
    }

    /// After a failed write: may be read once more, for the server's last words.
    pub(super) fn mend(&mut self) {
        self.torn = false;
    }

    pub(super) fn broken(&self, cause: String) -> Error {
        Error::Broken { host: self.host.to_string(), cause }
    }

    pub(super) fn protocol(&self, detail: impl Into<String>) -> Error {
        Error::Protocol { host: self.host.to_string(), detail: detail.into() }
    }

    pub(super) fn silent(&self) -> Error {
        Error::Silent { host: self.host.to_string(), after: self.idle }
    }

    fn failed(&self, failure: Failure) -> Error {
        match failure {
            Failure::Io(error) => self.broken(error.to_string()),
            Failure::Silent => self.silent(),
            Failure::Stalled => {
                Error::Stalled { host: self.host.to_string(), after: self.patience.full() }
            }
        }
    }

    /// A message or folder came that was asked for, and had not come before.
    pub(super) fn earn(&mut self) {
        self.patience.earn();
    }

    /// A command came to its end.
    pub(super) fn renew(&mut self) {
        self.patience.renew();
    }

    /// Counts what is no body.
    pub(super) fn heard(&mut self, bytes: usize) -> Result<()> {
        if self.patience.hear(bytes) {
            return Ok(());
        }
        Err(self.protocol("it talks without end and brings nothing"))
    }

    fn tear(&mut self) -> Result<()> {
        if self.torn {
            return Err(self.broken("an earlier command on it was cut short".into()));
        }
        self.torn = true;
        Ok(())
    }

    /// The next line with its line end, if all of it has come. Never looks at a byte twice.
    pub(super) fn buffered_line(&mut self) -> Result<Option<Bytes>> {
        let fresh = &self.input[self.scanned..];
        if let Some(at) = fresh.iter().position(|&b| b == b'\n') {
            let line = self.input.split_to(self.scanned + at + 1);
            self.scanned = 0;
            return Ok(Some(line.freeze()));
        }
        self.scanned = self.input.len();
        let limit = if names_messages(&self.input) { MAX_LONG_LINE } else { MAX_LINE };
        if self.scanned > limit {
            return Err(self.protocol(format!("a line longer than {limit} bytes")));
        }
        Ok(None)
    }

    /// A small literal, if all of it has come.
    pub(super) fn buffered_literal(&mut self, size: usize) -> Option<Bytes> {
        (self.input.len() >= size).then(|| {
            self.scanned = 0;
            self.input.split_to(size).freeze()
        })
    }

    /// Checks an announced size against what is taken.
    pub(super) fn checked_size(&self, size: u64, is_body: bool, parts: usize) -> Result<usize> {
        let limit = if is_body { MAX_BODY } else { MAX_LITERAL };
        if size > limit as u64 {
            let detail = format!("a literal of {size} bytes, more than {limit}");
            return Err(self.protocol(detail));
        }
        if parts > MAX_PARTS {
            return Err(self.protocol("a response of too many literals"));
        }
        Ok(size as usize)
    }

    async fn literal(&mut self, size: usize, is_body: bool) -> Result<Bytes> {
        let at_hand = size.min(self.input.len());
        let mut bytes = Vec::with_capacity(size.min(MAX_GRANT).max(at_hand));
        bytes.extend_from_slice(&self.input.split_to(at_hand));
        while bytes.len() < size {
            let missing = size - bytes.len();
            if bytes.capacity() - bytes.len() < missing.min(READ_SIZE) {
                // Doubles, and ends with exactly the announced size.
                bytes.reserve_exact(missing.min(bytes.len()));
            }
            if missing < READ_SIZE {
                // The end of the literal is read together with what follows it.
                self.fill().await?;
                let more = missing.min(self.input.len());
                bytes.extend_from_slice(&self.input.split_to(more));
                continue;
            }
            let mut rest = (&mut self.stream).take(missing as u64);
            match waited(self.idle, &mut self.patience, rest.read_buf(&mut bytes)).await {
                Ok(0) => {
                    return Err(self.broken("the server closed it within a message".into()));
                }
                Ok(n) if is_body => self.patience.carry(n),
                Ok(_) => {}
                Err(failure) => return Err(self.failed(failure)),
            }
        }
        Ok(bytes.into())
    }

    async fn digest(&mut self, size: usize) -> Result<ContentDigest> {
        let mut hasher = self.normalisation.hasher();
        let mut missing = size;
        while missing > 0 {
            if self.input.is_empty() {
                self.fill().await?;
            }
            let piece = self.input.split_to(missing.min(self.input.len()));
            hasher.update(&piece);
            self.patience.carry(piece.len());
            missing -= piece.len();
        }
        Ok(hasher.finish())
    }

    async fn fill(&mut self) -> Result<()> {
        self.input.reserve(READ_SIZE);
        match waited(self.idle, &mut self.patience, self.stream.read_buf(&mut self.input)).await {
            Ok(0) => Err(self.broken("the server closed it".into())),
            Ok(_) => Ok(()),
            Err(failure) => Err(self.failed(failure)),
        }
    }

    /// Reads once into the buffer; how many bytes came.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut space = [0; 4096];
        let mut space = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space))?;
        self.input.extend_from_slice(space.filled());
        Poll::Ready(Ok(space.filled().len()))
    }

    /// Sends what was put into the output.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.output.has_remaining() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.output.advance(written);
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

/// Why a read or write came to nothing.
enum Failure {
    Io(io::Error),
    /// Nothing moved for as long as a single one may take.
    Silent,
    /// All of them together took too long for what they brought.
    Stalled,
}

/// Waits for the server, at the cost of our patience.
async fn waited<T>(
    idle: Duration,
    patience: &mut Patience,
    step: impl Future<Output = io::Result<T>>,
) -> Result<T, Failure> {
    let began = Instant::now();
    let left = patience.time();
    let outcome = timeout(idle.min(left), step).await;
    patience.wait(began.elapsed());
    match outcome {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Failure::Io(error)),
        Err(_) if left < idle => Err(Failure::Stalled),
        Err(_) => Err(Failure::Silent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(bytes: &'static [u8]) -> Wire {
        let stream = tokio_test_stream(bytes);
        Wire::new(stream, "test", &idle(200))
    }

    fn idle(milliseconds: u64) -> Options {
        Options { idle: Duration::from_millis(milliseconds), ..Options::default() }
    }

    fn tokio_test_stream(bytes: &'static [u8]) -> Box<dyn Stream> {
        let (ours, mut theirs) = tokio::io::duplex(7);
        tokio::spawn(async move {
            let _ = theirs.write_all(bytes).await;
        });
        Box::new(ours)
    }

    fn shown(response: &Response) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => format!("[{}]", String::from_utf8_lossy(text)),
            Part::Literal(Literal::Plain(bytes)) => format!("<{}>", String::from_utf8_lossy(bytes)),
            Part::Literal(Literal::Body(bytes, _)) => format!("body<{}>", bytes.len()),
            Part::Literal(Literal::Digest(_)) => "digest".into(),
        };
        response.iter().map(part).collect()
    }

    #[tokio::test]
    async fn responses_are_cut_at_line_ends_and_literals() {
        let mut wire = wire(
            b"\0\0* OK hi {3}\r\n\r\n* LIST () \"/\" {3}\r\na\r\n x\n* 1 FETCH (X ~{1+}\r\nb BODY[] {2}\r\ncd)\r\n",
        );
        let memory = Memory::new(1000);
        for expected in [
            "[* OK hi {3}]",
            "[* LIST () \"/\" ]<a\r\n>[ x]",
            "[* 1 FETCH (X ]<b>[ BODY[] ]body<2>[)]",
        ] {
            let response = wire.response(Bodies::Keep(&memory)).await.unwrap();
            assert_eq!(shown(&response), expected);
        }
        let end = wire.response(Bodies::None).await;
        assert!(matches!(end, Err(Error::Broken { .. })), "{end:?}");
    }

    #[tokio::test]
    async fn an_end_within_a_literal_is_an_error() {
        let mut wire = wire(b"* 1 FETCH (BODY[] {200}\r\nabc");
        let end = wire.response(Bodies::Keep(&Memory::new(1000))).await;
        assert!(matches!(end, Err(Error::Broken { .. })), "{end:?}");
        let again = wire.response(Bodies::None).await;
        assert!(matches!(again, Err(Error::Broken { .. })), "{again:?}");
    }

    #[tokio::test]
    async fn an_absurd_announcement_is_an_error_and_allocates_nothing() {
        for line in [
            &b"* 1 FETCH (BODY[] {99999999999}\r\n"[..],
            b"* LIST () NIL {2000000}\r\n",
            b"* 1 FETCH (BODY[] {1073741825}\r\n",
        ] {
            let end = wire(line).response(Bodies::None).await;
            assert!(matches!(end, Err(Error::Protocol { .. })), "{end:?}");
        }
    }

    #[tokio::test]
    async fn a_silent_server_is_noticed() {
        let (ours, _theirs) = tokio::io::duplex(64);
        let mut wire = Wire::new(Box::new(ours), "test", &idle(20));
        assert!(matches!(wire.response(Bodies::None).await, Err(Error::Silent { .. })));
    }

    #[tokio::test]
    async fn bodies_are_digested_without_being_kept() {
        let mut wire = wire(b"* 1 FETCH (UID 4 BODY[] {12}\r\nSubject: x\r\n FLAGS ())\r\n");
        let response = wire.response(Bodies::Digest).await.unwrap();
        assert_eq!(shown(&response), "[* 1 FETCH (UID 4 BODY[] ]digest[ FLAGS ())]");
    }

    #[tokio::test]
    async fn a_body_waits_for_room() {
        let mut wire = wire(b"* 1 FETCH (BODY[] {3}\r\nabc)\r\n");
        let memory = Memory::new(1);
        let taken = memory.room(1).await;
        let waiting = wire.response(Bodies::Keep(&memory));
        tokio::pin!(waiting);
        assert!(timeout(Duration::from_millis(50), &mut waiting).await.is_err());
        drop(taken);
        assert_eq!(shown(&waiting.await.unwrap()), "[* 1 FETCH (BODY[] ]body<3>[)]");
    }
}
