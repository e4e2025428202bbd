//! Which model a message gets: the router is asked with the thread's last messages, kept at hand.

use std::collections::VecDeque;

use tinyclaw_domain::{Decision, HistoryLine, Message, Model, ThreadId};
use tinyclaw_ledger::recent_history;
use tinyclaw_router::{Input, strip_hint};

use crate::office::{Office, lock, on_disk};

/// So many messages of a thread are kept at hand for the router.
const RECENT: usize = 8;

impl Office {
    /// The router's decision about a message, and the text without a model hint if it had one.
    pub(crate) fn decide(
        &self,
        message: &Message,
        pin: Option<Model>,
    ) -> (Decision, Option<String>) {
        let recent = self.recent(&message.thread_id);
        let history: Vec<tinyclaw_router::Turn<'_>> = recent
            .iter()
            .filter(|it| it.key != message.key)
            .map(|it| tinyclaw_router::Turn {
                direction: it.direction,
                text: &it.message,
                tier: it.tier,
                model: it.model,
            })
            .collect();
        // A session that begins has nothing in it.
        let goes_on = self.thread(&message.thread_id).is_some_and(|it| it.session_id.is_some());
        let last = recent.iter().rev().find_map(|it| it.context_tokens);
        let context_tokens = last.filter(|_| goes_on).unwrap_or(0);
        let attachments: Vec<&str> = message.files.iter().map(|it| it.mime.as_str()).collect();
        let decision = self.router().decide(&Input {
            text: &message.message,
            reply_to_text: message.reply_to_text.as_deref(),
            reply_to_model: message.reply_to_model.filter(|_| message.is_reply),
            history: &history,
            source: message.source,
            attachments: &attachments,
            pin,
            context_tokens,
        });
        let (hint, text) = strip_hint(&message.message);
        (decision, hint.map(|_| text.into_owned()))
    }

    /// The last messages of a thread, from memory; read from the log the first time.
    fn recent(&self, thread: &ThreadId) -> VecDeque<HistoryLine> {
        if let Some(lines) = lock(&self.recent).get(thread) {
            return lines.clone();
        }
        let lines =
            on_disk(|| recent_history(&self.state, Some(thread), RECENT)).unwrap_or_else(|err| {
                tracing::warn!("cannot read the history of thread {thread}: {err}");
                Vec::new()
            });
        lock(&self.recent).entry(thread.clone()).or_insert_with(|| lines.into()).clone()
    }

    pub(crate) fn remember(&self, line: HistoryLine) {
        if let Some(lines) = lock(&self.recent).get_mut(&line.thread_id) {
            lines.push_back(line);
            while lines.len() > RECENT {
                lines.pop_front();
            }
        }
    }
}
