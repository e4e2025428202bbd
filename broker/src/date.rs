//! The two spellings of a moment that GitHub uses, to and from seconds since 1970.
//!
//! RFC 3339 in JSON bodies (`2016-07-11T22:14:10Z`), the HTTP date in the `Date` header
//! (`Sun, 06 Nov 1994 08:49:37 GMT`). Nothing here knows a time zone or reads a clock.

const SECONDS_A_DAY: i64 = 86_400;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `2016-07-11T22:14:10Z`, with an optional fraction and `±hh:mm` in place of `Z`.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (number(date.next()?)?, number(date.next()?)?, number(date.next()?)?);
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, zone) = rest.split_at_checked(8)?;
    let zone = match zone.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|it: char| it.is_ascii_digit()),
        None => zone,
    };
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let (sign, hours, minutes) = (zone.get(..1)?, zone.get(1..3)?, zone.get(4..)?);
            let minutes = number(hours)? * 60 + number(minutes)?;
            match (sign, zone.get(3..4)?) {
                ("+", ":") => minutes * 60,
                ("-", ":") => -minutes * 60,
                _ => return None,
            }
        }
    };
    Some(moment(year, month, day, clock)? - offset)
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the only form a server may send today.
pub fn parse_http_date(text: &str) -> Option<i64> {
    let mut words = text.trim().split_once(", ")?.1.split(' ');
    let day = number(words.next()?)?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|it| *it == month)? as i64 + 1;
    let year = number(words.next()?)?;
    let clock = words.next()?;
    if words.next()? != "GMT" || words.next().is_some() {
        return None;
    }
    moment(year, month, day, clock)
}

/// Milliseconds since 1970 as `2026-02-10T19:00:00.123Z`.
pub fn format_ms(ms: i64) -> String {
    let (seconds, ms) = (ms.div_euclid(1000), ms.rem_euclid(1000));
    let text = format_rfc3339(seconds);
    format!("{}.{ms:03}Z", &text[..text.len() - 1])
}

/// Seconds since 1970 as `2026-02-10T19:00:00Z`.
pub fn format_rfc3339(seconds: i64) -> String {
    let (year, month, day) = civil(seconds.div_euclid(SECONDS_A_DAY));
    let second = seconds.rem_euclid(SECONDS_A_DAY);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Seconds since 1970 as an HTTP date.
pub fn format_http_date(seconds: i64) -> String {
    let days = seconds.div_euclid(SECONDS_A_DAY);
    let (year, month, day) = civil(days);
    // 1970-01-01 was a Thursday.
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][days.rem_euclid(7) as usize];
    let month = MONTHS[month as usize - 1];
    let second = seconds.rem_euclid(SECONDS_A_DAY);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

fn moment(year: i64, month: i64, day: i64, clock: &str) -> Option<i64> {
    let mut clock = clock.splitn(3, ':');
    let (hour, minute, second) =
        (number(clock.next()?)?, number(clock.next()?)?, number(clock.next()?)?);
    // 60 is a leap second.
    let sane = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    sane.then(|| {
        days_since_1970(year, month, day) * SECONDS_A_DAY + hour * 3600 + minute * 60 + second
    })
}

fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|it| it.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Counts in years that begin in March, so that the leap day is a year's last day.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day_of_year - 719_468
}

fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_name_the_same_moment() {
        assert_eq!(parse_rfc3339("2016-07-11T22:14:10Z"), Some(1_468_275_250));
        assert_eq!(parse_rfc3339("2016-07-11T22:14:10.123Z"), Some(1_468_275_250));
        assert_eq!(parse_rfc3339("2016-07-12T00:14:10+02:00"), Some(1_468_275_250));
        assert_eq!(parse_http_date("Mon, 11 Jul 2016 22:14:10 GMT"), Some(1_468_275_250));
        assert_eq!(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in ["", "2016", "2016-07-11", "2016-13-11T22:14:10Z", "2016-07-11T25:14:10Z"] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
        for text in ["", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Foo 1994 08:49:37 GMT", "é, é"] {
            assert_eq!(parse_http_date(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_survives_the_round_trip() {
        for day in -80_000..80_000 {
            let second = day * SECONDS_A_DAY + 12_345;
            assert_eq!(parse_rfc3339(&format_rfc3339(second)), Some(second));
            assert_eq!(parse_http_date(&format_http_date(second)), Some(second));
        }
    }
}
