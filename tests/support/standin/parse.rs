//! A client's command, taken apart (RFC 3501, section 9): strict, because a server that forgives
//! teaches its clients nothing.

/// One argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arg {
    /// As it stood on the wire; a section such as `BODY[HEADER.FIELDS (To)]` is one atom.
    Atom(String),
    /// A quoted string or a literal, without its dress.
    Text(Vec<u8>),
    /// What stood between parentheses.
    List(Vec<Self>),
}

/// A whole command.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    pub tag: String,
    /// In capitals; `UID FETCH` is one verb.
    pub verb: String,
    pub args: Vec<Arg>,
}

impl Arg {
    /// An atom, in capitals.
    pub fn word(&self) -> Option<String> {
        match self {
            Self::Atom(text) => Some(text.to_ascii_uppercase()),
            _ => None,
        }
    }

    /// An astring: what names, users and header fields are written as.
    pub fn astring(&self) -> Option<&[u8]> {
        match self {
            Self::Atom(text) if !text.contains(['%', '*', '\\']) => Some(text.as_bytes()),
            Self::Text(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// A pattern of LIST, in which an atom may hold wildcards.
    pub fn pattern(&self) -> Option<&[u8]> {
        match self {
            Self::Atom(text) if !text.contains('\\') => Some(text.as_bytes()),
            Self::Text(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// An atom, whatever it holds: a set, a number, a flag.
    pub fn atom(&self) -> Option<&str> {
        match self {
            Self::Atom(text) => Some(text),
            _ => None,
        }
    }

    pub fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(args) => Some(args),
            _ => None,
        }
    }
}

/// The tag alone, to answer a command that cannot be read.
pub fn tag(line: &[u8]) -> Option<String> {
    let end = line.iter().position(|b| *b == b' ' || *b == b'\r').unwrap_or(line.len());
    let tag = str::from_utf8(&line[..end]).ok()?;
    let is_tag = !tag.is_empty() && tag.bytes().all(|b| is_atom(b) && b != b'+');
    is_tag.then(|| tag.to_owned())
}

/// Takes a command apart: all its bytes as they came, literals and all, without the last CRLF.
pub fn command(bytes: &[u8]) -> Option<Command> {
    let tag = tag(bytes)?;
    let mut parser = Parser { rest: bytes.get(tag.len()..)? };
    let mut args = Vec::new();
    while !parser.rest.is_empty() {
        parser.expect(b' ')?;
        args.push(parser.arg(0)?);
    }
    let mut args = args.into_iter();
    let mut verb = args.next()?.word()?;
    if verb == "UID" {
        verb = format!("UID {}", args.next()?.word()?);
    }
    Some(Command { tag, verb, args: args.collect() })
}

/// The length and kind of the literal that a line announces: `{12}`, or `{12+}` that waits for
/// nothing (RFC 7888).
pub fn announced(line: &[u8]) -> Option<(usize, bool)> {
    let inner = line.strip_suffix(b"}")?;
    let open = inner.iter().rposition(|b| *b == b'{')?;
    let digits = str::from_utf8(&inner[open + 1..]).ok()?;
    let (digits, waits) = digits.strip_suffix('+').map_or((digits, true), |d| (d, false));
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| Some((digits.parse().ok()?, waits)))?
}

struct Parser<'a> {
    rest: &'a [u8],
}

impl Parser<'_> {
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.rest = self.rest.strip_prefix(&[byte])?;
        Some(())
    }

    fn arg(&mut self, depth: usize) -> Option<Arg> {
        match *self.rest.first()? {
            b'(' if depth < 20 => self.list(depth),
            b'"' => self.quoted(),
            b'{' => self.literal(),
            _ => self.atom(),
        }
    }

    fn list(&mut self, depth: usize) -> Option<Arg> {
        self.expect(b'(')?;
        let mut args = Vec::new();
        while self.expect(b')').is_none() {
            if !args.is_empty() {
                self.expect(b' ')?;
            }
            args.push(self.arg(depth + 1)?);
        }
        Some(Arg::List(args))
    }

    fn quoted(&mut self) -> Option<Arg> {
        self.expect(b'"')?;
        let mut text = Vec::new();
        loop {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            match byte {
                b'"' => return Some(Arg::Text(text)),
                b'\\' => {
                    let (&escaped, rest) = self.rest.split_first()?;
                    if !matches!(escaped, b'"' | b'\\') {
                        return None;
                    }
                    self.rest = rest;
                    text.push(escaped);
                }
                0 | b'\r' | b'\n' => return None,
                _ => text.push(byte),
            }
        }
    }

    fn literal(&mut self) -> Option<Arg> {
        let end = self.rest.iter().position(|b| *b == b'\n')?;
        let (n, _) = announced(self.rest[..end].strip_suffix(b"\r")?)?;
        let bytes = self.rest.get(end + 1..(end + 1).checked_add(n)?)?;
        self.rest = &self.rest[end + 1 + n..];
        Some(Arg::Text(bytes.to_vec()))
    }

    fn atom(&mut self) -> Option<Arg> {
        let (mut n, mut is_section) = (0, false);
        while let Some(&byte) = self.rest.get(n) {
            match byte {
                b'[' => is_section = true,
                b']' => is_section = false,
                _ if is_section && (0x20..0x7f).contains(&byte) => {}
                // A flag.
                b'\\' if n == 0 => {}
                b'%' | b'*' => {}
                _ if is_atom(byte) => {}
                b' ' | b')' => break,
                _ => return None,
            }
            n += 1;
        }
        let text = str::from_utf8(&self.rest[..n]).ok()?.to_owned();
        self.rest = &self.rest[n..];
        (n > 0 && !is_section).then_some(Arg::Atom(text))
    }
}

fn is_atom(byte: u8) -> bool {
    (0x21..0x7f).contains(&byte) && !b"(){%*\"\\]".contains(&byte)
}
