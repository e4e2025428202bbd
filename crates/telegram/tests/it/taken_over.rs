//! A queue that takes away what was claimed, under an answer on its way.

use serde_json::Value;
use tinyclaw_queue::{Memory, Place};
use tinyclaw_service::Snapshot;
use tinyclaw_testkit::telegram::FORUM;

use crate::office::Office;

fn number(of: &Snapshot, name: &str) -> Option<u64> {
    of.numbers.get(name).and_then(Value::as_u64)
}

/// Two have it in hand; the one whose lease is lost lets go of it without a word, and the other sends it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_taken_over_is_sent_by_whoever_has_it_and_once() {
    let memory = Memory::new();
    let office = Office::over(&memory).await;
    office.ada(None, "hello");
    let turn = office.claim().await;
    office.plug.pull().await;
    // By the second failed poll every old connection is known to be dead, and an answer waits.
    office.until_health("cut off", |it| number(it, "pollErrorsTotal") >= Some(2)).await;
    turn.answer("Hello.");
    office.until_health("one waits", |it| number(it, "unsentTotal") == Some(1)).await;
    memory.take_away();
    office.until_health("another waits", |it| number(it, "unsentTotal") == Some(2)).await;
    office.plug.put_back().await.unwrap();
    office.until_health("let go", |it| number(it, "takenOverTotal") == Some(1)).await;
    office.until_in_place(Place::Done, 1).await;
    let transcript = office.fake.transcript(FORUM);
    assert_eq!(transcript.matches("Hello.").count(), 1, "{transcript}");
    let seen = office.vitals.snapshot();
    assert_eq!((number(&seen, "answersTotal"), number(&seen, "buriedTotal")), (Some(1), None));
    assert_eq!(office.queue.view().keys("n-").unwrap(), [], "nobody is told of any trouble");
    office.close().await;
}
