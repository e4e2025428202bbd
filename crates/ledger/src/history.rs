//! Reading the JSONL logs from their ends. A line that cannot be read is passed over: a later version may have
//! written it, or a crash torn it.

use std::collections::HashSet;
use std::marker::PhantomData;
use std::path::Path;

use memchr::memmem;
use serde::de::DeserializeOwned;
use tinyclaw_disk::{Backwards, DiskError, backwards};
use tinyclaw_domain::{Direction, HistoryLine, Key, ThreadId};

use tinyclaw_domain::StateDir;

/// So much of the history is looked through for a thread's last lines. A thread that was quiet for longer begins anew,
/// with its summaries.
const LOOK_BACK_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Lines of parallel turns are not quite in the order of their times: so much further back is looked.
pub(crate) const OVERLAP_MS: u64 = 60 * 60 * 1000;

/// A log's lines, newest first, as they stand: some may stand twice.
#[derive(Debug)]
pub struct LogReader<T> {
    lines: Backwards,
    _line: PhantomData<fn() -> T>,
}

/// Reads a log from its end: `HistoryLine`s of [`StateDir::history`], `RoutingLine`s, `PromptLine`s.
pub fn log<T: DeserializeOwned>(path: &Path) -> Result<LogReader<T>, DiskError> {
    Ok(LogReader { lines: backwards(path)?, _line: PhantomData })
}

impl<T: DeserializeOwned> Iterator for LogReader<T> {
    type Item = Result<T, DiskError>;

    fn next(&mut self) -> Option<Result<T, DiskError>> {
        loop {
            match self.lines.next()? {
                Ok(line) => {
                    if let Ok(it) = serde_json::from_slice(&line.bytes) {
                        return Some(Ok(it));
                    }
                }
                Err(err) => return Some(Err(err)),
            }
        }
    }
}

/// The lines of a log since a moment, oldest first, as they stand. `written` says when a line was written, in ms since 1970,
/// and nothing of a line that bears another time.
pub fn log_since<T: DeserializeOwned>(
    path: &Path,
    since_ms: u64,
    written: impl Fn(&T) -> Option<u64>,
) -> Result<Vec<T>, DiskError> {
    let mut lines = Vec::new();
    for line in log(path)? {
        let line = line?;
        if written(&line).is_some_and(|it| it + OVERLAP_MS < since_ms) {
            break;
        }
        lines.push(line);
    }
    lines.reverse();
    Ok(lines)
}

/// The last `count` messages of a thread, or of all threads, oldest first, each once.
pub fn recent_history(
    state: &StateDir,
    thread: Option<&ThreadId>,
    count: usize,
) -> Result<Vec<HistoryLine>, DiskError> {
    let mut found: Vec<HistoryLine> = Vec::new();
    // A line that stands twice after a crash is one.
    let mut seen: HashSet<(Key, u32, Direction)> = HashSet::new();
    let mut bytes_seen = 0;
    let needle = thread.map(|it| format!("\"threadId\":{}", serde_json::json!(it)));
    let finder = needle.as_deref().map(memmem::Finder::new);
    for line in backwards(&state.history())? {
        let line = line?;
        bytes_seen += line.bytes.len() as u64;
        if found.len() >= count || bytes_seen > LOOK_BACK_BYTES_MAX {
            break;
        }
        // Most lines of a busy office are other threads': they are told by a glance, not by parsing.
        if finder.as_ref().is_some_and(|it| it.find(&line.bytes).is_none()) {
            continue;
        }
        let Ok(it) = serde_json::from_slice::<HistoryLine>(&line.bytes) else { continue };
        if thread.is_none_or(|thread| *thread == it.thread_id)
            && seen.insert((it.key.clone(), it.attempt, it.direction))
        {
            found.push(it);
        }
    }
    found.reverse();
    Ok(found)
}
