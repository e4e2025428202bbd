//! How far the plan is used, asked of a process that has no turn. In a turn it is told without asking, when the API does.

use tokio::sync::oneshot;

use super::actor::Actor;
use crate::turn::RateWindow;
use crate::wire::out;

/// The id of the question.
const ID: &str = "plan-windows";

impl Actor {
    /// Asks; the answer comes when it is there.
    pub(super) fn ask_plan_windows(&mut self, done: oneshot::Sender<Vec<RateWindow>>) {
        self.plan_windows = Some(done);
        self.pen.write(&out::get_usage(ID));
    }

    /// Takes an answer if it is that one. A CLI that does not know the question refuses, which tells of no window.
    pub(super) fn on_plan_windows(&mut self, id: &str, windows: Vec<RateWindow>) {
        if id == ID
            && let Some(done) = self.plan_windows.take()
        {
            let _ = done.send(windows);
        }
    }
}
