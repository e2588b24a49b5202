//! A line of any length: a proxy that hands every byte on after half a round trip, as many at a time
//! as come.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, fcntl_setpipe_size, pipe, splice};

/// The largest pipe that anybody may have without asking, bytes.
const LARGE: usize = 1 << 20;

/// A listener that passes everything on to a server, later.
pub(crate) struct Delay {
    port: u16,
    over: Arc<AtomicBool>,
}

impl Delay {
    /// Before the server on this port of 127.0.0.1, so that a round trip takes `round_trip` longer.
    pub(crate) fn before(server: u16, round_trip: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
        let port = listener.local_addr().expect("a bound port").port();
        let over = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&over);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                std::thread::spawn(move || connect(client, server, round_trip));
            }
        });
        Self { port, over }
    }

    /// Where to connect to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// The handshake of TCP is a round trip too. It cannot be held up, so the first byte is.
fn connect(client: TcpStream, server: u16, round_trip: Duration) {
    std::thread::sleep(round_trip);
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("a TCP socket");
    }
    let (from, to) = (client.try_clone(), server.try_clone());
    let (Ok(from), Ok(to)) = (from, to) else { return };
    let half = round_trip / 2;
    std::thread::spawn(move || pass(from, to, half));
    pass(server, client, half);
}

/// One direction: a thread takes what comes, this one hands it on when it is time. In between it lies
/// in pipes and is never copied: this works beside what is measured, on the same processors.
fn pass(from: TcpStream, to: TcpStream, delay: Duration) {
    let (send, receive) = mpsc::channel::<(Instant, Arc<OwnedFd>, usize)>();
    std::thread::spawn(move || {
        let mut held = Pipe::new();
        while let Some(n) = held.take(&from) {
            if send.send((Instant::now() + delay, Arc::clone(&held.out), n)).is_err() {
                return;
            }
        }
    });
    for (due, out, n) in receive {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if give(&out, &to, n).is_none() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// What lies on the line.
struct Pipe {
    into: OwnedFd,
    /// Whoever is to hand something on has it too.
    out: Arc<OwnedFd>,
}

impl Pipe {
    fn new() -> Self {
        let (out, into) = pipe().expect("a pipe");
        // Smaller ones do too; there are more of them then.
        let _ = fcntl_setpipe_size(&into, LARGE);
        Self { into, out: Arc::new(out) }
    }

    /// Waits for bytes and takes as many as there are; none at the end. Waiting is not left to
    /// `splice`, which keeps the pipe to itself while it does.
    fn take(&mut self, from: &TcpStream) -> Option<usize> {
        loop {
            if from.peek(&mut [0]).ok()? == 0 {
                return None;
            }
            match splice(from, None, &self.into, None, LARGE, SpliceFlags::NONBLOCK) {
                Ok(n) => return Some(n).filter(|&n| n > 0),
                // It is full. Whoever empties it closes it.
                Err(Errno::AGAIN) => *self = Self::new(),
                Err(_) => return None,
            }
        }
    }
}

/// Hands so many bytes on.
fn give(out: &OwnedFd, to: &TcpStream, n: usize) -> Option<()> {
    let mut left = n;
    while left > 0 {
        match splice(out, None, to, None, left, SpliceFlags::empty()) {
            Ok(n @ 1..) => left -= n,
            _ => return None,
        }
    }
    Some(())
}
