//! Access tokens that were asked for, shared by everything that needs them.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::Utc;
use ring::digest;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use url::Url;

use super::endpoint::Endpoint;
use super::expiry::{Ending, Expiry, declared};
use super::grants::{self, Granted, Question};
use super::vault::{Digest, Successor, Vault};
use super::{SecretError, TokenError};
use crate::definition::Grant;

/// A token is not used any more when less than this is left of it; of short ones, a tenth.
const MARGIN: Duration = Duration::from_secs(300);

/// How long a token is taken to be good for if nobody says.
const UNSTATED_LIFE: Duration = Duration::from_secs(600);

/// For so long a failure is everybody's answer who asks with the same secrets: they waited for it
/// in a row.
const FAILURE_KEPT: Duration = Duration::from_secs(10);

/// A mail server's refusal of a token that is younger than this is not of the token's age; of
/// short ones, a tenth.
const YOUNG: Duration = Duration::from_secs(60);

/// An access token.
#[derive(Debug)]
pub struct Token {
    text: SecretString,
    /// Not to be used from here on.
    until: Instant,
    /// Another one would be refused too.
    young_until: Instant,
}

impl Token {
    /// What is sent to the mail server.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }
}

/// All access tokens of the program. Clones are one.
///
/// A token is asked for once, however many need it, and asked for anew before it expires. Grants
/// that are equal share theirs: an application's one token serves a whole tenant.
#[derive(Clone, Default)]
pub struct Tokens {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    slots: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<Slot>>>>,
    endpoints: Mutex<HashMap<Place, Arc<Endpoint>>>,
    /// When what was used ends, as servers and certificates told; of which secrets.
    ends: Mutex<HashMap<Grant, (Digest, Expiry)>>,
    keeping: Keeping,
    /// Whose last refresh token is in memory only.
    unkept: Mutex<HashSet<Grant>>,
    /// It was said that rotated tokens cannot be kept, or are not.
    complained: AtomicBool,
}

/// Where refresh tokens are kept that servers gave in place of others.
#[derive(Default)]
enum Keeping {
    /// In memory, for a program that ends soon.
    #[default]
    Shortly,
    /// In memory, of a daemon: whoever runs it should know.
    InMemory,
    InVault(Vault),
}

/// Where is asked, and what is trusted there.
type Place = (Url, Option<PathBuf>);

/// What is asked with, and in whose name if that matters.
type Key = (Grant, Option<String>);

/// What is known of one key. Whoever asks for a token holds it meanwhile.
#[derive(Default)]
struct Slot {
    token: Option<Arc<Token>>,
    failure: Option<Failure>,
    /// The refresh token that the server gave last. When the operator puts another one in the
    /// place of the one it came from, theirs counts.
    rotated: Option<Successor>,
    /// What the vault has was looked at.
    loaded: bool,
}

struct Failure {
    at: Instant,
    secrets: Digest,
    error: Arc<TokenError>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// For a daemon: what servers give in place of refresh tokens is kept in the vault, if there
    /// is one.
    pub fn kept_in(vault: Option<Vault>) -> Self {
        let keeping = vault.map_or(Keeping::InMemory, Keeping::InVault);
        Self { shared: Arc::new(Shared { keeping, ..Shared::default() }) }
    }

    /// When the first of a grant's credentials ends, as far as anybody has told.
    pub fn expiry(&self, grant: &Grant) -> Option<Expiry> {
        let ends = self.shared.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let told = ends.get(grant).map(|(_, expiry)| *expiry);
        told.into_iter().chain(declared(grant)).min()
    }

    /// Did a server give another refresh token in place of this grant's, which ends with the
    /// program?
    pub fn loses(&self, grant: &Grant) -> bool {
        self.shared.unkept.lock().unwrap_or_else(PoisonError::into_inner).contains(grant)
    }

