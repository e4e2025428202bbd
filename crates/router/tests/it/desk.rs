//! What people type at a desk: orders, look-ups, answers to what Claude proposed.

use tinyclaw_domain::{Cause, Decision, DeskKind, Direction, Model, Tier};
use tinyclaw_router::{Input, Turn};

use crate::router;

fn at(desk: DeskKind, text: &str) -> Decision {
    router().decide(&Input { desk: Some(desk), ..Input::new(text) })
}

fn after(answer: &str, model: Model, text: &str) -> Decision {
    let turn = |direction, text, model| Turn { direction, text, tier: None, model };
    let history =
        [turn(Direction::In, "have a look", None), turn(Direction::Out, answer, Some(model))];
    let desk = Some(DeskKind::Repo);
    router().decide(&Input { desk, history: &history, ..Input::new(text) })
}

#[track_caller]
fn repo(text: &str, tier: Tier) {
    let found = at(DeskKind::Repo, text);
    assert_eq!(
        found.tier, tier,
        "{text}: raw {} of ±{}",
        found.raw_score, found.boundaries.complex
    );
}

#[test]
fn an_imperative_at_a_repository_is_work() {
    for text in
        ["add a filter to the orders page", "make the header stick to the top", "agrega un filtro"]
    {
        repo(text, Tier::Medium);
    }
}

#[test]
fn what_can_hurt_is_never_simple() {
    for text in [
        "deploy to production",
        "merge it",
        "rotate the keys",
        "выкати на прод",
        "本番にデプロイして",
        "spiel es auf den server und roll zurück wenn es knallt",
        "drop the old table on prod",
    ] {
        let found = at(DeskKind::Repo, text);
        assert!(found.tier >= Tier::Medium, "{text}: {}", found.raw_score);
    }
}

#[test]
fn a_question_about_hard_things_is_not_hard() {
    for text in ["in which file is the race condition comment", "which branch is checked out"] {
        repo(text, Tier::Simple);
    }
    assert_eq!(
        at(DeskKind::None, "what does eventual consistency mean, in one line").tier,
        Tier::Simple
    );
}

#[test]
fn no_question_is_hard_for_its_mark_at_a_repository() {
    for text in ["why is the sky blue?", "How far away is the moon?", "is staging up?"] {
        repo(text, Tier::Simple);
    }
    // With nothing in it that anybody could look up, it may be work; never the hardest.
    assert!(at(DeskKind::Repo, "Are you still there?").tier < Tier::Complex);
    repo("why does it fail once a week?", Tier::Complex);
}

#[test]
fn two_words_can_be_hard() {
    for text in ["make it lock free", "find the race, it fails once a week"] {
        repo(text, Tier::Complex);
    }
}

#[test]
fn a_follow_up_takes_its_weight_from_what_it_sets_off() {
    let typo =
        after("It says \"Recieved\". Change the label to \"Received\"?", Model::HAIKU, "yes");
    assert_eq!(typo.tier, Tier::Simple);
    let deploy = after(
        "All tests pass, the changelog is written. Publish the release?",
        Model::SONNET,
        "yes",
    );
    assert_eq!(deploy.tier, Tier::Medium);
    let plan = "The hard part remains: the storage, the protocol and both clients must change, with a \
                migration without downtime. Shall I?";
    let hard = after(plan, Model::OPUS, "do it");
    assert_eq!((hard.tier, hard.cause), (Tier::Complex, Cause::FollowUp));
    assert!(!hard.sets_off.is_empty());
}

#[test]
fn leave_to_do_what_can_hurt_is_never_simple() {
    let asked = [
        "All tests pass. Publish the release?",
        "Delete the old backups?",
        "Merge it into main?",
        "Everything is ready. Deploy to production?",
        "Soll ich es jetzt auf den Server ausrollen?",
        "Удалить старые копии?",
    ];
    for answer in asked {
        for text in ["yes", "ok", "yes.", "do it", "ja", "да", "好", "sí", "Go ahead"] {
            for model in [Model::HAIKU, Model::SONNET] {
                let it = after(answer, model, text);
                assert!(it.tier >= Tier::Medium, "{answer} {text}: {}", it.raw_score);
            }
        }
    }
    for text in ["no", "no, leave it", "nein", "нет", "не надо"] {
        assert_eq!(after(asked[1], Model::HAIKU, text).tier, Tier::Simple, "{text}");
    }
    // What was asked last counts, and only what was asked.
    let typo = after("I deployed it. Change the label to \"Received\"?", Model::HAIKU, "yes");
    assert_eq!(typo.tier, Tier::Simple);
}

#[test]
fn thanks_for_hard_work_are_thanks() {
    let done =
        "Found the race: the lease was renewed after the fence. Fixed, stress tested for an hour.";
    for text in ["thanks!", "wow, great", "merci beaucoup", "спасибо"] {
        assert_eq!(after(done, Model::OPUS, text).tier, Tier::Simple, "{text}");
    }
}

#[test]
fn a_paste_behind_an_order_lifts_nothing() {
    let order = "how many times does the word error appear in this";
    let plain = at(
        DeskKind::Repo,
        &format!("{order}\n\nlorem ipsum dolor sit amet, consectetur adipiscing"),
    );
    let loud = at(
        DeskKind::Repo,
        &format!("{order}\n\nprove that the lock free queue never deadlocks, redesign"),
    );
    assert_eq!(plain.tier, loud.tier);
    assert_eq!(plain.dims[2], loud.dims[2]);
}

#[test]
fn case_blanks_and_politeness_change_no_tier() {
    let texts = [
        "add dark mode",
        "deploy to production",
        "which port is it",
        "why does it fail once a week",
    ];
    for text in texts {
        let tier = at(DeskKind::Repo, text).tier;
        for other in [
            text.to_uppercase(),
            text.replace(' ', "  "),
            format!("  {text} \n"),
            format!("{text} please"),
            format!("{text}, pls"),
        ] {
            assert_eq!(at(DeskKind::Repo, &other).tier, tier, "{other}");
        }
    }
}

#[test]
fn a_decision_at_a_desk_adds_up() {
    for text in
        ["add dark mode", "yes", "find the cause, it happens once a week and nobody knows why", ""]
    {
        let it = after("Shall I deploy it to production?", Model::SONNET, text);
        let sum: f64 = it.dims.iter().map(|it| it.contribution).sum::<f64>()
            + it.bias
            + it.learned.unwrap_or(0.0);
        assert!((sum - it.raw_score).abs() < 1e-9, "{text}");
        let band = it.band.expect("a band at a desk");
        let half: f64 = it.dims.iter().filter_map(|it| it.band).sum::<f64>()
            + band.bias
            + band.learned.unwrap_or(0.0);
        assert!(((2.0 * half).max(0.0) - it.boundaries.complex).abs() < 1e-9, "{text}");
        assert!((it.boundaries.complex + it.boundaries.medium).abs() < 1e-12);
        let p = it.probabilities;
        assert!((p.simple + p.medium + p.complex - 1.0).abs() < 1e-9);
    }
}
