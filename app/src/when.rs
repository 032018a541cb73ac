//! Times as people type them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time, on a command line or in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) enum When {
    /// Nanoseconds from a source's origin.
    Media(u64),
    /// Microseconds since the Unix epoch.
    Utc(i64),
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let time = if looks_like_a_date(text) {
            unix_us(text).map(Self::Utc)
        } else {
            media_ns(text).map(Self::Media)
        };
        time.ok_or_else(|| {
            "write media time as `90`, `90.5`, `1:30` or `0:01:30`, and wall-clock time as \
             `2026-05-01`, `2026-05-01T14:30` (UTC) or `2026-05-01T14:30:00+02:00`"
                .to_owned()
        })
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Media(ns) => write!(f, "{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000),
            Self::Utc(us) => f.write_str(&utc_text_precise(*us)),
        }
    }
}

impl TryFrom<String> for When {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<When> for String {
    fn from(when: When) -> Self {
        when.to_string()
    }
}

/// How long ago, as `90s`, `30m`, `2h`, `7d` or `2w`.
pub(crate) fn ago(text: &str) -> Result<Duration, String> {
    let parsed = || {
        let text = text.trim();
        let unit = text.chars().last()?;
        let count: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        let seconds = match unit {
            's' => 1.0,
            'm' => 60.0,
            'h' => 3600.0,
            'd' => 86400.0,
            'w' => 7.0 * 86400.0,
            _ => return None,
        };
        Duration::try_from_secs_f64(count * seconds).ok()
    };
    parsed().ok_or_else(|| "write how long ago as `90s`, `30m`, `2h`, `7d` or `2w`".to_owned())
}

/// Microseconds since the Unix epoch as `2026-05-01T14:30:00Z`.
pub(crate) fn utc_text(unix_us: i64) -> String {
    let seconds = unix_us.div_euclid(1_000_000);
    let (days, of_day) = (seconds.div_euclid(86400), seconds.rem_euclid(86400));
    let (year, month, day) = civil_of(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The same to the microsecond: `2026-05-01T14:30:00.250000Z`.
pub(crate) fn utc_text_precise(unix_us: i64) -> String {
    let whole = utc_text(unix_us);
    format!("{}.{:06}Z", whole.trim_end_matches('Z'), unix_us.rem_euclid(1_000_000))
}

fn looks_like_a_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 10 && bytes[4] == b'-' && bytes[7] == b'-'
}

/// `90`, `90.5`, `1:30`, `0:01:30.5`.
fn media_ns(text: &str) -> Option<u64> {
    let parts: Vec<&str> = text.split(':').collect();
    let (seconds, larger) = parts.split_last()?;
    let digits = |text: &str| {
        (!text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || c == '.')).then_some(())
    };
    digits(seconds)?;
    let mut total: f64 = seconds.parse().ok()?;
    if larger.len() > 2 || (!larger.is_empty() && total >= 60.0) {
        return None;
    }
    for (at, part) in larger.iter().rev().enumerate() {
        digits(part)?;
        let count: u32 = part.parse().ok()?;
        if at == 0 && larger.len() == 2 && count >= 60 {
            return None;
        }
        total += f64::from(count) * if at == 0 { 60.0 } else { 3600.0 };
    }
    // A century: beyond it lies a typing error.
    (total < 3.2e9).then(|| (total * 1e9).round() as u64)
}

/// A date, or a date and time with or without a zone; UTC where none is told.
fn unix_us(text: &str) -> Option<i64> {
    let (date, time) = text.split_at_checked(10)?;
    let mut parts = date.split('-');
    let year = number(parts.next()?, 4)?;
    let month = number(parts.next()?, 2)?;
    let day = number(parts.next()?, 2)?;
    let days = days_of(year, month, day);
    // A day that its month does not have comes back as another.
    if civil_of(days) != (year, month, day) {
        return None;
    }
    let midnight = days * 86_400_000_000;
    let Some(time) = time.strip_prefix(['T', 't', ' ']) else {
        return time.is_empty().then_some(midnight);
    };
    let (time, offset_minutes) = zone(time)?;
    Some(midnight + of_day_us(time)? - offset_minutes * 60_000_000)
}

/// Splits a zone off: `Z`, `+02:00`, `-05:30`, or none.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let Some(at) = time.find(['+', '-']) else { return Some((time, 0)) };
    let (time, offset) = time.split_at(at);
    let (hours, minutes) = offset[1..].split_once(':')?;
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    let sign = if offset.starts_with('-') { -1 } else { 1 };
    (hours < 24 && minutes < 60).then_some((time, sign * (hours * 60 + minutes)))
}

