//! Telegram that does not answer for a while: nothing that is to be sent is given up for it, and nothing is left standing.

use std::time::{Duration, Instant};

use serde_json::Value;
use tinyclaw_domain::Delivery;
use tinyclaw_queue::Place;
use tinyclaw_service::Snapshot;
use tinyclaw_telegram::{Options, Timing};
use tinyclaw_testkit::telegram::{
    ADA, Attachment, Call, Control, FORUM, FakeTelegram, Fault, Limits, What,
};

use crate::office::{Office, PATIENCE, quick};

const ALWAYS: u32 = u32::MAX;

/// How the answer to the first message was delivered, and how many attempts that took.
fn delivered(office: &Office) -> (Vec<Delivery>, u32) {
    let seen = office.queue.view().find(&"tg-812345001".parse().unwrap()).unwrap().unwrap();
    (seen.message.delivery, seen.message.attempts.send)
}

async fn until_polls_failed(office: &Office, times: u64) {
    let errors = |it: &Snapshot| it.numbers.get("pollErrorsTotal").and_then(Value::as_u64);
    office.until_health("cut off", move |it| errors(it) >= Some(times)).await;
}

/// An office whose polls end soon, so that they fail soon.
async fn polling(status_after: Duration) -> Office {
    let quick = quick();
    let timing = Timing { poll: Duration::from_secs(1), status_after, ..quick.timing };
    Office::open_with(Limits::none(), Options { timing, ..quick }, "101").await
}

