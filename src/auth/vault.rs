//! Refresh tokens that outlive the process: encrypted with a key by reference, in a store that
//! others provide. What is kept is bound to what it was given for, and says of which token in the
//! definition it is the successor.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{Context, SHA256};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

use super::{SecretError, resolve};
use crate::definition::{Grant, SecretRef};

/// Begins what is written, so that another form can be told from this one.
const FORM: u8 = 1;

/// Keeps the derived key apart from every other use of the secret.
const LABEL: &[u8] = b"drover: refresh tokens, form 1";

/// Shorter keys could be guessed, bytes.
const SHORTEST_KEY: usize = 32;

/// A SHA-256 digest.
pub(super) type Digest = [u8; 32];

/// A future that can be kept in a struct.
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

type Load = dyn Fn(String) -> BoxFuture<Result<Option<Vec<u8>>, String>> + Send + Sync;
type Save = dyn Fn(String, Vec<u8>) -> BoxFuture<Result<(), String>> + Send + Sync;

/// Where small things are kept under a name. Errors are sentences.
#[derive(Clone)]
pub struct Store {
    /// What was kept, if anything.
    pub load: Arc<Load>,
    /// Keeps it; durable when done.
    pub save: Arc<Save>,
}

/// Keeps refresh tokens.
pub struct Vault {
    key: SecretRef,
    store: Store,
}

/// Why a kept token cannot be had, or not be kept; with what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The key cannot be read.
    #[error("`token_key` cannot be read: {0}; {remedy}", remedy = .0.remedy())]
    Key(#[from] SecretError),
    /// The key is too short to protect anything.
    #[error(
        "`token_key` is too short: put {SHORTEST_KEY} characters or more there, such as \
         `openssl rand -base64 32` prints"
    )]
    Short,
    /// It was written with another key, or was changed.
    #[error(
        "what the ledger keeps does not open with `token_key`: put the key back that it was \
         written with, or get a new refresh token with `drover auth login`"
    )]
    Sealed,
    /// The store.
    #[error("{0}")]
    Store(String),
    /// There is no randomness.
    #[error("the operating system gives no random numbers")]
    Random,
}

/// A token that a server gave in place of another.
pub(super) struct Successor {
    /// A digest of the one in the definition.
    pub(super) of: Digest,
    /// The token.
    pub(super) token: SecretString,
}

impl Vault {
    /// Keeps tokens in this store, encrypted with this key.
    pub fn new(key: SecretRef, store: Store) -> Self {
        Self { key, store }
    }

    /// Can it be locked and opened at all? For whoever would rather not use up a token than lose
    /// its successor.
    ///
    /// # Errors
    /// The key's.
    pub async fn prove(&self) -> Result<(), VaultError> {
        self.key().await.map(drop)
    }

    /// What is kept for a grant.
    pub(super) async fn load(&self, grant: &Grant) -> Result<Option<Successor>, VaultError> {
        let name = name(grant);
        let kept = (self.store.load)(name.clone()).await.map_err(VaultError::Store)?;
        // What was forgotten is empty.
        let Some(kept) = kept.filter(|kept| !kept.is_empty()) else { return Ok(None) };
        let key = self.key().await?;
        open(&key, &name, kept).map(Some).ok_or(VaultError::Sealed)
    }

    /// Keeps a token in place of what was kept.
    pub(super) async fn save(&self, grant: &Grant, kept: &Successor) -> Result<(), VaultError> {
        let name = name(grant);
        let sealed = seal(&self.key().await?, &name, kept).ok_or(VaultError::Random)?;
        (self.store.save)(name, sealed).await.map_err(VaultError::Store)
    }

    /// Keeps nothing any more.
    pub(super) async fn forget(&self, grant: &Grant) -> Result<(), VaultError> {
        (self.store.save)(name(grant), Vec::new()).await.map_err(VaultError::Store)
    }

    async fn key(&self) -> Result<LessSafeKey, VaultError> {
        let secret = resolve(&self.key).await?;
        match secret.expose_secret().len() {
            ..SHORTEST_KEY => Err(VaultError::Short),
            _ => derived(secret.expose_secret().as_bytes()).ok_or(VaultError::Sealed),
        }
    }
}

