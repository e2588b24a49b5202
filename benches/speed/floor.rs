//! The floor: what the two servers need at least. The source is drained and the destination fed with
//! the same bytes at the same time, over as many connections, with nothing in between: nothing is
//! read, nothing compared, nothing kept.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use crate::herd::Mailbox;
use crate::support::Imap;

/// Messages in one MULTIAPPEND, or single APPENDs under way at once.
const BATCH: usize = 50;

/// What the destination lets a client do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// MULTIAPPEND and LITERAL+.
    All,
    /// LITERAL+, one message a command (Microsoft 365).
    Single,
    /// One message a command, and larger literals wait for the server (LITERAL-).
    Minus,
    /// One message a command, and every literal waits for the server (Gmail).
    Waiting,
}

/// In which order messages come to a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// In any: several connections fill a folder at once.
    Any,
    /// In the source's, as drover has to: one connection fills a folder.
    Kept,
}

/// A signed-in connection that understands as little as possible.
struct Line {
    out: TcpStream,
    read: BufReader<TcpStream>,
}

impl Line {
    fn open(port: u16, user: &str) -> Self {
        let out = TcpStream::connect(("127.0.0.1", port)).expect("connect");
        out.set_nodelay(true).expect("a TCP socket");
        let read = BufReader::with_capacity(1 << 18, out.try_clone().expect("a socket"));
        let mut line = Self { out, read };
        line.line();
        line.command(&format!("LOGIN {user} pw"));
        line
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        self.read.read_until(b'\n', &mut line).expect("the server speaks");
        String::from_utf8_lossy(&line).into_owned()
    }

    fn command(&mut self, command: &str) {
        self.out.write_all(format!("x {command}\r\n").as_bytes()).expect("write");
        self.end('x');
    }

    fn end(&mut self, tag: char) {
        loop {
            let line = self.line();
            if line.starts_with(tag) {
                assert!(line[1..].starts_with(" OK"), "{line}");
                return;
            }
        }
    }

    /// Reads a folder and throws it away. The end is recognised by the last bytes that came.
    fn drain(&mut self, folder: &str) {
        self.command(&format!("EXAMINE {folder}"));
        let fetch = "y UID FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])\r\n";
        self.out.write_all(fetch.as_bytes()).expect("write");
        let (mut buffer, mut tail) = (vec![0; 1 << 18], Vec::new());
        loop {
            let n = self.read.read(&mut buffer).expect("the server speaks");
            assert!(n > 0, "the server hung up");
            tail.extend_from_slice(&buffer[n.saturating_sub(200)..n]);
            tail.drain(..tail.len().saturating_sub(200));
            let text = String::from_utf8_lossy(&tail);
            if text.ends_with("\r\n")
                && text.lines().next_back().is_some_and(|l| l.starts_with("y OK"))
            {
                return;
            }
        }
    }

    /// Sends a batch under the rules and waits until all of it is taken.
    fn feed(&mut self, batch: &Batch, rules: Rules) {
        let mut out = Vec::new();
        for (n, (head, body)) in batch.messages.iter().enumerate() {
            if n == 0 || rules != Rules::All {
                out.extend_from_slice(format!("z APPEND {}", batch.folder).as_bytes());
            }
            out.extend_from_slice(head);
            let waits = rules == Rules::Waiting || rules == Rules::Minus && body.len() > 4096;
            let mark = if waits { "" } else { "+" };
            out.extend_from_slice(format!(" {{{}{mark}}}\r\n", body.len()).as_bytes());
            if waits {
                self.out.write_all(&out).expect("write");
                out.clear();
                // What was sent before is answered first.
                while let line = self.line()
                    && !line.starts_with('+')
                {
                    assert!(line.starts_with("z OK"), "{line}");
                }
            }
            out.extend_from_slice(body);
            if rules != Rules::All || n + 1 == batch.messages.len() {
                out.extend_from_slice(b"\r\n");
            }
        }
        self.out.write_all(&out).expect("write");
        // Single ones that were answered while a go-ahead was waited for are not waited for again.
        self.command("NOOP");
    }
}

/// Messages for one folder.
struct Batch {
    folder: String,
    /// Flags and date, and the bytes.
    messages: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Everything that is fed, made before the clock runs.
pub(crate) struct Floor {
    folders: Vec<String>,
    batches: Vec<Batch>,
    connections: usize,
}

impl Floor {
    /// For this mailbox, over so many connections to each side.
    pub(crate) fn of(mailbox: &Mailbox, at: &Imap, connections: usize) -> Self {
        let quoted = |name: &str| format!("\"{}\"", at.wire(name).replace('\\', "\\\\"));
        let mut folders: Vec<_> = mailbox.folders.iter().collect();
        folders.sort_by_key(|(_, mail)| std::cmp::Reverse(mail.len()));
        let mut batches = Vec::new();
        for (name, mail) in &folders {
            for part in mail.chunks(BATCH) {
                let message = |mail: &crate::support::mail::Mail| {
                    let date = mail.date.format("%d-%b-%Y %H:%M:%S %z");
                    (format!(" ({}) \"{date}\"", mail.flags).into_bytes(), mail.bytes.clone())
                };
                let messages = part.iter().map(message).collect();
                batches.push(Batch { folder: quoted(name), messages });
            }
        }
        let folders = folders.iter().map(|(name, _)| quoted(name)).collect();
        Self { folders, batches, connections }
    }

    /// Seconds for all of it, from the first connection on. The destination's folders are there.
    pub(crate) fn measure(
        &self,
        source: (u16, &str),
        destination: (u16, &str),
        rules: Rules,
        order: Order,
    ) -> f64 {
        let mut first = Line::open(destination.0, destination.1);
        for folder in self.folders.iter().filter(|name| *name != "\"INBOX\"") {
            first.command(&format!("CREATE {folder}"));
        }
        drop(first);
        let folders = Mutex::new(self.folders.iter().collect::<VecDeque<_>>());
        let runs = match order {
            Order::Any => self.batches.chunks(1).collect::<VecDeque<_>>(),
            Order::Kept => self.batches.chunk_by(|a, b| a.folder == b.folder).collect(),
        };
        let runs = Mutex::new(runs);
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..self.connections {
                scope.spawn(|| {
                    let mut line = Line::open(source.0, source.1);
                    while let Some(folder) = next(&folders) {
                        line.drain(folder);
                    }
                });
                scope.spawn(|| {
                    let mut line = Line::open(destination.0, destination.1);
                    while let Some(run) = next(&runs) {
                        run.iter().for_each(|batch| line.feed(batch, rules));
                    }
                });
            }
        });
        start.elapsed().as_secs_f64()
    }
}

fn next<T>(queue: &Mutex<VecDeque<T>>) -> Option<T> {
    queue.lock().expect("not poisoned").pop_front()
}
