//! A signed-in connection on which every result is checked.
//!
//! Success is the tagged OK of that very command and nothing else: a NO, a BAD, a BYE, an end
//! of stream are errors, however many lines came before. Commands may be sent ahead; replies
//! that belong to none of them (EXISTS, EXPUNGE, FETCH at any moment) disturb nothing.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;

use super::ahead::Ahead;
use super::command::{Chunk, Command, during};
use super::distance::Distance;
use super::peer::Peer;
use super::reply::{self, Reply};
use super::saying::{Saying, Status};
use super::sayings::During;
use super::wire::{Bodies, Wire};
use crate::model::{Epoch, FolderName, Normalisation};
use crate::platform::{Error, KeywordRule, Naming, Result, Turn};

/// The largest literal that LITERAL- takes without waiting, bytes (RFC 7888, 5).
const LITERAL_MINUS_MAX: usize = 4096;

/// What the server can do, in upper case.
#[derive(Debug, Clone, Default)]
pub(super) struct Capabilities(HashSet<String>);

impl Capabilities {
    /// What the server offers, less what is vetoed.
    pub(super) fn new(offered: Vec<String>, vetoed: &[String]) -> Self {
        let vetoed = |c: &String| vetoed.iter().any(|v| v.eq_ignore_ascii_case(c));
        Self(offered.into_iter().filter(|c| !vetoed(c)).collect())
    }

    /// Is it offered? `name` in upper case.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// The largest message it takes, bytes, if it says so for all folders: `APPENDLIMIT=35651584`
    /// (RFC 7889, 2).
    pub(super) fn append_limit(&self) -> Option<u64> {
        self.0.iter().find_map(|name| name.strip_prefix("APPENDLIMIT=")?.parse().ok())
    }

    /// Messages that one command handles: `MESSAGELIMIT=1000` (RFC 9738).
    pub(super) fn message_limit(&self) -> Option<u64> {
        let limit = |name: &String| name.strip_prefix("MESSAGELIMIT=")?.parse().ok();
        self.0.iter().find_map(limit).filter(|&limit| limit > 0)
    }

    /// Is it Yahoo's server? Nobody else's offers this.
    pub(super) fn is_yahoo(&self) -> bool {
        self.has("XYMHIGHESTMODSEQ")
    }
}

/// Names a command that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tag(u32);

/// The folder that is open on the connection.
#[derive(Debug, Clone)]
pub(super) struct Selected {
    pub(super) name: FolderName,
    pub(super) epoch: Epoch,
    /// False after EXAMINE.
    pub(super) writable: bool,
    pub(super) messages: u64,
    pub(super) next: u64,
    pub(super) modseq: Option<u64>,
    pub(super) keywords: KeywordRule,
}

/// What came next.
#[derive(Debug)]
pub(super) enum Next {
    Data(Reply),
    /// The command's end, good or bad.
    Done(Saying),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    wire: Wire,
    pub(super) peer: Peer,
    pub(super) capabilities: Capabilities,
    pub(super) naming: Naming,
    /// Prefixes of folders that are other people's.
    pub(super) foreign: Vec<Vec<u8>>,
    pub(super) selected: Option<Selected>,
    /// Epochs of folders, as last seen.
    pub(super) epochs: HashMap<FolderName, Epoch>,
    pub(super) qresync: bool,
    /// Messages are spoken of by UID alone (RFC 9586).
    pub(super) uid_only: bool,
    /// A folder of so many messages may be a part of a larger one.
    pub(super) windows: Option<Vec<u64>>,
    /// Folders that showed a part of themselves only when they were last opened.
    pub(super) partial: HashSet<FolderName>,
    /// Is the line such that compressing is wanted, if the server can?
    pub(super) wants_compression: bool,
    /// How long everything takes that waits for an answer.
    pub(super) distance: Distance,
    /// COMPRESS, while it is not answered.
    compressing: Option<Tag>,
    last_tag: u32,
    /// Commands that are not answered yet.
    outstanding: HashSet<Tag>,
    /// Commands that were answered before somebody waited for them.
    done: HashMap<Tag, Saying>,
    unawaited: HashSet<Tag>,
    /// The words of a BYE, or a stray line: the cause, if the connection ends now.
    last_words: Option<Saying>,
    /// Commands that were refused.
    pub(super) refusals: u32,
    /// What was asked before anybody waits for it, in its order.
    pub(super) ahead: VecDeque<Ahead>,
    /// What was asked of the server itself, as far as nobody has waited for it.
    pub(super) setup: Vec<Tag>,
    /// Is it known how folders are named?
    pub(super) is_named: bool,
}

