//! From the queue to Telegram.

use serde_json::json;
use tinyclaw_domain::{
    ARRIVAL_OF, ButtonPress, Channel, Command, FileRef, Key, Message, Model, Outcome, Reply,
    ReplyButton, Source, ThreadId, TurnState,
};
use tinyclaw_queue::{Durability, Place, SENDER_DEATHS_MAX, Side, Which};
use tinyclaw_service::now_ms;
use tinyclaw_testkit::telegram::{ADA, BOB, Control, FORUM, Fault};

use crate::office::Office;

#[tokio::test(flavor = "multi_thread")]
async fn a_status_becomes_the_answer_of_a_short_turn() {
    let office = Office::watched().await;
    office.ada(None, "how many?");
    let turn = office.claim().await;
    turn.show(|it| it.text = "I **count**".to_owned());
    office.until_said("sonnet · working 0 s").await;
    office.until_said("I count\n    [ Stop ]").await;
    turn.answer("Twelve.");
    office.until_said("TinyClaw (to Ada: how many?) (edited):\n    Twelve.\n").await;
    office.until_unsaid("Stop").await;
    office.until_in_place(Place::Done, 1).await;
    assert_eq!(office.calls("sendMessage").len(), 1);
    assert!(!office.state.statuses().join("tg-812345001.json").exists());
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answer_of_a_long_turn_is_a_new_message_and_the_status_goes() {
    let office = Office::watched().await;
    office.ada(None, "think");
    let turn = office.claim().await;
    turn.show(|_| {});
    office.until_said("[ Stop ]").await;
    turn.reply(|it| {
        "Done.".clone_into(&mut it.text);
        it.duration_ms = 41_000;
        it.model = Some(Model::OPUS);
        it.cost_usd = 0.61;
    });
    office
        .until_said("TinyClaw (to Ada: think):\n    Done.\n    \n    opus · 41 s · $0.61\n")
        .await;
    office.until_said("[🔥]").await;
    office.until_unsaid("Stop").await;
    office.until_in_place(Place::Done, 1).await;
    office.close().await;
}

/// The second answer took the place of a status that stood above the first answer. After a power cut, when many messages
/// waited at once, whole conversations stood in any order.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_stands_below_the_one_before_it_wherever_its_status_stood() {
    let office = Office::watched().await;
    office.ada(None, "first");
    let turn = office.claim().await;
    turn.show(|_| {});
    office.until_said("[ Stop ]").await;
    office.ada(None, "second");
    office.until_said("Next here").await;
    turn.reply(|it| {
        "One.".clone_into(&mut it.text);
        it.duration_ms = 41_000;
    });
    office.until_said("    One.\n").await;
    office.claim().await.answer("Two.");
    office.until_said("    Two.\n").await;
    office.until_unsaid("Next here").await;
    office.until_in_place(Place::Done, 2).await;
    let texts = office.fake.texts(FORUM);
    let at = |answer: &str| texts.iter().position(|it| it.starts_with(answer));
    assert!(at("One.") < at("Two."), "{texts:#?}");
    office.close().await;
}

