//! The answers of the server, one type each. The page knows these names and no others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tinyclaw_disk::follow::GapCause;
use tinyclaw_domain::{
    DevboxView, Direction, Family, Health, HistoryLine, Model, Progress, Thread, ThreadId,
};
use tinyclaw_ledger::health;
use tinyclaw_queue::Depth;

use crate::host::Sample;
use crate::meta::LogName;
use crate::rows::Row;

/// `/api/status`: everything at a glance.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    /// Changes when the dashboard starts anew: row numbers do, too.
    pub(crate) boot: String,
    /// The version that runs.
    pub(crate) version: &'static str,
    /// The server's clock, in ms since 1970.
    pub(crate) now: u64,
    /// When the dashboard started.
    pub(crate) started_at: u64,
    /// The host.
    pub(crate) host: Arc<Sample>,
    /// Each service's health; the dashboard's own comes last.
    pub(crate) services: Vec<ServiceState>,
    /// How much waits where; none when there is no queue yet.
    pub(crate) queue: Option<Depth>,
    /// Every desk.
    pub(crate) threads: Vec<ThreadSummary>,
    /// Why the desks cannot be read, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) threads_error: Option<String>,
    /// The devboxes, by name; left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) devboxes: Vec<DevboxView>,
    /// Turns that are running.
    pub(crate) turns: Vec<Progress>,
    /// Messages and money.
    pub(crate) messages: Rates,
    /// The tail's proof, log by log.
    pub(crate) logs: BTreeMap<&'static str, LogState>,
    /// The families of models that the office knows.
    pub(crate) models: Vec<ModelFamily>,
}

/// A family of models as the page shows it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ModelFamily {
    /// Its name.
    pub(crate) name: Model,
    /// Its colour, as `#rrggbb`, where the operator says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) colour: Option<String>,
}

impl ModelFamily {
    /// What the page needs of a family.
    pub(crate) fn of(family: &Family) -> ModelFamily {
        ModelFamily { name: family.name, colour: family.colour.clone() }
    }
}

/// One desk at a glance.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ThreadSummary {
    /// Its id.
    pub(crate) id: ThreadId,
    /// How many messages it has in the history.
    pub(crate) messages: u64,
    /// What `threads.json` says.
    #[serde(flatten)]
    pub(crate) thread: Thread,
}

/// One service, as far as the dashboard can know.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ServiceState {
    /// Which one.
    pub(crate) service: String,
    /// `ok`, `not ready`, `dead`, `old` or `missing`.
    pub(crate) state: &'static str,
    /// How old its word is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) age_ms: Option<u64>,
    /// What it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<Health>,
}

impl ServiceState {
    /// What a service's word of itself means when it is `age` old.
    pub(crate) fn of(health: Health, age: Duration) -> ServiceState {
        let state = if age > health::STALE_AFTER {
            "old"
        } else if !health.alive {
            "dead"
        } else if !health.ready {
            "not ready"
        } else {
            "ok"
        };
        let age_ms = Some(age.as_millis() as u64);
        ServiceState { service: health.service.clone(), state, age_ms, health: Some(health) }
    }
}

/// Messages and money.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rates {
    /// In and out, in the last hour.
    pub(crate) last_hour: Counts,
    /// In and out, in the last 24 hours.
    pub(crate) last_day: Counts,
    /// In and out, since the asker's midnight.
    pub(crate) today: Counts,
    /// US dollars since the asker's midnight.
    pub(crate) cost_today_usd: f64,
    /// US dollars in the last 24 hours.
    pub(crate) cost_last_day_usd: f64,
    /// Whether the history is known far enough back for these numbers.
    pub(crate) complete: bool,
}

/// Messages by direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// To Claude.
    #[serde(rename = "in")]
    pub(crate) inward: u64,
    /// From Claude.
    #[serde(rename = "out")]
    pub(crate) outward: u64,
}

/// How far a log is known, and that nothing is missing.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogState {
    /// Number of the first row.
    pub(crate) first: i64,
    /// The number after the last row.
    pub(crate) last: i64,
    /// Whether everything on disk is indexed.
    pub(crate) complete: bool,
    /// How much of the past is indexed, from 0 to 1.
    pub(crate) indexed: f64,
    /// Places where the tail broke off since the start.
    pub(crate) gaps: usize,
    /// How often the file was rotated since the start.
    pub(crate) rotations: u64,
    /// The place after the last row: generation, check and byte offset.
    pub(crate) place: String,
}

