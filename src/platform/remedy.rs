//! Changes that make a refused message acceptable and lose nothing of its content.

use bytes::Bytes;

use super::Append;
use crate::model::{Flags, SystemFlag};

/// One change. What is compared afterwards unifies line ends, so a changed message still counts
/// as the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The message gets the line end it lacks at its end.
    FinalLineEnd,
    /// Its bare LF become CRLF.
    LineEnds,
    /// It goes without its keywords.
    Keywords,
    /// It goes without its system flags but `\Seen` and `\Draft`.
    Flags,
}

impl Remedy {
    /// Changes the message; what was changed, for people. `None`: there was nothing to change.
    pub fn apply(self, message: &mut Append) -> Option<String> {
        match self {
            Self::FinalLineEnd if message.body.ends_with(b"\n") => None,
            Self::FinalLineEnd => {
                message.body = [&message.body[..], b"\r\n"].concat().into();
                Some("a line end was added at its end".into())
            }
            Self::LineEnds => {
                let (body, n) = with_line_ends(&message.body);
                message.body = body;
                (n > 0).then(|| format!("{n} bare newlines became CRLF"))
            }
            Self::Keywords => {
                let kept = message.flags.retain_keywords(|_| false);
                without(message, kept)
            }
            Self::Flags => {
                let refusable = [SystemFlag::Flagged, SystemFlag::Answered, SystemFlag::Deleted];
                let kept = refusable.into_iter().fold(message.flags.clone(), Flags::without);
                without(message, kept)
            }
        }
    }

    /// What may help where this did not.
    pub const fn next(self) -> Option<Self> {
        match self {
            // Servers call a keyword a flag, too.
            Self::Keywords => Some(Self::Flags),
            Self::Flags => Some(Self::Keywords),
            Self::FinalLineEnd | Self::LineEnds => None,
        }
    }
}

fn without(message: &mut Append, kept: Flags) -> Option<String> {
    let dropped = message.flags.minus(&kept);
    message.flags = kept;
    (!dropped.is_empty()).then(|| format!("{dropped} was left out"))
}

/// With CRLF for each bare LF, and how many there were.
fn with_line_ends(body: &[u8]) -> (Bytes, usize) {
    let is_bare = |at: usize| body[at] == b'\n' && (at == 0 || body[at - 1] != b'\r');
    let bare: Vec<usize> = (0..body.len()).filter(|&at| is_bare(at)).collect();
    let mut changed = Vec::with_capacity(body.len() + bare.len());
    let mut from = 0;
    for &at in &bare {
        changed.extend_from_slice(&body[from..at]);
        changed.push(b'\r');
        from = at;
    }
    changed.extend_from_slice(&body[from..]);
    (changed.into(), bare.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(flags: &[&str], body: &'static [u8]) -> Append {
        Append { flags: Flags::parse(flags.iter().copied()), date: None, body: body.into() }
    }

    #[test]
    fn bare_newlines_become_line_ends_and_no_other_byte_changes() {
        let mut odd = message(&[], b"\na\r\nb\n\nc\rd\r\r\ne");
        assert!(Remedy::LineEnds.apply(&mut odd).is_some_and(|said| said.starts_with("3 ")));
        assert_eq!(&odd.body[..], b"\r\na\r\nb\r\n\r\nc\rd\r\r\ne");
        assert_eq!(Remedy::LineEnds.apply(&mut odd), None);
    }

    #[test]
    fn a_final_line_end_is_added_once() {
        let mut odd = message(&[], b"a");
        assert!(Remedy::FinalLineEnd.apply(&mut odd).is_some());
        assert_eq!(&odd.body[..], b"a\r\n");
        assert_eq!(Remedy::FinalLineEnd.apply(&mut odd), None);
    }

    #[test]
    fn keywords_and_flags_are_left_out_apart() {
        let mut one = message(&["\\Seen", "\\Flagged", "$Work"], b"");
        assert_eq!(Remedy::Keywords.apply(&mut one).as_deref(), Some("$Work was left out"));
        assert_eq!(Remedy::Keywords.apply(&mut one), None);
        assert_eq!(Remedy::Flags.apply(&mut one).as_deref(), Some("\\Flagged was left out"));
        assert_eq!(one.flags.to_string(), "\\Seen");
    }
}
