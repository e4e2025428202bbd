//! What changed under us between two versions of the real CLI and broke something without a word: each once, as a
//! person would notice it.

use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tinyclaw_domain::{PermissionAnswer, PermissionMode, ThreadId};
use tinyclaw_engine::{Advice, TurnEvent, TurnOutcome};

use crate::claude::{asking, bash, failure, is_older, real};
use crate::desk::{new_session, tool, until};

/// Totals of a resumed session go on where they were: the first turn after it would cost everything again.
#[tokio::test]
async fn real_claude_bills_a_resumed_session_once() {
    let (desk, _api) = real!();
    let mut costs = Vec::new();
    for turn in 0..6 {
        if turn % 2 == 0 {
            desk.engine.evict(&desk.spec.thread).await;
        }
        let end = desk.say("[api: counts 1 100000]").await;
        assert_eq!((end.outcome.clone(), end.resumed), (TurnOutcome::Answered, turn > 0));
        assert_eq!(end.models.len(), 1, "{end:?}");
        costs.push(end.cost_usd);
    }
    let first = costs[0];
    assert!(first > 0.01, "{costs:?}");
    assert!(costs.iter().all(|it| (it - first).abs() < first * 0.01), "{costs:?}");
    // One that cannot be answered after a resume costs nothing, and certainly not the session.
    desk.engine.evict(&desk.spec.thread).await;
    let end = desk.say("[api: status 400]").await;
    assert!(matches!(end.outcome, TurnOutcome::Failed(_)) && end.cost_usd < 1e-9, "{end:?}");
    let end = desk.say("[api: counts 1 100000]").await;
    assert!((end.cost_usd - first).abs() < first * 0.01, "{end:?}");
}

/// A stream tells its usage again and again, all of it each time.
#[tokio::test]
async fn real_claude_counts_a_stream_once() {
    if is_older() {
        return;
    }
    let (desk, _api) = real!();
    let one = desk.say("[api: counts 1 1000]").await;
    let ten = desk.say("[api: counts 10 1000]").await;
    assert_eq!((one.usage, one.usage.output_tokens), (ten.usage, 5));
    assert!((one.cost_usd - ten.cost_usd).abs() < 1e-9, "{} {}", one.cost_usd, ten.cost_usd);
}

#[tokio::test]
async fn real_claude_takes_a_new_system_prompt_along() {
    let (mut desk, api) = real!();
    desk.spec.system_prompt = "You sit at desk seven.".to_owned();
    desk.say("hello").await;
    desk.spec.system_prompt = "You sit at desk eight.".to_owned();
    assert!(desk.say("hello again").await.resumed);
    let system = api.asked().last().unwrap().system.clone();
    assert!(system.contains("desk eight") && !system.contains("desk seven"), "{system}");
}

/// The helper, by the name this version has for the tool.
fn helper(prompt: &str) -> String {
    let input =
        json!({ "description": "look", "prompt": prompt, "subagent_type": "general-purpose" });
    format!("[api: tool Agent {input}]")
}

#[tokio::test]
async fn real_claude_answers_with_what_its_helper_found() {
    let (desk, _api) = real!();
    let mut background = desk.engine.background().unwrap();
    let end = desk.say(&helper("[api: say The shelf holds nine books.]")).await;
    assert!(end.text.contains("nine books"), "{end:?}");
    assert_eq!(end.text.matches("Async agent").count(), 0);
    // And says nothing more by itself: the next answer is the next question's.
    assert_eq!(desk.say("[api: say fine]").await.text, "fine");
    assert!(background.try_recv().is_err());
}

#[tokio::test]
async fn real_claude_asks_for_its_helper_too() {
    let (desk, _api) = real!();
    let wanted = bash("touch /tmp/tinyclaw-no-such-dir/helper || echo tried");
    let mut turn = desk.ask(&helper(&wanted));
    let (id, _) = asking(&mut turn).await;
    turn.control().answer_permission(&id, PermissionAnswer::Allow);
    let end = turn.end().await.unwrap();
    assert!(end.text.contains("tried") && end.denials.is_empty(), "{end:?}");
}

/// Its list of what there is to do is whole each time, a helper's tools name the helper, and what runs on is told until the end.
#[tokio::test]
async fn real_claude_tells_what_is_left_and_what_its_helper_and_the_background_do() {
    let (mut desk, _api) = real!();
    desk.spec.permission_mode = PermissionMode::Bypass;
    let todos = json!({ "todos": [
        { "content": "look", "status": "completed", "activeForm": "Looking" },
        { "content": "write", "status": "in_progress", "activeForm": "Writing" }] });
    let behind = json!({ "command": "sleep 60", "description": "wait for the build", "run_in_background": true });
    let helper = helper(&bash("echo found"));
    let mut turn =
        desk.ask(&format!("[api: tool TodoWrite {todos}] [api: tool Bash {behind}] {helper}"));
    let (mut used, mut beside) = (Vec::new(), Vec::new());
    let end = until(&mut turn, |it| match it {
        TurnEvent::ToolStarted { id, name, input, parent } => {
            used.push((id, name, input, parent));
            None
        }
        TurnEvent::Background { running } => {
            beside = running;
            None
        }
        TurnEvent::Ended(end) => Some(end),
        _ => None,
    })
    .await;
    let [list, wait, helper, own] = &used[..] else { panic!("{used:?}") };
    assert_eq!((list.1.as_str(), &list.2), ("TodoWrite", &todos));
    assert_eq!((wait.1.as_str(), &wait.3), ("Bash", &None));
    assert_eq!((own.1.as_str(), own.3.as_ref()), ("Bash", Some(&helper.0)));
    assert_eq!(beside, ["wait for the build"], "and not the helper, which is done within the turn");
    assert_eq!(end.running, ["wait for the build"]);
    assert!(end.text.contains("found"), "{end:?}");
}

