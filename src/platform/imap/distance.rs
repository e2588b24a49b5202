//! How far a server is, as a rough measure of the line to it. Costs nothing: it is measured while
//! signing in.

use std::time::Duration;

/// From here on a server is far. Within a site or a region answers come sooner, and such lines mostly
/// carry more than one processor deflates.
const FAR: Duration = Duration::from_millis(30);

/// The shortest time in which anything was answered. Each answer takes one round trip at least, and
/// some take much longer (a password to be hashed, a name to be looked up): the shortest comes
/// nearest.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Distance(Option<Duration>);

impl Distance {
    /// Something was answered in this time.
    pub(super) fn answered_in(&mut self, time: Duration) {
        self.0 = Some(self.0.map_or(time, |shortest| shortest.min(time)));
    }

    /// False while nothing was answered.
    pub(super) fn is_far(self) -> bool {
        self.round_trip().is_some()
    }

    /// How long a round trip to a far server takes at most; `None` if it is near, for then it is mostly
    /// the server's work that was measured.
    pub(super) fn round_trip(self) -> Option<Duration> {
        self.0.filter(|&shortest| shortest >= FAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_as_near_as_its_quickest_answer() {
        let mut distance = Distance::default();
        assert!(!distance.is_far(), "nothing is known yet");
        distance.answered_in(Duration::from_millis(300));
        distance.answered_in(Duration::from_millis(30));
        assert!(distance.is_far());
        distance.answered_in(Duration::from_millis(29));
        distance.answered_in(Duration::from_millis(300));
        assert!(!distance.is_far());
    }
}
