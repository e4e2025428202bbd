//! The logs that processor keeps, line by line: history, decisions, outcomes, prompts; and the sink of a service's text log.
//!
//! A line is appended with one write and not flushed by itself. Its message is in `processing/` then, and whoever takes
//! it up after a power cut writes the line again, with the same key and attempt. So the lines are flushed before the
//! message moves on ([`Journal::flush`]): after that nobody would write them again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tinyclaw_disk::{Appender, DiskError, Rotation};
use tinyclaw_domain::{HistoryLine, OutcomeLine, PromptLine, RoutingLine};

use crate::{JsonError, StateDir};

/// A JSONL log rotates at this size.
pub const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A text log rotates at this size,
const TEXT_BYTES_MAX: u64 = 10 * 1000 * 1000;
/// and five files of it stay: the one being written and four before it.
const TEXT_SEGMENTS_MAX: usize = 4;

/// How long lines are kept; `None` is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// Messages in and out.
    pub history: Option<Duration>,
    /// The router's decisions, and what people said about the answers.
    pub routing: Option<Duration>,
    /// Prompts.
    pub prompts: Option<Duration>,
}

/// The JSONL logs. One for each state folder, in processor; it may be shared by all its turns.
#[derive(Debug)]
pub struct Journal {
    history: Mutex<Appender>,
    routing: Mutex<Appender>,
    outcomes: Mutex<Appender>,
    prompts: Mutex<Appender>,
}

impl Journal {
    /// The logs of this state folder. Nothing is opened until the first line.
    pub fn new(state: &StateDir, keep: Keep) -> Journal {
        let log = |path, age_max| {
            let rotation = Rotation { bytes_max: SEGMENT_BYTES_MAX, segments_max: None, age_max };
            Mutex::new(Appender::new(path, rotation))
        };
        Journal {
            history: log(state.history(), keep.history),
            routing: log(state.routing(), keep.routing),
            outcomes: log(state.outcomes(), keep.routing),
            prompts: log(state.prompts(), keep.prompts),
        }
    }

    /// Keeps lines for another time from now on. A line that is being written is finished first.
    pub fn keep(&self, state: &StateDir, keep: Keep) {
        let fresh = Journal::new(state, keep);
        for (log, fresh) in [
            (&self.history, fresh.history),
            (&self.routing, fresh.routing),
            (&self.outcomes, fresh.outcomes),
            (&self.prompts, fresh.prompts),
        ] {
            let fresh = fresh.into_inner().unwrap_or_else(PoisonError::into_inner);
            *log.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
    }

    /// Notes a message in, or an answer out.
    pub fn history(&self, line: &HistoryLine) -> Result<(), JsonError> {
        append(&self.history, line)
    }

    /// Notes a decision.
    pub fn routing(&self, line: &RoutingLine) -> Result<(), JsonError> {
        append(&self.routing, line)
    }

    /// Notes what a person said about an answer.
    pub fn outcome(&self, line: &OutcomeLine) -> Result<(), JsonError> {
        append(&self.outcomes, line)
    }

    /// Notes a prompt.
    pub fn prompt(&self, line: &PromptLine) -> Result<(), JsonError> {
        append(&self.prompts, line)
    }

    /// Flushes every line noted so far, of whichever message. Before a message leaves `processing/`. Those who come at the
    /// same time share the flushes, and a log without news costs none.
    pub fn flush(&self) -> Result<(), DiskError> {
        let flush = |it: &Mutex<Appender>| it.lock().unwrap_or_else(PoisonError::into_inner).sync();
        // All of them, also when the first fails.
        let flushed = self.logs().map(flush);
        flushed.into_iter().collect()
    }

    /// Lets go of what is older than it may be. Once a day.
    pub fn retire(&self, now: SystemTime) -> Result<(), DiskError> {
        self.logs()
            .into_iter()
            .try_for_each(|it| it.lock().unwrap_or_else(PoisonError::into_inner).retire(now))
    }

    fn logs(&self) -> [&Mutex<Appender>; 4] {
        [&self.history, &self.routing, &self.outcomes, &self.prompts]
    }
}

fn append(log: &Mutex<Appender>, line: &impl Serialize) -> Result<(), JsonError> {
    // JSON has no newline in it but the ones it is laid out with, and this is not laid out.
    let bytes = serde_json::to_vec(line)
        .map_err(|source| JsonError::Shape { path: "a log line".into(), source })?;
    Ok(log.lock().unwrap_or_else(PoisonError::into_inner).append(&bytes)?)
}

/// Takes a log line, without its newline, and says why it could not be written.
pub type TextLog = Box<dyn FnMut(&str) -> Result<(), String> + Send>;

/// Where a service's log lines go: `logs/<name>.log`, 10 MB × 5. The sink that the service's log setup takes.
pub fn text_log(state: &StateDir, name: &str) -> TextLog {
    let mut log = Appender::new(
        state.text_log(name),
        Rotation {
            bytes_max: TEXT_BYTES_MAX,
            segments_max: Some(TEXT_SEGMENTS_MAX),
            age_max: None,
        },
    );
    Box::new(move |line| {
        log.append(line.as_bytes()).map_err(|err| format!("{err}: {}", err.source))
    })
}
