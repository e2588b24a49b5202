//! How long to wait after a failure: doubling, with jitter, up to a ceiling.

use std::time::Duration;

/// The rule; the state is the number of failures in a row, which the caller keeps.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// Never longer than this.
    pub ceiling: Duration,
}

impl Backoff {
    /// The wait after `failures` in a row, between half of it and all of it: `jitter` in 0..1
    /// says where, so that six hundred mailboxes do not come back in the same second.
    pub fn delay(&self, failures: u32, jitter: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(20));
        doubled.min(self.ceiling).mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}
