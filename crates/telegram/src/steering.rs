//! The Steer button: words for the turn that runs, from people who did not begin them with `!`.
//!
//! Below a turn it takes the next message of whoever pressed; that lies in `asks/` under the turn's key, so that a restart
//! finds it. Below a message that waits it takes that message. How the words reach Claude is the processor's to know: here a
//! message is marked, and no more.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tinyclaw_disk::Flush;
use tinyclaw_domain::{Channel, Key, Lane, Message, ThreadId};
use tinyclaw_ledger::{StateDir, load, save};
use tinyclaw_queue::{Place, Queue, View};
use tokio::sync::Mutex;

/// So many messages of a thread are worked on at once, at most: one, and what is on its way.
const RUNNING_MAX: usize = 8;

const NEXT: &str = "Your next message here reaches the running turn.";
const HANDED: &str = "The running turn gets it.";
const FAILED: &str = "This cannot be done now.";

/// Whose next message is for a turn.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Wanted {
    by: Vec<Awaited>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Awaited {
    by: i64,
    /// The press. The same one again after a crash asks for no second message.
    pressed: i64,
    /// The update that was taken for it. The same one again after a crash is taken again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    heard: Option<i64>,
}

impl Wanted {
    /// Somebody pressed; pressed twice it is one message all the same.
    fn ask(&mut self, by: i64, pressed: i64) {
        let mut theirs = self.by.iter().filter(|it| it.by == by);
        if !theirs.any(|it| it.heard.is_none() || it.pressed == pressed) {
            self.by.push(Awaited { by, pressed, heard: None });
        }
    }

    /// Whether this update of somebody is one that was asked for.
    fn take(&mut self, by: i64, update: i64) -> bool {
        let mut theirs = self.by.iter_mut().filter(|it| it.by == by);
        if theirs.any(|it| it.heard == Some(update)) {
            return true;
        }
        match self.by.iter_mut().find(|it| it.by == by && it.heard.is_none()) {
            Some(it) => {
                it.heard = Some(update);
                true
            }
            None => false,
        }
    }
}

/// Who marks messages for the running turn. Its lock makes what two people do at once one after the other; no other is
/// taken within it.
pub(crate) struct Steering {
    state: StateDir,
    view: View,
    one_at_a_time: Mutex<()>,
}

impl Steering {
    pub(crate) fn new(state: StateDir, view: View) -> Steering {
        Steering { state, view, one_at_a_time: Mutex::default() }
    }

    /// The next message of whoever pressed is for this turn. Gives what they are told.
    pub(crate) async fn ask(&self, turn: &Key, by: i64, update: i64) -> &'static str {
        let _one = self.one_at_a_time.lock().await;
        let mut wanted = self.wanted(turn);
        wanted.ask(by, update);
        if self.keep(turn, &wanted) { NEXT } else { FAILED }
    }

    /// A message that waits is for the turn that runs before it. Gives what whoever pressed is told.
    pub(crate) fn hand_over(&self, queue: &Queue, waiting: &Message) -> &'static str {
        if !waiting.files.is_empty() {
            return "A message with files waits in line: they have to be brought to Claude first.";
        }
        if self.running(&waiting.thread_id).is_empty() {
            return "Nothing runs here that could take it: it is next.";
        }
        let changed = tokio::task::block_in_place(|| {
            queue.replace_waiting(&waiting.key, |it| it.steer = true)
        });
        match changed {
            Ok(true) => HANDED,
            Ok(false) => "It waits no more.",
            Err(err) => {
                let key = &waiting.key;
                tracing::warn!(%key, "message {key} waits in line: {err}");
                FAILED
            }
        }
    }

    /// Whether a message was asked for by the button below the turn that runs in its thread.
    pub(crate) async fn takes(&self, message: &Message, by: i64, update: i64) -> bool {
        if !message.files.is_empty() || message.message.is_empty() {
            return false;
        }
        let _one = self.one_at_a_time.lock().await;
        for turn in self.running(&message.thread_id) {
            let mut wanted = self.wanted(&turn);
            if wanted.take(by, update) {
                // What cannot be kept is taken all the same: they asked for it.
                self.keep(&turn, &wanted);
                return true;
            }
        }
        false
    }

    /// The turns of this forum that run in a thread. One asked for from elsewhere answers there.
    fn running(&self, thread: &ThreadId) -> Vec<Key> {
        let lane = Lane::Thread(thread.clone());
        let found = tokio::task::block_in_place(|| {
            self.view.read_all(Place::Processing, Some(&lane), RUNNING_MAX)
        });
        let found = found.unwrap_or_default().into_iter();
        found.filter(|it| it.1.channel == Channel::Telegram).map(|it| it.0.key).collect()
    }

    fn wanted(&self, turn: &Key) -> Wanted {
        tokio::task::block_in_place(|| load(&self.path(turn))).ok().flatten().unwrap_or_default()
    }

    fn path(&self, turn: &Key) -> PathBuf {
        self.state.asks().join(format!("steer-{turn}.json"))
    }

    fn keep(&self, turn: &Key, wanted: &Wanted) -> bool {
        let kept = tokio::task::block_in_place(|| {
            std::fs::create_dir_all(self.state.asks())?;
            save(&self.path(turn), wanted, Flush::None).map_err(std::io::Error::other)
        });
        if let Err(err) = &kept {
            tracing::error!("whose next message is for the running turn cannot be kept: {err:#}");
        }
        kept.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_is_taken_for_each_press_and_again_when_it_comes_again() {
        let mut wanted = Wanted::default();
        assert!(!wanted.take(101, 1), "nobody pressed");
        wanted.ask(101, 2);
        wanted.ask(101, 3);
        assert!(!wanted.take(102, 4), "somebody else pressed");
        assert!(wanted.take(101, 5));
        assert!(wanted.take(101, 5), "the same update after a crash");
        wanted.ask(101, 2);
        assert!(!wanted.take(101, 6), "the same press after a crash");
        wanted.ask(101, 7);
        assert!(wanted.take(101, 8));
    }
}
