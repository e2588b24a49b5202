//! A small blocking IMAP client for tests: raw commands, replies with their literals, and helpers
//! that play the mailbox's user. It panics on whatever a test did not expect.
//!
//! Folders are named by path: decoded segments with `/` between them (a `/` inside a segment is
//! written `=2F`), without the server's prefix or separator. So a test says `Archive/2022/Q1`
//! whatever the server says on the wire.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use chrono::{DateTime, FixedOffset, Utc};

use super::{mail::Mail, utf7};

/// A signed-in connection.
pub struct Imap {
    stream: BufReader<TcpStream>,
    n_commands: u32,
    prefix: String,
    separator: String,
    capabilities: Vec<String>,
}

/// One untagged line; a literal's bytes stand in `literals`, its `{n}` in `text`.
#[derive(Debug, Clone)]
pub struct Line {
    /// The line without `* `, lossily decoded.
    pub text: String,
    /// The literals, in order.
    pub literals: Vec<Vec<u8>>,
}

/// What came back for one command.
#[derive(Debug)]
pub struct Reply {
    /// Untagged lines, in order.
    pub untagged: Vec<Line>,
    /// The tagged line without its tag: `OK [APPENDUID 1 2] done`.
    pub tagged: String,
}

/// One folder of LIST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Its path, as described for the module.
    pub path: String,
    /// Its name on the wire.
    pub wire: String,
    /// Its attributes: `\HasNoChildren`, `\Sent`, …
    pub attributes: Vec<String>,
}

/// A message, whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Msg {
    /// Its UID.
    pub uid: u32,
    /// Flags and keywords without `\Recent`, in lower case (RFC 9051, 2.3.2).
    pub flags: BTreeSet<String>,
    /// INTERNALDATE.
    pub date: DateTime<Utc>,
    /// All of its bytes.
    pub body: Vec<u8>,
}

impl Imap {
    /// Connects without TLS and signs in; the server's own words as the error.
    pub fn try_login(host: &str, port: u16, user: &str, password: &str) -> Result<Self, String> {
        Self::try_sign_in(host, port, &format!("LOGIN {} {}", quote(user), quote(password)))
    }

    /// The same by a command of the test's own.
    pub fn try_sign_in(host: &str, port: u16, command: &str) -> Result<Self, String> {
        let stream = TcpStream::connect((host, port)).map_err(|e| e.to_string())?;
        stream.set_nodelay(true).expect("set TCP_NODELAY");
        // A test that hangs tells nothing.
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("set a timeout");
        let mut imap = Self {
            stream: BufReader::with_capacity(1 << 16, stream),
            n_commands: 0,
            prefix: String::new(),
            separator: "/".into(),
            capabilities: Vec::new(),
        };
        imap.read_line()?;
        imap.try_command(command)?;
        let capabilities = imap.command("CAPABILITY");
        imap.capabilities = capabilities.untagged[0].text.split(' ').map(str::to_owned).collect();
        if !imap.has("NAMESPACE") {
            return Ok(imap);
        }
        let namespace = imap.try_command("NAMESPACE")?.untagged.remove(0).text;
        // * NAMESPACE (("INBOX." ".")) NIL NIL
        let mut quoted = namespace.split('"').skip(1).step_by(2);
        imap.prefix = quoted.next().expect("a personal namespace").to_owned();
        imap.separator = quoted.next().expect("a separator").to_owned();
        Ok(imap)
    }

    /// Sends one command; `Err` holds the tagged NO or BAD, or what broke the connection.
    pub fn try_command(&mut self, command: &str) -> Result<Reply, String> {
        let tag = self.tag();
        self.send(format!("{tag} {command}\r\n").as_bytes())?;
        self.reply(&tag)
    }

    /// Sends one command that must succeed.
    #[track_caller]
    pub fn command(&mut self, command: &str) -> Reply {
        self.try_command(command).unwrap_or_else(|e| panic!("{command}: {e}"))
    }

