//! One connection: follows commands one way and answers the other, and does what is to happen to
//! them.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::commands::Commands;
use super::fault::{Direction, Stage, Then, What};
use super::framing::{self, Framer, Piece};
use super::outlet::Outlet;
use super::shared::{Fault, Shared, close};

pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    /// From 1, in the order of arrival at this proxy.
    pub(super) number: u64,
    pub(super) client: TcpStream,
    server: TcpStream,
    pub(super) is_raw: AtomicBool,
    is_orphaned: AtomicBool,
    pub(super) is_over: AtomicBool,
    /// The largest write, if writes are split; else 0.
    pub(super) split: AtomicUsize,
    /// Commands without a tagged answer, the oldest first.
    pub(super) pending: Mutex<VecDeque<Command>>,
    to_client: Mutex<Outlet>,
    pub(super) to_server: Mutex<Outlet>,
}

/// A command that is under way.
#[derive(Clone)]
pub(super) struct Command {
    pub(super) tag: String,
    pub(super) verb: String,
    pub(super) faults: Vec<Arc<Fault>>,
    /// The proxy answers in the server's place, once the command has come to its end.
    pub(super) answer: Option<String>,
    pub(super) is_last: bool,
    pub(super) is_complete: bool,
}

/// What becomes of a line.
pub(super) enum Fate {
    Pass,
    Answer { text: String, is_last: bool },
}

impl Connection {
    pub(super) fn start(shared: &Arc<Shared>, client: TcpStream, server: TcpStream, is_raw: bool) {
        for stream in [&client, &server] {
            let _ = stream.set_nodelay(true);
        }
        let clones = (client.try_clone(), server.try_clone());
        let (Ok(to_client), Ok(to_server)) = clones else { return };
        let connection = Arc::new(Self {
            shared: Arc::clone(shared),
            number: shared.n_connections.fetch_add(1, Ordering::SeqCst) + 1,
            client,
            server,
            is_raw: is_raw.into(),
            is_orphaned: false.into(),
            is_over: false.into(),
            split: 0.into(),
            pending: Mutex::default(),
            to_client: Mutex::new(Outlet::new(to_client, Direction::ToClient)),
            to_server: Mutex::new(Outlet::new(to_server, Direction::ToServer)),
        });
        shared.add(&connection);
        let other = Arc::clone(&connection);
        std::thread::spawn(move || {
            let ended = Commands::default().run(&connection);
            connection.finish(ended, &connection.server);
        });
        std::thread::spawn(move || {
            let ended = other.answers();
            other.finish(ended, &other.client);
        });
    }

    /// Breaks it for drover, and lets nothing more through to the server, which does what it was
    /// told so far. Until then the connection lives: see [`super::Proxy::drained`].
    pub(super) fn cut(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.is_orphaned.store(true, Ordering::SeqCst);
        close(&self.client);
        let _ = self.server.shutdown(Shutdown::Write);
    }

    pub(super) fn is_orphaned(&self) -> bool {
        self.is_orphaned.load(Ordering::SeqCst)
    }

    /// A side that stops speaking is passed on as that; a broken one breaks the other.
    fn finish(&self, ended: io::Result<()>, to: &TcpStream) {
        match ended {
            Ok(()) => drop(to.shutdown(Shutdown::Write)),
            Err(_) => self.cut(),
        }
    }

    /// What the server says, up to its end; after a cut nobody hears it.
    fn answers(&self) -> io::Result<()> {
        let ended = self.pass_answers();
        if ended.is_err() {
            self.cut();
            let mut unheard = vec![0; 1 << 16];
            while matches!((&self.server).read(&mut unheard), Ok(n) if n > 0) {}
        }
        ended
    }

    fn pass_answers(&self) -> io::Result<()> {
        let (mut framer, mut buffer) = (Framer::default(), vec![0; 1 << 16]);
        loop {
            let n = (&self.server).read(&mut buffer)?;
            if n == 0 {
                let rest = framer.rest();
                return self.to_client.lock().expect("not poisoned").write(self, &rest);
            }
            let mut input = &buffer[..n];
            while !input.is_empty() {
                if self.is_raw.load(Ordering::SeqCst) {
                    self.to_client.lock().expect("not poisoned").write(self, input)?;
                    break;
                }
                let (piece, n) = framer.next(input);
                input = &input[n..];
                match piece {
                    Some(piece) => self.answer(piece)?,
                    None => continue,
                }
            }
        }
    }

    fn answer(&self, piece: Piece) -> io::Result<()> {
        let (mut line, is_first, announces) = match piece {
            Piece::Literal { bytes, is_half } => {
                self.to_client.lock().expect("not poisoned").write(self, &bytes)?;
                return if is_half { self.half_of_literal() } else { Ok(()) };
            }
            Piece::Line { bytes, is_first, announces } => (bytes, is_first, announces),
        };
        self.replace(&mut line);
        for fault in self.shared.at_line(&line) {
            self.act(&fault.what, &mut line)?;
        }
        let ended = if is_first { self.take(framing::tag(&line).0) } else { None };
        if let Some(command) = &ended {
            self.stage(command, Stage::Answered, &mut line)?;
            let ends_lines = ["STARTTLS", "COMPRESS"].contains(&command.verb.as_str());
            if ends_lines && framing::tag(&line).1.starts_with("OK") {
                self.is_raw.store(true, Ordering::SeqCst);
            }
        }
        let mut to_client = self.to_client.lock().expect("not poisoned");
        to_client.is_within = true;
        to_client.write(self, &line)?;
        if announces.is_none() {
            to_client.response_ended(self)?;
        }
        drop(to_client);
        if ended.is_some() { self.give_answers() } else { Ok(()) }
    }

