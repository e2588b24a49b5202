//! Something to look at while answers are worked out. Only on a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::human::count;
use crate::telemetry::BARS;

/// A spinner, gone when dropped.
pub(super) struct Waiting {
    what: &'static str,
    bar: ProgressBar,
}

impl Waiting {
    /// Says what is being done.
    pub(super) fn new(what: &'static str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { what, bar: ProgressBar::hidden() };
        }
        let bar = BARS.add(ProgressBar::new_spinner().with_message(what));
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {prefix} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(150));
        Self { what, bar }
    }

    /// Takes what is told: `{done, total}`, or of messages `{messages, messages_total}`.
    pub(super) fn tell(&self, told: &Value) {
        if let (Some(n), Some(total)) = (told["messages"].as_u64(), told["messages_total"].as_u64())
        {
            let messages = format!("{} of {} messages", count(n.min(total)), count(total));
            self.bar.set_message(format!("{}: {messages}", self.what));
        }
        if let (Some(done), Some(total)) = (told["done"].as_u64(), told["total"].as_u64()) {
            self.bar.set_prefix(format!("({done} of {total})"));
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
