//! A chat that Telegram wants left alone when a turn ends: what is left to do is done later.

use tinyclaw_queue::Place;
use tinyclaw_testkit::telegram::{Control, Fault};

use crate::office::Office;

/// An office in which Telegram wants to hear nothing more of the chat for three seconds, from the end of a turn on.
async fn hushed_at_the_end() -> Office {
    let office = Office::watched().await;
    office.ada(None, "think");
    let turn = office.claim().await;
    turn.show(|_| {});
    office.until_noted(turn.message()).await;
    office.fake.act(Control::Break { fault: Fault::too_many("deleteMessage", 1, 3) });
    turn.reply(|it| {
        "Thought.".clone_into(&mut it.text);
        it.duration_ms = 41_000;
    });
    office.until_in_place(Place::Done, 1).await;
    office
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_goes_and_the_reaction_comes_when_the_chat_may_be_spoken_to_again() {
    let office = hushed_at_the_end().await;
    office.until_unsaid("[ Stop ]").await;
    office.until_said("Ada [✍]:\n    think\n").await;
    office.until_said("    Thought.\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_does_not_forget_what_is_left_to_do() {
    let office = hushed_at_the_end().await;
    office.kill().await;
    office.start();
    office.until_unsaid("[ Stop ]").await;
    office.until_said("Ada [✍]:\n    think\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_telegram_says_to_a_reaction_holds_for_the_chat() {
    let office = Office::open().await;
    office.fake.act(Control::Break { fault: Fault::too_many("setMessageReaction", 1, 3) });
    office.ada(None, "hello");
    let turn = office.claim().await;
    office
        .until_health("frozen", |it| {
            it.numbers.get("lastFloodWaitSeconds").is_some_and(|it| *it == 3)
        })
        .await;
    turn.answer("Hello.");
    office.until_said("Ada [✍]:\n    hello\n").await;
    office.close().await;
}
