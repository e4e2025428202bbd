//! A message's way: claimed, answered, on disk before it moves on.

use std::path::Path;

use serde_json::json;
use tinyclaw_disk::testing::{Step as DiskStep, steps_of};
use tinyclaw_domain::Outcome;
use tinyclaw_queue::{DEATHS_MAX, Place};

use crate::claude::Step;
use crate::office::Office;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_answered_and_its_thread_gets_a_folder_of_its_own() {
    let mut office = Office::open(json!({}));
    office
        .claude
        .on("hello", [vec![Step::Say("Hi."), Step::Say("How are you?"), Step::Cost(0.25)]]);
    let reply = office.ask("7", "hello").await;
    assert_eq!((reply.text.as_str(), reply.outcome), ("Hi.\n\nHow are you?", Outcome::Answered));
    assert_eq!(reply.cost_usd, 0.25);
    let thread = office.thread("7").unwrap();
    assert_eq!(thread.cwd, office.place.path("work/7").display().to_string());
    let prompts = office.claude.prompts();
    assert_eq!(prompts.len(), 1);
    assert!(prompts[0].text.ends_with("[Ada via Telegram]: hello"), "{prompts:?}");
    assert_eq!(thread.session_id.unwrap().to_string(), prompts[0].session);
}

/// A power cut took the lines of 47 in 175 answered messages: they were flushed after the message had moved on, or never.
#[test]
fn the_lines_of_a_message_are_on_disk_before_it_moves_on() {
    for is_given_up in [false, true] {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (office, steps) = steps_of(|| {
            runtime.block_on(async {
                let mut office = Office::on_folders();
                let mut message = office.message("7", "hello");
                if is_given_up {
                    message.attempts.deaths = DEATHS_MAX;
                }
                let key = office.publish(message);
                let place = if is_given_up { Place::Dead } else { Place::Outgoing };
                office.reaches(&key, place).await;
                office.end().await;
                office
            })
        });
        let history = office.state.history();
        let flushed = steps
            .iter()
            .position(|it| matches!(it, DiskStep::SyncFile { path } if *path == history));
        // The queue tries at its start whether it may move files there.
        let is_message = |it: &Path| {
            it.parent().is_some_and(|it| it.ends_with("processing")) && !it.ends_with(".probe-move")
        };
        let moved = steps
            .iter()
            .position(|it| matches!(it, DiskStep::Rename { from, .. } if is_message(from)));
        assert!(flushed.is_some() && flushed < moved, "flushed {flushed:?}, moved {moved:?}");
    }
}

/// On btrfs a power cut took the folder and left the thread: all its messages were refused for want of a folder.
#[test]
fn the_folder_of_a_new_thread_is_on_disk_before_the_thread_is() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (office, steps) = steps_of(|| {
        runtime.block_on(async {
            let mut office = Office::open(json!({}));
            let message = office.message("7", "hello");
            let key = office.publish(message);
            office.reaches(&key, Place::Outgoing).await;
            office.end().await;
            office
        })
    });
    let folders = office.place.path("work");
    let flushed =
        steps.iter().position(|it| matches!(it, DiskStep::SyncDir { path } if *path == folders));
    let is_thread = |path: &Path, bytes: &[u8]| {
        path.ends_with("threads.json.tmp") && String::from_utf8_lossy(bytes).contains("\"7\"")
    };
    let kept = steps
        .iter()
        .position(|it| matches!(it, DiskStep::Write { path, bytes } if is_thread(path, bytes)));
    assert!(flushed.is_some() && flushed < kept, "flushed {flushed:?}, kept {kept:?}");
}
