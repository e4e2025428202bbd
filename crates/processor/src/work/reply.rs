//! The answer to a message, made from how its turn ended.

use tinyclaw_domain::approval::{self, ASKS_PERSON, PLANS};
use tinyclaw_domain::{Decision, Message, Model, Outcome, Reply, Source, Usage};
use tinyclaw_engine::{FinishedReply, TurnEnd, TurnOutcome};

use crate::text::{TOOL_DETAIL_CHARS_MAX, shortened, tool_detail};
use crate::tools::outbox::Outbox;

/// What people are told below the first answer of a session that had to begin anew.
const SESSION_LOST: &str = "Claude's session of this thread was lost; a new one has begun, with the last messages in mind.";

/// The answer of a turn that was answered, or stopped by a person. `model` gave it; `is_lost`: its session had to begin anew.
pub(crate) fn of_turn(
    message: &Message,
    (decision, model): (&Decision, Model),
    end: &TurnEnd,
    outbox: &mut Outbox,
    is_lost: bool,
) -> Reply {
    let mut reply = with_outbox(of_end(decision, model, end), outbox);
    if end.outcome == TurnOutcome::Interrupted {
        reply.outcome = Outcome::Stopped;
        let word = format!("Stopped after {} s. The session is kept.", end.duration.as_secs());
        reply.text =
            if reply.text.is_empty() { word } else { format!("{}\n\n*{word}*", reply.text) };
    }
    for denial in &end.denials {
        if denial.tool == ASKS_PERSON {
            for it in approval::choices(&denial.input).unwrap_or_default() {
                reply
                    .text
                    .push_str(&format!("\n\n*Not answered: {}*", it.question.replace('*', "∗")));
            }
            continue;
        }
        if denial.tool == PLANS {
            // A plan that was not taken was said already, and what became of it.
            continue;
        }
        let detail = tool_detail(&denial.input);
        reply.text.push_str(&format!(
            "\n\n*Not allowed: {} `{}`*",
            denial.tool,
            detail.replace('`', "'")
        ));
    }
    if reply.text.trim().is_empty() {
        reply.text = "Claude finished without a word.".to_owned();
    }
    for task in &end.running {
        let task = shortened(task, TOOL_DETAIL_CHARS_MAX).replace('`', "'");
        reply.text.push_str(&format!("\n\n*Still running: `{task}`*"));
    }
    if is_lost {
        reply.text.push_str(&format!("\n\n*{SESSION_LOST}*"));
    }
    // A file is something to show, whatever is said with it.
    if message.source == Source::Heartbeat
        && reply.text.contains("[NO_UPDATES]")
        && reply.files.is_empty()
    {
        reply.silent = true;
    }
    reply
}

/// The answer of a turn that failed: what Claude said until then, and what people are told about it.
pub(crate) fn of_failure(
    (decision, model): (&Decision, Model),
    end: &TurnEnd,
    outbox: &mut Outbox,
    text: String,
) -> Reply {
    let mut reply = with_outbox(of_end(decision, model, end), outbox);
    reply.outcome = Outcome::Failed;
    reply.text = if reply.text.is_empty() { text } else { format!("{}\n\n{text}", reply.text) };
    reply
}

/// The answer that Claude's transcript has already.
pub(crate) fn of_transcript(
    (decision, model): (&Decision, Model),
    found: FinishedReply,
    outbox: &mut Outbox,
) -> Reply {
    let reply = Reply {
        text: if found.said.is_empty() { found.text } else { found.said.join("\n\n") },
        model: Some(model),
        tier: Some(decision.tier),
        usage: Usage::default(),
        ..Reply::default()
    };
    with_outbox(reply, outbox)
}

fn of_end(decision: &Decision, model: Model, end: &TurnEnd) -> Reply {
    Reply {
        text: end.said.join("\n\n"),
        outcome: Outcome::Answered,
        model: Some(model),
        tier: Some(decision.tier),
        usage: end.usage,
        context_tokens: end.context_tokens,
        cost_usd: end.cost_usd,
        duration_ms: end.duration.as_millis() as u64,
        ..Reply::default()
    }
}

fn with_outbox(reply: Reply, outbox: &mut Outbox) -> Reply {
    let (files, tools) = (std::mem::take(&mut outbox.files), std::mem::take(&mut outbox.tools));
    Reply { files, tools, ..reply }
}
