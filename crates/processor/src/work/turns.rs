//! The turns that run at this moment: who may stop which, what is asked of a person, and what a desk is shown to do.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::{Map, Value};
use tinyclaw_domain::approval::Question;
use tinyclaw_domain::{
    Key, Message, Model, PermissionAnswer, PermissionMode, ThreadId, ThreadStatus,
};
use tinyclaw_engine::{Desk, TurnControl};
use tinyclaw_ledger::ThreadsError;
use tinyclaw_service::now_ms;
use tokio::sync::watch;

use crate::blocking::{lock, on_disk};
use crate::desks::Desks;
use crate::desks::directories::forget_move;

/// Every turn at work.
pub(crate) struct Turns {
    desks: Arc<Desks>,
    /// Guards who runs and who was stopped, together: a stop finds its turn running, or is found by it. Held for a look or
    /// a change, also within the lock of the threads, and nothing is locked within it.
    list: Mutex<List>,
    /// Guards which directories of this machine have a turn: two names of one directory are one. Held for a look or a
    /// change, and nothing is locked within it.
    directories: Mutex<HashSet<(u64, u64)>>,
    /// Said when waiting for running turns has taken long enough: put back what is not done.
    leave: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct List {
    /// One a thread.
    running: HashMap<ThreadId, Running>,
    /// Messages that were stopped before they were on the list.
    stopped: HashSet<Key>,
}

/// A turn at work, as its control lane sees it.
#[derive(Debug)]
struct Running {
    key: Key,
    /// None while the turn is being prepared; a stop that comes then is minded when it begins.
    control: Option<TurnControl>,
    began: Instant,
    /// The open permission question.
    open: Option<OpenQuestion>,
    /// The permission question that a person said no to last.
    denied: Option<String>,
    /// Whether a person stopped it.
    is_stopped: bool,
    /// Whether it was answered, and by which model.
    answered: Option<Option<Model>>,
}

/// A directory that one turn has. Dropped, it is free.
pub(crate) struct Directory {
    turns: Arc<Turns>,
    id: Option<(u64, u64)>,
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(id) = &self.id {
            lock(&self.turns.directories).remove(id);
        }
    }
}

/// The permission question that is open in a turn, as far as an answer must fit it.
#[derive(Debug, Clone)]
pub(crate) struct OpenQuestion {
    pub(crate) request_id: String,
    pub(crate) question: Question,
}

impl Turns {
    /// None runs yet.
    pub(crate) fn new(desks: Arc<Desks>) -> Turns {
        let (list, directories) = Default::default();
        Turns { desks, list, directories, leave: watch::Sender::new(false) }
    }

    /// Puts a message on the list before its turn begins. It is taken off when what is given back is dropped.
    pub(crate) fn register(self: &Arc<Turns>, message: &Message) -> Registered {
        let (thread, key) = (message.thread_id.clone(), message.key.clone());
        let mut list = lock(&self.list);
        let running = Running {
            is_stopped: list.stopped.remove(&key),
            key,
            control: None,
            began: Instant::now(),
            open: None,
            denied: None,
            answered: None,
        };
        list.running.insert(thread.clone(), running);
        Registered { turns: self.clone(), thread }
    }

    /// Keeps a desk's directory for one turn: a Claude that starts in it ends the one that another thread has there. `None`
    /// while another turn has it. A directory that is not there, or of another machine, is nobody's.
    pub(crate) fn take_directory(self: &Arc<Turns>, desk: &Desk) -> Option<Directory> {
        let about = desk.place.is_here().then(|| on_disk(|| std::fs::metadata(&desk.dir)).ok());
        let id = about.flatten().map(|it| (it.dev(), it.ino()));
        let is_free = id.is_none_or(|id| lock(&self.directories).insert(id));
        is_free.then(|| Directory { turns: self.clone(), id })
    }

    /// The turn begins, or begins once more within the same claim. One that was stopped before is stopped at once.
    pub(crate) fn begin(&self, thread: &ThreadId, control: TurnControl) {
        if let Some(running) = lock(&self.list).running.get_mut(thread) {
            if running.is_stopped {
                control.interrupt();
            }
            running.control = Some(control);
            running.open = None;
        }
    }