impl Session {
    pub(super) fn new(mut wire: Wire, peer: Peer, capabilities: Capabilities) -> Self {
        if peer.is_strained() {
            wire.wait_longer();
        }
        Self {
            wire,
            peer,
            capabilities,
            naming: Naming { separator: None, prefix: String::new() },
            foreign: Vec::new(),
            selected: None,
            epochs: HashMap::new(),
            qresync: false,
            uid_only: false,
            windows: None,
            partial: HashSet::new(),
            wants_compression: false,
            distance: Distance::default(),
            compressing: None,
            last_tag: 0,
            outstanding: HashSet::new(),
            done: HashMap::new(),
            unawaited: HashSet::new(),
            last_words: None,
            refusals: 0,
            ahead: VecDeque::new(),
            setup: Vec::new(),
            is_named: false,
        }
    }

    /// Sends a command and waits for its end, handing every reply on the way to `each`.
    pub(super) async fn exec(
        &mut self,
        command: Command,
        each: impl FnMut(Reply) + Send,
    ) -> Result<Saying> {
        let verb = command.verb;
        let end = self.ask(command, each).await?;
        self.settled(verb, end)
    }

    /// Sends a command and waits for its end, whatever that is.
    pub(super) async fn ask(
        &mut self,
        command: Command,
        each: impl FnMut(Reply) + Send,
    ) -> Result<Saying> {
        let tag = self.send(command).await?;
        self.end_of(tag, each).await
    }

    /// Waits for the end of a command that was sent, whatever that is.
    pub(super) async fn end_of(
        &mut self,
        tag: Tag,
        mut each: impl FnMut(Reply) + Send,
    ) -> Result<Saying> {
        loop {
            match self.next(tag, Bodies::None).await? {
                Next::Data(reply) => each(reply),
                Next::Done(saying) => return Ok(saying),
            }
        }
    }

    /// Waits for the end of a command, handing every reply on the way to `each`.
    pub(super) async fn finish(
        &mut self,
        tag: Tag,
        verb: &'static str,
        each: impl FnMut(Reply) + Send,
    ) -> Result<Saying> {
        let end = self.end_of(tag, each).await?;
        self.settled(verb, end)
    }

    /// Sends a command whose end nobody will wait for.
    pub(super) async fn send_unawaited(&mut self, command: Command) -> Result<()> {
        let tag = self.send(command).await?;
        self.unawaited.insert(tag);
        Ok(())
    }

    /// Sends COMPRESS. Until it has been answered nothing else may be sent (RFC 4978, 3); from an OK
    /// on, whoever reads it, both sides compress.
    pub(super) async fn send_compress(&mut self) -> Result<Tag> {
        let tag = self.send(Command::raw("COMPRESS", "COMPRESS DEFLATE")).await?;
        self.compressing = Some(tag);
        Ok(tag)
    }

    /// Sends a command without waiting for its end. Waits only where a literal must be allowed
    /// first; a refusal there is the command's end, and found by whoever waits for it.
    pub(super) async fn send(&mut self, command: Command) -> Result<Tag> {
        self.send_in_turn(command, None).await
    }