/// `14:30`, `14:30:05`, `14:30:05.25`.
fn of_day_us(time: &str) -> Option<i64> {
    let mut parts = time.split(':');
    let hours = number(parts.next()?, 2)?;
    let minutes = number(parts.next()?, 2)?;
    let micros = match parts.next() {
        None => 0,
        Some(seconds) => {
            let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
            let micros: String = fraction.chars().chain("000000".chars()).take(6).collect();
            let whole = number(whole, 2).filter(|seconds| *seconds < 60)?;
            whole * 1_000_000 + number(&micros, 6)?
        }
    };
    let in_range = hours < 24 && minutes < 60 && parts.next().is_none();
    in_range.then_some((hours * 60 + minutes) * 60_000_000 + micros)
}

/// A number of exactly `digits` digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

/// Days since the Unix epoch of a day of the Gregorian calendar (Howard Hinnant's
/// `days_from_civil`).
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The other way round (`civil_from_days`).
fn civil_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days - era * 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(text: &str) -> Option<f64> {
        match text.parse() {
            Ok(When::Media(ns)) => Some(ns as f64 / 1e9),
            _ => None,
        }
    }

    fn utc(text: &str) -> Option<i64> {
        match text.parse() {
            Ok(When::Utc(us)) => Some(us),
            _ => None,
        }
    }

    #[test]
    fn media_time_is_seconds_or_has_colons() {
        assert_eq!(media("90"), Some(90.0));
        assert_eq!(media("90.5"), Some(90.5));
        assert_eq!(media("1:30"), Some(90.0));
        assert_eq!(media("01:02:03.5"), Some(3723.5));
        for bad in ["", ":", "1:", "-1", "1:60", "1:60:00", "1:2:3:4", "1e9", "abc", "inf", "NaN"] {
            assert_eq!(media(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_are_utc_unless_they_name_a_zone() {
        assert_eq!(utc("1970-01-01"), Some(0));
        assert_eq!(utc("2000-02-29T12:00"), Some(951_825_600_000_000));
        assert_eq!(utc("2026-05-01T14:30:00Z"), utc("2026-05-01 16:30:00+02:00"));
        assert_eq!(utc("2026-05-01T14:30:00.25Z"), utc("2026-05-01T14:30").map(|us| us + 250_000));
        assert_eq!(utc("1969-12-31T23:59:59Z"), Some(-1_000_000));
    }

    #[test]
    fn what_is_written_reads_back_as_the_same_time() {
        for when in [When::Media(90_250_000_000), When::Utc(1_777_000_000_123_456), When::Utc(-1)] {
            assert_eq!(when.to_string().parse(), Ok(when), "{when}");
        }
    }

    #[test]
    fn dates_that_are_none_are_refused() {
        for bad in [
            "2026-02-29",
            "2026-13-01",
            "2026-00-10",
            "2026-05-01T",
            "2026-05-01T25:00",
            "2026-05-01T12:60",
            "2026-05-01T12:00+2",
            "2026-05-01x",
            "2026-05-01T12:00:00:00",
            "2026-05-0ä",
        ] {
            assert!(bad.parse::<When>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_comes_back() {
        for days in (-146_097..146_097).step_by(13) {
            let (year, month, day) = civil_of(days);
            assert_eq!(days_of(year, month, day), days);
            let text = utc_text(days * 86_400_000_000);
            assert_eq!(utc(&text), Some(days * 86_400_000_000), "{text}");
        }
    }

    #[test]
    fn how_long_ago_has_a_unit() {
        assert_eq!(ago("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(ago("1.5d"), Ok(Duration::from_secs(129_600)));
        for bad in ["", "2", "h", "-1h", "2 fortnights", "1e300w", "2ä"] {
            assert!(ago(bad).is_err(), "{bad}");
        }
    }
}
