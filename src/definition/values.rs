//! How single values are written: durations, sizes, rates, windows, cron, dates.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use croner::parser::{CronParser, Seconds, Year};

use super::document::{Wrong, wrong};
use super::{MaxDelete, Window};

const DURATION_UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

const SIZE_UNITS: [(&str, u64); 10] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// Minutes of a whole day.
const DAY: u16 = 24 * 60;

/// A duration longer than a century is a mistake.
const LONGEST: u64 = 100 * 366 * 86_400_000;

/// `15m`, `1h30m`, `72h`; units ms s m h d w.
pub(crate) fn duration(text: &str) -> Result<Duration, Wrong> {
    let refuse = || {
        wrong(format!("`{text}` is no duration"), "write it as \"90s\", \"15m\", \"72h\" or \"3d\"")
    };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(refuse());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = leading_number(rest).ok_or_else(refuse)?;
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, scale) = DURATION_UNITS.iter().find(|u| u.0 == unit).ok_or_else(refuse)?;
        let part = number.checked_mul(*scale).ok_or_else(refuse)?;
        total = total.checked_add(part).filter(|t| *t <= LONGEST).ok_or_else(refuse)?;
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// `50MiB`, `20 MB`; in bytes.
pub(crate) fn size(text: &str) -> Result<u64, Wrong> {
    bytes(text.trim())
        .ok_or_else(|| wrong(format!("`{text}` is no size"), "write it as \"50MiB\" or \"20MB\""))
}

