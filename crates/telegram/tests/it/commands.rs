//! Commands that the service answers itself, and voice.
#![allow(clippy::disallowed_methods, reason = "writes the operator's transcriber")]

use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use tinyclaw_domain::{ButtonPress, Command, ReplyButton, Trust};
use tinyclaw_queue::Place;
use tinyclaw_service::now_ms;
use tinyclaw_testkit::telegram::{ADA, Attachment, BOB, Control, FORUM};

use crate::office::{Office, thread};
use crate::questions::until_told;

/// A line of the history of General, as the processor writes it.
fn line(n: u64, sender: &str, message: &str, cost_usd: Option<f64>) -> String {
    let mut line = json!({
        "timestamp": now_ms(), "key": format!("tg-{n}"), "attempt": 1, "messageId": "", "threadId": 1,
        "channel": "telegram", "direction": "in", "sender": sender, "message": message,
    });
    if let Some(cost) = cost_usd {
        line["direction"] = "out".into();
        line["model"] = "opus".into();
        line["costUsd"] = cost.into();
    }
    format!("{line}\n")
}

fn with_history(office: &Office) {
    let lines =
        line(1, "Ada", "Is the <lane> free?", None) + &line(1, "TinyClaw", "**Yes.**", Some(1.25));
    tinyclaw_disk::replace(&office.state.history(), lines.as_bytes(), tinyclaw_disk::Flush::None)
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_threads_history_comes_as_a_file() {
    let office = Office::open().await;
    office.ada(None, "/export");
    office.until_said("Nothing was said here yet.").await;
    with_history(&office);
    office.ada(None, "/export");
    office.until_said("The history of this thread:").await;
    office.until_said("<document history.md>").await;
    let files = office.state.files(&thread("1"));
    let kept = std::fs::read_dir(files).unwrap().flatten().next().unwrap();
    let text = std::fs::read_to_string(kept.path()).unwrap();
    assert!(text.starts_with("# General\n\n## Ada, 20"), "{text}");
    assert!(text.contains("\n\nIs the <lane> free?\n\n## opus, 20"), "{text}");
    assert!(text.ends_with("\n\n**Yes.**\n\n"), "{text}");
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_today_cost_and_which_threads_there_are() {
    let office = Office::open().await;
    office.ada(None, "/sessions");
    office.until_said("No threads yet. Write something, or /new NAME.").await;
    office.ada(None, "/cost");
    office.until_said("Today: $0.00 for 0 answers in this thread, $0.00 for 0 in all.").await;
    with_history(&office);
    office.ada(None, "/cost");
    office.until_said("Today: $1.25 for 1 answer in this thread, $1.25 for 1 in all.").await;
    let threads = json!({
        "1": {"name": "General", "cwd": "/w", "status": "idle"},
        "7": {"name": "a|b", "cwd": "/w", "model": "opus", "status": "working", "lastActive": now_ms()},
    });
    tinyclaw_ledger::save(&office.state.threads(), &threads, tinyclaw_disk::Flush::None).unwrap();
    office.ada(None, "/sessions");
    office
        .until_said(
            "    thread  name     model  status   last\n    ──────  ───────  ─────  ───────  ────\n         1  General  –      idle        –\n         7  a|b      opus   working",
        )
        .await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_counted() {
    let office = Office::open().await;
    office.ada(None, "one");
    let turn = office.claim().await;
    office.ada(None, "two");
    office.until_in_place(Place::Incoming, 1).await;
    office.ada(None, "/queue");
    office
        .until_said("    1 waiting, 1 being answered.\n    Here: 1 waiting, 1 being answered.\n")
        .await;
    turn.done();
    office.claim().await.done();
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_question_is_asked_again_with_its_files() {
    let office = Office::open().await;
    office.ada(None, "/again");
    office.until_said("Nothing was asked here lately.").await;
    let file = Attachment::new("document", "notes.txt", "text/plain", "one, two");
    office.fake.act(Control::Send {
        chat: FORUM,
        topic: None,
        from: ADA,
        file,
        caption: "sum it up".to_owned(),
    });
    let first = office.claim().await;
    let files = first.message().files.clone();
    first.answer("Two.");
    office.until_said("    Two.\n").await;
    office.until_in_place(Place::Sending, 0).await;
    office.fake.say(FORUM, None, BOB, "/again");
    let turn = office.claim().await;
    assert_eq!(
        (turn.message().message.as_str(), turn.message().sender.as_str()),
        ("sum it up", "Bob")
    );
    assert_eq!((turn.message().files.clone(), turn.message().command.clone()), (files, None));
    turn.done();
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_topic_is_opened_again() {
    let office = Office::open().await;
    let topic = office.fake.act(Control::CreateTopic {
        chat: FORUM,
        from: ADA,
        name: "Website".to_owned(),
    });
    let topic = topic.as_i64();
    office.claim().await.done();
    office.ada(topic, "/close");
    let turn = office.claim().await;
    assert_eq!(turn.message().command, Some(Command::Close {}));
    turn.done();
    office.until_said("# Website (closed)").await;
    // Nobody can write into it: whoever may opens it, by hand, and the thread hears of it.
    office.fake.act(Control::ReopenTopic { chat: FORUM, topic: topic.unwrap(), from: ADA });
    let turn = office.claim().await;
    assert_eq!(turn.message().command, Some(Command::Reopen {}));
    turn.done();
    // One that is open already is no mistake.
    office.ada(topic, "/reopen");
    let turn = office.claim().await;
    assert_eq!(turn.message().command, Some(Command::Reopen {}));
    turn.done();
    office.ada(None, "/close");
    office.until_said("Only a topic can be closed; this is none.").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_without_a_word_says_what_is_set_and_what_each_word_does() {
    let office = Office::open().await;
    office.ada(None, "/trust");
    office.until_said("    /trust none|text|settings: what of a repository counts").await;
    let threads = json!({ "1": { "name": "General", "cwd": "/", "model": "sonnet", "isMaster": true,
        "status": "idle", "lastActive": 0, "pin": "opus", "effort": "high", "permissionMode": "plan" } });
    std::fs::write(office.state.threads(), threads.to_string()).unwrap();
    for (said, told) in [
        ("/model", "This thread uses opus.\n"),
        ("/effort", "Claude's effort here is high.\n"),
        (
            "/mode",
            "plan (now): Claude looks around and proposes a plan before it changes anything\n",
        ),
        ("/trust", "Nothing was said here: text counts, unless"),
    ] {
        office.ada(None, said);
        office.until_said(told).await;
    }
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_card_offers_is_an_admins_to_take() {
    let mut office = Office::open().await;
    office.stop().await;
    office.environment.insert("TINYCLAW_ADMINS".to_owned(), "102".to_owned());
    office.start();
    office.ada(None, "a repository, please");
    let offer = Command::Trust { trust: Trust::Settings, admin: false };
    office.claim().await.reply(|it| {
        it.text = "The repository brings hooks.".to_owned();
        let label = "Let its settings count".to_owned();
        it.buttons = vec![ReplyButton { label, press: ButtonPress::Command(offer) }];
    });
    office.until_said("[ Let its settings count ]").await;
    office.press(ADA, "Let its settings count").await;
    until_told(&office, "Only admins may let a repository's settings count.").await;
    office.press(BOB, "Let its settings count").await;
    until_told(&office, "Done.").await;
    let turn = office.claim().await;
    let taken = Command::Trust { trust: Trust::Settings, admin: true };
    assert_eq!(turn.message().command, Some(taken));
    office.until_unsaid("[ Let its settings count ]").await;
    turn.done();
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_may_what_others_may_not() {
    let mut office = Office::open().await;
    office.ada(None, "/reset");
    office.until_said("Only admins may end a session that others work in. Your id is 101;").await;
    office.stop().await;
    office.environment.insert("TINYCLAW_ADMINS".to_owned(), "101".to_owned());
    office.start();
    office.bob(None, "think");
    let turn = office.claim().await;
    for (said, expected) in [
        ("/reset", Command::Reset {}),
        (
            "/mode bypass",
            Command::Mode { mode: tinyclaw_domain::PermissionMode::Bypass, admin: true },
        ),
        ("/dir /etc", Command::Setdir { dir: "/etc".to_owned(), admin: true }),
    ] {
        office.ada(None, said);
        let key = office.until_waiting(said).await;
        let seen = office.queue.view().find(&key).unwrap().unwrap();
        assert_eq!(seen.message.command, Some(expected), "{said}");
    }
    office.ada(None, "/stop");
    let stop = office.control().await;
    assert_eq!(stop.command, Some(Command::Stop { key: Some(turn.message().key.clone()) }));
    turn.done();
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voice_message_becomes_what_was_said() {
    let mut office = Office::open().await;
    office.stop().await;
    let tool = office.state.root().join("transcribe");
    let script = "#!/bin/sh\ntest \"$1\" = --quietly && echo \"I said: $(cat \"$2\")\"\n";
    std::fs::write(&tool, script).unwrap();
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    let command = format!("{} --quietly", tool.display());
    office.environment.insert("TINYCLAW_TELEGRAM_TRANSCRIBER".to_owned(), command);
    office.start();
    let speak = |bytes: &str| {
        office.fake.act(Control::Send {
            chat: FORUM,
            topic: None,
            from: ADA,
            file: Attachment::new("voice", "", "", bytes),
            caption: String::new(),
        });
    };
    speak("good morning");
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "I said: good morning");
    assert_eq!(turn.message().files[0].mime, "audio/ogg");
    turn.done();
    // Nothing of the service's environment, and a home and a copy of the recording that no agent can reach.
    let script = "#!/bin/sh\nenv | sed 's/=.*//' | sort | tr '\\n' ' '; echo \"$HOME $2\"\n";
    std::fs::write(&tool, script).unwrap();
    speak("good evening");
    let turn = office.claim().await;
    let (names, places) = turn.message().message.split_once('/').unwrap();
    let shells = ["OLDPWD", "PWD", "SHLVL", "_"];
    let handed_on: Vec<&str> = names.split_whitespace().filter(|it| !shells.contains(it)).collect();
    let may = ["HOME", "LANG", "PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"];
    let may = |it: &str| may.contains(&it) || it.to_ascii_lowercase().ends_with("_proxy");
    assert!(handed_on.iter().all(|it| may(it)), "{handed_on:?}");
    let (home, recording) = places.split_once(' ').unwrap();
    assert_eq!(format!("/{home}"), office.state.transcriber().display().to_string());
    assert!(recording.starts_with(&format!("/{home}/recordings/")), "{recording}");
    assert!(!std::path::Path::new(recording).exists(), "a recording was left behind");
    turn.done();
    std::fs::write(&tool, "#!/bin/sh\nyes\n").unwrap();
    speak("good grief");
    office.until_said("could not be transcribed: the transcriber said more than 1024 kB.").await;
    std::fs::write(&tool, "#!/bin/sh\nexit 3\n").unwrap();
    speak("good night");
    office
        .until_said(
            "The voice message could not be transcribed: the transcriber failed: exit status: 3.",
        )
        .await;
    office.until_in_place(Place::Incoming, 0).await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_code_comes_as_a_file() {
    let office = Office::open().await;
    office.ada(None, "write it");
    let code = "let x = \"a < b\";\n".repeat(400);
    office
        .claim()
        .await
        .answer(&format!("Here:\n\n```rust title=src/main.rs\n{code}```\n\nRun it."));
    office.until_said("    … All 400 lines are in main.rs.\n    \n    Run it.\n").await;
    office.until_said("TinyClaw:\n    <document main.rs>\n").await;
    office.until_in_place(Place::Done, 1).await;
    assert_eq!(office.fake.texts(FORUM).len(), 2);
    office.close().await;
}
