//! What stands between async-imap and the server while signing in.
//!
//! async-imap drives the dialogue of the greeting, STARTTLS and SASL well, but its parser gives
//! up on lines that real servers send, panics on two, and loses the words of a refusal. So it is
//! told only what it must know: that there is a greeting, a `+`, or the end of its command, and
//! whether that was OK. One at a time and each whole, so that it never holds bytes that are
//! ours. Everything the server said is kept here, read by our own parser.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame::framed;
use super::reply::{Reply, read};
use super::saying::{Saying, Status};
use super::wire::{Literal, MAX_LITERALS, Part, Response, Wire};
use crate::platform::{Error, Result};

/// No dialogue asks more often: SASL PLAIN has one challenge, and a server may prompt once more.
const MAX_CHALLENGES: usize = 3;

/// A connection that async-imap may use.
#[derive(Debug)]
pub(super) struct Guard {
    wire: Wire,
    /// The response that is being put together, and the size of the literal it waits for.
    parts: Response,
    awaited: Option<usize>,
    /// Its literals' bytes.
    plain: usize,
    /// What async-imap is told and has not read yet.
    told: BytesMut,
    greeted: bool,
    heard: Heard,
}

/// What the server said since this was last asked for.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// How the command ended; for the greeting, the greeting.
    pub(super) end: Option<Saying>,
    /// The words of a BYE or a stray line.
    pub(super) last_words: Option<Saying>,
    /// The capabilities last told.
    pub(super) capabilities: Option<Vec<String>>,
    /// What the server said that ends the connection.
    pub(super) fault: Option<Error>,
    challenges: usize,
}

impl Guard {
    pub(super) fn new(wire: Wire) -> Self {
        Self {
            wire,
            parts: Vec::new(),
            awaited: None,
            plain: 0,
            told: BytesMut::new(),
            greeted: false,
            heard: Heard::default(),
        }
    }

    /// On a connection that was greeted before TLS was put around it.
    pub(super) fn secured(wire: Wire) -> Self {
        Self { greeted: true, ..Self::new(wire) }
    }

    /// Takes what was heard.
    pub(super) fn heard(&mut self) -> Heard {
        self.wire.renew();
        std::mem::take(&mut self.heard)
    }

    /// The connection; nothing that came on it is lost.
    pub(super) fn into_wire(self) -> Wire {
        self.wire
    }

    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// One whole response out of what has come, if there is one.
    fn assemble(&mut self) -> Result<Option<Response>> {
        loop {
            if let Some(size) = self.awaited {
                let Some(bytes) = self.wire.buffered_literal(size) else { return Ok(None) };
                self.parts.push(Part::Literal(Literal::Plain(bytes)));
                self.awaited = None;
            }
            let Some(line) = self.wire.buffered_line()? else {
                return Ok(None);
            };
            self.wire.heard(line.len())?;
            let Some((text, announced)) = framed(line, self.parts.is_empty()) else { continue };
            self.parts.push(Part::Text(text));
            let Some(size) = announced else {
                self.plain = 0;
                return Ok(Some(std::mem::take(&mut self.parts)));
            };
            let size = self.wire.checked_size(size, false, self.parts.len());
            let size = size?;
            self.plain += size;
            if self.plain > MAX_LITERALS {
                return Err(self.wire.protocol("a response of too many literals"));
            }
            self.awaited = Some(size);
        }
    }

    /// Keeps a response, and tells async-imap what it must know of it.
    fn hear(&mut self, reply: Reply) -> Result<()> {
        match reply {
            Reply::Tagged(tag, saying) => {
                let status = match saying.status {
                    Status::Ok => "OK",
                    Status::No => "NO",
                    _ => "BAD",
                };
                self.tell(&format!("{tag} {status} ."));
                self.heard.end = Some(saying);
            }
            Reply::Continue(text) => {
                self.heard.challenges += 1;
                if self.heard.challenges > MAX_CHALLENGES {
                    return Err(self.wire.protocol("its challenges do not end"));
                }
                // A challenge is base64; what is not is a prompt for people.
                let is_base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
                let challenge = if text.chars().all(is_base64) { text.as_str() } else { "" };
                self.tell(&format!("+ {challenge}"));
            }
            Reply::Status(saying) if !self.greeted => {
                self.greeted = true;
                self.tell("* OK .");
                self.heard.end = Some(saying);
            }
            Reply::Status(saying) if saying.status == Status::Bye => {
                self.heard.last_words = Some(saying);
            }
            Reply::Stray(text) => {
                self.heard.last_words = Some(Saying { status: Status::Bye, code: None, text });
            }
            Reply::Capability(offered) => self.heard.capabilities = Some(offered),
            // Nothing else that may come while signing in is of use, and none of it is kept.
            _ => {}
        }
        Ok(())
    }

    fn tell(&mut self, line: &str) {
        self.told.extend_from_slice(line.as_bytes());
        self.told.extend_from_slice(b"\r\n");
    }
}

impl AsyncRead for Guard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.told.is_empty() {
            let whole = self.assemble().and_then(|response| {
                let is_whole = response.is_some();
                response.map_or(Ok(()), |response| self.hear(read(response)))?;
                Ok(is_whole)
            });
            match whole {
                Ok(true) => {}
                Err(error) => {
                    let told = io::Error::other(error.to_string());
                    self.heard.fault = Some(error);
                    return Poll::Ready(Err(told));
                }
                Ok(false) if ready!(self.wire.poll_fill(cx))? == 0 => return Poll::Ready(Ok(())),
                Ok(false) => {}
            }
        }
        let n = self.told.len().min(buf.remaining());
        buf.put_slice(&self.told[..n]);
        self.told.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guard {
    /// Only gathers: async-imap writes a command in four pieces and flushes after the last.
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.wire.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.wire.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
