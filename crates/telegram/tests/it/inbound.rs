//! From Telegram into the queue.

use tinyclaw_domain::{Channel, Command, Effort, Model, PermissionMode, Tier};
use tinyclaw_queue::Place;
use tinyclaw_testkit::telegram::{ADA, Attachment, BOB, Control, FORUM, STRANGER, What};

use crate::office::{Office, thread};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_becomes_a_turn_and_its_answer_comes_back() {
    let office = Office::open().await;
    office.ada(None, "hello");
    let turn = office.claim().await;
    let message = turn.message();
    assert_eq!(message.key.as_str(), "tg-812345001");
    assert_eq!((message.message.as_str(), message.sender.as_str()), ("hello", "Ada"));
    assert_eq!((message.channel, &message.thread_id), (Channel::Telegram, &thread("1")));
    assert_eq!(message.sender_id.as_deref(), Some("101"));
    turn.answer("Hello, **Ada**.");
    office.until_said("Hello, Ada.").await;
    office.until_in_place(Place::Done, 1).await;
    office.until_said("[✍]").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_comes_again_is_no_second_turn() {
    let office = Office::open().await;
    // The first poll's answer is lost, so Telegram sends the same update again.
    office.break_it("getUpdates", 2, What::LostAnswer {});
    office.ada(None, "once");
    office.claim().await.answer("yes");
    office.until_confirmed().await;
    office.until_in_place(Place::Done, 1).await;
    office.until_in_place(Place::Incoming, 0).await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_while_nobody_listened_is_heard() {
    let office = Office::open().await;
    office.ada(None, "one");
    office.claim().await.done();
    office.kill().await;
    office.ada(None, "two");
    office.ada(None, "three");
    office.start();
    for expected in ["two", "three"] {
        let turn = office.claim().await;
        assert_eq!(turn.message().message, expected);
        turn.done();
    }
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_silence() {
    let office = Office::open().await;
    office.fake.say(FORUM, None, STRANGER, "/start");
    office.fake.say(STRANGER, None, STRANGER, "hello");
    // An allowed person in somebody else's chat is as strange.
    office.fake.act(Control::AddChat {
        chat: -1009,
        title: "Elsewhere".to_owned(),
        forum: false,
        supergroup: true,
    });
    office.fake.say(-1009, None, ADA, "hello");
    office.until_confirmed().await;
    office.ada(None, "hello");
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "hello");
    assert_eq!(turn.message().sender, "Ada");
    let beyond_polling: Vec<String> = office
        .fake
        .calls()
        .into_iter()
        .map(|it| it.method)
        .filter(|it| {
            !matches!(it.as_str(), "getUpdates" | "getMe" | "deleteWebhook" | "setMyCommands")
        })
        .collect();
    let only_adas = ["setMessageReaction", "sendChatAction", "sendMessage", "editMessageText"];
    assert!(beyond_polling.iter().all(|it| only_adas.contains(&it.as_str())), "{beyond_polling:?}");
    for call in office.fake.calls() {
        assert!(call.chat == FORUM || call.chat == 0, "{call:?}");
    }
    turn.done();
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nobody_allowed_nothing_is_fetched_and_it_says_why() {
    let office =
        Office::open_with(tinyclaw_testkit::telegram::Limits::none(), crate::office::quick(), "")
            .await;
    office.ada(None, "hello?");
    let why = loop {
        let why = office.vitals.snapshot().why;
        if why.iter().any(|it| it.contains("TELEGRAM_ALLOWED_USERS")) {
            break why;
        }
        tokio::task::yield_now().await;
    };
    assert!(!office.vitals.snapshot().ready, "{why:?}");
    assert_eq!(office.calls("getUpdates").len(), 0);
    assert_eq!(office.fake.unconfirmed(), 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_album_is_one_message_with_all_its_files() {
    let office = Office::open().await;
    let photo = || Attachment::new("photo", "", "", "a picture");
    let files = vec![photo(), photo(), photo()];
    office.fake.act(Control::Album {
        chat: FORUM,
        topic: None,
        from: ADA,
        files,
        caption: "look".to_owned(),
    });
    let turn = office.claim().await;
    let message = turn.message().clone();
    assert_eq!((message.message.as_str(), message.files.len()), ("look", 3));
    for file in &message.files {
        assert_eq!(std::fs::read(office.state.root().join(&file.path)).unwrap(), b"a picture");
    }
    turn.done();
    office.until_in_place(Place::Done, 1).await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_a_client_cut_is_joined_again() {
    let office = Office::open().await;
    let (first, second) = ("a".repeat(4096), "b".repeat(100));
    office.ada(None, &first);
    office.ada(None, &second);
    let turn = office.claim().await;
    assert_eq!(turn.message().message, format!("{first}{second}"));
    turn.done();
    // A long text alone comes alone, and so does what somebody else says meanwhile.
    office.ada(None, &"word ".repeat(810));
    office.bob(None, "short");
    let turn = office.claim().await;
    assert_eq!(turn.message().sender, "Ada");
    turn.done();
    let turn = office.claim().await;
    assert_eq!((turn.message().sender.as_str(), turn.message().message.as_str()), ("Bob", "short"));
    turn.done();
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forwarded_with_a_word_about_it_is_one_turn() {
    let office = Office::patient(800).await;
    office.ada(None, "Is he right?");
    for text in ["It is the cache.", "/stop"] {
        let (by, text) = ("Bob".to_owned(), text.to_owned());
        office.fake.act(Control::Forward { chat: FORUM, topic: None, from: ADA, by, text });
    }
    let turn = office.claim().await;
    assert_eq!(
        turn.message().message,
        "Is he right?\nForwarded from Bob:\n> It is the cache.\nForwarded from Bob:\n> /stop"
    );
    turn.answer("He is.");
    office
        .until_said("Ada [✍]:\n    Is he right?\nAda:\n    It is the cache.\nAda:\n    /stop")
        .await;
    office.until_said("TinyClaw (to Ada: Is he right?):\n    He is.").await;
    office.until_confirmed().await;
    office.until_in_place(Place::Done, 1).await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_belongs_together_is_one_turn() {
    let office = Office::patient(3000).await;
    let first = office.ada(None, "one");
    office.bob(None, "two");
    let reply_to = Some(first);
    let text = "three".to_owned();
    office.fake.act(Control::Say { chat: FORUM, topic: None, from: BOB, text, reply_to });
    office.bob(None, "/whoami");
    office.bob(None, "four");
    for expected in ["one", "two", "three", "four"] {
        let turn = office.claim().await;
        assert_eq!(turn.message().message, expected);
        turn.done();
    }
    office.until_said("TinyClaw").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_one_piece_takes_nothing_from_the_others() {
    let office = Office::patient(500).await;
    let blocking = office.bob(None, "first");
    let turn = office.claim().await;
    let message = office.ada(None, "Look at a.rs");
    office.ada(None, "and b.rs");
    office.until_in_place(Place::Incoming, 1).await;
    let text = "Look at c.rs".to_owned();
    office.fake.act(Control::Edit { chat: FORUM, message, text });
    office.until_said("This waits as one message with what was sent beside it.").await;
    turn.done();
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "Look at a.rs\nand b.rs");
    assert!(message > blocking);
    turn.done();
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_behind_others_says_so_until_its_turn_comes() {
    let office = Office::open().await;
    office.bob(None, "first");
    let turn = office.claim().await;
    office.ada(None, "second");
    office.until_said("Ada [🤔]:\n    second").await;
    turn.done();
    let turn = office.claim().await;
    office.until_said("Ada [👀]:\n    second").await;
    turn.answer("Here it is.");
    office.until_said("Ada [✍]:\n    second").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_a_thread_and_says_when_it_changes() {
    let office = Office::open().await;
    let topic = office.fake.act(Control::CreateTopic {
        chat: FORUM,
        from: ADA,
        name: "Website".to_owned(),
    });
    let topic = topic.as_i64().unwrap();
    let turn = office.claim().await;
    assert_eq!(turn.message().thread_id.number(), Some(topic as u32));
    let name = Some("Website".to_owned());
    assert_eq!(turn.message().command, Some(Command::Open { name, dir: None, repo: None }));
    turn.done();
    office.fake.act(Control::RenameTopic {
        chat: FORUM,
        topic,
        from: BOB,
        name: "Site".to_owned(),
    });
    let turn = office.claim().await;
    assert_eq!(turn.message().command, Some(Command::Rename { name: "Site".to_owned() }));
    turn.done();
    office.ada(Some(topic), "here");
    let turn = office.claim().await;
    assert_eq!(
        (turn.message().thread_id.number(), turn.message().is_reply),
        (Some(topic as u32), false)
    );
    assert_eq!(turn.message().topic_name.as_deref(), Some("Site"));
    turn.answer("there");
    office.until_said("# Site\n-- forum topic created Website\n-- forum topic edited Site\nAda [✍]:\n    here\nTinyClaw (to Ada: here):\n    there").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_topic_waits_for_another() {
    let office = Office::open().await;
    let topics: Vec<i64> = ["A", "B"]
        .map(|name| {
            office
                .fake
                .act(Control::CreateTopic { chat: FORUM, from: ADA, name: name.to_owned() })
                .as_i64()
                .unwrap()
        })
        .to_vec();
    for _ in 0..2 {
        office.claim().await.done();
    }
    // A's next message may have a second half, and is waited for; B's is not.
    office.ada(Some(topics[0]), &"x".repeat(4096));
    office.ada(Some(topics[1]), "quick");
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "quick");
    let other = office.claim().await;
    assert_eq!(other.message().message.len(), 4096);
    turn.done();
    other.done();
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_chat_is_one_thread() {
    let office = Office::open().await;
    office.fake.say(ADA, None, ADA, "between us");
    let turn = office.claim().await;
    assert_eq!(turn.message().thread_id, thread("u101"));
    turn.answer("yes");
    office.until_in(ADA, "yes").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_changes_what_waits_and_offers_what_was_answered_again() {
    let office = Office::open().await;
    office.ada(None, "first");
    let turn = office.claim().await;
    let waiting = office.ada(None, "secnd");
    office.until_in_place(Place::Incoming, 1).await;
    office.fake.act(Control::Edit { chat: FORUM, message: waiting, text: "second".to_owned() });
    office.until_confirmed().await;
    turn.answer("1");
    // The edit lies in the folder when its update is dealt with; the processor meets the newer text.
    let turn = loop {
        let seen = office.queue.view().find(&"tg-812345002".parse().unwrap()).unwrap().unwrap();
        if seen.message.message == "second" {
            break office.claim().await;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(turn.message().message, "second");
    turn.answer("2");
    office.until_said("    2\n").await;
    office.until_in_place(Place::Done, 2).await;

    office.fake.act(Control::Edit { chat: FORUM, message: waiting, text: "third".to_owned() });
    office
        .until_said("This was asked already. Ask again with the new text?\n    [ Ask again ]")
        .await;
    office.press(ADA, "Ask again").await;
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "third");
    assert_eq!(turn.message().edits.as_ref().map(|it| it.as_str()), Some("tg-812345002"));
    turn.answer("3");
    office.until_unsaid("This was asked already").await;
    office.until_said("    3\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_in_and_too_large_ones_are_named() {
    let office = Office::open().await;
    let pdf = Attachment::new("document", "../paper.pdf", "application/pdf", "%PDF-1.7");
    office.fake.act(Control::Send {
        chat: FORUM,
        topic: None,
        from: ADA,
        file: pdf,
        caption: "read this".to_owned(),
    });
    let turn = office.claim().await;
    let file = &turn.message().files[0];
    assert_eq!(
        (file.path.as_str(), file.mime.as_str()),
        ("files/1/812345001_paper.pdf", "application/pdf")
    );
    assert_eq!(file.name.as_deref(), Some("../paper.pdf"));
    turn.done();
    let mut film = Attachment::new("document", "film.mkv", "video/x-matroska", "x");
    film.size = Some(30 * 1024 * 1024);
    office.fake.act(Control::Send {
        chat: FORUM,
        topic: None,
        from: ADA,
        file: film,
        caption: "and this".to_owned(),
    });
    let turn = office.claim().await;
    assert_eq!(
        turn.message().message,
        "and this\n[film.mkv is larger than 20 MB, which is all a bot may fetch.]"
    );
    turn.done();
    office.until_said("film.mkv is larger than 20 MB").await;
    assert_eq!(office.calls("getFile").len(), 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gif_comes_in_like_any_film() {
    let office = Office::open().await;
    let file = Attachment::new("animation", "cat.mp4", "video/mp4", "moving");
    let caption = String::new();
    office.fake.act(Control::Send { chat: FORUM, topic: None, from: ADA, file, caption });
    let turn = office.claim().await;
    let file = &turn.message().files[0];
    assert_eq!(
        (file.path.as_str(), file.mime.as_str()),
        ("files/1/812345001_cat.mp4", "video/mp4")
    );
    turn.done();
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn voice_without_a_transcriber_is_declined_in_words() {
    let office = Office::open().await;
    let voice = Attachment::new("voice", "", "", "OggS");
    office.fake.act(Control::Send {
        chat: FORUM,
        topic: None,
        from: ADA,
        file: voice,
        caption: String::new(),
    });
    office.until_said("Voice messages are not understood here.").await;
    office.until_in_place(Place::Incoming, 0).await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_kept_and_stops_nothing() {
    let office = Office::open().await;
    let odd = office.fake.act(Control::RawUpdate {
        kind: "message".to_owned(),
        body: serde_json::json!({"message_id": "nine", "chat": 7}),
    });
    office.ada(None, "and now?");
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "and now?");
    turn.done();
    let kept = office.state.updates().join(format!("{}.odd", odd["update_id"]));
    assert!(std::fs::read_to_string(kept).unwrap().contains("nine"));
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_webhook_and_another_poller_are_overcome() {
    let office = Office::open().await;
    office.stop().await;
    office.fake.act(Control::SetWebhook { url: "https://example.org/old".to_owned() });
    office.start();
    office.ada(None, "hello");
    office.claim().await.done();
    office.fake.act(Control::SetWebhook { url: "https://example.org/old".to_owned() });
    office.ada(None, "again");
    office.claim().await.done();
    office.fake.act(Control::OtherPoller {});
    office.ada(None, "and again");
    office.claim().await.done();
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_becomes_a_supergroup_keeps_its_threads() {
    let office = Office::open().await;
    office.fake.act(Control::Migrate { chat: FORUM, to: -1_001_000_000_777, forum: true });
    office.until_confirmed().await;
    office.fake.say(-1_001_000_000_777, None, ADA, "still here");
    let turn = office.claim().await;
    assert_eq!(turn.message().thread_id, thread("1"));
    turn.answer("so am I");
    office.until_in(-1_001_000_000_777, "so am I").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_are_orders_or_are_answered() {
    let office = Office::open().await;
    office.ada(None, "/whoami");
    office.until_said("Ada, 101, in chat -1001000000001, thread 1. You are not an admin.").await;
    office.ada(None, "/nonsense");
    office.until_said("There is no command /nonsense. /help lists them.").await;
    office.ada(None, "/model gpt");
    office.until_said("\"gpt\" is no model: use haiku, sonnet, opus, fable, or a full id").await;
    office.until_said("For example /model opus").await;
    office.ada(None, "/mode bypass");
    office.until_said("Only admins may let Claude act without asking.").await;
    office.ada(None, "/mode edits");
    office.until_said("/mode edits\nTinyClaw (to Ada: /mode edits):\n    Only admins may let Claude act without asking.").await;
    for (said, expected) in [
        ("/skills", Command::Skills {}),
        ("/trust text", Command::Trust { trust: tinyclaw_domain::Trust::Text, admin: false }),
        ("/effort high", Command::Effort { effort: Some(Effort::High) }),
        ("/model auto", Command::Model { model: None }),
        ("/model Fable", Command::Model { model: Some(Model::FABLE) }),
        ("/model claude-opus-4-8", Command::Model { model: Model::named("claude-opus-4-8") }),
        ("/model complex fable", Command::Tier { tier: Tier::Complex, model: Some(Model::FABLE) }),
        ("/mode ask", Command::Mode { mode: PermissionMode::Ask, admin: false }),
        ("/cd /tmp", Command::Setdir { dir: "/tmp".to_owned(), admin: false }),
        ("/status@tinyclaw_bot", Command::Status {}),
    ] {
        office.ada(None, said);
        let turn = office.claim().await;
        assert_eq!(turn.message().command.as_ref(), Some(&expected), "{said}");
        turn.done();
    }
    // For somebody else's bot, and a question to one model.
    office.ada(None, "/status@other_bot");
    office.ada(None, "/opus why?");
    let turn = office.claim().await;
    assert_eq!(
        (turn.message().command.as_ref(), turn.message().message.as_str()),
        (None, "/opus why?")
    );
    turn.done();
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_makes_a_topic_and_opens_its_thread() {
    let office = Office::open().await;
    office.ada(None, "/new website ada/site");
    let turn = office.claim().await;
    let (name, repo) = (Some("website".to_owned()), Some("ada/site".to_owned()));
    assert_eq!(turn.message().command, Some(Command::Open { name, dir: None, repo }));
    let topic = turn.message().thread_id.number().unwrap();
    turn.answer("Cloned.");
    office.until_said(&format!("Topic website is open: thread {topic}.")).await;
    office.until_said("# website\n-- forum topic created website\nTinyClaw:\n    Cloned.").await;
    office.close().await;
}

/// The update before one that the disk did not take was known when it came again, and was handed to nobody until the
/// next restart, while Telegram was told that we have it.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_an_update_that_the_disk_refused_is_heard_all_the_same() {
    let office = Office::open().await;
    office.ada(None, "before");
    office.claim().await.done();
    office.stop().await;
    // Both come with the first poll, and nothing can be written under the second one's name.
    let blocked = office.state.updates().join("812345003.tmp");
    std::fs::create_dir(&blocked).unwrap();
    office.ada(None, "first");
    office.fake.say(ADA, None, ADA, "second");
    office.start();
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "first");
    turn.done();
    office.until_why("updates cannot be put on disk").await;
    std::fs::remove_dir(&blocked).unwrap();
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "second");
    turn.done();
    office.until_confirmed().await;
    office.close().await;
}