    fn replace(&self, line: &mut Vec<u8>) {
        for (text, by) in self.shared.replacements.lock().expect("not poisoned").iter() {
            let text = text.as_bytes();
            while let Some(at) = line.windows(text.len()).position(|bytes| bytes == text) {
                line.splice(at..at + text.len(), by.bytes());
            }
        }
    }

    /// The first literal of an answer is half through.
    fn half_of_literal(&self) -> io::Result<()> {
        let mut pending = self.pending.lock().expect("not poisoned");
        // Not always the oldest: Dovecot may end a NOOP after the FETCH that follows it.
        let is_meant = |c: &&mut Command| c.faults.iter().any(|f| f.is_at(Stage::InAnswer));
        let Some(command) = pending.iter_mut().find(is_meant) else { return Ok(()) };
        let (now, later): (Vec<_>, _) =
            command.faults.drain(..).partition(|fault| fault.is_at(Stage::InAnswer));
        command.faults = later;
        drop(pending);
        now.iter().try_for_each(|fault| self.act(&fault.what, &mut Vec::new()).map(|_| ()))
    }

    fn take(&self, tag: &str) -> Option<Command> {
        let mut pending = self.pending.lock().expect("not poisoned");
        let at = pending.iter().position(|command| command.tag == tag)?;
        pending.remove(at)
    }

    /// Gives the answers that are the proxy's, each in its turn.
    pub(super) fn give_answers(&self) -> io::Result<()> {
        loop {
            let mut pending = self.pending.lock().expect("not poisoned");
            let is_ready = |command: &&Command| command.answer.is_some() && command.is_complete;
            if pending.front().filter(is_ready).is_none() {
                return Ok(());
            }
            let Some(command) = pending.pop_front() else { return Ok(()) };
            drop(pending);
            let mut out = String::new();
            for line in command.answer.as_deref().unwrap_or_default().lines() {
                if !line.starts_with(['*', '+']) {
                    out.push_str(&command.tag);
                    out.push(' ');
                }
                out.push_str(line);
                out.push_str("\r\n");
            }
            self.inject(out.as_bytes())?;
            if command.is_last {
                self.cut();
                return Err(ErrorKind::ConnectionAborted.into());
            }
        }
    }

    pub(super) fn inject(&self, bytes: &[u8]) -> io::Result<()> {
        self.to_client.lock().expect("not poisoned").inject(self, bytes)
    }

    /// Lets happen what is set for this stage of a command.
    pub(super) fn stage(
        &self,
        command: &Command,
        stage: Stage,
        line: &mut Vec<u8>,
    ) -> io::Result<Fate> {
        let mut fate = Fate::Pass;
        for fault in command.faults.iter().filter(|fault| fault.is_at(stage)) {
            if let answer @ Fate::Answer { .. } = self.act(&fault.what, line)? {
                fate = answer;
            }
        }
        Ok(fate)
    }

    pub(super) fn act(&self, what: &What, line: &mut Vec<u8>) -> io::Result<Fate> {
        self.shared.fired.fetch_add(1, Ordering::SeqCst);
        let wait = |time| self.shared.wait(time, || self.is_over.load(Ordering::SeqCst));
        let goes_on = match what {
            What::Cut => false,
            What::CutClient | What::Late(_) => {
                self.is_orphaned.store(true, Ordering::SeqCst);
                close(&self.client);
                if let What::Late(time) = what { wait(Some(*time)) } else { true }
            }
            What::Stall => wait(None),
            What::Delay(time) => wait(Some(*time)),
            What::Split(most) => {
                self.split.store(*most, Ordering::SeqCst);
                true
            }
            What::Flip => {
                let middle = line.len() / 2;
                line.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 1);
                true
            }
            What::Answer(text) => {
                return Ok(Fate::Answer { text: text.clone(), is_last: false });
            }
            What::LastWords(text) => {
                return Ok(Fate::Answer { text: text.clone(), is_last: true });
            }
            What::Rewrite(text) => {
                *line = format!("{} {text}\r\n", framing::tag(line).0).into_bytes();
                true
            }
            What::Inject(bytes) => {
                self.inject(bytes)?;
                true
            }
            What::Call(run) => run() == Then::GoOn,
        };
        if goes_on {
            return Ok(Fate::Pass);
        }
        self.cut();
        Err(ErrorKind::ConnectionAborted.into())
    }
}

impl Connection {
    pub(super) fn begin(&self, line: &str) -> Command {
        let (tag, rest) = framing::tag(line.as_bytes());
        let verb = framing::verb(rest);
        let faults = self.shared.meant_for(self.shared.commands.next(), &verb, line);
        let command = Command {
            tag: tag.into(),
            verb,
            faults,
            answer: None,
            is_last: false,
            is_complete: false,
        };
        self.pending.lock().expect("not poisoned").push_back(command.clone());
        command
    }

    pub(super) fn update(&self, new: &Command) {
        let mut pending = self.pending.lock().expect("not poisoned");
        if let Some(command) = pending.iter_mut().find(|command| command.tag == new.tag) {
            *command = new.clone();
        }
    }
}
