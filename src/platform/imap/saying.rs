//! Status responses: OK, NO, BAD, BYE and PREAUTH, with their codes and words.

use super::parse::number;

/// The first word of a status response (RFC 9051, 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    No,
    Bad,
    Bye,
    Preauth,
}

/// A status with its response code and text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Saying {
    pub(super) status: Status,
    /// The code's name in upper case, without brackets, and what follows it within them.
    pub(super) code: Option<(String, String)>,
    /// For people; without control characters.
    pub(super) text: String,
}

impl Saying {
    /// What follows the code of this name.
    pub(super) fn code(&self, name: &str) -> Option<&str> {
        self.code.as_ref().filter(|(code, _)| code == name).map(|(_, rest)| rest.as_str())
    }

    /// The number that follows the code of this name.
    pub(super) fn code_number(&self, name: &str) -> Option<u64> {
        self.code(name).and_then(|rest| number(rest.trim().as_bytes()))
    }
}

/// Reads the first word.
pub(super) fn status(word: &[u8]) -> Option<Status> {
    Some(match word.to_ascii_uppercase().as_slice() {
        b"OK" => Status::Ok,
        b"NO" => Status::No,
        b"BAD" => Status::Bad,
        b"BYE" => Status::Bye,
        b"PREAUTH" => Status::Preauth,
        _ => return None,
    })
}

/// Reads `[CODE …] text`; all of it may be missing.
pub(super) fn saying(status: Status, rest: &[u8]) -> Saying {
    let rest = rest.trim_ascii();
    let coded = rest.strip_prefix(b"[").and_then(|inner| {
        let end = code_end(inner)?;
        let (name, arguments) = match inner[..end].iter().position(|&b| b == b' ') {
            Some(space) => (&inner[..space], &inner[space + 1..end]),
            None => (&inner[..end], &b""[..]),
        };
        let code = (printable(name).to_ascii_uppercase(), printable(arguments));
        Some((code, &inner[end + 1..]))
    });
    match coded {
        Some((code, text)) => {
            Saying { status, code: Some(code), text: printable(text.trim_ascii()) }
        }
        None => Saying { status, code: None, text: printable(rest) },
    }
}

/// Where the bracket closes: outside quotes and parentheses, or, failing that, first of all.
fn code_end(inner: &[u8]) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, &b) in inner.iter().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b']' if depth == 0 => return Some(at),
            _ => {}
        }
    }
    inner.iter().position(|&b| b == b']')
}

/// Text for people and logs: lossy, and no control character may write on a terminal.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
