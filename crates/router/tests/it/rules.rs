//! The rules that are stronger than the score, and their order.

use tinyclaw_domain::{
    Catalogue, Cause, Direction, Effort, EffortFrom, Efforts, Model, OwnTiers, Replied, ReplyRule,
    Source, Tier, Tiers, WarmCache,
};
use tinyclaw_router::{Config, Input, Router, Turn};

use crate::{decide, prompts, router};

const HARD: &str = "design a distributed ledger and prove that it never loses a payment";

#[track_caller]
fn check(input: Input<'_>, tier: Tier, effective: Model, cause: Cause, upgraded: bool) {
    let it = router().decide(&input);
    let found = (it.tier, it.effective_model, it.cause, it.upgraded);
    assert_eq!(found, (tier, effective, cause, upgraded), "{input:?}");
    assert_eq!(it.model, Tiers::default().of(it.tier));
}

#[test]
fn each_rule_is_stronger_than_the_next() {
    let warm = [WarmCache { model: Model::SONNET, tokens: 1_100_000, until: 0 }];
    let all = Input {
        pin: Some(Model::SONNET),
        context_tokens: 1_100_000,
        warm: &warm,
        ..Input::new("/haiku hi there")
    };
    check(all, Tier::Complex, Model::HAIKU, Cause::UserHint, true);
    let pinned = Input { text: "hi there", ..all };
    check(pinned, Tier::Complex, Model::SONNET, Cause::Pinned, true);
    let large = Input { pin: None, ..pinned };
    check(large, Tier::Complex, Model::OPUS, Cause::LargeContext, true);
    let alone = Input { context_tokens: 0, warm: &[], ..large };
    check(alone, Tier::Simple, Model::HAIKU, Cause::Scored, false);
    let beat = Input { source: Source::Heartbeat, text: HARD, ..all };
    check(beat, Tier::Simple, Model::HAIKU, Cause::Heartbeat, false);
}

/// `[effort:max]` in front of an easy question made it a harder one, and so did `[fable]`.
#[test]
fn what_is_asked_for_by_name_is_no_word_about_the_work() {
    use tinyclaw_domain::DeskKind;

    for text in [HARD, "why is the sky blue?", "yes"] {
        for desk in [None, Some(DeskKind::None), Some(DeskKind::Repo)] {
            let plain = router().decide(&Input { desk, ..Input::new(text) });
            for (before, after) in [
                ("/opus ", ""),
                ("/fable ", ""),
                ("[fable] ", ""),
                ("", " [claude-opus-4-8]"),
                ("[effort:max] ", ""),
                ("[tier:complex] ", " [effort: low]"),
            ] {
                let said = format!("{before}{text}{after}");
                let it = router().decide(&Input { desk, ..Input::new(&said) });
                assert_eq!((it.tier, it.raw_score), (plain.tier, plain.raw_score), "{said}");
            }
        }
    }
}

#[test]
fn which_model_a_tier_means_is_said_by_the_office_and_by_the_thread() {
    let map = |it: &[(&str, &str)]| {
        it.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    };
    let tiers = map(&[("SIMPLE", "sonnet"), ("COMPLEX", "saga")]);
    let catalogue = Catalogue::read(&map(&[("saga", "claude-saga-7 12/60")]), &tiers).unwrap();
    let router = Router::new(Config::default()).with_catalogue(catalogue);
    let saga = Model::named("saga");
    let hard = router.decide(&Input::new(HARD));
    assert_eq!(
        (hard.tier, Some(hard.model), Some(hard.effective_model)),
        (Tier::Complex, saga, saga)
    );
    assert_eq!(router.decide(&Input::new("hi there")).effective_model, Model::SONNET);
    let asked = router.decide(&Input::new("[saga] hi there"));
    assert_eq!((Some(asked.effective_model), asked.cause), (saga, Cause::UserHint));
    let own_tiers = OwnTiers { complex: Some(Model::FABLE), ..OwnTiers::default() };
    let here = router.decide(&Input { own_tiers, ..Input::new(HARD) });
    assert_eq!((here.model, here.effective_model), (Model::FABLE, Model::FABLE));
    let by_tier = router.decide(&Input { own_tiers, ..Input::new("hi there [tier:complex]") });
    assert_eq!((by_tier.tier, by_tier.effective_model), (Tier::Simple, Model::FABLE));
}

#[test]
fn how_hard_to_think_is_said_by_the_tier_the_thread_or_the_message() {
    let router =
        Router::default().with_efforts(Efforts::default().with(Tier::Complex, Effort::XHigh));
    let effort = |input: &Input<'_>| {
        let it = router.decide(input).effort.expect("an effort");
        (it.level, it.from)
    };
    assert_eq!(effort(&Input::new("hi there")), (Effort::Low, EffortFrom::Tier));
    assert_eq!(effort(&Input::new(HARD)), (Effort::XHigh, EffortFrom::Tier));
    let here = Input { effort: Some(Effort::Medium), ..Input::new(HARD) };
    assert_eq!(effort(&here), (Effort::Medium, EffortFrom::Thread));
    let once = Input { text: "/haiku [effort:max] hi there", ..here };
    assert_eq!(effort(&once), (Effort::Max, EffortFrom::Message));
    assert_eq!(router.decide(&once).effective_model, Model::HAIKU);
}

