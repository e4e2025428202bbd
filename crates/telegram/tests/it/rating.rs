//! A thumbs-down on an answer, on its way into the queue.

use serde_json::{Value, json};
use tinyclaw_domain::{Command, Model};
use tinyclaw_queue::Place;
use tinyclaw_testkit::telegram::{ADA, Control, FORUM, STRANGER};

use crate::office::{Office, thread};

const DOWN: &str = "👎";

fn react(office: &Office, message: i64, from: i64, [old, new]: [&[&str]; 2]) {
    let list = |of: &[&str]| -> Vec<Value> {
        of.iter().map(|it| json!({"type": "emoji", "emoji": it})).collect()
    };
    let body = json!({
        "chat": {"id": FORUM, "type": "supergroup", "title": "Office", "is_forum": true},
        "message_id": message, "date": 1_771_000_000,
        "user": {"id": from, "is_bot": false, "first_name": "Somebody"},
        "old_reaction": list(old), "new_reaction": list(new),
    });
    office.fake.act(Control::RawUpdate { kind: "message_reaction".to_owned(), body });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thumbs_down_on_an_answer_is_an_order_to_note_it() {
    let office = Office::open().await;
    let asked_in = office.ada(None, "which port is it");
    let turn = office.claim().await;
    let asked = turn.message().key.clone();
    turn.reply(|it| {
        "8080".clone_into(&mut it.text);
        it.model = Some(Model::HAIKU);
    });
    office.until_in_place(Place::Done, 1).await;
    let seen = office.queue.view().find(&asked).unwrap().expect("the question");
    let answer = seen.message.delivery[0].telegram_message_id.expect("it was sent");
    // A stranger's, one on what is no answer, one that says nothing: none of them comes into the queue.
    react(&office, answer, STRANGER, [&[], &[DOWN]]);
    react(&office, asked_in, ADA, [&[], &[DOWN]]);
    react(&office, answer, ADA, [&[], &["🔥"]]);
    react(&office, answer, ADA, [&["🔥"], &["🔥", DOWN]]);
    let order = office.control().await;
    assert_eq!(order.command, Some(Command::Rate { key: asked.clone(), thumbs_down: true }));
    assert_eq!((order.thread_id, order.sender_id), (thread("1"), Some(ADA.to_string())));
    react(&office, answer, ADA, [&[DOWN], &[]]);
    let order = office.control().await;
    assert_eq!(order.command, Some(Command::Rate { key: asked.clone(), thumbs_down: false }));
    // The answer is known after a restart, too.
    office.stop().await;
    office.start();
    react(&office, answer, ADA, [&[], &[DOWN]]);
    let order = office.control().await;
    assert_eq!(order.command, Some(Command::Rate { key: asked, thumbs_down: true }));
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_again_says_what_it_asks_again() {
    let office = Office::open().await;
    office.ada(None, "which port is it");
    let turn = office.claim().await;
    let asked = turn.message().key.clone();
    assert_eq!(turn.message().asks_again, None);
    turn.answer("8080");
    office.until_in_place(Place::Done, 1).await;
    office.ada(None, "/again");
    let turn = office.claim().await;
    assert_eq!(
        (&*turn.message().message, turn.message().asks_again.as_ref()),
        ("which port is it", Some(&asked))
    );
    turn.done();
    office.close().await;
}
