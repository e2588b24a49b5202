//! How much a server may say, and how long it may be waited for, without bringing anything.
//!
//! A bound on each single read ends a server that falls silent, not one that sends a byte a
//! minute or repeats `* OK Still here` for ever. A bound on a whole command would end honest
//! work: a search through a large folder takes minutes, a throttled body hours. So a command
//! starts with credit, in time and in bytes of talk; waiting and talk use it up, and what was
//! asked for earns some of it back. Only time in which the *server* is waited for counts.

use std::time::Duration;

/// What one message or folder that was asked for earns back: no honest line about it is longer
/// for long, bytes.
const TALK_EARNED: usize = 512;
/// Each message or folder, and each so many bytes of bodies (either way), earn back one such
/// part of the time. With half an hour of credit: a message a minute, or about 2 KiB a second,
/// goes on for ever; no provider throttles harder than that.
const TIME_PARTS: u32 = 30;
const BYTES_EARN: u64 = 128 * 1024;
/// So many bytes earn time before a message that was asked for must have come of them: no body
/// is larger.
const MAX_CARRIED: u64 = 1024 * 1024 * 1024;

/// What is left of it.
#[derive(Debug)]
pub(super) struct Patience {
    full: Duration,
    full_talk: usize,
    time: Duration,
    talk: usize,
    /// Of bodies, since something last came that was asked for.
    carried: u64,
}

impl Patience {
    /// The time a command may take that brings nothing, and the bytes that may be said meanwhile.
    pub(super) fn new(time: Duration, talk: usize) -> Self {
        Self { full: time, full_talk: talk, time, talk, carried: 0 }
    }

    /// A command is at its end: what comes next starts anew.
    pub(super) fn renew(&mut self) {
        *self = Self::new(self.full, self.full_talk);
    }

    /// A message or folder came that was asked for, for the first time.
    pub(super) fn earn(&mut self) {
        self.earn_time(1);
        self.carried %= BYTES_EARN;
        self.talk = (self.talk + TALK_EARNED).min(self.full_talk);
    }

    /// Bytes of a body came, or were taken.
    pub(super) fn carry(&mut self, bytes: usize) {
        let before = self.carried / BYTES_EARN;
        self.carried = self.carried.saturating_add(bytes as u64);
        if self.carried <= MAX_CARRIED {
            let parts = self.carried / BYTES_EARN - before;
            self.earn_time(u32::try_from(parts).unwrap_or(TIME_PARTS));
        }
    }

    fn earn_time(&mut self, parts: u32) {
        let earned = self.full / TIME_PARTS * parts.min(TIME_PARTS);
        self.time = (self.time + earned).min(self.full);
    }

    /// The server was waited for.
    pub(super) fn wait(&mut self, time: Duration) {
        self.time = self.time.saturating_sub(time);
    }

    /// The server said so many bytes that are no body. False once that is too much.
    pub(super) fn hear(&mut self, bytes: usize) -> bool {
        let left = self.talk.checked_sub(bytes);
        self.talk = left.unwrap_or(0);
        left.is_some()
    }

    /// How long the server may still be waited for.
    pub(super) fn time(&self) -> Duration {
        self.time
    }

    /// How long that was at first.
    pub(super) fn full(&self) -> Duration {
        self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_slow_server_that_brings_messages_is_never_given_up() {
        let mut patience = Patience::new(30 * MINUTE, 1_000_000);
        for _ in 0..10_000 {
            patience.wait(MINUTE);
            assert!(patience.hear(150));
            patience.earn();
        }
        assert_eq!(patience.time(), 30 * MINUTE);
    }

    #[test]
    fn a_throttled_body_of_any_size_is_read_to_its_end() {
        let mut patience = Patience::new(30 * MINUTE, 1_000_000);
        for _ in 0..40_000 {
            patience.wait(Duration::from_secs(10));
            patience.carry(22 * 1024);
        }
        assert!(patience.time() > 29 * MINUTE);
    }

    #[test]
    fn a_body_that_trickles_is_given_up() {
        let mut patience = Patience::new(30 * MINUTE, 1_000_000);
        for _ in 0..30 {
            patience.wait(MINUTE);
            patience.carry(1);
        }
        assert!(patience.time().is_zero());
    }

    #[test]
    fn talk_that_brings_nothing_ends_even_if_it_comes_at_once() {
        let mut patience = Patience::new(30 * MINUTE, 1_000_000);
        assert!((0..1000).all(|_| patience.hear(1000)));
        assert!(!patience.hear(1));
    }
}
