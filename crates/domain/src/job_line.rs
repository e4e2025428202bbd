//! One line of a turn's story: `jobs/<key>.jsonl`, appended by processor, read by every stream.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Key, Model, Outcome, Tier, Todo};

/// A line, and its place in the story.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobLine {
    /// When the attempt began that wrote it, in ms since 1970; above that of every line before. A tail that a power cut
    /// took and an attempt wrote anew is never the same line twice.
    #[serde(rename = "gen")]
    pub generation: u64,
    /// Its number within the attempt, from 1.
    pub seq: u64,
    /// When it was written, in ms since 1970.
    pub at: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: JobEvent,
}

impl JobLine {
    /// What it is known by.
    pub fn id(&self) -> JobId {
        JobId { generation: self.generation, seq: self.seq }
    }
}

/// What happened in a turn. A reader passes over what it does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum JobEvent {
    /// Claude has the message.
    Begun {
        /// Which attempt this is.
        attempt: u32,
        /// The model that works on it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<Model>,
        /// The tier it was routed to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tier: Option<Tier>,
        /// Whether Claude's process was there already.
        warm: bool,
    },
    /// More of the text that is being written: a preview.
    Text {
        /// What is new of it.
        text: String,
    },
    /// A whole piece of text, in place of the previews since the last one.
    #[serde(rename = "text.done")]
    TextDone {
        /// All of it.
        text: String,
    },
    /// The previews since the last whole piece do not count: Claude begins that piece anew.
    Void,
    /// A tool begins.
    Tool {
        /// Which use of it.
        id: String,
        /// The tool, such as `Bash`.
        name: String,
        /// What it does, on one line, with secrets taken out.
        detail: String,
        /// The use of a tool within which it is: that of the subagent which uses it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<String>,
    },
    /// A tool is done.
    #[serde(rename = "tool.done")]
    ToolDone {
        /// Which use of it.
        id: String,
        /// Whether it failed.
        failed: bool,
        /// How long it took.
        ms: u64,
    },
    /// What Claude has to do, as it says itself: its whole list each time, up to its first thirty.
    Todos {
        /// The list.
        todos: Vec<Todo>,
    },
    /// What runs on in the background beside the turn: all of it each time.
    Background {
        /// What each task was described as, with secrets taken out.
        running: Vec<String>,
    },
    /// Claude asks for permission.
    Ask {
        /// Which question.
        request_id: String,
        /// The tool.
        tool: String,
        /// What it would run with: what is shown is what would run, so nothing is taken out.
        input: Value,
        /// What "always" would allow. Empty: nothing can be allowed for good.
        #[serde(default)]
        always: Vec<String>,
    },
    /// The question is no longer open.
    #[serde(rename = "ask.closed")]
    AskClosed {
        /// Which question.
        request_id: String,
        /// Whether nobody answered in time.
        expired: bool,
    },
    /// Claude took words that were handed to the running turn.
    Steered {
        /// The message they are.
        key: Key,
        /// The words, with secrets taken out.
        text: String,
    },
    /// Something went wrong and is tried again, in words for a person.
    Trouble {
        /// The words.
        text: String,
    },
    /// Another attempt: nothing that was said before counts.
    Restart {
        /// Which one.
        attempt: u32,
    },
    /// Lines are missing here.
    Gap {
        /// Why: `disk` when there was no room for them, `size` when there were too many.
        reason: String,
    },
    /// The turn is over. Its answer is in the queue's `done/`, which is the truth.
    End {
        /// How it ended.
        outcome: Outcome,
    },
    /// Something of a later version.
    #[serde(other)]
    Unknown,
}

/// What a line is known by, in order: `<gen>-<seq>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct JobId {
    /// [`JobLine::generation`].
    pub generation: u64,
    /// [`JobLine::seq`].
    pub seq: u64,
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.seq)
    }
}

/// A text that is no id of a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no place in a job's log; it looks like 1771234567905-12")]
pub struct BadJobId(String);

impl FromStr for JobId {
    type Err = BadJobId;

    fn from_str(text: &str) -> Result<JobId, BadJobId> {
        let number = |it: &str| {
            let is_plain = !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit());
            is_plain.then(|| it.parse().ok()).flatten()
        };
        let id = text.split_once('-').and_then(|(generation, seq)| {
            Some(JobId { generation: number(generation)?, seq: number(seq)? })
        });
        id.ok_or_else(|| BadJobId(text.chars().take(60).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_orders_by_generation_first() {
        let id: JobId = "1771234567905-12".parse().unwrap();
        assert_eq!(id.to_string(), "1771234567905-12");
        assert!(id < "1771234567906-1".parse().unwrap());
        assert!(id > "1771234567905-9".parse().unwrap());
        for bad in ["", "1", "1-", "-1", "1-2-3", "+1-2", "1-x", "99999999999999999999-1"] {
            assert!(bad.parse::<JobId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_line_of_a_later_version_is_passed_over_and_not_refused() {
        let line = r#"{"gen":1,"seq":2,"at":3,"type":"thought","text":"hm"}"#;
        let line: JobLine = serde_json::from_str(line).unwrap();
        assert_eq!((line.id().to_string(), line.event), ("1-2".to_owned(), JobEvent::Unknown));
    }
}
