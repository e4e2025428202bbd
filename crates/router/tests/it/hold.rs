//! What must not change a tier: case, spacing, composition, width, a line break at the end.

use tinyclaw_domain::Tier;
use unicode_normalization::UnicodeNormalization as _;

use crate::{prompts, tier};

#[track_caller]
fn same_tier(change: &str, changed: impl Fn(&str) -> String) {
    let moved: Vec<&str> = prompts()
        .iter()
        .filter(|it| tier(&it.text) != tier(&changed(&it.text)))
        .map(|it| it.text.as_str())
        .collect();
    let share = moved.len() as f64 / prompts().len() as f64;
    assert!(share <= 0.01, "{change} moved {}: {moved:#?}", moved.len());
}

#[test]
fn case_never_matters() {
    same_tier("upper case", str::to_uppercase);
    same_tier("lower case", str::to_lowercase);
}

#[test]
fn blanks_never_matter() {
    same_tier("two spaces", |it| it.replace(' ', "  "));
    same_tier("no-break spaces", |it| it.replace(' ', "\u{a0}"));
    same_tier("blanks around", |it| format!("  \t{it} \u{3000} "));
    same_tier("a line break at the end", |it| format!("{it}\n"));
    same_tier("a line end of Windows", |it| format!("{}\r\n", it.replace('\n', "\r\n")));
    same_tier("zero-width characters", |it| it.chars().flat_map(|c| [c, '\u{200b}']).collect());
}

#[test]
fn composition_never_matters() {
    same_tier("NFC", |it| it.nfc().collect());
    same_tier("NFD", |it| it.nfd().collect());
    same_tier("NFKC", |it| it.nfkc().collect());
}

#[test]
fn width_never_matters() {
    same_tier("full width", |it| {
        let widen = |c: char| match c {
            ' ' => '\u{3000}',
            '!'..='~' => char::from_u32(u32::from(c) + 0xfee0).unwrap_or(c),
            _ => c,
        };
        it.chars().map(widen).collect()
    });
}

#[test]
fn our_own_prompts_get_their_tiers_in_every_language() {
    // The fit has seen these rows, so this proves no skill; it shows that no script falls through the lists.
    let mut languages: Vec<&str> = prompts().iter().map(|it| it.lang.as_str()).collect();
    languages.sort_unstable();
    languages.dedup();
    assert!(languages.len() >= 16);
    for language in languages {
        let rows = prompts().iter().filter(|it| it.lang == language);
        let (right, all) = rows
            .fold((0, 0), |it, row| (it.0 + usize::from(tier(&row.text) == row.label), it.1 + 1));
        assert!(right * 4 >= all * 3, "{language}: {right} of {all}");
    }
}

#[test]
fn a_word_inside_another_is_no_marker() {
    for text in ["is this jacket waterproof?", "the capital of Peru?", "a classical concert, nice"]
    {
        assert_eq!(tier(text), Tier::Simple, "{text}");
    }
}

#[test]
fn marker_words_in_a_joke_are_not_enough() {
    assert_ne!(tier("hi, step by step, lol"), Tier::Complex);
    assert_eq!(tier("what is 2+2?"), Tier::Simple);
    assert_eq!(tier("don't analyze it, just tell me the number"), Tier::Simple);
}

#[test]
fn short_and_hard_is_hard() {
    for text in [
        "prove the four colour theorem",
        "design a CRDT for a nested todo list",
        "证明素数有无穷多个",
    ] {
        assert_eq!(tier(text), Tier::Complex, "{text}");
    }
}