    /// True if the server advertises `name` after sign-in.
    pub fn has(&self, name: &str) -> bool {
        self.capabilities.iter().any(|c| c.eq_ignore_ascii_case(name))
    }

    /// The name on the wire of the folder at `path`.
    pub fn wire(&self, path: &str) -> String {
        if path.eq_ignore_ascii_case("INBOX") {
            return "INBOX".into();
        }
        let segments: Vec<_> =
            path.split('/').map(|s| utf7::encode(&s.replace("=2F", "/"))).collect();
        format!("{}{}", self.prefix, segments.join(&self.separator))
    }

    /// The path of the folder whose name on the wire is `wire`.
    pub fn path(&self, wire: &str) -> String {
        if wire.eq_ignore_ascii_case("INBOX") {
            return "INBOX".into();
        }
        let below = wire.strip_prefix(&self.prefix).unwrap_or(wire);
        let segments: Vec<_> =
            below.split(&self.separator).map(|s| utf7::decode(s).replace('/', "=2F")).collect();
        segments.join("/")
    }

    /// All folders, also those that cannot be selected.
    pub fn list(&mut self) -> Vec<Folder> {
        let lines = self.command("LIST \"\" \"*\"").untagged;
        lines.iter().filter_map(|line| self.listed(line)).collect()
    }

    fn listed(&self, line: &Line) -> Option<Folder> {
        let (attributes, rest) = line.text.strip_prefix("LIST (")?.split_once(") ")?;
        let (_, name) = rest.split_once(' ')?;
        let wire = match line.literals.first() {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => unquote(name),
        };
        let attributes = attributes.split_whitespace().map(str::to_owned).collect();
        Some(Folder { path: self.path(&wire), wire, attributes })
    }

    /// Creates a folder; it is fine if it is there.
    pub fn create(&mut self, path: &str) {
        let command = format!("CREATE {}", quote(&self.wire(path)));
        if let Err(e) = self.try_command(&command)
            && !e.contains("[ALREADYEXISTS]")
        {
            panic!("{command}: {e}");
        }
    }

    /// Deletes a folder with everything in it.
    pub fn delete_folder(&mut self, path: &str) {
        self.command(&format!("DELETE {}", quote(&self.wire(path))));
    }

    /// Renames a folder, and those below it.
    pub fn rename_folder(&mut self, from: &str, to: &str) {
        let (from, to) = (quote(&self.wire(from)), quote(&self.wire(to)));
        self.command(&format!("RENAME {from} {to}"));
    }

    /// Appends one message and returns its UID. `flags` as on the wire: `\Seen $Forwarded`.
    pub fn append(
        &mut self,
        path: &str,
        flags: &str,
        date: DateTime<FixedOffset>,
        bytes: &[u8],
    ) -> u32 {
        self.try_append(path, flags, date, bytes)
            .unwrap_or_else(|e| panic!("APPEND to {path}: {e}"))
    }

    /// The same, with the server's refusal as the error.
    pub fn try_append(
        &mut self,
        path: &str,
        flags: &str,
        date: DateTime<FixedOffset>,
        bytes: &[u8],
    ) -> Result<u32, String> {
        let mail = Mail { bytes: bytes.to_vec(), flags: flags.to_owned(), date };
        let uids = self.try_append_many(path, &[mail])?;
        uids.first().copied().ok_or_else(|| "no APPENDUID".into())
    }

    /// Appends messages in order, in few commands, and returns their UIDs.
    pub fn append_many(&mut self, path: &str, mails: &[Mail]) -> Vec<u32> {
        self.try_append_many(path, mails).unwrap_or_else(|e| panic!("APPEND to {path}: {e}"))
    }