/// All processes of one home folder see each other, and can start turns in each other, past the queue and the person.
#[tokio::test]
async fn real_claude_cannot_talk_to_another_desk() {
    let (mut desk, api) = real!();
    desk.spec.permission_mode = PermissionMode::Bypass;
    let mut background = desk.engine.background().unwrap();
    let first = desk.spec.clone();
    assert_eq!(desk.say("[api: say here]").await.text, "here");
    desk.spec.thread = ThreadId::topic(8);
    desk.spec.id = new_session();
    let seen = desk.say("[api: tool ListAgents {}]").await.text;
    assert!(seen.contains("No such tool"), "{seen}");
    let address = seen.split(['"', ' ', '\n']).find(|it| it.starts_with("uds:"));
    let input = json!({ "to": address.unwrap_or(first.id.as_str()), "message": "[api: say heard]",
        "summary": "word" });
    let sent = desk.say(&format!("[api: tool SendMessage {input}]")).await.text;
    assert!(sent.contains("No such tool"), "{sent}");
    for asked in api.asked() {
        for name in ["ListAgents", "SendMessage"] {
            assert!(!asked.tools.contains(&name.to_owned()), "{:?}", asked.tools);
        }
    }
    desk.spec = first;
    assert_eq!(desk.say("[api: say still mine]").await.text, "still mine");
    assert!(background.try_recv().is_err(), "nobody made it speak unasked");
}

#[tokio::test]
async fn real_claude_offers_our_tools_with_its_own() {
    let (mut desk, api) = real!();
    desk.spec.tools = Arc::new([tool("list_threads"), tool("send_message")]);
    desk.say("hello").await;
    let offered = &api.asked()[0].tools;
    for name in ["mcp__tinyclaw__list_threads", "mcp__tinyclaw__send_message"] {
        assert!(offered.contains(&name.to_owned()), "{offered:?}");
    }
}

#[tokio::test]
async fn real_claude_thinks_as_hard_as_before() {
    let (desk, api) = real!();
    desk.say("hello").await;
    assert_eq!(api.asked()[0].effort.as_deref(), Some("high"));
}

/// A window of a million tokens is paid for again with every turn.
#[tokio::test]
async fn real_claude_sums_up_before_a_conversation_costs_too_much() {
    let (desk, api) = real!();
    desk.say("[api: counts 1 150000]").await;
    let before = api.asked().len();
    desk.say("[api: say small]").await;
    assert_eq!(api.asked().len(), before + 1, "there is room for more");
    desk.say("[api: counts 1 190000]").await;
    let before = api.asked().len();
    desk.say("[api: say after]").await;
    let asked = api.asked();
    let summary = asked[before..].iter().find(|it| it.messages.contains("detailed summary"));
    assert!(
        summary.is_some(),
        "{:?}",
        asked[before..].iter().map(|it| &it.prompt).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn real_claude_reports_an_answer_that_is_too_long() {
    let (desk, api) = real!();
    api.never_come_to_an_end();
    let end = desk.say("hello").await;
    assert_eq!(failure(&end).advice(), Advice::Report, "{end:?}");
    assert!(!end.text.contains("API Error"), "{end:?}");
    api.answer_always(None);
    assert_eq!(desk.say("[api: say fine]").await.text, "fine");
}

/// It ends as if all were said: what came is a beginning, and must not be taken for the answer.
#[tokio::test]
async fn real_claude_asks_again_when_a_stream_ends_too_soon() {
    let (desk, _api) = real!(|it| {
        it.env.insert("CLAUDE_CODE_MAX_RETRIES".to_owned(), "1".to_owned());
    });
    let end = desk.say("[api: truncate 1] [api: say The whole answer.]").await;
    assert_eq!((&end.outcome, end.text.as_str()), (&TurnOutcome::Answered, "The whole answer."));
    let end = desk.say("[api: truncate]").await;
    let advice = failure(&end).advice();
    assert!(matches!(advice, Advice::BackOffTwice(_) | Advice::Outlast(_)), "{end:?}");
}

/// A command that runs on is followed to its end, by its name, and what comes of it is told.
#[tokio::test]
async fn real_claude_follows_a_background_task_by_its_name() {
    let (mut desk, _api) = real!();
    desk.spec.permission_mode = PermissionMode::Bypass;
    let mut background = desk.engine.background().unwrap();
    let go = desk.path("work/go");
    let command = format!("until [ -e {} ]; do sleep 0.1; done; echo done", go.display());
    let input = json!({ "command": command, "description": "Wait for the word", "run_in_background": true });
    let mut turn = desk.ask(&format!("[api: tool Bash {input}]"));
    until(&mut turn, |it| matches!(it, TurnEvent::ToolFinished { .. }).then_some(())).await;
    let end = turn.end().await.unwrap();
    assert_eq!(end.running, ["Wait for the word"], "{end:?}");
    std::fs::write(go, "").unwrap();
    let told = tokio::time::timeout(Duration::from_secs(60), background.recv()).await;
    assert_eq!(told.unwrap().unwrap().task.as_deref(), Some("Wait for the word"));
}
