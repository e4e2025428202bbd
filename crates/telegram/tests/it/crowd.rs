//! Many topics at work at once: their answers come before looks at them.

use std::time::{Duration, Instant};

use tinyclaw_telegram::{Options, Timing};
use tinyclaw_testkit::telegram::{ADA, Control, FORUM, Limits};

use crate::office::{Office, PATIENCE, quick};

#[tokio::test(flavor = "multi_thread")]
async fn in_a_crowd_a_status_comes_late_and_who_waits_gets_a_reaction_instead() {
    let quick = quick();
    let timing = Timing {
        status_after: Duration::from_millis(30),
        crowd_status_after: Duration::from_secs(3),
        ..quick.timing
    };
    let office = Office::open_with(Limits::none(), Options { timing, ..quick }, "101").await;
    let mut topics = Vec::new();
    for n in 0..6 {
        let name = format!("Topic {n}");
        let topic = office.fake.act(Control::CreateTopic { chat: FORUM, from: ADA, name });
        office.claim().await.done();
        topics.push(topic.as_i64());
    }
    let mut turns = Vec::new();
    let mut begun = Instant::now();
    for topic in &topics {
        begun = Instant::now();
        office.ada(*topic, "think");
        turns.push(office.claim().await);
    }
    office.ada(topics[0], "and then?");
    office.until_said("Ada [🤔]:\n    and then?\n").await;
    let statuses = office.fake.wait_for(PATIENCE, |it| {
        (it.transcript(FORUM).matches("[ Stop ]").count() >= topics.len()).then_some(())
    });
    statuses.await.expect("a status for each topic");
    let transcript = office.fake.transcript(FORUM);
    assert_eq!(transcript.matches("[ Stop ]").count(), topics.len(), "{transcript}");
    let calls = office.fake.calls();
    let last = calls.iter().rfind(|it| it.method == "sendMessage").unwrap();
    assert!(last.at - begun >= Duration::from_secs(3), "{:?}", last.at - begun);
    for turn in turns {
        turn.answer("Thought.");
    }
    office.claim().await.answer("Then this.");
    office.until_said("    Then this.\n").await;
    office.close().await;
}
