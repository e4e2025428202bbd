//! What is kept of every message: who said what, what was decided, what Claude was asked, what it cost. The only writer of
//! `message-history.jsonl`, `routing-log.jsonl`, `routing-outcomes.jsonl`, `logs/prompts.jsonl`, the conversations and `jobs/`.
//!
//! A line is written while its message is in hand and flushed before the message moves on, because after that nobody
//! would write it again. No line stops a message: what cannot be written is told to the operator.

pub(crate) mod lines;
pub(crate) mod outcomes;
mod told;
pub(crate) mod turn_log;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tinyclaw_domain::{
    Channel, Checkpoint, Decision, HistoryLine, Message, Model, PromptLine, Reply, StateDir,
    ThreadId,
};
use tinyclaw_engine::TurnEnd;
use tinyclaw_ledger::{Journal, recent_history};
use tinyclaw_memory::Memory;
use tinyclaw_service::settings::{Settings, Store};

use crate::availability::budget::Budgets;
use crate::availability::notices::Notices;
use crate::blocking::{lock, on_disk};
use crate::config::keep;

/// So many messages of a thread are kept at hand for the router: enough that the last answer of each model is among them.
const RECENT: usize = 24;

/// No turn costs more, whatever a devbox says.
const CLAIM_USD_MAX: f64 = 100.0;

/// What a devbox says that a turn cost, as far as it is to be believed. What cannot be is nothing.
pub(crate) fn claimed(usd: f64) -> f64 {
    if (0.0..=CLAIM_USD_MAX).contains(&usd) { usd } else { 0.0 }
}

/// The concern that lines cannot be written.
const HISTORY: &str = "history";

/// A decision, and when it was made.
#[derive(Debug, Clone)]
pub(crate) struct Decided {
    pub(crate) decision: Decision,
    /// In ms since 1970.
    pub(crate) at: u64,
    pub(crate) took: std::time::Duration,
}

/// Every log of what was said and done.
pub(crate) struct History {
    state: StateDir,
    settings: Store<Settings>,
    memory: Memory,
    notices: Arc<Notices>,
    budgets: Arc<Budgets>,
    journal: Journal,
    /// Guards the last messages of each thread that was looked at, for the router. Held for a look or a change, and
    /// nothing is locked within it.
    recent: Mutex<HashMap<ThreadId, VecDeque<HistoryLine>>>,
}

impl History {
    /// The logs of this state folder; nothing is written yet.
    pub(crate) fn open(
        state: StateDir,
        settings: Store<Settings>,
        memory: Memory,
        notices: Arc<Notices>,
        budgets: Arc<Budgets>,
    ) -> History {
        let journal = Journal::new(&state, keep(&settings.current()));
        History { state, settings, memory, notices, budgets, journal, recent: Mutex::default() }
    }

    /// Notes a message that Claude is about to be asked, and which model it gets and why.
    pub(crate) fn asked(&self, message: &Message, attempt: u32, decided: &Decided) {
        self.received(message, attempt);
        self.decided(message, attempt, decided);
    }

    /// Notes which model a message gets, or goes on with, and why.
    pub(crate) fn decided(&self, message: &Message, attempt: u32, decided: &Decided) {
        if let Err(err) = self.journal.routing(&lines::routing(message, attempt, decided)) {
            tracing::error!("cannot write the routing log: {err}");
        }
    }

    /// Notes the prompt that Claude is about to be given.
    pub(crate) fn prompt(&self, line: &PromptLine) {
        if let Err(err) = self.journal.prompt(line) {
            tracing::error!("cannot write the prompt log: {err}");
        }
    }

    /// Notes a message that came in.
    pub(crate) fn received(&self, message: &Message, attempt: u32) {
        self.write(lines::received(message, attempt));
    }

    /// Notes what a turn cost that came to no answer: it is part of the day all the same.
    pub(crate) fn spent(&self, message: &Message, end: &TurnEnd, model: Model) {
        if let Some(line) = lines::spent(message, end, model) {
            self.write_spent(line);
        }
    }

    /// Notes an answered message in every log: the answer, the session's conversation, what it cost; and the message
    /// itself, when Claude was not asked.
    pub(crate) fn answered(&self, message: &Message, reply: &Reply) {
        let attempt = message.attempts.run.max(1);
        if message.channel == Channel::System && message.command.is_some() {
            // Housekeeping is nobody's conversation, but what it cost is part of the day.
            if reply.cost_usd == 0.0 {
                return;
            }
        } else if message.checkpoint.is_none() {
            self.received(message, attempt);
        }
        let out = lines::answered(message, attempt, reply);
        if let Some(Checkpoint { session_id, .. }) = &message.checkpoint
            && reply.model.is_some()
        {
            for line in lines::conversation(message, attempt, session_id, &out) {
                if let Err(err) = self.memory.turn(&message.thread_id, &line) {
                    tracing::error!("cannot add to the conversation: {err}");
                }
            }
        }
        self.write_spent(out);
    }

    /// Notes what a Claude said with no message in flight.
    pub(crate) fn said_later(&self, line: HistoryLine) {
        self.write_spent(line);
    }

    /// Flushes the lines of a message before it moves on: from there nobody writes them again after a power cut. An answer
    /// does not wait for a log that cannot be flushed, but it is said.
    pub(crate) fn flush(&self) {
        if let Err(err) = on_disk(|| self.journal.flush()) {
            tracing::error!("cannot flush the logs: {err}: {}", err.source);
            let what = format!("The history cannot be flushed: {err}.");
            self.notices.concern(HISTORY, Some(what));
        }
    }

    /// The last messages of a thread, from memory; read from the log the first time.
    pub(crate) fn recent(&self, thread: &ThreadId) -> VecDeque<HistoryLine> {
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

    /// Keeps lines as long as the settings say now.
    pub(crate) fn follow_settings(&self) {
        self.journal.keep(&self.state, keep(&self.settings.current()));
    }

    /// Lets go of lines that are older than they may be.
    pub(crate) fn retire(&self, now: SystemTime) {
        if let Err(err) = self.journal.retire(now) {
            tracing::warn!("cannot let go of old log lines: {err}");
        }
    }

    fn write_spent(&self, mut line: HistoryLine) {
        line.devbox = self.budgets.devbox_of(&line.thread_id);
        if line.devbox.is_some() {
            line.cost_usd = line.cost_usd.map(claimed);
        }
        self.budgets.spend(&line);
        self.write(line);
    }

    fn write(&self, mut line: HistoryLine) {
        line.devbox = self.budgets.devbox_of(&line.thread_id);
        let written = self.journal.history(&line);
        if let Err(err) = &written {
            tracing::error!("cannot write the history: {err}");
        }
        let trouble = written.err().map(|err| format!("The history cannot be written: {err}."));
        self.notices.concern(HISTORY, trouble);
        if let Some(lines) = lock(&self.recent).get_mut(&line.thread_id) {
            lines.push_back(line);
            while lines.len() > RECENT {
                lines.pop_front();
            }
        }
    }
}
