//! What a client sends, one command with its literals at a time, and what it is sent: in the
//! clear, or deflated (RFC 4978) from the moment that was agreed on.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use super::parse;

/// A line longer than this is no command.
const LONGEST_LINE: usize = 1 << 16;

/// Which literals a client need not wait for (RFC 7888).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Literals {
    /// None.
    Waiting,
    /// LITERAL-: up to 4,096 bytes.
    Small,
    /// LITERAL+: all.
    All,
}

/// What came.
pub(super) enum Input {
    /// All bytes of a command, without the last CRLF.
    Command(Vec<u8>),
    /// A command whose literal was refused: what of it came, and the answer to it.
    Refused(Vec<u8>, String),
    /// The end between two commands.
    End,
}

/// A connection's two directions.
pub(super) struct Wire {
    stream: TcpStream,
    /// Read and not used yet.
    waiting: Vec<u8>,
    out: Vec<u8>,
    deflated: Option<(Compress, Decompress)>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, waiting: Vec::new(), out: Vec::new(), deflated: None }
    }

    /// From now on everything is deflated, both ways.
    pub(super) fn deflate(&mut self) -> io::Result<()> {
        self.flush()?;
        let compress = Compress::new(Compression::fast(), false);
        self.deflated = Some((compress, Decompress::new(false)));
        let early = std::mem::take(&mut self.waiting);
        self.take(&early)
    }

    pub(super) fn is_deflated(&self) -> bool {
        self.deflated.is_some()
    }

    /// Queues a line.
    pub(super) fn line(&mut self, text: &str) {
        self.bytes(text.as_bytes());
        self.bytes(b"\r\n");
    }

    /// Queues bytes.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Sends what is queued.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        let Some((compress, _)) = &mut self.deflated else { return self.stream.write_all(&out) };
        let (start, mut packed) = (compress.total_in(), Vec::new());
        loop {
            packed.reserve(1 << 14);
            let done = usize::try_from(compress.total_in() - start).unwrap_or(usize::MAX);
            compress.compress_vec(&out[done..], &mut packed, FlushCompress::Sync)?;
            if compress.total_in() - start == out.len() as u64 && packed.len() < packed.capacity() {
                return self.stream.write_all(&packed);
            }
        }
    }

    /// The next command. `refuse` sees what came so far and a literal's length, and may say what
    /// is answered instead of the go-ahead.
    pub(super) fn command(
        &mut self,
        literals: Literals,
        refuse: impl Fn(&[u8], usize) -> Option<String>,
    ) -> io::Result<Input> {
        self.flush()?;
        let mut command = Vec::new();
        loop {
            let Some(line) = self.read_line()? else {
                return if command.is_empty() {
                    Ok(Input::End)
                } else {
                    Err(ErrorKind::UnexpectedEof.into())
                };
            };
            command.extend_from_slice(&line);
            let Some((n, waits)) = parse::announced(&line) else {
                return Ok(Input::Command(command));
            };
            let is_allowed = match literals {
                _ if waits => true,
                Literals::Waiting => false,
                Literals::Small => n <= 4096,
                Literals::All => true,
            };
            if !is_allowed {
                // Its bytes come whatever we say.
                self.read_exactly(n)?;
                self.rest_of_refused()?;
                let code = if literals == Literals::Small { "[TOOBIG] " } else { "" };
                return Ok(Input::Refused(command, format!("BAD {code}Literal is not allowed")));
            }
            let refusal = refuse(&command, n);
            if waits {
                if let Some(answer) = refusal {
                    return Ok(Input::Refused(command, answer));
                }
                self.line("+ go ahead");
                self.flush()?;
            } else if let Some(answer) = refusal {
                self.read_exactly(n)?;
                self.rest_of_refused()?;
                return Ok(Input::Refused(command, answer));
            }
            command.extend_from_slice(b"\r\n");
            command.extend(self.read_exactly(n)?);
        }
    }

    /// What follows a literal that was taken only to be thrown away.
    fn rest_of_refused(&mut self) -> io::Result<()> {
        while let Some(line) = self.read_line()? {
            match parse::announced(&line) {
                Some((n, false)) => drop(self.read_exactly(n)?),
                _ => break,
            }
        }
        Ok(())
    }

    /// A line without its end; nothing if the client is gone.
    pub(super) fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut seen = 0;
        loop {
            if let Some(at) = self.waiting[seen..].iter().position(|b| *b == b'\n') {
                let mut line: Vec<u8> = self.waiting.drain(..=seen + at).collect();
                line.pop();
                if line.pop() != Some(b'\r') {
                    return Err(ErrorKind::InvalidData.into());
                }
                return Ok(Some(line));
            }
            seen = self.waiting.len();
            if seen > LONGEST_LINE {
                return Err(ErrorKind::InvalidData.into());
            }
            if !self.read_more()? {
                return if seen == 0 { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// A line, if one comes in this time.
    pub(super) fn line_within(&mut self, time: Duration) -> io::Result<Option<Vec<u8>>> {
        if !self.waiting.contains(&b'\n') {
            self.stream.set_read_timeout(Some(time))?;
            let more = self.read_more();
            self.stream.set_read_timeout(None)?;
            match more {
                Ok(true) => {}
                Ok(false) => return Err(ErrorKind::UnexpectedEof.into()),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(e) => return Err(e),
            }
        }
        if self.waiting.contains(&b'\n') { self.read_line() } else { Ok(None) }
    }

    fn read_exactly(&mut self, n: usize) -> io::Result<Vec<u8>> {
        while self.waiting.len() < n {
            if !self.read_more()? {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.waiting.drain(..n).collect())
    }

    fn read_more(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 1 << 14];
        let n = self.stream.read(&mut buffer)?;
        self.take(&buffer[..n])?;
        Ok(n > 0)
    }

    fn take(&mut self, mut input: &[u8]) -> io::Result<()> {
        let Some((_, decompress)) = &mut self.deflated else {
            self.waiting.extend_from_slice(input);
            return Ok(());
        };
        loop {
            self.waiting.reserve(1 << 16);
            let start = decompress.total_in();
            decompress.decompress_vec(input, &mut self.waiting, FlushDecompress::Sync)?;
            let used = usize::try_from(decompress.total_in() - start).unwrap_or(input.len());
            input = &input[used..];
            if input.is_empty() && self.waiting.len() < self.waiting.capacity() {
                return Ok(());
            }
        }
    }
}
