//! What the real CLI asks people: questions with options, answered in its own words.

use serde_json::json;
use tinyclaw_domain::approval::{ASKS_PERSON, Chosen, answers, choices};
use tinyclaw_domain::{Ask, PermissionAnswer, PermissionMode};
use tinyclaw_engine::{Turn, TurnEvent, TurnOutcome};

use crate::claude::real;
use crate::desk::until;

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
