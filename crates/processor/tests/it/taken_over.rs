//! A queue that goes out of reach, or takes away what was claimed, under a turn at work.

use serde_json::json;
use tinyclaw_queue::{Memory, Options, Place, Queue, Side, Which};

use crate::claude::Step;
use crate::office::{Office, until};

/// An office whose queue can do what folders never do.
fn office(memory: &Memory) -> Office {
    let mut office = Office::closed(json!({}));
    office.queue = Queue::open(memory.clone(), Options::default()).unwrap();
    office.claude.on("hello", [vec![Step::Say("Done."), Step::Hold]]);
    office.begin();
    office
}

/// It was tried for as long as the processor ran, and the operator was told of a disk that had nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_was_taken_over_is_answered_by_nobody_here_and_the_processor_ends() {
    let memory = Memory::new();
    let mut office = office(&memory);
    let key = office.send("7", "hello");
    until("the turn runs", || (office.claude.prompts().len() == 1).then_some(())).await;
    memory.take_away();
    // By itself: nobody told it to stop.
    office.ended().await;
    let theirs = office.queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert_eq!(theirs.message().key, key);
    assert!(theirs.was_recovered() && theirs.message().reply.is_none());
    assert_eq!(office.notices("1"), Vec::<String>::new(), "no disk is to blame");
}

/// The lease was dropped, Claude asked a second time, and a death counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_waits_while_the_queue_is_out_of_reach() {
    let memory = Memory::new();
    let mut office = office(&memory);
    let key = office.send("7", "hello");
    until("the turn runs", || (office.claude.prompts().len() == 1).then_some(())).await;
    memory.set_away(true);
    office.claude.release();
    let waits = "The queue is out of reach: answers wait for it.";
    let is_told = || {
        office
            .vitals
            .snapshot()
            .numbers
            .get("concerns")
            .is_some_and(|it| it.to_string().contains(waits))
    };
    until("the answer waits", || is_told().then_some(())).await;
    memory.set_away(false);
    assert_eq!(office.reply(&key).await.text, "Done.");
    assert_eq!(office.reaches(&key, Place::Outgoing).await.attempts.deaths, 0);
    assert_eq!(office.claude.prompts().len(), 1);
}