/// A page of rows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page {
    /// Rank of the first row that could be asked for.
    pub(crate) first: i64,
    /// The rank after the last one.
    pub(crate) last: i64,
    /// Whether `first` is final: everything on disk is indexed.
    pub(crate) complete: bool,
    /// A place in the log that no row after this page lies before: a stream from there misses none.
    pub(crate) place: String,
    /// The rows.
    pub(crate) rows: Vec<Row>,
}

/// A row that was found, on the stream of a search.
#[derive(Debug, Serialize)]
pub(crate) struct Hit {
    /// What stands before the hit, the hit, and what stands after it.
    pub(crate) snippet: [String; 3],
    /// The row.
    pub(crate) row: Row,
}

/// How far a search is, on its stream.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Searched {
    /// Bytes looked through.
    pub(crate) done: u64,
    /// Of so many.
    pub(crate) all: u64,
}

/// What a search came to, at the end of its stream.
#[derive(Debug, Serialize)]
pub(crate) struct SearchEnd {
    /// How far it came.
    #[serde(flatten)]
    pub(crate) searched: Searched,
    /// How many rows were found.
    pub(crate) hits: usize,
    /// Whether it ended because these were enough.
    pub(crate) more: bool,
}

/// Lines that a stream cannot tell.
#[derive(Debug, Serialize)]
pub(crate) struct Gap {
    /// Of which log, on the page's stream of all logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<LogName>,
    /// The row before which they are missing.
    pub(crate) row: i64,
    /// Why.
    pub(crate) cause: &'static str,
    /// Whether no line was lost all the same.
    pub(crate) lossless: bool,
}

impl Gap {
    /// The gap before `row`.
    pub(crate) fn new(log: Option<LogName>, row: i64, cause: GapCause) -> Gap {
        Gap { log, row, cause: cause.as_str(), lossless: cause.is_lossless() }
    }
}

/// A log that goes on in a new file.
#[derive(Debug, Serialize)]
pub(crate) struct Rotated {
    /// Which log, on the page's stream of all logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<LogName>,
    /// The new file's number.
    pub(crate) segment: u64,
}

/// `/api/prompts/lengths`: what the sparkline draws, oldest first.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Lengths {
    /// Row numbers.
    pub(crate) rows: Vec<i64>,
    /// Seconds since 1970.
    pub(crate) seconds: Vec<u32>,
    /// Characters.
    pub(crate) lengths: Vec<u32>,
    /// 0 plain, 1 history injected, 2 history injected into a running session.
    pub(crate) marks: Vec<u8>,
}

/// `/api/metrics`: the host now and in the last ten minutes.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metrics {
    /// Now.
    pub(crate) now: Arc<Sample>,
    /// Up to ten minutes, a second apart, oldest first.
    pub(crate) samples: Vec<Arc<Sample>>,
    /// Each service's health.
    pub(crate) services: Vec<ServiceState>,
}

/// `/api/story/<key>`: what became of one message.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Story {
    /// Which message.
    pub(crate) key: String,
    /// Where it lies in the queue now; absent when the queue no longer knows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<&'static str>,
    /// Its place in its lane, 1 is next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<usize>,
    /// Why it was buried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Its life, stage by stage.
    pub(crate) stages: Vec<Stage>,
    /// Tools that were used meanwhile.
    pub(crate) tools: Vec<tinyclaw_domain::ToolUse>,
    /// What Claude's hooks told of its turn, where there is a gateway; oldest first.
    pub(crate) hooks: Vec<crate::events::Hook>,
    /// The rows that tell of it, log by log, oldest first.
    pub(crate) rows: Vec<StoryRow>,
    /// Turns begun.
    pub(crate) attempts: u32,
    /// What was said, as the history has it or will have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) line: Option<HistoryLine>,
    /// The turn, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) turn: Option<Progress>,
}

/// `/api/waiting/<place>`: what lies in a folder of the queue, oldest first.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Waiting {
    /// The messages, each as the history has it or will have it.
    pub(crate) lines: Vec<HistoryLine>,
    /// How many more there are.
    pub(crate) more: usize,
}

/// A row that tells of a message.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoryRow {
    /// Which log it is in.
    pub(crate) log: &'static str,
    /// Its number there, as long as this dashboard runs.
    pub(crate) row: i64,
    /// Which attempt it tells of.
    pub(crate) attempt: u32,
    /// In or out, in the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) direction: Option<Direction>,
}

/// One stage of a message's life.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stage {
    /// `received`, `queued`, `routed`, `prompt`, `answered`, `delivered`.
    pub(crate) name: &'static str,
    /// When it began, in ms since 1970.
    pub(crate) from: u64,
    /// When it ended; absent while it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<u64>,
    /// Whether nobody worked on it.
    pub(crate) waiting: bool,
}
