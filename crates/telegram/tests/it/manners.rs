//! Small things that people notice: typing, the menu, where an answer goes when its topic or its group has changed.

use serde_json::json;
use tinyclaw_domain::approval::Question;
use tinyclaw_domain::{Ask, Command, PermissionAnswer, TurnState};
use tinyclaw_queue::Place;
use tinyclaw_testkit::telegram::{ADA, Control, FORUM, FakeTelegram, Fault, What};

use crate::office::{Office, PATIENCE, quick, thread};

/// A topic that Ada made, with its thread opened.
async fn topic(office: &Office) -> i64 {
    let name = "Website".to_owned();
    let topic = office.fake.act(Control::CreateTopic { chat: FORUM, from: ADA, name });
    office.claim().await.done();
    topic.as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_is_shown_in_the_topic_for_as_long_as_the_turn_works() {
    let mut options = quick();
    options.timing.typing = std::time::Duration::from_millis(20);
    let limits = tinyclaw_testkit::telegram::Limits::none();
    let office = Office::open_with(limits, options, "101").await;
    let topic = topic(&office).await;
    office.ada(Some(topic), "think");
    let turn = office.claim().await;
    turn.show(|_| {});
    let typed =
        |it: &FakeTelegram| it.calls().iter().filter(|it| it.method == "sendChatAction").count();
    let often = office.fake.wait_for(PATIENCE, |it| (typed(it) >= 5).then_some(())).await;
    assert!(often.is_some(), "nobody types");
    for call in office.calls("sendChatAction") {
        assert_eq!(
            (&call["action"], &call["message_thread_id"]),
            (&json!("typing"), &json!(topic))
        );
    }
    turn.answer("Thought.");
    office.until_said("    Thought.\n").await;
    office.until_in_place(Place::Done, 2).await;
    // Whoever typed has stopped: at most one more was on its way.
    let before = typed(&office.fake);
    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    assert!(typed(&office.fake) <= before + 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_menu_is_registered_once() {
    let office = Office::open().await;
    let menu = |it: &FakeTelegram| it.calls().into_iter().find(|it| it.method == "setMyCommands");
    let menu = office.fake.wait_for(PATIENCE, menu).await.expect("no menu").params;
    let named =
        |name: &str| menu["commands"].as_array().unwrap().iter().any(|it| it["command"] == name);
    for name in [
        "start", "help", "status", "new", "close", "reopen", "reset", "clear", "stop", "model",
        "haiku", "sonnet", "opus", "mode", "prompt", "dir", "cd", "setdir", "sessions", "cost",
        "queue", "retry", "again", "export", "whoami",
    ] {
        assert!(named(name), "{name} is not in the menu");
    }
    office.stop().await;
    office.start();
    office.ada(None, "/help");
    office.until_said("/new NAME [org/repo] a new topic, with a checkout if you like").await;
    office.ada(None, "/start");
    office.until_said("Thread 1 (General), answered by the office's engine, working in").await;
    assert_eq!(office.calls("setMyCommands").len(), 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_telegram_last_refused_for_haste_is_known() {
    let office = Office::open().await;
    office.fake.act(Control::Break { fault: Fault::too_many("sendMessage", 1, 1) });
    office.ada(None, "hello");
    office.claim().await.answer("Hello.");
    office.until_said("Hello.\n").await;
    let told = |it: &tinyclaw_service::Snapshot| {
        let known = ["lastFloodWaitSeconds", "lastFloodAgeSeconds", "budgetLeft", "pollAgeSeconds"];
        known.iter().all(|name| it.numbers.contains_key(*name))
    };
    let now = office.until_health("told of haste", told).await;
    assert_eq!(
        (&now.numbers["lastFloodWaitSeconds"], &now.numbers["floodsTotal"]),
        (&json!(1), &json!(1))
    );
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_closed_topic_stays_closed_the_answer_goes_to_general() {
    let office = Office::open().await;
    let topic = topic(&office).await;
    office.ada(Some(topic), "hello");
    let turn = office.claim().await;
    office.fake.act(Control::CloseTopic { chat: FORUM, topic, from: ADA });
    office.fake.act(Control::SetAdmin { chat: FORUM, admin: false });
    turn.answer("Hello.");
    office.until_said("    The topic “Website” is closed; this was for it.\n    Hello.\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_follows_its_group_even_when_nobody_has_told_of_the_move() {
    let office = Office::open().await;
    office.ada(None, "hello");
    let turn = office.claim().await;
    office.until_confirmed().await;
    // The update about it does not come through; the refusal of the answer tells.
    office.break_it("getUpdates", 1000, What::BadGateway {});
    let to = -1_001_000_000_778;
    office.fake.act(Control::Migrate { chat: FORUM, to, forum: true });
    turn.answer("Hello.");
    office.until_in(to, "    Hello.\n").await;
    office.until_in_place(Place::Done, 1).await;
    office.fake.act(Control::Mend {});
    office.fake.say(to, None, ADA, "still here?");
    let turn = office.claim().await;
    assert_eq!(turn.message().thread_id, thread("1"));
    turn.done();
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_forum_that_is_allowed_has_threads_of_its_own() {
    let mut office = Office::open().await;
    office.stop().await;
    let other = -1_001_000_000_555;
    office.environment.insert("TINYCLAW_TELEGRAM_ALLOWED_CHATS".to_owned(), other.to_string());
    let title = "Lab".to_owned();
    office.fake.act(Control::AddChat { chat: other, title, forum: true, supergroup: true });
    office.start();
    office.fake.say(other, None, ADA, "hello");
    let turn = office.claim().await;
    assert_eq!(turn.message().thread_id, thread(&format!("g{other}.1")));
    turn.answer("Hello from the lab.");
    office.until_in(other, "Hello from the lab.").await;
    assert!(!office.fake.transcript(FORUM).contains("lab"));
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_allowed_or_denied_once() {
    let office = Office::watched().await;
    for (label, answer) in [("Allow", PermissionAnswer::Allow), ("Deny", PermissionAnswer::Deny)] {
        office.ada(None, "clean up");
        let turn = office.claim().await;
        let ask = Ask {
            request_id: format!("req-{label}"),
            tool: "Bash".to_owned(),
            input: json!({"command": "rm -rf target"}),
            at: 0,
            always: Vec::new(),
            unshown: None,
        };
        let shown = Question::of(&ask).digest;
        turn.show(|it| (it.state, it.asks) = (TurnState::Asking, Some(ask)));
        office.until_said("[ Allow ] [ Deny ]\n    [ Stop ]").await;
        office.press(ADA, label).await;
        let (request_id, admin) = (format!("req-{label}"), false);
        let expected = Command::Permission { request_id, answer, shown, admin };
        assert_eq!(office.control().await.command, Some(expected));
        turn.answer("Done.");
        office.until_unsaid("[ Allow ]").await;
    }
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_beside_the_home_forum_keeps_its_thread_when_it_becomes_a_supergroup() {
    let mut office = Office::open().await;
    office.stop().await;
    let (group, supergroup) = (-777, -1_001_000_000_778);
    let title = "Site".to_owned();
    office.fake.act(Control::AddChat { chat: group, title, forum: false, supergroup: false });
    office.environment.insert("TINYCLAW_TELEGRAM_ALLOWED_CHATS".to_owned(), group.to_string());
    office.start();
    office.fake.say(group, None, ADA, "before");
    let turn = office.claim().await;
    assert_eq!(turn.message().thread_id, thread("g-777.1"));
    turn.done();
    office.fake.act(Control::Migrate { chat: group, to: supergroup, forum: false });
    office.fake.say(supergroup, None, ADA, "after");
    let turn = office.claim().await;
    assert_eq!(turn.message().thread_id, thread("g-777.1"));
    turn.answer("Still here.");
    office.until_in(supergroup, "    Still here.\n").await;
    office.close().await;
}
