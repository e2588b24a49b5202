//! Folder names: modified UTF-7 (RFC 3501, 5.1.3), separators, the namespace prefix.
//!
//! The wire form is the key and is never rebuilt from the decoded one: servers send illegal
//! UTF-7 and raw 8-bit, and only their own bytes find such a folder again.

use std::borrow::Cow;

use crate::model::{FolderName, FolderPath};
use crate::platform::Naming;

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

impl Naming {
    /// The name of the folder at `path`, whose segments already fit the server: joined by the
    /// separator below the personal namespace's prefix, in modified UTF-7.
    ///
    /// Where the prefix is the inbox (`INBOX.`), the inbox and what is below it get no second
    /// one. Without a separator there is no hierarchy: segments are joined by a blank then.
    pub fn name(&self, path: &FolderPath) -> FolderName {
        if path.is_inbox() {
            return FolderName(b"INBOX".to_vec());
        }
        let separator = self.separator.unwrap_or(' ').to_string();
        let segments = path.segments();
        let below_inbox = segments.first().is_some_and(|first| is_inbox(first))
            && self.prefix.get(..5).is_some_and(is_inbox);
        let prefix = if below_inbox { "" } else { &self.prefix };
        FolderName(encode(&format!("{prefix}{}", segments.join(&separator))).into_bytes())
    }

    /// The path of a folder as its name stood on the wire.
    pub(super) fn path(&self, name: &[u8], separator: Option<char>) -> FolderPath {
        let separator = separator.or(self.separator);
        let prefix = encode(&self.prefix).into_bytes();
        let own = match name.get(..prefix.len()) {
            Some(start) if start.eq_ignore_ascii_case(&prefix) && name.len() > prefix.len() => {
                &name[prefix.len()..]
            }
            _ => name,
        };
        // A separator never stands within an encoded run, so splitting may come first.
        let split = |b: &u8| separator.is_some_and(|s| u32::from(*b) == u32::from(s));
        let read = |name: &[u8]| -> Vec<String> {
            let segments = name.split(split).filter(|s| !s.is_empty());
            segments.map(|s| decode(s).into_owned()).collect()
        };
        let mut segments = read(own);
        // `INBOX.INBOX` is another folder than the inbox: it keeps the prefix in its path.
        if own.len() < name.len() && segments.first().is_some_and(|s| is_inbox(s)) {
            segments = read(name);
        }
        if segments.is_empty() {
            return FolderPath::new([decode(name).into_owned()]);
        }
        FolderPath::new(segments)
    }
}

/// In any case (RFC 9051, 5.1).
fn is_inbox(segment: &str) -> bool {
    segment.eq_ignore_ascii_case("INBOX")
}

/// Into modified UTF-7.
pub(super) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut run: Vec<u8> = Vec::new();
    for c in text.chars() {
        if (' '..='~').contains(&c) {
            close_run(&mut out, &mut run);
            out.push(c);
            if c == '&' {
                out.push('-');
            }
        } else {
            let mut units = [0; 2];
            run.extend(c.encode_utf16(&mut units).iter().flat_map(|unit| unit.to_be_bytes()));
        }
    }
    close_run(&mut out, &mut run);
    out
}

fn close_run(out: &mut String, run: &mut Vec<u8>) {
    if !run.is_empty() {
        out.push('&');
        out.push_str(base64(run).trim_end_matches('=').replace('/', ",").as_str());
        out.push('-');
        run.clear();
    }
}

