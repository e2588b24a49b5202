//! What `fuzz/` asserts of every parser of bytes from outside. Not part of the interface: it is
//! there only where the fuzzer, or a test, is built.

/// The ledger's pages: what can be read can be written, and reads the same.
pub use crate::ledger::fuzzing::pages;
/// IMAP, as servers speak it.
pub use crate::platform::imap::fuzzing::{commands, names, responses, sayings, sets};

use std::io::BufReader;
use std::path::Path;

use crate::control::{Reply, Request};
use crate::definition::{self, load_text, render_all};
use crate::model::Normalisation;
use crate::model::fingerprint::{ContentHasher, of_headers};
use crate::sync::verify::manifest;

/// A definition is understood or refused in words, and its text never reaches a terminal raw.
pub fn definition(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match load_text("fuzz", text, Path::new("/nonexistent")) {
        Ok(loaded) => {
            let _ = render_all(&loaded.warnings, false);
        }
        Err(rejected) => {
            assert!(rejected.diagnostics.iter().any(definition::Diagnostic::is_error));
            assert!(!render_all(&rejected.diagnostics, false).is_empty());
        }
    }
}

/// The same of a roster.
pub fn roster(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    definition::fuzzing::roster(text);
}

/// Content is the same however it arrives and whatever its line ends; headers too.
pub fn fingerprint(data: &[u8]) {
    let [seed, bytes @ ..] = data else { return };
    let digest = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut hasher = ContentHasher::default();
        pieces.for_each(|piece| hasher.update(piece));
        hasher.finish()
    };
    let whole = digest(&mut std::iter::once(bytes));
    assert_eq!(digest(&mut bytes.chunks(usize::from(seed % 16) + 1)), whole);
    let lines = bytes.split(|&b| b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l));
    let unified = lines.collect::<Vec<_>>().join(&b'\n');
    // A CR that stands alone is content, except where unifying makes it the end of a line.
    if !unified.contains(&b'\r') {
        let crlf: Vec<u8> = unified.split(|&b| b == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..]);
        assert_eq!(digest(&mut std::iter::once(&crlf[..])), whole);
        assert_eq!(digest(&mut std::iter::once(&[&crlf[..], b"\r\n\r\n"].concat()[..])), whole);
        assert_eq!(of_headers(&crlf), of_headers(bytes));
    }
    let parts = |message: &[u8]| Normalisation::Parts.digest(message);
    assert_eq!(parts(bytes), parts(bytes));
    if let Some(id) = of_headers(bytes).message_id {
        assert!(!id.is_empty() && !id.contains(char::is_control));
    }
}

/// A line of the control socket is a request or none, and a request is written as it is read.
pub fn control(data: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(data) {
        let line = serde_json::to_vec(&request).expect("a request is JSON");
        assert!(!line.contains(&b'\n'));
        assert_eq!(serde_json::from_slice::<Request>(&line).expect("as it was written"), request);
    }
    if let Ok(reply) = serde_json::from_slice::<Reply>(data) {
        let line = serde_json::to_vec(&reply).expect("a reply is JSON");
        assert!(!line.contains(&b'\n'));
        assert!(serde_json::from_slice::<Reply>(&line).is_ok());
    }
}

/// A manifest is read or refused, the same however it arrives, also one whose end is right.
pub fn manifest(data: &[u8]) {
    let read = |bytes: &[u8], piece: usize| {
        manifest::check(BufReader::with_capacity(piece, bytes))
            .map(|sections| sections.iter().map(|s| s.folders.len()).sum::<usize>())
    };
    let lines = |start: &[u8]| {
        data.split_inclusive(|&b| b == b'\n').filter(|line| line.starts_with(start)).count()
    };
    let digest = ring::digest::digest(&ring::digest::SHA256, data);
    let sha256: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let (folders, messages) = (lines(b"{\"total\""), lines(b"{\"folder\""));
    let end =
        format!("{{\"sha256\":\"{sha256}\",\"folders\":{folders},\"messages\":{messages}}}\n");
    for bytes in [data, &[data, end.as_bytes()].concat()] {
        assert_eq!(read(bytes, 1), read(bytes, 8192));
    }
}

/// Runs a check over the committed inputs of a target.
#[cfg(test)]
pub(crate) fn each_of_corpus(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut n = 0;
    for entry in std::fs::read_dir(&directory).expect("a corpus") {
        check(&std::fs::read(entry.expect("an entry").path()).expect("an input"));
        n += 1;
    }
    assert!(n > 0, "{} is empty", directory.display());
}

#[cfg(test)]
#[test]
fn the_corpus_holds() {
    for (target, check) in [
        ("definition", definition as fn(&[u8])),
        ("roster", roster),
        ("fingerprint", fingerprint),
        ("control", control),
        ("pages", pages),
        ("manifest", self::manifest),
    ] {
        each_of_corpus(target, check);
    }
}