#[test]
fn a_reply_to_opus_is_as_hard_as_what_it_says() {
    let reply = |text| Input { reply_to_model: Some(Model::OPUS), ..Input::new(text) };
    check(reply("thanks"), Tier::Simple, Model::HAIKU, Cause::Scored, false);
    check(reply(HARD), Tier::Complex, Model::OPUS, Cause::Scored, false);
}

#[test]
fn a_decision_about_a_reply_says_which_rule_spoke() {
    let warm = [WarmCache { model: Model::OPUS, tokens: 150_000, until: 0 }];
    let reply = |text| Input { reply_to_model: Some(Model::OPUS), ..Input::new(text) };
    let proposed = [Turn {
        direction: Direction::Out,
        text: "Option 2 moves every writer behind one lock.",
        tier: Some(Tier::Complex),
        model: Some(Model::OPUS),
    }];
    let medium = "write an email to the client about the delay and offer a discount";
    for (input, rule) in [
        (reply("thanks"), Some(ReplyRule::OwnWords)),
        (Input { history: &proposed, ..reply("yes, do option 2") }, Some(ReplyRule::WorkGoesOn)),
        (
            Input { warm: &warm, context_tokens: 150_000, ..reply(medium) },
            Some(ReplyRule::StayCheaper),
        ),
        (Input { pin: Some(Model::HAIKU), ..reply("thanks") }, None),
        (Input { source: Source::Heartbeat, ..reply("thanks") }, None),
        (reply("/sonnet thanks"), None),
    ] {
        let found = router().decide(&input).replied;
        assert_eq!(found, rule.map(|rule| Replied { to: Model::OPUS, rule }), "{input:?}");
    }
    assert_eq!(router().decide(&Input::new("thanks")).replied, None);
}

#[test]
fn a_long_conversation_alone_needs_no_stronger_model() {
    let long = Input { context_tokens: 400_000, ..Input::new("thanks") };
    check(long, Tier::Simple, Model::HAIKU, Cause::Scored, false);
}

#[test]
fn a_warm_stronger_model_is_kept_where_that_is_cheaper() {
    let text = "write an email to the client about the delay and offer a discount";
    assert_eq!(decide(text).tier, Tier::Medium);
    let warm = [WarmCache { model: Model::OPUS, tokens: 150_000, until: 0 }];
    let goes_on = Input { context_tokens: 150_000, warm: &warm, ..Input::new(text) };
    check(goes_on, Tier::Medium, Model::OPUS, Cause::Stay, false);
    let stay = router().decide(&goes_on).stay.expect("a price");
    assert!(stay.stay_usd < stay.switch_usd + stay.back_usd, "{stay:?}");
    assert_eq!(router().decide(&goes_on).warm, warm);
    // What is cold is no reason to stay.
    let cold = Input { warm: &[], ..goes_on };
    check(cold, Tier::Medium, Model::SONNET, Cause::Scored, false);
    // Haiku is so cheap that thanks are answered by it, warm or not.
    let thanks = Input { text: "thanks", ..goes_on };
    check(thanks, Tier::Simple, Model::HAIKU, Cause::Scored, false);
}

#[test]
fn the_text_replied_to_is_not_scored() {
    let text = "which one was it?";
    let reply = Input { reply_to_text: Some(HARD), ..Input::new(text) };
    assert_eq!(router().decide(&reply), decide(text));
}

#[test]
fn a_hint_is_not_scored() {
    for hinted in ["/opus is it done?", "[tier:opus] is it done?", "is it done? [tier:opus]"] {
        let decision = decide(hinted);
        assert_eq!(decision.effective_model, Model::OPUS);
        assert!((decision.raw_score - decide("is it done?").raw_score).abs() < 1e-9, "{hinted}");
    }
}

#[test]
fn nothing_said_is_no_signal() {
    check(Input::new(""), Tier::Simple, Model::HAIKU, Cause::NoSignal, false);
    check(Input::new("🎉🎉"), Tier::Simple, Model::HAIKU, Cause::NoSignal, false);
    let photo = Input { attachments: &["image/jpeg"], ..Input::new(" ") };
    check(photo, Tier::Medium, Model::SONNET, Cause::NoSignal, false);
}

#[test]
fn low_confidence_means_medium_and_swallows_no_tier() {
    let wary =
        Router::new(Config::parse("[policy]\nminConfidence = 0.6").expect("a valid override"));
    let mut seen = [0; 3];
    for prompt in prompts() {
        let decision = wary.decide(&Input::new(&prompt.text));
        seen[decision.tier as usize] += 1;
        if decision.cause == Cause::LowConfidence {
            assert_eq!(decision.tier, Tier::Medium);
            assert!(decision.confidence < 0.6);
        }
    }
    assert!(seen.iter().all(|it| *it > prompts().len() / 10), "{seen:?}");
}
