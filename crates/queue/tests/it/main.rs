//! The queue, from outside: what every caller may rely on, and what a crash, a full disk or a power cut leaves.
//!
//! Which test goes red when a safeguard is taken out (each was tried by hand):
//! - flush of the file before the rename in `publish`: `power::a_confirmed_message_survives_any_power_cut`
//! - flush of the folder after the rename in `publish`: the same
//! - flush of the line in `answer` (`append_at`): `power::an_answer_on_disk_is_never_asked_again`
//! - flush of a known key's folder in `publish`, and of a dead owner's answer in `finish`:
//!   `power::what_a_dead_process_did_not_flush_is_flushed_before_it_is_told_on`
//! - `RENAME_NOREPLACE` in a claim: `files::an_answer_is_not_overwritten_by_an_older_copy_of_its_message`
//! - settling after a boot: `files::a_name_that_shows_twice_after_a_power_cut_is_one_message`
//! - the key index in `publish`: `conform::a_key_is_published_once` and its model
//! - the swap in `replace_waiting`: `conform::an_edit_never_brings_a_claimed_message_back`
//! - the lane's lock: `conform::a_lane_has_one_owner_among_processes`, and the campaign counts `stolen`
//! - the note in the lane's file, both names in it, and the look before it is written: `simulation` in `src/folders/`
//! - the look before follow-ups are published again:
//!   `conform::follow_ups_of_a_dead_owner_are_looked_for_before_they_are_published_again`
//! - the lock of what was given up, in `retire`: `conform::a_message_is_taken_up_or_removed_and_never_both`
//!
//! `RENAME_NOREPLACE` in `publish` guards names, which hold a ulid and cannot meet: it is belt beside braces, and no
//! test can make two names meet.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests make files by hand, start processes to kill them and say what they skip"
)]

mod campaign;
#[path = "../conform/mod.rs"]
mod conform;
mod database;
mod faults;
mod files;
mod filesystem;
mod foreign;
mod lost;
mod power;
mod sealed;
mod unwatched;

use std::path::Path;

use tinyclaw_domain::{Channel, Checkpoint, FollowUp, Key, Message, Reply};
use tinyclaw_queue::{Durability, Options, Published, Queue, Side, Which};

/// No reserve and no free-space limit: the machine's own disk is not what is tested.
fn quiet() -> Options {
    Options { reserve_bytes: 0, free_share_min: 0.0, watch: false, ..Options::default() }
}

fn open(dir: &Path) -> Queue {
    Queue::open(dir, quiet()).unwrap()
}

/// A folder that costs no flushes, for tests that need hundreds.
fn in_memory() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() {
        tempfile::tempdir_in(shared).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

fn key(text: &str) -> Key {
    text.parse().unwrap()
}

fn message(thread: &str, key: &str) -> Message {
    Message::new(
        key.parse().unwrap(),
        Channel::Telegram,
        thread.parse().unwrap(),
        "hello",
        1_771_234_567_890,
    )
}

fn publish(queue: &Queue, thread: &str, key: &str) -> Published {
    queue.publish(Side::Run, message(thread, key), Durability::Strict).unwrap()
}

fn reply(text: &str) -> Reply {
    Reply { text: text.to_owned(), ..Reply::default() }
}

fn checkpoint() -> Checkpoint {
    let session = "0b8f6f0e-5a3c-4c86-9f0e-1d2c3b4a5968";
    Checkpoint {
        session_id: session.parse().unwrap(),
        turn_uuid: session.to_owned(),
        used_tools: false,
        follow_ups: vec![],
        files: vec![],
        calls: Default::default(),
    }
}

fn follow_up(thread: &str) -> FollowUp {
    FollowUp {
        thread_id: thread.parse().unwrap(),
        channel: Channel::Cli,
        sender: "Ada's desk".to_owned(),
        message: "passed on".to_owned(),
    }
}

/// The key of the next message of a side, or `-`.
fn next(queue: &Queue, side: Side) -> String {
    let lease = queue.try_claim(side, &Which::Ordinary).unwrap();
    lease.map_or_else(|| "-".to_owned(), |it| it.message().key.to_string())
}
