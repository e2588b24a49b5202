//! COMPRESS=DEFLATE (RFC 4978): a stream that inflates what it reads and deflates what it writes,
//! between IMAP and TLS.
//!
//! Hostile input costs no memory: it is inflated only into the space that a reader offers, so every
//! limit on lines, literals and talk holds for what comes out. What is no deflate breaks the
//! connection.
//!
//! Sizes of compressed and encrypted bytes tell something about their content to whoever watches the
//! line and can put text beside a secret (CRIME, BREACH). The password is out of reach: it was sent
//! before compression begins. What is left is other mail: a stranger who sends mail, and sees how
//! many bytes its copying takes, can guess at its neighbours, once a guess. Where that counts,
//! `compress = "never"`.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::Stream;

/// What is deflated, inflated or read at once, bytes: as much as one record of TLS holds.
const PIECE: usize = 16 * 1024;
/// Room for output that is made at a time, bytes.
const ROOM: usize = 4 * 1024;

/// See the module.
pub(super) struct Compressed {
    stream: Box<dyn Stream>,
    inflate: Decompress,
    /// What was read, and how much of it was inflated.
    input: Vec<u8>,
    inflated: usize,
    /// The last space that was offered was too small: more may come without more input.
    has_more: bool,
    /// The server has ended its stream.
    is_over: bool,
    deflate: Compress,
    /// What was deflated, and how much of it was sent.
    output: Vec<u8>,
    sent: usize,
    /// Something was written that the server could not read to its end yet.
    is_dirty: bool,
}

impl Compressed {
    /// Around a stream, of which `first` was read already.
    pub(super) fn new(stream: Box<dyn Stream>, first: Vec<u8>) -> Self {
        Self {
            stream,
            // Raw, without zlib's header.
            inflate: Decompress::new(false),
            input: first,
            inflated: 0,
            has_more: false,
            is_over: false,
            // Mail is mostly base64: better ones take several times as long for some percent.
            deflate: Compress::new(Compression::fast(), false),
            output: Vec::new(),
            sent: 0,
            is_dirty: false,
        }
    }

