//! What belongs together although others write in between, and what is changed before it is asked.

use tinyclaw_queue::Place;
use tinyclaw_testkit::telegram::{ADA, Attachment, Control, FORUM};

use crate::office::Office;

fn edit(office: &Office, message: i64, text: &str) {
    office.fake.act(Control::Edit { chat: FORUM, message, text: text.to_owned() });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_album_is_one_turn_although_somebody_writes_in_between() {
    let office = Office::open().await;
    for at in 0..3 {
        office.fake.act(Control::AlbumPart {
            chat: FORUM,
            topic: None,
            from: ADA,
            file: Attachment::new("photo", "", "", "a picture"),
            caption: if at == 0 { "look".to_owned() } else { String::new() },
            album: "album-1".to_owned(),
        });
        office.bob(None, &format!("nice {at}"));
    }
    let mut said = Vec::new();
    for _ in 0..4 {
        let turn = office.claim().await;
        said.push((turn.message().message.clone(), turn.message().files.len()));
        turn.done();
    }
    let bobs = |at: usize| (format!("nice {at}"), 0);
    assert_eq!(said, [("look".to_owned(), 3), bobs(0), bobs(1), bobs(2)]);
    office.until_in_place(Place::Incoming, 0).await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_text_is_one_turn_although_somebody_writes_in_between() {
    let office = Office::open().await;
    let (first, second) = ("a".repeat(4096), "b".repeat(100));
    office.ada(None, &first);
    office.bob(None, "hello");
    office.ada(None, &second);
    let turn = office.claim().await;
    assert_eq!(turn.message().message, format!("{first}{second}"));
    turn.done();
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "hello");
    turn.done();
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_within_the_burst_replaces_what_was_said() {
    let office = Office::patient(2_000).await;
    let message = office.ada(None, "what is teh time?");
    edit(&office, message, "what is the time?");
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "what is the time?");
    turn.answer("Noon.");
    office.until_said("Noon.").await;
    office.until_dealt_with().await;
    let transcript = office.fake.transcript(FORUM);
    assert!(!transcript.contains("Ask again"), "{transcript}");
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_edited_into_a_command_is_one() {
    let office = Office::patient(2_000).await;
    let message = office.ada(None, "help");
    edit(&office, message, "/help");
    office.until_said("Write, and Claude answers.").await;
    office.until_dealt_with().await;
    office.until_in_place(Place::Incoming, 0).await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_command_is_a_command_or_a_question_and_an_unchanged_one_is_nothing() {
    let office = Office::open().await;
    let message = office.ada(None, "/hlep");
    office.until_said("There is no command /hlep.").await;
    edit(&office, message, "/whoami");
    office.until_said("Ada, 101, in chat").await;
    // Telegram tells of edits that nobody made.
    edit(&office, message, "/whoami");
    office.until_dealt_with().await;
    let message = office.ada(None, "/ops why is the sky blue?");
    office.until_said("There is no command /ops.").await;
    edit(&office, message, "/opus why is the sky blue?");
    let turn = office.claim().await;
    assert_eq!(turn.message().message, "/opus why is the sky blue?");
    turn.done();
    let transcript = office.fake.transcript(FORUM);
    assert_eq!(transcript.matches("Ada, 101, in chat").count(), 1, "{transcript}");
    office.close().await;
}