/// The secret is random already; it only has to get the right length (RFC 5869).
fn derived(secret: &[u8]) -> Option<LessSafeKey> {
    let key = Salt::new(HKDF_SHA256, &[]).extract(secret);
    let key = UnboundKey::from(key.expand(&[LABEL], &AES_256_GCM).ok()?);
    Some(LessSafeKey::new(key))
}

/// Under which name a grant's token is kept: the same over restarts, whatever the token is.
fn name(grant: &Grant) -> String {
    let mut context = Context::new(&SHA256);
    let mut add = |part: &[u8]| {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    };
    if let Grant::RefreshToken { client, refresh_token } = grant {
        add(client.token_url.as_str().as_bytes());
        add(client.client_id.as_bytes());
        add(client.scopes.join(" ").as_bytes());
        match refresh_token {
            SecretRef::Env(name) => [b"env", name.as_bytes()].map(&mut add),
            SecretRef::File(path) => [b"file", path.as_os_str().as_encoded_bytes()].map(&mut add),
            SecretRef::Credential(name) => [b"credential", name.as_bytes()].map(&mut add),
            SecretRef::Command(words) => [b"command", words.join("\0").as_bytes()].map(&mut add),
        };
    }
    let digest = context.finish();
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("refresh-token/{hex}")
}

/// Form, nonce, and what is encrypted; the name goes in as associated data, so that one grant's
/// token cannot be put in the place of another's.
fn seal(key: &LessSafeKey, name: &str, kept: &Successor) -> Option<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).ok()?;
    let token = kept.token.expose_secret().as_bytes();
    // Encrypted where it stands.
    let mut text = Zeroizing::new([&kept.of, token].concat());
    let aad = Aad::from(associated(name));
    let nonce_once = Nonce::assume_unique_for_key(nonce);
    let tag = key.seal_in_place_separate_tag(nonce_once, aad, &mut text).ok()?;
    Some([&[FORM], nonce.as_slice(), &text, tag.as_ref()].concat())
}

fn open(key: &LessSafeKey, name: &str, sealed: Vec<u8>) -> Option<Successor> {
    let (form, rest) = sealed.split_first()?;
    let (nonce, text) = rest.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok().filter(|_| *form == FORM)?;
    let mut text = Zeroizing::new(text.to_vec());
    let text = key.open_in_place(nonce, Aad::from(associated(name)), &mut text).ok()?;
    let (of, token) = text.split_first_chunk()?;
    let token = std::str::from_utf8(token).ok()?;
    Some(Successor { of: *of, token: token.into() })
}

fn associated(name: &str) -> Vec<u8> {
    [LABEL, b"\0", name.as_bytes()].concat()
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> LessSafeKey {
        derived(text.as_bytes()).unwrap()
    }

    fn sealed(name: &str) -> Vec<u8> {
        let kept = Successor { of: [7; 32], token: "rotated-4711".into() };
        seal(&key("one key"), name, &kept).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_and_name_and_shows_nothing() {
        let kept = sealed("a");
        assert!(!kept.windows(8).any(|window| window == b"rotated-"));
        let opened = open(&key("one key"), "a", kept).unwrap();
        assert_eq!((opened.of, opened.token.expose_secret()), ([7; 32], "rotated-4711"));
        assert_ne!(sealed("a"), sealed("a"), "a nonce is never used twice");
    }

    #[test]
    fn another_key_another_name_and_every_changed_or_missing_byte_are_noticed() {
        let kept = sealed("a");
        assert!(open(&key("another key"), "a", kept.clone()).is_none());
        assert!(open(&key("one key"), "b", kept.clone()).is_none());
        for at in 0..kept.len() {
            let mut changed = kept.clone();
            changed[at] ^= 1;
            assert!(open(&key("one key"), "a", changed).is_none(), "byte {at}");
            assert!(open(&key("one key"), "a", kept[..at].to_vec()).is_none(), "{at} bytes");
        }
    }
}
