//! Secrets by reference (law 9): read at the moment of use, held in [`secrecy`] types, never
//! written anywhere. And what some of them are exchanged for: access tokens.
//!
//! `tokens` keeps what `grants` asks an `endpoint` for, with an `assertion` where one is needed, and
//! in the `vault` what must outlive the process; [`login`] asks a user for consent.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::digest;
use secrecy::zeroize::Zeroize;
use secrecy::{ExposeSecret, SecretString};

use crate::definition::SecretRef;

mod answer;
mod assertion;
mod command;
mod endpoint;
mod expiry;
mod grants;
pub mod login;
mod token_error;
mod tokens;
mod vault;

pub use expiry::{Ending, Expiry, expiry, in_days};
pub use token_error::{Denial, TokenError};
pub use tokens::{Token, Tokens};
pub use vault::{Store, Vault, VaultError};

/// A secret command that has not answered by then hangs.
const COMMAND_TIME: Duration = Duration::from_secs(30);

/// No secret is longer than this, in bytes; a file that is was named by mistake.
const LONGEST: u64 = 64 * 1024;

/// Keeps [`digest`] apart from every other SHA-256 over the same secret.
const DIGEST_LABEL: &[u8] = b"drover: has this secret changed?\0";

/// Why a secret could not be read. Never holds any of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment variable is not set or not text.
    #[error("the environment variable {0} is not set")]
    Env(String),
    /// The file could not be read.
    #[error("cannot read the secret file {path}: {cause}")]
    File {
        /// Which.
        path: PathBuf,
        /// The operating system's word.
        cause: std::io::Error,
    },
    /// There is no `$CREDENTIALS_DIRECTORY`, or no such credential in it.
    #[error("there is no systemd credential {0}")]
    Credential(String),
    /// The command failed.
    #[error("the secret command `{program}` failed: {cause}")]
    Command {
        /// Its first word.
        program: String,
        /// Its exit status or the operating system's word; nothing it printed.
        cause: String,
    },
    /// It is empty, not UTF-8, or holds a line break or NUL.
    #[error("the secret from {0} is empty or not one line of text")]
    Unusable(String),
    /// It is empty, not UTF-8, or holds a NUL.
    #[error("what {0} holds is empty or no text")]
    NoText(String),
}

impl SecretError {
    /// What the operator can do about it.
    pub fn remedy(&self) -> String {
        let what = match self {
            Self::Env(name) => {
                format!("set {name} in the environment drover is started with, and restart it")
            }
            Self::File { path, cause } => match cause.kind() {
                std::io::ErrorKind::NotFound => format!("put the secret into {}", path.display()),
                std::io::ErrorKind::PermissionDenied => {
                    format!("let drover's user read {}", path.display())
                }
                _ => format!("make {} a readable file", path.display()),
            },
            Self::Credential(name) => format!(
                "add LoadCredential={name}:PATH or LoadCredentialEncrypted={name}:PATH to drover's \
                 systemd unit, and restart it"
            ),
            Self::Command { program, .. } => format!(
                "run `{program}` as drover's user: it must print the secret within {} seconds, \
                 without asking, and exit with 0",
                COMMAND_TIME.as_secs()
            ),
            Self::Unusable(_) => "the secret must be one line of UTF-8 text".into(),
            Self::NoText(_) => {
                "put the key file or certificate there as it was given to you".into()
            }
        };
        match self {
            Self::Env(_) | Self::Credential(_) => what,
            _ => what + "; drover tries again by itself",
        }
    }
}

/// Reads a secret.
///
/// # Errors
/// See [`SecretError`].
pub async fn resolve(secret: &SecretRef) -> Result<SecretString, SecretError> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    resolve_with(secret, credentials, |name| std::env::var_os(name)).await
}

