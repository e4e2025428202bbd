//! The memory over a real folder, with the clock in the test's hand.
#![allow(clippy::disallowed_methods, reason = "a test plays the person who edits notes")]

mod context;
mod conversation;
mod reset;
mod summary;

use jiff::Zoned;
use tempfile::TempDir;
use tinyclaw_domain::{ConversationLine, Direction, SessionId, ThreadId};
use tinyclaw_memory::{Memory, Summary};

/// A fresh memory, gone with the first value.
fn memory() -> (TempDir, Memory) {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::new(dir.path().join("memory"));
    (dir, memory)
}

fn who(text: &str) -> ThreadId {
    text.parse().unwrap()
}

fn session(number: u32) -> SessionId {
    format!("{number:08x}-0000-4000-8000-000000000000").parse().unwrap()
}

/// A moment in Berlin.
fn at(text: &str) -> Zoned {
    format!("{text}[Europe/Berlin]").parse().unwrap()
}

fn said(number: u32, key: &str, direction: Direction, text: &str) -> ConversationLine {
    ConversationLine {
        timestamp: 1_771_234_567_890,
        key: key.parse().unwrap(),
        attempt: 1,
        session_id: session(number),
        direction,
        sender: if direction == Direction::In { "Ada" } else { "Claude" }.to_owned(),
        text: text.to_owned(),
        model: None,
    }
}

fn summary(text: &str) -> Summary {
    Summary::parse(text).unwrap().unwrap()
}
