//! What the next process has to know to go on with a turn when this one dies, and how it goes on.
//!
//! It is kept before what it is about: before the prompt goes out, and before each answer to a request of Claude's. So
//! whoever comes next compares it with how much input Claude has taken, and knows what was said and what was not. Claude's
//! output is read again from the turn's beginning, and what was answered in it is not answered again. A turn that cannot be
//! described in few words is not gone on with.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::time::Instant;

use super::background::Task;
use super::ladder::Step;
use super::pipes;
use super::running::{Running, Why};
use super::{Actor, TurnOrder};
use crate::launch::Leash;
use crate::link::{Adopted, Journal, Note};
use crate::turn::TurnEvent;

/// More answers in a turn than this are not told apart: the next process does not go on with it.
const ANSWERS_MAX: usize = 2_000;

/// What is kept of a turn.
#[derive(Debug, Default)]
pub(super) struct Diary {
    /// Where it is kept; nowhere when Claude dies with this process.
    journal: Option<Journal>,
    note: Option<Note>,
    adopted: Option<Adopted>,
    /// Requests that an earlier process answered.
    answered: HashSet<String>,
}

impl Diary {
    /// The diary of a Claude, where its output is read from, and how much was written to it before.
    pub(super) fn of(leash: &mut Leash) -> (Diary, u64, u64) {
        let mut journal = leash.take_journal();
        let adopted = journal.as_mut().and_then(Journal::adopt);
        let (heard, written) = adopted.as_ref().map_or((0, 0), |it| (it.note.at, it.taken));
        (Diary { journal, adopted, ..Diary::default() }, heard, written)
    }

    /// Whether an earlier process answered this request, and Claude has the answer.
    pub(super) fn has_answered(&self, request_id: &str) -> bool {
        self.answered.contains(request_id)
    }

    fn write(&self) {
        if let (Some(journal), Some(note)) = (&self.journal, &self.note) {
            journal.note(note);
        }
    }
}

impl Actor {
    /// A prompt of so many bytes goes out next.
    pub(super) fn note_prompt(&mut self, uuid: String, resumed: bool, bytes: usize) {
        if self.diary.journal.is_none() {
            return;
        }
        self.diary.answered.clear();
        self.diary.note = Some(Note {
            uuid,
            at: self.heard,
            sent: self.pen.written() + bytes as u64,
            begun_ms: now_ms(),
            resumed,
            model: self.model.clone(),
            requests: self.requests,
            cost_seen: self.cost_seen,
            output_seen: self.output_seen.clone(),
            tasks: self.tasks.iter().map(|(id, it)| (id.clone(), it.name.clone())).collect(),
            answered: Vec::new(),
            steered: Vec::new(),
            outfit: self.setup.outfit.clone(),
            effort: Some(self.effort),
            skills: self.skills.clone(),
            is_stopped: false,
        });
        self.diary.write();
    }

    /// A person stops the turn: whoever goes on with it is not to ask again.
    pub(super) fn note_stop(&mut self) {
        if let Some(note) = &mut self.diary.note {
            note.is_stopped = true;
            note.requests = self.requests;
            self.diary.write();
        }
    }

    /// Hands words to the turn.
    pub(super) fn steer(&mut self, uuid: &str, line: &Value) {
        let bytes = pipes::encode(line);
        let end = self.pen.written() + bytes.len() as u64;
        if let Some(note) = &mut self.diary.note {
            note.steered.push((uuid.to_owned(), end));
            self.diary.write();
        }
        self.pen.write_encoded(bytes);
    }

    /// Whether another process could go on with the turn in flight.
    pub(super) fn turn_can_be_left(&self) -> bool {
        let is_sent = self.turn.as_ref().is_some_and(|it| it.sent.is_some());
        let is_noted = |it: &Note| !it.uuid.is_empty() && !it.is_stopped;
        is_sent && self.diary.journal.is_some() && self.diary.note.as_ref().is_some_and(is_noted)
    }

    /// The process is set to another model, or thinks harder.
    pub(super) fn note_model(&mut self) {
        if let Some(note) = &mut self.diary.note {
            note.model.clone_from(&self.model);
            note.effort = Some(self.effort);
            note.requests = self.requests;
            self.diary.write();
        }
    }

    /// Answers a request of Claude's.
    pub(super) fn respond(&mut self, request_id: &str, line: &Value) {
        let bytes = pipes::encode(line);
        let end = self.pen.written() + bytes.len() as u64;
        if let Some(note) = &mut self.diary.note {
            note.answered.push((request_id.to_owned(), end));
            if note.answered.len() > ANSWERS_MAX {
                // Under a name that nobody asks for.
                note.uuid.clear();
                note.answered.clear();
            }
            self.diary.write();
        }
        self.pen.write_encoded(bytes);
    }

    /// Goes on with the turn that an earlier process began here.
    pub(super) fn go_on(&mut self, mut order: Box<TurnOrder>) {
        let Some(Adopted { mut note, taken }) = self.diary.adopted.take() else { return };
        note.answered.retain(|(_, end)| *end <= taken);
        self.diary.answered = note.answered.iter().map(|(id, _)| id.clone()).collect();
        self.is_ready = true;
        self.is_first = false;
        // It stays for the next turn if it is as one would be that is started now.
        self.is_leaving = note.outfit.is_empty() || note.outfit != self.setup.outfit;
        self.effort = note.effort.unwrap_or(self.effort);
        self.skills.clone_from(&note.skills);
        self.model.clone_from(&note.model);
        self.requests = note.requests;
        self.cost_seen = note.cost_seen;
        self.output_seen.clone_from(&note.output_seen);
        // All of them began in turns before this one.
        let earlier = |(id, name)| (id, Task { name, tool: None });
        self.tasks = note.tasks.clone().into_iter().map(earlier).collect();
        let ago = Duration::from_millis(now_ms().saturating_sub(note.begun_ms));
        let now = Instant::now();
        order.begun = now.checked_sub(ago).unwrap_or(now);
        order.content = Value::Null;
        let mut turn = Running::new(order, self.setup.times.turn, false);
        // Not less than half of the patience: the clocks stood still while questions were open, nobody knows how long.
        let patience = self.setup.times.turn;
        turn.over_at = now + patience.saturating_sub(ago).max(patience / 2);
        turn.resumed = note.resumed;
        // What Claude does not have is handed to it again by whoever has it.
        note.steered.retain(|(_, end)| *end <= taken);
        turn.has_words(note.steered.iter().map(|it| it.0.clone()));
        turn.tell(TurnEvent::SessionReady { resumed: note.resumed, warm: true });
        turn.has_sent();
        if note.is_stopped {
            turn.stop(Why::Asked, Step::Interrupted);
        }
        tracing::info!(
            thread.id = %self.setup.thread, key = %turn.order.key, after_s = ago.as_secs(),
            "thread {}: a turn that was begun before goes on", self.setup.thread
        );
        self.turn = Some(turn);
        self.tell_running();
        self.diary.note = Some(note);
    }
}

/// By the wall clock, which two processes share.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
