//! Where lines end and literals begin (RFC 9051, 4.3; RFC 7888), written apart from drover's own.

/// Cuts a stream into lines and literals.
#[derive(Default)]
pub(super) struct Framer {
    line: Vec<u8>,
    literal: Option<Literal>,
    is_within: bool,
}

/// A literal that is passing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Literal {
    /// Its bytes.
    pub(super) size: usize,
    /// Those that have passed.
    pub(super) past: usize,
    /// True if its sender must wait until it is allowed.
    pub(super) waits: bool,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A line with its end. `is_first`: of a command or response; else it follows a literal.
    Line { bytes: Vec<u8>, is_first: bool, announces: Option<Literal> },
    /// Bytes of a literal, never both sides of its middle.
    Literal { bytes: Vec<u8>, is_half: bool },
}

impl Framer {
    /// The next piece, and how many bytes of `input` it took; bytes of unfinished lines are kept.
    pub(super) fn next(&mut self, input: &[u8]) -> (Option<Piece>, usize) {
        if let Some(literal) = &mut self.literal {
            let half = literal.size / 2;
            let end = if literal.past < half { half } else { literal.size };
            let n = input.len().min(end - literal.past);
            literal.past += n;
            let piece =
                Piece::Literal { bytes: input[..n].to_vec(), is_half: literal.past == half };
            if literal.past == literal.size {
                self.literal = None;
            }
            return ((n > 0).then_some(piece), n);
        }
        let Some(end) = input.iter().position(|&b| b == b'\n') else {
            self.line.extend_from_slice(input);
            return (None, input.len());
        };
        self.line.extend_from_slice(&input[..=end]);
        let bytes = std::mem::take(&mut self.line);
        let is_first = !self.is_within;
        let announces = announced(&bytes).filter(|_| !is_first || may_announce(&bytes));
        self.is_within = announces.is_some();
        self.literal = announces.filter(|literal| literal.size > 0);
        (Some(Piece::Line { bytes, is_first, announces }), end + 1)
    }

    /// A literal that was not allowed does not come: a new command starts.
    pub(super) fn give_up_literal(&mut self) {
        if self.literal.is_some_and(|literal| literal.waits && literal.past == 0) {
            self.literal = None;
            self.is_within = false;
        }
    }

    /// What was held back of an unfinished line.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.line)
    }
}

/// The tag of a line, and what follows it.
pub(super) fn tag(line: &[u8]) -> (&str, &str) {
    let line = std::str::from_utf8(line.trim_ascii_end()).unwrap_or_default();
    line.split_once(' ').unwrap_or((line, ""))
}

/// `APPEND`, `UID FETCH`; upper case.
pub(super) fn verb(command: &str) -> String {
    let mut words = command.split(' ').map(str::to_ascii_uppercase);
    let first = words.next().unwrap_or_default();
    if first == "UID" { format!("UID {}", words.next().unwrap_or_default()) } else { first }
}

/// Status responses end in free text.
fn may_announce(line: &[u8]) -> bool {
    let (first, rest) = tag(line);
    first != "*" || !["OK", "NO", "BAD", "BYE", "PREAUTH"].contains(&verb(rest).as_str())
}

fn announced(line: &[u8]) -> Option<Literal> {
    let inner = line.trim_ascii_end().strip_suffix(b"}")?;
    let (inner, waits) = match inner.strip_suffix(b"+") {
        Some(inner) => (inner, false),
        None => (inner, true),
    };
    let open = inner.iter().rposition(|&b| b == b'{')?;
    let size = std::str::from_utf8(&inner[open + 1..]).ok()?.parse().ok()?;
    Some(Literal { size, past: 0, waits })
}