    /// Sends a command but for its line end, without which no server carries it out, and that once
    /// it is its turn.
    pub(super) async fn send_in_turn(
        &mut self,
        command: Command,
        turn: Option<Turn<'_>>,
    ) -> Result<Tag> {
        // Something else comes between.
        self.forget_ahead().await?;
        debug_assert!(self.compressing.is_none(), "nothing may follow COMPRESS");
        self.last_tag += 1;
        let tag = Tag(self.last_tag);
        self.outstanding.insert(tag);
        let written = self.write(tag, command, turn).await;
        self.or_last_words(written).await?;
        Ok(tag)
    }

    /// Lets what was sent go at once. Otherwise it goes when somebody waits for an answer, many
    /// commands in one packet: a server is woken once for all of them.
    pub(super) async fn flush(&mut self) -> Result<()> {
        let flushed = self.wire.flush().await;
        self.or_last_words(flushed).await
    }

    async fn or_last_words(&mut self, written: Result<()>) -> Result<()> {
        match written {
            Err(Error::Broken { cause, .. }) => Err(self.post_mortem(cause).await),
            other => other,
        }
    }

    async fn write(&mut self, tag: Tag, command: Command, turn: Option<Turn<'_>>) -> Result<()> {
        self.wire.push(format!("D{} ", tag.0).as_bytes());
        for chunk in command.chunks {
            match chunk {
                Chunk::Text(text) => self.wire.push(&text),
                Chunk::Literal(bytes) if self.sends_at_once(bytes.len()) => {
                    self.wire.push(format!("{{{}+}}\r\n", bytes.len()).as_bytes());
                    self.wire.push_body(&bytes).await?;
                }
                Chunk::Literal(bytes) => {
                    if !self.send_when_allowed(tag, &bytes).await? {
                        return Ok(());
                    }
                }
            }
        }
        if let Some(turn) = turn {
            self.wire.flush().await?;
            turn.await;
        }
        self.wire.push(b"\r\n");
        Ok(())
    }

    /// May a literal of this size be sent without waiting?
    pub(super) fn sends_at_once(&self, size: usize) -> bool {
        self.capabilities.has("LITERAL+")
            || (self.capabilities.has("LITERAL-") && size <= LITERAL_MINUS_MAX)
    }

    async fn send_when_allowed(&mut self, tag: Tag, bytes: &Bytes) -> Result<bool> {
        self.wire.push(format!("{{{}}}\r\n", bytes.len()).as_bytes());
        self.wire.flush().await?;
        loop {
            match self.next(tag, Bodies::None).await? {
                Next::Data(Reply::Continue(_)) => break,
                Next::Data(_) => {}
                Next::Done(saying) => {
                    self.done.insert(tag, saying);
                    return Ok(false);
                }
            }
        }
        self.wire.push_body(bytes).await?;
        Ok(true)
    }

