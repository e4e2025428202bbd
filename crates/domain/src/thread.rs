//! Threads: the desks of the office, as `threads.json` keeps them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Model, SessionId, ThreadId};

/// `threads.json`: every desk by its id.
pub type Threads = BTreeMap<ThreadId, Thread>;

/// One desk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Thread {
    /// What people call it.
    pub name: String,
    /// Where Claude works, absolute.
    pub cwd: String,
    /// The Claude session that the next message continues; none before the first turn and after a reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// The model that answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// The model the user pinned this thread to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Model>,
    /// What Claude may do without asking.
    #[serde(default)]
    pub permission_mode: PermissionMode,
    /// Words added to Claude's system prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// The repository this thread works on, `owner/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// Whether this is the control room, which sees all threads.
    #[serde(default)]
    pub is_master: bool,
    /// What the desk is doing.
    #[serde(default)]
    pub status: ThreadStatus,
    /// When something last happened here, in ms since 1970.
    #[serde(default)]
    pub last_active: u64,
    /// Fields this version does not know, kept as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What a desk is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThreadStatus {
    /// Nothing.
    #[default]
    Idle,
    /// A turn is running.
    Working,
    /// A turn waits for a person's answer.
    Waiting,
    /// Closed: messages are refused until it is reopened.
    Closed,
}

/// What Claude may do in a thread without asking.
/// In their order: whoever is greater asks less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PermissionMode {
    /// Ask for whatever changes something.
    #[default]
    Ask,
    /// Edit files below the thread's directory without asking. Only an admin may go from asking to this,
    AcceptEdits,
    /// or to never asking.
    Bypass,
}

impl PermissionMode {
    /// The name the CLI knows it by.
    pub fn cli_name(self) -> &'static str {
        match self {
            PermissionMode::Ask => "default",
            PermissionMode::AcceptEdits => "acceptEdits",
            PermissionMode::Bypass => "bypassPermissions",
        }
    }
}
