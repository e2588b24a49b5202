//! One connection: reads commands, has them carried out, and answers.

use std::collections::BTreeSet;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use super::account::FolderId;
use super::dialect::{Kind, has};
use super::input::{Input, Wire};
use super::parse::{self, Command};
use super::server::{Server, User};
use super::{gmail, microsoft365};

/// How a command ends well: what follows OK, or nothing where the platform's usual word does.
pub(super) type Done = Result<String, Stop>;

/// How it ends otherwise.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// NO, and this.
    No(String),
    /// BAD, and this.
    Bad(String),
    /// The whole answer without its tag.
    Says(String),
    /// BAD, in the platform's words for arguments that are none.
    Arguments,
    /// A line without a tag (`BYE …`, or none of IMAP's), and the end.
    LastWords(String),
}

/// Which folder is open, and what the client was told of it.
pub(super) struct Selected {
    pub(super) folder: FolderId,
    pub(super) is_read_only: bool,
    /// By sequence number.
    pub(super) uids: Vec<u32>,
    /// Changes up to this one are known to the client.
    pub(super) modseq: u64,
}

pub(super) struct Session {
    pub(super) server: Arc<Server>,
    pub(super) wire: Wire,
    pub(super) user: Option<String>,
    /// What it signed in with, if that was a token.
    pub(super) token: Option<String>,
    /// Signed in with a token for administrators.
    pub(super) is_admin: bool,
    pub(super) selected: Option<Selected>,
    pub(super) utf8: bool,
    pub(super) uid_only: bool,
    /// UIDs whose changes this command has told already.
    pub(super) told: BTreeSet<u32>,
    /// The user's ended sessions when it began.
    pub(super) n_ends: u64,
    n_errors: usize,
}

impl Session {
    pub(super) fn run(server: Arc<Server>, stream: TcpStream) {
        let wire = Wire::new(stream);
        let mut session = Self {
            server,
            wire,
            user: None,
            token: None,
            is_admin: false,
            selected: None,
            utf8: false,
            uid_only: false,
            told: BTreeSet::new(),
            n_ends: 0,
            n_errors: 0,
        };
        // A client that is gone is no event here.
        let _ = session.serve();
        if let Some(user) = session.user.take() {
            session.server.user(&user, |user| user.n_connections -= 1);
        }
    }

    fn serve(&mut self) -> io::Result<()> {
        let greeting = self.server.dialect.greeting.clone();
        self.wire.line(&greeting);
        loop {
            let server = Arc::clone(&self.server);
            let dialect = &server.dialect;
            let literals = dialect.literals(self.user.is_some());
            let refuse = |so_far: &[u8], n: usize| {
                let text = String::from_utf8_lossy(so_far).to_ascii_uppercase();
                let is_append = text.split(' ').nth(1) == Some("APPEND");
                (is_append && n > dialect.append_limit).then(|| dialect.says.too_big.to_owned())
            };
            let bytes = match self.wire.command(literals, refuse)? {
                Input::End => return Ok(()),
                Input::Refused(bytes, answer) => {
                    let tag = parse::tag(&bytes).unwrap_or_else(|| "*".into());
                    self.wire.line(&format!("{tag} {answer}"));
                    self.n_errors += 1;
                    continue;
                }
                Input::Command(bytes) => bytes,
            };
            let Some(command) = parse::command(&bytes) else {
                let tag = parse::tag(&bytes).unwrap_or_else(|| "*".into());
                self.wire.line(&format!("{tag} {}", dialect.says.unknown));
                if self.is_worn_out()? {
                    return Ok(());
                }
                continue;
            };
            self.server.hear(&command);
            let done = self.carry_out(&command)?;
            if self.answer(&command, done)? {
                return Ok(());
            }
        }
    }

