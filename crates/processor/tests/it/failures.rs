//! What becomes of a message whose turn fails, and what people are told. The table itself is tested in `policy/`.

use serde_json::json;
use tinyclaw_domain::{Attempts, Command, Model, Outcome};
use tinyclaw_queue::{ATTEMPTS_MAX, DEATHS_MAX, Place};

use crate::claude::{Step, fails, overloaded};
use crate::office::{Office, until};

/// The words of the attempt that failed, as its thread sees them.
fn trouble(office: &Office, key: &tinyclaw_domain::Key) -> String {
    tinyclaw_ledger::Progresses::new(&office.state).read(key).unwrap().trouble.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_counts_as_an_attempt_and_the_message_is_tried_again() {
    let mut office = Office::open(json!({}));
    office.claude.on("hello", [vec![Step::Die]]);
    let key = office.send("7", "hello");
    let waiting = office.waits_again(&key).await;
    assert_eq!(waiting.attempts.run, 1);
    let told = waiting.trouble.unwrap();
    assert!(told.starts_with("Claude did not answer: it broke off in the middle."), "{told}");
    assert_eq!(trouble(&office, &key), told);
    assert_eq!(office.reply(&key).await.text, "Done.");
    let prompts = office.claude.prompts();
    assert_ne!(prompts[0].uuid, prompts[1].uuid, "Claude would keep silent about the same one");
    assert_eq!(prompts[0].session, prompts[1].session);
    assert!(prompts[1].text.contains("was interrupted. Continue it"), "{}", prompts[1].text);
}

/// Claude had answered, and nobody heard it: it is not asked again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_stands_in_the_transcript_is_taken_from_there() {
    let mut office = Office::open(json!({}));
    office.claude.on("hello", [vec![Step::Finish("Hi."), Step::Die]]);
    let reply = office.ask("7", "hello").await;
    assert_eq!((reply.text.as_str(), reply.outcome), ("Hi.", Outcome::Answered));
    assert_eq!(office.claude.prompts().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_api_that_answers_nobody_costs_no_attempt() {
    let mut office = Office::open(json!({}));
    office.claude.on("hello", [overloaded()]);
    let key = office.send("7", "hello");
    let waiting = office.waits_again(&key).await;
    assert_eq!(waiting.attempts, Attempts::default());
    assert!(trouble(&office, &key).contains("overloaded (529)"));
    assert!(office.notices("7").is_empty(), "it may pass: nobody is told yet");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_request_is_answered_with_the_reason_and_what_was_said_until_then() {
    let mut office = Office::open(json!({}));
    let mut turn = vec![Step::Say("I read the file."), Step::Cost(0.5)];
    turn.extend(fails(413, "invalid_request", "Prompt is too long"));
    office.claude.on("hello", [turn]);
    let reply = office.ask("7", "hello").await;
    assert_eq!(reply.outcome, Outcome::Failed);
    assert_eq!(
        reply.text,
        "I read the file.\n\nClaude did not answer: the request was refused (status 413): Prompt is too long."
    );
    assert_eq!(reply.cost_usd, 0.5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_steps_are_answered_with_an_offer_to_go_on() {
    let mut office = Office::open(json!({}));
    let end = json!({ "subtype": "error_max_turns", "result": "" });
    office.claude.on("hello", [vec![Step::Say("So far."), Step::Fail(end, None)]]);
    let reply = office.ask("7", "hello").await;
    let buttons: Vec<&str> = reply.buttons.iter().map(|it| it.label.as_str()).collect();
    assert_eq!((reply.outcome, buttons), (Outcome::Failed, vec!["Continue"]));
    assert!(reply.text.starts_with("So far.\n\nStopped: "), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_that_is_not_there_is_replaced_by_the_default_one() {
    let mut office = Office::open(json!({}));
    office.obeyed("7", Command::Model { model: Some(Model::OPUS) }).await;
    office.claude.on("hello", [fails(404, "model_not_found", "no such model")]);
    assert_eq!(office.ask("7", "hello").await.text, "Done.");
    let models: Vec<String> = office.claude.prompts().into_iter().map(|it| it.model).collect();
    assert_eq!(models, ["opus", "sonnet"]);
}

/// It was asked three times and given up with the words that its session was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_default_model_that_is_not_there_is_told_at_once() {
    let mut office = Office::open(json!({}));
    office.obeyed("7", Command::Model { model: Some(Model::SONNET) }).await;
    let gone = || fails(404, "model_not_found", "no such model");
    office.claude.on("hello", [gone(), gone(), gone()]);
    let reply = office.ask("7", "hello").await;
    assert_eq!(reply.text, "Claude did not answer: this model is not available.");
    assert_eq!(office.claude.prompts().len(), 1);
}

/// Round after round within one claim, each wrote its checkpoint from the message as it was claimed: what Claude believed
/// to have sent was never sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_refused_ask_did_is_not_forgotten_by_the_next() {
    let mut office = Office::open(json!({}));
    office.ask("8", "be there").await;
    office.obeyed("7", Command::Model { model: Some(Model::OPUS) }).await;
    let input = json!({ "targetThreadId": 8, "message": "What is new?" });
    let mut turn = vec![Step::Tool("Bash"), Step::Call("send_message", input)];
    turn.extend(fails(404, "model_not_found", "no such model"));
    office.claude.on("hello", [turn, vec![Step::Hold]]);
    let key = office.send("7", "hello");
    let prompts = until("a second ask", || {
        Some(office.claude.prompts_of("hello")).filter(|it| it.len() == 2)
    })
    .await;
    assert!(prompts[1].text.contains("was interrupted. Continue it"), "{}", prompts[1].text);
    let checkpoint = office.find(&key).unwrap().message.checkpoint.unwrap();
    assert!(checkpoint.used_tools);
    assert_eq!(checkpoint.follow_ups.len(), 1);
    office.claude.release();
    office.reply(&key).await;
    until("the message", || office.claude.prompts_of("What is new?").pop()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_claude_does_not_know_is_replaced_and_people_are_told() {
    let mut office = Office::open(json!({}));
    office.ask("7", "hello").await;
    let old = office.thread("7").unwrap().session_id.unwrap();
    let unknown = json!({ "errors": ["No conversation found with session ID"], "result": "" });
    office.claude.on("again", [vec![Step::Fail(unknown, None)]]);
    let reply = office.ask("7", "again").await;
    assert!(
        reply.text.starts_with("Done.\n\n*Claude's session of this thread was lost"),
        "{}",
        reply.text
    );
    let new = office.thread("7").unwrap().session_id.unwrap();
    assert_ne!(old, new);
    let prompts = office.claude.prompts_of("again");
    assert!(prompts[1].text.contains("The earlier session of this thread is gone"), "{prompts:?}");
    assert!(prompts[1].text.contains("<history>"), "{prompts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_lost_again_and_again_is_given_up() {
    let mut office = Office::open(json!({}));
    let unknown = || {
        let of = json!({ "errors": ["No conversation found with session ID"], "result": "" });
        vec![Step::Fail(of, None)]
    };
    office.claude.on("hello", [unknown(), unknown(), unknown()]);
    let key = office.send("7", "hello");
    office.reaches(&key, Place::Dead).await;
    office.notice("7", "Claude lost its session again and again").await;
    office.notice("1", "1 message was given up").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_was_tried_often_enough_is_given_up_with_the_reason() {
    for (attempts, why) in [
        (Attempts { run: ATTEMPTS_MAX, ..Attempts::default() }, "could not be answered"),
        (
            Attempts { run: DEATHS_MAX, deaths: DEATHS_MAX, ..Attempts::default() },
            "TinyClaw broke off each time it was tried",
        ),
    ] {
        let mut office = Office::open(json!({}));
        let mut message = office.message("7", "hello");
        message.attempts = attempts;
        let key = office.publish(message);
        office.reaches(&key, Place::Dead).await;
        let told = office.notice("7", why).await;
        assert!(told.ends_with("It is kept; /retry tries again."), "{told}");
        assert!(office.claude.prompts().is_empty(), "Claude was not asked");
    }
}

/// It waited for ever, and only the log said why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_that_cannot_be_opened_says_why_and_is_answered_when_it_can_be() {
    let mut office = Office::open(json!({}));
    // Who begins makes the folder: it is taken away from one that has.
    assert_eq!(office.ask("8", "hello").await.text, "Done.");
    let work = office.place.work();
    std::fs::remove_dir_all(&work).unwrap();
    let key = office.send("7", "hello");
    let progresses = tinyclaw_ledger::Progresses::new(&office.state);
    let told = until("the reason", || progresses.read(&key)?.trouble).await;
    assert!(told.starts_with("This thread cannot be opened: ") && told.contains("work"), "{told}");
    std::fs::create_dir(&work).unwrap();
    assert_eq!(office.reply(&key).await.text, "Done.");
    assert_eq!(office.find(&key).unwrap().message.attempts.run, 1, "waiting costs no attempt");
}
