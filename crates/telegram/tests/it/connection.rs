//! When the connection, Telegram or another poller is the trouble: it shows, and it heals, and nothing is lost or repeated.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tinyclaw_queue::Place;
use tinyclaw_service::{Shutdown, Snapshot, Vitals};
use tinyclaw_telegram::{Options, Timing};
use tinyclaw_testkit::telegram::{
    ADA, Control, FORUM, FakeTelegram, Fault, Limits, STRANGER, What,
};

use crate::office::{Office, PATIENCE, quick};

/// Polls that end soon, so that a stall is one soon.
fn wary() -> Options {
    let quick = quick();
    let seconds = Duration::from_secs;
    Options { timing: Timing { poll: seconds(1), stall: seconds(3), ..quick.timing }, ..quick }
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_that_are_never_answered_show_in_health_and_end() {
    let office = Office::open_with(Limits::none(), wary(), "101").await;
    office.ada(None, "one");
    office.claim().await.done();
    office.break_it("getUpdates", 1000, What::Slow { ms: 3_600_000 });
    let sick = office.until_why("no poll was completed for").await;
    assert!(!sick.ready && sick.numbers["stallsTotal"].as_u64() >= Some(1), "{sick:?}");
    // And so for everybody else. That sending works all the while does not count as life.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = std::fs::read_to_string(office.state.health("telegram")).unwrap_or_default();
        if told.contains("no poll was completed for") && told.contains("pollAgeSeconds") {
            break;
        }
        assert!(Instant::now() < deadline, "{told}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    office.fake.act(Control::Mend {});
    office.ada(None, "two");
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "two");
    turn.done();
    office.until_health("well again", |it| it.ready).await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_poller_shows_in_health_until_it_is_gone() {
    let office = Office::open().await;
    let words = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
    office.fake.act(Control::Break { fault: Fault::refused("getUpdates", 1000, 409, words) });
    // The poll under way ends as the real one does; the ones after it find the other one still there.
    office.fake.act(Control::OtherPoller {});
    let sick = office.until_why("another program polls with this bot's token").await;
    assert!(!sick.ready);
    office.ada(None, "still there?");
    office.fake.act(Control::Mend {});
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "still there?");
    turn.done();
    office.until_health("well again", |it| it.ready).await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_folder_waits_and_takes_over() {
    let office = Office::open().await;
    office.ada(None, "one");
    office.claim().await.done();
    let (vitals, shutdown) = (Vitals::new("telegram", "second"), Shutdown::default());
    let second = tokio::spawn(tinyclaw_telegram::run(
        office.state.clone(),
        office.environment.clone(),
        office.options,
        vitals.clone(),
        shutdown.clone(),
    ));
    while !vitals.snapshot().why.iter().any(|it| it.starts_with("another process serves this bot"))
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    office.until_confirmed().await;
    // It has not so much as asked who it is.
    assert_eq!(office.calls("getMe").len(), 1);
    office.kill().await;
    office.ada(None, "two");
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "two");
    turn.answer("Two.");
    office.until_said("    Two.\n").await;
    office.until_in_place(Place::Sending, 0).await;
    assert_eq!(vitals.snapshot().why, [""; 0]);
    shutdown.begin();
    second.await.unwrap().unwrap();
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_leave_is_sent_once_when_the_line_is_back() {
    let office = Office::open().await;
    office.ada(None, "hello");
    let turn = office.claim().await;
    office.plug.pull().await;
    // By the second failed poll every old connection is known to be dead.
    let errors = |it: &Snapshot| it.numbers.get("pollErrorsTotal").and_then(Value::as_u64);
    office.until_health("cut off", move |it| errors(it) >= Some(2)).await;
    turn.reply(|it| {
        "Hello.".clone_into(&mut it.text);
        it.duration_ms = 60_000;
    });
    office.until_health("tried", |it| it.numbers.contains_key("unsentTotal")).await;
    office.plug.put_back().await.unwrap();
    office.until_said("    Hello.\n").await;
    office.until_in_place(Place::Done, 1).await;
    let transcript = office.fake.transcript(FORUM);
    assert_eq!(transcript.matches("Hello.").count(), 1, "{transcript}");
    let seen = office.queue.view().find(&"tg-812345001".parse().unwrap()).unwrap().unwrap();
    assert!(!seen.message.delivery[0].marked);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateways_error_may_hide_a_message_so_the_next_one_is_marked() {
    let office = Office::watched().await;
    office.ada(None, "hello");
    let turn = office.claim().await;
    office.until_said("[ Stop ]").await;
    office.break_it("sendMessage", 1, What::BadGateway {});
    turn.reply(|it| {
        "Hello.".clone_into(&mut it.text);
        it.duration_ms = 60_000;
    });
    office.until_said("    (may stand here twice)\n    Hello.\n").await;
    office.until_in_place(Place::Done, 1).await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_cannot_happen_twice_and_is_made_again_without_a_word() {
    let office = Office::watched().await;
    office.ada(None, "hello");
    let turn = office.claim().await;
    office.until_noted(turn.message()).await;
    office.break_it("editMessageText", 2, What::LostAnswer {});
    turn.answer("Hello.");
    office.until_in_place(Place::Done, 1).await;
    let transcript = office.fake.transcript(FORUM);
    assert_eq!(transcript.matches("Hello.").count(), 1, "{transcript}");
    assert!(!transcript.contains("twice"), "{transcript}");
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_it_was_put_into_by_a_stranger_is_left_and_never_heard() {
    let office = Office::open().await;
    let elsewhere = -1_009;
    office.fake.act(Control::AddChat {
        chat: elsewhere,
        title: "Elsewhere".to_owned(),
        forum: false,
        supergroup: true,
    });
    office.fake.say(elsewhere, None, STRANGER, "/start");
    office.fake.act(Control::AddBot { chat: elsewhere, from: STRANGER });
    let left = |it: &FakeTelegram| {
        it.calls().iter().any(|it| it.method == "leaveChat" && it.chat == elsewhere).then_some(())
    };
    assert!(office.fake.wait_for(PATIENCE, left).await.is_some(), "it stays in that group");
    office.until_confirmed().await;
    office.until_in_place(Place::Incoming, 0).await;
    let calls = office.fake.calls();
    let there: Vec<_> =
        calls.iter().filter(|it| it.chat == elsewhere).map(|it| &it.method).collect();
    assert_eq!(there, ["leaveChat"]);
    // Being put back into the forum is no reason to leave it.
    office.fake.act(Control::AddBot { chat: FORUM, from: STRANGER });
    office.ada(None, "hello");
    office.claim().await.done();
    assert_eq!(office.calls("leaveChat").len(), 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_own_health_can_be_asked_for_where_the_settings_say() {
    let mut office = Office::open_with(Limits::none(), quick(), "").await;
    office.stop().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let variable = "TINYCLAW_TELEGRAM_HEALTH_LISTEN".to_owned();
    office.environment.insert(variable, free.to_string());
    office.start();
    office.until_why("TELEGRAM_ALLOWED_USERS").await;
    let ask = |path: &str| {
        let url = format!("http://{free}{path}");
        async move {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let deadline = Instant::now() + PATIENCE;
            let answer = loop {
                match client.get(&url).send().await {
                    Ok(it) => break it,
                    Err(err) => assert!(Instant::now() < deadline, "{err}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            (answer.status().as_u16(), answer.text().await.unwrap())
        }
    };
    let (code, why) = ask("/ready").await;
    assert!(code == 503 && why.contains("set TELEGRAM_ALLOWED_USERS"), "{code} {why}");
    assert_eq!(ask("/health").await.0, 200);
    assert!(ask("/metrics").await.1.contains("tinyclaw_ready{service=\"telegram\"} 0"));
    office.close().await;
}

/// What may have something before it at Telegram waits for a poll, and no poll is ever completed beside another poller.
#[tokio::test(flavor = "multi_thread")]
async fn another_poller_keeps_nothing_from_what_is_here_already() {
    let office = Office::open().await;
    office.ada(None, "one");
    office.claim().await.done();
    office.until_dealt_with().await;
    office.stop().await;
    let words = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
    office.fake.act(Control::Break { fault: Fault::refused("getUpdates", 1000, 409, words) });
    let update = json!({"update_id": 812_345_900, "message": {
        "message_id": 900, "date": 1_771_000_000, "text": "two",
        "from": {"id": ADA, "is_bot": false, "first_name": "Ada"},
        "chat": {"id": FORUM, "type": "supergroup", "title": "Office", "is_forum": true},
    }});
    let path = office.state.updates().join("812345900.json");
    let flush = tinyclaw_disk::Flush::None;
    tinyclaw_disk::replace(&path, update.to_string().as_bytes(), flush).unwrap();
    office.start();
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "two");
    turn.done();
    office.close().await;
}
