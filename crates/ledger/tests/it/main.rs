//! The ledger as processor writes it and everybody reads it, over a real folder.
#![allow(
    clippy::disallowed_methods,
    reason = "a test plays the operator, who edits files with an editor"
)]

mod costs;
mod jobs;
mod logs;
mod reads;
mod small_files;
mod threads;

use tempfile::TempDir;
use tinyclaw_domain::{Channel, Direction, HistoryLine, Key, Message, ThreadId};
use tinyclaw_ledger::StateDir;

/// A fresh state folder, gone with the first value.
fn state() -> (TempDir, StateDir) {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(dir.path().join(".tinyclaw"));
    tinyclaw_ledger::create_folders(&state).unwrap();
    (dir, state)
}

/// One that costs no flushes, for tests that need hundreds.
fn state_in_memory() -> (TempDir, StateDir) {
    let shared = std::path::Path::new("/dev/shm");
    if !shared.is_dir() {
        return state();
    }
    let dir = tempfile::tempdir_in(shared).unwrap();
    let state = StateDir::new(dir.path().join(".tinyclaw"));
    tinyclaw_ledger::create_folders(&state).unwrap();
    (dir, state)
}

fn thread(text: &str) -> ThreadId {
    text.parse().unwrap()
}

/// The answer to message `key` in a thread, at a time, at a price.
fn answer(key: &str, thread: &str, timestamp: u64, cost_usd: f64) -> HistoryLine {
    let key: Key = key.parse().unwrap();
    let message = Message::new(key, Channel::Telegram, self::thread(thread), "answer", timestamp);
    HistoryLine {
        direction: Direction::Out,
        sender: "Claude".to_owned(),
        cost_usd: Some(cost_usd),
        ..HistoryLine::of(&message)
    }
}
