//! Permission questions: what is shown is what is allowed, by whom, and for how long.

use serde_json::{Value, json};
use tinyclaw_domain::approval::{Chosen, Question, Rule};
use tinyclaw_domain::{Ask, Command, PermissionAnswer, Progress, TurnState};
use tinyclaw_testkit::telegram::{ADA, BOB, Control, Fault};

use crate::office::{Office, Turn, thread};

fn ask(id: &str, input: Value) -> Ask {
    let rule = Rule { tool: "Bash".to_owned(), content: Some("rm:*".to_owned()) };
    let (request_id, tool) = (id.to_owned(), "Bash".to_owned());
    Ask { request_id, tool, input, at: 0, always: vec![rule], unshown: None }
}

fn asks(ask: &Ask) -> impl FnOnce(&mut Progress) {
    let ask = ask.clone();
    |it| (it.state, it.asks) = (TurnState::Asking, Some(ask))
}

fn answered(ask: &Ask, answer: PermissionAnswer, admin: bool) -> Option<Command> {
    let (request_id, shown) = (ask.request_id.clone(), Question::of(ask).digest);
    Some(Command::Permission { request_id, answer, shown, admin })
}

/// Waits until a press was answered with these words.
pub(crate) async fn until_told(office: &Office, words: &str) {
    let told = |it: &tinyclaw_testkit::telegram::FakeTelegram| {
        let mut calls = it.calls().into_iter().filter(|it| it.method == "answerCallbackQuery");
        calls.any(|it| it.params["text"] == words).then_some(())
    };
    let told = office.fake.wait_for(crate::office::PATIENCE, told).await;
    assert!(told.is_some(), "never told: {words}: {:?}", office.calls("answerCallbackQuery"));
}

