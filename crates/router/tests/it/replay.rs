//! What a past would have cost, added up by hand at list prices.

use tinyclaw_domain::{CacheTtl, HistoryLine};
use tinyclaw_router::{Replay, Report, Router};

use crate::router;

const MINUTE: u64 = 60_000;
/// When the last day of the tests begins.
const MIDNIGHT: u64 = 1_000 * 24 * 60 * MINUTE;

/// A turn: when it is answered, by whom, what was asked, and its tokens.
struct Past {
    at: u64,
    model: &'static str,
    asked: &'static str,
    context: u64,
    plain: u64,
    read: u64,
    written: u64,
    output: u64,
}

const COLD: Past = Past {
    at: MIDNIGHT,
    model: "opus",
    asked: "design the scheduler and prove that it is fair",
    context: 100_000,
    plain: 0,
    read: 0,
    written: 99_000,
    output: 1_000,
};

fn lines(turns: &[Past]) -> Vec<HistoryLine> {
    let line = |it: serde_json::Value| serde_json::from_value(it).expect("a line of history");
    let both = |(index, it): (usize, &Past)| {
        let common = |direction: &str, message: &str, at: u64| {
            serde_json::json!({
                "timestamp": at, "key": format!("tg-{index}"), "attempt": 1,
                "messageId": format!("{index}_tg{index}"), "threadId": 1, "channel": "telegram",
                "direction": direction, "sender": "Ada", "message": message,
            })
        };
        let mut out = common("out", "done", it.at);
        let answer = serde_json::json!({
            "model": it.model, "costUsd": 0.5, "contextTokens": it.context, "durationMs": 1_000,
            "usage": {"inputTokens": it.plain, "outputTokens": it.output,
                      "cacheReadTokens": it.read, "cacheWriteTokens": it.written},
        });
        let fields = answer.as_object().expect("an object").clone();
        out.as_object_mut().expect("an object").extend(fields);
        [line(common("in", it.asked, it.at - 1_000)), line(out)]
    };
    turns.iter().enumerate().flat_map(both).collect()
}

fn replay(router: &Router, turns: &[Past]) -> Report {
    let mut replay = Replay::new(router, CacheTtl::FiveMinutes, MIDNIGHT);
    lines(turns).into_iter().for_each(|it| replay.said(it));
    replay.report()
}

#[track_caller]
fn is(found: f64, usd: f64) {
    assert!((found - usd).abs() < 1e-9, "{found} is not {usd}");
}

#[test]
fn a_first_turn_costs_each_model_its_list_price() {
    let costs = replay(router(), &[COLD]).today;
    is(costs.usd["real"], 99_000.0 * 1.25 * 4e-6 + 1_000.0 * 20e-6);
    is(costs.usd["opus"], costs.usd["real"]);
    is(costs.usd["sonnet"], 99_000.0 * 1.25 * 2e-6 + 1_000.0 * 10e-6);
    is(costs.usd["haiku"], 99_000.0 * 1.25 * 0.1e-6 + 1_000.0 * 0.5e-6);
    is(costs.saved_usd["haiku"], costs.usd["haiku"] - costs.usd["real"]);
    is(costs.paid_usd, 0.5);
    assert_eq!((costs.turns, costs.uncounted, costs.lost.turns), (1, 0, 0));
    assert_eq!(costs.cache_hits, Some(0.0));
}

