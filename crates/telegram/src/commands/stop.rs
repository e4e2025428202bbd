//! `/stop`: what runs in a thread, or else what waits. It waits for nothing itself.

use tinyclaw_domain::{Command, Key, Lane, ThreadId};
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
    let lane = Lane::Thread(thread.clone());
    let entries = view.list(Place::Incoming, 10_000).ok()?;
    let user = user.to_string();
    entries.into_iter().rev().filter(|it| it.lane == lane).find_map(|it| {
        let message = view.read(&it).ok().flatten()?;
        let theirs = message.sender_id.as_deref() == Some(&user) && message.command.is_none();
        theirs.then_some(message.key)
    })
}

/// The message whose turn runs in a thread, and who asked.
fn running_in(view: &View, thread: &ThreadId) -> Option<(Key, Option<String>)> {
    let lane = Lane::Thread(thread.clone());
    let entries = view.list(Place::Processing, 10_000).ok()?;
    let entry = entries.into_iter().find(|it| it.lane == lane)?;
    let message = view.read(&entry).ok().flatten()?;
    Some((message.key, message.sender_id))
}