    /// The next reply, or the end of the command with this tag. Ends of other commands are kept
    /// for whoever waits for them.
    pub(super) async fn next(&mut self, tag: Tag, bodies: Bodies<'_>) -> Result<Next> {
        if let Some(saying) = self.done.remove(&tag) {
            self.wire.renew();
            return Ok(Next::Done(saying));
        }
        if self.wire.has_output() {
            self.flush().await?;
        }
        loop {
            let response = match self.wire.response(bodies).await {
                Ok(response) => response,
                Err(Error::Broken { cause, .. }) => return Err(self.ended(cause)),
                Err(Error::Silent { .. }) if self.last_words.is_some() => {
                    return Err(self.ended(String::new()));
                }
                Err(error) => return Err(error),
            };
            match reply::read(response) {
                Reply::Tagged(text, saying) => {
                    match saying.status {
                        Status::Ok => self.heed(&saying),
                        _ => self.refusals += 1,
                    }
                    let number = text.strip_prefix(['D', 'd']).and_then(|n| n.parse().ok());
                    let ended = number.map(Tag).filter(|tag| self.outstanding.remove(tag));
                    if ended.is_some() && ended == self.compressing {
                        self.compressing = None;
                        if saying.status == Status::Ok {
                            self.wire.compress();
                        }
                    }
                    match ended {
                        Some(ended) if ended == tag => {
                            self.wire.renew();
                            return Ok(Next::Done(saying));
                        }
                        Some(other) => {
                            // Exchange refuses everything so, and then closes.
                            if self.peer.is_closed_by(&saying) {
                                self.last_words = Some(saying.clone());
                            }
                            if !self.unawaited.remove(&other) {
                                self.done.insert(other, saying);
                            }
                        }
                        // Also a tag that some servers answer with when they lost the thread.
                        _ => self.last_words = Some(saying),
                    }
                }
                Reply::Status(saying) if saying.status == Status::Bye => {
                    self.last_words = Some(saying);
                    // What is to come comes at once; some servers forget to close.
                    self.wire.wait_briefly();
                }
                Reply::Stray(text) => {
                    let saying = Saying { status: Status::No, code: None, text };
                    let known = self.peer.sayings.knows(&saying);
                    self.last_words = Some(saying);
                    if known {
                        // Exchange answers like this in place of a reply, and none follows.
                        self.wire.abandon();
                        return Err(self.ended(String::new()));
                    }
                }
                Reply::Status(saying) => {
                    self.heed(&saying);
                    return Ok(Next::Data(Reply::Status(saying)));
                }
                other => {
                    if let Some(reply) = self.note_setup(other)? {
                        return Ok(Next::Data(reply));
                    }
                }
            }
        }
    }

    /// Heeds what an OK says besides.
    fn heed(&mut self, saying: &Saying) {
        if saying.status == Status::Ok && self.peer.heed(saying, During::Other) {
            self.wire.wait_longer();
        }
    }

    /// How content digests are taken.
    pub(super) const fn normalisation(&self) -> Normalisation {
        self.wire.normalisation
    }

    /// What a command's end means to whoever wanted it to succeed.
    ///
    /// # Errors
    /// Any but OK; and an OK that says that only part was done (RFC 9738).
    pub(super) fn settled(&self, verb: &'static str, saying: Saying) -> Result<Saying> {
        let partial = saying.code("MESSAGELIMIT").is_some();
        if saying.status == Status::Ok && !partial {
            return Ok(saying);
        }
        Err(self.error(verb, &saying))
    }

    /// The error a refusal is.
    pub(super) fn error(&self, verb: &'static str, saying: &Saying) -> Error {
        self.peer.error(verb, saying, during(verb))
    }

    /// The error that the end of the connection is, in the server's last words if it had any.
    fn ended(&mut self, cause: String) -> Error {
        let Some(saying) = self.last_words.take() else { return self.wire.broken(cause) };
        self.peer.farewell(&saying, During::Other)
    }

    /// After a failed write, the server may have said why before it closed.
    async fn post_mortem(&mut self, cause: String) -> Error {
        self.wire.mend();
        let reading = async {
            // Ends at the end of the stream at the latest.
            while let Ok(response) = self.wire.response(Bodies::None).await {
                match reply::read(response) {
                    Reply::Status(saying) if saying.status == Status::Bye => {
                        self.last_words = Some(saying);
                    }
                    Reply::Tagged(_, saying) if saying.status != Status::Ok => {
                        self.last_words.get_or_insert(saying);
                    }
                    _ => {}
                }
            }
        };
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), reading).await;
        self.wire.abandon();
        self.ended(cause)
    }

    /// A message or folder came that was asked for, for the first time: whoever brings it is
    /// waited for on.
    pub(super) fn earn(&mut self) {
        self.wire.earn();
    }

    /// A body came that nobody asked for: talk like any other.
    pub(super) fn unasked(&mut self, bytes: usize) -> Result<()> {
        self.wire.heard(bytes)
    }

    /// Nothing more can be done on this connection: replies were left unread.
    pub(super) fn abandon(&mut self) {
        self.wire.abandon();
    }

    /// A `Protocol` error of this server.
    pub(super) fn protocol(&self, detail: impl Into<String>) -> Error {
        self.wire.protocol(detail)
    }
}
