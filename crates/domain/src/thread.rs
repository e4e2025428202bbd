//! Threads: the desks of the office, as `threads.json` keeps them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Effort, EnvName, McpServers, Model, OwnTiers, Place, SessionId, ThreadId};

/// `threads.json`: every desk by its id.
pub type Threads = BTreeMap<ThreadId, Thread>;

/// One desk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Thread {
    /// What people call it.
    pub name: String,
    /// Where Claude works: an absolute path, or `NAME:/path` on a devbox. To be read by [`Thread::place`] alone.
    pub cwd: String,
    /// The environment of the gateway that Claude works in; none for a thread of this machine or of a devbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<EnvName>,
    /// The Claude session that the next message continues; none before the first turn and after a reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// The model that answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// The model the user pinned this thread to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Model>,
    /// The models that do tiers' work here, where they are others than the office's.
    #[serde(default, skip_serializing_if = "OwnTiers::is_empty")]
    pub tiers: OwnTiers,
    /// How hard Claude thinks here, where it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Effort>,
    /// What of its repository counts for Claude, where it is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust: Option<Trust>,
    /// What Claude may do without asking.
    #[serde(default)]
    pub permission_mode: PermissionMode,
    /// Words added to Claude's system prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    /// The desk's own MCP servers, by name.
    #[serde(default, skip_serializing_if = "McpServers::is_empty")]
    pub mcp: McpServers,
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

impl Thread {
    /// Where this thread's Claude runs, and its directory there.
    ///
    /// The directory is a path of that place: only for [`Place::Here`] does it name anything on this machine's disk. What
    /// is no absolute path and names no devbox is a directory of this machine that is not there.
    pub fn place(&self) -> (Place, PathBuf) {
        if let Some(env) = &self.env {
            return (Place::Env(env.clone()), PathBuf::from(&self.cwd));
        }
        let on_devbox = self.cwd.split_once(':').filter(|(_, dir)| dir.starts_with('/'));
        match on_devbox.and_then(|(name, dir)| Some((name.parse().ok()?, dir))) {
            Some((name, dir)) => (Place::Devbox(name), PathBuf::from(dir)),
            None => (Place::Here, PathBuf::from(&self.cwd)),
        }
    }
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

/// What of a repository counts for Claude that works in it. In their order: only an admin may go further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trust {
    /// Nothing: its `CLAUDE.md` is a file like any other.
    None,
    /// What is to be read, which is `CLAUDE.md` and rules. Nothing of it runs.
    Text,
    /// Its settings as well, and so its hooks, helpers, variables, skills, commands and agents: they run with Claude's login
    /// at hand, and as an agent changes them.
    Settings,
}

impl Trust {
    /// All of them, least first.
    pub const ALL: [Trust; 3] = [Trust::None, Trust::Text, Trust::Settings];

    /// The word that people type.
    pub fn as_str(self) -> &'static str {
        match self {
            Trust::None => "none",
            Trust::Text => "text",
            Trust::Settings => "settings",
        }
    }

    /// The one of this word.
    pub fn named(word: &str) -> Option<Trust> {
        Trust::ALL.into_iter().find(|it| it.as_str().eq_ignore_ascii_case(word))
    }
}

/// What Claude may do in a thread without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PermissionMode {
    /// Look, and propose a plan before anything is changed.
    Plan,
    /// Ask for whatever changes something.
    #[default]
    Ask,
    /// Edit files below the thread's directory without asking. Only an admin may go from asking to this,
    AcceptEdits,
    /// or to never asking.
    Bypass,
}

impl PermissionMode {
    /// Whether Claude asks less in it than in another one: only an admin may go there from that one.
    pub fn asks_less_than(self, other: PermissionMode) -> bool {
        let freedom = |it| match it {
            PermissionMode::Plan | PermissionMode::Ask => 0,
            PermissionMode::AcceptEdits => 1,
            PermissionMode::Bypass => 2,
        };
        freedom(self) > freedom(other)
    }

    /// The name the CLI knows it by.
    pub fn cli_name(self) -> &'static str {
        match self {
            PermissionMode::Plan => "plan",
            PermissionMode::Ask => "default",
            PermissionMode::AcceptEdits => "acceptEdits",
            PermissionMode::Bypass => "bypassPermissions",
        }
    }
}