    /// Sends the tagged answer; true if that was the last.
    fn answer(&mut self, command: &Command, done: Done) -> io::Result<bool> {
        let says = &self.server.dialect.says;
        let text = match done {
            Ok(text) if text.is_empty() => format!("OK {}", (says.done)(&command.verb)),
            Ok(text) if text.starts_with('[') => {
                format!("OK {text} {}", (says.done)(&command.verb))
            }
            Ok(text) => format!("OK {text}"),
            Err(Stop::No(text)) => format!("NO {text}"),
            Err(Stop::Bad(text)) => format!("BAD {text}"),
            Err(Stop::Says(text)) => text,
            Err(Stop::Arguments) => says.arguments.to_owned(),
            Err(Stop::LastWords(text)) => {
                self.wire.line(&text);
                self.wire.flush()?;
                return Ok(true);
            }
        };
        let is_good = text.starts_with("OK");
        let slow = if is_good && self.server.is_slow(&command.verb) { " [THROTTLED]" } else { "" };
        self.wire.line(&format!("{} {text}{slow}", command.tag));
        if is_good && command.verb == "COMPRESS" {
            self.wire.deflate()?;
        }
        if is_good && command.verb == "LOGOUT" {
            self.wire.flush()?;
            return Ok(true);
        }
        // What is said to be throttled is also cut off.
        let ends = ["Suggested Backoff Time", "not connected", "Session invalidated"];
        if ends.iter().any(|words| text.contains(words)) {
            self.wire.flush()?;
            return Ok(true);
        }
        if is_good { Ok(false) } else { self.is_worn_out() }
    }

    /// One error more; true if it was one too many.
    fn is_worn_out(&mut self) -> io::Result<bool> {
        self.n_errors += 1;
        if self.n_errors < self.server.dialect.errors {
            return Ok(false);
        }
        self.wire.line("* BYE Connection closed. 14");
        self.wire.flush()?;
        Ok(true)
    }

    /// Carries a command out. What the client is told on the way is queued.
    fn carry_out(&mut self, command: &Command) -> io::Result<Done> {
        let server = Arc::clone(&self.server);
        let advertised =
            if self.user.is_some() { &server.dialect.after } else { &server.dialect.before };
        let needed = match command.verb.as_str() {
            verb @ ("ID" | "ENABLE" | "NAMESPACE" | "UNSELECT" | "IDLE" | "MOVE" | "XLIST") => verb,
            "UID MOVE" => "MOVE",
            "UID EXPUNGE" => "UIDPLUS",
            "COMPRESS" => "COMPRESS",
            "GETQUOTA" | "GETQUOTAROOT" => "QUOTA",
            _ => "",
        };
        if !needed.is_empty() && !has(advertised, needed) {
            return Ok(Err(Stop::Says(server.dialect.says.unknown.into())));
        }
        match (command.verb.as_str(), &self.user) {
            ("CAPABILITY", _) => {
                self.wire.line(&format!("* CAPABILITY {advertised}"));
                Ok(Ok(String::new()))
            }
            ("LOGOUT", _) => {
                self.wire.line("* BYE LOGOUT Requested");
                Ok(Ok(String::new()))
            }
            ("ID", _) => {
                self.wire.line(&format!("* ID {}", server.dialect.id));
                Ok(Ok(String::new()))
            }
            ("NOOP", None) => Ok(Ok(String::new())),
            ("LOGIN", None) => Ok(self.login(&command.args)),
            ("AUTHENTICATE", None) => self.authenticate(&command.args),
            ("IDLE", Some(_)) => self.idle(),
            (_, None) => Ok(Err(Stop::Says(server.dialect.says.unknown.into()))),
            (verb, Some(name)) => {
                let name = name.clone();
                Ok(server.user(&name, |user| {
                    self.is_allowed(user, verb)?;
                    let done = self.signed_in(user, command)?;
                    // RFC 3501, 7.4.1: no EXPUNGE while sequence numbers are in use.
                    let may_expunge = !matches!(verb, "FETCH" | "STORE" | "SEARCH");
                    self.tell_changes(user, may_expunge);
                    Ok(done)
                }))
            }
        }
    }

    /// Refuses what an account may not do now, in the platform's words.
    pub(super) fn is_allowed(&self, user: &mut User, verb: &str) -> Result<(), Stop> {
        let is_expired = self.token.as_ref().is_some_and(|token| user.expired.contains(token));
        if is_expired || self.n_ends != user.n_ends {
            let last_words = self.server.dialect.says.expired;
            // Exchange says it with the command's tag, and by BYE only in IDLE; whether by BAD is
            // uncertain.
            return Err(match (self.server.dialect.kind, last_words.strip_prefix("BYE ")) {
                (Kind::Microsoft365, Some(text)) if verb != "IDLE" => Stop::Bad(text.into()),
                _ => Stop::LastWords(format!("* {last_words}")),
            });
        }
        match self.server.dialect.kind {
            Kind::Microsoft365 => microsoft365::is_allowed(user, verb),
            Kind::Gmail => {
                let asks_much = ["FETCH", "UID FETCH", "EXAMINE", "SELECT"].contains(&verb);
                let is_over = asks_much && user.has_used_up(0);
                if is_over { Err(Stop::Says(gmail::OVER_BANDWIDTH.into())) } else { Ok(()) }
            }
            Kind::Plain | Kind::Yahoo => Ok(()),
        }
    }

