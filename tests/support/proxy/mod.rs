//! A proxy that stands between drover and a server, follows the IMAP that passes, and does to it
//! what a test tells it to: a fault is *when* × *what* × how often.
//!
//! ```ignore
//! let proxy = Proxy::before(server.port());
//! proxy.set(When::verb("APPEND").answered(), What::Cut);              // once
//! proxy.times(3, When::verb("SELECT"), What::answer("NO [INUSE] later"));
//! proxy.always(When::verb("UID FETCH").in_answer(), What::Delay(MS_10));
//! proxy.set(When::byte(Direction::ToServer, 4711), What::Flip);
//! ```
//!
//! **When** ([`When`]): at a command, by its number ([`When::command`], counted over all proxies
//! that share a [`Counter`]) or by what it is ([`When::verb`], [`When::any`], both from now on,
//! with [`When::nth`] and [`When::containing`]), in one of these stages:
//!
//! | stage | the server | drover |
//! |---|---|---|
//! | `before()`, the default | has nothing of the command | has sent its line |
//! | `after_line()` | has its first line | waits, or sends the literal |
//! | `in_literal()` | has half of its first literal | |
//! | `sent()` | has the whole command | no answer yet |
//! | `in_answer()` | is answering | has half of a literal of the answer |
//! | `answered()` | has executed it | has not seen the tagged answer |
//!
//! or at a line from the server ([`When::line`]), or at a byte of a direction ([`When::byte`]), counted from the proxy's start over all
//! connections, or from each connection's start. Command faults need plain text; byte faults
//! work in TLS too. A connection is raw bytes from STARTTLS or COMPRESS on, or from the start with
//! [`Proxy::raw`].
//!
//! **What** ([`What`]): cut, stall, delay, split, flip, answer in the server's place, rewrite its
//! answer, inject, or call a closure.
//!
//! **Counters**: [`Proxy::commands`], [`Proxy::connections`], [`Proxy::bytes`],
//! [`Proxy::fired`]; and [`Proxy::heard`]. [`Proxy::sever`] is a pulled plug,
//! [`Proxy::heal`] plugs it in again.
//!
//! Threads, not tasks: the proxy must not share drover's runtime.

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

mod commands;
mod connection;
mod fault;
mod framing;
mod outlet;
mod shared;

pub use fault::{Counter, Direction, Then, What, When};

use connection::Connection;
use shared::Shared;
use std::sync::Arc;

/// A listener that passes everything on to a server, but for its faults.
///
/// Clones are the same proxy; it ends with the last of them.
#[derive(Clone)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    _end: Arc<End>,
}

impl Proxy {
    /// Before the server on this port of 127.0.0.1.
    pub fn before(server: u16) -> Self {
        Self::counting(server, &Counter::default())
    }

    /// The same, with command numbers from a counter that other proxies share.
    pub fn counting(server: u16, commands: &Counter) -> Self {
        Self::start(server, commands, false)
    }

    /// One that follows nothing and knows only bytes: for TLS from the first byte on.
    pub fn raw(server: u16) -> Self {
        Self::start(server, &Counter::default(), true)
    }

    fn start(server: u16, commands: &Counter, is_raw: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind a port");
        let port = listener.local_addr().expect("a bound port").port();
        let shared = Arc::new(Shared::new(commands.clone()));
        let ours = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if ours.over.load(Ordering::SeqCst) {
                    return;
                }
                if ours.severed.load(Ordering::SeqCst) {
                    continue;
                }
                if let Ok(server) = TcpStream::connect(("127.0.0.1", server)) {
                    Connection::start(&ours, client, server, is_raw);
                }
            }
        });
        let end = Arc::new(End { port, shared: Arc::clone(&shared) });
        Self { port, shared, _end: end }
    }

    /// Where drover is to connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets a fault that happens once.
    pub fn set(&self, when: When, what: What) {
        self.times(1, when, what);
    }

    /// Sets a fault that happens each time.
    pub fn always(&self, when: When, what: What) {
        self.times(u64::MAX, when, what);
    }

    /// Sets a fault that happens the first `n` times. At a byte it happens once (a connection).
    pub fn times(&self, n: u64, when: When, what: What) {
        self.shared.set(n, when, what);
    }

    /// Takes all faults away. Connections that are stalled break.
    pub fn clear(&self) {
        self.shared.clear();
    }

    /// From now on replaces this text by that in all lines from the server, commands' answers
    /// and all; never in literals.
    pub fn replace(&self, text: &str, by: &str) {
        self.shared.replacements.lock().expect("not poisoned").push((text.into(), by.into()));
    }

    /// From now on the server does not say which ids appended or moved messages got.
    pub fn hide_ids(&self) {
        self.replace("[APPENDUID ", "[XPPENDUID ");
        self.replace("[COPYUID ", "[XOPYUID ");
    }

    /// From now on (or no more, and no other fault either) the connection breaks when an append
    /// is answered: the messages are there, and nobody was told.
    pub fn cut_answers_of_appends(&self, cut: bool) {
        self.clear();
        if cut {
            self.always(When::verb("APPEND").answered(), What::Cut);
        }
    }

    /// Breaks all connections and lets no byte through until [`Proxy::heal`].
    pub fn sever(&self) {
        self.shared.severed.store(true, Ordering::SeqCst);
        self.shared.cut_all();
    }

    /// Lets new connections through again.
    pub fn heal(&self) {
        self.shared.severed.store(false, Ordering::SeqCst);
    }

    /// Waits until all connections are gone: the server has done what reached it, and hung up.
    pub fn drained(&self) {
        for _ in 0..500 {
            if self.shared.is_idle() {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The lines that drover said so far, without literals.
    pub fn heard(&self) -> Vec<String> {
        self.shared.heard.lock().expect("not poisoned").clone()
    }

    /// Commands so far, of all proxies with this counter.
    pub fn commands(&self) -> u64 {
        self.shared.commands.read()
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.shared.n_connections.load(Ordering::SeqCst)
    }

    /// Bytes passed on so far in this direction.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.shared.bytes[direction as usize].load(Ordering::SeqCst)
    }

    /// How often a fault happened so far.
    pub fn fired(&self) -> u64 {
        self.shared.fired.load(Ordering::SeqCst)
    }
}

/// Ends the threads when the last clone goes.
struct End {
    port: u16,
    shared: Arc<Shared>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.shared.clear();
        // Wakes the listener up.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}
