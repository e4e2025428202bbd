//! Status messages whose id was lost with an answer or with the process: they are found again, and never stay behind.

use tinyclaw_domain::{Command, Message};
use tinyclaw_queue::Place;
use tinyclaw_testkit::telegram::{ADA, FORUM, STRANGER, What};

use crate::office::Office;

const NEVER: u64 = 3_600_000;

/// An office that was killed between the sending of a status message and the noting of its id, with its message; other
/// people have written since.
async fn killed_too_soon() -> (Office, Message) {
    let office = Office::watched().await;
    office.ada(None, "/whoami");
    office.until_said("You are not an admin.").await;
    office.until_in_place(Place::Done, 1).await;
    office.break_it("sendMessage", 1, What::LateAnswer { ms: NEVER });
    office.ada(None, "think");
    office.until_said("[ Stop ]").await;
    office.kill().await;
    office.fake.say(FORUM, None, STRANGER, "what is this?");
    let seen = office.queue.view().find(&"tg-812345002".parse().unwrap()).unwrap().unwrap();
    (office, seen.message)
}

fn buttons(office: &Office) -> usize {
    office.fake.transcript(FORUM).matches("[ Stop ]").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_whose_answer_was_lost_is_the_status_all_the_same() {
    let office = Office::watched().await;
    office.break_it("sendMessage", 1, What::LostAnswer {});
    office.ada(None, "think");
    let turn = office.claim().await;
    turn.show(|_| {});
    office.until_noted(turn.message()).await;
    assert_eq!(buttons(&office), 1);
    turn.answer("Thought.");
    office.until_in_place(Place::Done, 1).await;
    assert_eq!(office.fake.texts(FORUM), ["Thought."]);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_the_turn_goes_on_in_the_status_it_had() {
    let (office, message) = killed_too_soon().await;
    office.start();
    office.until_noted(&message).await;
    let turn = office.claim().await;
    assert_eq!(turn.message().key, message.key);
    turn.show(|it| it.text = "I think".to_owned());
    office.until_said("    I think\n    [ Stop ]").await;
    assert_eq!(buttons(&office), 1);
    turn.answer("Thought.");
    office.until_said("(edited):\n    Thought.\n").await;
    office.until_in_place(Place::Done, 2).await;
    let texts = office.fake.texts(FORUM);
    assert!(texts.len() == 2 && texts[1] == "Thought.", "{texts:?}");
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_came_meanwhile_takes_its_place() {
    let (office, _) = killed_too_soon().await;
    office.claim().await.answer("Thought.");
    office.start();
    office.until_in_place(Place::Done, 2).await;
    let texts = office.fake.texts(FORUM);
    assert!(texts.len() == 2 && texts[1] == "Thought.", "{texts:?}");
    assert_eq!(buttons(&office), 0);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_without_an_answer_leaves_no_status() {
    let (office, _) = killed_too_soon().await;
    office.claim().await.done();
    office.until_in_place(Place::Done, 2).await;
    office.start();
    office.until_unsaid("[ Stop ]").await;
    assert_eq!(office.fake.texts(FORUM).len(), 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_lost_message_is_touched() {
    let (office, _) = killed_too_soon().await;
    // What this process knew of its own messages is gone as well.
    let book = office.state.telegram();
    tinyclaw_disk::replace(&book, b"{}", tinyclaw_disk::Flush::None).unwrap();
    office.claim().await.done();
    office.start();
    office.until_unsaid("[ Stop ]").await;
    office.ada(None, "and now?");
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "and now?");
    let transcript = office.fake.transcript(FORUM);
    for words in ["    You are not an admin.", "Stranger:\n    what is this?\n"] {
        assert!(transcript.contains(words.trim_start()), "{words}\n{transcript}");
    }
    turn.done();
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_line_can_be_taken_out_of_it() {
    let office = Office::watched().await;
    office.ada(None, "one");
    let turn = office.claim().await;
    office.ada(None, "two");
    office.until_said("Next here · busy since").await;
    office.press(ADA, "Stop").await;
    let order = office.control().await;
    assert_eq!(order.command, Some(Command::Stop { key: Some("tg-812345002".parse().unwrap()) }));
    turn.done();
    office.claim().await.done();
    office.close().await;
}
