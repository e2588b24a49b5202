//! What systemd is told (`Type=notify-reload`, `WatchdogSec=`). Without systemd all of it is
//! nothing. The watchdog is fed from the controller's loop: fed from elsewhere it would prove
//! nothing.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::Instant;
use tracing::debug;

/// Tells systemd how the service stands.
#[derive(Debug)]
pub struct Notifier {
    watchdog: Option<Duration>,
    fed: Instant,
    ready: bool,
    status: String,
}

impl Default for Notifier {
    fn default() -> Self {
        let watchdog = sd_notify::watchdog_enabled();
        Self { watchdog, fed: Instant::now(), ready: false, status: String::new() }
    }
}

/// A reload has begun. [`Notifier::ready`] ends it.
pub fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    // systemd 253 and newer insist on it.
    states.extend(NotifyState::monotonic_usec_now());
    tell(&states);
}

impl Notifier {
    /// The longest time between two calls of [`Notifier::feed`].
    pub(super) fn beat(&self) -> Duration {
        self.watchdog.map_or(Duration::MAX, |every| (every / 4).max(Duration::from_millis(10)))
    }

    /// The service is up, or a reload is done.
    pub(super) fn ready(&mut self, reloaded: bool) {
        if !self.ready || reloaded {
            self.ready = true;
            tell(&[NotifyState::Ready]);
        }
    }

    /// The service goes down.
    pub(super) fn stopping(&self) {
        tell(&[NotifyState::Stopping]);
    }

    /// The loop is alive.
    pub(super) fn feed(&mut self) {
        if self.watchdog.is_some_and(|every| self.fed.elapsed() >= every / 4) {
            self.fed = Instant::now();
            tell(&[NotifyState::Watchdog]);
        }
    }

    /// One line for `systemctl status`.
    pub(super) fn status(&mut self, status: String) {
        if status != self.status {
            tell(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!("systemd could not be told: {error}");
    }
}
