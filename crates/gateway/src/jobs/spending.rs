//! What the web API cost today: each token's jobs, and each environment. Summed from the office's own history, so a restart
//! forgets nothing; and what may still be begun.
//!
//! A turn counts when it has ended, also one that failed and was paid for: what runs meanwhile is not known yet. So who begins
//! many jobs at once may spend more than the budget, and then nothing more that day. A day is the office's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use jiff::tz::TimeZone;
use tinyclaw_disk::follow::{Followed, Follower};
use tinyclaw_domain::{EnvName, Envs, HistoryLine, Key, StateDir};
use tinyclaw_ledger::Costs;
use tinyclaw_service::now_ms;

use super::{FAMILY, Jobs, blocking, table, unavailable};
use crate::access::Caller;
use crate::problem::Problem;

/// So much of the history is read at once.
const BATCH_BYTES: usize = 1 << 20;

/// Today's sums, read when somebody with a budget asks.
#[derive(Debug)]
pub(super) struct Spending {
    state: StateDir,
    zone: TimeZone,
    /// Held while what is new in the history is read.
    read: Arc<Mutex<Option<Read>>>,
    /// Whose the jobs are; one that is not listed is nobody's.
    accounts: Mutex<HashMap<Key, String>>,
}

#[derive(Debug)]
struct Read {
    costs: Costs,
    follower: Follower,
}

/// Today's sums at one moment.
struct Today {
    jobs: Vec<(Key, f64)>,
    envs: HashMap<EnvName, f64>,
    rest_of_day_ms: u64,
}

impl Spending {
    pub(super) fn new(state: &StateDir, zone: TimeZone) -> Spending {
        let (read, accounts) = Default::default();
        Spending { state: state.clone(), zone, read, accounts }
    }
}

impl Read {
    /// First the place from which to follow, then what stands before it: a line that is read twice counts once.
    fn open(state: &StateDir, zone: &TimeZone) -> Result<Read, String> {
        let follower = Follower::from_end(state.history()).map_err(|err| err.to_string())?;
        let costs = Costs::read(state, zone.clone(), now_ms());
        Ok(Read { costs: costs.map_err(|err| format!("{err}: {}", err.source))?, follower })
    }

    /// Counts what was written since. False: some of it cannot be known in this way.
    fn follow(&mut self) -> Result<bool, String> {
        loop {
            let (mut count, mut is_whole) = (0, true);
            let costs = &mut self.costs;
            let polled = self.follower.poll(BATCH_BYTES, |it| match it {
                Followed::Line(line) => {
                    count += 1;
                    match serde_json::from_slice::<HistoryLine>(line.bytes) {
                        Ok(line) => costs.add(&line),
                        // It was cut for its length; whole, it may have cost something.
                        Err(_) => is_whole &= line.length == line.bytes.len() as u64,
                    }
                }
                Followed::Gap { cause, .. } => is_whole &= cause.is_lossless(),
                Followed::Rotated { .. } => {}
            });
            polled.map_err(|err| err.to_string())?;
            if count == 0 || !is_whole {
                return Ok(is_whole);
            }
        }
    }
}

fn today(read: &Mutex<Option<Read>>, state: &StateDir, zone: &TimeZone) -> Result<Today, String> {
    let mut read = read.lock().unwrap_or_else(PoisonError::into_inner);
    let mut here = match read.take() {
        Some(it) => it,
        None => Read::open(state, zone)?,
    };
    if !here.follow()? {
        here = Read::open(state, zone)?;
    }
    let now = now_ms();
    let mut envs: HashMap<EnvName, f64> = HashMap::new();
    for (thread, spent) in here.costs.threads(now) {
        if let Some((env, _)) = thread.env() {
            *envs.entry(env).or_default() += spent.usd;
        }
    }
    let jobs = here.costs.messages(FAMILY, now);
    let rest_of_day_ms = here.costs.rest_of_day_ms(now);
    *read = Some(here);
    Ok(Today { jobs, envs, rest_of_day_ms })
}

impl Jobs {
    /// Whether the caller may begin one more job there today.
    pub(crate) async fn afford(
        &self,
        caller: &Caller,
        envs: &Envs,
        env: Option<&EnvName>,
    ) -> Result<(), Problem> {
        let of_env = env.and_then(|it| Some((it, envs.get(it)?.budget_per_day()?)));
        if caller.budget_per_day.is_none() && of_env.is_none() {
            return Ok(());
        }
        let Spending { state, zone, read, .. } = &self.spending;
        let (state, zone, read) = (state.clone(), zone.clone(), Arc::clone(read));
        let today = blocking(move || today(&read, &state, &zone)).await?;
        let unknown =
            |why: String| unavailable(&format!("what was spent today is not known: {why}"));
        let today = today.map_err(unknown)?;
        let rest = today.rest_of_day_ms.div_ceil(1_000).max(1);
        let spent = |whose: &str, spent: f64, limit: f64| {
            let detail = format!(
                "the budget of {whose} for today is spent (${spent:.2} of ${limit:.2}); the operator can give more"
            );
            Problem::new(StatusCode::PAYMENT_REQUIRED, "budget_spent", detail).retry_after(rest)
        };
        if let Some((env, limit)) = of_env {
            let usd = today.envs.get(env).copied().unwrap_or_default();
            if usd >= limit {
                return Err(spent(&format!("environment {env}"), usd, limit));
            }
        }
        if let Some(limit) = caller.budget_per_day {
            let usd = self.spent_by(&caller.account(), today.jobs).await?;
            if usd >= limit {
                return Err(spent("this token", usd, limit));
            }
        }
        Ok(())
    }

    async fn spent_by(&self, account: &str, jobs: Vec<(Key, f64)>) -> Result<f64, Problem> {
        let known = || self.spending.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let unknown: Vec<Key> = {
            let mut known = known();
            let today: HashMap<&Key, ()> = jobs.iter().map(|it| (&it.0, ())).collect();
            // Those of other days are asked about no more.
            known.retain(|key, _| today.contains_key(key));
            today.keys().filter(|it| !known.contains_key(**it)).map(|it| (*it).clone()).collect()
        };
        let found = match unknown.is_empty() {
            true => Vec::new(),
            false => table::accounts(&self.store, unknown).await?,
        };
        let mut known = known();
        known.extend(found);
        let own = jobs.iter().filter(|it| known.get(&it.0).is_some_and(|it| it == account));
        Ok(own.map(|it| it.1).sum())
    }
}
