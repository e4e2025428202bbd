//! What the last 30 days cost, beside what they would have cost with other models. The arithmetic is the router's; here the
//! logs are read and the sums are drawn.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use tinyclaw_domain::{Direction, HistoryLine};
use tinyclaw_ledger::{StateDir, log_since};
use tinyclaw_router::{Costs, DAY_MS, DAYS_MAX, Decided, Replay, Report, Router};
use tinyclaw_service::now_ms;
use tinyclaw_service::settings::Office;

use crate::place;

/// Prints what the turns of this state folder cost.
pub(crate) fn run(state: &StateDir, json: bool) -> anyhow::Result<()> {
    if !state.history().exists() {
        bail!("{} is not there: nothing was said in this office yet", state.history().display());
    }
    let router = Router::new(place::router_config_of(state)?);
    let router = router.with_catalogue(place::catalogue(state)?);
    let report = replay(state, &router)?;
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        out.write_all(draw(&report).as_bytes())?;
    }
    Ok(())
}

fn replay(state: &StateDir, router: &Router) -> anyhow::Result<Report> {
    let zone = place::settings::<Office>(state)?.timezone.clone();
    let now = Timestamp::from_millisecond(now_ms() as i64)?.to_zoned(zone);
    let midnight = now.start_of_day()?.timestamp().as_millisecond() as u64;
    let since = midnight.saturating_sub(DAYS_MAX * DAY_MS);
    let mut replay = Replay::new(router, place::cache_ttl(state)?, midnight);
    let decided = log_since(&state.routing(), since, |it: &Decided| Some(it.timestamp));
    for line in decided.context("cannot read the routing log")? {
        replay.decided(line);
    }
    let written = |it: &HistoryLine| (it.direction == Direction::Out).then_some(it.timestamp);
    for line in log_since(&state.history(), since, written).context("cannot read the history")? {
        // A devbox pays with its own login, and says what it likes.
        if line.devbox.is_none() {
            replay.said(line);
        }
    }
    Ok(replay.report())
}

fn draw(report: &Report) -> String {
    let mut out = format!("{:<34}{:>12}{:>12}{:>12}\n", "", "today", "7 days", "30 days");
    let mut line = |name: &str, value: &dyn Fn(&Costs) -> String| {
        let [today, week, month] = [&report.today, &report.week, &report.month].map(value);
        let _ = writeln!(out, "{name:<34}{today:>12}{week:>12}{month:>12}");
    };
    line("turns", &|it| it.turns.to_string());
    line("Claude charged", &|it| dollars(it.paid_usd));
    let usd = |name: &str| {
        let name = name.to_owned();
        move |it: &Costs| dollars(it.usd.get(&name).copied().unwrap_or(0.0))
    };
    line(&format!("at list prices of {}", report.prices), &usd("real"));
    line("decided again by this router", &usd("again"));
    line("the first model of each session", &usd("stay"));
    let models =
        report.month.usd.keys().filter(|it| !["real", "again", "stay"].contains(&it.as_str()));
    for model in models {
        line(&format!("always {model}"), &usd(model));
    }
    line("input read from a cache", &|it| it.cache_hits.map_or_else(|| "n/a".to_owned(), percent));
    let lost = |turns: u64, all: u64, usd: f64| {
        format!("{} {}", percent(turns as f64 / all.max(1) as f64), dollars(usd))
    };
    line("lost by a switch to a weaker model", &|it| lost(it.lost.turns, it.turns, it.lost.usd));
    line("the same, decided again", &|it| lost(it.lost_again.turns, it.turns, it.lost_again.usd));
    let (month, strongest) = (&report.month, &report.strongest);
    if let Some(saved) = month.saved_usd.get(strongest).filter(|_| month.turns > 0) {
        let all = month.usd.get(strongest).copied().unwrap_or(0.0);
        let share = percent(saved.abs() / all.max(f64::MIN_POSITIVE));
        let usd = dollars(saved.abs());
        let said = match *saved < 0.0 {
            true => format!("cost {usd} more than always {strongest} would have"),
            false => format!("saved {usd} beside always {strongest}"),
        };
        let _ = writeln!(out, "\nIn 30 days routing {said} ({share}).");
    }
    if month.uncounted > 0 {
        let _ = writeln!(
            out,
            "{} answers are counted in what Claude charged alone: they answer no message, or have no numbers.",
            month.uncounted
        );
    }
    out.push_str("Tokens are taken as they were: another model would have used others.\n");
    out
}

fn dollars(usd: f64) -> String {
    format!("${usd:.2}")
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}
