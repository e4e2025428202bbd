use jiff::Timestamp;
use jiff::tz::TimeZone;
use tinyclaw_domain::{Direction, HistoryLine, Model};
use tinyclaw_ledger::{Costs, Journal, Keep};

use crate::{answer, state, thread};

fn ms(text: &str) -> u64 {
    text.parse::<Timestamp>().unwrap().as_millisecond() as u64
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn cents(usd: f64) -> i64 {
    (usd * 100.0).round() as i64
}

#[test]
fn a_day_is_the_offices_day() {
    let (_dir, state) = state();
    let journal = Journal::new(&state, Keep::default());
    // In Auckland (UTC+13 in November) the 21st begins at 11:00 UTC on the 20th.
    for (key, at, usd) in [
        ("a", "2026-11-20T10:59:59Z", 1.0),
        ("b", "2026-11-20T11:00:00Z", 2.0),
        ("c", "2026-11-21T03:00:00Z", 4.0),
    ] {
        journal.history(&answer(key, "7", ms(at), usd)).unwrap();
    }
    let now = ms("2026-11-21T04:00:00Z");
    for (name, spent) in [("Pacific/Auckland", 600), ("UTC", 400), ("America/New_York", 700)] {
        let mut costs = Costs::read(&state, zone(name), now).unwrap();
        assert_eq!(cents(costs.office(now).usd), spent, "{name}");
    }
}

#[test]
fn an_answer_is_paid_for_once_however_often_its_line_stands() {
    let (_dir, state) = state();
    let journal = Journal::new(&state, Keep::default());
    let now = ms("2026-11-21T12:00:00Z");
    let line = answer("a", "7", now, 0.25);
    journal.history(&line).unwrap();
    journal.history(&line).unwrap();
    let mut costs = Costs::read(&state, TimeZone::UTC, now).unwrap();
    costs.add(&line);
    costs.add(&answer("b", "u12", now, 0.5));
    assert_eq!((cents(costs.office(now).usd), costs.office(now).turns), (75, 2));
    assert_eq!(cents(costs.thread(&thread("7"), now).usd), 25);
    assert_eq!(costs.threads(now)[0].0, thread("u12"));
}

/// The demo engine's answers cost nothing, and "today: 0 answers" was said after one.
#[test]
fn an_answer_that_cost_nothing_is_counted_and_a_notice_is_not() {
    let now = ms("2026-11-21T12:00:00Z");
    let (_dir, state) = state();
    let mut costs = Costs::read(&state, TimeZone::UTC, now).unwrap();
    let free =
        HistoryLine { cost_usd: None, model: Some(Model::HAIKU), ..answer("a", "7", now, 0.0) };
    let notice = HistoryLine { cost_usd: None, model: None, ..answer("b", "7", now, 0.0) };
    costs.add(&free);
    costs.add(&free);
    costs.add(&notice);
    assert_eq!((cents(costs.office(now).usd), costs.office(now).turns), (0, 1));
}

/// It says what it likes, and pays it itself.
#[test]
fn what_a_devbox_spends_is_its_own_and_never_the_offices() {
    let (_dir, state) = state();
    let journal = Journal::new(&state, Keep::default());
    let now = ms("2026-11-21T12:00:00Z");
    let api = Some("api".parse().unwrap());
    journal.history(&answer("a", "7", now, 0.25)).unwrap();
    journal.history(&HistoryLine { devbox: api, ..answer("b", "8", now, 99.0) }).unwrap();
    let mut costs = Costs::read(&state, TimeZone::UTC, now).unwrap();
    assert_eq!((cents(costs.office(now).usd), costs.office(now).turns), (25, 1));
    assert_eq!(cents(costs.devbox(&"api".parse().unwrap(), now).usd), 9900);
    assert_eq!(cents(costs.devbox(&"lab".parse().unwrap(), now).usd), 0);
    assert_eq!((cents(costs.devboxes(now).usd), costs.devboxes(now).turns), (9900, 1));
    assert_eq!(cents(costs.thread(&thread("8"), now).usd), 9900);
}

#[test]
fn midnight_begins_anew_and_a_clock_that_steps_back_changes_nothing() {
    let mut costs = Costs::new(TimeZone::UTC, ms("2026-11-21T12:00:00Z"));
    costs.add(&answer("a", "7", ms("2026-11-21T12:00:00Z"), 1.0));
    costs.add(&answer("b", "7", ms("2026-11-22T00:00:01Z"), 2.0));
    let today = ms("2026-11-22T00:00:02Z");
    assert_eq!(cents(costs.office(today).usd), 200);
    assert_eq!(cents(costs.office(ms("2026-11-21T23:59:00Z")).usd), 200);
    assert_eq!(cents(costs.office(ms("2026-11-23T00:00:00Z")).usd), 0);
}

#[test]
fn a_line_of_a_parallel_turn_that_ended_a_little_earlier_is_found() {
    let (_dir, state) = state();
    let journal = Journal::new(&state, Keep::default());
    let now = ms("2026-11-21T00:10:00Z");
    journal.history(&answer("today", "7", ms("2026-11-21T00:05:00Z"), 1.0)).unwrap();
    journal.history(&answer("late", "8", ms("2026-11-20T23:59:00Z"), 2.0)).unwrap();
    let mut costs = Costs::read(&state, TimeZone::UTC, now).unwrap();
    assert_eq!(cents(costs.office(now).usd), 100);
}

#[test]
fn a_message_that_waited_overnight_does_not_hide_what_was_spent_before_it() {
    let (_dir, state) = state();
    let journal = Journal::new(&state, Keep::default());
    journal.history(&answer("early", "7", ms("2026-11-21T08:00:00Z"), 1.0)).unwrap();
    let mut asked = answer("overnight", "8", ms("2026-11-20T20:00:00Z"), 0.0);
    asked.direction = Direction::In;
    journal.history(&asked).unwrap();
    journal.history(&answer("overnight", "8", ms("2026-11-21T09:00:00Z"), 2.0)).unwrap();
    let now = ms("2026-11-21T10:00:00Z");
    let mut costs = Costs::read(&state, TimeZone::UTC, now).unwrap();
    assert_eq!(cents(costs.office(now).usd), 300);
}

/// It kept the processor down, for sums that are a help and no more.
#[test]
fn a_history_that_cannot_be_read_is_told_and_counts_for_nothing() {
    let (_dir, state) = state();
    std::fs::create_dir_all(state.history()).unwrap();
    let (mut costs, trouble) = Costs::read_in_part(&state, TimeZone::UTC, 1_771_234_567_890);
    assert!(trouble.unwrap().to_string().contains("message-history.jsonl"));
    assert_eq!(costs.office(1_771_234_567_890).turns, 0);
}
