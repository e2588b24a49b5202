//! What makes two messages probably, and what makes them surely, the same.
//!
//! The [`Fingerprint`] is taken over the headers that name a message, normalised so that every
//! platform that keeps headers at all gives the same: `Message-ID`, `Date`, `From`, `Subject`,
//! unfolded, white space collapsed, 8-bit bytes replaced by `X` (Cyrus munges them so).
//! Without any of these headers it is taken over nothing, and everything rests on the content.
//!
//! The content digest is SHA-256 over the whole message, normalised by what servers are known to
//! change: see [`ContentHasher`].

use ring::digest;

use super::Fingerprint;

/// The headers that name a message, as FETCH asks for them.
pub const NAMING_HEADERS: [&str; 4] = ["MESSAGE-ID", "DATE", "FROM", "SUBJECT"];

/// What the header block tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Over the naming headers.
    pub fingerprint: Fingerprint,
    /// The Message-ID without angle brackets, if there is one.
    pub message_id: Option<String>,
}

/// Reads the header block at the start of `message` (up to the first empty line, or all of it).
pub fn of_headers(message: &[u8]) -> Named {
    let mut values: [Option<Vec<u8>>; 4] = Default::default();
    // The naming header that is being read; its continuation lines belong to it.
    let mut open: Option<usize> = None;
    for line in message.split(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        if matches!(line[0], b' ' | b'\t') {
            if let Some(value) = open.and_then(|at| values[at].as_mut()) {
                value.push(b' ');
                value.extend_from_slice(line);
            }
            continue;
        }
        open = None;
        let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
        let name = line[..colon].trim_ascii_end();
        let Some(at) = NAMING_HEADERS.iter().position(|h| h.as_bytes().eq_ignore_ascii_case(name))
        else {
            continue;
        };
        // The first of several counts, its continuation lines included.
        if values[at].is_none() {
            values[at] = Some(line[colon + 1..].to_vec());
            open = Some(at);
        }
    }
    let values = values.map(|v| v.map(|v| normalised(&v)));
    let mut context = digest::Context::new(&digest::SHA256);
    for value in &values {
        match value {
            Some(value) => {
                context.update(&[1]);
                context.update(value);
            }
            None => context.update(&[0]),
        }
        context.update(b"\n");
    }
    let hash = context.finish();
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_ref()[..8]);
    let message_id = values[0].as_ref().map(|v| {
        let text = String::from_utf8_lossy(v);
        text.trim().trim_start_matches('<').trim_end_matches('>').to_owned()
    });
    Named {
        fingerprint: Fingerprint(u64::from_be_bytes(first)),
        message_id: message_id.filter(|id| !id.is_empty()),
    }
}

/// White space collapsed, control and 8-bit bytes replaced.
fn normalised(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    for word in value.split(|b| b.is_ascii_whitespace()).filter(|w| !w.is_empty()) {
        if !out.is_empty() {
            out.push(b' ');
        }
        out.extend(word.iter().map(|&b| if b.is_ascii_graphic() { b } else { b'X' }));
    }
    out
}

/// Takes the content digest of a message that comes in pieces.
///
/// What servers are known to change when they store a message makes no difference to it:
///
/// - bare LF becomes CRLF, bare CR is dropped (Dovecot, Courier): every CR is left out;
/// - a final CRLF is added, or demanded (Courier, Yahoo): trailing line ends are cut;
/// - NUL becomes 0x80 (Dovecot): it is taken for that.
///
/// The same on every platform, so that digests taken years apart or of two servers compare.
pub struct ContentHasher {
    context: digest::Context,
    /// Line ends seen and not yet hashed: trailing ones never are.
    held: u64,
}

impl Default for ContentHasher {
    fn default() -> Self {
        Self { context: digest::Context::new(&digest::SHA256), held: 0 }
    }
}

impl ContentHasher {
    /// The digest of content that is there as a whole.
    pub fn digest(content: &[u8]) -> [u8; 32] {
        let mut hasher = Self::default();
        hasher.update(content);
        hasher.finish()
    }

    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while let Some(&first) = rest.first() {
            match first {
                b'\n' => self.held += 1,
                b'\r' => {}
                0 => {
                    self.settle();
                    self.context.update(&[0x80]);
                }
                _ => {
                    self.settle();
                    let special = |b: &u8| matches!(b, b'\r' | b'\n' | 0);
                    let end = rest.iter().position(special).unwrap_or(rest.len());
                    self.context.update(&rest[..end]);
                    rest = &rest[end..];
                    continue;
                }
            }
            rest = &rest[1..];
        }
    }

    /// The digest.
    pub fn finish(self) -> [u8; 32] {
        let hash = self.context.finish();
        let mut out = [0; 32];
        out.copy_from_slice(hash.as_ref());
        out
    }

    fn settle(&mut self) {
        for _ in 0..std::mem::take(&mut self.held) {
            self.context.update(b"\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(bytes: &[u8]) -> [u8; 32] {
        let mut hasher = ContentHasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    #[test]
    fn what_servers_change_in_storing_makes_no_difference() {
        let stored = digest(b"a: b\r\n\r\ntwo\r\nlines\x80\r\n");
        for sent in [
            &b"a: b\n\ntwo\nlines\x80"[..],
            b"a: b\r\n\r\ntwo\r\nlines\0\r\n",
            b"a: b\r\n\r\ntwo\r\r\nli\rnes\x80\r\n\r\n\r\n",
        ] {
            assert_eq!(digest(sent), stored, "{sent:?}");
        }
    }

    #[test]
    fn anything_else_does() {
        let stored = digest(b"a: b\r\n\r\ntwo\r\nlines");
        for other in [
            &b"a: b\r\n\r\ntwo\r\n\r\nlines"[..],
            b"a: b\r\n\r\ntwo \r\nlines",
            b"a: b\r\n\r\ntwolines",
            b"\r\na: b\r\n\r\ntwo\r\nlines",
        ] {
            assert_ne!(digest(other), stored, "{other:?}");
        }
    }

    #[test]
    fn it_does_not_matter_how_a_message_is_cut_into_pieces() {
        let whole = b"a\r\n\0b\r\r\nc\n\r\n";
        for at in 0..=whole.len() {
            let mut hasher = ContentHasher::default();
            hasher.update(&whole[..at]);
            hasher.update(&whole[at..]);
            assert_eq!(hasher.finish(), digest(whole), "{at}");
        }
    }
}
