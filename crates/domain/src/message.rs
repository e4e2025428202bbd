//! A message: one JSON file for its whole life, from the update that brought it to the ids of the parts it was
//! answered with.
//!
//! The field names are those of the TypeScript original, so a file made by an old script still works. Fields this
//! version does not know are kept; a `v` it does not know is refused.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::approval::Chosen;
use crate::{
    ApiJob, DevboxOrder, Effort, Key, Lane, McpName, McpServer, Model, PermissionMode, SessionId,
    ThreadId, Tier, ToolSpan, Trust,
};

/// Under this name the notice that shows a message from another thread carries that message's key: when the answer came
/// before it, with what was asked, there is nothing left to show.
pub const ARRIVAL_OF: &str = "arrivalOf";

/// Why a message lies in `dead/` that a person stopped before it began: nothing is wrong with it.
pub const STOPPED_WAITING: &str = "stopped by a person before it began";

/// The version of the shape below.
pub const MESSAGE_VERSION: u32 = 1;

/// One message and everything that became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The version of this shape.
    pub v: u32,
    /// Which message it is.
    pub key: Key,
    /// Where the answer goes.
    pub channel: Channel,
    /// The desk.
    pub thread_id: ThreadId,
    /// The original's id: `<ms>_<key without dashes>`.
    pub message_id: String,
    /// Who or what spoke.
    #[serde(default)]
    pub source: Source,
    /// The desk it came from, for cross-thread messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_thread_id: Option<ThreadId>,
    /// The speaker's name.
    #[serde(default)]
    pub sender: String,
    /// The speaker's id in its channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<String>,
    /// What was said.
    #[serde(default)]
    pub message: String,
    /// Whether it replies to one of the bot's messages.
    #[serde(default)]
    pub is_reply: bool,
    /// The text replied to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to_text: Option<String>,
    /// The model that wrote what is replied to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to_model: Option<Model>,
    /// The topic's name, where the channel knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_name: Option<String>,
    /// What came with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileRef>,
    /// When it was said, in ms since 1970.
    pub timestamp: u64,
    /// How often it was tried, on each side.
    #[serde(default)]
    pub attempts: Attempts,
    /// Why the last attempt came to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// How many threads it was passed through.
    #[serde(default)]
    pub hops: u32,
    /// The message that this one is the newer text of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edits: Option<Key>,
    /// The message whose question this one asks again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks_again: Option<Key>,
    /// Whether it is for the turn that runs, instead of waiting in line. When none runs it is a message like any other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub steer: bool,
    /// How it was handed to a running turn, kept before it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handed: Option<crate::Handed>,
    /// An order to TinyClaw itself instead of a question to Claude.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
    /// What was asked besides the words, when it was asked over the web API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<ApiJob>,
    /// How far a turn got, so that the next attempt can carry on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
    /// The answer. Once it is here, Claude is never asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Reply>,
    /// What the turn sends to other threads; published before the answer moves on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub follow_ups: Vec<FollowUp>,
    /// What was sent of the answer, part by part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delivery: Vec<Delivery>,
    /// Fields this version does not know, kept as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Message {
    /// A plain message of a person: the least that has to be said. The rest is set on the value.
    pub fn new(
        key: Key,
        channel: Channel,
        thread_id: ThreadId,
        text: impl Into<String>,
        timestamp: u64,
    ) -> Message {
        let message_id = format!("{timestamp}_{}", key.as_str().replace('-', ""));
        Message {
            v: MESSAGE_VERSION,
            key,
            channel,
            thread_id,
            message_id,
            source: Source::User,
            source_thread_id: None,
            sender: String::new(),
            sender_id: None,
            message: text.into(),
            is_reply: false,
            reply_to_text: None,
            reply_to_model: None,
            topic_name: None,
            files: Vec::new(),
            timestamp,
            attempts: Attempts::default(),
            trouble: None,
            hops: 0,
            edits: None,
            asks_again: None,
            steer: false,
            handed: None,
            command: None,
            job: None,
            checkpoint: None,
            reply: None,
            follow_ups: Vec::new(),
            delivery: Vec::new(),
            extra: Map::new(),
        }
    }

    /// The lane this message waits in.
    pub fn lane(&self) -> Lane {
        let thread = self.thread_id.clone();
        match &self.command {
            Some(
                Command::Stop { .. }
                | Command::Rate { .. }
                | Command::Permission { .. }
                | Command::Choose { .. }
                | Command::Change { .. },
            ) => Lane::Control(thread),
            // A message that waits for a devbox must not hold up what a person says about it.
            Some(Command::Summarize { .. } | Command::Devbox { .. }) => Lane::House(thread),
            _ => Lane::Thread(thread),
        }
    }
}

