//! What happens by the clock: the daily reset, heartbeats, summaries of what ended.

use serde_json::json;
use tinyclaw_domain::{Command, HistoryLine, Message, ThreadId};
use tinyclaw_ledger::log;
use tinyclaw_queue::Place;
use tinyclaw_service::now_ms;

use crate::claude::{Step, fails};
use crate::office::{Office, until};

const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// The messages that TinyClaw published by itself, wherever they are now.
fn ours(office: &Office, prefix: &str) -> Vec<Message> {
    let view = office.queue.view();
    let places = [Place::Incoming, Place::Processing, Place::Outgoing, Place::Done, Place::Dead];
    let all = places.into_iter().flat_map(|it| view.read_all(it, None, 10_000).unwrap());
    let all = all.map(|it| it.1);
    all.filter(|it| it.key.as_str().starts_with(prefix)).collect()
}

/// An office whose thread 7 was last answered then, with a `HEARTBEAT.md` that it last looked at then.
async fn after(settings: serde_json::Value, last_ms: u64, beat: Option<&str>) -> Office {
    after_with(settings, last_ms, beat, None).await
}

/// The same, with what Claude does when it comes to these words.
async fn after_with(
    settings: serde_json::Value,
    last_ms: u64,
    beat: Option<&str>,
    turn: Option<(&'static str, Vec<Step>)>,
) -> Office {
    let mut office = Office::open(json!({ "memory": { "dailyReset": false } }));
    if let Some((words, turn)) = turn {
        office.claude.on(words, [turn]);
    }
    office.ask("7", "hello").await;
    office.end().await;
    office.edit_threads(|threads| {
        threads["7"]["lastActive"] = last_ms.into();
        threads["7"]["lastBeat"] = last_ms.into();
    });
    if let Some(text) = beat {
        let path = office.place.path("work/7/HEARTBEAT.md");
        tinyclaw_disk::replace(&path, text.as_bytes(), tinyclaw_disk::Flush::None).unwrap();
    }
    office.change(settings);
    office.begin();
    office
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_yesterday_ends_with_a_summary_that_the_next_one_begins_with() {
    let turn = ("summary", vec![Step::Say("# Greetings\n\nAda said hello.")]);
    let settings = json!({ "memory": { "dailyReset": true } });
    let mut office = after_with(settings, now_ms() - 2 * DAY_MS, None, Some(turn)).await;
    office.thread_when("7", |it| it.session_id.is_none()).await;
    until("a summary", || Some(office.claude.prompts_of("summary")).filter(|it| !it.is_empty()))
        .await;
    assert_eq!(office.ask("7", "good morning").await.text, "Done.");
    let prompts = office.claude.prompts_of("good morning");
    assert!(prompts[0].text.contains("Ada said hello."), "{}", prompts[0].text);
    let summaries = office.claude.prompts_of("summary");
    assert_eq!((summaries.len(), summaries[0].model.as_str()), (1, "haiku"));
    assert_ne!(summaries[0].session, prompts[0].session);
    assert!(office.notices("7").is_empty(), "it happens without a word");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_today_goes_on_and_so_does_one_without_a_reset() {
    for (settings, last) in [
        (json!({ "memory": { "dailyReset": true } }), now_ms()),
        (json!({ "memory": { "dailyReset": false } }), now_ms() - 2 * DAY_MS),
    ] {
        let mut office = after(settings, last, None).await;
        let before = office.thread("7").unwrap().session_id;
        office.first_tick().await;
        office.ask("7", "again").await;
        assert!(before.is_some() && office.thread("7").unwrap().session_id == before);
        assert!(ours(&office, "reset").is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_without_a_conversation_asks_nobody_for_a_summary() {
    let mut office = Office::open(json!({}));
    office.ask("7", "hello").await;
    office.end().await;
    let other = "0d9f4c1e-7a52-4a53-8d43-5f0f5b1f2a61";
    office.edit_threads(|threads| threads["7"]["sessionId"] = other.into());
    office.begin();
    let reply = office.obeyed("7", Command::Reset {}).await;
    assert!(reply.text.starts_with("The session is over"), "{}", reply.text);
    assert!(ours(&office, "sum").is_empty());
    let reply = office.obeyed("8", Command::Reset {}).await;
    assert_eq!(reply.text, "There is no session yet; the next message begins one.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_summary_that_fails_for_good_holds_nobody_up() {
    let mut office = Office::open(json!({}));
    office.ask("7", "hello").await;
    office.claude.on("summary", [fails(400, "invalid_request", "API Error: 400 bad request")]);
    office.obeyed("7", Command::Reset {}).await;
    assert_eq!(office.ask("7", "again").await.text, "Done.");
    assert_eq!(office.claude.prompts_of("summary").len(), 1);
}

/// What a summary costs is part of the day, and it is nobody's conversation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_summary_is_paid_for_by_its_thread() {
    let mut office = Office::open(json!({ "budget": { "threadPerDay": 1.0 } }));
    office.ask("7", "hello").await;
    office.claude.on("summary", [vec![Step::Say("# Hello"), Step::Cost(2.0)]]);
    office.obeyed("7", Command::Reset {}).await;
    // What it costs is known when it is over.
    let order = until("the order of a summary", || ours(&office, "sum").pop()).await;
    office.reaches(&order.key, Place::Done).await;
    let reply = office.ask("7", "again").await;
    assert!(reply.text.contains("$2.00 of $1.00"), "{}", reply.text);
}

/// Heartbeats at any time of day: null would be the hours that are quiet without a word from anybody.
fn beats() -> serde_json::Value {
    json!({ "heartbeat": { "enabled": true, "quietHours": "00:00-00:00" }, "memory": { "dailyReset": false } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_asks_what_is_due_and_says_nothing_when_nothing_is() {
    for (answer, is_silent) in [("[NO_UPDATES]", true), ("I watered the plants.", false)] {
        let turn = ("Read HEARTBEAT.md", vec![Step::Say(answer)]);
        let list = Some("- water the plants\n");
        let office = after_with(beats(), now_ms() - DAY_MS, list, Some(turn)).await;
        let beat = until("a heartbeat", || ours(&office, "hb").pop()).await;
        let reply = office.reply(&beat.key).await;
        assert_eq!((reply.text.as_str(), reply.silent), (answer, is_silent));
        let prompts = office.claude.prompts_of("Read HEARTBEAT.md");
        assert_eq!(prompts.len(), 1, "once an interval");
        assert!(prompts[0].text.contains("[Heartbeat check-in]:"), "{}", prompts[0].text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_heartbeat_comes_before_its_time_in_quiet_hours_or_with_nothing_to_look_after() {
    let quiet = json!({ "heartbeat": { "enabled": true, "quietHours": "00:00-23:59" } });
    let (old, now, list) = (now_ms() - DAY_MS, now_ms(), Some("- water the plants\n"));
    for (settings, last, text) in [
        (beats(), now, list),
        (beats(), old, Some("# Things\n- [x] done\n")),
        (beats(), old, None),
        (quiet, old, list),
        (json!({ "heartbeat": { "enabled": false } }), old, list),
    ] {
        let office = after(settings.clone(), last, text).await;
        office.first_tick().await;
        assert!(ours(&office, "hb").is_empty(), "{settings} {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_over_budget_is_skipped_without_a_word() {
    let mut settings = beats();
    settings["budget"] = json!({ "threadPerDay": 0.5 });
    let mut office = Office::open(json!({ "memory": { "dailyReset": false } }));
    office.claude.on("hello", [vec![Step::Say("Hi."), Step::Cost(1.0)]]);
    office.ask("7", "hello").await;
    office.end().await;
    office.edit_threads(|threads| threads["7"]["lastBeat"] = (now_ms() - DAY_MS).into());
    let path = office.place.path("work/7/HEARTBEAT.md");
    tinyclaw_disk::replace(&path, b"- water the plants\n", tinyclaw_disk::Flush::None).unwrap();
    office.change(settings);
    office.begin();
    let beat = until("a heartbeat", || ours(&office, "hb").pop()).await;
    let reply = office.reply(&beat.key).await;
    assert_eq!((reply.text.as_str(), reply.silent), ("Skipped: today's budget is spent.", true));
    assert_eq!(office.claude.prompts().len(), 1);
}

/// The lines of the history, in order.
fn history(office: &Office) -> Vec<HistoryLine> {
    let newest_first = log(&office.state.history()).unwrap().map(Result::unwrap);
    let mut lines: Vec<HistoryLine> = newest_first.collect();
    lines.reverse();
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_leaves_its_lines_and_housekeeping_only_what_it_cost() {
    let mut office = Office::open(json!({}));
    office.claude.on("summary", [vec![Step::Say("# Hello"), Step::Cost(0.25)]]);
    office.ask("7", "hello").await;
    office.obeyed("7", Command::Reset {}).await;
    let seven: ThreadId = "7".parse().unwrap();
    until("the summary's line", || (history(&office).len() >= 5).then_some(())).await;
    // The summary is written beside the thread's own messages, so its line stands anywhere.
    let is_summary = |it: &HistoryLine| it.message.starts_with("[summary");
    let (summaries, lines): (Vec<_>, Vec<_>) =
        history(&office).into_iter().filter(|it| it.thread_id == seven).partition(is_summary);
    let said: Vec<(&str, &str)> = lines
        .iter()
        .map(|it| (it.sender.as_str(), it.message.split(' ').next().unwrap_or_default()))
        .collect();
    assert_eq!(said, [("Ada", "hello"), ("Claude", "Done."), ("Ada", ""), ("TinyClaw", "The")]);
    let costs: Vec<_> = summaries.iter().map(|it| it.cost_usd).collect();
    assert_eq!(costs, [Some(0.25)]);
}