#[test]
fn who_stays_reads_what_who_switches_writes() {
    // Sonnet is asked a minute later, and writes all that opus has cached.
    let switch = Past {
        at: MIDNIGHT + MINUTE,
        model: "sonnet",
        asked: "write an email to the client about the delay and offer a discount",
        context: 101_000,
        plain: 0,
        read: 0,
        written: 100_500,
        output: 500,
    };
    let costs = replay(router(), &[COLD, switch]).today;
    let first = 99_000.0 * 1.25 * 4e-6 + 1_000.0 * 20e-6;
    let stayed = 99_000.0 * 0.1 * 4e-6 + 1_500.0 * 1.25 * 4e-6 + 500.0 * 20e-6;
    let switched = 100_500.0 * 1.25 * 2e-6 + 500.0 * 10e-6;
    is(costs.usd["real"], first + switched);
    is(costs.usd["opus"], first + stayed);
    is(costs.usd["stay"], first + stayed);
    // Sonnet all along has its own cache: 99,000 tokens of it.
    let sonnet = 99_000.0 * 0.1 * 2e-6 + 1_500.0 * 1.25 * 2e-6 + 500.0 * 10e-6;
    is(costs.usd["sonnet"], 99_000.0 * 1.25 * 2e-6 + 1_000.0 * 10e-6 + sonnet);
    assert_eq!(costs.lost.turns, 1);
    is(costs.lost.usd, switched - stayed);
    // This router sees that opus is warm.
    is(costs.usd["again"], first + stayed);
    assert_eq!((costs.moved, costs.lost_again.turns), (1, 0));
}

#[test]
fn a_cache_that_ran_out_is_written_again_by_everybody() {
    let late = Past {
        at: MIDNIGHT + 20 * MINUTE,
        asked: "thanks",
        model: "haiku",
        context: 100_100,
        written: 100_050,
        output: 50,
        ..COLD
    };
    let costs = replay(router(), &[COLD, late]).today;
    let first = 99_000.0 * 1.25 * 4e-6 + 1_000.0 * 20e-6;
    is(costs.usd["opus"], first + 100_050.0 * 1.25 * 4e-6 + 50.0 * 20e-6);
    is(costs.usd["real"], first + 100_050.0 * 1.25 * 0.1e-6 + 50.0 * 0.5e-6);
    is(costs.usd["again"], costs.usd["real"]);
    assert_eq!(costs.lost.turns, 0);
}

#[test]
fn spans_and_days_count_what_is_theirs() {
    let day = 24 * 60 * MINUTE;
    let at = |at| Past { at, ..COLD };
    let turns = [at(MIDNIGHT - 40 * day), at(MIDNIGHT - 10 * day), at(MIDNIGHT - 1), at(MIDNIGHT)];
    let report = replay(router(), &turns);
    let turns = [&report.today, &report.week, &report.month, &report.all].map(|it| it.turns);
    assert_eq!(turns, [1, 2, 3, 4]);
    let days: Vec<u64> =
        report.days.iter().map(|it| (it.from + 20 * day - MIDNIGHT) / day).collect();
    assert_eq!(days, [10, 19, 20]);
    is(report.days[2].models["opus"], 0.5);
    assert_eq!(report.days[2].desks.len(), 1);
}

#[test]
fn a_line_that_stands_twice_counts_once_and_one_without_numbers_is_told() {
    let mut replay = Replay::new(router(), CacheTtl::FiveMinutes, MIDNIGHT);
    for line in lines(&[COLD]) {
        replay.said(line.clone());
        replay.said(line);
    }
    let mut later = lines(&[COLD]).remove(1);
    later.key = "n-later".parse().expect("a key");
    replay.said(later);
    let costs = replay.report().all;
    assert_eq!((costs.turns, costs.uncounted), (1, 1));
    is(costs.paid_usd, 1.0);
}

#[test]
fn what_a_person_chose_is_not_decided_again() {
    let mut replay = Replay::new(router(), CacheTtl::FiveMinutes, MIDNIGHT);
    let thanks = [Past { asked: "thanks", ..COLD }];
    let pinned = serde_json::json!({
        "timestamp": MIDNIGHT, "key": "tg-0", "cause": "pinned", "effectiveModel": "opus",
    });
    replay.decided(serde_json::from_value(pinned).expect("a line of the routing log"));
    lines(&thanks).into_iter().for_each(|it| replay.said(it));
    assert_eq!(replay.report().all.moved, 0);
    let mut unknown = Replay::new(router(), CacheTtl::FiveMinutes, MIDNIGHT);
    lines(&thanks).into_iter().for_each(|it| unknown.said(it));
    assert_eq!(unknown.report().all.moved, 1, "the router alone asks haiku");
}
