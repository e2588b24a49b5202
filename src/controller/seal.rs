//! Tells that a secret has changed, without keeping anything that would help to guess it.
//!
//! A mailbox that is blocked by bad credentials is tried once more when its secret changes, also
//! over a restart; so a mark of the secret has to lie in the ledger. It is sixteen bits of a
//! SHA-256 with a name: one in 65 536 changes goes unseen, and whoever steals the ledger is left
//! with one in 65 536 of all passwords that could be.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::walk::Signature;
use crate::definition::{Login, Mailbox, Migration, SecretRef};

/// Marks of files, by path; other kinds of secrets are looked up when asked for.
pub type Seals = BTreeMap<PathBuf, u16>;

/// What a block was seen under: the definition's generation and all secrets. Another value means
/// that an operator did something about it.
pub fn under(migration: &Migration, mailbox: &Mailbox, seals: &Seals) -> String {
    let of_secret = |secret: &SecretRef| match secret {
        SecretRef::Env(name) => std::env::var_os(name)
            .map_or(0, |value| digest(name, std::os::unix::ffi::OsStrExt::as_bytes(&*value))),
        // Its output cannot be known without running it; a changed definition or an explicit
        // `drover sync` tries again.
        SecretRef::Command(_) => 0,
        other => file(other).and_then(|path| seals.get(&path).copied()).unwrap_or(0),
    };
    // Turned before the next is mixed in: two secrets that change places are a change.
    let mark = |login: &Login| {
        let marks = login.secrets().into_iter().map(of_secret);
        marks.fold(0, |all: u16, mark| all.rotate_left(5) ^ mark)
    };
    let (source, destination) = (mark(&mailbox.source.login), mark(&mailbox.destination.login));
    format!("{}.{source:04x}.{destination:04x}", migration.generation.0)
}

/// Seals files, reading each again only when it was touched.
#[derive(Debug, Default)]
pub(super) struct Sealer {
    seen: HashMap<PathBuf, (Option<Signature>, u16)>,
}

impl Sealer {
    /// Marks of all secret files of these migrations.
    pub(super) fn seal<'a>(&mut self, migrations: impl Iterator<Item = &'a Migration>) -> Seals {
        let mut seals = Seals::new();
        for mailbox in migrations.flat_map(|migration| &migration.mailboxes) {
            for login in [&mailbox.source.login, &mailbox.destination.login] {
                for path in login.secrets().into_iter().filter_map(file) {
                    seals.entry(path).or_insert_with_key(|path| self.mark(path));
                }
            }
        }
        self.seen.retain(|path, _| seals.contains_key(path));
        seals
    }

    fn mark(&mut self, path: &Path) -> u16 {
        let signature = Signature::at(path);
        match self.seen.get(path) {
            Some((seen, mark)) if *seen == signature => *mark,
            _ => {
                let content = std::fs::read(path).unwrap_or_default();
                let mark = digest(&path.to_string_lossy(), &content);
                self.seen.insert(path.to_owned(), (signature, mark));
                mark
            }
        }
    }
}

/// The file a secret lies in, if it lies in one.
pub(super) fn file(secret: &SecretRef) -> Option<PathBuf> {
    match secret {
        SecretRef::File(path) => Some(path.clone()),
        SecretRef::Credential(name) => {
            Some(PathBuf::from(std::env::var_os("CREDENTIALS_DIRECTORY")?).join(name))
        }
        SecretRef::Env(_) | SecretRef::Command(_) => None,
    }
}

fn digest(name: &str, secret: &[u8]) -> u16 {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(name.as_bytes());
    context.update(&[0]);
    context.update(secret);
    let digest = context.finish();
    u16::from_be_bytes([digest.as_ref()[0], digest.as_ref()[1]])
}
