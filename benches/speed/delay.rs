//! A line of any length: a proxy that hands every byte on after half a round trip, as many at a time
//! as come.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

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

/// One direction: a thread reads, this one writes when it is time.
fn pass(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (send, receive) = mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 18];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            if send.send((Instant::now() + delay, buffer[..n].to_vec())).is_err() {
                return;
            }
        }
    });
    for (due, bytes) in receive {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
