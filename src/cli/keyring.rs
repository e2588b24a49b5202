//! Whose refresh tokens `drover check --connect` may use: a server may take each only once, and
//! revoke the whole consent if one comes again. So whoever uses one must keep its successor, and
//! nobody else may use it meanwhile.

use super::backend::reach;
use super::connect::Refused;
use super::exit::Failure;
use crate::auth::{Tokens, VaultError};
use crate::config::Config;
use crate::daemon;
use crate::definition::{Account, Grant, Login, Migration};
use crate::ledger::{self, Ledger};

/// What a check signs in with.
#[derive(Default)]
pub(super) struct Keyring {
    /// Every access token that is asked for.
    pub(super) tokens: Tokens,
    /// Held until the end, so that no other drover uses the same refresh tokens.
    ledger: Option<Ledger>,
    barred: Option<Barred>,
}

/// Why refresh tokens are left alone.
enum Barred {
    /// Another drover has them.
    InUse,
    /// A successor could not be kept.
    Vault(VaultError),
}

/// Why an account is not signed in to.
pub(super) enum Bar {
    /// Nothing is known to be wrong.
    Untried(Refused),
    /// Something is.
    Failed(Refused),
}

impl Keyring {
    /// Takes the refresh tokens in hand, if these migrations have any and nobody else has.
    ///
    /// # Errors
    /// Whether another drover has them cannot be found out.
    pub(super) async fn take(config: &Config, migrations: &[&Migration]) -> anyhow::Result<Self> {
        let mailboxes = migrations.iter().flat_map(|migration| &migration.mailboxes);
        let mut accounts = mailboxes.flat_map(|mailbox| [&mailbox.source, &mailbox.destination]);
        if !accounts.any(is_consented) {
            return Ok(Self::default());
        }
        let in_use = || Self { barred: Some(Barred::InUse), ..Self::default() };
        if reach(&config.socket).await?.is_some() {
            return Ok(in_use());
        }
        // No drover has run with these settings, and there is nothing to keep tokens with.
        if config.auth.token_key.is_none() && !config.state.exists() {
            return Ok(Self::default());
        }
        let ledger = match daemon::open(&config.state).await {
            Ok(ledger) => ledger,
            Err(ledger::Error::Locked { .. }) => return Ok(in_use()),
            Err(error) => return Err(Failure::from(daemon::OpenError::from(error)).into()),
        };
        let Some(vault) = daemon::vault(config, &ledger) else {
            return Ok(Self { ledger: Some(ledger), ..Self::default() });
        };
        // On the command line a systemd credential is not to be had, for one.
        let barred = vault.prove().await.err().map(Barred::Vault);
        Ok(Self { tokens: Tokens::kept_in(Some(vault)), ledger: Some(ledger), barred })
    }

    /// Why this account of the migration may not be signed in to; `None` if it may.
    pub(super) fn bars(&self, account: &Account, migration: &str) -> Option<Bar> {
        let barred = self.barred.as_ref().filter(|_| is_consented(account))?;
        Some(match barred {
            Barred::InUse => Bar::Untried(Refused {
                reason: "TokensInUse".into(),
                message: "not tried: a running drover has the account's refresh token, and the \
                          server may take each only once"
                    .into(),
                remedy: format!(
                    "see `drover status {migration}`; to try it here, stop that drover first"
                ),
            }),
            Barred::Vault(error) => Bar::Failed(Refused {
                reason: "SecretUnreadable".into(),
                message: format!(
                    "not tried, because the server may give another refresh token, which could \
                     not be kept: {error}"
                ),
                remedy: format!(
                    "let this command read the key as the daemon does, or start drover and see \
                     `drover status {migration}`"
                ),
            }),
        })
    }

    /// Lets other drovers at the tokens.
    pub(super) async fn put_back(self) {
        if let Some(ledger) = self.ledger {
            daemon::close(ledger).await;
        }
    }
}

fn is_consented(account: &Account) -> bool {
    matches!(account.login, Login::Token(Grant::RefreshToken { .. }))
}
