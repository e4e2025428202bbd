//! Stop and permission answers come by the control lane and wait for nothing.

use tinyclaw_domain::{Command, Outcome, PermissionAnswer};
use tinyclaw_e2e::Office;

fn order(office: &mut Office, thread: &str, command: Command) -> tinyclaw_domain::Key {
    let mut message = office.message(thread, "");
    message.command = Some(command);
    office.publish(message)
}

#[test]
fn a_stop_ends_the_running_turn_and_keeps_what_was_said() {
    let mut office = Office::open();
    let key = office.say("7", "[demo: slow 60s] tell me everything");
    office.wait_for("the first words", || office.progress(&key).filter(|it| !it.text.is_empty()));
    order(&mut office, "7", Command::Stop { key: None });
    let reply = office.answer(&key);
    assert_eq!(reply.outcome, Outcome::Stopped);
    assert!(reply.text.contains("The session is kept."), "{}", reply.text);
    assert_eq!(office.ask("7", "and now?").outcome, Outcome::Answered);
}

#[test]
fn a_hanging_turn_can_be_stopped() {
    let mut office = Office::open();
    let key = office.say("7", "[demo: hang]");
    office.wait_for("the turn", || office.prompts().first().cloned());
    order(&mut office, "7", Command::Stop { key: Some(key.clone()) });
    assert_eq!(office.answer(&key).outcome, Outcome::Stopped);
}

#[test]
fn a_stop_takes_a_waiting_message_out_of_the_line() {
    let mut office = Office::open();
    let first = office.say("7", "[demo: slow 3s] first");
    let second = office.say("7", "second");
    let stop = order(&mut office, "7", Command::Stop { key: Some(second.clone()) });
    assert!(office.answer(&stop).text.contains("/retry"), "it says how to undo it");
    office.answer(&first);
    let seen = office.seen(&second).expect("kept");
    assert_eq!(seen.place, tinyclaw_queue::Place::Dead);
}

#[test]
fn a_stop_with_nothing_running_says_so() {
    let mut office = Office::open();
    let key = order(&mut office, "7", Command::Stop { key: None });
    assert_eq!(office.answer(&key).text, "Nothing is running here.");
}

#[test]
fn a_permission_question_waits_for_its_answer() {
    let mut office = Office::open();
    let key = office.say("7", "[demo: ask]");
    let ask = office.wait_for("the question", || office.progress(&key).and_then(|it| it.asks));
    assert_eq!(ask.tool, "Bash");
    let late =
        Command::Permission { request_id: "other".to_owned(), answer: PermissionAnswer::Allow };
    let late = order(&mut office, "7", late);
    assert_eq!(office.answer(&late).text, "That question is no longer open.");
    let allow = Command::Permission { request_id: ask.request_id, answer: PermissionAnswer::Allow };
    order(&mut office, "7", allow);
    assert_eq!(office.answer(&key).outcome, Outcome::Answered);
}
