//! History counts for follow-ups and for nothing else.

use tinyclaw_domain::{Cause, Direction, Model, Tier};
use tinyclaw_router::{Input, Turn};

use crate::router;

/// An hour of hard work with opus.
fn hard_history() -> Vec<Turn<'static>> {
    let turn = |direction, text| Turn {
        direction,
        text,
        tier: (direction == Direction::Out).then_some(Tier::Complex),
        model: (direction == Direction::Out).then_some(Model::OPUS),
    };
    let mut turns = Vec::new();
    for _ in 0..30 {
        turns.push(turn(
            Direction::In,
            "design the distributed scheduler and prove that it is fair",
        ));
        turns.push(turn(
            Direction::Out,
            "```rust\nfn step(queue: &mut Queue) -> Result<(), Error> { todo() }\n```",
        ));
    }
    turns
}

#[track_caller]
fn check(text: &str, tier: Tier, cause: Cause) {
    let history = hard_history();
    let decision = router().decide(&Input { history: &history, ..Input::new(text) });
    assert_eq!((decision.tier, decision.cause), (tier, cause), "{text}");
}

#[test]
fn thanks_after_an_hour_of_code_goes_to_haiku() {
    for text in
        ["ok", "thanks", "thanks, go on holiday now", "great, next time then", "谢谢", "danke!"]
    {
        check(text, Tier::Simple, Cause::Scored);
    }
    check("what time is it in Madrid?", Tier::Simple, Cause::Scored);
    check("👍", Tier::Simple, Cause::NoSignal);
}

#[test]
fn a_follow_up_stays_on_its_tier() {
    for text in ["yes, do option 2", "continue", "go ahead", "继续", "mach weiter", "продолжай"]
    {
        check(text, Tier::Complex, Cause::FollowUp);
    }
}

#[test]
fn without_history_a_follow_up_is_only_its_words() {
    let alone = router().decide(&Input::new("continue"));
    assert_ne!(alone.cause, Cause::FollowUp);
    assert!(!alone.upgraded);
}
