//! The lines of the logs, made from messages and answers. Pure but for the clock; writes nothing.

use tinyclaw_domain::{
    ConversationLine, Direction, HistoryLine, Key, Message, Model, Outcome, Reply, RoutingLine,
    SessionId, Source,
};
use tinyclaw_engine::{Background, TurnEnd, TurnOutcome};
use tinyclaw_service::{conceal, now_ms};

use crate::history::Decided;
use crate::text::shortened;

/// The raw input of a decision is kept to this length.
const RAW_INPUT_CHARS_MAX: usize = 4_000;

/// A message that came in.
pub(crate) fn received(message: &Message, attempt: u32) -> HistoryLine {
    let said = conceal(&message.message).into_owned();
    HistoryLine { attempt, message: said, ..HistoryLine::of(message) }
}

/// Its answer.
pub(crate) fn answered(message: &Message, attempt: u32, reply: &Reply) -> HistoryLine {
    HistoryLine {
        timestamp: now_ms(),
        sender: if reply.outcome == Outcome::Notice { "TinyClaw" } else { "Claude" }.to_owned(),
        direction: Direction::Out,
        message: match &reply.file {
            Some(file) => format!("[the answer is in {file}]"),
            None => reply.text.clone(),
        },
        model: reply.model,
        tier: reply.tier,
        duration_ms: Some(reply.duration_ms),
        cost_usd: Some(reply.cost_usd),
        usage: Some(reply.usage),
        context_tokens: reply.context_tokens,
        tools: reply.tools.clone(),
        attempt,
        source: Source::System,
        ..HistoryLine::of(message)
    }
}

/// What a failed turn of this model cost, if anything, under a key of its own: an attempt may be paid for more than once.
pub(crate) fn spent(message: &Message, end: &TurnEnd, model: Model) -> Option<HistoryLine> {
    let TurnOutcome::Failed(failure) = &end.outcome else { return None };
    if end.cost_usd == 0.0 {
        return None;
    }
    Some(HistoryLine {
        key: Key::hashed("n", &format!("spent-{}-{}", message.key, uuid::Uuid::new_v4())),
        timestamp: now_ms(),
        sender: "TinyClaw".to_owned(),
        direction: Direction::Out,
        message: format!("[no answer: {failure}]"),
        model: Some(model),
        duration_ms: Some(end.duration.as_millis() as u64),
        cost_usd: Some(end.cost_usd),
        usage: Some(end.usage),
        attempt: 1,
        source: Source::System,
        ..HistoryLine::of(message)
    })
}

/// What a Claude said with no message in flight: `out` is the message that carries it, `model` who said it.
pub(crate) fn said_later(
    said: &Background,
    model: Option<Model>,
    out: &Message,
    text: &str,
) -> HistoryLine {
    HistoryLine {
        direction: Direction::Out,
        sender: "Claude".to_owned(),
        message: text.to_owned(),
        model,
        cost_usd: Some(said.cost_usd),
        usage: Some(said.usage),
        ..HistoryLine::of(out)
    }
}

/// What was asked and what was answered, for the session's conversation. `out` is the answer's line in the history.
pub(crate) fn conversation(
    message: &Message,
    attempt: u32,
    session: &SessionId,
    out: &HistoryLine,
) -> [ConversationLine; 2] {
    let asked = ConversationLine {
        timestamp: message.timestamp,
        key: message.key.clone(),
        attempt,
        session_id: session.clone(),
        direction: Direction::In,
        sender: message.sender.clone(),
        text: conceal(&message.message).into_owned(),
        model: None,
    };
    let answered = ConversationLine {
        timestamp: out.timestamp,
        direction: Direction::Out,
        sender: "Claude".to_owned(),
        text: out.message.clone(),
        model: out.model,
        ..asked.clone()
    };
    [asked, answered]
}

/// Why a message gets the model that it gets.
pub(crate) fn routing(message: &Message, attempt: u32, decided: &Decided) -> RoutingLine {
    RoutingLine {
        timestamp: decided.at,
        key: message.key.clone(),
        attempt,
        message_id: message.message_id.clone(),
        thread_id: message.thread_id.clone(),
        raw_input: shortened(&conceal(&message.message), RAW_INPUT_CHARS_MAX),
        duration_us: decided.took.as_micros() as u64,
        decision: decided.decision.clone(),
    }
}