    /// Inflates as much as fits; how many bytes that are. None: all input is used up.
    fn inflate(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<usize> {
        let space = buf.initialize_unfilled_to(buf.remaining().min(PIECE));
        let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
        let input = &self.input[self.inflated..];
        if before_in == 0 && input.starts_with(b"* ") {
            // Plain text. As deflate it would begin with a `p`, which no response does, and a
            // distance to before the beginning, at which the inflater does not stop.
            return Err(corrupt());
        }
        let status = self.inflate.decompress(input, space, FlushDecompress::None);
        let taken = (self.inflate.total_in() - before_in) as usize;
        let made = (self.inflate.total_out() - before_out) as usize;
        self.inflated += taken;
        self.has_more = made == space.len();
        let is_stuck = taken == 0 && made == 0 && !input.is_empty();
        match status {
            Ok(Status::StreamEnd) => self.is_over = true,
            Ok(_) if !is_stuck => {}
            Ok(_) | Err(_) => return Err(corrupt()),
        }
        buf.advance(made);
        Ok(made)
    }

    /// Deflates all of it.
    fn deflate(&mut self, mut bytes: &[u8], flush: FlushCompress) -> io::Result<()> {
        let mut was_full = false;
        loop {
            self.output.reserve(ROOM);
            let before = self.deflate.total_in();
            self.deflate.compress_vec(bytes, &mut self.output, flush).map_err(io::Error::other)?;
            bytes = &bytes[(self.deflate.total_in() - before) as usize..];
            let is_full = self.output.len() == self.output.capacity();
            // A call that begins with what had no room before may end with that, unflushed.
            if bytes.is_empty() && !is_full && !was_full {
                return Ok(());
            }
            was_full = is_full;
        }
    }

    /// Sends what was deflated.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.output.len() {
            let rest = &self.output[self.sent..];
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += n;
        }
        self.output.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

fn corrupt() -> io::Error {
    let text =
        "what it sends is not compressed as it promised; `compress = \"never\"` does without";
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl AsyncRead for Compressed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.is_over && buf.remaining() > 0 {
            let has_input = this.inflated < this.input.len();
            if (has_input || this.has_more) && this.inflate(buf)? > 0 {
                break;
            }
            if this.inflated < this.input.len() {
                continue;
            }
            this.input.resize(PIECE, 0);
            let mut read = ReadBuf::new(&mut this.input);
            let outcome = Pin::new(&mut this.stream).poll_read(cx, &mut read);
            let n = read.filled().len();
            this.input.truncate(n);
            this.inflated = 0;
            ready!(outcome)?;
            if n == 0 {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Compressed {
    /// Takes a piece once the last one is on its way: no more is ever held.
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        let piece = &bytes[..bytes.len().min(PIECE)];
        this.deflate(piece, FlushCompress::None)?;
        this.is_dirty = true;
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_dirty {
            this.deflate(&[], FlushCompress::Sync)?;
            this.is_dirty = false;
        }
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// Around a pipe that holds so much, and the pipe's other end.
    fn compressed(pipe: usize, first: &[u8]) -> (Compressed, DuplexStream) {
        let (ours, theirs) = duplex(pipe);
        (Compressed::new(Box::new(ours), first.to_vec()), theirs)
    }

    /// Bytes that do not compress.
    fn noise(n: usize) -> Vec<u8> {
        let mut state = n as u64 | 1;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..n).map(next).collect()
    }

    fn deflated(bytes: &[u8], flush: FlushCompress) -> Vec<u8> {
        let mut deflate = Compress::new(Compression::best(), false);
        let mut out = Vec::with_capacity(bytes.len() + 100);
        deflate.compress_vec(bytes, &mut out, flush).expect("it deflates");
        out
    }

    #[tokio::test]
    async fn whatever_is_flushed_can_be_read_to_its_last_byte() {
        // Small, but large enough for the end of a flush, which nobody waits for.
        for pipe in [16, 100_000] {
            let (mut here, there) = compressed(pipe, b"");
            let mut there = Compressed::new(Box::new(there), Vec::new());
            let sizes = (0..60).map(|n| n * n * 11).chain([PIECE, 65_535, 65_536, 200_000]);
            for size in sizes {
                for bytes in [noise(size), vec![b'x'; size]] {
                    let mut read = vec![0; size];
                    let wrote = async {
                        here.write_all(&bytes).await?;
                        here.flush().await
                    };
                    let (wrote, read_all) = tokio::join!(wrote, there.read_exact(&mut read));
                    wrote.expect("it is written");
                    read_all.expect("it is read");
                    assert!(read == bytes, "{size} bytes through {pipe}");
                }
            }
        }
    }

    /// Whatever the spare room at the moment of the flush: what does not fit must not be forgotten.
    #[test]
    fn a_flush_is_whole_however_little_room_there_is() {
        for size in (1..400).chain((1..130).map(|n| n * 997)) {
            let bytes = noise(size);
            let (mut here, _there) = compressed(1, b"");
            here.output = Vec::with_capacity(1 + size % 5);
            here.deflate(&bytes, FlushCompress::None).expect("it deflates");
            here.deflate(&[], FlushCompress::Sync).expect("it flushes");
            let mut read = Vec::with_capacity(size + 10);
            let mut inflate = Decompress::new(false);
            inflate.decompress_vec(&here.output, &mut read, FlushDecompress::None).expect("whole");
            assert!(read == bytes, "{size} bytes");
        }
    }

    #[tokio::test]
    async fn what_is_not_flushed_is_not_cut_into_blocks() {
        let (mut here, mut there) = compressed(1 << 20, b"");
        for _ in 0..1000 {
            here.write_all(&[b'x'; 1000]).await.expect("it is taken");
        }
        here.flush().await.expect("it is flushed");
        drop(here);
        let mut sent = Vec::new();
        there.read_to_end(&mut sent).await.expect("it is read");
        // A flush for each write would take five bytes more, and a block's head.
        assert!(sent.len() < 6_000, "{} bytes", sent.len());
    }

    #[tokio::test]
    async fn what_came_with_the_ok_is_the_beginning() {
        let whole = deflated(b"* OK first\r\n* OK second\r\n", FlushCompress::Sync);
        for n in 0..=whole.len() {
            let (mut here, mut there) = compressed(1000, &whole[..n]);
            there.write_all(&whole[n..]).await.expect("it is sent");
            drop(there);
            let mut read = String::new();
            here.read_to_string(&mut read).await.expect("it is read");
            assert_eq!(read, "* OK first\r\n* OK second\r\n", "{n} bytes");
        }
    }

    #[tokio::test]
    async fn a_bomb_is_inflated_only_as_far_as_is_asked() {
        let bomb = deflated(&vec![b'A'; 50 << 20], FlushCompress::Finish);
        assert!(bomb.len() < 60_000, "{} bytes", bomb.len());
        let (mut here, mut there) = compressed(100_000, b"");
        there.write_all(&bomb).await.expect("it is sent");
        for n in 1..100 {
            let mut read = [0; 10];
            here.read_exact(&mut read).await.expect("it is read");
            assert_eq!(here.inflate.total_out(), 10 * n);
        }
        assert!(here.input.capacity() <= PIECE);
    }

    #[tokio::test]
    async fn garbage_is_an_error_and_an_end_is_an_end() {
        let plain = [&b"* OK plain\r\n"[..], b"D4 OK plain\r\n"];
        for garbage in plain.into_iter().chain([&[0xff; 100][..], b"\x06\x07", b"\0\x05\0\0\0"]) {
            let (mut here, mut there) = compressed(1000, b"");
            there.write_all(garbage).await.expect("it is sent");
            drop(there);
            let error = here.read_to_end(&mut Vec::new()).await.expect_err("garbage");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{garbage:?}");
        }
        for flush in [FlushCompress::Sync, FlushCompress::Finish] {
            let mut ended = deflated(b"abc", flush);
            if flush == FlushCompress::Finish {
                ended.extend(b"what comes after the end is nobody's");
            }
            let (mut here, mut there) = compressed(1000, b"");
            there.write_all(&ended).await.expect("it is sent");
            drop(there);
            let mut read = Vec::new();
            here.read_to_end(&mut read).await.expect("an end");
            assert_eq!(read, b"abc", "{flush:?}");
        }
    }
}
