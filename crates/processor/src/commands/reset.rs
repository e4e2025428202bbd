//! `/reset`: ends the session.

use tinyclaw_domain::{Thread, ThreadId};

use crate::commands::{Commands, Refusal};

impl Commands {
    /// Ends the session. The next message does not wait for its summary.
    pub(super) async fn reset(&self, id: &ThreadId, thread: &Thread) -> Result<String, Refusal> {
        let Some(session) = &thread.session_id else {
            return Ok("There is no session yet; the next message begins one.".to_owned());
        };
        self.sessions.order_summary(id, session);
        self.desks.change(id, |it| it.session_id = None)?;
        self.engine.evict(id).await;
        Ok("The session is over; the next message begins a new one with a summary of it."
            .to_owned())
    }
}
