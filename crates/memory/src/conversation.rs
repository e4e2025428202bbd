//! Conversations: every turn of every session, a file a session, a line a side.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tinyclaw_disk::{Appender, Rotation, remove};
use tinyclaw_domain::{ConversationLine, Direction, SessionId, ThreadId};

use crate::{Memory, MemoryError};

/// A conversation is never cut in two: it ends with its session.
const ONE_FILE: Rotation = Rotation { bytes_max: u64::MAX, segments_max: None, age_max: None };

impl Memory {
    /// Where a session's conversation is.
    pub fn conversation_path(&self, who: &ThreadId, session: &SessionId) -> PathBuf {
        self.folder("conversations", who).join(format!("{session}.jsonl"))
    }

    /// Notes what one side said. Not flushed: it is written while the message is in `processing/`, and written again
    /// after a power cut, with the same key and attempt.
    pub fn turn(&self, who: &ThreadId, line: &ConversationLine) -> Result<(), MemoryError> {
        let bytes = serde_json::to_vec(line).map_err(MemoryError::Turn)?;
        let path = self.conversation_path(who, &line.session_id);
        self.check_target(&path)?;
        Ok(Appender::new(path, ONE_FILE).append(&bytes)?)
    }

    /// What was said in a session, in order, each line once. A line that cannot be read is left out.
    pub fn conversation(
        &self,
        who: &ThreadId,
        session: &SessionId,
    ) -> Result<Vec<ConversationLine>, MemoryError> {
        let text = self.read_text(&self.conversation_path(who, session))?.unwrap_or_default();
        let lines = text.lines().filter_map(|it| serde_json::from_str::<ConversationLine>(it).ok());
        let mut seen = HashSet::new();
        Ok(lines.filter(|it| seen.insert((it.key.clone(), it.attempt, it.direction))).collect())
    }

    /// How many turns a session had: messages that Claude answered.
    pub fn turns(&self, who: &ThreadId, session: &SessionId) -> Result<usize, MemoryError> {
        Ok(answered(&self.conversation(who, session)?))
    }

    /// Removes conversations to which nothing was added for `keep`, and says how many. Once a day. What is no folder is
    /// passed over, and told when all others are done.
    pub fn retire(&self, now: SystemTime, keep: Option<Duration>) -> Result<usize, MemoryError> {
        let Some(keep) = keep else { return Ok(0) };
        let root = self.root.join("conversations");
        let (mut count, mut trouble) = (0, None);
        for who in self.names(&root)? {
            let dir = root.join(who);
            let names = self.names(&dir).unwrap_or_else(|err| {
                trouble = Some(err);
                Vec::new()
            });
            for name in names.iter().filter(|it| it.ends_with(".jsonl")) {
                let path = dir.join(name);
                if age(&path, now).is_some_and(|it| it > keep) {
                    remove(&path)?;
                    count += 1;
                }
            }
        }
        trouble.map_or(Ok(count), Err)
    }
}

pub(crate) fn answered(lines: &[ConversationLine]) -> usize {
    let answers = lines.iter().filter(|it| it.direction == Direction::Out);
    answers.map(|it| &it.key).collect::<HashSet<_>>().len()
}

fn age(path: &Path, now: SystemTime) -> Option<Duration> {
    now.duration_since(fs::metadata(path).ok()?.modified().ok()?).ok()
}
