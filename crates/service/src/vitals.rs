//! How this service is, as it knows itself: ready or why not, concerns, and numbers. What `/health`, `/ready`,
//! `/metrics` and `health/<service>.json` say is read from here.
//!
//! Nothing here decides what a number means, and nothing here writes a file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::now_ms;

/// A handle on one service's state; clones speak of the same service.
#[derive(Debug, Clone)]
pub struct Vitals {
    service: &'static str,
    version: &'static str,
    started_at: u64,
    state: Arc<Mutex<State>>,
    /// Told when a cause comes or goes.
    turns: Arc<watch::Sender<()>>,
}

#[derive(Debug, Default)]
struct State {
    blocks: BTreeMap<String, String>,
    concerns: BTreeMap<String, String>,
    numbers: BTreeMap<String, Value>,
}

/// A service's state at one moment, in the shape of `health/<service>.json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Which service.
    pub service: String,
    /// The version that runs.
    pub version: String,
    /// Its process id, in its own namespace.
    pub pid: u32,
    /// When it started, in ms since 1970.
    pub started_at: u64,
    /// When this was read, in ms since 1970.
    pub at: u64,
    /// Always true: who can say it lives.
    pub alive: bool,
    /// Whether nothing blocks it.
    pub ready: bool,
    /// What blocks it, for a person.
    pub why: Vec<String>,
    /// What it counts; under `concerns` what a person should know although it works.
    pub numbers: BTreeMap<String, Value>,
}

impl Vitals {
    /// A service that is starting: not ready until [`Vitals::started`].
    pub fn new(service: &'static str, version: &'static str) -> Vitals {
        let (state, turns) = (Arc::default(), Arc::new(watch::Sender::new(())));
        let vitals = Vitals { service, version, started_at: now_ms(), state, turns };
        vitals.block("start", "it is starting");
        vitals
    }

    /// The start is over.
    pub fn started(&self) {
        self.unblock("start");
    }

    /// From now on, until [`Vitals::unblock`] of the same cause, it cannot do its job, and `why` says so to a person.
    pub fn block(&self, cause: &str, why: impl Into<String>) {
        let before = self.state().blocks.insert(cause.to_owned(), why.into());
        if before.is_none() {
            self.turns.send_replace(());
        }
    }

    /// That cause is gone.
    pub fn unblock(&self, cause: &str) {
        let before = self.state().blocks.remove(cause);
        if before.is_some() {
            self.turns.send_replace(());
        }
    }

    /// Changes whenever the service becomes unready for another reason, or for one less: whoever tells others how it
    /// is tells them then, and not only when it is time again.
    pub fn turns(&self) -> watch::Receiver<()> {
        self.turns.subscribe()
    }

    /// It works, but a person should know this, until `None` is said of the same cause.
    pub fn concern(&self, cause: &str, what: Option<String>) {
        let mut state = self.state();
        match what {
            Some(what) => state.concerns.insert(cause.to_owned(), what),
            None => state.concerns.remove(cause),
        };
    }

    /// Adds to a number that only grows; its name ends in `Total`.
    pub fn count(&self, name: &str, more: u64) {
        debug_assert!(name.ends_with("Total"), "{name}: a counter's name ends in Total");
        let mut state = self.state();
        let sum = state.numbers.get(name).and_then(Value::as_u64).unwrap_or(0).saturating_add(more);
        state.numbers.insert(name.to_owned(), sum.into());
    }

    /// Sets a number, or any other value worth showing.
    pub fn set(&self, name: &str, value: impl Into<Value>) {
        self.state().numbers.insert(name.to_owned(), value.into());
    }

    /// Everything at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state();
        let mut numbers = state.numbers.clone();
        if !state.concerns.is_empty() {
            let concerns: Vec<String> = state.concerns.values().cloned().collect();
            numbers.insert("concerns".to_owned(), concerns.into());
        }
        Snapshot {
            service: self.service.to_owned(),
            version: self.version.to_owned(),
            pid: std::process::id(),
            started_at: self.started_at,
            at: now_ms(),
            alive: true,
            ready: state.blocks.is_empty(),
            why: state.blocks.values().cloned().collect(),
            numbers,
        }
    }

    /// The numbers in Prometheus' text format: `incomingDepth` becomes `tinyclaw_incoming_depth{service="processor"}`.
    pub fn metrics(&self) -> String {
        let now = self.snapshot();
        prometheus([Counted {
            service: self.service,
            ready: now.ready,
            uptime_seconds: now.at.saturating_sub(now.started_at) / 1000,
            numbers: &now.numbers,
        }])
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one service counts, for [`prometheus`].
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    /// Which service.
    pub service: &'a str,
    /// Whether nothing blocks it.
    pub ready: bool,
    /// How long it has been up.
    pub uptime_seconds: u64,
    /// Its numbers; what is none is left out.
    pub numbers: &'a BTreeMap<String, Value>,
}

