//! The lines of the JSONL logs. A line may stand twice after a crash, with the same key and attempt: readers keep one.

use serde::{Deserialize, Serialize};

use crate::{
    Channel, Decision, DevboxName, Key, Message, Model, SessionId, Source, ThreadId, Tier,
    ToolSpan, Usage,
};

/// One line of `message-history.jsonl`: a message in, or an answer out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryLine {
    /// When, in ms since 1970.
    pub timestamp: u64,
    /// Which message.
    pub key: Key,
    /// Which attempt.
    pub attempt: u32,
    /// The original's id of the message.
    pub message_id: String,
    /// The desk.
    pub thread_id: ThreadId,
    /// The way it came or went.
    pub channel: Channel,
    /// In or out.
    pub direction: Direction,
    /// Who spoke.
    pub sender: String,
    /// What was said.
    pub message: String,
    /// The model that wrote it, for answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
    /// The tier it was routed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// Who or what spoke.
    #[serde(default)]
    pub source: Source,
    /// The desk it came from, for cross-thread messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_thread_id: Option<ThreadId>,
    /// How long the turn took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// What it cost, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// Tokens, for answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// How large the conversation had become with this answer, in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// The tools the turn used, for answers: oldest first, at most [`TOOL_SPANS_MAX`](crate::TOOL_SPANS_MAX).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolSpan>,
    /// The devbox that its thread works on. What it cost is that machine's own account, and its own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devbox: Option<DevboxName>,
}

impl HistoryLine {
    /// A message as the history has it when it came in, or will have it. An answer's line is made of it, too.
    pub fn of(message: &Message) -> HistoryLine {
        HistoryLine {
            timestamp: message.timestamp,
            key: message.key.clone(),
            attempt: message.attempts.run.max(1),
            message_id: message.message_id.clone(),
            thread_id: message.thread_id.clone(),
            channel: message.channel,
            direction: Direction::In,
            sender: message.sender.clone(),
            message: message.message.clone(),
            model: None,
            tier: None,
            source: message.source,
            source_thread_id: message.source_thread_id.clone(),
            duration_ms: None,
            cost_usd: None,
            usage: None,
            context_tokens: None,
            tools: Vec::new(),
            devbox: None,
        }
    }
}

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To Claude.
    In,
    /// From Claude, or from TinyClaw.
    Out,
}

/// One line of `routing-log.jsonl`: a decision, with what it was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoutingLine {
    /// When, in ms since 1970.
    pub timestamp: u64,
    /// Which message.
    pub key: Key,
    /// Which attempt.
    pub attempt: u32,
    /// The original's id of the message.
    pub message_id: String,
    /// The desk.
    pub thread_id: ThreadId,
    /// The text that was scored, shortened to a few kilobytes.
    pub raw_input: String,
    /// How long the decision took.
    pub duration_us: u64,
    /// What was decided, and why.
    #[serde(flatten)]
    pub decision: Decision,
}

/// One line of `routing-outcomes.jsonl`: what a person says about the answer of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutcomeLine {
    /// When, in ms since 1970.
    pub timestamp: u64,
    /// The message that was answered.
    pub key: Key,
    /// The desk.
    pub thread_id: ThreadId,
    /// The model that answered.
    pub model: Model,
    /// The tier that the message was routed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// What is said about the answer.
    pub said: Correction,
    /// The message that says so, or the update that brought a reaction.
    pub by: Key,
    /// Who says so: their id in the channel. A reaction is taken back by the person who gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<String>,
}

/// What a person says about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// It was wrong.
    Wrong,
    /// The same is asked again.
    Again,
    /// A stronger model is wanted for the same.
    Stronger,
    /// A thumbs-down on the answer.
    ThumbsDown,
    /// The thumbs-down is taken back.
    ThumbsDownGone,
}

/// One line of `logs/prompts.jsonl`: a prompt exactly as Claude got it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromptLine {
    /// When, in ms since 1970.
    pub timestamp: u64,
    /// Which message.
    pub key: Key,
    /// Which attempt.
    pub attempt: u32,
    /// The desk.
    pub thread_id: ThreadId,
    /// The original's id of the message.
    pub message_id: String,
    /// The model that was asked.
    pub model: Model,
    /// Words added to Claude's system prompt.
    pub system_prompt: String,
    /// Everything that was sent as the user's message.
    pub user_message: String,
    /// Whether the session was new, which is the only time history belongs into a prompt.
    pub new_session: bool,
    /// Whether history or memory was put in.
    pub history_injected: bool,
    /// How many lines of it.
    pub history_lines: u32,
    /// Length of the user message in characters.
    pub prompt_length: u64,
    /// What `user_message` is made of, in order.
    #[serde(default)]
    pub parts: Vec<InjectedPart>,
}

/// One part of an assembled prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InjectedPart {
    /// `time`, `note`, `summaries`, `daily`, `history`, `reply`, `files`, `message`.
    pub name: String,
    /// Its size in characters.
    pub chars: u64,
}

/// One line of `memory/conversations/<who>/<session>.jsonl`: what was said in one session, by either side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConversationLine {
    /// When, in ms since 1970.
    pub timestamp: u64,
    /// Which message.
    pub key: Key,
    /// Which attempt.
    pub attempt: u32,
    /// The session.
    pub session_id: SessionId,
    /// To Claude, or from Claude.
    pub direction: Direction,
    /// Who spoke.
    pub sender: String,
    /// What was said.
    pub text: String,
    /// The model that wrote it, for answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Model>,
}
