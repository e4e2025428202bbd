//! What Claude says with no message in flight: a task that ran on in the background has ended. It is nobody's answer, so it is
//! looked for in the history.

use std::collections::HashSet;

use tinyclaw_domain::{Direction, Key, Source};
use tinyclaw_ledger::recent_history;
use tinyclaw_service::now_ms;

use super::Chat;

/// More than that is not said in a second.
const LINES_MAX: usize = 20;

/// What of it was shown.
#[derive(Debug)]
pub(super) struct SaidLater {
    /// What was said before the conversation began is not news.
    since: u64,
    shown: HashSet<Key>,
    /// How long the history was when it was looked at.
    length: u64,
}

impl SaidLater {
    pub(super) fn from_now() -> SaidLater {
        SaidLater { since: now_ms(), shown: HashSet::new(), length: 0 }
    }
}

impl Chat {
    /// Shows what was said in this thread meanwhile. Not in the middle of an answer.
    pub(super) fn look_for_said_later(&mut self) -> anyhow::Result<()> {
        let length = std::fs::metadata(self.state.history()).map_or(0, |it| it.len());
        if self.streaming.is_some() || length == self.later.length {
            return Ok(());
        }
        self.later.length = length;
        for line in recent_history(&self.state, Some(&self.thread), LINES_MAX)? {
            // A processor's word that answers no message.
            let is_it = line.direction == Direction::Out
                && line.source == Source::System
                && line.key.as_str().starts_with("bg-")
                && line.timestamp >= self.later.since;
            if is_it && self.later.shown.insert(line.key) {
                self.screen.finish_stream(&line.message)?;
            }
        }
        Ok(())
    }
}