    fn signed_in(&mut self, user: &mut User, command: &Command) -> Done {
        let args = &command.args;
        if let (true, Some(what)) = (self.uid_only, numbered(&command.verb)) {
            // RFC 9586, 3.
            return Err(Stop::Bad(format!("[UIDREQUIRED] {what} wants UIDs")));
        }
        match command.verb.as_str() {
            "NOOP" | "CHECK" => Ok(String::new()),
            "ENABLE" => self.enable(args),
            "COMPRESS" if self.wire.is_deflated() => {
                Err(Stop::No("[COMPRESSIONACTIVE] It is on".into()))
            }
            "COMPRESS" => match args.first().and_then(parse::Arg::word).as_deref() {
                Some("DEFLATE") => Ok(String::new()),
                _ => Err(Stop::Arguments),
            },
            "NAMESPACE" => {
                self.wire.line("* NAMESPACE ((\"\" \"/\")) NIL NIL");
                Ok(String::new())
            }
            "GETQUOTAROOT" | "GETQUOTA" => {
                if command.verb == "GETQUOTAROOT" {
                    self.wire.line("* QUOTAROOT \"INBOX\" \"\"");
                }
                let used = user.account.messages.values().map(|m| m.bytes.len()).sum::<usize>();
                self.wire.line(&format!("* QUOTA \"\" (STORAGE {} 15728640)", used / 1024));
                Ok(String::new())
            }
            verb @ ("LIST" | "XLIST") => self.list(user, verb, args),
            "LSUB" => self.lsub(user, args),
            "STATUS" => self.status(user, args),
            "SELECT" | "EXAMINE" => self.select(user, args, command.verb == "EXAMINE"),
            "UNSELECT" => self.close(user, false),
            "CLOSE" => self.close(user, true),
            "CREATE" => self.create(user, args),
            "DELETE" => self.delete(user, args),
            "RENAME" => self.rename(user, args),
            "SUBSCRIBE" => self.subscribe(user, args, true),
            "UNSUBSCRIBE" => self.subscribe(user, args, false),
            "APPEND" => self.append(user, args),
            "FETCH" => self.fetch(user, args, false),
            "UID FETCH" => self.fetch(user, args, true),
            "SEARCH" => self.search(user, &command.tag, args, false),
            "UID SEARCH" => self.search(user, &command.tag, args, true),
            "STORE" => self.store(user, args, false),
            "UID STORE" => self.store(user, args, true),
            "COPY" => self.copy(user, args, false, false),
            "UID COPY" => self.copy(user, args, true, false),
            "MOVE" => self.copy(user, args, false, true),
            "UID MOVE" => self.copy(user, args, true, true),
            "EXPUNGE" => self.expunge(user, None),
            "UID EXPUNGE" => self.expunge(user, Some(args)),
            _ => Err(Stop::Says(self.server.dialect.says.unknown.into())),
        }
    }

    fn enable(&mut self, args: &[parse::Arg]) -> Done {
        let server = Arc::clone(&self.server);
        let mut enabled = String::new();
        for arg in args {
            let word = arg.word().ok_or(Stop::Arguments)?;
            let is_known = match word.as_str() {
                "UTF8=ACCEPT" => server.dialect.after.contains("UTF8=ACCEPT"),
                word @ ("CONDSTORE" | "UIDONLY") => server.dialect.has(word),
                _ => false,
            };
            if is_known {
                self.utf8 |= word == "UTF8=ACCEPT";
                self.uid_only |= word == "UIDONLY";
                enabled.push(' ');
                enabled.push_str(&word);
            }
        }
        self.wire.line(&format!("* ENABLED{enabled}"));
        Ok(String::new())
    }
}

/// The commands that take sequence numbers.
fn numbered(verb: &str) -> Option<&str> {
    ["FETCH", "STORE", "SEARCH", "COPY", "MOVE"].contains(&verb).then_some(verb)
}