/// Where an answer goes, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Pushed to a topic by the telegram service.
    Telegram,
    /// Fetched by whoever asked at a terminal.
    Cli,
    /// Fetched by whoever asked over HTTP.
    Api,
    /// To nobody: housekeeping.
    System,
}

impl Channel {
    /// Whether somebody carries the answer out (through `outgoing/`), or it is fetched from `done/`.
    pub fn is_pushed(self) -> bool {
        matches!(self, Channel::Telegram)
    }

    /// The channel as it is written in files and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Channel::Telegram => "telegram",
            Channel::Cli => "cli",
            Channel::Api => "api",
            Channel::System => "system",
        }
    }
}

/// Who or what spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A person in a chat.
    #[default]
    User,
    /// Claude in another thread.
    CrossThread,
    /// The clock: look whether something is due.
    Heartbeat,
    /// A person or script at a terminal.
    Cli,
    /// A program over HTTP.
    Api,
    /// TinyClaw itself.
    System,
}

/// How often a message was tried, on each side of the queue. An attempt is counted when it ends; one that
/// died is counted by whoever finds the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Attempts {
    /// Turns that ended.
    #[serde(default)]
    pub run: u32,
    /// Deliveries that ended.
    #[serde(default)]
    pub send: u32,
    /// How often whoever worked on it died, since the last answer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deaths: u32,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A file that came with a message or goes with a reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FileRef {
    /// Below the state folder, `files/<thread>/…`; in a reply also absolute, below the thread's directory.
    pub path: String,
    /// Its media type.
    #[serde(default)]
    pub mime: String,
    /// The name it had where it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// An order to TinyClaw itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Command {
    /// Stop the turn that answers `key`, or whatever runs in the thread when there is none. Control lane.
    Stop {
        /// The message whose turn is meant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<Key>,
    },
    /// Note what a person's reaction says about the answer to `key`. Control lane.
    Rate {
        /// The message that was answered.
        key: Key,
        /// Whether there is a thumbs-down of this person on the answer now.
        thumbs_down: bool,
    },
    /// Answer a permission question. Control lane.
    Permission {
        /// Which question.
        request_id: String,
        /// What may happen.
        answer: PermissionAnswer,
        /// The digest of what was shown ([`Question::digest`](crate::approval::Question::digest)): an answer to anything
        /// else allows nothing.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        shown: String,
        /// Whether an admin answered; `always` is refused without.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        admin: bool,
    },
    /// Answer the questions that Claude put to a person. Control lane.
    Choose {
        /// Which questions.
        request_id: String,
        /// An answer to each of them, in their order.
        answers: Vec<Chosen>,
        /// The digest of what was shown: an answer to anything else is none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        shown: String,
    },
    /// Answer a plan that Claude proposed with what shall be different. Control lane.
    Change {
        /// Which plan.
        request_id: String,
        /// What shall be different.
        text: String,
        /// The digest of what was shown.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        shown: String,
    },
    /// Open a thread: give it a name and a directory, or clone a repository for it.
    Open {
        /// What people will call it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Where it works.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dir: Option<String>,
        /// `owner/name` to clone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repo: Option<String>,
    },
    /// End the session; the next message begins a new one.
    Reset {},
    /// Work in another directory. `admin` says that an admin asked, who may go beyond the roots.
    Setdir {
        /// The directory.
        dir: String,
        /// Whether an admin asked, who may go beyond the allowed roots.
        #[serde(default)]
        admin: bool,
    },
    /// Pin the thread to a model, or let the router choose again.
    Model {
        /// The model, or none for the router's choice.
        #[serde(default)]
        model: Option<Model>,
    },
    /// Have another model do a tier's work here, or the office's again.
    Tier {
        /// Whose work.
        tier: Tier,
        /// The model, or none for the office's.
        #[serde(default)]
        model: Option<Model>,
    },
    /// How hard Claude thinks here, or as the tier says again.
    Effort {
        /// How hard, or none for the tier's.
        #[serde(default)]
        effort: Option<Effort>,
    },
    /// What Claude may do here without asking.
    Mode {
        /// The mode.
        mode: PermissionMode,
        /// Whether an admin asked; what asks less than before is refused without.
        #[serde(default)]
        admin: bool,
    },
    /// What of its repository counts for Claude here.
    Trust {
        /// How much.
        trust: Trust,
        /// Whether an admin asked; what lets more count than before is refused without.
        #[serde(default)]
        admin: bool,
    },
    /// Tools that others give to Claude: list, add, remove, allow, connect again.
    Mcp {
        /// What is to be done.
        order: McpOrder,
        /// Whether an admin asked; what changes anything is refused without.
        #[serde(default)]
        admin: bool,
    },
    /// Remote machines on which Claude works. Housekeeping lane.
    Devbox {
        /// What is to be done.
        order: DevboxOrder,
        /// Whether an admin asked; all but looking is refused without.
        #[serde(default)]
        admin: bool,
    },
    /// Say which skills Claude has here, and where each is from.
    Skills {},
    /// Words added to Claude's system prompt, or none.
    Prompt {
        /// The words.
        #[serde(default)]
        text: Option<String>,
    },
    /// Call the thread something else.
    Rename {
        /// The new name.
        name: String,
    },
    /// Close the thread.
    Close {},
    /// Open it again.
    Reopen {},
    /// Let go of a session of an environment that nobody goes on with: its thread, its home, and its folder if nothing is in it.
    Forget {},
    /// Remove the thread, with everything that its desk has. Refused while it has work.
    Remove {
        /// Whoever asks knows what is lost. Without it only that is said.
        #[serde(default)]
        sure: bool,
    },
    /// Say how the thread is.
    Status {},
    /// Go on although the day's budget is spent; the message asked about is taken up again.
    GoOn {},
    /// Summarise a session that ended. Housekeeping lane.
    Summarize {
        /// The session.
        session: SessionId,
    },
}