/// What had been answered was known to one process: the next took the place of a status above an answer of the one before.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_stands_below_those_of_an_earlier_process() {
    let office = Office::watched().await;
    office.ada(None, "first");
    let turn = office.claim().await;
    turn.show(|_| {});
    office.until_said("[ Stop ]").await;
    office.ada(None, "second");
    office.until_said("Next here").await;
    let waiting = office.queue.view().find(&"tg-812345002".parse().unwrap()).unwrap().unwrap();
    office.until_noted(&waiting.message).await;
    turn.reply(|it| {
        "One.".clone_into(&mut it.text);
        it.duration_ms = 41_000;
    });
    office.until_in_place(Place::Done, 1).await;
    office.kill().await;
    office.start();
    office.claim().await.answer("Two.");
    office.until_in_place(Place::Done, 2).await;
    office.until_unsaid("Next here").await;
    let texts = office.fake.texts(FORUM);
    let at = |answer: &str| texts.iter().position(|it| it.starts_with(answer));
    assert!(at("One.").is_some() && at("One.") < at("Two."), "{texts:#?}");
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_may_stop_and_others_may_not() {
    let office = Office::watched().await;
    office.ada(None, "think");
    let turn = office.claim().await;
    turn.show(|_| {});
    office.press(BOB, "Stop").await;
    let told = |it: &tinyclaw_testkit::telegram::FakeTelegram| {
        let calls = it.calls().into_iter().filter(|it| it.method == "answerCallbackQuery");
        let texts: Vec<String> =
            calls.map(|it| it.params["text"].as_str().unwrap().to_owned()).collect();
        (!texts.is_empty()).then_some(texts)
    };
    let texts = office.fake.wait_for(crate::office::PATIENCE, told).await.unwrap();
    assert_eq!(texts, ["Only who asked, or an admin, may stop this."]);
    office.press(ADA, "Stop").await;
    let order = office.control().await;
    assert_eq!(order.command, Some(Command::Stop { key: Some(turn.message().key.clone()) }));
    turn.show(|it| it.state = TurnState::Stopping);
    office.until_said("sonnet · stopping").await;
    turn.reply(|it| {
        "So far\n\n*Stopped after 2 s. The session is kept.*".clone_into(&mut it.text);
        it.outcome = Outcome::Stopped;
    });
    office.until_said("    So far\n    \n    Stopped after 2 s. The session is kept.").await;
    office.ada(None, "/stop");
    assert_eq!(office.control().await.command, Some(Command::Stop { key: None }));
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_line_says_its_place() {
    let office = Office::watched().await;
    office.ada(None, "one");
    let turn = office.claim().await;
    // The first answer takes the place of this, so that it stands above what is said of the second message.
    office.until_said("starting").await;
    office.ada(None, "two");
    office.until_said("Next here · busy since").await;
    turn.answer("1");
    let turn = office.claim().await;
    turn.answer("2");
    office.until_said("TinyClaw (to Ada: two) (edited):\n    2\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_be_there_already_is_sent_again_with_a_mark() {
    let office = Office::open().await;
    office.fake.act(Control::Break { fault: Fault::lost_answer("sendMessage", 1) });
    office.ada(None, "hello");
    office.claim().await.answer("Hello.");
    office.until_said("    (may stand here twice)\n    Hello.\n").await;
    office.until_in_place(Place::Done, 1).await;
    let seen = office.queue.view().find(&"tg-812345001".parse().unwrap()).unwrap().unwrap();
    assert!(seen.message.delivery[0].marked);
    assert_eq!(office.fake.transcript(FORUM).matches("Hello.").count(), 2);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haste_is_answered_with_patience_and_nothing_is_repeated() {
    let office = Office::open().await;
    office.fake.act(Control::Break { fault: Fault::too_many("sendMessage", 2, 1) });
    office.ada(None, "hello");
    office.claim().await.answer("Hello.");
    office.until_said("Hello.\n").await;
    office.until_in_place(Place::Done, 1).await;
    let transcript = office.fake.transcript(FORUM);
    assert_eq!((transcript.matches("Hello.").count(), transcript.contains("again")), (1, false));
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn markup_that_is_refused_becomes_plain_text() {
    let office = Office::open().await;
    office.fake.act(Control::Break {
        fault: Fault::refused(
            "sendMessage",
            1,
            400,
            "Bad Request: can't parse entities: Unsupported start tag \"x\" at byte offset 0",
        ),
    });
    office.ada(None, "hello");
    office.claim().await.answer("**Hello** [there](https://example.org) <you>");
    office.until_said("    Hello there (https://example.org) <you>\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_will_never_be_taken_is_buried_and_told() {
    let office = Office::open().await;
    office.fake.act(Control::Break {
        fault: Fault::refused("sendMessage", 1, 400, "Bad Request: something is wrong"),
    });
    office.ada(None, "hello");
    office.claim().await.answer("Hello.");
    office.until_said("An answer could not be delivered: Bad Request: something is wrong. It is kept; /retry tries again.").await;
    office.until_in_place(Place::Dead, 1).await;
    office.ada(None, "/retry");
    office.until_said("TinyClaw (to Ada: hello):\n    Hello.\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_gone_is_made_again_for_the_answer() {
    let office = Office::open().await;
    let topic = office.fake.act(Control::CreateTopic {
        chat: FORUM,
        from: ADA,
        name: "Website".to_owned(),
    });
    let topic = topic.as_i64().unwrap();
    office.claim().await.done();
    office.ada(Some(topic), "hello");
    let turn = office.claim().await;
    office.fake.act(Control::DeleteTopic { chat: FORUM, topic });
    turn.answer("Hello.");
    office.until_said("# Website\n-- forum topic created Website\nTinyClaw:\n    Hello.\n").await;
    // The new topic is the old thread.
    let news = office.fake.calls().iter().filter(|it| it.method == "createForumTopic").count();
    assert_eq!(news, 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_topic_can_be_made_the_answer_goes_to_general() {
    let office = Office::open().await;
    let topic = office.fake.act(Control::CreateTopic {
        chat: FORUM,
        from: ADA,
        name: "Website".to_owned(),
    });
    let topic = topic.as_i64().unwrap();
    office.claim().await.done();
    office.ada(Some(topic), "hello");
    let turn = office.claim().await;
    office.fake.act(Control::DeleteTopic { chat: FORUM, topic });
    office.fake.act(Control::SetAdmin { chat: FORUM, admin: false });
    turn.answer("Hello.");
    office.until_said("    The topic “Website” is gone; this was for it.\n    Hello.\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_out_from_the_threads_directory_and_from_nowhere_else() {
    let office = Office::open().await;
    let work = tempfile::tempdir().unwrap();
    let put = |name: &str| {
        let path = work.path().join(name);
        tinyclaw_disk::replace(&path, b"content", tinyclaw_disk::Flush::None).unwrap();
        FileRef { path: path.to_string_lossy().into_owned(), mime: String::new(), name: None }
    };
    let threads = json!({"1": {"name": "General", "cwd": work.path()}});
    tinyclaw_ledger::save(&office.state.threads(), &threads, tinyclaw_disk::Flush::None).unwrap();
    let outside = FileRef { path: "/etc/hostname".to_owned(), mime: String::new(), name: None };
    let files = vec![put("report.pdf"), put("a.png"), put("b.png"), put(".env"), outside];
    office.ada(None, "send me all of it");
    office.claim().await.reply(|it| {
        "Here.".clone_into(&mut it.text);
        it.files = files;
    });
    office.until_said("    <photo>\n").await;
    office.until_in_place(Place::Done, 1).await;
    let transcript = office.fake.transcript(FORUM);
    for words in [
        "    Here.\n",
        "    .env was not sent: it may hold secrets.\n",
        "    hostname was not sent: it lies outside of this thread's directory.\n",
        "    <document report.pdf>\n",
    ] {
        assert!(transcript.contains(words), "{words}\n{transcript}");
    }
    assert_eq!(office.calls("sendMediaGroup").len(), 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_of_an_answer_repeats_no_part() {
    let office = Office::open().await;
    office.ada(None, "tell me everything");
    let text = ["one ", "two ", "three "].map(|it| it.repeat(600)).join("\n\n");
    office.claim().await.answer(&text);
    office.until_said("one one").await;
    office.kill().await;
    office.start();
    office.until_said("three three").await;
    office.until_in_place(Place::Done, 1).await;
    // A part that was on its way may never have arrived: then there is only the marked one.
    let texts = office.fake.texts(FORUM);
    for word in ["one", "two", "three"] {
        let (marked, unmarked): (Vec<&String>, Vec<&String>) = texts
            .iter()
            .filter(|it| it.contains(word))
            .partition(|it| it.starts_with("(may stand here twice)"));
        assert!(unmarked.len() <= 1 && marked.len() + unmarked.len() >= 1, "{word}: {texts:?}");
    }
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_answer_offers_is_done_when_pressed_and_then_its_buttons_go() {
    let office = Office::open().await;
    office.ada(None, "hello");
    office.claim().await.reply(|it| {
        "Go on?".clone_into(&mut it.text);
        let button = |label: &str, press| ReplyButton { label: label.to_owned(), press };
        it.buttons = vec![
            button("Go on", ButtonPress::Command(Command::GoOn {})),
            button("Say it", ButtonPress::Say("continue".to_owned())),
        ];
    });
    office.until_said("    Go on?\n    [ Go on ] [ Say it ]").await;
    office.press(ADA, "Go on").await;
    let turn = office.claim().await;
    assert_eq!(turn.message().command, Some(Command::GoOn {}));
    assert_eq!(turn.message().sender_id, Some(ADA.to_string()));
    turn.answer("Going on.");
    office.until_said("    Going on.\n").await;
    office.until_unsaid("[ Say it ]").await;

    office.ada(None, "and now?");
    office.claim().await.reply(|it| {
        "Stopped.".clone_into(&mut it.text);
        let press = ButtonPress::Say("continue".to_owned());
        it.buttons = vec![ReplyButton { label: "Continue".to_owned(), press }];
    });
    office.until_said("    Stopped.\n    [ Continue ]").await;
    office.press(ADA, "Continue").await;
    let turn = office.claim().await;
    assert_eq!((turn.message().message.as_str(), &turn.message().command), ("continue", &None));
    turn.answer("So I do.");
    office.until_said("    So I do.\n").await;
    office.until_unsaid("[ Continue ]").await;
    assert_eq!(office.fake.violations(), [""; 0]);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_everybody_dies_of_is_given_up_and_told() {
    let office = Office::open().await;
    office.ada(None, "hello");
    let turn = office.claim().await;
    office.stop().await;
    turn.answer("Deadly.");
    let channel = Which::Channel(Channel::Telegram);
    for _ in 0..SENDER_DEATHS_MAX {
        // Let go of without a word, as by a process that dies.
        drop(office.queue.try_claim(Side::Send, &channel).unwrap().unwrap());
    }
    office.start();
    office.until_said("An answer could not be delivered: whoever sent it died 12 times.").await;
    office.until_in_place(Place::Dead, 1).await;
    office.close().await;
}

/// Publishes what another thread asks; gives the notice that shows it.
fn from_website(office: &Office) -> Message {
    let key = Key::hashed("x", "website");
    let general = ThreadId::master();
    let text = "How is the weather?";
    let mut asked = Message::new(key.clone(), Channel::Telegram, general.clone(), text, now_ms());
    asked.source = Source::CrossThread;
    asked.source_thread_id = Some("website".parse().unwrap());
    office.queue.publish(Side::Run, asked, Durability::Strict).unwrap();
    let mut notice = Message::new(key.arrival(), Channel::Telegram, general, "", now_ms());
    notice.source = Source::System;
    notice.extra.insert(ARRIVAL_OF.to_owned(), key.as_str().into());
    let text = "**website** writes:\n\nHow is the weather?".to_owned();
    notice.reply = Some(Reply { text, outcome: Outcome::Notice, ..Reply::default() });
    notice
}

/// What another thread asked stood in the chat twice, once in front of the answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_another_thread_is_a_reply_to_what_it_asked() {
    let office = Office::open().await;
    let notice = from_website(&office);
    office.queue.publish(Side::Send, notice, Durability::Strict).unwrap();
    office.until_said("    How is the weather?\n").await;
    office.until_in_place(Place::Done, 1).await;
    office.claim().await.answer("Fine.");
    office.until_said("TinyClaw (to TinyClaw: website writes:").await;
    office.until_said("):\n    Fine.\n").await;
    let transcript = office.fake.transcript(FORUM);
    assert!(!transcript.contains("asked:"), "{transcript}");
    office.close().await;
}

/// It came after its own answer when both waited.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_already_is_not_shown_as_if_it_had_just_arrived() {
    let office = Office::open().await;
    office.stop().await;
    let notice = from_website(&office);
    office.claim().await.answer("Fine.");
    office.queue.publish(Side::Send, notice, Durability::Strict).unwrap();
    office.start();
    office.until_said(" asked: How is the weather?\n    \n    Fine.\n").await;
    office.until_in_place(Place::Done, 2).await;
    let transcript = office.fake.transcript(FORUM);
    assert!(!transcript.contains("writes:"), "{transcript}");
    office.close().await;
}
