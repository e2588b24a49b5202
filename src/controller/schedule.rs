//! When a pass is due: cron expressions and intervals, windows, jitter. Pure; time is an argument.
//!
//! This is the truth about time. The cron crate that ticks in [`super::clock`] only reminds.

use std::str::FromStr;
use std::time::Duration;

use chrono::{
    DateTime, Datelike, Days, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Timelike, Utc,
};
use chrono_tz::Tz;
use croner::{Cron, JobType};

use crate::definition::{Schedule, SyncRules, Window};

/// The widest spread of passes that fall due together.
const MAX_JITTER: Duration = Duration::from_secs(60);

/// Longer than clocks are ever put back.
const CLOCK_CHANGE: TimeDelta = TimeDelta::hours(3);

/// When the next pass is due by the schedule alone, windows apart. In the past if passes were
/// missed (the daemon was down): due now, once. `None` if the schedule never comes again.
///
/// A cron time is spread over the mailboxes by up to a tenth of the interval, at most a minute;
/// `name` decides where in it this mailbox stands, always in the same place. An interval needs
/// no spread: it counts from when the last pass began, and passes begin when there is room.
pub fn next_due(
    rules: &SyncRules,
    name: &str,
    last_began: Option<DateTime<Utc>>,
) -> Option<DateTime<Utc>> {
    let Some(last) = last_began else { return Some(DateTime::UNIX_EPOCH) };
    match &rules.schedule {
        Schedule::Every(interval) => last.checked_add_signed(TimeDelta::from_std(*interval).ok()?),
        Schedule::Cron(expression) => {
            let cron = Cron::from_str(expression).ok()?;
            let due = occurrence_after(&cron, rules.timezone, last)?;
            let spread = occurrence_after(&cron, rules.timezone, due)
                .and_then(|next| (next - due).to_std().ok())
                .map_or(MAX_JITTER, |interval| (interval / 10).min(MAX_JITTER));
            let spread = spread.mul_f64(fraction(name));
            Some(due + TimeDelta::from_std(spread).ok()?)
        }
    }
}

/// May a pass run now?
pub fn may_run(rules: &SyncRules, now: DateTime<Utc>) -> bool {
    let local = now.with_timezone(&rules.timezone);
    let minute = u16::try_from(local.hour() * 60 + local.minute()).unwrap_or(0);
    let today = day_number(local.weekday());
    let yesterday = (today + 6) % 7;
    rules.windows.is_empty()
        || rules.windows.iter().any(|window| {
            let opened = |day| window.days.contains(&day);
            if over_midnight(window) {
                (opened(today) && minute >= window.from)
                    || (opened(yesterday) && minute < window.to)
            } else {
                opened(today) && (window.from..window.to).contains(&minute)
            }
        })
}

/// The first moment from `now` on at which a pass may run; `None` if no window ever opens.
pub fn next_window(rules: &SyncRules, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if may_run(rules, now) {
        return Some(now);
    }
    edges(rules, now, |window| window.from).into_iter().find(|edge| may_run(rules, *edge))
}

/// The first moment after `now` at which a pass may not run any more; `None` if it always may.
pub fn window_closes(rules: &SyncRules, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if !may_run(rules, now) {
        return Some(now);
    }
    edges(rules, now, |window| window.to).into_iter().find(|edge| !may_run(rules, *edge))
}

/// The next moment after `last` that the expression names in the zone.
///
/// croner searches on the clock's face. In the hour that comes twice it therefore answers with
/// the first of two moments even if that has passed, and steps from 02:45 to 03:00 over the whole
/// repeated hour. An expression with wildcards runs through both hours, one with fixed times runs
/// in the first alone (as Vixie's cron does).
fn occurrence_after(cron: &Cron, zone: Tz, last: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let mut found = cron.find_next_occurrence(&last.with_timezone(&zone), false).ok()?;
    while found <= last {
        found = cron.find_next_occurrence(&found, false).ok()?;
    }
    let found = found.with_timezone(&Utc);
    let offset = |moment: DateTime<Utc>| moment.with_timezone(&zone).offset().fix();
    let after = offset(last + CLOCK_CHANGE);
    if after == offset(last - CLOCK_CHANGE) || cron.determine_job_type() == JobType::FixedTime {
        return Some(found);
    }
    // Clocks change about now: look once more as if they had changed already.
    let changed = cron.find_next_occurrence(&last.with_timezone(&after), false).ok();
    let changed = changed.map(|c| c.with_timezone(&Utc)).filter(|c| offset(*c) == after);
    changed.into_iter().chain([found]).min()
}

