//! Processes that die at the wrong moment, and what they leave in `updates/`.

use serde_json::{Value, json};
use tinyclaw_queue::Place;
use tinyclaw_testkit::telegram::{ADA, FORUM};

use crate::office::Office;

/// What Ada says in General, as it lies in `updates/`.
fn said(update: i64, message: i64, text: &str) -> Value {
    json!({"update_id": update, "message": {
        "message_id": message, "date": 1_771_000_000, "text": text,
        "from": {"id": ADA, "is_bot": false, "first_name": "Ada"},
        "chat": {"id": FORUM, "type": "supergroup", "title": "Office", "is_forum": true},
    }})
}

fn lay_down(office: &Office, name: &str, content: &str) {
    let path = office.state.updates().join(name);
    tinyclaw_disk::replace(&path, content.as_bytes(), tinyclaw_disk::Flush::None).unwrap();
}

/// An office that was killed after "one" had been published and before its update was marked finished.
async fn killed_before_finishing() -> Office {
    let office = Office::patient(500).await;
    let message = office.ada(None, "one");
    office.claim().await.answer("1");
    office.until_said("Ada [✍]:\n    one").await;
    office.until_confirmed().await;
    office.kill().await;
    lay_down(&office, "812345001.json", &said(812_345_001, message, "one").to_string());
    office
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_after_a_published_message_is_no_part_of_it() {
    let office = killed_before_finishing().await;
    lay_down(&office, "812345002.json", &said(812_345_002, 900, "two").to_string());
    office.start();
    let turn = office.claim().await;
    assert_eq!(
        (turn.message().key.as_str(), turn.message().message.as_str()),
        ("tg-812345002", "two")
    );
    turn.done();
    office.until_in_place(Place::Done, 2).await;
    // Who was answered is not looked at again.
    let transcript = office.fake.transcript(FORUM);
    assert!(transcript.contains("Ada [✍]:\n    one"), "{transcript}");
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_of_a_published_group_is_no_second_turn() {
    let office = killed_before_finishing().await;
    for id in [812_349_002, 812_349_003] {
        let update = said(id, 900, "a piece of it");
        lay_down(&office, &format!("{id}.json"), &update.to_string());
    }
    lay_down(&office, "812345001.group", "812345001\n812349002\n812349003");
    let updates = office.state.updates();
    tinyclaw_disk::rename(&updates.join("812345001.json"), &updates.join("812345001.done"))
        .unwrap();
    office.start();
    office.ada(None, "and now?");
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "and now?");
    turn.done();
    office.close().await;
}

/// After a power cut the later of two updates that came together was on the disk and the earlier was not. The later was
/// handed on at the start, before Telegram repeated the earlier: two answers in the wrong order.
#[tokio::test(flavor = "multi_thread")]
async fn what_telegram_repeats_goes_before_what_outlived_a_power_cut() {
    let office = Office::open().await;
    office.ada(None, "one");
    office.claim().await.done();
    office.until_dealt_with().await;
    office.stop().await;
    office.ada(None, "two");
    let message = office.ada(None, "three");
    lay_down(&office, "812345003.json", &said(812_345_003, message, "three").to_string());
    office.start();
    for (key, words) in [("tg-812345002", "two"), ("tg-812345003", "three")] {
        let turn = office.claim().await;
        assert_eq!((turn.message().key.as_str(), turn.message().message.as_str()), (key, words));
        turn.done();
    }
    office.until_dealt_with().await;
    office.close().await;
}