    fn try_append_many(&mut self, path: &str, mails: &[Mail]) -> Result<Vec<u32>, String> {
        // One MULTIAPPEND (RFC 3502) holds up to this many messages. Dovecot takes it even where
        // the test made it keep quiet about it.
        const BATCH: usize = 200;
        let mut uids = Vec::new();
        for batch in mails.chunks(BATCH) {
            let tag = self.tag();
            let mut out = format!("{tag} APPEND {}", quote(&self.wire(path))).into_bytes();
            for mail in batch {
                let date = mail.date.format("%d-%b-%Y %H:%M:%S %z");
                let (flags, n) = (&mail.flags, mail.bytes.len());
                if self.has("LITERAL+") || (self.has("LITERAL-") && n <= 4096) {
                    write!(out, " ({flags}) \"{date}\" {{{n}+}}\r\n").expect("to memory");
                } else {
                    write!(out, " ({flags}) \"{date}\" {{{n}}}\r\n").expect("to memory");
                    self.send(&out)?;
                    out.clear();
                    self.wait_for_go_ahead()?;
                }
                out.extend_from_slice(&mail.bytes);
            }
            out.extend_from_slice(b"\r\n");
            self.send(&out)?;
            let tagged = self.reply(&tag)?.tagged;
            let set = tagged
                .split_once("[APPENDUID ")
                .and_then(|(_, rest)| rest.split([' ', ']']).nth(1));
            uids.extend(uid_set(set.unwrap_or_default()));
        }
        Ok(uids)
    }

    /// `UID STORE`, for example `store("INBOX", &[1, 2], "+FLAGS (\\Seen)")`.
    pub fn store(&mut self, path: &str, uids: &[u32], change: &str) {
        self.select(path);
        self.command(&format!("UID STORE {} {change}", join(uids)));
    }

    /// `UID MOVE` to another folder.
    pub fn uid_move(&mut self, path: &str, uids: &[u32], to: &str) {
        self.select(path);
        let to = quote(&self.wire(to));
        self.command(&format!("UID MOVE {} {to}", join(uids)));
    }

    /// `UID COPY` to another folder.
    pub fn uid_copy(&mut self, path: &str, uids: &[u32], to: &str) {
        self.select(path);
        let to = quote(&self.wire(to));
        self.command(&format!("UID COPY {} {to}", join(uids)));
    }

    /// Deletes messages for good, and only these (RFC 4315).
    pub fn expunge_uids(&mut self, path: &str, uids: &[u32]) {
        self.store(path, uids, "+FLAGS.SILENT (\\Deleted)");
        self.command(&format!("UID EXPUNGE {}", join(uids)));
    }

    /// Selects a folder for writing.
    pub fn select(&mut self, path: &str) -> Reply {
        let wire = quote(&self.wire(path));
        self.command(&format!("SELECT {wire}"))
    }

    /// The UIDs of a folder, ascending.
    pub fn uids(&mut self, path: &str) -> Vec<u32> {
        let wire = quote(&self.wire(path));
        self.command(&format!("EXAMINE {wire}"));
        let lines = self.command("UID SEARCH ALL").untagged;
        let found = lines.iter().find_map(|line| line.text.strip_prefix("SEARCH"));
        found.unwrap_or_default().split_whitespace().map(|n| n.parse().expect("a UID")).collect()
    }

    /// A folder's UIDVALIDITY and UIDNEXT.
    pub fn uid_state(&mut self, path: &str) -> (u32, u32) {
        let wire = quote(&self.wire(path));
        let reply = self.command(&format!("STATUS {wire} (UIDVALIDITY UIDNEXT)"));
        let items = reply.untagged[0].text.rsplit('(').next().unwrap_or_default().to_owned();
        let number = |key: &str| {
            let after = items.split_once(key).expect("the item asked for").1.trim_start();
            let digits = after.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
            digits.parse().expect("a number")
        };
        (number("UIDVALIDITY "), number("UIDNEXT "))
    }

    /// Every message of a folder, in order, without changing anything.
    pub fn messages(&mut self, path: &str) -> Vec<Msg> {
        let wire = quote(&self.wire(path));
        let examined = self.command(&format!("EXAMINE {wire}"));
        if examined.untagged.iter().any(|line| line.text == "0 EXISTS") {
            return Vec::new();
        }
        let lines = self.command("UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])").untagged;
        lines.into_iter().filter_map(fetched).collect()
    }

