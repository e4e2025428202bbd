//! A running turn as people see it: `progress/<key>.json`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::approval::Rule;
use crate::{Key, Model, ThreadId, Tier};

/// The state of a turn while Claude works. Written by processor, shown by whoever shows turns, gone when the answer
/// has moved on. It may lag the truth by a moment and is lost in a power cut; nothing depends on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// The message being answered.
    pub key: Key,
    /// Its thread.
    pub thread_id: ThreadId,
    /// Which attempt this is.
    pub attempt: u32,
    /// What the turn is doing.
    pub state: TurnState,
    /// The model that works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// The tier it was routed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// When the turn began, in ms since 1970.
    pub started_at: u64,
    /// When this was written, in ms since 1970.
    pub updated_at: u64,
    /// The answer so far.
    #[serde(default)]
    pub text: String,
    /// The tools used, oldest first, at most the last ten.
    #[serde(default)]
    pub tools: Vec<ToolUse>,
    /// The open permission question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<Ask>,
    /// MCP servers that are of no use to this turn, and why, in words for a person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mcp_trouble: Vec<String>,
    /// What went wrong and will be tried again, in words for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// What a turn is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TurnState {
    /// Claude's process is being started or resumed.
    Starting,
    /// Claude thinks or writes.
    Working,
    /// Claude waits for an answer to `asks`.
    Asking,
    /// The turn is being stopped.
    Stopping,
}

/// One use of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolUse {
    /// The tool, such as `Bash`.
    pub name: String,
    /// What it does, on one line, with secrets taken out.
    pub detail: String,
    /// When it began, in ms since 1970.
    pub at: u64,
    /// How long it took, once it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Whether it failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
}

/// So many tools of a finished turn are kept, the first ones: enough for a picture of it.
pub const TOOL_SPANS_MAX: usize = 200;

/// One use of a tool as it is kept when the turn is over: which and when, never with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolSpan {
    /// The tool, such as `Bash`.
    pub name: String,
    /// When it began, in ms after the turn's prompt was handed on.
    pub start_ms: u64,
    /// How long it took; until the turn's end, when that came first.
    pub duration_ms: u64,
    /// Whether it did what it was to do.
    pub ok: bool,
}

/// A permission question. It is part of the turn's state and dies with the turn; only the answer is a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    /// Which question, so that an answer to an older one is not taken for this one.
    pub request_id: String,
    /// The tool Claude wants to use.
    pub tool: String,
    /// What it wants to do with it. Nothing is taken out of it: whoever answers sees what they allow.
    pub input: Value,
    /// When the question was asked, in ms since 1970.
    pub at: u64,
    /// What "always" would allow for the rest of the session. Empty: nothing can be allowed for good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub always: Vec<Rule>,
    /// Why `input` is not here, when it is not. Such a question cannot be allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unshown: Option<String>,
}