async fn turn(office: &Office) -> Turn<'_> {
    office.ada(None, "clean up");
    office.claim().await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_admin_allows_for_good() {
    let mut office = Office::watched().await;
    office.stop().await;
    office.environment.insert("TINYCLAW_ADMINS".to_owned(), "102".to_owned());
    office.start();
    let turn = turn(&office).await;
    let ask = ask("req-1", json!({ "command": "rm -rf target" }));
    turn.show(asks(&ask));
    office
        .until_said(
            "sonnet asks\n    May I run this?\n    rm -rf target\n    Always here: every command that begins with rm, \
             until this session ends.\n    [ Allow ] [ Always here ] [ Deny ]\n    [ Stop ]",
        )
        .await;
    office.press(ADA, "Always here").await;
    let no = "Only admins may allow something for good. Allow lets it happen this once.";
    until_told(&office, no).await;
    office.press(BOB, "Always here").await;
    let order = office.control().await;
    assert_eq!(order.command, answered(&ask, PermissionAnswer::Always, true));
    turn.answer("Clean.");
    office.until_said("    Clean.\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_button_beside_one_question_is_no_answer_to_another() {
    let office = Office::watched().await;
    let turn = turn(&office).await;
    let (first, second) = (json!({ "command": "ls" }), json!({ "command": "rm -rf ~" }));
    // The same id: it is what is shown that counts.
    let (first, second) = (ask("req-1", first), ask("req-1", second));
    turn.show(asks(&second));
    office.until_said("    rm -rf ~\n").await;
    let old = format!("a:{}:{}", &Question::of(&first).digest[..16], turn.message().key);
    office.press_late(900, &old).await;
    until_told(&office, "This question is answered already.").await;
    office.press(ADA, "Allow").await;
    assert_eq!(office.control().await.command, answered(&second, PermissionAnswer::Allow, false));
    turn.answer("Done.");
    office.until_said("    Done.\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_the_same_after_a_restart() {
    let office = Office::watched().await;
    let turn = turn(&office).await;
    let ask = ask(
        "req-1",
        json!({ "command": "ls\u{202e} -----BEGIN A PRIVATE", "run_in_background": true }),
    );
    turn.show(asks(&ask));
    let shown = "    It holds characters that cannot be seen; each is named, like ⟨U+202E⟩.\n    \
                 ls⟨U+202E⟩ -----BEGIN A PRIVATE\n    ▸ run_in_background: true\n";
    office.until_said(shown).await;
    office.until_noted(turn.message()).await;
    office.kill().await;
    office.start();
    office.press(ADA, "Allow").await;
    assert_eq!(office.control().await.command, answered(&ask, PermissionAnswer::Allow, false));
    office.until_said(shown).await;
    turn.answer("Done.");
    office.until_said("    Done.\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_question_is_asked_when_all_of_it_stands_in_the_chat() {
    let office = Office::watched().await;
    let turn = turn(&office).await;
    let ask = ask("req-8", json!({ "command": "rm -rf target &&\n".repeat(300) + "ls" }));
    turn.show(asks(&ask));
    office.until_said("All of the question “May I run this?”:").await;
    office.until_said("<document Bash.txt>").await;
    office.until_said("All of it is in the file above.\n").await;
    office.until_said("[ Allow ] [ Always here ] [ Deny ]\n    [ Stop ]").await;
    let question = Question::of(&ask);
    // Not in the thread's own folder: its agent writes there, and had another text sent than what would run.
    assert!(std::fs::read_dir(office.state.files(&thread("1"))).is_err());
    let kept = std::fs::read_dir(office.state.asks()).unwrap().flatten().next().unwrap();
    let kept = std::fs::read_to_string(kept.path()).unwrap();
    assert_eq!(kept, format!("May I run this?\n\n{}\n", question.body));
    office.press(ADA, "Allow").await;
    assert_eq!(office.control().await.command, answered(&ask, PermissionAnswer::Allow, false));
    turn.done();
    office.until_unsaid("[ Allow ]").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_whose_file_telegram_does_not_take_has_no_allow() {
    let office = Office::watched().await;
    let description = "Bad Request: not enough rights to send documents to the chat";
    office.fake.act(Control::Break { fault: Fault::refused("sendDocument", 9, 400, description) });
    let turn = turn(&office).await;
    let ask = ask("req-8", json!({ "command": "rm -rf target &&\n".repeat(300) + "ls" }));
    turn.show(asks(&ask));
    let says = "All of it could not be sent, so it cannot be allowed.\n    [ Deny ]\n    [ Stop ]";
    office.until_said(says).await;
    office.press(ADA, "Deny").await;
    assert_eq!(office.control().await.command, answered(&ask, PermissionAnswer::Deny, false));
    turn.done();
    office.until_unsaid("[ Deny ]").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_shown_can_only_be_denied() {
    let office = Office::watched().await;
    let turn = turn(&office).await;
    let mut ask = ask("req-9", Value::Null);
    ask.unshown = Some("it has 900 kB, and 524 kB are the most".to_owned());
    turn.show(asks(&ask));
    office
        .until_said(
            "It cannot be shown: it has 900 kB, and 524 kB are the most. So it cannot be allowed.\n    [ Deny ]\n    [ Stop ]",
        )
        .await;
    office.press(ADA, "Deny").await;
    assert_eq!(office.control().await.command, answered(&ask, PermissionAnswer::Deny, false));
    turn.done();
    office.until_unsaid("[ Deny ]").await;
    office.close().await;
}

/// Questions that Claude puts to people: a colour, and perhaps fruits.
fn choices(id: &str, with_fruits: bool) -> Ask {
    let colour = json!({ "question": "Which colour <b>?", "header": "Colour", "options": [
        { "label": "Red", "description": "warm" }, { "label": "Gr\u{202e}een" }, { "label": "Blue" } ] });
    let fruits = json!({ "question": "Which fruits?", "multiSelect": true, "options": [
        { "label": "Apple" }, { "label": "Pear" } ] });
    let questions = if with_fruits { json!([colour, fruits]) } else { json!([colour]) };
    let (request_id, tool) = (id.to_owned(), "AskUserQuestion".to_owned());
    let input = json!({ "questions": questions });
    Ask { request_id, tool, input, at: 0, always: Vec::new(), unshown: None }
}

fn chose(ask: &Ask, answers: &[Chosen]) -> Option<Command> {
    let (request_id, shown) = (ask.request_id.clone(), Question::of(ask).digest);
    Some(Command::Choose { request_id, answers: answers.to_vec(), shown })
}

const COLOUR: &str = "sonnet asks\n    Which colour <b>?\n    1. Red: warm\n    2. Gr⟨U+202E⟩een\n    3. Blue\n    \
                      [ Red ]\n    [ Gr⟨U+202E⟩een ]\n    [ Blue ]\n    [ Other… ]\n    [ Stop ]";

#[tokio::test(flavor = "multi_thread")]
async fn the_second_of_three_buttons_is_the_second_option() {
    let office = Office::watched().await;
    let turn = turn(&office).await;
    let ask = choices("req-1", false);
    turn.show(asks(&ask));
    office.until_said(COLOUR).await;
    office.press(BOB, "Gr⟨U+202E⟩een").await;
    assert_eq!(office.control().await.command, chose(&ask, &[Chosen::option(1)]));
    office.until_said("sonnet asks\n    Colour: Gr⟨U+202E⟩een\n    Answered.\n    [ Stop ]").await;
    turn.answer("Green it is.");
    office.until_said("    Green it is.\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_chosen_outlives_a_restart_and_only_done_ends_a_choice_of_several() {
    let office = Office::watched().await;
    let turn = turn(&office).await;
    let ask = choices("req-1", true);
    turn.show(asks(&ask));
    office.until_said(COLOUR).await;
    office.press(ADA, "Blue").await;
    office.until_said("Colour: Blue\n    Which fruits?\n").await;
    office.press(ADA, "Done").await;
    until_told(&office, "Nothing is chosen yet.").await;
    office.press(ADA, "Apple").await;
    office.until_said("[ ✓ Apple ]\n    [ Pear ]\n    [ Done ] [ Other… ]\n").await;
    office.until_noted(turn.message()).await;
    office.kill().await;
    office.start();
    office.press(ADA, "Pear").await;
    office.until_said("[ ✓ Apple ]\n    [ ✓ Pear ]\n").await;
    office.press(ADA, "Done").await;
    let both = Chosen { options: vec![0, 1], text: None };
    assert_eq!(office.control().await.command, chose(&ask, &[Chosen::option(2), both]));
    turn.answer("Done.");
    office.until_said("    Done.\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_takes_the_next_message_of_whoever_pressed_it_and_nobody_elses() {
    let office = Office::watched().await;
    let turn = turn(&office).await;
    let ask = choices("req-1", false);
    turn.show(asks(&ask));
    office.until_said(COLOUR).await;
    office.press(ADA, "Other…").await;
    office.until_said("The next message of Ada here is the answer.").await;
    office.bob(None, "I say red");
    office.until_waiting("I say red").await;
    office.kill().await;
    office.start();
    office.ada(None, "a warm grey");
    let order = office.control().await;
    assert_eq!(order.command, chose(&ask, &[Chosen::words("a warm grey")]));
    office.ada(None, "and this is another message");
    office.until_waiting("and this is another message").await;
    turn.answer("Grey it is.");
    office.until_said("    Grey it is.\n").await;
    office.close().await;
}

fn plan(text: &str) -> Ask {
    let (request_id, tool) = ("req-2".to_owned(), "ExitPlanMode".to_owned());
    let input = json!({ "plan": text, "planFilePath": "/x/plan.md" });
    Ask { request_id, tool, input, at: 0, always: Vec::new(), unshown: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_arrives_rendered_and_is_changed_by_the_next_message() {
    let office = Office::watched().await;
    let turn = turn(&office).await;
    let first = plan("# Tidy up\n\n1. Look at `target`\n2. Remove it");
    turn.show(asks(&first));
    office.until_said("[ Go ] [ Go, accept edits ]\n    [ Change … ]\n    [ Stop ]").await;
    office.until_said("sonnet has a plan\n    \n    Tidy up\n    \n    1. Look at target\n").await;
    office.press(BOB, "Change …").await;
    office.until_said("The next message of Bob here says what shall be different.").await;
    office.bob(None, "Keep it");
    let change = office.control().await.command;
    let (request_id, shown) = (first.request_id.clone(), Question::of(&first).digest);
    assert_eq!(change, Some(Command::Change { request_id, text: "Keep it".to_owned(), shown }));
    let second = plan(&"# Look only\n\n- look again\n".repeat(300));
    turn.show(asks(&second));
    office.until_said("It stands above.\n").await;
    office.press(ADA, "Go, accept edits").await;
    let no = "Only admins may let Claude change files without asking. Go lets it ask.";
    until_told(&office, no).await;
    office.press(ADA, "Go").await;
    until_told(&office, "Going on.").await;
    assert_eq!(office.control().await.command, answered(&second, PermissionAnswer::Allow, false));
    turn.answer("Done.");
    office.until_said("    Done.\n").await;
    office.close().await;
}
