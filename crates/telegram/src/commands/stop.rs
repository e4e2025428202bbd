//! `/stop`: what runs in a thread, or else what waits. It waits for nothing itself.

use tinyclaw_domain::{Command, Key, Lane, Message, ThreadId};
use tinyclaw_queue::{Place, View};

use crate::commands::Given;
use crate::inbound::access::may_stop;

/// What was stopped before it was in the queue.
const NOT_BEGUN: &str = "Stopped before it began.";

impl Given<'_> {
    /// Stops what runs, or else what waits: a message that was just sent may not have begun.
    pub(super) async fn stop(&self) -> Option<String> {
        let user = self.said.from;
        // In the order in which a message moves, so that it cannot slip through.
        let (waiting, running) = tokio::task::block_in_place(|| {
            let view = &self.commands.view;
            (last_waiting(view, &self.thread, user), running_in(view, &self.thread))
        });
        let may =
            running.as_ref().map(|(_, asker)| may_stop(&self.commands.bot, user, asker.as_deref()));
        let key = match (running, may) {
            (Some((key, _)), Some(true)) => Some(key),
            _ if self.has_stopped => return Some(NOT_BEGUN.to_owned()),
            (Some(_), _) if waiting.is_none() => {
                return Some(self.only_admins("stop what somebody else asked for"));
            }
            _ => waiting,
        };
        if let Some(key) = &key {
            self.commands.watcher.stop(key);
        }
        let failed = self.order(Command::Stop { key }).await;
        failed.or_else(|| self.has_stopped.then(|| NOT_BEGUN.to_owned()))
    }
}

/// The newest message of a person that waits in a thread.
fn last_waiting(view: &View, thread: &ThreadId, user: i64) -> Option<Key> {
    let (lane, user) = (Lane::Thread(thread.clone()), user.to_string());
    let theirs = |it: &Message| it.sender_id.as_deref() == Some(&*user) && it.command.is_none();
    Some(view.last_of(Place::Incoming, &lane, 10_000, theirs).ok()??.key)
}

/// The message whose turn runs in a thread, and who asked.
fn running_in(view: &View, thread: &ThreadId) -> Option<(Key, Option<String>)> {
    let lane = Lane::Thread(thread.clone());
    let running = view.read_all(Place::Processing, Some(&lane), 1).ok()?;
    running.into_iter().next().map(|(_, message)| (message.key, message.sender_id))
}
