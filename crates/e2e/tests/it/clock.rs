//! What happens by the clock: heartbeats and the end of the day. Nobody waits for it here: the last time lies in the
//! past, and quiet hours lie around now or nowhere.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tinyclaw_domain::{Command, Reply};
use tinyclaw_e2e::Office;

const HOUR_MS: u64 = 3_600_000;
/// Hours that never come: the default ones would, for whoever tests at night.
const NEVER: &str = "00:00-00:00";

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("time").as_millis() as u64
}

/// The time of day in some hours, in the office's time zone (UTC), as it is written in settings.
fn in_hours(hours: u64) -> String {
    let minutes = (now_ms() / 60_000 + hours * 60) % (24 * 60);
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

/// A thread in a directory of its own, whose `HEARTBEAT.md` says this, and that last looked two hours ago.
fn desk(office: &mut Office, thread: &str, heartbeat: &str) {
    let dir = office.path("work").join(thread);
    std::fs::create_dir(&dir).expect("folder");
    std::fs::write(dir.join("HEARTBEAT.md"), heartbeat).expect("file");
    let mut order = office.message(thread, "");
    order.command = Some(Command::Setdir { dir: dir.display().to_string(), admin: false });
    let key = office.publish(order);
    office.answer(&key);
}

fn overdue(threads: &mut Value) {
    for (_, thread) in threads.as_object_mut().expect("threads") {
        thread["lastBeat"] = json!(now_ms() - 2 * HOUR_MS);
    }
}

/// The heartbeats that were answered, by thread.
fn beats(office: &Office) -> Vec<(String, Reply)> {
    let lines = office.lines("message-history.jsonl");
    let out = |key: &Value| lines.iter().any(|it| it["key"] == *key && it["direction"] == "out");
    let keys = lines.iter().filter(|it| it["source"] == "heartbeat" && out(&it["key"]));
    let told = keys.filter_map(|it| {
        let key = it["key"].as_str()?.parse().ok()?;
        Some((it["threadId"].to_string(), office.seen(&key)?.message.reply?))
    });
    told.collect()
}

#[test]
fn a_thread_looks_when_its_interval_is_over_and_its_file_has_something_due() {
    let mut office = Office::open_with(&[
        ("TINYCLAW_HEARTBEAT_ENABLED", "true"),
        ("TINYCLAW_HEARTBEAT_QUIET_HOURS", NEVER),
        ("TINYCLAW_HEARTBEAT_THREADS", "5=off,6=1d"),
    ]);
    desk(&mut office, "4", "# Done\n\n- [x] [demo: say It was due once.]\n");
    desk(&mut office, "5", "- [ ] [demo: say This thread is left alone.]");
    desk(&mut office, "6", "- [ ] [demo: say This one looks once a day.]");
    desk(&mut office, "7", "- [ ] see whether the tests pass");
    desk(&mut office, "8", "- [ ] [demo: say The report is due.]");
    office.restart_with(overdue);
    // The threads are looked at in order, so the first three had their turn before the last two.
    let beats =
        office.wait_for("two heartbeats", || Some(beats(&office)).filter(|it| it.len() >= 2));
    for (thread, reply) in &beats {
        match thread.as_str() {
            "7" => assert!(reply.silent, "nothing to say: {}", reply.text),
            "8" => {
                assert_eq!(reply.text, "The report is due.");
                assert!(!reply.silent);
            }
            other => panic!("thread {other} looked"),
        }
    }
    // A restart is no interval.
    office.stop();
    office.start();
    office.ask("7", "hello");
    assert_eq!(office.prompts().len(), 3);
}

#[test]
fn quiet_hours_are_quiet_and_end() {
    let mut office = Office::open();
    let settings = |quiet: &str| json!({"heartbeat": {"enabled": true, "quietHours": quiet}});
    office.set(&settings(&format!("{}-{}", in_hours(23), in_hours(2))));
    desk(&mut office, "7", "- [ ] [demo: say Good morning.]");
    office.restart_with(overdue);
    office.ask("7", "hello");
    assert_eq!(beats(&office).len(), 0);
    office.set(&settings(NEVER));
    let beats =
        office.wait_for("the heartbeat", || Some(beats(&office)).filter(|it| !it.is_empty()));
    assert_eq!(beats[0].1.text, "Good morning.");
}

#[test]
fn a_heartbeat_stays_inside_the_budget_and_says_nothing_of_it() {
    let mut office = Office::open_with(&[
        ("TINYCLAW_HEARTBEAT_ENABLED", "true"),
        ("TINYCLAW_HEARTBEAT_QUIET_HOURS", NEVER),
        ("TINYCLAW_BUDGET_THREAD_PER_DAY", "0.50"),
    ]);
    desk(&mut office, "7", "- [ ] [demo: say The report is due.]");
    office.ask("7", "[demo: cost 0.60] first");
    office.restart_with(overdue);
    let beats =
        office.wait_for("the heartbeat", || Some(beats(&office)).filter(|it| !it.is_empty()));
    assert!(beats[0].1.silent, "{}", beats[0].1.text);
    assert_eq!(beats[0].1.text, "Skipped: today's budget is spent.");
    assert_eq!(office.prompts().len(), 1, "Claude was not asked");
}

#[test]
fn a_day_that_is_over_ends_the_sessions_of_it_with_a_summary() {
    let mut office = Office::open_with(&[("TINYCLAW_MEMORY_RESET_AT", &in_hours(12))]);
    office.ask("7", "we chose blue for the door");
    office.ask("8", "and green for the window");
    office.restart_with(|threads| {
        threads["7"]["lastActive"] = json!(now_ms() - 30 * HOUR_MS);
    });
    let session =
        |thread: &str| office.threads()[&thread.parse().expect("thread")].session_id.clone();
    office.wait_for("the end of the session", || session("7").is_none().then_some(()));
    assert!(session("8").is_some(), "its day is not over");
    let summaries = office.path("state/memory/summaries/7");
    office.wait_for("the summary", || {
        Some(std::fs::read_dir(&summaries).ok()?.count()).filter(|it| *it == 1)
    });
    office.ask("7", "where were we?");
    let prompts = office.lines("logs/prompts.jsonl");
    let last = prompts.last().expect("a prompt");
    assert_eq!(last["newSession"], true);
    assert!(last["parts"].to_string().contains("summaries"), "{last}");
}
