//! A turn that somebody stops: it shows at once, goes before everything else, and is said when it does not work.

use tinyclaw_domain::Outcome;
use tinyclaw_telegram::Options;
use tinyclaw_telegram::bot::rate_limit::Limits as Budget;
use tinyclaw_testkit::telegram::{ADA, Control, FORUM, Limits};

use crate::office::{Office, quick};

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_shows_before_anybody_has_heard_of_it_and_so_does_a_turn_that_does_not_react() {
    let office = Office::watched().await;
    office.ada(None, "think");
    let turn = office.claim().await;
    turn.show(|it| it.text = "I think".to_owned());
    office.until_said("    I think\n    [ Stop ]").await;
    office.press(ADA, "Stop").await;
    office.until_said("    sonnet · stopping …\n    [ Stop ]").await;
    office.until_said("    sonnet · stopping …\n    It does not react yet").await;
    office.control().await;
    turn.reply(|it| {
        "I thought".clone_into(&mut it.text);
        it.outcome = Outcome::Stopped;
    });
    office.until_said("    I thought\n").await;
    office.until_unsaid("[ Stop ]").await;
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_is_said_shows_too_and_nobody_looks_at_it_for_ever() {
    let office = Office::watched().await;
    office.ada(None, "think");
    let turn = office.claim().await;
    turn.show(|_| {});
    office.until_noted(turn.message()).await;
    office.ada(None, "/stop");
    office.until_said("    sonnet · stopping …\n").await;
    office.until_said("Ada [👀]:\n    /stop\n").await;
    office.control().await;
    office.until_said("Ada:\n    /stop\n").await;
    turn.done();
    office.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn that_something_stopped_is_said_before_what_others_are_answered() {
    let limits = Budget { gap_ms: 400, ..quick().limits };
    let office = Office::open_with(Limits::none(), Options { limits, ..quick() }, "101").await;
    let mut turns = Vec::new();
    for n in 0..8 {
        let name = format!("Topic {n}");
        let topic = office.fake.act(Control::CreateTopic { chat: FORUM, from: ADA, name });
        office.claim().await.done();
        office.ada(topic.as_i64(), "think");
        turns.push(office.claim().await);
    }
    let stopped = turns.pop().unwrap();
    for turn in turns {
        turn.answer("Thought.");
    }
    stopped.reply(|it| {
        "Stopped after 3 s.".clone_into(&mut it.text);
        it.outcome = Outcome::Stopped;
    });
    office.until_said("    Stopped after 3 s.\n").await;
    let texts = office.fake.texts(FORUM);
    assert!(texts.len() < 6, "{texts:?}");
    office.close().await;
}
