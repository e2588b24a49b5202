//! What is left of a message on servers that take it apart and put it together anew when it is read
//! (Exchange, Microsoft 365): who wrote what to whom and when, and the content of its parts.

use mail_parser::{Addr, Address, Message, MessageParser, PartType};
use ring::digest;

/// Messages within messages are looked into so deep; what is deeper counts as bytes.
const DEEPEST: usize = 16;

/// The digest of a message under the normalisation `parts-1`.
///
/// Over the Message-ID, the date as a moment, the addresses of From, the subject, decoded; and over
/// the content of each part that holds some, decoded, in any order: text in Unicode without what
/// stands at the ends of lines, everything else byte by byte. Not over other header fields, how
/// parts are nested, separated and encoded, and how they are called.
pub(super) fn digest(message: &[u8]) -> [u8; 32] {
    match MessageParser::default().parse(message) {
        Some(parsed) if !parsed.headers().is_empty() => of(&parsed, 0),
        // No header at all.
        _ => sum(&[b"bytes", message]),
    }
}

fn of(message: &Message<'_>, depth: usize) -> [u8; 32] {
    let date = message.date().map(|date| date.to_timestamp().to_string()).unwrap_or_default();
    let mut parts: Vec<[u8; 32]> = Vec::new();
    for part in &message.parts {
        parts.push(match &part.body {
            PartType::Text(text) | PartType::Html(text) => sum(&[b"text", lines(text).as_bytes()]),
            PartType::Binary(bytes) | PartType::InlineBinary(bytes) => sum(&[b"bytes", bytes]),
            PartType::Message(inner) if depth < DEEPEST => of(inner, depth + 1),
            PartType::Message(inner) => sum(&[b"bytes", inner.raw_message()]),
            PartType::Multipart(_) => continue,
        });
    }
    parts.sort_unstable();
    sum(&[
        message.message_id().unwrap_or_default().trim().as_bytes(),
        date.as_bytes(),
        senders(message.from()).as_bytes(),
        words(message.subject().unwrap_or_default()).as_bytes(),
        parts.as_flattened(),
    ])
}

/// The addresses alone: names are written in many ways.
fn senders(from: Option<&Address<'_>>) -> String {
    let address = |a: &Addr<'_>| a.address.as_deref().unwrap_or_default().to_lowercase();
    let addresses: Vec<String> = from.into_iter().flat_map(Address::iter).map(address).collect();
    addresses.join(",")
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Without white space at the ends of lines, and without empty lines at the end of all.
fn lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_end().to_owned()
}

/// Over all fields, each with its length before it.
fn sum(fields: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for field in fields {
        context.update(&(field.len() as u64).to_be_bytes());
        context.update(field);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "Message-ID: <a@b.example>\r\nDate: Thu, 1 Jan 2026 10:00:00 +0100\r\n\
        From: =?utf-8?Q?J=C3=BCrgen?= <Bo@A.example>\r\nSubject: =?utf-8?Q?Gr=C3=B6=C3=9Fe?= of\r\n it\r\n\
        MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n\
        --x\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\
        Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe \r\n\r\n\
        --x\r\nContent-Type: application/pdf; name=a.pdf\r\n\
        Content-Transfer-Encoding: base64\r\n\r\nAAEC/w==\r\n--x--\r\n";

    #[test]
    fn a_message_that_was_put_together_anew_is_the_same() {
        let anew = "Received: from somewhere\r\nFrom: \"J\u{fc}rgen\" <bo@a.example>\r\n\
            Subject: =?iso-8859-1?B?R3L232U=?= of it\r\nDate: Thu, 1 Jan 2026 09:00:00 +0000\r\n\
            Message-ID: <a@b.example>\r\nContent-Type: multipart/mixed; boundary=\"_other\"\r\n\
            MIME-Version: 1.0\r\n\r\n--_other\r\n\
            Content-Type: multipart/alternative; boundary=\"in\"\r\n\r\n--in\r\n\
            Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n\
            R3LDvMOfZQ==\r\n--in--\r\n--_other\r\n\
            Content-Type: application/pdf; name=\"b.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n\
            AAEC\r\n/w==\r\n--_other--\r\n";
        assert_eq!(digest(SENT.as_bytes()), digest(anew.as_bytes()));
    }

    #[test]
    fn anything_that_people_would_miss_makes_another() {
        for (from, to) in [
            ("<a@b", "<b@b"),
            ("10:00:00", "10:00:01"),
            ("Bo@A", "Bob@A"),
            ("=C3=9Fe?= of", "=C3=9Fe?= if"),
            ("Gr=FC=DFe", "Gr=FC=DFe!"),
            ("AAEC/w==", "AAEC/g=="),
            (
                "application/pdf; name=a.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC/w==\r\n--x",
                "x/y\r\n\r\n--x",
            ),
        ] {
            assert!(SENT.contains(from), "{from}");
            assert_ne!(
                digest(SENT.as_bytes()),
                digest(SENT.replace(from, to).as_bytes()),
                "{from}"
            );
        }
    }

    #[test]
    fn a_message_within_a_message_is_looked_into() {
        let outer = |inner: &str| {
            format!(
                "Subject: fw\r\nContent-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\n\
                 Content-Type: message/rfc822\r\n\r\n{inner}\r\n--q--\r\n"
            )
        };
        let more = format!("X-Kept-By: nobody\r\n{SENT}");
        assert_eq!(digest(outer(SENT).as_bytes()), digest(outer(&more).as_bytes()));
        let other = SENT.replace("AAEC/w==", "AAEC/g==");
        assert_ne!(digest(outer(SENT).as_bytes()), digest(outer(&other).as_bytes()));
    }

    #[test]
    fn bytes_that_are_no_mail_have_a_digest_too() {
        for bytes in [
            &b""[..],
            b"\r\n\r\n",
            b"\xff\xfe\0",
            b"Content-Type: multipart/x; boundary=\r\n\r\n--",
        ] {
            assert_eq!(digest(bytes), digest(bytes));
        }
        assert_ne!(digest(b"a: b\r\n\r\none"), digest(b"a: b\r\n\r\ntwo"));
        assert_ne!(digest(b"\r\n\r\none"), digest(b"\r\n\r\ntwo"));
    }
}
