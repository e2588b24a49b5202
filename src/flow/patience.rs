//! What servers asked for that outlives the connection on which they did: who is to be left alone
//! until when, and which servers are to be gone easy on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Shared by all connections of the program. Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Patience {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    parked: HashMap<String, Parked>,
    /// Servers that are slow on purpose, until when.
    strained: HashMap<String, Instant>,
}

#[derive(Debug)]
struct Parked {
    until: Instant,
    why: String,
    /// How often in a row.
    times: u32,
}

impl Patience {
    /// Leaves an account alone for so long.
    pub fn park(&self, account: &str, wait: Duration, why: &str) -> Duration {
        self.park_longer(account, wait, wait, why)
    }

    /// The same; a wait that follows on another within `ceiling` is twice as long as that, up to
    /// `ceiling`. How long it is now.
    pub fn park_longer(
        &self,
        account: &str,
        first: Duration,
        ceiling: Duration,
        why: &str,
    ) -> Duration {
        let now = Instant::now();
        let mut state = self.state();
        let before = state.parked.get(account).filter(|parked| parked.until + ceiling > now);
        let left = before.map_or(Duration::ZERO, |parked| parked.until.duration_since(now));
        // Several connections are told the same.
        let times = match before {
            Some(parked) if left.is_zero() => parked.times.saturating_add(1),
            Some(parked) => parked.times,
            None => 0,
        };
        let wait = first.saturating_mul(1 << times.min(20)).min(ceiling).max(left);
        let parked = Parked { until: now + wait, why: why.to_owned(), times };
        state.parked.insert(account.to_owned(), parked);
        wait
    }

    /// How long an account is to be left alone yet, and why.
    pub fn parked(&self, account: &str) -> Option<(Duration, String)> {
        let state = self.state();
        let parked = state.parked.get(account)?;
        let left = parked.until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then(|| (left, parked.why.clone()))
    }

    /// Goes easy on a server for so long: longer waits, and nothing asked ahead.
    pub fn go_easy(&self, server: &str, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.state();
        let known = state.strained.entry(server.to_owned()).or_insert(until);
        *known = until.max(*known);
    }

    /// Is a server to be gone easy on?
    pub fn is_strained(&self, server: &str) -> bool {
        self.state().strained.get(server).is_some_and(|&until| until > Instant::now())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_follows_on_another_doubles_up_to_its_ceiling() {
        let patience = Patience::default();
        let mut waits = Vec::new();
        for _ in 0..7 {
            let wait = patience.park_longer("anna", HOUR, 24 * HOUR, "bandwidth");
            // The other connections of the mailbox are told the same, and it counts once.
            patience.park_longer("anna", HOUR, 24 * HOUR, "bandwidth");
            waits.push(wait.as_secs() / 3600);
            tokio::time::advance(wait).await;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 24, 24]);
        tokio::time::advance(25 * HOUR).await;
        assert_eq!(patience.park_longer("anna", HOUR, 24 * HOUR, ""), HOUR, "long forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_is_parked_alone_and_in_time_let_go() {
        let patience = Patience::default();
        patience.park("anna", HOUR, "slow down");
        assert_eq!(patience.parked("anna"), Some((HOUR, "slow down".into())));
        assert_eq!(patience.parked("bela"), None);
        tokio::time::advance(HOUR).await;
        assert_eq!(patience.parked("anna"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_strained_server_is_gone_easy_on_for_a_while() {
        let patience = Patience::default();
        patience.go_easy("mail", HOUR);
        patience.go_easy("mail", Duration::from_secs(1));
        tokio::time::advance(HOUR / 2).await;
        assert!(patience.is_strained("mail") && !patience.is_strained("other"));
        tokio::time::advance(HOUR / 2).await;
        assert!(!patience.is_strained("mail"));
    }
}