/// An answer and a word that were said while Telegram did not answer anybody.
async fn survives(what: What) -> Office {
    let office = polling(Duration::from_secs(3600)).await;
    office.ada(None, "hello");
    let turn = office.claim().await;
    office.break_it("", ALWAYS, what);
    turn.answer("Hello.");
    office.ada(None, "and now?");
    until_polls_failed(&office, 4).await;
    let concerns = office.vitals.snapshot().numbers["concerns"].to_string();
    assert!(concerns.contains("Telegram does not answer"), "{concerns}");
    office.fake.act(Control::Mend {});
    office.until_said("    Hello.\n").await;
    office.until_in_place(Place::Done, 1).await;
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "and now?");
    turn.done();
    let (parts, attempts) = delivered(&office);
    assert!(parts[0].telegram_message_id.is_some());
    assert_eq!(attempts, 1, "an outage is nobody's attempt");
    office
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_gateways_cost_an_answer_no_attempt() {
    let office = survives(What::BadGateway {}).await;
    assert_eq!(office.fake.transcript(FORUM).matches("Hello.").count(), 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_off_cost_an_answer_no_attempt() {
    let office = survives(What::LostRequest {}).await;
    assert_eq!(office.fake.transcript(FORUM).matches("Hello.").count(), 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_without_an_answer_stands_twice_at_most_and_the_second_is_marked() {
    let office = survives(What::LostAnswer {}).await;
    let texts = office.fake.texts(FORUM);
    let marked = texts.iter().filter(|it| it.starts_with("(may stand here twice)")).count();
    assert!(texts.len() <= 2 && marked + 1 == texts.len(), "{texts:?}");
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_hangs_is_not_waited_for_when_others_are_answered() {
    let office = Office::open().await;
    office.ada(None, "hello");
    let turn = office.claim().await;
    office.break_it("sendMessage", 1, What::Slow { ms: 3_600_000 });
    turn.answer("Hello.");
    office.until_said("    (may stand here twice)\n    Hello.\n").await;
    office.until_in_place(Place::Done, 1).await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_alone_gets_no_reply_is_given_up_in_words_for_people() {
    let office = Office::open().await;
    let fault = Fault::new("sendMessage", ALWAYS, What::BadGateway {}).about("Hello.");
    office.fake.act(Control::Break { fault });
    let name = "Website".to_owned();
    let topic = office.fake.act(Control::CreateTopic { chat: FORUM, from: ADA, name });
    let topic = topic.as_i64();
    office.claim().await.done();
    office.ada(None, "hello");
    office.claim().await.answer("Hello.");
    // Others are answered all the while.
    let told = "TinyClaw (to Ada: hello):\n    Telegram broke off. /retry sends it again.\n";
    let attempts = |it: &FakeTelegram| {
        let calls = it.calls().into_iter().filter(|it| it.method == "sendMessage");
        calls.filter(|it| it.params["text"].to_string().contains("Hello.")).count()
    };
    let mut seen = 0;
    while !office.fake.transcript(FORUM).contains(told) {
        let more = |it: &FakeTelegram| {
            (attempts(it) > seen || it.transcript(FORUM).contains(told)).then(|| attempts(it))
        };
        seen = office.fake.wait_for(PATIENCE, more).await.expect("it is tried again");
        office.ada(topic, "and?");
        let turn = office.claim().await;
        turn.answer(&format!("Answer {seen}."));
        office.until_said(&format!("    Answer {seen}.\n")).await;
    }
    office.until_in_place(Place::Dead, 1).await;
    office.fake.act(Control::Mend {});
    office.ada(None, "/retry");
    office.until_said("    (may stand here twice)\n    Hello.\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_an_answer_that_is_given_up_goes_and_a_retry_leaves_none() {
    let office = Office::watched().await;
    office.ada(None, "hello");
    let turn = office.claim().await;
    office.until_noted(turn.message()).await;
    // Nobody knows whether the status has become the answer.
    office.break_it("editMessageText", 1, What::LostRequest {});
    let words = "Bad Request: something is wrong";
    let fault = Fault::refused("editMessageText", 1, 400, words).about("Hello.");
    office.fake.act(Control::Break { fault });
    turn.answer("Hello.");
    office.until_in_place(Place::Dead, 1).await;
    office.until_unsaid("[ Stop ]").await;
    office.ada(None, "/retry");
    office.until_said("    Hello.\n").await;
    office.until_in_place(Place::Dead, 0).await;
    let transcript = office.fake.transcript(FORUM);
    assert!(!transcript.contains("[ Stop ]"), "{transcript}");
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_an_outage_hides_is_found_when_it_is_over() {
    let office = polling(Duration::from_millis(30)).await;
    office.break_it("sendMessage", 1, What::LostAnswer {});
    office.ada(None, "think");
    let turn = office.claim().await;
    office.until_said("[ Stop ]").await;
    office.break_it("", ALWAYS, What::BadGateway {});
    until_polls_failed(&office, 3).await;
    office.fake.act(Control::Mend {});
    office.until_noted(turn.message()).await;
    turn.answer("Thought.");
    office.until_in_place(Place::Done, 1).await;
    assert_eq!(office.fake.texts(FORUM), ["Thought."]);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_about_the_answer_and_not_about_the_notice_that_it_failed() {
    let office = Office::open().await;
    let words = "Bad Request: something is wrong";
    let fault = Fault::refused("sendMessage", 2, 400, words);
    office.fake.act(Control::Break { fault });
    office.ada(None, "hello");
    office.claim().await.answer("Hello.");
    office.until_in_place(Place::Dead, 2).await;
    office.ada(None, "/retry");
    office.until_said("    Trying again: “hello”\n").await;
    office.until_said("TinyClaw (to Ada: hello):\n    Hello.\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_sent_as_an_outage_begins_is_fetched_after_it() {
    let office = polling(Duration::from_secs(3600)).await;
    office.break_it("getFile", 1, What::BadGateway {});
    let file = Attachment::new("document", "a.txt", "text/plain", "a");
    let caption = "read this".to_owned();
    office.fake.act(Control::Send { chat: FORUM, topic: None, from: ADA, file, caption });
    let asked =
        |it: &FakeTelegram| it.calls().iter().any(|it| it.method == "getFile").then_some(());
    office.fake.wait_for(PATIENCE, asked).await.unwrap();
    office.break_it("", ALWAYS, What::BadGateway {});
    until_polls_failed(&office, 5).await;
    office.fake.act(Control::Mend {});
    let turn = office.claim().await;
    assert_eq!(turn.message().files.len(), 1, "{:?}", turn.message());
    turn.done();
    office.close().await;
}

/// With the times that people have. What was asked meanwhile waited for the poll, and its answer for the send.
#[tokio::test(flavor = "multi_thread")]
async fn five_seconds_after_the_first_sign_of_life_everything_is_answered() {
    let timing = Timing {
        poll: Duration::from_secs(1),
        status_after: Duration::from_secs(3600),
        ..Timing::default()
    };
    let options = Options { timing, ..Options::default() };
    let office = Office::open_with(Limits::none(), options, "101").await;
    office.ada(None, "hello");
    let turn = office.claim().await;
    office.break_it("", ALWAYS, What::BadGateway {});
    turn.answer("Hello.");
    office.ada(None, "and now?");
    // The pauses between polls have grown by then.
    until_polls_failed(&office, 6).await;
    let mended = Instant::now();
    office.fake.act(Control::Mend {});
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "and now?");
    turn.answer("Now it is.");
    office.until_said("    Hello.\n").await;
    office.until_said("    Now it is.\n").await;
    let calls = office.fake.calls();
    let alive = calls.iter().find(|it| it.at > mended && it.error.is_none());
    let alive = alive.expect("a sign of life").at;
    for words in ["Hello.", "Now it is."] {
        let said = |it: &&Call| {
            it.method == "sendMessage" && it.error.is_none() && it.params["text"] == words
        };
        let after = calls.iter().find(said).expect("an answer").at - alive;
        assert!(
            after < Duration::from_secs(5),
            "{words} comes {after:?} after the first sign of life"
        );
    }
    office.close().await;
}
