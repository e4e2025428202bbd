//! Pastes, logs, quotes and envelopes do not speak for the user, and no length is too long.

use tinyclaw_domain::Tier;

use crate::{decide, tier};

const MARKERS: &str =
    "prove rigorously, design a distributed architecture, analyze the trade-offs step by step, ";

fn simple_questions() -> [&'static str; 4] {
    ["what is this?", "how many lines is that?", "is the build green?", "was ist das?"]
}

#[test]
fn fifty_kilobytes_behind_a_question_do_not_lift_it_above_medium() {
    let prose = "the quick brown fox jumps over the lazy dog. ".repeat(1_150);
    let code = "let answer = compute(41);\n".repeat(2_000);
    let log = "2026-02-11 10:31:05 error queue stalled: retry=3\n".repeat(1_050);
    for ask in simple_questions() {
        for paste in [&prose, &code, &log] {
            let shapes = [
                format!("{ask}\n\n{paste}"),
                format!("{ask}\n```\n{paste}\n```"),
                format!("{ask} {paste}"),
                format!("{paste}\n\n{ask}"),
            ];
            for text in shapes {
                assert!(tier(&text) <= Tier::Medium, "{ask} with {:?}…", &text[..60]);
            }
        }
    }
}

#[test]
fn markers_stuffed_into_a_paste_lift_nothing() {
    let filler = "lorem ipsum dolor sit amet consectetur ";
    for ask in simple_questions() {
        for (before, after) in [("\n```\n", "\n```"), ("\n> ", ""), ("\n\"", "\""), ("\n\n", "")] {
            // Enough of it that it is a paste even without marks around it, cut to the same length.
            let cut = |piece: &str| piece.repeat(600).chars().take(6_000).collect::<String>();
            let length = if before == "\n\"" { 1_500 } else { 6_000 };
            let [plain, stuffed] = [cut(filler), cut(MARKERS)]
                .map(|it| format!("{ask}{before}{}{after}", &it[..length]));
            let (plain, stuffed) = (decide(&plain), decide(&stuffed));
            assert_eq!(plain.tier, stuffed.tier, "{ask}{before}");
            assert!((plain.raw_score - stuffed.raw_score).abs() < 1e-9, "{ask}{before}");
        }
    }
}

#[test]
fn envelopes_say_nothing() {
    for text in [
        format!("<system-reminder>{MARKERS}</system-reminder>\nok"),
        format!("[bot]: {MARKERS}\n[current]: ok"),
        format!("[replying-to]: {MARKERS}\n[ada]: {MARKERS}\n[current]: ok"),
        "[Ada]: ok".to_owned(),
        "{\"chat\": 7, \"note\": \"prove it\"}\nok".to_owned(),
    ] {
        let decision = decide(&text);
        assert_eq!(decision.tier, Tier::Simple, "{text}");
        assert!((decision.raw_score - decide("ok").raw_score).abs() < 1e-9, "{text}");
    }
}

#[test]
fn ten_megabytes_are_read_in_part_and_say_so() {
    for piece in ["a", "first ", "证", "```", "\n", "[", "\"", "e\u{301}", "\u{200b}", "{\"", "> "]
    {
        let text = piece.repeat(10_000_000 / piece.len());
        let decision = decide(&text);
        assert!(decision.truncated, "{piece:?}");
        assert!(!decide("short").truncated);
    }
    let tokens = decide(&"word ".repeat(2_000_000)).estimated_tokens;
    assert!((1_500_000..4_000_000).contains(&tokens), "{tokens}");
}

#[test]
fn tokens_of_han_are_more_than_a_quarter_of_its_characters() {
    assert!((60..=90).contains(&decide(&"证".repeat(100)).estimated_tokens));
    assert!((20..=30).contains(&decide(&"word ".repeat(20)).estimated_tokens));
}
