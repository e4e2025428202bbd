//! How quick the ledger is on a large history: one JSON object. `cargo run --release -p tinyclaw-ledger --example measure-ledger`
#![expect(clippy::print_stdout, reason = "it prints numbers")]

use std::error::Error;
use std::time::Instant;

use jiff::tz::TimeZone;
use serde_json::json;
use tinyclaw_domain::{HistoryLine, ThreadId};
use tinyclaw_ledger::{Costs, Journal, Keep, StateDir, recent_history};

const LINES: u64 = 500_000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const NOW_MS: u64 = 1_771_234_567_890;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let state = StateDir::new(dir.path());
    tinyclaw_ledger::create_folders(&state)?;
    let journal = Journal::new(&state, Keep::default());
    let begun = Instant::now();
    for number in 0..LINES {
        // A month of a busy office; one thread spoke only at its beginning.
        let thread = if number < 10 { 9999 } else { number % 50 + 1 };
        let timestamp = NOW_MS - 30 * DAY_MS + number * (30 * DAY_MS) / LINES;
        let line: HistoryLine = serde_json::from_value(json!({
            "timestamp": timestamp, "key": format!("tg-{number}"), "attempt": 1,
            "messageId": format!("{timestamp}_tg{number}"), "threadId": thread, "channel": "telegram",
            "direction": "out", "sender": "Claude", "costUsd": 0.01, "message": "words ".repeat(30),
        }))?;
        journal.history(&line)?;
    }
    let append_us = begun.elapsed().as_secs_f64() * 1e6 / LINES as f64;
    let ms = |work: &mut dyn FnMut() -> Result<(), Box<dyn Error>>| {
        let begun = Instant::now();
        work().map(|()| begun.elapsed().as_secs_f64() * 1e3)
    };
    let recent = |thread: u32| {
        ms(&mut || {
            let lines = recent_history(&state, Some(&ThreadId::topic(thread)), 20)?;
            assert!(!lines.is_empty());
            Ok(())
        })
    };
    let (busy, quiet) = (recent(7)?, recent(9999)?);
    let mut turns = 0;
    let costs = ms(&mut || {
        turns = Costs::read(&state, TimeZone::UTC, NOW_MS)?.office(NOW_MS).turns;
        Ok(())
    })?;
    println!(
        "{}",
        json!({
            "lines": LINES, "appendUs": append_us, "recentOfBusyThreadMs": busy,
            "recentOfQuietThreadMs": quiet, "costsOfTodayMs": costs, "turnsToday": turns,
        })
    );
    Ok(())
}
