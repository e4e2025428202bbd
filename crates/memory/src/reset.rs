//! When a session's day is over: once each calendar day, at a time of day on the office's wall clock.
//!
//! On a day when the clock jumps over that time, the day is over as much later as the clock jumps; on a day that has it
//! twice, the first time it comes. So every day has its reset, and none has two.

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

/// The next reset after `now`. A timer for it should be set anew when the time zone or the time of day changes.
pub fn next_reset(now: Timestamp, zone: &TimeZone, at: Time) -> Zoned {
    resets_around(now, zone, at)
        .into_iter()
        .find(|it| it.timestamp() > now)
        .unwrap_or_else(|| far(zone))
}

/// The last reset that is not after `now`: a session whose last turn was before it is over, also when nobody was running at
/// that moment.
pub fn last_reset(now: Timestamp, zone: &TimeZone, at: Time) -> Zoned {
    let resets = resets_around(now, zone, at);
    let last = resets.into_iter().rev().find(|it| it.timestamp() <= now);
    last.unwrap_or_else(|| Timestamp::MIN.to_zoned(zone.clone()))
}

/// The resets of the days about `now`, in order. Two days each way are enough: a clock may jump over a whole day.
fn resets_around(now: Timestamp, zone: &TimeZone, at: Time) -> Vec<Zoned> {
    let today = now.to_zoned(zone.clone()).date();
    (-2..=2)
        .filter_map(|days: i64| today.checked_add(days.days()).ok())
        .filter_map(|day| day.to_datetime(at).to_zoned(zone.clone()).ok())
        .collect()
}

/// The end of time, as far as the calendar knows.
fn far(zone: &TimeZone) -> Zoned {
    Timestamp::MAX.to_zoned(zone.clone())
}