/// Reads a secret of many lines: a key file, a certificate.
///
/// # Errors
/// See [`SecretError`].
pub(crate) async fn resolve_text(secret: &SecretRef) -> Result<SecretString, SecretError> {
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY");
    let (bytes, from) = read_with(secret, credentials, |name| std::env::var_os(name)).await?;
    match String::from_utf8(bytes) {
        Ok(text) if !text.trim().is_empty() && !text.contains('\0') => Ok(text.into()),
        Ok(mut text) => {
            text.zeroize();
            Err(SecretError::NoText(from))
        }
        Err(error) => {
            error.into_bytes().zeroize();
            Err(SecretError::NoText(from))
        }
    }
}

/// What somebody should look at, although the secret can be read: a file that others can read
/// too.
pub fn warnings(secret: &SecretRef) -> Option<String> {
    let SecretRef::File(path) = secret else { return None };
    readable_by_others(path)
        .then(|| format!("{} can be read by others: chmod 600 it", path.display()))
}

/// A short digest of a secret's present value, the same over restarts, to notice that it was
/// changed. It tells nothing of the secret but that: 64 bits of a labelled SHA-256.
///
/// # Errors
/// See [`SecretError`].
pub async fn digest(secret: &SecretRef) -> Result<String, SecretError> {
    let value = resolve(secret).await?;
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(DIGEST_LABEL);
    context.update(value.expose_secret().as_bytes());
    Ok(context.finish().as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

async fn resolve_with(
    secret: &SecretRef,
    credentials: Option<OsString>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<SecretString, SecretError> {
    let (bytes, from) = read_with(secret, credentials, env).await?;
    one_line(bytes, from)
}

/// The bytes of a secret, and what they came from, for people.
async fn read_with(
    secret: &SecretRef,
    credentials: Option<OsString>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<(Vec<u8>, String), SecretError> {
    match secret {
        SecretRef::Env(name) => {
            let value = env(name).ok_or_else(|| SecretError::Env(name.clone()))?;
            Ok((value.into_encoded_bytes(), format!("the environment variable {name}")))
        }
        SecretRef::File(path) => {
            let bytes = read(path)
                .await
                .map_err(|cause| SecretError::File { path: path.clone(), cause })?;
            Ok((bytes, path.display().to_string()))
        }
        SecretRef::Credential(name) => {
            let missing = || SecretError::Credential(name.clone());
            // The name is a file's name in that directory and nowhere else.
            if !secret.is_plausible() {
                return Err(missing());
            }
            let path = Path::new(&credentials.ok_or_else(missing)?).join(name);
            let bytes = read(&path).await.map_err(|_| missing())?;
            Ok((bytes, format!("the systemd credential {name}")))
        }
        SecretRef::Command(words) => {
            let program = words.first().cloned().unwrap_or_default();
            let bytes = command::output(words, COMMAND_TIME)
                .await
                .map_err(|cause| SecretError::Command { program: program.clone(), cause })?;
            Ok((bytes, format!("the command `{program}`")))
        }
    }
}

async fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let path = path.to_owned();
    let read = move || {
        let mut bytes = Vec::new();
        // Bounded, for somebody may name a device.
        let mut file = std::fs::File::open(path)?.take(LONGEST + 1);
        file.read_to_end(&mut bytes).map(|_| bytes)
    };
    let bytes = tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other)??;
    if bytes.len() as u64 > LONGEST {
        return Err(std::io::Error::other("it is too long for a secret"));
    }
    Ok(bytes)
}

/// One trailing line end is not part of a secret: editors and `echo` write it.
fn one_line(bytes: Vec<u8>, from: String) -> Result<SecretString, SecretError> {
    let mut text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            error.into_bytes().zeroize();
            return Err(SecretError::Unusable(from));
        }
    };
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() || text.contains(['\0', '\r', '\n']) {
        text.zeroize();
        return Err(SecretError::Unusable(from));
    }
    Ok(SecretString::from(text))
}

#[cfg(unix)]
fn readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o044 != 0)
}

#[cfg(not(unix))]
fn readable_by_others(_path: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests;