    /// Says goodbye. Dropping the client just closes the connection.
    pub fn logout(mut self) {
        self.command("LOGOUT");
    }

    fn tag(&mut self) -> String {
        self.n_commands += 1;
        format!("t{}", self.n_commands)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.get_mut().write_all(bytes).map_err(|e| e.to_string())
    }

    fn wait_for_go_ahead(&mut self) -> Result<(), String> {
        loop {
            let line = self.read_line()?.text;
            if line.starts_with('+') {
                return Ok(());
            }
            if !line.starts_with('*') {
                return Err(line);
            }
        }
    }

    fn reply(&mut self, tag: &str) -> Result<Reply, String> {
        let mut untagged: Vec<Line> = Vec::new();
        loop {
            let mut line = self.read_line().map_err(|e| match untagged.last() {
                Some(last) if last.text.starts_with("BYE") => format!("{e}: {}", last.text),
                _ => e,
            })?;
            if let Some(tagged) = line.text.strip_prefix(tag).and_then(|l| l.strip_prefix(' ')) {
                let tagged = tagged.to_owned();
                return if tagged.starts_with("OK") {
                    Ok(Reply { untagged, tagged })
                } else {
                    Err(tagged)
                };
            }
            if line.text.starts_with('+') {
                // Why a token was refused, to be answered by nothing.
                self.send(b"\r\n")?;
                continue;
            }
            line.text = line.text.strip_prefix("* ").unwrap_or(&line.text).to_owned();
            untagged.push(line);
        }
    }

    /// One line with the literals in it.
    fn read_line(&mut self) -> Result<Line, String> {
        let (mut text, mut literals) = (Vec::new(), Vec::new());
        loop {
            let n = self.stream.read_until(b'\n', &mut text).map_err(|e| e.to_string())?;
            if n == 0 || text.last() != Some(&b'\n') {
                return Err("the server closed the connection".into());
            }
            text.truncate(text.trim_ascii_end().len());
            let Some(size) = literal_size(&text) else { break };
            let mut bytes = vec![0; size];
            self.stream.read_exact(&mut bytes).map_err(|e| e.to_string())?;
            literals.push(bytes);
        }
        Ok(Line { text: String::from_utf8_lossy(&text).into_owned(), literals })
    }
}

/// A quoted string.
pub fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn unquote(text: &str) -> String {
    match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => text.to_owned(),
    }
}

fn literal_size(line: &[u8]) -> Option<usize> {
    let inner = line.strip_suffix(b"}")?;
    let start = inner.iter().rposition(|b| *b == b'{')?;
    std::str::from_utf8(&inner[start + 1..]).ok()?.parse().ok()
}

fn fetched(line: Line) -> Option<Msg> {
    let (_, items) = line.text.split_once(" FETCH (")?;
    let after = |key: &str, end: char| Some(items.split_once(key)?.1.split(end).next()?.to_owned());
    // An unsolicited FETCH has no body.
    let body = line.literals.into_iter().next()?;
    let uid = after("UID ", ' ')?.trim_end_matches(')').parse().expect("a UID");
    let flags = after("FLAGS (", ')')?;
    let flags =
        flags.split_whitespace().map(str::to_ascii_lowercase).filter(|f| f != "\\recent").collect();
    let date = after("INTERNALDATE \"", '"')?;
    let date =
        DateTime::parse_from_str(date.trim(), "%d-%b-%Y %H:%M:%S %z").expect("a date").to_utc();
    Some(Msg { uid, flags, date, body })
}

fn join(uids: &[u32]) -> String {
    uids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

fn uid_set(set: &str) -> Vec<u32> {
    let number = |text: &str| text.parse::<u32>().expect("a UID");
    set.split(',')
        .filter(|part| !part.is_empty())
        .flat_map(|part| {
            let (first, last) = part.split_once(':').unwrap_or((part, part));
            number(first)..=number(last)
        })
        .collect()
}
