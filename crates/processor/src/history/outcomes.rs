//! What people say about answers: read from their next message or from a reaction, and kept beside the decisions. It judges
//! no answer by itself.

use std::collections::VecDeque;

use tinyclaw_domain::{Correction, Direction, HistoryLine, Key, Message, OutcomeLine, Source};
use tinyclaw_ledger::recent_history;
use tinyclaw_router::{Hints, Prices, Spoken, correction};
use tinyclaw_service::now_ms;

use crate::blocking::on_disk;
use crate::history::History;

/// A reaction is looked up among so many of the thread's last lines.
const LOOKED_BACK: usize = 2_000;

/// What a message says about an answer before it. `text` is the message without hints, `recent` are the last lines of its
/// thread.
pub(crate) fn outcome(
    message: &Message,
    text: &str,
    hints: Hints,
    recent: &VecDeque<HistoryLine>,
    prices: &Prices,
) -> Option<OutcomeLine> {
    if !matches!(message.source, Source::User | Source::Cli) || message.edits.is_some() {
        return None;
    }
    let spoken = Spoken {
        text,
        hint: hints.model,
        asks_again: message.asks_again.as_ref(),
        replies_to: message.reply_to_text.as_deref().filter(|_| message.is_reply),
        at: message.timestamp,
    };
    let before = recent.iter().filter(|it| it.key != message.key);
    let (answer, said) = correction(&spoken, before, prices)?;
    line(answer, said, &message.key, message.sender_id.as_deref())
}

fn line(
    answer: &HistoryLine,
    said: Correction,
    by: &Key,
    sender_id: Option<&str>,
) -> Option<OutcomeLine> {
    Some(OutcomeLine {
        timestamp: now_ms(),
        key: answer.key.clone(),
        thread_id: answer.thread_id.clone(),
        model: answer.model?,
        tier: answer.tier,
        said,
        by: by.clone(),
        sender_id: sender_id.map(str::to_owned),
    })
}

impl History {
    /// Notes what a person said about an answer.
    pub(crate) fn outcome(&self, line: &OutcomeLine) {
        if let Err(err) = self.journal.outcome(line) {
            tracing::error!("cannot write the routing outcomes: {err}");
        }
    }

    /// Notes a reaction to the answer of the message `key`, which `message` brings. An answer that nobody remembers has no
    /// outcome.
    pub(crate) fn rated(&self, message: &Message, key: &Key, thumbs_down: bool) {
        let thread = &message.thread_id;
        let is_answer = |it: &&HistoryLine| {
            it.key == *key && it.direction == Direction::Out && it.model.is_some()
        };
        let recent = self.recent(thread);
        let found = recent.iter().rfind(is_answer).cloned().or_else(|| {
            let lines = on_disk(|| recent_history(&self.state, Some(thread), LOOKED_BACK));
            lines.unwrap_or_default().iter().rfind(is_answer).cloned()
        });
        let said = match thumbs_down {
            true => Correction::ThumbsDown,
            false => Correction::ThumbsDownGone,
        };
        let line = found.and_then(|it| line(&it, said, &message.key, message.sender_id.as_deref()));
        match line {
            Some(line) => {
                self.outcome(&line);
                self.flush();
            }
            None => {
                tracing::debug!(key = %key, "a reaction to {key}, whose answer is not known, is not kept")
            }
        }
    }
}