    /// A token for a mailbox's user.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn token(&self, grant: &Grant, user: &str) -> Result<Arc<Token>, Arc<TokenError>> {
        let token = self.ask(grant, user, None).await?;
        // There is always one unless one was refused.
        token.ok_or_else(|| Arc::new(given_up()))
    }

    /// Another token in place of one that a mail server refused; `None` if that could not help.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub async fn renewed(
        &self,
        grant: &Grant,
        user: &str,
        refused: &Arc<Token>,
    ) -> Result<Option<Arc<Token>>, Arc<TokenError>> {
        self.ask(grant, user, Some(Arc::clone(refused))).await
    }

    async fn ask(
        &self,
        grant: &Grant,
        user: &str,
        refused: Option<Arc<Token>>,
    ) -> Result<Option<Arc<Token>>, Arc<TokenError>> {
        let named = matches!(grant, Grant::ServiceAccount { .. }).then(|| user.to_owned());
        let slot = self.shared.slot((grant.clone(), named));
        let mut slot = slot.lock_owned().await;
        let now = Instant::now();
        if let Some(token) = &slot.token {
            let is_refused = refused.as_ref().is_some_and(|refused| Arc::ptr_eq(refused, token));
            if is_refused && now < token.young_until {
                return Ok(None);
            }
            if !is_refused && now < token.until {
                return Ok(Some(Arc::clone(token)));
            }
        }
        // In a task of its own: were it given up half way, a rotated refresh token would be lost.
        let (shared, grant, user) = (Arc::clone(&self.shared), grant.clone(), user.to_owned());
        let asking = tokio::spawn(async move { slot.renew(&shared, &grant, &user).await });
        asking.await.unwrap_or_else(|_| Err(Arc::new(given_up()))).map(Some)
    }
}

impl Slot {
    async fn renew(
        &mut self,
        shared: &Shared,
        grant: &Grant,
        user: &str,
    ) -> Result<Arc<Token>, Arc<TokenError>> {
        self.token = None;
        let secrets = grants::secrets(grant).await?;
        let digest = digest_of(&secrets);
        self.failure.take_if(|kept| kept.secrets != digest || is_old(kept.at));
        if let Some(kept) = &self.failure {
            return Err(Arc::clone(&kept.error));
        }
        let asked = Instant::now();
        match self.ask(shared, grant, user, secrets).await {
            Ok(granted) => {
                let life = granted.life.unwrap_or(UNSTATED_LIFE);
                let token = Arc::new(Token {
                    text: granted.token,
                    until: asked + life - MARGIN.min(life / 10),
                    young_until: asked + YOUNG.min(life / 10),
                });
                tracing::debug!(user, seconds = life.as_secs(), "got an access token");
                self.token = Some(Arc::clone(&token));
                Ok(token)
            }
            Err(error) => {
                let error = Arc::new(error);
                let failure =
                    Failure { at: Instant::now(), secrets: digest, error: Arc::clone(&error) };
                // Its own pause is measured better.
                self.failure = error.delay().is_none().then_some(failure);
                Err(error)
            }
        }
    }

    /// Asks with these secrets, or with the successor of the refresh token among them.
    async fn ask(
        &mut self,
        shared: &Shared,
        grant: &Grant,
        user: &str,
        mut secrets: Vec<SecretString>,
    ) -> Result<Granted, TokenError> {
        let Grant::RefreshToken { .. } = grant else {
            return shared.ask(grant, user, &secrets).await;
        };
        let own = secrets.pop().unwrap_or_default();
        let of = digest_of(std::slice::from_ref(&own));
        self.rotated.take_if(|rotated| rotated.of != of);
        if self.rotated.is_none() && !self.loaded {
            self.loaded = true;
            self.rotated = shared.kept(grant).await.filter(|kept| kept.of == of);
        }
        let successor = self.rotated.as_ref().map(|rotated| rotated.token.clone());
        let mut used = successor.clone().unwrap_or_else(|| own.clone());
        secrets.push(used.clone());
        let mut answer = shared.ask(grant, user, &secrets).await;
        if successor.is_some() && answer.as_ref().is_err_and(is_dead) {
            // The operator's own may be good still.
            self.rotated = None;
            used = own;
            secrets.pop();
            secrets.push(used.clone());
            answer = shared.ask(grant, user, &secrets).await;
            if answer.is_ok() {
                shared.forget(grant).await;
            }
        }
        if let Ok(granted) = &answer
            && let Some(token) = &granted.refresh_token
            && token.expose_secret() != used.expose_secret()
        {
            let rotated = Successor { of, token: token.clone() };
            shared.keep(grant, &rotated).await;
            self.rotated = Some(rotated);
        }
        answer
    }
}

