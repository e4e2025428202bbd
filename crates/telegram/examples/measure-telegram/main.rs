//! Measures the Telegram service against the fake Telegram and prints one JSON object.
//!
//! `cargo run --release -p tinyclaw-telegram --example measure-telegram [-- --kills N --seconds N --busy N]`. The client is a process of its own: this
//! program again with `--client`, or the built `tinyclaw-telegram` where it lies beside it.
#![expect(clippy::print_stdout, reason = "its output is the measurement")]

mod busy;
mod campaign;
mod client;
#[path = "../../tests/it/busy.rs"]
mod clock;
mod streaming;

use std::time::{Duration, Instant};

use serde::Serialize;
use tinyclaw_telegram::text::{Room, render};
use tinyclaw_testkit::telegram::markup::parse_html;
use tinyclaw_testkit::telegram::{FORUM, FakeTelegram, Limits, Options};

use client::{Client, Ground};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Measured {
    reaction_p50_ms: f64,
    reaction_p95_ms: f64,
    kills: usize,
    messages: usize,
    updates_lost: usize,
    turns_repeated: usize,
    parts_missing: usize,
    duplicates_unmarked: usize,
    duplicates_marked: usize,
    statuses_left: usize,
    busiest_minute: usize,
    floods: usize,
    previews: usize,
    busy_answers: usize,
    busy_final_late_p50_s: f64,
    busy_final_late_p95_s: f64,
    busy_statuses: usize,
    busy_floods: usize,
    /// The same twelve topics on the rate limit alone, on a clock that no other program of this machine slows down.
    clock_answers: usize,
    clock_final_late_p50_s: f64,
    clock_final_late_p95_s: f64,
    clock_first_minute_late_p95_s: f64,
    render_mb_ms: f64,
    render_parts: usize,
    idle_rss_mb: f64,
}

fn main() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("--client") {
        return client::serve();
    }
    let arguments: Vec<String> = std::env::args().collect();
    let flag = |name: &str, default: usize| {
        let at = arguments.iter().position(|it| it == name);
        at.and_then(|it| arguments.get(it + 1)?.parse().ok()).unwrap_or(default)
    };
    let (kills, seconds) = (flag("--kills", 1000), flag("--seconds", 130));
    let busy_seconds = flag("--busy", 300);
    let own =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    let clock = own.block_on(clock::runs(12, 12, Duration::from_secs(busy_seconds as u64)));
    let runtime = tokio::runtime::Runtime::new()?;
    let measured = runtime.block_on(async {
        let (reaction_p50_ms, reaction_p95_ms) = reactions(200).await?;
        let idle_rss_mb = idle().await?;
        let (render_mb_ms, render_parts) = rendering();
        let killed = campaign::run(kills).await?;
        let streamed = streaming::run(Duration::from_secs(seconds as u64)).await?;
        let busy = busy::run(Duration::from_secs(busy_seconds as u64)).await?;
        anyhow::Ok(Measured {
            reaction_p50_ms,
            reaction_p95_ms,
            kills,
            messages: killed.messages,
            updates_lost: killed.updates_lost,
            turns_repeated: killed.turns_repeated,
            parts_missing: killed.parts_missing,
            duplicates_unmarked: killed.duplicates_unmarked,
            duplicates_marked: killed.duplicates_marked,
            statuses_left: killed.statuses_left,
            busiest_minute: streamed.busiest_minute,
            floods: streamed.floods,
            previews: streamed.previews,
            busy_answers: busy.answers,
            busy_final_late_p50_s: busy.final_late_p50_s,
            busy_final_late_p95_s: busy.final_late_p95_s,
            busy_statuses: busy.statuses,
            busy_floods: busy.floods,
            clock_answers: clock.late.len(),
            clock_final_late_p50_s: clock.late_s(50, Duration::MAX),
            clock_final_late_p95_s: clock.late_s(95, Duration::MAX),
            clock_first_minute_late_p95_s: clock.late_s(95, Duration::from_secs(75)),
            render_mb_ms,
            render_parts,
            idle_rss_mb,
        })
    })?;
    println!("{}", serde_json::to_string_pretty(&measured)?);
    Ok(())
}

pub(crate) async fn unlimited() -> anyhow::Result<FakeTelegram> {
    let options = Options { limits: Limits::none(), ..Options::default() };
    Ok(FakeTelegram::start_with(options).await?)
}

/// From an update to the request for its 👀.
async fn reactions(count: usize) -> anyhow::Result<(f64, f64)> {
    let fake = unlimited().await?;
    let ground = Ground::new(&fake)?;
    let _client = Client::start(&ground, true)?;
    fake.wait_for(Duration::from_secs(20), |it| {
        it.calls().iter().any(|it| it.method == "getUpdates").then_some(())
    })
    .await;
    let mut times = Vec::new();
    for n in 0..count {
        let begun = Instant::now();
        let message =
            fake.say(FORUM, None, tinyclaw_testkit::telegram::ADA, &format!("message {n}"));
        let seen = fake.wait_for(Duration::from_secs(10), |it| {
            it.calls().iter().rev().find_map(|it| {
                let ours = it.method == "setMessageReaction" && it.params["message_id"] == message;
                ours.then(|| it.at.duration_since(begun))
            })
        });
        let Some(time) = seen.await else { anyhow::bail!("no reaction to message {n}") };
        times.push(time.as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[count / 2], times[count * 95 / 100]))
}

/// Memory of a client that has nothing to do.
async fn idle() -> anyhow::Result<f64> {
    let fake = unlimited().await?;
    let ground = Ground::new(&fake)?;
    let client = Client::start(&ground, false)?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    client.rss_mb()
}

/// Milliseconds to render and cut a megabyte, and how many parts that gave, each accepted by the fake's parser.
fn rendering() -> (f64, usize) {
    let page = "# Heading\n\nA paragraph with **bold**, *italic* and `code` in it, and a [link](https://example.org/?a=1&b=2) \
        that goes on for a while, as paragraphs do.\n\n- one\n  - nested\n- two <tag> & more\n\n```rust\nfn main() {\n    \
        println!(\"{}\", 1 < 2);\n}\n```\n\n> A quote\n> of two lines\n\n|name|bytes|\n|--|--:|\n|a|1|\n|b|2,000|\n\n";
    let text = page.repeat(1_000_000 / page.len() + 1);
    let mut best = f64::MAX;
    let mut parts = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        parts = render(&text, Room::default());
        best = best.min(begun.elapsed().as_secs_f64() * 1000.0);
    }
    for part in &parts {
        if let Err(why) = parse_html(&part.html) {
            panic!("{why}\n{}", part.html);
        }
    }
    (best, parts.len())
}
