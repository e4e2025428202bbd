//! A queue that goes out of reach, and one that takes away what was claimed: no folder does either, so that the engine in
//! memory does it here, for every caller who must be ready for it.

use std::time::Duration;

use tinyclaw_queue::{ClaimError, LeaseError, Memory, MoveError, Place, PublishError};

use super::*;

fn claimed(memory: &Memory) -> (Queue, tinyclaw_queue::Lease) {
    let queue = Queue::open(memory.clone(), quiet()).unwrap();
    publish(&queue, "7", "tg-1");
    let lease = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    (queue, lease)
}

#[test]
fn a_lease_that_was_taken_away_changes_nothing_any_more() {
    let memory = Memory::new();
    let (queue, mut lease) = claimed(&memory);
    assert!(lease.still_ours());
    memory.take_away();
    assert!(!lease.still_ours());
    let mut theirs = queue.try_claim(Side::Run, &Which::Ordinary).unwrap().unwrap();
    assert!(theirs.was_recovered());
    let refused = lease.answer(reply("late"), vec![]).unwrap_err();
    assert!(matches!(refused, LeaseError::Lost { .. }), "{refused}");
    assert!(matches!(lease.finish(), Err(LeaseError::Lost { .. })));
    // Nor does its end free the lane that is somebody else's now.
    assert_eq!(next(&queue, Side::Run), "-");
    theirs.answer(reply("in time"), vec![]).unwrap();
    theirs.finish().unwrap();
    let seen = queue.view().find(&key("tg-1")).unwrap().unwrap();
    assert_eq!(
        (seen.place, seen.message.reply.unwrap().text.as_str()),
        (Place::Outgoing, "in time")
    );
}

#[test]
fn a_queue_out_of_reach_refuses_every_step_and_goes_on_where_it_was() {
    let memory = Memory::new();
    let (queue, mut lease) = claimed(&memory);
    memory.set_away(true);
    assert!(!lease.still_ours());
    assert!(matches!(lease.checkpoint(checkpoint()), Err(LeaseError::Away { .. })));
    let refused = queue.publish(Side::Run, message("8", "tg-2"), Durability::Strict).unwrap_err();
    assert!(matches!(refused, PublishError::Away { .. }), "{refused}");
    let refused = queue.try_claim(Side::Run, &Which::Ordinary).unwrap_err();
    assert!(matches!(refused, ClaimError::Away { .. }), "{refused}");
    assert!(matches!(queue.purge(&key("tg-1")), Err(MoveError::Away { .. })));
    let unseen = queue.view().find(&key("tg-1")).unwrap_err();
    assert_eq!(unseen.to_string(), "the queue is out of reach: it was put away");
    memory.set_away(false);
    assert!(lease.still_ours());
    lease.answer(reply("hi"), vec![]).unwrap();
    lease.finish().unwrap();
    assert_eq!(queue.view().depth().unwrap().outgoing, 1);
}

#[tokio::test]
async fn whoever_asks_is_told_that_all_is_lost() {
    let memory = Memory::new();
    let (queue, lease) = claimed(&memory);
    let asked = queue.clone();
    let mut lost = tokio::spawn(async move { asked.lost().await });
    let early = tokio::time::timeout(Duration::from_millis(20), &mut lost).await;
    assert!(early.is_err(), "nothing was lost yet");
    memory.take_away();
    lost.await.unwrap();
    assert!(!lease.still_ours());
}