/// `4MiB/s`; in bytes a second, more than none.
pub(crate) fn rate(text: &str) -> Result<u64, Wrong> {
    let rate = text.trim().strip_suffix("/s").and_then(bytes).filter(|rate| *rate > 0);
    rate.ok_or_else(|| wrong(format!("`{text}` is no rate"), "write it as \"4MiB/s\""))
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = leading_number(text)?;
    let (_, scale) = SIZE_UNITS.iter().find(|u| u.0 == unit.trim_start())?;
    number.checked_mul(*scale)
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// `5%`, `0.5%`.
pub(crate) fn percent(text: &str) -> Result<MaxDelete, Wrong> {
    let digits = text.trim().strip_suffix('%').map(str::trim_end);
    let number = digits
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
        .and_then(|digits| digits.parse().ok())
        .filter(|number| (0.0..=100.0).contains(number));
    number.map(MaxDelete::Percent).ok_or_else(|| {
        let help = "write \"5%\" (of the messages recorded), or a number of messages: 100";
        wrong(format!("`{text}` is no part of a mailbox"), help)
    })
}

/// A cron expression of five fields that comes due at some time.
pub(crate) fn cron(text: &str) -> Result<String, Wrong> {
    let help = "five fields: minute hour day month weekday, as in \"*/15 * * * *\"";
    if text.split_whitespace().count() != 5 {
        return Err(wrong(format!("`{text}` is no cron expression of five fields"), help));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron = parser.parse(text).map_err(|error| {
        let cause = error.to_string();
        wrong(format!("`{text}` is no cron expression: {}", cause.trim_end_matches('.')), help)
    })?;
    // From a fixed day, so that the answer does not depend on when it is asked.
    match cron.find_next_occurrence(&DateTime::<Utc>::UNIX_EPOCH, false) {
        Ok(_) => Ok(text.trim().to_owned()),
        Err(_) => Err(wrong(format!("`{text}` never comes due"), "no such day exists")),
    }
}

/// `mon-fri 19:00-07:00`, `sat-sun`, `mon,wed 10:00-12:00`, `daily 22:00-06:00`.
pub(crate) fn window(text: &str) -> Result<Window, Wrong> {
    let help = "write \"mon-fri 19:00-07:00\", \"sat-sun\" or \"daily 22:00-06:00\"";
    let refuse = |why: String| wrong(format!("`{text}` is no window: {why}"), help);
    let lower = text.trim().to_lowercase();
    let (days, hours) = match lower.split_once(char::is_whitespace) {
        Some((days, hours)) => (days, Some(hours.trim())),
        None => (lower.as_str(), None),
    };
    let days = days_of(days).map_err(refuse)?;
    let Some(hours) = hours else { return Ok(Window { days, from: 0, to: DAY }) };
    let (from, to) = hours
        .split_once('-')
        .and_then(|(from, to)| Some((clock(from.trim())?, clock(to.trim())?)))
        .filter(|(from, _)| *from < DAY)
        .ok_or_else(|| refuse(format!("`{hours}` is no span of time")))?;
    Ok(Window { days, from, to })
}

fn days_of(text: &str) -> Result<Vec<u8>, String> {
    if text == "daily" {
        return Ok((0..7).collect());
    }
    let day = |name: &str| {
        let index = DAYS.iter().position(|day| *day == name);
        index.ok_or_else(|| format!("`{name}` is no day of the week; they are {}", DAYS.join(" ")))
    };
    let mut days = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        // `fri-mon` goes over the end of the week.
        let span = (last + 7 - first) % 7;
        days.extend((0..=span).map(|n| ((first + n) % 7) as u8));
    }
    days.sort_unstable();
    days.dedup();
    Ok(days)
}

/// Minutes after midnight; `24:00` is the end of the day.
fn clock(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |t: &str| (1..=2).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(hours) || !digits(minutes) || minutes.len() != 2 {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let at = hours * 60 + minutes;
    (minutes < 60 && at <= DAY).then_some(at)
}

/// An IANA time zone.
pub(crate) fn timezone(text: &str) -> Result<chrono_tz::Tz, Wrong> {
    text.parse().map_err(|_| {
        let like = |zone: &chrono_tz::Tz| strsim::jaro_winkler(zone.name(), text);
        let best = chrono_tz::TZ_VARIANTS.iter().max_by(|a, b| like(a).total_cmp(&like(b)));
        let help = match best.filter(|zone| like(zone) > 0.85) {
            Some(zone) => format!("did you mean `{}`?", zone.name()),
            None => "write an IANA name such as \"Europe/Berlin\"".into(),
        };
        wrong(format!("`{text}` is no time zone"), help)
    })
}

/// A TOML date without a time.
pub(crate) fn date(value: &toml::value::Datetime) -> Result<NaiveDate, Wrong> {
    let day = match (&value.date, &value.time) {
        (Some(d), None) => NaiveDate::from_ymd_opt(d.year.into(), d.month.into(), d.day.into()),
        _ => None,
    };
    let help = "write a date alone: 2019-01-31";
    day.ok_or_else(|| wrong(format!("`{value}` is no date"), help))
}

/// A TOML date and time with an offset.
pub(crate) fn moment(value: &toml::value::Datetime) -> Result<DateTime<Utc>, Wrong> {
    if value.offset.is_none() {
        let help = "write the offset: 2026-12-05T22:00:00+01:00, or Z for UTC";
        return Err(wrong(format!("`{value}` could be any time zone's"), help));
    }
    DateTime::parse_from_rfc3339(&value.to_string())
        .map(|at| at.to_utc())
        .map_err(|error| wrong(format!("`{value}` is no moment: {error}"), ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_add_up_their_units() {
        let ms = |t| duration(t).map(|d| d.as_millis()).ok();
        assert_eq!(ms("15m"), Some(900_000));
        assert_eq!(ms("1h30m"), Some(5_400_000));
        assert_eq!(ms("500ms"), Some(500));
        for bad in ["", "15", "m", "15 m", "1y", "-5m", "99999999999999999999s", "9999999w", "5m3"]
        {
            assert_eq!(ms(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_know_binary_and_decimal_units() {
        assert_eq!(size("50MiB").ok(), Some(52_428_800));
        assert_eq!(size("20 MB").ok(), Some(20_000_000));
        assert_eq!(size("0B").ok(), Some(0));
        for bad in ["", "50", "MiB", "50M", "1.5MiB", "50mib", "99999999TiB", "50MiB/s"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rate_is_a_size_each_second_and_never_zero() {
        assert_eq!(rate("4MiB/s").ok(), Some(4 << 20));
        for bad in ["4MiB", "0B/s", "/s", "4MiB/h"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_percentage_lies_between_nothing_and_all() {
        assert_eq!(percent("5%").ok(), Some(MaxDelete::Percent(5.0)));
        assert_eq!(percent("0.5 %").ok(), Some(MaxDelete::Percent(0.5)));
        for bad in ["5", "101%", "-1%", "%", "1e1%", "inf%", "1.2.3%"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_window_may_go_past_midnight_and_past_sunday() {
        let of = |text| window(text).ok().map(|w| (w.days, w.from, w.to));
        assert_eq!(of("mon-fri 19:00-07:00"), Some((vec![0, 1, 2, 3, 4], 1140, 420)));
        assert_eq!(of("sat-sun"), Some((vec![5, 6], 0, 1440)));
        assert_eq!(of("Fri-Mon 8:00-24:00"), Some((vec![0, 4, 5, 6], 480, 1440)));
        assert_eq!(of("mon,wed,mon 10:00-12:30"), Some((vec![0, 2], 600, 750)));
        assert_eq!(of("daily 22:00 - 06:00"), Some(((0..7).collect(), 1320, 360)));
        for bad in [
            "",
            "monday",
            "mon 10:00",
            "mon 10-12",
            "mon 24:00-01:00",
            "mon 1:5-2:00",
            "22:00-6:00",
            "mon 12:60-13:00",
            "mon- 10:00-11:00",
            "mon 25:00-26:00",
            "mon +1:00-2:00",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn cron_has_five_fields_and_comes_due() {
        assert_eq!(cron("*/15 * * * *").ok().as_deref(), Some("*/15 * * * *"));
        assert!(cron("0 22 * * MON-FRI").is_ok());
        for bad in
            ["", "* * * *", "0 * * * * *", "61 * * * *", "@hourly", "a b c d e", "0 0 30 2 *"]
        {
            assert!(cron(bad).is_err(), "{bad}");
        }
    }
}
