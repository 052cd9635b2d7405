//! Moments as people write them (ISO 8601), in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;
/// What [`read`] takes.
pub(super) const FORM: &str = "a date such as 2026-11-22, perhaps with a time such as \
                               2026-11-22T12:17:53.87+01:00; without an offset it is UTC";

/// `2026-11-22T12:17:53.870623`, without a zone.
pub(super) fn written(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let (year, month, day) = date_of(seconds.div_euclid(DAY));
    let second = seconds.rem_euclid(DAY);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let micros = since.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}")
}

/// Reads a date with or without a time and an offset.
pub(super) fn read(text: &str) -> Option<SystemTime> {
    let (date, time) = match text.split_once(['T', ' ']) {
        Some((date, time)) => (date, time),
        None => (text, "00:00"),
    };
    let mut date = date.split('-');
    let (year, month) = (number(date.next()?, 4)?, number(date.next()?, 2)?);
    let day = number(date.next()?, 2)?;
    let known = (1970..=9999).contains(&year) && (1..=12).contains(&month);
    if date.next().is_some() || !known || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    let (time, offset) = match time.find(['Z', '+', '-']) {
        Some(at) => (time.get(..at)?, offset(time.get(at..)?)?),
        None => (time, 0),
    };
    let (seconds, nanos) = clock(time)?;
    let seconds = day_number(year, month, day) * DAY + seconds - offset;
    Some(UNIX_EPOCH + Duration::new(u64::try_from(seconds).ok()?, nanos))
}

/// `12:17`, `12:17:53` or `12:17:53.87`: seconds, and nanoseconds.
fn clock(time: &str) -> Option<(i64, u32)> {
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut parts = time.split(':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |second| number(second, 2))?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let digits = fraction.len().min(9);
    let nanos =
        number(fraction.get(..digits)?, digits)? * 10_i64.pow(9 - u32::try_from(digits).ok()?);
    Some((hour * 3600 + minute * 60 + second, u32::try_from(nanos).ok()?))
}

/// `Z`, `+01:00` or `-0130`: seconds.
fn offset(text: &str) -> Option<i64> {
    let sign = match text.get(..1)? {
        "Z" => return (text.len() == 1).then_some(0),
        "-" => -1,
        _ => 1,
    };
    let (hours, minutes) = (text.get(1..3)?, text.get(3..)?);
    let minutes = minutes.strip_prefix(':').unwrap_or(minutes);
    Some(sign * (number(hours, 2)? * 3600 + number(minutes, 2)? * 60))
}

/// So many digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    let all = text.len() == digits && text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|_| all)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from the epoch to a date. Years are taken from March on, so that a leap day ends one; 400
/// of them have 146,097 days.
fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day - 719_468
}

/// The date of a day from the epoch on: year, month, day.
fn date_of(number: i64) -> (i64, i64, i64) {
    let number = number + 719_468;
    let (era, number) = (number.div_euclid(146_097), number.rem_euclid(146_097));
    let year = (number - number / 1460 + number / 36_524 - number / 146_096) / 365;
    let number = number - (365 * year + year / 4 - year / 100);
    let month = (5 * number + 2) / 153;
    let day = number - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64, micros: u32) -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds, micros * 1000)
    }

    #[test]
    fn a_moment_is_written_as_it_is_read() {
        for (moment, text) in [
            (at(0, 0), "1970-01-01T00:00:00.000000"),
            (at(951_782_400, 1), "2000-02-29T00:00:00.000001"),
            (at(1_795_349_873, 870_623), "2026-11-22T12:17:53.870623"),
            (at(4_107_542_399, 999_999), "2100-02-28T23:59:59.999999"),
            (at(4_107_542_400, 0), "2100-03-01T00:00:00.000000"),
        ] {
            assert_eq!(written(moment), text);
            assert_eq!(read(text), Some(moment), "{text}");
        }
        for day in 0..200_000 {
            let (year, month, of_month) = date_of(day);
            assert_eq!(day_number(year, month, of_month), day);
            assert!((1..=days_of(year, month)).contains(&of_month), "{day}");
        }
    }

    #[test]
    fn parts_may_be_left_out_and_offsets_count() {
        let moment = Some(at(1_795_349_820, 0));
        for text in [
            "2026-11-22T12:17",
            "2026-11-22 12:17:00",
            "2026-11-22T12:17:00.0Z",
            "2026-11-22T13:17:00+01:00",
            "2026-11-22T10:47:00.000000-0130",
        ] {
            assert_eq!(read(text), moment, "{text}");
        }
        assert_eq!(read("2026-11-22"), Some(at(1_795_305_600, 0)));
        for bad in [
            "",
            "yesterday",
            "2026",
            "2026-11",
            "2026-13-01",
            "2026-02-29",
            "2026-11-22T",
            "x",
            "2026-11-22T25:00",
            "2026-11-22T12:17:53+1",
            "2026-11-22T12:17:53Zulu",
            "26-11-22",
            "2026-11-22T12",
            "1969-12-31",
            "2026-11-22T12:17:53.",
            "2026-11-2é",
            "2026-1é-22",
            "1970-01-01T00:00+01:00",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
