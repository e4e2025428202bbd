//! What makes a sound: what needs a person or ends a wait, and in the quiet hours nothing.

use std::time::Duration;

use serde_json::{Value, json};
use tinyclaw_domain::Ask;
use tinyclaw_service::now_ms;
use tinyclaw_telegram::{Options, Timing};
use tinyclaw_testkit::telegram::Limits;

use crate::office::{Office, quick};

fn ask() -> Ask {
    Ask {
        request_id: "req-1".to_owned(),
        tool: "Bash".to_owned(),
        input: json!({"command": "rm -r build"}),
        at: 0,
        always: Vec::new(),
        unshown: None,
    }
}

/// The messages that were sent, with what they say and whether they made a sound.
fn sent(office: &Office) -> Vec<(String, bool)> {
    let rings = |it: &Value| it["disable_notification"] != true;
    let text = |it: &Value| it["text"].as_str().unwrap_or_default().to_owned();
    office.calls("sendMessage").iter().map(|it| (text(it), rings(it))).collect()
}

#[track_caller]
fn ring_of(office: &Office, words: &str) -> bool {
    let sent = sent(office);
    let found = sent.iter().rev().find(|it| it.0.contains(words));
    found.unwrap_or_else(|| panic!("{words} was not sent: {sent:?}")).1
}

/// Each turn has a status; how long a wait may be without a sound.
async fn office(edit_max: Duration) -> Office {
    let quick = quick();
    let timing = Timing { status_after: Duration::from_millis(30), edit_max, ..quick.timing };
    Office::open_with(Limits::none(), Options { timing, ..quick }, "101,102").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_a_new_message_with_a_sound_and_rings_once() {
    let office = office(Duration::from_secs(600)).await;
    office.ada(None, "clean up");
    let turn = office.claim().await;
    turn.show(|it| it.text = "Looking around".to_owned());
    office.until_said("Looking around").await;
    office.until_noted(turn.message()).await;
    turn.show(|it| it.asks = Some(ask()));
    office.until_said("[ Allow ] [ Deny ]").await;
    office.until_unsaid("Looking around").await;
    assert!(!ring_of(&office, "Looking around"), "a status is silent");
    assert!(ring_of(&office, "May I run this?"));
    // A restart asks nothing a second time.
    office.until_noted(turn.message()).await;
    office.stop().await;
    office.start();
    turn.show(|it| it.text = "Cleaning".to_owned());
    office.until_said("Cleaning").await;
    let asked = sent(&office).into_iter().filter(|it| it.0.contains("May I run this?")).count();
    assert_eq!(asked, 1);
    turn.answer("Clean.");
    office.until_said("    Clean.\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_was_waited_for_rings_although_the_turn_was_short() {
    let office = office(Duration::ZERO).await;
    office.ada(None, "hello");
    let turn = office.claim().await;
    turn.show(|it| it.text = "Thinking".to_owned());
    office.until_said("Thinking").await;
    // The turn says of itself that it took a second; the person has waited longer.
    turn.answer("Hello, Ada.");
    office.until_said("    Hello, Ada.\n").await;
    office.until_unsaid("Thinking").await;
    assert!(ring_of(&office, "Hello, Ada."));
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_quiet_hours_nothing_makes_a_sound() {
    let mut office = office(Duration::ZERO).await;
    office.stop().await;
    let hour = now_ms() / 3_600_000;
    let hours = format!("{:02}:00-{:02}:00", (hour + 23) % 24, (hour + 3) % 24);
    office.environment.insert("TINYCLAW_TELEGRAM_QUIET_HOURS".to_owned(), hours);
    office.environment.insert("TINYCLAW_TIMEZONE".to_owned(), "UTC".to_owned());
    office.start();
    office.ada(None, "clean up");
    let turn = office.claim().await;
    turn.show(|it| it.asks = Some(ask()));
    office.until_said("[ Allow ] [ Deny ]").await;
    turn.answer("Clean.");
    office.until_said("    Clean.\n").await;
    office.ada(None, "/help");
    office.until_said("Write, and Claude answers.").await;
    assert_eq!(sent(&office).into_iter().filter(|it| it.1).collect::<Vec<_>>(), []);
    office.close().await;
}
