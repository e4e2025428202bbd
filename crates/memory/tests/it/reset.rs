use expect_test::{Expect, expect};
use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;
use tinyclaw_memory::{last_reset, next_reset};

/// The resets that follow `from`, each with its offset.
#[track_caller]
fn resets(zone: &str, at: &str, from: &str, count: usize, expect: Expect) {
    let (zone, at) = (TimeZone::get(zone).unwrap(), at.parse::<Time>().unwrap());
    let mut now: Timestamp = from.parse().unwrap();
    let mut shown = Vec::new();
    for _ in 0..count {
        let reset = next_reset(now, &zone, at);
        shown.push(reset.strftime("%F %H:%M %:z").to_string());
        now = reset.timestamp();
        assert_eq!(last_reset(now, &zone, at), reset, "a reset is over at its own moment");
    }
    expect.assert_eq(&shown.join("\n"));
}

#[test]
fn four_in_the_morning_stays_four_when_the_clocks_change() {
    resets(
        "Europe/Berlin",
        "04:00",
        "2026-03-28T12:00:00Z",
        2,
        expect![[r#"
        2026-03-29 04:00 +02:00
        2026-03-30 04:00 +02:00"#]],
    );
    resets(
        "Europe/Berlin",
        "04:00",
        "2026-10-24T00:00:00Z",
        3,
        expect![[r#"
        2026-10-24 04:00 +02:00
        2026-10-25 04:00 +01:00
        2026-10-26 04:00 +01:00"#]],
    );
}

#[test]
fn a_day_without_that_hour_has_its_reset_later() {
    // In Baku the clocks went from 04:00 to 05:00, until 2015.
    resets(
        "Asia/Baku",
        "04:00",
        "2015-03-28T12:00:00Z",
        2,
        expect![[r#"
        2015-03-29 05:00 +05:00
        2015-03-30 04:00 +05:00"#]],
    );
    resets(
        "Europe/Berlin",
        "02:30",
        "2026-03-28T12:00:00Z",
        2,
        expect![[r#"
        2026-03-29 03:30 +02:00
        2026-03-30 02:30 +02:00"#]],
    );
}

#[test]
fn a_day_with_that_hour_twice_has_one_reset() {
    resets(
        "Asia/Baku",
        "04:00",
        "2015-10-24T12:00:00Z",
        2,
        expect![[r#"
        2015-10-25 04:00 +05:00
        2015-10-26 04:00 +04:00"#]],
    );
    resets(
        "Europe/Berlin",
        "02:30",
        "2026-10-24T12:00:00Z",
        2,
        expect![[r#"
        2026-10-25 02:30 +02:00
        2026-10-26 02:30 +01:00"#]],
    );
}

#[test]
fn a_day_that_never_was_has_none_of_its_own() {
    // Samoa went from the 29th of December 2011 straight to the 31st.
    resets(
        "Pacific/Apia",
        "04:00",
        "2011-12-29T00:00:00Z",
        3,
        expect![[r#"
        2011-12-29 04:00 -10:00
        2011-12-31 04:00 +14:00
        2012-01-01 04:00 +14:00"#]],
    );
}

#[test]
fn a_session_from_before_the_last_reset_is_over_also_after_a_night_switched_off() {
    let (zone, at) = (TimeZone::get("Europe/Berlin").unwrap(), Time::constant(4, 0, 0, 0));
    let last = last_reset("2026-11-21T02:59:59Z".parse().unwrap(), &zone, at);
    assert_eq!(last.to_string(), "2026-11-20T04:00:00+01:00[Europe/Berlin]");
    let last = last_reset("2026-11-21T03:00:00Z".parse().unwrap(), &zone, at);
    assert_eq!(last.to_string(), "2026-11-21T04:00:00+01:00[Europe/Berlin]");
}

proptest! {
    /// Whatever the zone, the time of day and the moment: the next reset lies ahead, the last one behind, nothing lies
    /// between them, and a calendar day has at most one.
    #[test]
    fn every_moment_lies_between_two_resets(
        zone in prop::sample::select(vec!["Europe/Berlin", "Asia/Baku", "Pacific/Apia", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"]),
        seconds in 1_262_304_000_i64..1_893_456_000,
        minute in 0_i16..1440,
    ) {
        let zone = TimeZone::get(zone).unwrap();
        let at = Time::midnight() + i64::from(minute).minutes();
        let now = Timestamp::from_second(seconds).unwrap();
        let (last, next) = (last_reset(now, &zone, at), next_reset(now, &zone, at));
        prop_assert!(last.timestamp() <= now && now < next.timestamp());
        prop_assert!(last.date() < next.date());
        prop_assert_eq!(next_reset(last.timestamp(), &zone, at).timestamp(), next.timestamp());
        let hours = next.timestamp().duration_since(last.timestamp()).as_hours();
        prop_assert!((22..=26).contains(&hours), "{last} {next}");
    }
}