impl Shared {
    fn slot(&self, key: Key) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(key).or_default())
    }

    fn endpoint(&self, url: &Url, ca_file: Option<&Path>) -> Arc<Endpoint> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (url.clone(), ca_file.map(Path::to_owned));
        let endpoint = endpoints.entry(place).or_insert_with(|| Endpoint::new(url, ca_file).into());
        Arc::clone(endpoint)
    }

    async fn ask(
        &self,
        grant: &Grant,
        user: &str,
        secrets: &[SecretString],
    ) -> Result<Granted, TokenError> {
        let question = Question::new(grant, user, secrets)?;
        let granted = question.ask(&self.endpoint(&question.url, grant.ca_file())).await?;
        let certificate = question.certificate_ends();
        let certificate = certificate.map(|at| Expiry { at, what: Ending::Certificate });
        let refresh_token = granted.refresh_life.and_then(|life| {
            let at = Utc::now().checked_add_signed(chrono::TimeDelta::from_std(life).ok()?)?;
            Some(Expiry { at, what: Ending::RefreshToken })
        });
        self.remember(grant, digest_of(secrets), certificate.or(refresh_token));
        Ok(granted)
    }

    /// Not every answer tells; what was told of the same secrets stays true.
    fn remember(&self, grant: &Grant, of: Digest, told: Option<Expiry>) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        match told {
            Some(expiry) => drop(ends.insert(grant.clone(), (of, expiry))),
            None if ends.get(grant).is_some_and(|(before, _)| *before != of) => {
                ends.remove(grant);
            }
            None => {}
        }
    }

    async fn kept(&self, grant: &Grant) -> Option<Successor> {
        let Keeping::InVault(vault) = &self.keeping else { return None };
        let kept = vault.load(grant).await;
        kept.unwrap_or_else(|error| {
            self.complain(&format!(
                "a rotated refresh token is kept and cannot be used, so the definition's is: {error}"
            ));
            None
        })
    }

    async fn keep(&self, grant: &Grant, rotated: &Successor) {
        let is_kept = match &self.keeping {
            Keeping::Shortly => false,
            Keeping::InMemory => {
                self.complain(
                    "a server gives out a new refresh token each time, and drover keeps it in \
                     memory only: if the server takes the one in the definition only once, a \
                     restart needs a new one; set `token_key` in [auth] of drover's settings to \
                     have them kept",
                );
                false
            }
            Keeping::InVault(vault) => {
                let saved = vault.save(grant, rotated).await;
                if let Err(error) = &saved {
                    let what = "a rotated refresh token is kept in memory only";
                    self.complain(&format!("{what}: {error}"));
                }
                saved.is_ok()
            }
        };
        let mut unkept = self.unkept.lock().unwrap_or_else(PoisonError::into_inner);
        match is_kept {
            true => drop(unkept.remove(grant)),
            false => drop(unkept.insert(grant.clone())),
        }
    }

    async fn forget(&self, grant: &Grant) {
        if let Keeping::InVault(vault) = &self.keeping
            && let Err(error) = vault.forget(grant).await
        {
            self.complain(&format!("a rotated refresh token that is dead stays kept: {error}"));
        }
    }

    /// Once: six hundred mailboxes would say the same.
    fn complain(&self, what: &str) {
        match self.complained.swap(true, Ordering::Relaxed) {
            false => tracing::warn!("{what}"),
            true => tracing::debug!("{what}"),
        }
    }
}

/// Is the refresh token itself refused? Whatever else is wrong, it may be good still.
fn is_dead(error: &TokenError) -> bool {
    matches!(error, TokenError::Refused(denial) if denial.error == "invalid_grant")
}

impl From<SecretError> for Arc<TokenError> {
    fn from(error: SecretError) -> Self {
        Self::new(error.into())
    }
}

fn is_old(at: Instant) -> bool {
    at.elapsed() > FAILURE_KEPT
}

/// Tells secrets apart in the memory of this process.
fn digest_of(secrets: &[SecretString]) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for secret in secrets {
        context.update(&(secret.expose_secret().len() as u64).to_be_bytes());
        context.update(secret.expose_secret().as_bytes());
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// The program is about to end.
fn given_up() -> TokenError {
    TokenError::Unreachable { endpoint: "the token endpoint".into(), cause: "given up".into() }
}
