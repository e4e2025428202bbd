//! A running turn as people see it: `progress/<key>.json`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::approval::Rule;
use crate::{DevboxName, Key, Model, ThreadId, Tier};

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
    /// What Claude has to do, as it says itself: at most the first thirty of its list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub todos: Vec<Todo>,
    /// What runs on in the background, by its description, with secrets taken out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub background: Vec<String>,
    /// The open question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<Ask>,
    /// The devbox that Claude works on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devbox: Option<DevboxName>,
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
    /// Whether a subagent uses it: it stands below the use of the tool that is the subagent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_nested: bool,
}

/// Something that Claude has to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Todo {
    /// What, on one line, with secrets taken out.
    pub text: String,
    /// How far it is.
    #[serde(default)]
    pub state: TodoState,
}

/// How far something is that Claude has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TodoState {
    /// It is not begun.
    #[default]
    Open,
    /// It is at it.
    Doing,
    /// It is done.
    Done,
}

/// `1 of 3 done: write the test`, while something is left to do.
pub fn left_to_do(todos: &[Todo]) -> Option<String> {
    let done = todos.iter().filter(|it| it.state == TodoState::Done).count();
    if done == todos.len() {
        return None;
    }
    let doing = todos.iter().find(|it| it.state == TodoState::Doing);
    let doing = doing.map_or(String::new(), |it| format!(": {}", it.text));
    Some(format!("{done} of {} done{doing}", todos.len()))
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
