//! Sign-ins that many mailboxes share. A refused one must not be offered once for each of them: the
//! account would be locked, for everybody. So one goes first, and the others follow its example.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::Error;

/// After a sign-in that was good, others need not wait for each other for so long.
const TRUSTED: Duration = Duration::from_secs(60);
/// A refusal answers for the same secret for so long: until those that were on their way have heard
/// of it, and not so long that an operator who mended something would notice.
const REFUSAL_KEPT: Duration = Duration::from_secs(10);

/// The master users of all servers. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Masters {
    known: Arc<Mutex<HashMap<Login, Arc<tokio::sync::Mutex<State>>>>>,
}

/// Server and user.
type Login = (String, String);

#[derive(Debug, Default)]
enum State {
    #[default]
    Untried,
    Good(Instant),
    Refused {
        at: Instant,
        secret: SecretString,
        host: String,
        text: String,
        remedy: String,
    },
}

/// Leave to sign in.
#[derive(Debug)]
pub struct Turn {
    /// Held while the others wait.
    state: Option<OwnedMutexGuard<State>>,
    secret: SecretString,
}

impl Masters {
    /// Waits until `user` may be tried at `server`, in the name of `whom`.
    ///
    /// # Errors
    /// What the server has just answered to the same secret.
    pub async fn turn(
        &self,
        server: &str,
        user: &str,
        secret: &str,
        whom: &str,
    ) -> Result<Turn, Error> {
        let login = (server.to_owned(), user.to_owned());
        let state = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry(login).or_default())
        };
        let state = state.lock_owned().await;
        let state = match &*state {
            State::Good(at) if at.elapsed() < TRUSTED => None,
            State::Refused { at, secret: before, host, text, remedy }
                if at.elapsed() < REFUSAL_KEPT && before.expose_secret() == secret =>
            {
                return Err(Error::Credentials {
                    host: host.clone(),
                    user: whom.to_owned(),
                    text: text.clone(),
                    remedy: remedy.clone(),
                });
            }
            _ => Some(state),
        };
        Ok(Turn { state, secret: secret.into() })
    }
}

impl Turn {
    /// Tells the others how it ended.
    pub fn ended<T>(self, outcome: &Result<T, Error>) {
        let Some(mut state) = self.state else { return };
        match outcome {
            Ok(_) => *state = State::Good(Instant::now()),
            Err(Error::Credentials { host, text, remedy, .. }) => {
                *state = State::Refused {
                    at: Instant::now(),
                    secret: self.secret,
                    host: host.clone(),
                    text: text.clone(),
                    remedy: remedy.clone(),
                };
            }
            // Says nothing of the secret.
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Result<(), Error> {
        let text = |text: &str| text.to_owned();
        let (host, user) = (text("mail.example"), text("admin"));
        Err(Error::Credentials { host, user, text: text("no"), remedy: text("mend it") })
    }

    /// Twenty sign-ins at once, each of which takes a second and ends like this; how many were tried.
    async fn tried(masters: &Masters, secret: &str, outcome: fn() -> Result<(), Error>) -> usize {
        let tries = (0..20).map(|n| {
            let (masters, secret) = (masters.clone(), secret.to_owned());
            tokio::spawn(async move {
                let whom = format!("user{n}");
                let Ok(turn) = masters.turn("mail.example:993", "admin", &secret, &whom).await
                else {
                    return false;
                };
                tokio::time::sleep(Duration::from_secs(1)).await;
                turn.ended(&outcome());
                true
            })
        });
        let mut n = 0;
        for one in tries.collect::<Vec<_>>() {
            n += usize::from(one.await.expect("no panic"));
        }
        n
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_secret_is_offered_once_and_another_at_once() {
        let masters = Masters::default();
        assert_eq!(tried(&masters, "old", refused).await, 1);
        assert_eq!(tried(&masters, "old", refused).await, 0);
        assert_eq!(tried(&masters, "new", || Ok(())).await, 20);
        tokio::time::sleep(TRUSTED).await;
        assert_eq!(tried(&masters, "new", refused).await, 1);
        tokio::time::sleep(REFUSAL_KEPT).await;
        assert_eq!(tried(&masters, "new", || Ok(())).await, 20);
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_first_good_one_nobody_waits() {
        let began = Instant::now();
        tried(&Masters::default(), "pw", || Ok(())).await;
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
}
