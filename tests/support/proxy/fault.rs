//! The words in which a test says what goes wrong, and when.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts commands from 1, over all proxies that share it.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Commands so far.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From drover.
    ToServer,
    /// To drover.
    ToClient,
}

/// A moment in what passes. See the module's table.
#[derive(Debug, Clone)]
pub struct When(pub(super) Moment);

#[derive(Debug, Clone)]
pub(super) enum Moment {
    Byte {
        direction: Direction,
        at: u64,
        since: Since,
    },
    Command {
        which: Which,
        containing: Option<String>,
        nth: u64,
        stage: Stage,
    },
    /// Before drover has any of a line from the server that has all these texts.
    Line(Vec<String>),
}

/// Where bytes are counted from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Since {
    Start,
    EachConnection,
    Connection(u64),
}

#[derive(Debug, Clone)]
pub(super) enum Which {
    Number(u64),
    Verb(String),
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Before,
    AfterLine,
    InLiteral,
    Sent,
    InAnswer,
    Answered,
}

impl When {
    /// At the command with this number (from 1; see [`Counter`]).
    pub fn command(number: u64) -> Self {
        Self::of(Which::Number(number))
    }

    /// At the next command with this verb: `APPEND`, `UID FETCH`, `AUTHENTICATE` …
    pub fn verb(verb: &str) -> Self {
        Self::of(Which::Verb(verb.to_ascii_uppercase()))
    }

    /// At the next command.
    pub fn any() -> Self {
        Self::of(Which::Any)
    }

    fn of(which: Which) -> Self {
        Self(Moment::Command { which, containing: None, nth: 1, stage: Stage::Before })
    }

    /// At the byte with this offset (from 0) in a direction, counted from the proxy's start over
    /// all its connections. Cutting there lets exactly that many bytes through.
    pub fn byte(direction: Direction, at: u64) -> Self {
        Self(Moment::Byte { direction, at, since: Since::Start })
    }

    /// At a line from the server that has all these texts, before drover has any of it:
    /// `* 17 FETCH`, `BODY[] {`.
    pub fn line(texts: &[&str]) -> Self {
        Self(Moment::Line(texts.iter().map(|text| (*text).to_owned()).collect()))
    }

    /// For [`When::byte`]: counted from the start of the `n`-th connection (from 1).
    pub fn on_connection(self, n: u64) -> Self {
        self.since(Since::Connection(n))
    }

    /// For [`When::byte`]: on each connection, counted from its start.
    pub fn on_each_connection(self) -> Self {
        self.since(Since::EachConnection)
    }

    fn since(mut self, new: Since) -> Self {
        match &mut self.0 {
            Moment::Byte { since, .. } => *since = new,
            _ => panic!("only bytes are counted from connections"),
        }
        self
    }

    /// At the `n`-th (from 1) of those commands, not at the first.
    pub fn nth(mut self, n: u64) -> Self {
        *self.command_parts().1 = n;
        self
    }

    /// Only commands whose first line has this text.
    pub fn containing(mut self, text: &str) -> Self {
        *self.command_parts().0 = Some(text.to_owned());
        self
    }

    /// Before the server has anything of the command.
    pub fn before(self) -> Self {
        self.at(Stage::Before)
    }

    /// When the server has the command's first line.
    pub fn after_line(self) -> Self {
        self.at(Stage::AfterLine)
    }

    /// When the server has half of the command's first literal.
    pub fn in_literal(self) -> Self {
        self.at(Stage::InLiteral)
    }

    /// When the server has the command's last byte.
    pub fn sent(self) -> Self {
        self.at(Stage::Sent)
    }

    /// When drover has half of the first literal of an answer to the command.
    pub fn in_answer(self) -> Self {
        self.at(Stage::InAnswer)
    }

    /// When the server has answered, and drover has not seen the tagged line.
    pub fn answered(self) -> Self {
        self.at(Stage::Answered)
    }

    fn at(mut self, new: Stage) -> Self {
        *self.command_parts().2 = new;
        self
    }

    fn command_parts(&mut self) -> (&mut Option<String>, &mut u64, &mut Stage) {
        match &mut self.0 {
            Moment::Command { containing, nth, stage, .. } => (containing, nth, stage),
            _ => panic!("only a command has stages"),
        }
    }
}

/// What a closure wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// As if nothing had been.
    GoOn,
    /// The connection breaks.
    Cut,
}

/// What goes wrong.
#[derive(Clone)]
pub enum What {
    /// The connection breaks, for both sides. The server does what it was told before.
    Cut,
    /// Drover's side breaks. What it has sent reaches the server, which does as it is told.
    CutClient,
    /// The same, but the server gets the rest only after this long: it lands late.
    Late(Duration),
    /// Nothing more in this direction, until the faults are cleared; then the connection breaks.
    Stall,
    /// Nothing in this direction for a while.
    Delay(Duration),
    /// From here on this connection's bytes come in writes of 1 to this many.
    Split(usize),
    /// One bit of the byte changes (at a command: of one byte in the middle of the line at hand).
    Flip,
    /// At `before()`: the server never gets the command, drover gets this. See [`What::answer`].
    Answer(String),
    /// The same, then the connection breaks: `* BYE going down`.
    LastWords(String),
    /// At `answered()`: the text takes the place of what follows the tag.
    Rewrite(String),
    /// These bytes go to drover: at a byte there, else before the next response.
    Inject(Vec<u8>),
    /// Runs in the proxy's thread; nothing passes in this direction meanwhile.
    Call(Arc<dyn Fn() -> Then + Send + Sync>),
}

impl What {
    /// The proxy answers, not the server: lines that start with `*` or `+` go as they are, others
    /// get the tag. `NO [TRYCREATE] no such folder`, `* 3 EXISTS\r\nOK fine`.
    pub fn answer(text: &str) -> Self {
        Self::Answer(text.to_owned())
    }

    /// See [`What::Rewrite`].
    pub fn rewrite(text: &str) -> Self {
        Self::Rewrite(text.to_owned())
    }

    /// See [`What::Inject`].
    pub fn inject(bytes: impl AsRef<[u8]>) -> Self {
        Self::Inject(bytes.as_ref().to_vec())
    }

    /// See [`What::Call`].
    pub fn call(run: impl Fn() -> Then + Send + Sync + 'static) -> Self {
        Self::Call(Arc::new(run))
    }
}

impl fmt::Debug for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("Cut"),
            Self::CutClient => f.write_str("CutClient"),
            Self::Late(time) => write!(f, "Late({time:?})"),
            Self::Stall => f.write_str("Stall"),
            Self::Delay(time) => write!(f, "Delay({time:?})"),
            Self::Split(most) => write!(f, "Split({most})"),
            Self::Flip => f.write_str("Flip"),
            Self::Answer(text) => write!(f, "Answer({text:?})"),
            Self::LastWords(text) => write!(f, "LastWords({text:?})"),
            Self::Rewrite(text) => write!(f, "Rewrite({text:?})"),
            Self::Inject(bytes) => write!(f, "Inject({:?})", String::from_utf8_lossy(bytes)),
            Self::Call(_) => f.write_str("Call"),
        }
    }
}