/// What is to be done about a desk's MCP servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum McpOrder {
    /// Say which there are, and how each is.
    List,
    /// Add one to this desk, in place of one of the same name.
    Add {
        /// Its name.
        name: McpName,
        /// The server.
        server: Box<McpServer>,
    },
    /// Take one from this desk.
    Remove(McpName),
    /// Let Claude use these tools of one without asking.
    Allow {
        /// Whose tools.
        name: McpName,
        /// Which: `*` for all, none to be asked about each.
        tools: Vec<String>,
    },
    /// Start Claude anew for the next message, so that each is connected again.
    Reconnect,
}

impl McpOrder {
    /// Whether it changes which servers there are, or what is asked about: only an admin may.
    pub fn is_change(&self) -> bool {
        !matches!(self, McpOrder::List | McpOrder::Reconnect)
    }
}

/// The answer to a permission question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PermissionAnswer {
    /// This once.
    Allow,
    /// And the same again in this session.
    Always,
    /// No.
    Deny,
}

/// How far a turn got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// The Claude session the turn runs in, stored before the first word is sent to it.
    pub session_id: SessionId,
    /// The uuid the prompt was sent under: Claude's idempotency key.
    pub turn_uuid: String,
    /// Whether Claude has begun to use tools: what a tool did stays done, also when Claude forgets that it did it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub used_tools: bool,
    /// What the turn sends to other threads so far. Claude is told so only once it is here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub follow_ups: Vec<FollowUp>,
    /// What it attaches so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileRef>,
    /// What Claude's calls that sent or attached something were answered, by their ids: a call that is made again, because
    /// the answer was cut off, is not carried out again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub calls: BTreeMap<String, String>,
}

