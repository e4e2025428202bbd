//! What the real CLI asks people: questions with options, answered in its own words, and whether its plan is good.

use serde_json::json;
use tinyclaw_domain::approval::{ASKS_PERSON, Chosen, PLANS, answers, choices};
use tinyclaw_domain::{Ask, PermissionAnswer, PermissionMode};
use tinyclaw_engine::{Trace, Turn, TurnEvent, TurnOutcome};

use crate::claude::{bash, real};
use crate::desk::{new_session, until};

async fn asked(turn: &mut Turn) -> Ask {
    until(turn, |it| match it {
        TurnEvent::Asking { ask } => Some(ask),
        _ => None,
    })
    .await
}

/// Three options, and another question of which several may be chosen: in every mode, also where nothing else is asked.
#[tokio::test]
async fn real_claude_asks_a_question_and_gets_the_second_of_three_options() {
    let (mut desk, _api) = real!();
    let option = |label: &str| json!({ "label": label, "description": format!("it is {label}") });
    let questions = json!({ "questions": [
        { "question": "Which colour?", "header": "Colour", "multiSelect": false,
            "options": [option("Red"), option("Green"), option("Blue")] },
        { "question": "Which fruits?", "header": "Fruits", "multiSelect": true,
            "options": [option("Apple"), option("Pear")] } ] });
    for mode in [PermissionMode::Ask, PermissionMode::AcceptEdits] {
        desk.spec.permission_mode = mode;
        let mut turn = desk.ask(&format!("[api: tool {ASKS_PERSON} {questions}]"));
        let ask = asked(&mut turn).await;
        assert_eq!(ask.tool, ASKS_PERSON);
        let choices = choices(&ask.input).unwrap();
        let fruits = Chosen { options: vec![0, 1], text: Some("and figs".to_owned()) };
        let answers = answers(&choices, &[Chosen::option(1), fruits]).unwrap();
        turn.control().choose(&ask.request_id, answers);
        let end = turn.end().await.unwrap();
        assert_eq!(end.outcome, TurnOutcome::Answered, "{end:?}");
        assert!(end.text.contains("Green") && !end.text.contains("Red"), "{}", end.text);
        assert!(end.text.contains("Apple, Pear, and figs"), "{}", end.text);
        assert!(end.denials.is_empty(), "{:?}", end.denials);
    }
    let mut turn = desk.ask(&format!("[api: tool {ASKS_PERSON} {questions}]"));
    let ask = asked(&mut turn).await;
    let note = Some("Nobody knows.".to_owned());
    turn.control().answer_permission_with(&ask.request_id, PermissionAnswer::Deny, note);
    let end = turn.end().await.unwrap();
    assert!(end.text.contains("Nobody knows."), "{}", end.text);
    assert_eq!(end.denials.len(), 1);
}

#[tokio::test]
async fn real_claude_proposes_a_plan_is_told_to_go_on_and_edits() {
    let (mut desk, _api) = real!();
    desk.spec.permission_mode = PermissionMode::Plan;
    let file = desk.spec.cwd.join("planned.txt");
    let write =
        format!("[api: tool Write {}]", json!({ "file_path": file, "content": "as planned" }));
    let mut turn = desk.ask("[api: plan # First] [api: say I think again.]");
    let ask = asked(&mut turn).await;
    assert_eq!((ask.tool.as_str(), &ask.input["plan"]), (PLANS, &json!("# First")));
    let note = Some("Use one file.".to_owned());
    turn.control().answer_permission_with(&ask.request_id, PermissionAnswer::Deny, note);
    assert_eq!(turn.end().await.unwrap().text, "I think again.");

    // Still in the mode in which it plans; the go-ahead holds for what comes after it in the same turn.
    let mut turn = desk.ask(&format!("[api: plan # Second] {write} [api: say Done.]"));
    let ask = asked(&mut turn).await;
    assert_eq!((ask.tool.as_str(), &ask.input["plan"]), (PLANS, &json!("# Second")));
    assert!(!file.exists());
    turn.control().answer_permission(&ask.request_id, PermissionAnswer::Always);
    let end = turn.end().await.unwrap();
    assert_eq!((end.outcome, end.text.as_str()), (TurnOutcome::Answered, "Done."));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "as planned");
}

#[tokio::test]
async fn real_claude_goes_on_with_a_plan_and_asks_about_each_change() {
    let (mut desk, _api) = real!();
    desk.spec.permission_mode = PermissionMode::Plan;
    let file = desk.spec.cwd.join("planned.txt");
    let write =
        format!("[api: tool Write {}]", json!({ "file_path": file, "content": "as planned" }));
    let mut turn = desk.ask(&format!("[api: plan # Plan] {write} [api: say Done.]"));
    let ask = asked(&mut turn).await;
    turn.control().answer_permission(&ask.request_id, PermissionAnswer::Allow);
    let ask = asked(&mut turn).await;
    assert_eq!(ask.tool, "Write");
    turn.control().answer_permission(&ask.request_id, PermissionAnswer::Allow);
    assert_eq!(turn.end().await.unwrap().text, "Done.");
    assert!(file.exists());
}

/// While a tool runs they become a part of the turn; while Claude writes its last words they are what it goes on with.
#[tokio::test]
async fn real_claude_takes_words_into_the_running_turn_once() {
    let (desk, api) = real!();
    for prompt in [bash("sleep 2"), "[api: words 40 50ms]".to_owned()] {
        let before = api.asked().len();
        let mut turn = desk.ask(&prompt);
        until(&mut turn, |it| {
            matches!(it, TurnEvent::ToolStarted { .. } | TurnEvent::TextDelta(_)).then_some(())
        })
        .await;
        let uuid = new_session().to_string();
        turn.control().steer(&uuid, "[api: say I heard you.]");
        let steered = until(&mut turn, |it| match it {
            TurnEvent::Steered { uuid } => Some(uuid),
            _ => None,
        })
        .await;
        assert_eq!(steered, uuid);
        let end = turn.end().await.unwrap();
        assert_eq!(end.outcome, TurnOutcome::Answered, "{end:?}");
        assert_eq!(end.text, "I heard you.");
        assert!(end.cost_usd > 0.0 && end.usage.output_tokens > 0);
        let asked =
            api.asked()[before..].iter().filter(|it| it.prompt.contains("I heard you.")).count();
        assert_eq!(asked, 1, "once");
        desk.until_traced(&uuid, |it| *it != Trace::Unseen).await;
        assert_eq!(desk.say("[api: say fine]").await.text, "fine");
    }
}

/// Stopped meanwhile: Claude would go on with them by itself, and they are asked again by whoever handed them over.
#[tokio::test]
async fn real_claude_forgets_words_that_it_did_not_take_before_it_was_stopped() {
    let (desk, api) = real!();
    let mut turn = desk.ask("[api: words 2000 20ms]");
    until(&mut turn, |it| matches!(it, TurnEvent::TextDelta(_)).then_some(())).await;
    let uuid = new_session().to_string();
    turn.control().steer(&uuid, "[api: say I heard you.]");
    turn.control().interrupt();
    assert_eq!(turn.end().await.unwrap().outcome, TurnOutcome::Interrupted);
    assert_eq!(desk.say("[api: say fine]").await.text, "fine");
    assert!(api.asked().iter().all(|it| !it.prompt.contains("I heard you.")));
}
