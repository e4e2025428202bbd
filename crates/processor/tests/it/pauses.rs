//! Limits, a missing login, outages and budgets: what waits, what people are told, and how it goes on.

use serde_json::json;
use tinyclaw_domain::{Attempts, ButtonPress, Command, Outcome};
use tinyclaw_queue::Place;
use tinyclaw_service::now_ms;

use crate::claude::{Step, fails};
use crate::office::{Office, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_limit_stops_everybody_costs_no_attempt_and_ends_by_itself() {
    let mut office = Office::open(json!({}));
    let until = now_ms() / 1_000 + 8;
    office.claude.on("limited", [vec![Step::Limit(until)]]);
    let first = office.send("7", "limited");
    let told = office.notice("1", "Claude's plan limit is reached until").await;
    assert!(told.ends_with("What waits goes on by itself then."), "{told}");
    let second = office.send("8", "another");
    office.notice("8", "1 message waits and goes on by itself.").await;
    let why = office.vitals.snapshot().why;
    assert!(why.iter().any(|it| it.contains("plan limit")), "{why:?}");
    let asked = office.claude.prompts().len();
    assert!(asked == 1 || now_ms() / 1_000 >= until, "nobody is asked meanwhile");
    let waiting = office.reaches(&first, Place::Incoming).await;
    assert_eq!(waiting.attempts, Attempts::default());
    assert_eq!(office.reply(&first).await.text, "Done.");
    assert_eq!(office.reply(&second).await.text, "Done.");
    office.notice("1", "Claude answers again.").await;
    let of_pause = |thread: &str| {
        office.notices(thread).into_iter().filter(|it| it.contains("plan limit")).count()
    };
    assert_eq!((of_pause("1"), of_pause("8")), (1, 1), "each is told once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_login_messages_wait_and_status_says_why() {
    let mut office = Office::open(json!({}));
    office.claude.on("hello", [fails(401, "authentication_failed", "Invalid API key")]);
    let key = office.send("7", "hello");
    office.notice("1", "Claude is not logged in; run `tinyclaw setup claude`.").await;
    let status = office.obeyed("8", Command::Status {}).await.text;
    assert!(status.contains("- engine: Claude is not logged in"), "{status}");
    assert_eq!(office.find(&key).unwrap().message.attempts, Attempts::default());
    assert_eq!(office.find(&key).unwrap().place, Place::Incoming);
}

/// General is where operators read; whoever reads that is not told once more in the same place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_told_once_in_general_also_when_general_waits_for_it() {
    let mut office = Office::open(json!({}));
    office.claude.on("hello", [fails(401, "authentication_failed", "Invalid API key")]);
    let key = office.send("1", "hello");
    office.notice("1", "Claude is not logged in").await;
    let waits = |text: String| text.contains("1 message waits").then_some(());
    let progresses = tinyclaw_ledger::Progresses::new(&office.state);
    until("the wait", || progresses.read(&key)?.trouble.and_then(waits)).await;
    assert_eq!(office.notices("1").len(), 1, "{:?}", office.notices("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_budget_asks_instead_of_a_turn_and_go_takes_the_messages_up_again() {
    let mut office = Office::open(json!({ "budget": { "threadPerDay": 1.0 } }));
    office.claude.on("costly", [vec![Step::Say("Here."), Step::Cost(1.5)]]);
    office.ask("7", "costly").await;
    office.notice("7", "This thread's budget for today is spent: $1.50 of $1.00.").await;
    for text in ["second", "third"] {
        let reply = office.ask("7", text).await;
        assert_eq!(reply.outcome, Outcome::Notice);
        assert!(
            reply.text.starts_with("This thread's budget for today is spent"),
            "{}",
            reply.text
        );
        assert_eq!(reply.buttons[0].press, ButtonPress::Command(Command::GoOn {}));
    }
    assert_eq!(office.ask("8", "elsewhere").await.text, "Done.", "it is this thread's budget");
    assert_eq!(office.claude.prompts().len(), 2);
    let reply = office.obeyed("7", Command::GoOn {}).await;
    assert_eq!(reply.text, "Going on with 2 messages.");
    until("both", || (office.claude.prompts().len() == 4).then_some(())).await;
    let said: Vec<String> = office.claude.prompts().into_iter().map(|it| it.text).collect();
    assert!(said[2].ends_with("second") && said[3].ends_with("third"), "{said:?}");
    assert_eq!(office.ask("7", "fourth").await.text, "Done.", "today it no longer stops");
    let reply = office.obeyed("7", Command::GoOn {}).await;
    assert_eq!(reply.text, "Today's budget no longer stops this thread.");
}

/// It was told in General, which such an office does not have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_forum_a_budget_that_is_nearly_spent_is_told_in_the_admins_chat() {
    let mut office = Office::open(json!({
        "telegram": { "chatId": null, "allowedUsers": [7] }, "budget": { "officePerDay": 1.0 },
    }));
    office.claude.on("costly", [vec![Step::Say("Here."), Step::Cost(0.9)]]);
    office.ask("u7", "costly").await;
    office.notice("u7", "The office's budget for today is nearly spent: $0.90 of $1.00.").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failed_turn_cost_counts() {
    let mut office = Office::open(json!({ "budget": { "threadPerDay": 1.0 } }));
    office.claude.on("costly", [vec![Step::Cost(2.0), Step::Die]]);
    let mut turn = vec![Step::Cost(2.0)];
    turn.extend(fails(400, "invalid_request", "API Error: 400 bad request"));
    office.claude.on("refused", [turn]);
    assert_eq!(office.ask("7", "refused").await.cost_usd, 2.0);
    let reply = office.ask("7", "next").await;
    assert!(reply.text.contains("$2.00 of $1.00"), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_thread_answers_that_it_is_closed() {
    let mut office = Office::open(json!({}));
    office.ask("7", "hello").await;
    office.obeyed("7", Command::Close {}).await;
    let reply = office.ask("7", "again").await;
    assert_eq!(reply.text, "This thread is closed. /reopen opens it again.");
    office.obeyed("7", Command::Reopen {}).await;
    assert_eq!(office.ask("7", "again").await.text, "Done.");
}

/// A status noted beside a turn met it first, and the edit was set aside without a word.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_of_the_threads_that_cannot_be_read_is_told_whoever_meets_it() {
    let mut office = Office::open(json!({}));
    office.ask("7", "hello").await;
    office.thread_when("7", |it| it.status == tinyclaw_domain::ThreadStatus::Idle).await;
    let path = office.state.threads();
    tinyclaw_disk::replace(&path, b"{ no JSON", tinyclaw_disk::Flush::None).unwrap();
    office.ask("7", "again").await;
    until("the concern", || {
        let told = office.vitals.snapshot().numbers;
        told.get("concerns")?.to_string().contains("threads.json").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn most_of_a_plan_window_is_told_once_also_after_a_restart() {
    let mut office = Office::open(json!({}));
    let end = now_ms() / 1_000 + 3_000;
    let turn = |used| vec![Step::Plan(used, end), Step::Say("Here.")];
    office.claude.on("hello", [turn(0.79), turn(0.81), turn(0.9)]);
    office.ask("7", "hello").await;
    let windows = tinyclaw_ledger::plan::read(&office.state).unwrap().windows;
    assert_eq!((windows["five_hour"].used, windows["seven_day"].used), (0.79, 0.12));
    office.ask("7", "hello").await;
    let told = office.notice("1", "Claude's plan is nearly used up: 81 % of 5 hours (new ").await;
    assert!(told.ends_with(")."), "{told}");
    office.end().await;
    office.begin();
    office.ask("7", "hello").await;
    let windows = office.vitals.snapshot().numbers["planWindows"].clone();
    assert_eq!(windows["five_hour"]["used"], 0.9);
    let told = office.notices("1").into_iter().filter(|it| it.contains("nearly used up"));
    assert_eq!(told.count(), 1);
}

/// The API tells it with most answers to a login's requests, and with none to others'.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_no_answer_told_of_is_asked_for_where_somebody_logged_in() {
    let mut office = Office::closed(json!({}));
    let login = json!({ "claudeAiOauth": { "accessToken": "short", "expiresAt": u64::MAX / 2 } });
    let claude_dir = office.place.home().join(".claude");
    std::fs::create_dir_all(&claude_dir).unwrap();
    let file = claude_dir.join(".credentials.json");
    tinyclaw_disk::replace(&file, login.to_string().as_bytes(), tinyclaw_disk::Flush::None)
        .unwrap();
    let end = i64::try_from(now_ms() / 1_000 + 3_000).unwrap();
    let at = jiff::Timestamp::from_second(end).unwrap().to_string();
    office.claude.has_plan(json!({
        "five_hour": { "utilization": 84, "resets_at": at },
        "seven_day": { "utilization": 12, "resets_at": at },
    }));
    office.begin();
    office.notice("1", "Claude's plan is nearly used up: 84 % of 5 hours (new ").await;
    let windows = tinyclaw_ledger::plan::read(&office.state).unwrap().windows;
    assert_eq!((windows["five_hour"].used, windows["seven_day"].used), (0.84, 0.12));
    assert!(office.claude.prompts().is_empty(), "and nothing was said to the model");
    // What has just been told is not asked for.
    let began = office.claude.starts();
    office.ask("7", "hello").await;
    assert_eq!(office.claude.starts(), began + 1);
}