/// What services count as one text in Prometheus' format, in which every name is introduced once.
pub fn prometheus<'a>(services: impl IntoIterator<Item = Counted<'a>>) -> String {
    let mut samples: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Counted { service, ready, uptime_seconds, numbers } in services {
        let mut put = |name: &str, value: &Value| {
            let sample = format!("{{service=\"{service}\"}} {value}");
            samples.entry(name.to_owned()).or_default().push(sample);
        };
        put("ready", &u8::from(ready).into());
        put("uptimeSeconds", &uptime_seconds.into());
        for (name, value) in numbers.iter().filter(|(_, value)| value.is_number()) {
            put(name, value);
        }
    }
    let mut text = String::new();
    for (name, values) in samples {
        let kind = if name.ends_with("Total") { "counter" } else { "gauge" };
        let name = snake_case(&name);
        let _ = writeln!(text, "# TYPE tinyclaw_{name} {kind}");
        for it in values {
            let _ = writeln!(text, "tinyclaw_{name}{it}");
        }
    }
    text
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for it in name.chars() {
        if it.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(if it.is_ascii_alphanumeric() { it.to_ascii_lowercase() } else { '_' });
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_ready_when_nothing_blocks_it() {
        let vitals = Vitals::new("telegram", "2026.11.0");
        vitals.block("token", "set TELEGRAM_BOT_TOKEN");
        vitals.started();
        assert_eq!(vitals.snapshot().why, ["set TELEGRAM_BOT_TOKEN"]);
        vitals.unblock("token");
        vitals.concern("disk", Some("4 % of the disk is free".to_owned()));
        let now = vitals.snapshot();
        assert!(now.ready);
        assert_eq!(now.numbers["concerns"][0], "4 % of the disk is free");
    }

    #[test]
    fn who_asks_hears_of_a_cause_that_comes_or_goes_and_of_no_other_news() {
        let vitals = Vitals::new("telegram", "2026.11.0");
        let mut turns = vitals.turns();
        let mut heard = || {
            let is_news = turns.has_changed().unwrap();
            turns.mark_unchanged();
            is_news
        };
        vitals.block("token", "set it");
        assert!(heard());
        vitals.block("token", "set it, please");
        vitals.concern("disk", Some("full".to_owned()));
        assert!(!heard());
        vitals.unblock("token");
        assert!(heard());
        vitals.unblock("token");
        assert!(!heard());
    }

    #[test]
    fn metrics_are_counters_and_gauges_of_the_service() {
        let vitals = Vitals::new("processor", "2026.11.0");
        vitals.count("turnsTotal", 2);
        vitals.count("turnsTotal", 3);
        vitals.set("incomingDepth", 7);
        vitals.set("mode", "warm");
        let text = vitals.metrics();
        assert!(text.contains(
            "# TYPE tinyclaw_turns_total counter\ntinyclaw_turns_total{service=\"processor\"} 5\n"
        ));
        assert!(text.contains("tinyclaw_incoming_depth{service=\"processor\"} 7\n"));
        assert!(text.contains("tinyclaw_ready{service=\"processor\"} 0\n"));
        assert!(!text.contains("mode"));
    }

    #[test]
    fn metrics_of_two_services_introduce_a_name_once() {
        let numbers = BTreeMap::from([("turnsTotal".to_owned(), Value::from(5))]);
        let of = |service| Counted { service, ready: true, uptime_seconds: 9, numbers: &numbers };
        let text = prometheus([of("processor"), of("telegram")]);
        assert!(text.contains(
            "# TYPE tinyclaw_turns_total counter\n\
             tinyclaw_turns_total{service=\"processor\"} 5\n\
             tinyclaw_turns_total{service=\"telegram\"} 5\n"
        ));
        assert_eq!(text.matches("# TYPE tinyclaw_ready ").count(), 1);
    }
}
