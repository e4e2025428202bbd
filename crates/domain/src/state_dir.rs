//! Where everything in the state folder is: the one place that knows its layout (`docs/ARCHITECTURE.md`, "On disk"). It
//! touches no disk, and says nothing of what lies inside the queue.

use std::path::{Path, PathBuf};

use crate::{Key, ThreadId};

/// The state folder: a path for each thing in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// The state folder at `root`, which is `TINYCLAW_DIR`.
    pub fn new(root: impl Into<PathBuf>) -> StateDir {
        StateDir { root: root.into() }
    }

    /// The folder itself. The queue is opened with it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folders that services expect to find. The queue makes its own.
    pub fn folders(&self) -> [PathBuf; 10] {
        [
            self.updates(),
            self.statuses(),
            self.progresses(),
            self.jobs(),
            self.logs(),
            self.memory(),
            self.all_files(),
            self.asks(),
            self.healths(),
            self.locks(),
        ]
    }

    /// All settings. Written by the operator.
    pub fn settings(&self) -> PathBuf {
        self.root.join("settings.json")
    }

    /// Overrides of the router's lists and weights. Written by the operator.
    pub fn router(&self) -> PathBuf {
        self.root.join("router.toml")
    }

    /// Every thread. Written by processor.
    pub fn threads(&self) -> PathBuf {
        self.root.join("threads.json")
    }

    /// The office's own skills, in the shape of a plugin of Claude Code. Written by the operator; every desk's Claude reads it.
    pub fn office(&self) -> PathBuf {
        self.root.join("office")
    }

    /// How far the limits of Claude's plan are used up. Written by processor.
    pub fn plan(&self) -> PathBuf {
        self.root.join("plan.json")
    }

    /// Secrets of MCP servers, a file each. Written by the operator.
    pub fn mcp_secrets(&self) -> PathBuf {
        self.root.join("mcp-secrets")
    }

    /// The queue's folder.
    pub fn queue(&self) -> PathBuf {
        self.root.join("queue")
    }

    /// Raw updates until they are published. Written by telegram.
    pub fn updates(&self) -> PathBuf {
        self.root.join("updates")
    }

    /// One raw update.
    pub fn update(&self, update_id: i64) -> PathBuf {
        self.updates().join(format!("{update_id}.json"))
    }

    /// Status messages. Written by telegram.
    pub fn statuses(&self) -> PathBuf {
        self.root.join("status")
    }

    /// The status message of one turn.
    pub fn status(&self, key: &Key) -> PathBuf {
        self.statuses().join(format!("{key}.json"))
    }

    /// Offset, addresses of threads, messages and their models. Written by telegram.
    pub fn telegram(&self) -> PathBuf {
        self.root.join("telegram.json")
    }

    /// What was asked of each chat lately, and how long it is left alone. Written by telegram.
    pub fn telegram_pace(&self) -> PathBuf {
        self.root.join("telegram-pace.json")
    }

    /// Running turns. Written by processor.
    pub fn progresses(&self) -> PathBuf {
        self.root.join("progress")
    }

    /// One running turn.
    pub fn progress(&self, key: &Key) -> PathBuf {
        self.progresses().join(format!("{key}.json"))
    }

    /// The story of each turn. Written by processor.
    pub fn jobs(&self) -> PathBuf {
        self.root.join("jobs")
    }

    /// The story of one message's turn.
    pub fn job(&self, key: &Key) -> PathBuf {
        self.jobs().join(format!("{key}.jsonl"))
    }

    /// Every message in and out. Written by processor.
    pub fn history(&self) -> PathBuf {
        self.root.join("message-history.jsonl")
    }

    /// Every decision of the router. Written by processor.
    pub fn routing(&self) -> PathBuf {
        self.root.join("routing-log.jsonl")
    }

    /// What the router has learned from this office, above its own weights and below the operator's. Written by the
    /// operator, through `tinyclaw route --learn`.
    pub fn learned_router(&self) -> PathBuf {
        self.root.join("router-learned.toml")
    }

    /// What people said about answers. Written by processor.
    pub fn outcomes(&self) -> PathBuf {
        self.root.join("routing-outcomes.jsonl")
    }

    /// Every assembled prompt. Written by processor.
    pub fn prompts(&self) -> PathBuf {
        self.logs().join("prompts.jsonl")
    }

    /// Logs.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// A text log: `telegram`, `queue`.
    pub fn text_log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    /// Memory. Written by processor, and by people.
    pub fn memory(&self) -> PathBuf {
        self.root.join("memory")
    }

    /// What was sent, thread by thread.
    pub fn all_files(&self) -> PathBuf {
        self.root.join("files")
    }

    /// What was sent in a thread, both ways.
    pub fn files(&self, thread: &ThreadId) -> PathBuf {
        self.all_files().join(thread.as_str())
    }

    /// Permission questions that are too long for a message, as files: where no desk can write, since what a person reads
    /// there is what they allow. Written by telegram and the CLI.
    pub fn asks(&self) -> PathBuf {
        self.root.join("asks")
    }

    /// What the operator's transcriber has as HOME, and the recording that it works on. Written by telegram and by it.
    pub fn transcriber(&self) -> PathBuf {
        self.root.join("transcriber")
    }

    /// The desks' homes: what Claude and its tools have as HOME. Made by processor, and its agents' from then on.
    pub fn homes(&self) -> PathBuf {
        self.root.join("home")
    }

    /// One desk's home.
    pub fn home(&self, thread: &ThreadId) -> PathBuf {
        self.homes().join(thread.as_str())
    }

    /// Bare copies of repositories, which no desk can write. Written by processor.
    pub fn mirrors(&self) -> PathBuf {
        self.root.join("mirrors")
    }

    /// The bare copy of one repository. The caller has checked both names.
    pub fn mirror(&self, owner: &str, name: &str) -> PathBuf {
        self.mirrors().join(owner).join(format!("{name}.git"))
    }

    /// Each service's word on itself.
    pub fn healths(&self) -> PathBuf {
        self.root.join("health")
    }

    /// One service's word on itself.
    pub fn health(&self, service: &str) -> PathBuf {
        self.healths().join(format!("{service}.json"))
    }

    /// Every event that was told. Written by gateway.
    pub fn events(&self) -> PathBuf {
        self.root.join("events.db")
    }

    /// Who may use the gateway. Written by the operator, through the CLI.
    pub fn tokens(&self) -> PathBuf {
        self.root.join("tokens.json")
    }

    /// Where callers of the web API may have Claude work. Written by the operator.
    pub fn envs(&self) -> PathBuf {
        self.root.join("envs.json")
    }

    /// Locks.
    pub fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// Held by the one processor of this folder.
    pub fn processor_lock(&self) -> PathBuf {
        self.locks().join("processor")
    }

    /// Held by whoever changes `tokens.json`.
    pub fn tokens_lock(&self) -> PathBuf {
        self.locks().join("tokens")
    }

    /// Held by the one gateway of this folder.
    pub fn gateway_lock(&self) -> PathBuf {
        self.locks().join("gateway")
    }

    /// Held by the one service that polls for this bot.
    pub fn telegram_lock(&self, bot_id: i64) -> PathBuf {
        self.locks().join(format!("telegram-{bot_id}"))
    }

    /// Which runs at the far end of a link are the office's, and what is asked in each. Written by processor.
    pub fn known_runs(&self) -> PathBuf {
        self.root.join("runs.json")
    }

    /// The same of devboxes. Written by processor.
    pub fn devbox_runs(&self) -> PathBuf {
        self.root.join("devbox-runs.json")
    }

    /// The same of environments that are containers. Written by processor.
    pub fn env_runs(&self) -> PathBuf {
        self.root.join("env-runs.json")
    }

    /// Every devbox, and what was done about it. Nobody but processor opens it.
    pub fn devboxes(&self) -> PathBuf {
        self.root.join("devboxes.db")
    }

    /// What everybody may know of the devboxes. Written by processor.
    pub fn devbox_views(&self) -> PathBuf {
        self.root.join("devboxes.json")
    }

    /// The approved host keys, a file each, as ssh reads them. Written by processor before each connection.
    pub fn devbox_keys(&self) -> PathBuf {
        self.root.join("devbox-keys")
    }

    /// Held by the leash under which Claude runs for this thread.
    pub fn session_lock(&self, thread: &ThreadId) -> PathBuf {
        self.locks().join(format!("session-{thread}"))
    }

    /// The same where several offices have this folder, and each numbers its own threads.
    pub fn session_lock_of(&self, office: &str, thread: &ThreadId) -> PathBuf {
        self.locks().join(format!("session-{thread}@{office}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_and_a_key_name_one_file_each() {
        let state = StateDir::new("/var/tinyclaw");
        let below = |path: PathBuf| path.strip_prefix("/var/tinyclaw").unwrap().to_owned();
        assert_eq!(below(state.files(&ThreadId::topic(42))), Path::new("files/42"));
        assert_eq!(below(state.job(&"tg-1".parse().unwrap())), Path::new("jobs/tg-1.jsonl"));
        assert_eq!(below(state.prompts()), Path::new("logs/prompts.jsonl"));
        assert_eq!(below(state.mirror("ada", "calendar")), Path::new("mirrors/ada/calendar.git"));
    }
}
