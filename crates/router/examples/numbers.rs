//! What a router costs: memory, and time for a short message and for one of 100,000 characters, as a chat's and at a desk.
//!
//! `cargo run --release -p tinyclaw-router --example numbers`
#![allow(clippy::print_stdout, reason = "it is there to print")]

use std::hint::black_box;
use std::time::Instant;

use tinyclaw_domain::DeskKind;
use tinyclaw_router::{Input, Router};

const SHORT: [&str; 4] = [
    "add dark mode",
    "which port is it",
    "deploy to production",
    "design the queue so that two workers never take the same message, and prove it",
];

fn main() {
    let before = resident_kib();
    let began = Instant::now();
    let router = Router::default();
    let built = began.elapsed();
    black_box(router.decide(&Input::new("hello")));
    let after = resident_kib();
    println!("built in {built:.1?}; {:.1} MiB of memory", (after - before) as f64 / 1024.0);
    let long: String =
        "the quick brown fox deploys the lazy dog. ".chars().cycle().take(100_000).collect();
    for desk in [None, Some(DeskKind::Repo)] {
        let place = if desk.is_some() { "at a desk" } else { "in a chat" };
        for (name, texts, times) in
            [("short", &SHORT[..], 5_000), ("100,000 characters", &[long.as_str()][..], 200)]
        {
            let mut took: Vec<u128> = (0..times)
                .map(|at| {
                    let input = Input { desk, ..Input::new(texts[at % texts.len()]) };
                    let began = Instant::now();
                    black_box(router.decide(black_box(&input)));
                    began.elapsed().as_nanos()
                })
                .collect();
            took.sort_unstable();
            let at = |share: f64| took[(took.len() as f64 * share) as usize] as f64 / 1e3;
            println!("{place}, {name}: p50 {:.1} µs, p99 {:.1} µs", at(0.5), at(0.99));
        }
    }
}

/// What of this process is in memory.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
    line.and_then(|it| it.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
