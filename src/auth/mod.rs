//! Secrets by reference (law 9): read at the moment of use, held in [`secrecy`] types, never
//! written anywhere.

use secrecy::SecretString;

use crate::definition::SecretRef;

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
        path: std::path::PathBuf,
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
}

impl SecretError {
    /// What the operator can do about it.
    pub fn remedy(&self) -> String {
        "provide the secret where the definition points to; drover tries again by itself".into()
    }
}

/// Reads a secret.
///
/// # Errors
/// See [`SecretError`].
pub async fn resolve(secret: &SecretRef) -> Result<SecretString, SecretError> {
    match secret {
        SecretRef::Env(name) => {
            std::env::var(name).map(Into::into).map_err(|_| SecretError::Env(name.clone()))
        }
        SecretRef::File(path) => match tokio::fs::read_to_string(path).await {
            Ok(text) => Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned().into()),
            Err(cause) => Err(SecretError::File { path: path.clone(), cause }),
        },
        _ => Err(SecretError::Env(String::new())),
    }
}