/// From modified UTF-7. What is illegal stays as it is, 8-bit bytes are read as UTF-8.
pub(super) fn decode(name: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(name);
    if !text.contains('&') {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        // Up to what cannot belong to a run: looking further for its end would take `n²` time.
        let is_coded = |c: char| c == ',' || c == '+' || c.is_ascii_alphanumeric();
        let end = rest[1..].find(|c| !is_coded(c)).map(|at| at + 1);
        let decoded = end.filter(|&end| rest[end..].starts_with('-')).and_then(|end| {
            let run = &rest[1..end];
            let text = if run.is_empty() { Some("&".into()) } else { decode_run(run) };
            Some((text?, end))
        });
        match decoded {
            Some((text, end)) => {
                out.push_str(&text);
                rest = &rest[end + 1..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out.into()
}

fn decode_run(run: &str) -> Option<String> {
    let mut bits = 0_u32;
    let mut n_bits = 0;
    let mut units = Vec::with_capacity(run.len());
    for b in run.bytes() {
        let b = if b == b',' { b'/' } else { b };
        let value = BASE64.iter().position(|&c| c == b)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        n_bits += 6;
        if n_bits >= 16 {
            n_bits -= 16;
            units.push((bits >> n_bits) as u16);
            bits &= (1 << n_bits) - 1;
        }
    }
    // What is left over must be padding: fewer than six bits, all zero.
    if n_bits >= 6 || bits != 0 || units.is_empty() {
        return None;
    }
    String::from_utf16(&units).ok()
}

/// Standard base64 with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..4 {
            let value = (bits >> (18 - 6 * n) & 63) as usize;
            out.push(if n > chunk.len() { '=' } else { BASE64[value].into() });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn naming(prefix: &str, separator: char) -> Naming {
        Naming { separator: Some(separator), prefix: prefix.into() }
    }

    #[test]
    fn known_names_encode_as_in_the_rfc() {
        for (text, wire) in [
            ("~peter/mail/台北/日本語", "~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
            ("Entwürfe", "Entw&APw-rfe"),
            ("R&D", "R&-D"),
            ("😀", "&2D3eAA-"),
            ("a\tb", "a&AAk-b"),
        ] {
            assert_eq!(encode(text), wire);
            assert_eq!(decode(wire.as_bytes()), text);
        }
    }

    #[test]
    fn illegal_names_stay_readable() {
        for name in ["&", "a&b", "&U,B", "&AGE", "&****-", "&2D0-", "&A-", "x&&-"] {
            assert!(!decode(name.as_bytes()).is_empty(), "{name}");
        }
        assert_eq!(decode("a&b".as_bytes()), "a&b");
        assert_eq!(decode("Entwürfe".as_bytes()), "Entwürfe");
    }

    #[test]
    fn base64_pads() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn the_namespace_prefix_is_no_part_of_a_path() {
        let courier = naming("INBOX.", '.');
        for (wire, path) in [
            ("INBOX", "INBOX"),
            ("inbox", "INBOX"),
            ("INBOX.Sent", "Sent"),
            ("Inbox.A.B", "A/B"),
            ("INBOX.", "INBOX"),
            ("INBOX.INBOX", "INBOX/INBOX"),
            ("INBOX.Inbox.Old", "INBOX/Inbox/Old"),
            ("Public.News", "Public/News"),
        ] {
            assert_eq!(courier.path(wire.as_bytes(), Some('.')).to_string(), path, "{wire}");
        }
        let plain = naming("", '/');
        assert_eq!(plain.path(b"INBOX/Sub", Some('/')).to_string(), "INBOX/Sub");
        assert_eq!(plain.path(b"/odd//name", Some('/')).to_string(), "odd/name");
        assert_eq!(plain.path(b"/", Some('/')).to_string(), "=2F");
    }

    #[test]
    fn names_are_built_below_the_prefix() {
        let courier = naming("INBOX.", '.');
        for (path, wire) in [
            ("INBOX", "INBOX"),
            ("Sent", "INBOX.Sent"),
            ("A/Bü", "INBOX.A.B&APw-"),
            ("INBOX/X", "INBOX.X"),
        ] {
            assert_eq!(courier.name(&FolderPath::parse(path)).0, wire.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn encoding_is_undone(text in any::<String>()) {
            let wire = encode(&text);
            prop_assert!(wire.is_ascii());
            prop_assert_eq!(decode(wire.as_bytes()), text);
        }

        #[test]
        fn decoding_never_panics(name in proptest::collection::vec(any::<u8>(), 0..40)) {
            decode(&name);
            naming("INBOX.", '.').path(&name, None);
        }
    }
}
