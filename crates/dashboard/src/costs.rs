//! What the models cost, beside what other ways of choosing would have cost: the router's arithmetic over the last 30 days
//! of the logs. Adding up takes seconds in a busy office, so sums are kept for a while, and only one is made at a time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tinyclaw_domain::{CacheTtl, Catalogue, Direction, HistoryLine, StateDir};
use tinyclaw_ledger::{health, log_since};
use tinyclaw_router::{Config, DAY_MS, DAYS_MAX, Decided, Replay, Report, Router};
use tinyclaw_service::now_ms;

use crate::redact::redacted_json;

/// Sums are good for so long, however many pages ask.
const AGE_MAX: Duration = Duration::from_secs(60);

/// The sums that were made last, as JSON, and since which midnight they count.
#[derive(Debug, Default)]
pub(crate) struct Spending(Mutex<Option<(u64, Instant, String)>>);

impl Spending {
    /// The sums of an asker whose day began at `midnight`, in ms since 1970; or why there are none.
    pub(crate) fn told(
        &self,
        state: &StateDir,
        catalogue: &Catalogue,
        midnight: u64,
    ) -> Result<String, String> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, at, told)) = &*kept
            && *of == midnight
            && at.elapsed() < AGE_MAX
        {
            return Ok(told.clone());
        }
        let told = redacted_json(&add_up(state, catalogue, midnight)?);
        *kept = Some((midnight, Instant::now(), told.clone()));
        Ok(told)
    }
}

fn add_up(state: &StateDir, catalogue: &Catalogue, midnight: u64) -> Result<Report, String> {
    // A file that is not taken is processor's to tell; it goes on without it, and so do the sums.
    let mut config = Config::default();
    for path in [state.learned_router(), state.router()] {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        config = config.clone().with(&text).unwrap_or(config);
    }
    let router = Router::new(config).with_catalogue(catalogue.clone());
    let since = midnight.saturating_sub(DAYS_MAX * DAY_MS);
    let mut replay = Replay::new(&router, cache_ttl(state), midnight);
    let why = |what: &str| {
        let what = what.to_owned();
        move |err| format!("cannot read {what}: {err}")
    };
    let decided = log_since(&state.routing(), since, |it: &Decided| Some(it.timestamp));
    for line in decided.map_err(why("the routing log"))? {
        replay.decided(line);
    }
    let written = |it: &HistoryLine| (it.direction == Direction::Out).then_some(it.timestamp);
    for line in log_since(&state.history(), since, written).map_err(why("the history"))? {
        // A devbox pays with its own login, and says what it likes.
        if line.devbox.is_some() {
            continue;
        }
        replay.said(line);
    }
    Ok(replay.report())
}

/// How long the API keeps what it has read of a conversation. It depends on Claude's login, which this service does not see:
/// processor tells it.
fn cache_ttl(state: &StateDir) -> CacheTtl {
    let seen = health::read(state, "processor", now_ms()).ok().flatten();
    let word = seen.as_ref().and_then(|it| it.health.numbers.get("promptCache")?.as_str());
    word.and_then(CacheTtl::named).unwrap_or_default()
}
