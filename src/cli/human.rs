//! Numbers, sizes and times as people read them. Pure.

use std::time::Duration;

use chrono::{DateTime, Local, Utc};

pub(super) use crate::model::text::tame;

/// `9300` as `9,300`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 message`, `9,300 messages`.
pub(super) fn counted(n: u64, thing: &str) -> String {
    let plural = match thing.strip_suffix('x') {
        _ if n == 1 => thing.to_owned(),
        Some(_) => format!("{thing}es"),
        None => format!("{thing}s"),
    };
    format!("{} {plural}", count(n))
}

/// Bytes as `12.3 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    // From 1023.95 on a value is shown as 1024.0.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.1} {}", UNITS[unit]),
    }
}

/// The two greatest units of a duration: `4 min`, `2 h 5 min`, `3 d 4 h`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |big: u64, big_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big} {big_unit}"),
        small => format!("{big} {big_unit} {small} {small_unit}"),
    };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min"),
        3600..86_400 => pair(hours, "h", minutes % 60, "min"),
        _ => pair(days, "d", hours % 24, "h"),
    }
}

/// Of a pass: with tenths while they matter.
pub(super) fn took(duration: Duration) -> String {
    match duration.as_secs() {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        _ => self::duration(duration),
    }
}

/// `now`, `in 4 min`.
pub(super) fn until(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    match (at - now).to_std() {
        Ok(wait) if wait.as_secs() > 0 => format!("in {}", duration(wait)),
        _ => "now".into(),
    }
}

/// `4 min ago`.
pub(super) fn since(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    match (now - at).to_std() {
        Ok(age) if age.as_secs() > 0 => format!("{} ago", duration(age)),
        _ => "just now".into(),
    }
}

/// In this machine's zone: `2026-12-05 22:00 +01:00`.
pub(super) fn moment(at: DateTime<Utc>) -> String {
    at.with_timezone(&Local).format("%Y-%m-%d %H:%M %:z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(counted(1, "mailbox"), "1 mailbox");
        assert_eq!(counted(2, "mailbox"), "2 mailboxes");
        assert_eq!(counted(1000, "message"), "1,000 messages");
    }

    #[test]
    fn sizes_are_short_at_every_magnitude() {
        let sizes = [0, 1023, 1024, 12_900_000, 1 << 30, (1 << 20) - 1, u64::MAX];
        let texts = ["0 B", "1023 B", "1.0 KiB", "12.3 MiB", "1.0 GiB", "1.0 MiB"];
        assert_eq!(sizes.map(size)[..6], texts);
        assert!(size(u64::MAX).ends_with("TiB"));
    }

    #[test]
    fn durations_show_two_units_at_most() {
        let shown = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!(
            [0, 59, 60, 3599, 3600, 7500, 86_400, 270_000].map(shown),
            ["0 s", "59 s", "1 min", "59 min", "1 h", "2 h 5 min", "1 d", "3 d 3 h"]
        );
        assert_eq!(took(Duration::from_millis(1234)), "1.2 s");
    }

    #[test]
    fn what_is_past_is_due_now() {
        let now = Utc::now();
        assert_eq!(until(now - chrono::TimeDelta::hours(1), now), "now");
        assert_eq!(until(now + chrono::TimeDelta::minutes(4), now), "in 4 min");
        assert_eq!(since(now - chrono::TimeDelta::minutes(4), now), "4 min ago");
    }
}
