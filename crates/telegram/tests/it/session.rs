//! A forum session as a person would have it, from the first topic to a restart in the middle of an answer.
//!
//! The processor is played by the test, through the real queue; what the people see at the end is `session.txt`.

use expect_test::expect_file;
use serde_json::json;
use tinyclaw_domain::{Command, FileRef, Model, Outcome, ToolUse};
use tinyclaw_queue::Place;
use tinyclaw_testkit::telegram::{ADA, Attachment, Control, FORUM};

use crate::office::Office;

/// About 20 KB of what Claude writes: headings, code, a table, lists.
fn long_answer() -> String {
    let chapter = |n: usize| {
        format!(
            "## Chapter {n}\n\nThe lane lock is taken **before** the folder is read, so a claim that loses \
             goes on to the next lane:\n\n```rust\nfn claim(&self) -> Option<Lease> {{\n    let lane = self.next()?;\n    \
             lane.try_lock().then(|| Lease::new(lane))\n}}\n```\n\n|step|who|flushes|\n|--|--|--:|\n|write|publisher|1|\n\
             |rename|publisher|1|\n\n- it is free the moment its holder dies\n- nothing has to be cleaned up\n\n"
        )
    };
    (1..=60).map(chapter).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_in_the_office() {
    let office = Office::watched().await;

    // A topic is a desk.
    office.ada(None, "/new website ada/website");
    let turn = office.claim().await;
    assert!(matches!(turn.message().command, Some(Command::Open { .. })));
    let topic = turn.message().thread_id.number().map(i64::from);
    turn.reply(|it| {
        "Cloned ada/website into `~/workspace/website`.".clone_into(&mut it.text);
        it.outcome = Outcome::Notice;
        it.model = None;
    });
    office.until_said("Cloned ada/website").await;

    // Ask, watch, stop.
    office.ada(topic, "run the tests");
    let turn = office.claim().await;
    turn.show(|it| {
        it.tools.push(ToolUse {
            name: "Bash".to_owned(),
            detail: "cargo nextest run".to_owned(),
            at: 0,
            duration_ms: None,
            failed: false,
            is_nested: false,
        });
        it.text = "Two tests fail".to_owned();
    });
    office
        .until_said("    ▸ Bash  cargo nextest run\n    \n    Two tests fail\n    [ Stop ]")
        .await;
    office.press(ADA, "Stop").await;
    assert!(matches!(office.control().await.command, Some(Command::Stop { key: Some(_) })));
    turn.reply(|it| {
        "Two tests fail in `claim.rs`:\n\n*Stopped after 5 s. The session is kept.*"
            .clone_into(&mut it.text);
        it.outcome = Outcome::Stopped;
    });
    office.until_said("Stopped after 5 s. The session is kept.").await;

    // A long answer.
    office.ada(topic, "explain the queue, at length");
    let text = long_answer();
    assert!(text.len() > 18_000);
    let turn = office.claim().await;
    office.until_noted(turn.message()).await;
    turn.reply(|it| {
        it.text.clone_from(&text);
        it.model = Some(Model::OPUS);
        it.duration_ms = 95_000;
        it.cost_usd = 0.74;
    });
    office.until_said("<document answer.md>").await;

    // A photo and a paper, and a file back.
    let photo = Attachment::new("photo", "", "", "a picture");
    office.fake.act(Control::Send {
        chat: FORUM,
        topic,
        from: ADA,
        file: photo,
        caption: "what is this?".to_owned(),
    });
    let turn = office.claim().await;
    assert_eq!(turn.message().files[0].mime, "image/jpeg");
    office.until_noted(turn.message()).await;
    turn.answer("A picture of the *old* page.");
    office.until_said("A picture of the old page.").await;
    let paper = Attachment::new("document", "paper.pdf", "application/pdf", "%PDF-1.7");
    office.fake.act(Control::Send {
        chat: FORUM,
        topic,
        from: ADA,
        file: paper,
        caption: "and this, as a list?".to_owned(),
    });
    let turn = office.claim().await;
    assert_eq!(turn.message().files[0].mime, "application/pdf");
    office.until_noted(turn.message()).await;
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("list.md");
    tinyclaw_disk::replace(&path, b"- one\n- two\n", tinyclaw_disk::Flush::None).unwrap();
    let threads = json!({topic.unwrap().to_string(): {"name": "website", "cwd": work.path()}});
    tinyclaw_ledger::save(&office.state.threads(), &threads, tinyclaw_disk::Flush::None).unwrap();
    turn.reply(|it| {
        "Here it is.".clone_into(&mut it.text);
        it.files = vec![FileRef {
            path: path.to_string_lossy().into_owned(),
            mime: String::new(),
            name: None,
        }];
        it.model = Some(Model::HAIKU);
    });
    office.until_said("<document list.md>").await;
    office.until_in_place(Place::Outgoing, 0).await;
    office.until_in_place(Place::Sending, 0).await;

    // Everything ends in the middle of a turn, and goes on.
    office.ada(topic, "and now?");
    let turn = office.claim().await;
    turn.show(|it| it.text = "Now".to_owned());
    office.until_said("    Now\n    [ Stop ]").await;
    // Killed a moment earlier, nobody would know the status message's id, and it would stay.
    office.until_noted(turn.message()).await;
    office.kill().await;
    office.start();
    turn.answer("Now we go home.");
    office.until_said("    Now we go home.\n").await;
    office.until_in_place(Place::Sending, 0).await;
    office.until_in_place(Place::Outgoing, 0).await;
    office.ada(topic, "/close");
    let turn = office.claim().await;
    assert_eq!(turn.message().command, Some(Command::Close {}));
    turn.reply(|it| {
        "Closed.".clone_into(&mut it.text);
        it.outcome = Outcome::Notice;
        it.model = None;
    });
    office.until_said("    Closed.\n").await;
    office.until_in_place(Place::Sending, 0).await;
    expect_file!["./session.txt"].assert_eq(&office.fake.transcript(FORUM));
    office.close().await;
}
