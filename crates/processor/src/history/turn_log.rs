//! The story of a turn as it is told to streams: every event of the engine as a line of `jobs/<key>.jsonl`.
//!
//! Text is told in pieces of 20 ms, and only what cannot become a secret any more. The disk may refuse lines; the turn
//! goes on without them.

use std::time::{Duration, Instant};

use tinyclaw_domain::approval::Question;
use tinyclaw_domain::{Decision, JobEvent, Message, Outcome, StateDir};
use tinyclaw_engine::TurnEvent;
use tinyclaw_ledger::JobLog;
use tinyclaw_service::{Concealer, conceal, now_ms};

use super::told::{Told, Verdict};
use crate::text::{WRITES_TODOS, status_line, todos, tool_detail};

/// Deltas that come within this time are one line: fifty lines a second are enough for any eye.
const MERGE: Duration = Duration::from_millis(20);

/// One attempt's story. One for the message that is worked on.
pub(crate) struct TurnLog {
    log: JobLog,
    attempt: u32,
    decision: Option<Decision>,
    concealer: Concealer,
    /// Text that is not told yet, and when it is.
    text: String,
    due: Option<Instant>,
    /// Whether text was told since the last whole piece.
    is_open: bool,
    /// Whether it is still to be said that what was told before does not count.
    is_anew: bool,
    /// What an earlier process told of this attempt, until all of that has come again.
    told: Option<Told>,
}

impl TurnLog {
    /// Begins the story of an attempt. An earlier one's does not count any more.
    pub(crate) fn begin(state: &StateDir, message: &Message, attempt: u32) -> TurnLog {
        let log = JobLog::begin(state, &message.key, now_ms());
        let is_first = log.is_first();
        TurnLog {
            log,
            attempt,
            decision: None,
            concealer: Concealer::default(),
            text: String::new(),
            due: None,
            is_open: false,
            is_anew: !is_first,
            told: None,
        }
    }

    /// An earlier process's attempt goes on under its number, and so does its story: what that process told is not told again.
    pub(crate) fn goes_on(&mut self, state: &StateDir, message: &Message, attempt: u32) {
        self.attempt = attempt;
        let resumed = JobLog::resume(state, &message.key);
        let told = resumed.and_then(|(log, lines)| Some((log, Told::of(lines, attempt)?)));
        // Nothing to go on with: it is told anew.
        if let Some((log, told)) = told {
            (self.log, self.told, self.is_anew) = (log, Some(told), false);
        }
    }

    /// The message is asked anew: what was told so far does not count.
    pub(crate) fn again(&mut self) {
        self.forget_text();
        self.is_open = false;
        self.is_anew = false;
        self.told = None;
        self.write(JobEvent::Restart { attempt: self.attempt });
    }

    /// What was decided about it.
    pub(crate) fn decided(&mut self, decision: &Decision) {
        self.decision = Some(decision.clone());
    }

    /// Tells an event.
    pub(crate) fn apply(&mut self, event: &TurnEvent) {
        match event {
            // What it was a preview of comes next, and was told.
            TurnEvent::TextDelta(_) if self.told.as_ref().is_some_and(Told::is_ahead) => return,
            TurnEvent::TextDelta(delta) => {
                self.text.push_str(&self.concealer.push(delta));
                if !self.text.is_empty() {
                    self.due.get_or_insert_with(|| Instant::now() + MERGE);
                }
                return;
            }
            TurnEvent::TextDone(text) => {
                // The whole piece says what was not told of it yet.
                self.forget_text();
                if let Some(told) = &mut self.told {
                    told.forget_preview();
                }
                self.is_open = false;
                return self.write(JobEvent::TextDone { text: conceal(text).into_owned() });
            }
            TurnEvent::TextStarted => {
                self.forget_text();
                if std::mem::take(&mut self.is_open) {
                    self.write(JobEvent::Void);
                }
                return;
            }
            _ => self.flush(),
        }
        match event {
            TurnEvent::SessionReady { warm, .. } => {
                let decision = self.decision.as_ref();
                let (model, tier) =
                    (decision.map(|it| it.effective_model), decision.map(|it| it.tier));
                self.write(JobEvent::Begun { attempt: self.attempt, model, tier, warm: *warm });
            }
            TurnEvent::ToolStarted { id, name, input, parent } => {
                let (id, name, parent) = (id.clone(), name.clone(), parent.clone());
                let detail = conceal(&tool_detail(input)).into_owned();
                let list = (parent.is_none() && name == WRITES_TODOS).then(|| todos(input));
                self.write(JobEvent::Tool { id, name, detail, parent });
                if let Some(todos) = list {
                    self.write(JobEvent::Todos { todos });
                }
            }
            TurnEvent::Background { running } => {
                let running = running.iter().map(|it| status_line(it)).collect();
                self.write(JobEvent::Background { running });
            }
            TurnEvent::ToolFinished { id, failed, duration } => {
                let ms = duration.as_millis() as u64;
                self.write(JobEvent::ToolDone { id: id.clone(), failed: *failed, ms });
            }
            TurnEvent::Asking { ask } => self.write(JobEvent::Ask {
                request_id: ask.request_id.clone(),
                tool: ask.tool.clone(),
                input: ask.input.clone(),
                always: Question::of(ask).always.into_iter().collect(),
            }),
            TurnEvent::AskClosed { request_id, expired } => {
                let request_id = request_id.clone();
                self.write(JobEvent::AskClosed { request_id, expired: *expired });
            }
            _ => {}
        }
    }

    /// When text waits to be told: then.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Tells the text that waits.
    pub(crate) fn flush(&mut self) {
        self.due = None;
        let text = std::mem::take(&mut self.text);
        if text.is_empty() {
            return;
        }
        self.is_open = true;
        let Some(told) = &mut self.told else { return self.append(JobEvent::Text { text }) };
        match told.preview(&text) {
            Some(new) if new.is_empty() => {}
            Some(text) => self.append(JobEvent::Text { text }),
            None => {
                let again = told.take_again();
                self.tell_anew(again);
                self.is_open = true;
                self.append(JobEvent::Text { text });
            }
        }
    }

    /// Claude took a message while it worked on another one.
    pub(crate) fn steered(&mut self, message: &Message) {
        self.flush();
        let text = conceal(&message.message).into_owned();
        self.write(JobEvent::Steered { key: message.key.clone(), text });
    }

    /// Something went wrong and is tried again.
    pub(crate) fn trouble(&mut self, text: &str) {
        self.flush();
        self.write(JobEvent::Trouble { text: conceal(text).into_owned() });
    }

    /// The turn is over, and its answer is on disk.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        self.flush();
        self.write(JobEvent::End { outcome });
    }

    fn forget_text(&mut self) {
        (self.concealer, self.due) = (Concealer::default(), None);
        self.text.clear();
    }

    fn write(&mut self, event: JobEvent) {
        match self.told.as_mut().map(|it| it.meet(&event)) {
            None => {}
            Some(Verdict::Known) => return,
            Some(Verdict::New(before)) => before.into_iter().for_each(|it| self.append(it)),
            Some(Verdict::Differs(again)) => self.tell_anew(again),
        }
        self.append(event);
    }

    /// What an earlier process told was another story.
    fn tell_anew(&mut self, all: Vec<JobEvent>) {
        self.again();
        all.into_iter().for_each(|it| self.append(it));
    }

    fn append(&mut self, event: JobEvent) {
        if self.is_anew {
            self.again();
        }
        if let Err(err) = self.log.write(now_ms(), event) {
            tracing::warn!("a turn goes on without telling its story: {err}: {}", err.source);
        }
    }
}
