//! A chat that Telegram wants left alone when a turn ends: what is left to do is done later.

use tinyclaw_queue::Place;
use tinyclaw_telegram::Options;
use tinyclaw_telegram::bot::rate_limit::Limits as Budget;
use tinyclaw_testkit::telegram::{Control, Fault, Limits};

use crate::office::{Office, quick};

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
async fn what_telegram_says_to_a_reaction_holds_for_reactions_only() {
    let office = Office::open().await;
    office.fake.act(Control::Break { fault: Fault::too_many("setMessageReaction", 1, 3) });
    office.ada(None, "hello");
    let turn = office.claim().await;
    office.until_health("hushed", |it| it.numbers.contains_key("reactionFloodsTotal")).await;
    turn.answer("Hello.");
    office.until_said("Ada [✍]:\n    hello\nTinyClaw (to Ada: hello):\n    Hello.\n").await;
    let calls: Vec<String> = office.fake.calls().into_iter().map(|it| it.method).collect();
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    let of_interest: Vec<&str> =
        calls.into_iter().filter(|it| ["setMessageReaction", "sendMessage"].contains(it)).collect();
    assert_eq!(of_interest, ["setMessageReaction", "sendMessage", "setMessageReaction"]);
    office.close().await;
}

/// An office whose chat Telegram wants left alone for so long, from now on.
async fn left_alone(seconds: u64) -> Office {
    let office = Office::open().await;
    office.fake.act(Control::Break { fault: Fault::too_many("sendMessage", 1, seconds) });
    office.ada(None, "/whoami");
    office.until_health("frozen", |it| it.numbers.contains_key("lastFloodWaitSeconds")).await;
    office
}

#[tokio::test(flavor = "multi_thread")]
async fn eyes_that_a_rest_held_back_come_when_it_is_over() {
    let office = left_alone(2).await;
    office.ada(None, "think");
    let turn = office.claim().await;
    office.until_said("Ada [👀]:\n    think\n").await;
    turn.answer("Thought.");
    office.until_said("Ada [✍]:\n    think\n").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rest_that_telegram_wants_outlives_a_kill() {
    let office = left_alone(4).await;
    office.kill().await;
    office.start();
    office.until_said("You are not an admin.").await;
    let calls = office.fake.calls();
    let at: Vec<_> = calls.iter().filter(|it| it.method == "sendMessage").map(|it| it.at).collect();
    assert_eq!(at.len(), 2);
    assert!(at[1] - at[0] >= std::time::Duration::from_millis(3900), "{:?}", at[1] - at[0]);
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_do_not_make_it_hasty() {
    let limits = Budget::default();
    let options = Options { limits, ..quick() };
    let office = Office::open_with(Limits::default(), options, "101").await;
    for n in 0..8 {
        office.ada(None, "hello");
        office.claim().await.answer(&format!("Hello {n}."));
    }
    // Right after a message is there the next one would come, were it not for the kill.
    for n in 0..7 {
        office.until_said(&format!("    Hello {n}.\n")).await;
        office.kill().await;
        office.start();
    }
    office.until_said("    Hello 7.\n").await;
    let calls = office.fake.calls();
    let hasty: Vec<_> = calls.iter().filter_map(|it| it.error.as_ref()).collect();
    assert!(hasty.is_empty(), "{hasty:?}");
    office.close().await;
}
