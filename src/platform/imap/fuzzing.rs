//! What must hold of every byte a server can send: what `fuzz/` asserts, and a test asserts of
//! its corpus.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::append::expanded;
use super::command::set_parts;
use super::names::{decode, encode};
use super::reply::{ranges, read};
use super::saying::{Status, saying, status};
use super::sayings::{Class, During, Sayings};
use super::wire::{Bodies, Wire};
use crate::flow::Memory;
use crate::model::{FolderName, FolderPath, IdSet, ItemId};
use crate::platform::{Naming, Options};

/// A server that says so much at a time, and then no more.
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    /// Sizes of the pieces, over and over.
    sizes: Vec<usize>,
    n: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let size = self.sizes[self.n % self.sizes.len()].max(1);
        let end = self.bytes.len().min(self.at + size.min(buf.remaining()));
        buf.put_slice(&self.bytes[self.at..end]);
        (self.at, self.n) = (end, self.n + 1);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pieces {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Everything that is read from these bytes, and how it ended.
fn heard(bytes: &[u8], sizes: Vec<usize>, bodies: u8) -> Vec<String> {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    }
    let pieces = Pieces { bytes: bytes.to_vec(), at: 0, sizes, n: 0 };
    let mut wire = Wire::new(Box::new(pieces), "fuzz", &Options::default());
    let memory = Memory::new(1 << 20);
    let mut heard = Vec::new();
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            loop {
                let bodies = match bodies % 3 {
                    0 => Bodies::None,
                    1 => Bodies::Keep(&memory),
                    _ => Bodies::Digest,
                };
                match wire.response(bodies).await {
                    Ok(response) => heard.push(format!("{:?}", read(response))),
                    Err(error) => {
                        heard.push(error.to_string());
                        return;
                    }
                }
            }
        });
    });
    heard
}

/// Responses end, whatever they are made of, and are the same however the bytes arrive. The first
/// two bytes choose what becomes of bodies, and the pieces.
pub fn responses(data: &[u8]) {
    let [bodies, seed, bytes @ ..] = data else { return };
    let whole = heard(bytes, vec![usize::MAX], *bodies);
    let sizes = vec![usize::from(seed % 7) + 1, usize::from(seed / 7) + 1, 1];
    assert_eq!(heard(bytes, sizes, *bodies), whole);
}

/// Folder names are read in any form, and what was read is written so that it reads the same.
pub fn names(data: &[u8]) {
    // LIST's answer about the root; no folder has no name.
    if data.is_empty() {
        return;
    }
    let text = decode(data).into_owned();
    assert_eq!(decode(encode(&text).as_bytes()), text);
    assert!(encode(&text).is_ascii());
    for (prefix, separator) in [("", Some('/')), ("INBOX.", Some('.')), ("", None)] {
        let naming = Naming { separator, prefix: prefix.into() };
        let path = naming.path(data, None);
        assert!(!path.segments().is_empty());
        // People see it and write it into definitions.
        assert_eq!(FolderPath::parse(&path.to_string()), path);
        // What was named by us, of segments that fit, is found again under the same path.
        let fits = |segment: &String| {
            !segment.is_empty() && separator.is_none_or(|c| !segment.contains(c))
        };
        if path.segments().iter().all(fits) {
            let name = naming.name(&path);
            assert_eq!(naming.name(&naming.path(&name.0, None)), name);
        }
    }
}

/// Sets are what they are made of, in any order, and never walked further than asked.
pub fn sets(data: &[u8]) {
    let listed: Vec<_> = ranges(data).collect();
    let set = IdSet::of_ranges(listed.iter().cloned());
    let mut slow = IdSet::new();
    for range in listed.iter().take(200) {
        slow.insert_range(ItemId(*range.start()), ItemId(*range.end()));
    }
    assert_eq!(set.intersection(&slow), slow);
    if listed.len() <= 200 {
        assert_eq!(set, slow);
    }
    assert!(set.difference(&set).is_empty());
    assert_eq!(set.is_empty(), set.iter().next().is_none());
    let small = set.intersection(&IdSet::range(ItemId(0), ItemId(u32::MAX.into())));
    let parts = set_parts(&small).join(",");
    assert_eq!(IdSet::of_ranges(ranges(parts.as_bytes())), small);
    let text = String::from_utf8_lossy(data);
    let ids = expanded(&text, 50);
    assert!(ids.len() <= 51);
    let walked: BTreeSet<ItemId> = ids.iter().copied().collect();
    let whole = IdSet::of_ranges(ranges(text.trim().as_bytes()));
    assert!(walked.iter().all(|&id| whole.contains(id)));
}

/// A refusal is understood somehow, its words are harmless, and no server makes us wait for long.
pub fn sayings(data: &[u8]) {
    let (word, rest) = data.split_at(data.iter().position(|&b| b == b' ').unwrap_or(data.len()));
    let Some(status) = status(word) else { return };
    let saying = saying(status, rest);
    assert!(!saying.text.contains(char::is_control));
    for during in [During::SignIn, During::Append, During::Fetch, During::Other] {
        let verdict = Sayings::default().read(&saying, during);
        assert!(verdict.delay.as_secs() <= 24 * 3600, "{:?}", verdict.delay);
        assert!(saying.status == Status::Ok || verdict.class != Class::Nothing);
    }
}

/// A name as a server sent it is its own key: writing it into a command never breaks the line.
pub fn commands(data: &[u8]) {
    use super::command::{Chunk, Command};
    for chunk in Command::new("EXAMINE").folder(&FolderName(data.to_vec())).chunks {
        if let Chunk::Text(text) = chunk {
            assert!(text.iter().all(|b| (0x20..=0x7e).contains(b)));
        }
    }
}

#[cfg(test)]
#[test]
fn the_corpus_holds() {
    for (target, check) in [
        ("responses", responses as fn(&[u8])),
        ("names", names),
        ("names", commands),
        ("sets", sets),
        ("sayings", sayings),
    ] {
        crate::fuzzing::each_of_corpus(target, check);
    }
}
