//! A decision can be added up by hand.

use proptest::prelude::*;
use tinyclaw_router::{Config, DIMENSIONS, Input, Router};

use crate::{decide, prompts, router};

#[track_caller]
fn adds_up(text: &str, router: &Router) {
    let decision = router.decide(&Input::new(text));
    let names: Vec<&str> = decision.dims.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, DIMENSIONS);
    let mut sum = decision.bias + decision.learned.unwrap_or(0.0);
    for dim in &decision.dims {
        assert!((-1.0..=1.0).contains(&dim.score), "{} is {}", dim.name, dim.score);
        assert!((dim.score * dim.weight - dim.contribution).abs() < 1e-12);
        sum += dim.contribution;
        assert!(dim.hits.len() <= 3);
        for hit in &dim.hits {
            assert!(
                text.get(hit.start..hit.end).is_some_and(|it| !it.is_empty()),
                "{hit:?} in {text:?}"
            );
        }
    }
    assert!((sum - decision.raw_score).abs() < 1e-9, "{sum} is not {}", decision.raw_score);
    let it = &decision.probabilities;
    assert!((it.simple + it.medium + it.complex - 1.0).abs() < 1e-9);
    assert!(it.simple >= 0.0 && it.medium >= 0.0 && it.complex >= 0.0, "{it:?}");
}

#[test]
fn contributions_learned_term_and_bias_add_up_to_the_raw_score() {
    let bare = Router::new(Config::default().with_learned(false));
    for prompt in prompts() {
        adds_up(&prompt.text, router());
        adds_up(&prompt.text, &bare);
    }
    assert!(decide("hello").learned.is_some());
    assert!(bare.decide(&Input::new("hello")).learned.is_none());
}

#[test]
fn hits_point_at_what_was_said() {
    let text = "Ｐｒｏｖｅ  the theo\u{200b}rem, s'il vous plaît : démontre-le";
    let hits: Vec<String> = decide(text)
        .dims
        .iter()
        .filter(|it| it.name == "reasoningMarkers")
        .flat_map(|it| &it.hits)
        .map(|it| text[it.start..it.end].to_owned())
        .collect();
    assert_eq!(hits, ["Ｐｒｏｖｅ", "theo\u{200b}rem", "démontre"]);
}

#[test]
fn the_same_text_gets_the_same_decision_from_every_router() {
    let other = Router::default();
    for prompt in prompts() {
        assert_eq!(decide(&prompt.text), other.decide(&Input::new(&prompt.text)));
    }
}

proptest! {
    #[test]
    fn any_text_adds_up(text in any::<String>()) {
        adds_up(&text, router());
    }

    #[test]
    fn any_bytes_add_up(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        adds_up(&String::from_utf8_lossy(&bytes), router());
    }

    #[test]
    fn odd_lines_of_real_marks_add_up(text in "([\\[\\]{}<>`>\"「」:;/?!., \\n\\t-]|prove|tier:opus|current|```|system-reminder|\u{301}|\u{200b}|证明|ｐｒ|법|2026-01-02 10:20:30){0,60}") {
        adds_up(&text, router());
    }
}
