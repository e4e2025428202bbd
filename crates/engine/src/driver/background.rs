//! What Claude says with no message in flight: a background task has reported back, and Claude comments on it.

use std::sync::atomic::Ordering;

use super::running::Running;
use super::{Actor, Bill};
use crate::failure::{Signs, TurnFailure};
use crate::turn::Background;
use crate::wire::ResultLine;

/// What a task is called that nobody described.
const UNNAMED: &str = "a task";
/// A description is a line, not a page.
const NAME_CHARS_MAX: usize = 120;

/// Something that runs on in the background.
#[derive(Debug)]
pub(super) struct Task {
    /// What it was described as.
    pub(super) name: String,
    /// The use of a tool that began it.
    pub(super) tool: Option<String>,
}

/// Claude is busy with something of its own. A prompt waits until it is done: sent now, it would be folded into it.
#[derive(Debug, Default)]
pub(super) struct Aside {
    pub(super) model: Option<String>,
}

impl Actor {
    /// A background task begins, goes on, or ends. It is followed to its end, whatever turns come meanwhile.
    pub(super) fn on_task(
        &mut self,
        id: String,
        name: Option<String>,
        tool: Option<String>,
        is_running: bool,
    ) {
        if is_running {
            let unnamed = || Task { name: UNNAMED.to_owned(), tool: None };
            let known = self.tasks.entry(id).or_insert_with(unnamed);
            if let Some(name) = name {
                known.name = name.chars().take(NAME_CHARS_MAX).collect();
            }
            known.tool = tool.or_else(|| known.tool.take());
        } else if let Some(task) = self.tasks.remove(&id) {
            self.task_ended = Some(task.name);
        }
        self.signs.has_tasks.store(!self.tasks.is_empty(), Ordering::Relaxed);
        self.with_turn(Running::still_works);
        self.tell_running();
    }

    /// Tells the turn in flight what runs on beside it.
    pub(super) fn tell_running(&mut self) {
        if let Some(turn) = self.turn.as_mut().filter(|it| it.sent.is_some()) {
            turn.tell_running(&self.tasks);
        }
    }

    pub(super) fn on_aside_result(&mut self, result: &ResultLine, bill: Bill) {
        let aside = self.aside.take();
        let failure = TurnFailure::of_result(result, &Signs::default());
        if failure.is_none() && !result.text.is_empty() && aside.is_some() {
            let background = Background {
                thread: self.setup.thread.clone(),
                session: self.setup.session.clone(),
                text: result.text.clone(),
                task: self.task_ended.take(),
                model: aside.and_then(|it| it.model).or_else(|| bill.models.first().cloned()),
                usage: result.usage,
                cost_usd: bill.cost_usd,
            };
            let _ = self.setup.shared.background.send(background);
        }
        if failure == Some(TurnFailure::UnknownSession)
            && let Some(turn) = self.turn.take()
        {
            // It said so before the prompt went out.
            self.close();
            let outcome = crate::turn::TurnOutcome::Failed(TurnFailure::UnknownSession);
            return self.finish(turn, outcome, None);
        }
        self.send_prompt();
    }
}