/// What became of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Claude answered.
    #[default]
    Answered,
    /// A person stopped it; the text is what there was until then.
    Stopped,
    /// It could not be answered; the text says why and what will be tried.
    Failed,
    /// TinyClaw itself speaks: a command's answer, a notice.
    Notice,
}

/// The answer to a message.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reply {
    /// The answer, in Claude's Markdown. Empty when it lies in `file`.
    #[serde(default)]
    pub text: String,
    /// Where the answer lies when it is longer than a message file may be, below the state folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Files that go with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileRef>,
    /// What became of the turn.
    #[serde(default)]
    pub outcome: Outcome,
    /// Nothing to say: keep it off the chat.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
    /// The model that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// The tier it was routed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Tokens, of all requests of the turn together.
    #[serde(default)]
    pub usage: Usage,
    /// Tokens that the model was given with the last of them: how large the conversation is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// What the turn cost, in US dollars, by Claude's own price table.
    #[serde(default)]
    pub cost_usd: f64,
    /// How long the turn took.
    #[serde(default)]
    pub duration_ms: u64,
    /// Buttons under it, for whoever can show them. The text says the same in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buttons: Vec<ReplyButton>,
    /// What becomes of a topic once it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<crate::TopicChange>,
    /// The tools it used, oldest first, at most [`TOOL_SPANS_MAX`](crate::TOOL_SPANS_MAX).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolSpan>,
}

/// A button under an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplyButton {
    /// What stands on it: a word or two.
    pub label: String,
    /// What a press amounts to.
    #[serde(flatten)]
    pub press: ButtonPress,
}

/// What pressing a button amounts to: an order in the thread, or something said there by whoever pressed it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ButtonPress {
    /// An order.
    Command(Command),
    /// A text.
    Say(String),
}

/// Tokens of one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Read anew.
    #[serde(default)]
    pub input_tokens: u64,
    /// Written.
    #[serde(default)]
    pub output_tokens: u64,
    /// Read from the cache.
    #[serde(default)]
    pub cache_read_tokens: u64,
    /// Written to the cache.
    #[serde(default)]
    pub cache_write_tokens: u64,
}

impl Usage {
    /// Both together.
    pub fn plus(self, other: Usage) -> Usage {
        Usage {
            input_tokens: self.input_tokens + other.input_tokens,
            output_tokens: self.output_tokens + other.output_tokens,
            cache_read_tokens: self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens: self.cache_write_tokens + other.cache_write_tokens,
        }
    }

    /// What the model was given, wherever it was read from.
    pub fn context(&self) -> u64 {
        self.input_tokens + self.cache_read_tokens + self.cache_write_tokens
    }
}

/// A message that a turn sends to another thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FollowUp {
    /// The desk it goes to.
    pub thread_id: ThreadId,
    /// The channel that desk is reached by.
    pub channel: Channel,
    /// What the sending desk is called.
    #[serde(default)]
    pub sender: String,
    /// What is said.
    pub message: String,
}

/// One part of an answer on its way out: intent before the call, the id after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    /// Which part, from 1.
    pub part: u32,
    /// When it was about to be sent, in ms since 1970.
    pub intent: u64,
    /// Telegram's id of what was sent. None after a crash means: perhaps sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telegram_message_id: Option<i64>,
    /// Whether it was sent again, marked, because nobody knows about the first time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub marked: bool,
}
