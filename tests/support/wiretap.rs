//! Stands between drover and a server: hears every command, and spoils answers as a bad network
//! or a plain server would. Plain text only.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A listener that passes everything on to a server.
pub struct Wiretap {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Vec<String>>,
    no_ids: AtomicBool,
    cut: AtomicBool,
    over: AtomicBool,
}

impl Wiretap {
    /// Before the server on this port of 127.0.0.1.
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
        let port = listener.local_addr().expect("a bound port").port();
        let shared = Arc::new(Shared::default());
        let ours = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if ours.over.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(server) = TcpStream::connect(("127.0.0.1", server)) {
                    pass_on(&ours, client, server);
                }
            }
        });
        Self { port, shared }
    }

    /// Where drover is to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The lines that drover said so far.
    pub fn heard(&self) -> Vec<String> {
        self.shared.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on the server does not say which ids appended or moved messages got.
    pub fn hide_ids(&self) {
        self.shared.no_ids.store(true, Ordering::Relaxed);
    }

    /// From now on (or no more) the connection breaks when an append is answered: the messages
    /// are there, and nobody was told.
    pub fn cut_answers_of_appends(&self, cut: bool) {
        self.shared.cut.store(cut, Ordering::Relaxed);
    }
}

impl Drop for Wiretap {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // Wakes the listener up.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn pass_on(shared: &Arc<Shared>, client: TcpStream, server: TcpStream) {
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let (Ok(from_client), Ok(from_server)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    let hearing = Arc::clone(shared);
    std::thread::spawn(move || {
        each_line(from_client, server, |line| {
            let text = String::from_utf8_lossy(line).trim_end().to_owned();
            hearing.heard.lock().unwrap_or_else(PoisonError::into_inner).push(text);
            true
        });
    });
    let spoiling = Arc::clone(shared);
    std::thread::spawn(move || {
        each_line(from_server, client, |line| {
            for code in [b"[APPENDUID ".as_slice(), b"[COPYUID "] {
                let at = line.windows(code.len()).position(|bytes| bytes == code);
                let Some(at) = at else { continue };
                if spoiling.cut.load(Ordering::Relaxed) {
                    return false;
                }
                if spoiling.no_ids.load(Ordering::Relaxed) {
                    line[at + 1] = b'X';
                }
            }
            true
        });
    });
}

/// Passes lines on until either side is gone or `may_pass` says no; then ends both.
fn each_line(from: TcpStream, mut to: TcpStream, mut may_pass: impl FnMut(&mut Vec<u8>) -> bool) {
    let mut from = BufReader::with_capacity(1 << 16, from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match from.read_until(b'\n', &mut line) {
            Ok(n) if n > 0 && may_pass(&mut line) && to.write_all(&line).is_ok() => {}
            _ => break,
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.get_ref().shutdown(Shutdown::Both);
}