    /// Stops the turn of this thread, if one runs, and only that of `key` if there is one. Whether it was there.
    pub(crate) fn stop(&self, thread: &ThreadId, key: Option<&Key>) -> bool {
        lock(&self.list).stop(thread, key)
    }

    /// Stops a message that was claimed, and may not be on the list yet: then it is stopped as it begins.
    pub(crate) fn stop_claimed(&self, thread: &ThreadId, key: &Key) {
        let mut list = lock(&self.list);
        if !list.stop(thread, Some(key)) {
            list.stopped.insert(key.clone());
        }
    }

    /// Whether the message on the list was stopped.
    pub(crate) fn is_stopped(&self, thread: &ThreadId) -> bool {
        lock(&self.list).running.get(thread).is_some_and(|it| it.is_stopped)
    }

    /// A message is done with: a stop that came too late for it does not count for another try.
    pub(crate) fn forget(&self, key: &Key) {
        lock(&self.list).stopped.remove(key);
    }

    /// A permission question is open in a thread's turn, or none is any more.
    pub(crate) fn ask(&self, thread: &ThreadId, open: Option<OpenQuestion>) {
        if let Some(running) = lock(&self.list).running.get_mut(thread) {
            running.open = open;
        }
    }

    /// The question of this id, if it is open in the thread's turn.
    pub(crate) fn open_question(&self, thread: &ThreadId, request_id: &str) -> Option<Question> {
        let list = lock(&self.list);
        let open = list.running.get(thread)?.open.as_ref();
        Some(open.filter(|it| it.request_id == request_id)?.question.clone())
    }

    /// Passes an answer on to the thread's turn.
    pub(crate) fn answer(&self, thread: &ThreadId, request_id: &str, answer: PermissionAnswer) {
        let mut list = lock(&self.list);
        let Some(running) = list.running.get_mut(thread) else { return };
        if answer == PermissionAnswer::Deny {
            running.denied = Some(request_id.to_owned());
        }
        if let Some(control) = &running.control {
            control.answer_permission(request_id, answer);
        }
    }

    /// Whether a person said no to this question of the thread's turn, as the last thing they said no to.
    pub(crate) fn is_denied(&self, thread: &ThreadId, request_id: &str) -> bool {
        let list = lock(&self.list);
        let denied = list.running.get(thread).and_then(|it| it.denied.as_deref());
        denied == Some(request_id)
    }

    /// Passes on what a person wants to be different.
    pub(crate) fn change(&self, thread: &ThreadId, request_id: &str, note: String) {
        let mut list = lock(&self.list);
        let Some(running) = list.running.get_mut(thread) else { return };
        running.denied = Some(request_id.to_owned());
        if let Some(control) = &running.control {
            control.answer_permission_with(request_id, PermissionAnswer::Deny, Some(note));
        }
    }

    /// From now on Claude may do so much in a thread without asking. Kept before Claude hears of it.
    pub(crate) fn set_mode(
        &self,
        thread: &ThreadId,
        mode: PermissionMode,
    ) -> Result<(), ThreadsError> {
        self.desks.change(thread, |it| it.permission_mode = mode).map(drop)
    }

    /// Passes on what a person chose.
    pub(crate) fn choose(&self, thread: &ThreadId, request_id: &str, answers: Map<String, Value>) {
        let list = lock(&self.list);
        if let Some(control) = list.running.get(thread).and_then(|it| it.control.as_ref()) {
            control.choose(request_id, answers);
        }
    }

    /// The thread's turn brought an answer, of this model if one is known.
    pub(crate) fn answered(&self, thread: &ThreadId, model: Option<Model>) {
        if let Some(running) = lock(&self.list).running.get_mut(thread) {
            running.answered = Some(model);
        }
    }

    /// Nobody waits for the running turns any more: they are put back as they are.
    pub(crate) fn leave(&self) {
        self.leave.send_replace(true);
    }

    /// Whether [`Turns::leave`] was said.
    pub(crate) fn is_leaving(&self) -> bool {
        *self.leave.borrow()
    }

    /// Comes back when [`Turns::leave`] is said.
    pub(crate) async fn left(&self) {
        // The sender is ours: it cannot be gone.
        let _ = self.leave.subscribe().wait_for(|it| *it).await;
    }

