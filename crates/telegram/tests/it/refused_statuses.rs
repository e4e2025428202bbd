//! Status messages that Telegram does not take as they are: the turn, and above all its question, is seen all the same.

use serde_json::json;
use tinyclaw_domain::approval::Question;
use tinyclaw_domain::{Ask, Command, PermissionAnswer, Progress, TurnState};
use tinyclaw_testkit::telegram::{ADA, Control, FORUM, Fault};

use crate::office::{Office, Turn};

fn ask() -> Ask {
    let input = json!({"command": "rm -rf target"});
    let (request_id, tool) = ("req-7".to_owned(), "Bash".to_owned());
    Ask { request_id, tool, input, at: 0, always: Vec::new(), unshown: None }
}

fn asks(progress: &mut Progress) {
    progress.state = TurnState::Asking;
    progress.asks = Some(ask());
}

/// A turn of Ada's that works and is seen to.
async fn seen_working(office: &Office, topic: Option<i64>) -> Turn<'_> {
    office.ada(topic, "clean up");
    let turn = office.claim().await;
    turn.show(|it| it.text = "Looking".to_owned());
    office.until_said("    Looking\n    [ Stop ]").await;
    office.until_noted(turn.message()).await;
    turn
}

/// The turn asks, Ada allows it, and the turn is told.
async fn asked_and_answered(office: &Office, turn: &Turn<'_>) {
    turn.show(asks);
    office.until_said("May I run this?\n    rm -rf target\n    [ Allow ]").await;
    office.press(ADA, "Allow").await;
    let answer = PermissionAnswer::Allow;
    let (request_id, shown) = ("req-7".to_owned(), Question::of(&ask()).digest);
    let expected = Command::Permission { request_id, answer, shown, admin: false };
    assert_eq!(office.control().await.command, Some(expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_seen_although_its_status_was_removed() {
    let office = Office::watched().await;
    let turn = seen_working(&office, None).await;
    let description = "Bad Request: message to edit not found";
    let fault = Fault::refused("editMessageText", 1, 400, description);
    office.fake.act(Control::Break { fault });
    asked_and_answered(&office, &turn).await;
    turn.answer("Clean.");
    office.until_said("    Clean.\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_whose_markup_is_refused_is_plain() {
    let office = Office::watched().await;
    let turn = seen_working(&office, None).await;
    let description = "Bad Request: can't parse entities: Unsupported start tag";
    let fault = Fault::refused("editMessageText", 1, 400, description);
    office.fake.act(Control::Break { fault });
    turn.show(|it| it.text = "**Found** it".to_owned());
    office.until_said("    Found it\n    [ Stop ]").await;
    turn.answer("Clean.");
    office.until_said("    Clean.\n").await;
    office.close().await;
}

/// A topic with a turn in it that works, and then without the topic.
async fn without_its_topic(office: &Office) -> Turn<'_> {
    let name = "Website".to_owned();
    let topic = office.fake.act(Control::CreateTopic { chat: FORUM, from: ADA, name });
    let topic = topic.as_i64().unwrap();
    office.claim().await.done();
    let turn = seen_working(office, Some(topic)).await;
    office.fake.act(Control::DeleteTopic { chat: FORUM, topic });
    turn
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_seen_although_its_topic_is_gone() {
    let office = Office::watched().await;
    let turn = without_its_topic(&office).await;
    asked_and_answered(&office, &turn).await;
    turn.answer("Clean.");
    office.until_said("# Website\n-- forum topic created Website\n").await;
    office.until_said("    Clean.\n").await;
    assert_eq!(office.calls("createForumTopic").len(), 1);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_topic_can_be_made_a_question_is_asked_in_general() {
    let office = Office::watched().await;
    let turn = without_its_topic(&office).await;
    office.fake.act(Control::SetAdmin { chat: FORUM, admin: false });
    turn.show(asks);
    office.until_said("    The topic “Website” is gone; this was for it.\n").await;
    asked_and_answered(&office, &turn).await;
    turn.answer("Clean.");
    office.until_said("    Clean.\n").await;
    office.until_unsaid("[ Stop ]").await;
    office.close().await;
}
