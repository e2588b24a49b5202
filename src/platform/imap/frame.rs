//! Where a response ends: lines, and the literals they announce (RFC 9051, 4.3; RFC 7888).

use bytes::{Buf, Bytes};

/// A line without its end, and the size of the literal it announces. `None` for a line that
/// holds nothing where a response should start: some servers send empty lines there, and some
/// NUL bytes before the response.
pub(super) fn framed(mut line: Bytes, first: bool) -> Option<(Bytes, Option<u64>)> {
    let mut end = line.len();
    if line.ends_with(b"\n") {
        end -= 1;
        if line[..end].ends_with(b"\r") {
            end -= 1;
        }
    }
    line.truncate(end);
    if first {
        line.advance(line.iter().take_while(|&&b| b == 0).count());
        if line.is_empty() {
            return None;
        }
        if !may_announce(&line) {
            return Some((line, None));
        }
    }
    let Some((text, size)) = announcement(&line) else { return Some((line, None)) };
    line.truncate(text);
    Some((line, Some(size)))
}

/// True for untagged data. Status lines end in free text, which may look like an announcement.
fn may_announce(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"* ") else { return false };
    let word = rest.split(|&b| b == b' ').next().unwrap_or_default();
    !["OK", "NO", "BAD", "BYE", "PREAUTH"].iter().any(|s| s.as_bytes().eq_ignore_ascii_case(word))
}

/// Where the announcement at the end of a line starts, and the size it announces.
fn announcement(line: &[u8]) -> Option<(usize, u64)> {
    let inner = line.strip_suffix(b"}")?;
    let inner = inner.strip_suffix(b"+").unwrap_or(inner);
    let open = inner.iter().rposition(|b| !b.is_ascii_digit())?;
    if inner[open] != b'{' {
        return None;
    }
    let digits =
        std::str::from_utf8(&inner[open + 1..]).ok().filter(|digits| !digits.is_empty())?;
    // What does not fit is an announcement too, of more than anybody takes.
    let size = digits.parse().unwrap_or(u64::MAX);
    let start = if open > 0 && line[open - 1] == b'~' { open - 1 } else { open };
    Some((start, size))
}

/// Does what follows belong to a message body?
pub(super) fn ends_in_body(text: &[u8]) -> bool {
    let text = text.trim_ascii_end();
    ["BODY[]", " RFC822", "(RFC822"].iter().any(|item| {
        text.len()
            .checked_sub(item.len())
            .is_some_and(|at| text[at..].eq_ignore_ascii_case(item.as_bytes()))
    })
}

/// True for lines that may name every message of a folder.
pub(super) fn names_messages(line: &[u8]) -> bool {
    ["* SEARCH ", "* ESEARCH ", "* VANISHED ", "* SORT "]
        .iter()
        .any(|p| line.get(..p.len()).is_some_and(|l| l.eq_ignore_ascii_case(p.as_bytes())))
}