    /// Shows what a desk is doing. Beside the turn, not in its way: it waits for the disk.
    pub(crate) fn show(self: &Arc<Turns>, thread: &ThreadId, status: ThreadStatus) {
        let (turns, thread) = (self.clone(), thread.clone());
        tokio::task::spawn_blocking(move || {
            turns.desks.touch(&thread, |it| {
                // Looked at here, where nobody else changes the thread: the turn may have ended on the way.
                if it.status != ThreadStatus::Closed && turns.runs(&thread) {
                    it.status = status;
                }
            });
        });
    }

    fn runs(&self, thread: &ThreadId) -> bool {
        lock(&self.list).running.contains_key(thread)
    }
}

impl List {
    fn stop(&mut self, thread: &ThreadId, key: Option<&Key>) -> bool {
        let Some(running) = self.running.get_mut(thread) else { return false };
        if key.is_some_and(|it| *it != running.key) {
            return false;
        }
        running.is_stopped = true;
        if let Some(control) = &running.control {
            control.interrupt();
        }
        tracing::info!(
            thread.id = %thread, key = %running.key, after_s = running.began.elapsed().as_secs(),
            "thread {thread} is stopped"
        );
        true
    }
}

/// A message on the list of running ones, from before its turn begins until it has ended, however that is.
pub(crate) struct Registered {
    turns: Arc<Turns>,
    thread: ThreadId,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let ended = lock(&self.turns.list).running.remove(&self.thread);
        let answered = ended.and_then(|it| it.answered);
        let (turns, thread) = (self.turns.clone(), self.thread.clone());
        // The desk is free again, also when the turn came to nothing and its message waits for another try.
        tokio::task::spawn_blocking(move || {
            turns.desks.touch(&thread, |it| {
                let is_busy = matches!(it.status, ThreadStatus::Working | ThreadStatus::Waiting);
                // The next turn may have begun by now.
                if is_busy && !turns.runs(&thread) {
                    it.status = ThreadStatus::Idle;
                }
                if let Some(model) = answered {
                    it.model = model.or(it.model);
                    it.last_active = now_ms();
                    forget_move(it);
                }
            });
        });
    }
}

#[cfg(test)]
mod tests {
    use tinyclaw_domain::Channel;

    use super::*;

    fn turns(dir: &std::path::Path) -> Arc<Turns> {
        Arc::new(Turns::new(Arc::new(Desks::empty(dir))))
    }

    fn message(key: &str) -> Message {
        Message::new(key.parse().unwrap(), Channel::Telegram, "7".parse().unwrap(), "", 0)
    }

    /// The order looked for a running turn just before the turn was on the list, and was never looked at again.
    #[tokio::test]
    async fn a_stop_of_a_claimed_message_counts_whether_it_comes_before_the_turn_or_after() {
        let dir = tempfile::tempdir().unwrap();
        let turns = turns(dir.path());
        let (thread, hello) = ("7".parse().unwrap(), message("tg-1"));
        for is_first in [true, false] {
            if is_first {
                turns.stop_claimed(&thread, &hello.key);
            }
            let _registered = turns.register(&hello);
            if !is_first {
                turns.stop_claimed(&thread, &hello.key);
            }
            assert!(turns.is_stopped(&thread), "the stop came first: {is_first}");
        }
        let _registered = turns.register(&hello);
        assert!(!turns.is_stopped(&thread), "a stop counts once");
    }

    #[tokio::test]
    async fn a_stop_is_for_one_message_and_is_forgotten_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let turns = turns(dir.path());
        let (thread, hello, other) = ("7".parse().unwrap(), message("tg-1"), message("tg-2"));
        turns.stop_claimed(&thread, &hello.key);
        let registered = turns.register(&other);
        assert!(!turns.is_stopped(&thread));
        assert!(!turns.stop(&thread, Some(&hello.key)), "another one runs");
        assert!(turns.stop(&thread, None), "whatever runs");
        drop(registered);
        assert!(!turns.stop(&thread, None), "nothing runs any more");
        // It was given up, and somebody asks for it again.
        turns.forget(&hello.key);
        let _registered = turns.register(&hello);
        assert!(!turns.is_stopped(&thread));
    }
}
