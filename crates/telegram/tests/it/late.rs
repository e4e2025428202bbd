//! Buttons that are pressed when there is nothing left for them to do.

use tinyclaw_domain::{ButtonPress, Command, ReplyButton};
use tinyclaw_queue::Place;
use tinyclaw_testkit::telegram::FORUM;

use crate::office::Office;

/// The id under which the answer to the first message was sent.
fn answer_of_the_first(office: &Office) -> i64 {
    let seen = office.queue.view().find(&"tg-812345001".parse().unwrap()).unwrap().unwrap();
    seen.message.delivery[0].telegram_message_id.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_stop_leaves_the_answer_that_took_the_place_of_the_status() {
    let office = Office::watched().await;
    office.ada(None, "how many?");
    let turn = office.claim().await;
    turn.show(|_| {});
    office.until_said("[ Stop ]").await;
    turn.answer("Twelve.");
    office.until_in_place(Place::Done, 1).await;
    let message = answer_of_the_first(&office);
    for data in ["s:tg-812345001", "a:00000000:tg-812345001", "m:00000000:tg-812345001"] {
        office.press_late(message, data).await;
    }
    office.until_said("TinyClaw (to Ada: how many?) (edited):\n    Twelve.\n").await;
    assert_eq!(office.calls("deleteMessage").len(), 0);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_outlived_its_turn_goes_when_it_is_pressed() {
    let office = Office::open().await;
    office.ada(None, "how many?");
    office.claim().await.answer("Twelve.");
    office.until_said("    Twelve.\n").await;
    office.until_in_place(Place::Done, 1).await;
    // Any other message of ours will do.
    office.ada(None, "/whoami");
    office.until_said("You are not an admin.").await;
    office.until_in_place(Place::Done, 2).await;
    office.press_late(answer_of_the_first(&office) + 2, "s:tg-812345001").await;
    office.until_unsaid("You are not an admin.").await;
    office.until_said("    Twelve.\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_that_is_forgotten_loses_its_buttons_and_keeps_its_words() {
    let office = Office::open().await;
    office.ada(None, "hello");
    office.claim().await.reply(|it| {
        "Go on?".clone_into(&mut it.text);
        let press = ButtonPress::Command(Command::GoOn {});
        it.buttons = vec![ReplyButton { label: "Go on".to_owned(), press }];
    });
    office.until_said("    Go on?\n    [ Go on ]").await;
    office.until_in_place(Place::Done, 1).await;
    let message = answer_of_the_first(&office);
    // What was done long ago is not kept for ever.
    for day in std::fs::read_dir(office.state.root().join("queue/done")).unwrap().flatten() {
        if day.path().is_dir() {
            std::fs::remove_dir_all(day.path()).unwrap();
        }
    }
    office.press_late(message, "o:0:tg-812345001").await;
    office.until_unsaid("[ Go on ]").await;
    let transcript = office.fake.transcript(FORUM);
    assert!(transcript.contains("    Go on?\n"), "{transcript}");
    office.close().await;
}
