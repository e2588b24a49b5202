//! How many connections something bears: additive increase, multiplicative decrease.
//!
//! The rule is that of TCP's congestion avoidance (RFC 5681, 3.1; Chiu and Jain 1989 show that
//! it comes to a fair and full use when several clients of a server follow it): half of what is in
//! use after trouble, one more for each step of time without. There is no slow start: what the
//! operator wrote is where it begins.

use std::time::Duration;

use tokio::time::Instant;

/// One connection more after so long without trouble. Servers count connections and strikes by
/// the minute and longer; a lane that is opened in vain costs a sign-in.
pub(super) const STEP: Duration = Duration::from_secs(60);

/// What several connections are told within this time is one trouble (as losses within one window
/// are one to TCP, RFC 6582): signing in takes so long.
const ONE_TROUBLE: Duration = Duration::from_secs(10);

/// A number that falls at once and rises with time.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    most: usize,
    /// What it was at `since`; `None`: never cut.
    cut: Option<(usize, Instant)>,
}

impl Limit {
    /// Begins at `most`, and is never more.
    pub(super) const fn new(most: usize) -> Self {
        Self { most, cut: None }
    }

    /// The operator wrote another number.
    pub(super) const fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    /// What it is now; at least 1.
    pub(super) fn now(&self) -> usize {
        let grown = self.cut.map_or(usize::MAX, |(to, at)| {
            let steps = at.elapsed().as_secs() / STEP.as_secs();
            to.saturating_add(usize::try_from(steps).unwrap_or(usize::MAX))
        });
        grown.min(self.most).max(1)
    }

    /// There was trouble with so many in use. False if that is known already.
    pub(super) fn halve(&mut self, in_use: usize) -> bool {
        if self.cut.is_some_and(|(_, at)| at.elapsed() < ONE_TROUBLE) {
            return false;
        }
        // Of what is in use (RFC 5681, equation 4): a limit that nobody reached was not the cause.
        let to = (self.now().min(in_use) / 2).max(1);
        self.cut = Some((to, Instant::now()));
        true
    }

    /// It was cut for nothing: up to this many it made things better.
    pub(super) fn restore(&mut self, to: usize) {
        if to >= self.most {
            self.cut = None;
        } else {
            self.cut = Some((to, Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn trouble_halves_what_is_in_use_and_each_minute_without_gives_one_back() {
        let mut limit = Limit::new(32);
        assert_eq!(limit.now(), 32);
        assert!(limit.halve(8));
        assert_eq!(limit.now(), 4);
        assert!(!limit.halve(8), "the other connections are told the same");
        assert_eq!(limit.now(), 4);
        tokio::time::advance(STEP * 3).await;
        assert_eq!(limit.now(), 7);
        assert!(limit.halve(7));
        assert_eq!(limit.now(), 3);
        tokio::time::advance(STEP * 100).await;
        assert_eq!(limit.now(), 32);
    }

    #[tokio::test(start_paused = true)]
    async fn one_connection_is_always_left() {
        let mut limit = Limit::new(4);
        for _ in 0..5 {
            limit.halve(1);
            tokio::time::advance(ONE_TROUBLE).await;
        }
        assert_eq!(limit.now(), 1);
    }
}
