//! How fast a destination works off what one connection brings.

use std::time::Duration;

use tokio::time::Instant;

use super::Batch;

/// What was worked off without a pause.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the last answer came, if there was more to do then.
    last: Option<Instant>,
    time: Duration,
    done: Amount,
}

/// Messages, and their bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Amount {
    pub(super) fn of(batch: &Batch) -> Self {
        let bytes = batch.parcels.iter().map(|parcel| parcel.message.body.len()).sum();
        Self { messages: batch.parcels.len(), bytes }
    }
}

impl Pace {
    /// So much was answered; is there more that was sent?
    pub(super) fn answered(&mut self, amount: Amount, goes_on: bool) {
        let now = Instant::now();
        // Before the first one the server may have waited for its bytes.
        if let Some(last) = self.last {
            self.time += now - last;
            self.done.messages += amount.messages;
            self.done.bytes += amount.bytes;
        }
        self.last = goes_on.then_some(now);
    }

    /// What is done in this time; `None` while nothing is known.
    pub(super) fn within(&self, time: Duration) -> Option<Amount> {
        if self.time.is_zero() {
            return None;
        }
        let times = time.as_secs_f64() / self.time.as_secs_f64();
        let scaled = |n: usize| (n as f64 * times).round() as usize;
        Some(Amount { messages: scaled(self.done.messages), bytes: scaled(self.done.bytes) })
    }

    /// How long it takes for a batch that is full with so many messages or so many bytes; nothing while
    /// nothing is known.
    pub(super) fn for_batch(&self, full: Amount) -> Duration {
        let share = |full: usize, done: usize| full as f64 / done.max(1) as f64;
        let times =
            share(full.messages, self.done.messages).min(share(full.bytes, self.done.bytes));
        self.time.mul_f64(times)
    }
}

#[cfg(test)]
impl Pace {
    /// So much was done in this time.
    pub(super) fn of(done: Amount, time: Duration) -> Self {
        Self { last: None, time, done }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    async fn answered(pace: &mut Pace, after: Duration, messages: usize, goes_on: bool) {
        tokio::time::advance(after).await;
        pace.answered(Amount { messages, bytes: messages * 1000 }, goes_on);
    }

    #[tokio::test(start_paused = true)]
    async fn the_pace_is_that_of_answers_that_follow_one_another() {
        let mut pace = Pace::default();
        assert_eq!(pace.within(MS), None);
        answered(&mut pace, 500 * MS, 100, true).await;
        assert_eq!(pace.within(MS), None, "nobody knows how long the bytes were under way");
        answered(&mut pace, 100 * MS, 100, true).await;
        answered(&mut pace, 100 * MS, 300, false).await;
        assert_eq!(pace.within(50 * MS), Some(Amount { messages: 100, bytes: 100_000 }));
        assert_eq!(pace.for_batch(Amount { messages: 50, bytes: 1 << 20 }), 25 * MS);
        assert_eq!(pace.for_batch(Amount { messages: 1000, bytes: 100_000 }), 50 * MS);
        // A pause of ours.
        answered(&mut pace, 5000 * MS, 100, true).await;
        assert_eq!(pace.within(50 * MS), Some(Amount { messages: 100, bytes: 100_000 }));
    }
}
