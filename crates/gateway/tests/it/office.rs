//! What happens in the office, as events: once, over restarts, and without what was said.

use std::time::Duration;

use serde_json::{Value, json};
use tinyclaw_domain::{Channel, HistoryLine, JobEvent, Key, Message, Outcome, Reply, StateDir};
use tinyclaw_ledger::{JobLog, Journal, Keep};
use tinyclaw_queue::{Durability, Lease, Options, Queue, Side, Which};

use crate::rig::{Rig, json_of, problem};

fn line(n: u64, direction: &str) -> HistoryLine {
    serde_json::from_value(json!({
        "timestamp": 1_771_234_567_000u64 + n, "key": format!("tg-{n}"), "attempt": 1, "messageId": format!("{n}"),
        "threadId": 7, "channel": "telegram", "direction": direction, "sender": "Ada",
        "message": "what nobody else should read", "durationMs": 5200,
    }))
    .unwrap()
}

async fn answered(rig: &Rig, count: usize) -> Vec<Value> {
    loop {
        let path = "/events?type=tinyclaw.*&since=earliest&limit=1000";
        let page = json_of(rig.get(path).send().await.unwrap()).await;
        let events = page["events"].as_array().unwrap().clone();
        if events.len() >= count {
            return events;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn each_message_is_told_once_over_restarts_and_without_its_text() {
    let rig = Rig::with(json!({ "readPerSecond": 100_000 })).await;
    let state = StateDir::new(rig.dir.path());
    let journal = Journal::new(&state, Keep::default());
    // It begins with what comes after its first start.
    while json_of(rig.get("/stats").send().await.unwrap()).await["following"] != 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for n in 0..3 {
        journal.history(&line(n, "in")).unwrap();
        journal.history(&line(n, "out")).unwrap();
    }
    let events = answered(&rig, 6).await;
    assert_eq!(events[0]["type"], "tinyclaw.message.received");
    assert_eq!(events[1]["type"], "tinyclaw.message.answered");
    assert_eq!((&events[0]["subject"], &events[0]["source"]), (&json!("tg-0"), &json!("tinyclaw")));
    assert_eq!(events[0]["metadata"]["chars"], 28);
    assert!(!json!(events).to_string().contains("nobody else"), "{events:?}");
    let dir = rig.stop().await;
    // Written while it is away; one of them stands twice, as after a crash.
    for n in [3, 3, 4] {
        journal.history(&line(n, "in")).unwrap();
    }
    let mut again = line(4, "in");
    again.timestamp += 5;
    journal.history(&again).unwrap();
    let rig = Rig::on(dir, json!({ "readPerSecond": 100_000 }), None).await;
    let events = answered(&rig, 8).await;
    let keys: Vec<&str> = events[6..].iter().map(|it| it["subject"].as_str().unwrap()).collect();
    assert_eq!(keys, ["tg-3", "tg-4"]);
}

#[tokio::test]
async fn a_messages_timeline_has_its_events_and_the_steps_of_its_turn_and_no_text() {
    let rig = Rig::start().await;
    let state = StateDir::new(rig.dir.path());
    rig.tell(&json!({ "type": "claude.PreToolUse", "subject": "tg-7", "metadata": {} })).await;
    let mut log = JobLog::begin(&state, &"tg-7".parse().unwrap(), 1);
    log.write(2, JobEvent::Begun { attempt: 1, model: None, tier: None, warm: true }).unwrap();
    log.write(3, JobEvent::Text { text: "what nobody else should read".into() }).unwrap();
    let (id, name, detail) = ("t1".to_owned(), "Bash".to_owned(), "ls".to_owned());
    log.write(4, JobEvent::Tool { id, name, detail, parent: None }).unwrap();
    let told = json_of(rig.get("/api/messages/tg-7/timeline").send().await.unwrap()).await;
    assert_eq!(told["events"][0]["type"], "claude.PreToolUse");
    let types: Vec<&Value> =
        told["steps"].as_array().unwrap().iter().map(|it| &it["type"]).collect();
    assert_eq!(types, ["begun", "tool"]);
    for unknown in ["tg-8", "..%2f..%2fetc", "%00"] {
        let refused = problem(rig.get(&format!("/api/messages/{unknown}/timeline"))).await;
        assert_eq!((refused.0, &*refused.1), (404, "unknown_message"), "{unknown}");
        assert_eq!(refused.2["success"], false);
    }
}

/// A message whose answer waits to be sent.
async fn answered_message(queue: &Queue, key: &Key) -> Lease {
    let text = "what nobody else should read";
    let message = Message::new(key.clone(), Channel::Telegram, "7".parse().unwrap(), text, 1);
    queue.publish(Side::Run, message, Durability::Strict).unwrap();
    let mut lease = queue.claim(Side::Run, &Which::Ordinary).await.unwrap();
    let reply = Reply {
        text: "nor this".to_owned(),
        outcome: Outcome::Answered,
        duration_ms: 5_200,
        ..Reply::default()
    };
    lease.answer(reply, Vec::new()).unwrap();
    lease.finish().unwrap();
    queue.claim(Side::Send, &Which::Ordinary).await.unwrap()
}

#[tokio::test]
async fn a_message_is_seen_where_it_goes_in_the_queue_and_its_timeline_says_what_became_of_it() {
    let rig = Rig::with(json!({ "readPerSecond": 100_000 })).await;
    let state = StateDir::new(rig.dir.path());
    let queue = Queue::open(state.root(), Options::default()).unwrap();
    // The gateway found no queue to watch; it looks again until it hears of something.
    let mut number = 0;
    while answered(&rig, 0).await.is_empty() {
        number += 1;
        let key: Key = format!("tg-first-{number}").parse().unwrap();
        answered_message(&queue, &key).await.delivered().unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let key: Key = "tg-7".parse().unwrap();
    let mut lease = answered_message(&queue, &key).await;
    lease.intend(1, 9).unwrap();
    lease.sent(1, 77, false).unwrap();
    lease.delivered().unwrap();
    let mut log = JobLog::begin(&state, &key, 1);
    let (id, name, detail) = ("toolu_9".to_owned(), "Bash".to_owned(), "ls".to_owned());
    log.write(4, JobEvent::Tool { id, name, detail, parent: None }).unwrap();
    rig.tell(&json!({
        "hook_event_name": "PostToolUse", "session_id": "s1", "tool_use_id": "toolu_9", "tool_name": "Bash",
    }))
    .await;
    rig.tell(
        &json!({ "hook_event_name": "PostToolUse", "session_id": "s1", "tool_use_id": "toolu_8" }),
    )
    .await;
    let told = loop {
        let told = json_of(rig.get("/api/messages/tg-7/timeline").send().await.unwrap()).await;
        if told["events"].to_string().contains("tinyclaw.message.delivered") {
            break told;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let events = told["events"].as_array().unwrap();
    let moves: Vec<&str> = events
        .iter()
        .filter(|it| it["metadata"]["observed"] == true)
        .map(|it| it["type"].as_str().unwrap().rsplit('.').next().unwrap())
        .collect();
    assert_eq!(moves, ["queued", "claimed", "sending", "delivered"], "{told}");
    let hooks: Vec<&Value> =
        events.iter().filter(|it| it["type"] == "claude.PostToolUse").collect();
    assert_eq!(hooks.len(), 1, "{told}");
    assert_eq!(hooks[0]["subject"], "toolu_9");
    assert_eq!((&told["place"], &told["channel"]), (&json!("done"), &json!("telegram")));
    assert_eq!(told["delivery"][0]["telegramMessageId"], 77);
    assert_eq!(told["reply"]["durationMs"], 5_200);
    let text = told.to_string();
    assert!(!text.contains("nobody else") && !text.contains("nor this"), "{text}");
}
