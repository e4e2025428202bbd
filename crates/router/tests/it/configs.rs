//! An operator's `router.toml`: what it may change, and what is refused on which line.

use tinyclaw_domain::DeskKind;
use tinyclaw_router::{BUILT_IN, Config, Input, Router};

use crate::{decide, router};

#[track_caller]
fn refused(text: &str, line: usize, why: &str) {
    let err = Config::parse(text).expect_err(text);
    assert_eq!(err.line, line, "{err}");
    assert!(err.why.contains(why), "{err}");
}

#[test]
fn the_built_in_file_is_valid_and_complete() {
    let config = Config::parse_full(BUILT_IN).expect("the built-in file");
    assert_eq!(config.fingerprint(), Config::default().fingerprint());
    assert_eq!(Config::parse("").expect("an empty file"), Config::default());
}

#[test]
fn lists_that_were_packed_before_decide_as_the_text_of_them_does() {
    let read = Router::new(Config::parse_full(BUILT_IN).expect("the built-in file"));
    let rows = include_str!("../../data/desk.jsonl").lines();
    let texts = rows.map(|it| serde_json::from_str::<serde_json::Value>(it).expect("a row"));
    for row in texts {
        let text = row["text"].as_str().expect("a text");
        for desk in [None, Some(DeskKind::Repo)] {
            let input = Input { desk, ..Input::new(text) };
            assert_eq!(read.decide(&input), router().decide(&input), "{text}");
        }
    }
}

#[test]
fn mistakes_are_named_with_their_line() {
    refused(
        "[policy]\nlargeContextTokens = 3",
        2,
        "unknown key \"largeContextTokens\"; known here: minConfidence",
    );
    refused("\n[wieghts]\n", 2, "unknown key \"wieghts\"");
    refused("[weights]\ntokenCount = 1\ncodePresense = 2", 3, "unknown key \"codePresense\"");
    refused("[weights]\ntokenCount = \"much\"", 2, "expected a number, found string");
    refused("[weights]\ntokenCount = nan", 2, "no usable number");
    refused("[weights]\ntokenCount = -1", 2, "must not be negative");
    refused("[parts.tokenCount]\nwidth = 1", 2, "known here: length");
    refused("[lists.reasoningMarkers.magic]\nen = [\"abracadabra\"]", 1, "known here: analysis");
    refused(
        "[lists.reasoningMarkers.proof]\nextend = [\"abracadabra\", \"ABRACADABRA\"]",
        2,
        "stands already",
    );
    refused("[lists.reasoningMarkers.proof]\nextend = [\"walk me through\"]", 2, "stands already");
    refused("[lists.reasoningMarkers.proof]\nextend = [\"**\"]", 2, "empty phrase");
    refused("[score]\nmedium = 2\ncomplex = 1", 1, "must not be above");
    refused("[policy]\nminConfidence = 40", 2, "between 0 and 1");
    refused("[learned]\nenabled = 1", 2, "expected true or false");
    refused("[desk.score]\ntemperature = 0", 2, "must be above 0");
    refused("[desk.lists.imperativeVerbs.risk]\nen = [\"deploy\"]", 1, "known here: build");
    refused("[desk.parts.imperativeVerbs]\nrisk = 1", 2, "unknown key \"risk\"; known here: build");
    refused("[desk.bands.tokenCount]\nlenght = 1", 2, "known here: length");
    refused("[desk.parts.referenceComplexity]\nfollowed_risk = 1", 2, "followed_risky");
    refused("[desk.wieghts]\n", 1, "unknown key \"wieghts\"");
    refused("schema = 2", 1, "schema must be 1");
    refused("[score\nbias = 1", 1, "");
}

#[test]
fn an_override_changes_what_it_names_and_the_fingerprint() {
    let config = Config::parse("[lists.reasoningMarkers.proof]\nextend = [\"abracadabra\"]")
        .expect("a valid override");
    let changed = Router::new(config);
    let text = "abracadabra, please";
    let (before, after) = (decide(text), changed.decide(&Input::new(text)));
    assert!(after.raw_score > before.raw_score);
    assert_ne!(before.config_hash, after.config_hash);
    let dims = before.dims.iter().zip(&after.dims);
    let moved: Vec<&str> = dims.filter(|it| it.0 != it.1).map(|it| it.0.name.as_str()).collect();
    assert_eq!(moved, ["reasoningMarkers"]);
}

#[test]
fn the_learned_term_can_be_switched_off() {
    let off = Router::new(Config::parse("[learned]\nenabled = false").expect("a valid override"));
    let text = "a question without much in it";
    let (on, off) = (router().decide(&Input::new(text)), off.decide(&Input::new(text)));
    assert_eq!(off.learned, None);
    assert!((on.raw_score - on.learned.expect("switched on") - off.raw_score).abs() < 1e-9);
}
