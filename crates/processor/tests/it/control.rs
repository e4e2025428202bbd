//! *Stop*, answers to permission questions, and slots: what goes on beside a turn.

use serde_json::json;
use tinyclaw_domain::approval::{Chosen, Question};
use tinyclaw_domain::{
    Command, Handed, Key, Outcome, PermissionAnswer, Progress, Reply, STOPPED_WAITING, ThreadStatus,
};
use tinyclaw_ledger::Progresses;
use tinyclaw_queue::Place;

use crate::claude::Step;
use crate::office::{Office, until};

/// The open question of a message's turn, when it is shown.
async fn asked(office: &Office, key: &Key) -> (String, Question) {
    let shown = |it: Progress| it.asks.map(|it| (it.request_id.clone(), Question::of(&it)));
    let progresses = Progresses::new(&office.state);
    until("a question", || progresses.read(key).and_then(shown)).await
}

async fn answer(
    office: &mut Office,
    request_id: &str,
    answer: PermissionAnswer,
    shown: &str,
    admin: bool,
) -> Reply {
    let (request_id, shown) = (request_id.to_owned(), shown.to_owned());
    office.obeyed("7", Command::Permission { request_id, answer, shown, admin }).await
}

/// Waits until Claude has been given so many prompts.
async fn prompted(office: &Office, count: usize) {
    until("prompts", || (office.claude.prompts().len() >= count).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_the_turn_and_keeps_what_was_said() {
    let mut office = Office::open(json!({}));
    office.claude.on("hello", [vec![Step::Say("I begin."), Step::Hold]]);
    let key = office.send("7", "hello");
    prompted(&office, 1).await;
    let other = "tg-999".parse().unwrap();
    let reply = office.obeyed("7", Command::Stop { key: Some(other) }).await;
    assert_eq!(reply.text, "That turn is finished already.", "another message is meant");
    let reply = office.obeyed("7", Command::Stop { key: None }).await;
    assert!(reply.silent, "the turn itself says so");
    let reply = office.reply(&key).await;
    assert_eq!(reply.outcome, Outcome::Stopped);
    assert!(reply.text.starts_with("I begin.\n\n*Stopped after "), "{}", reply.text);
    assert_eq!(office.ask("7", "and now").await.text, "Done.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_of_what_waits_takes_it_out_of_the_line() {
    let mut office = Office::open(json!({}));
    office.claude.on("first", [vec![Step::Hold]]);
    let first = office.send("7", "first");
    prompted(&office, 1).await;
    let second = office.send("7", "second");
    let reply = office.obeyed("7", Command::Stop { key: Some(second.clone()) }).await;
    assert_eq!(reply.text, "Stopped. /retry asks again.");
    let buried = office.find(&second).unwrap();
    assert_eq!((buried.place, buried.reason.as_deref()), (Place::Dead, Some(STOPPED_WAITING)));
    office.claude.release();
    assert_eq!(office.reply(&first).await.text, "Claude finished without a word.");
    assert!(office.claude.prompts_of("second").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_of_nothing_says_so() {
    let mut office = Office::open(json!({}));
    let reply = office.obeyed("7", Command::Stop { key: None }).await;
    assert_eq!(reply.text, "Nothing is running here.");
    let key = office.send("7", "hello");
    office.reply(&key).await;
    let reply = office.obeyed("7", Command::Stop { key: Some(key) }).await;
    assert_eq!(reply.text, "That turn is finished already.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_is_answered_once_and_only_as_it_was_shown() {
    let mut office = Office::open(json!({}));
    office.claude.on("hello", [vec![Step::Ask("ls")]]);
    let key = office.send("7", "hello");
    let (id, question) = asked(&office, &key).await;
    office.thread_when("7", |it| it.status == ThreadStatus::Waiting).await;
    use PermissionAnswer::{Allow, Always};
    let reply = answer(&mut office, &id, Allow, "something else", true).await;
    assert!(reply.text.starts_with("That was an answer to something else."), "{}", reply.text);
    let reply = answer(&mut office, &id, Always, &question.digest, false).await;
    assert!(reply.text.starts_with("Only admins may allow something for good."), "{}", reply.text);
    assert!(answer(&mut office, &id, Allow, &question.digest, false).await.silent);
    assert_eq!(office.reply(&key).await.text, "It was allowed.");
    let reply = answer(&mut office, &id, Allow, &question.digest, false).await;
    assert_eq!(reply.text, "That question is no longer open.");
    office.thread_when("7", |it| it.status == ThreadStatus::Idle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_person_chooses_is_told_to_claude_once_and_only_as_it_was_shown() {
    let mut office = Office::open(json!({}));
    let options = json!([{ "label": "Red" }, { "label": "Green", "description": "calm" }]);
    let questions = json!([
        { "question": "Which colour?", "header": "Colour", "options": options },
        { "question": "Which more?", "options": options, "multiSelect": true } ]);
    office.claude.on("hello", [vec![Step::Choose(questions)]]);
    let key = office.send("7", "hello");
    let (request_id, question) = asked(&office, &key).await;
    office.thread_when("7", |it| it.status == ThreadStatus::Waiting).await;
    assert_eq!(
        question.body,
        "Which colour?\n1. Red\n2. Green: calm\n\nWhich more? (more than one can be chosen)\n1. Red\n2. Green: calm"
    );
    let allow =
        answer(&mut office, &request_id, PermissionAnswer::Allow, &question.digest, true).await;
    assert_eq!(allow.text, "This wants one of its options, or other words.");
    let choose = |answers: &[Chosen], shown: &str| Command::Choose {
        request_id: request_id.clone(),
        answers: answers.to_vec(),
        shown: shown.to_owned(),
    };
    let fine =
        [Chosen::option(1), Chosen { options: vec![0, 1], text: Some("and blue".to_owned()) }];
    let reply = office.obeyed("7", choose(&fine, "something else")).await;
    assert!(reply.text.starts_with("That was an answer to something else."), "{}", reply.text);
    let reply = office.obeyed("7", choose(&fine[..1], &question.digest)).await;
    assert_eq!(reply.text, "That is no answer: there are 2 questions, and 1 were answered.");
    assert!(office.obeyed("7", choose(&fine, &question.digest)).await.silent);
    let said = r#"{"Which colour?":"Green","Which more?":"Red, Green, and blue"}"#;
    assert_eq!(office.reply(&key).await.text, said);
    let reply = office.obeyed("7", choose(&fine, &question.digest)).await;
    assert_eq!(reply.text, "That question is no longer open.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_that_cannot_be_shown_bother_nobody() {
    let mut office = Office::open(json!({}));
    let questions = json!([{ "question": "x".repeat(600), "options": [{ "label": "Red" }] }]);
    office.claude.on("hello", [vec![Step::Choose(questions)]]);
    let reply = office.ask("7", "hello").await;
    assert!(
        reply.text.contains("a question has 600 characters, and 1 to 500 can be shown"),
        "{}",
        reply.text
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_allows_for_good_and_anybody_denies() {
    for (given, is_admin, said) in [
        (PermissionAnswer::Always, true, "It was allowed for good."),
        (PermissionAnswer::Deny, false, "It was denied."),
    ] {
        let mut office = Office::open(json!({}));
        office.claude.on("hello", [vec![Step::Ask("ls")]]);
        let key = office.send("7", "hello");
        let (id, question) = asked(&office, &key).await;
        assert!(answer(&mut office, &id, given, &question.digest, is_admin).await.silent);
        let reply = office.reply(&key).await;
        assert!(reply.text.starts_with(said), "{}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_a_turn_that_waits_for_an_answer() {
    let mut office = Office::open(json!({}));
    office.claude.on("hello", [vec![Step::Ask("ls")]]);
    let key = office.send("7", "hello");
    let (id, question) = asked(&office, &key).await;
    assert!(office.obeyed("7", Command::Stop { key: Some(key.clone()) }).await.silent);
    assert_eq!(office.reply(&key).await.outcome, Outcome::Stopped);
    let reply = answer(&mut office, &id, PermissionAnswer::Allow, &question.digest, true).await;
    assert_eq!(reply.text, "That question is no longer open.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_for_a_person_lends_the_slot_and_who_works_does_not() {
    let mut office = Office::open(json!({ "engine": { "parallelMax": 1 } }));
    office.claude.on("busy", [vec![Step::Hold]]);
    office.claude.on("asks", [vec![Step::Ask("ls")]]);
    let busy = office.send("7", "busy");
    prompted(&office, 1).await;
    let asks = office.send("8", "asks");
    let stop = office.obeyed("9", Command::Stop { key: None }).await;
    assert_eq!(stop.text, "Nothing is running here.", "orders of a control lane need no slot");
    assert_eq!(office.find(&asks).unwrap().place, Place::Incoming, "there is one slot");
    office.claude.release();
    office.reply(&busy).await;
    asked(&office, &asks).await;
    assert_eq!(office.ask("9", "in between").await.text, "Done.");
    let reply = office.obeyed("8", Command::Stop { key: None }).await;
    assert!(reply.silent);
    office.reply(&asks).await;
}

/// Sends a message for the running turn.
fn steer(office: &mut Office, text: &str) -> Key {
    let mut message = office.message("7", text);
    message.steer = true;
    office.publish(message)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_for_the_running_turn_are_answered_by_it_and_not_again() {
    let mut office = Office::open(json!({}));
    office.claude.on("hello", [vec![Step::Say("I begin."), Step::Hold, Step::Finish("Both.")]]);
    let hello = office.send("7", "hello");
    prompted(&office, 1).await;
    let waits = office.send("7", "in line");
    let words = steer(&mut office, "the other folder");
    let taken = || office.find(&words).and_then(|it| it.message.handed).filter(|it| it.taken);
    let handed = until("Claude has the words", taken).await;
    assert_eq!(office.find(&waits).unwrap().place, Place::Incoming, "it overtakes what waits");
    office.claude.release();
    assert_eq!(office.reply(&hello).await.text, "I begin.\n\nHeard: the other folder");
    assert!(office.reply(&words).await.silent, "the turn has answered");
    office.reply(&waits).await;
    // Whoever died before that was kept leaves Claude's transcript, which knows.
    let mut message = office.message("7", "the other folder");
    (message.steer, message.handed) = (true, Some(Handed { taken: false, ..handed }));
    let unsaid = office.publish(message);
    assert!(office.reply(&unsaid).await.silent, "the turn has answered");
    assert!(office.claude.prompts_of("the other folder").is_empty(), "it was no prompt of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_for_a_turn_that_is_over_are_a_message_like_any_other() {
    let mut office = Office::open(json!({}));
    let words = steer(&mut office, "nobody is at it");
    assert_eq!(office.reply(&words).await.text, "Done.");
    // Handed to one that died, and Claude never wrote it down.
    office.claude.on("hello", [vec![Step::Say("I begin."), Step::Hold]]);
    let hello = office.send("7", "hello");
    prompted(&office, 2).await;
    let mut message = office.message("7", "never taken");
    let session_id = "6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f".parse().unwrap();
    let turn_uuid = "7f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f".to_owned();
    (message.steer, message.handed) = (true, Some(Handed { session_id, turn_uuid, taken: false }));
    let words = office.publish(message);
    office.claude.release();
    office.reply(&hello).await;
    assert_eq!(office.reply(&words).await.text, "Done.");
    assert_eq!(office.claude.prompts_of("never taken").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_a_thread_are_answered_in_order() {
    let mut office = Office::open(json!({}));
    office.claude.on("1st", [vec![Step::Hold]]);
    let first = office.send("7", "1st");
    let rest = [office.send("7", "2nd"), office.send("7", "3rd")];
    prompted(&office, 1).await;
    for key in &rest {
        assert_eq!(office.find(key).unwrap().place, Place::Incoming);
    }
    office.claude.release();
    office.reply(&first).await;
    for key in &rest {
        office.reply(key).await;
    }
    let said: Vec<String> = office.claude.prompts().into_iter().map(|it| it.text).collect();
    let words = ["1st", "2nd", "3rd"];
    assert!(said.iter().zip(words).all(|(text, words)| text.ends_with(words)), "{said:?}");
    assert_eq!(office.claude.starts(), 1, "one process for the thread");
}
