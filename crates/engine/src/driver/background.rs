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

/// Claude is busy with something of its own. A prompt waits until it is done: sent now, it would be folded into it.
#[derive(Debug, Default)]
pub(super) struct Aside {
    pub(super) model: Option<String>,
}

impl Actor {
    /// A background task begins, goes on, or ends. It is followed to its end, whatever turns come meanwhile.
    pub(super) fn on_task(&mut self, id: String, name: Option<String>, is_running: bool) {
        if is_running {
            let known = self.tasks.entry(id).or_insert_with(|| UNNAMED.to_owned());
            if let Some(name) = name {
                *known = name.chars().take(NAME_CHARS_MAX).collect();
            }
        } else if let Some(name) = self.tasks.remove(&id) {
            self.task_ended = Some(name);
        }
        self.signs.has_tasks.store(!self.tasks.is_empty(), Ordering::Relaxed);
        self.with_turn(Running::still_works);
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
