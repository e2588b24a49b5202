//! What of a message has to be equal for two to be the same.

use super::fingerprint::ContentHasher;
use super::parts;

/// How content digests are taken. Digests of two normalisations say nothing of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Normalisation {
    /// Over the whole message, but for what every server may change: [`ContentHasher`].
    #[default]
    Content,
    /// Over naming headers and the decoded parts, for servers that do not keep bytes.
    Parts,
}

impl Normalisation {
    /// Its name, for whoever keeps digests: one that differs in anything gets another.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Content => "content-1",
            Self::Parts => "parts-1",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Content, Self::Parts].into_iter().find(|one| one.name() == name)
    }

    /// The digest of a message that is there as a whole.
    pub fn digest(self, message: &[u8]) -> [u8; 32] {
        match self {
            Self::Content => ContentHasher::digest(message),
            Self::Parts => parts::digest(message),
        }
    }

    /// Takes the digest of a message that comes in pieces.
    pub fn hasher(self) -> Hasher {
        match self {
            Self::Content => Hasher::Content(Box::default()),
            Self::Parts => Hasher::Parts(Vec::new()),
        }
    }
}

/// A digest that is being taken.
#[expect(missing_debug_implementations, reason = "it holds people's mail")]
pub enum Hasher {
    /// In the memory of a piece.
    Content(Box<ContentHasher>),
    /// In the memory of the message: parts are told apart once all of it is there.
    Parts(Vec<u8>),
}

impl Hasher {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        match self {
            Self::Content(hasher) => hasher.update(piece),
            Self::Parts(message) => message.extend_from_slice(piece),
        }
    }

    /// The digest.
    pub fn finish(self) -> [u8; 32] {
        match self {
            Self::Content(hasher) => hasher.finish(),
            Self::Parts(message) => parts::digest(&message),
        }
    }
}
