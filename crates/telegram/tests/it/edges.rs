//! What Telegram does now and then: haste, lost answers, texts that are none, and people who may not speak any more.

use serde_json::json;
use tinyclaw_testkit::telegram::{ADA, Control, FORUM, Fault, What};

use crate::office::Office;

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_asked_for_in_haste_is_made_a_little_later() {
    let office = Office::open().await;
    office.break_it("createForumTopic", 2, What::TooMany { seconds: 1 });
    office.ada(None, "/new website");
    office.claim().await.done();
    office.until_said("Topic website is open: thread ").await;
    assert_eq!(office.calls("createForumTopic").len(), 3);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_have_been_made_is_said_to_be_so() {
    let office = Office::open().await;
    office.break_it("createForumTopic", 1, What::LostAnswer {});
    office.ada(None, "/new website");
    office
        .until_said("Telegram did not answer. Look whether the topic is there; if not, /new again.")
        .await;
    office.close().await;
}

/// A topic was made twice when the answer to its making was lost.
async fn makes_one_topic_anew(what: What) -> Office {
    let office = Office::open().await;
    let name = "Website".to_owned();
    let topic = office.fake.act(Control::CreateTopic { chat: FORUM, from: ADA, name });
    let topic = topic.as_i64().unwrap();
    office.claim().await.done();
    office.ada(Some(topic), "hello");
    let turn = office.claim().await;
    office.fake.act(Control::DeleteTopic { chat: FORUM, topic });
    office.break_it("createForumTopic", 1, what);
    turn.answer("Hello.");
    office.until_said("# Website\n-- forum topic created Website\nTinyClaw:\n    Hello.\n").await;
    let made = office.fake.transcript(FORUM).matches("-- forum topic created Website").count();
    assert_eq!(made, 1, "{}", office.fake.transcript(FORUM));
    office
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_may_have_been_made_anew_is_found_and_not_made_twice() {
    let office = makes_one_topic_anew(What::LostAnswer {}).await;
    assert_eq!(office.calls("createForumTopic").len(), 1);
    // The new topic is the old thread.
    let there = office.fake.topic_named(FORUM, "Website").unwrap();
    office.ada(Some(there), "and now?");
    let turn = office.claim().await;
    turn.answer("Here.");
    office.until_said("    Here.\n").await;
    assert_eq!(office.calls("createForumTopic").len(), 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_not_made_anew_is_made_after_a_look() {
    let office = makes_one_topic_anew(What::LostRequest {}).await;
    assert_eq!(office.calls("createForumTopic").len(), 2);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_character_does_not_keep_the_rest_from_coming() {
    let office = Office::open().await;
    let update = json!({
        "update_id": 812_345_000, "message": {
            "message_id": 900, "date": tinyclaw_service::now_ms() / 1000, "text": "HALF",
            "from": {"id": 101, "is_bot": false, "first_name": "Ada"},
            "chat": {"id": tinyclaw_testkit::telegram::FORUM, "type": "supergroup", "title": "Office", "is_forum": true},
        },
    });
    let text =
        json!({"ok": true, "result": [update]}).to_string().replace("HALF", "half \\ud83d of it");
    office.fake.act(Control::Break { fault: Fault::new("getUpdates", 1, What::Body { text }) });
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "half \u{fffd} of it");
    turn.done();
    office.ada(None, "hello");
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "hello");
    turn.done();
    office.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_nobody_may_speak_any_more_it_is_not_ready_and_nothing_is_fetched() {
    let mut office = Office::open().await;
    office.stop().await;
    office.environment.remove("TELEGRAM_ALLOWED_USERS");
    let allow = |users: &[i64]| {
        let settings = json!({"telegram": {"allowedUsers": users}}).to_string();
        let path = office.state.root().join("settings.json");
        tinyclaw_disk::replace(&path, settings.as_bytes(), tinyclaw_disk::Flush::None).unwrap();
    };
    allow(&[101]);
    office.start();
    office.ada(None, "one");
    office.claim().await.done();
    office.until_health("ready", |it| it.ready).await;
    allow(&[]);
    office.until_why("TELEGRAM_ALLOWED_USERS").await;
    office.ada(None, "two");
    // It stays with Telegram until somebody may speak again.
    assert_eq!(office.fake.unconfirmed(), 1);
    allow(&[101]);
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "two");
    turn.done();
    office.until_health("ready", |it| it.ready).await;
    office.close().await;
}