/// A place between 0 and 1 that depends on nothing but the name, so that restarts keep it.
pub(super) fn fraction(name: &str) -> f64 {
    // FNV-1a, finished by a multiply-shift: similar names must not end up side by side.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

fn over_midnight(window: &Window) -> bool {
    window.to <= window.from
}

fn day_number(day: chrono::Weekday) -> u8 {
    u8::try_from(day.num_days_from_monday()).unwrap_or(0)
}

/// The moments within the next nine days at which some window has this edge, ascending. Nine, for
/// a weekly window that opened just now comes back on the eighth.
fn edges(
    rules: &SyncRules,
    now: DateTime<Utc>,
    edge: impl Fn(&Window) -> u16,
) -> Vec<DateTime<Utc>> {
    let today = now.with_timezone(&rules.timezone).date_naive();
    let mut edges: Vec<DateTime<Utc>> = (0..=9)
        .filter_map(|n| today.checked_add_days(Days::new(n)))
        .flat_map(|date| rules.windows.iter().map(move |window| (date, window)))
        .flat_map(|(date, window)| {
            let midnight = date.and_time(NaiveTime::MIN);
            instants(rules.timezone, midnight + TimeDelta::minutes(edge(window).into()))
        })
        .filter(|edge| *edge > now)
        .collect();
    edges.sort_unstable();
    edges
}

/// The moments at which clocks in the zone show this: two in the hour that comes twice. In the
/// hour that is left out, the moment at which clocks jump over it.
fn instants(zone: Tz, shown: NaiveDateTime) -> Vec<DateTime<Utc>> {
    // A zone has skipped a whole day before (Samoa, 2011).
    (0..=24 * 60)
        .map(|minutes| zone.from_local_datetime(&(shown + TimeDelta::minutes(minutes))))
        .find(|found| found.earliest().is_some())
        .map(|found| {
            [found.earliest(), found.latest()]
                .into_iter()
                .flatten()
                .map(|moment| moment.with_timezone(&Utc))
                .collect()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BERLIN: Tz = chrono_tz::Europe::Berlin;

    fn cron(expression: &str) -> SyncRules {
        SyncRules {
            schedule: Schedule::Cron(expression.into()),
            timezone: BERLIN,
            windows: vec![],
            concurrency: 4,
        }
    }

    fn windows(windows: &[(&[u8], u16, u16)]) -> SyncRules {
        SyncRules {
            windows: windows
                .iter()
                .map(|(days, from, to)| Window { days: days.to_vec(), from: *from, to: *to })
                .collect(),
            ..cron("* * * * *")
        }
    }

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    /// The next `n` due times, as local time, jitter cut off to the minute.
    fn table(rules: &SyncRules, mut last: DateTime<Utc>, n: usize) -> Vec<String> {
        let mut table = Vec::new();
        for _ in 0..n {
            last = next_due(rules, "a", Some(last)).unwrap();
            table.push(last.with_timezone(&BERLIN).format("%d %H:%M%:z").to_string());
        }
        table
    }

    #[test]
    fn a_mailbox_that_never_ran_is_due() {
        assert!(next_due(&cron("0 0 1 1 *"), "a", None).unwrap() < Utc::now());
    }

    #[test]
    fn cron_runs_at_the_end_of_the_hour_that_is_left_out() {
        // Clocks go from 02:00 to 03:00 on 29 March 2026.
        let days = table(&cron("30 2 * * *"), at("2026-03-27T12:00:00+01:00"), 3);
        assert_eq!(days, ["28 02:30+01:00", "29 03:00+02:00", "30 02:30+02:00"]);
        let quarters = table(&cron("*/15 * * * *"), at("2026-03-29T01:31:00+01:00"), 3);
        assert_eq!(quarters, ["29 01:45+01:00", "29 03:00+02:00", "29 03:15+02:00"]);
    }

    #[test]
    fn cron_runs_once_a_day_and_every_quarter_in_the_hour_that_comes_twice() {
        // Clocks go from 03:00 back to 02:00 on 25 October 2026.
        let days = table(&cron("30 2 * * *"), at("2026-10-24T12:00:00+02:00"), 2);
        assert_eq!(days, ["25 02:30+02:00", "26 02:30+01:00"]);
        let quarters = table(&cron("*/15 * * * *"), at("2026-10-25T02:31:00+02:00"), 4);
        assert_eq!(
            quarters,
            ["25 02:45+02:00", "25 02:00+01:00", "25 02:15+01:00", "25 02:30+01:00"]
        );
    }

    #[test]
    fn no_pass_is_due_in_the_past_and_none_is_left_out_when_clocks_go_back() {
        let mut last = at("2026-10-24T22:00:00Z");
        for _ in 0..300 {
            let due = next_due(&cron("* * * * *"), "", Some(last)).unwrap();
            assert!(due > last && due - last <= TimeDelta::seconds(67), "{last} then {due}");
            last = due;
        }
        // A fixed time that came in the first hour does not come in the second.
        let second = at("2026-10-25T02:10:00+01:00");
        let days = table(&cron("30 2 * * *"), second, 1);
        assert_eq!(days, ["26 02:30+01:00"]);
    }

    #[test]
    fn jitter_spreads_mailboxes_but_never_moves_one() {
        let rules = cron("*/15 * * * *");
        let last = at("2026-06-01T10:01:00Z");
        let due: Vec<_> =
            (0..200).filter_map(|n| next_due(&rules, &format!("user{n}"), Some(last))).collect();
        let quarter = at("2026-06-01T10:15:00Z");
        assert!(due.iter().all(|due| (0..=60).contains(&(*due - quarter).num_seconds())));
        let distinct: std::collections::BTreeSet<_> = due.iter().map(|d| d.timestamp()).collect();
        assert!(distinct.len() > 40, "{} seconds used", distinct.len());
        assert_eq!(next_due(&rules, "user7", Some(last)), Some(due[7]));
    }

    #[test]
    fn jitter_is_at_most_a_tenth_of_the_interval() {
        let rules = cron("* * * * *");
        let last = at("2026-06-01T10:00:30Z");
        let latest = (0..200).filter_map(|n| next_due(&rules, &format!("u{n}"), Some(last))).max();
        assert!(latest.unwrap() <= at("2026-06-01T10:01:06Z"));
    }

    #[test]
    fn an_interval_counts_from_when_the_last_pass_began() {
        let rules = SyncRules { schedule: Schedule::Every(Duration::from_secs(900)), ..cron("") };
        let last = at("2026-06-01T10:01:00Z");
        assert_eq!(next_due(&rules, "a", Some(last)), Some(at("2026-06-01T10:16:00Z")));
    }

    #[test]
    fn a_cron_time_that_never_comes_is_never_due() {
        assert_eq!(next_due(&cron("0 0 30 2 *"), "a", Some(at("2026-06-01T10:00:00Z"))), None);
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_opens_on() {
        // mon-fri 19:00-07:00
        let rules = windows(&[(&[0, 1, 2, 3, 4], 19 * 60, 7 * 60)]);
        for (moment, open) in [
            ("2026-06-05T19:00:00+02:00", true),  // Friday evening
            ("2026-06-06T06:59:00+02:00", true),  // Saturday morning still
            ("2026-06-06T07:00:00+02:00", false), // Saturday
            ("2026-06-08T06:00:00+02:00", false), // Monday morning: Sunday's does not open
            ("2026-06-08T18:59:59+02:00", false),
            ("2026-06-08T19:00:00+02:00", true),
        ] {
            assert_eq!(may_run(&rules, at(moment)), open, "{moment}");
        }
        let saturday = at("2026-06-06T12:00:00+02:00");
        assert_eq!(next_window(&rules, saturday), Some(at("2026-06-08T19:00:00+02:00")));
        let friday = at("2026-06-05T23:00:00+02:00");
        assert_eq!(next_window(&rules, friday), Some(friday));
        assert_eq!(window_closes(&rules, friday), Some(at("2026-06-06T07:00:00+02:00")));
    }

    #[test]
    fn windows_that_touch_are_one() {
        // fri 19:00-24:00, sat-sun
        let rules = windows(&[(&[4], 19 * 60, 1440), (&[5, 6], 0, 1440)]);
        let friday = at("2026-06-05T20:00:00+02:00");
        assert_eq!(window_closes(&rules, friday), Some(at("2026-06-08T00:00:00+02:00")));
    }

    #[test]
    fn without_windows_it_is_always_open() {
        let rules = cron("* * * * *");
        let now = at("2026-06-05T20:00:00Z");
        assert_eq!((next_window(&rules, now), window_closes(&rules, now)), (Some(now), None));
        let all_week = windows(&[(&[0, 1, 2, 3, 4, 5, 6], 0, 1440)]);
        assert_eq!(window_closes(&all_week, now), None);
    }

    #[test]
    fn a_window_that_opens_in_the_hour_left_out_opens_when_clocks_jump() {
        let rules = windows(&[(&[6], 150, 240)]); // sun 02:30-04:00
        let before = at("2026-03-29T01:00:00+01:00");
        assert_eq!(next_window(&rules, before), Some(at("2026-03-29T03:00:00+02:00")));
        // One that lies wholly in that hour does not come that day.
        let rules = windows(&[(&[6], 130, 170)]);
        assert_eq!(next_window(&rules, before), Some(at("2026-04-05T02:10:00+02:00")));
    }

    #[test]
    fn a_window_in_the_hour_that_comes_twice_opens_twice() {
        let rules = windows(&[(&[6], 120, 150)]); // sun 02:00-02:30
        let between = at("2026-10-25T02:40:00+02:00");
        assert_eq!(next_window(&rules, between), Some(at("2026-10-25T02:00:00+01:00")));
    }
}
