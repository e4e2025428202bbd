//! What must not change a tier at a desk: case, blanks, politeness, the language of a word, what was pasted below.

use std::sync::OnceLock;

use proptest::prelude::*;
use serde::Deserialize;
use tinyclaw_domain::{DeskKind, Direction, Model, Tier};
use tinyclaw_router::{Input, Turn};

use crate::router;

#[derive(Debug, Deserialize)]
struct Row {
    text: String,
    desk: Option<DeskKind>,
    #[serde(default)]
    history: Vec<Said>,
    #[serde(default)]
    lang: String,
}

#[derive(Debug, Deserialize)]
struct Said {
    from: String,
    text: String,
    #[serde(default)]
    model: Option<Model>,
}

/// The rows written for this project that are typed at a desk.
fn rows() -> &'static [Row] {
    static READ: OnceLock<Vec<Row>> = OnceLock::new();
    READ.get_or_init(|| {
        let lines = include_str!("../../data/desk.jsonl").lines();
        let rows = lines.map(|it| serde_json::from_str::<Row>(it).expect("a row of desk.jsonl"));
        rows.filter(|it| it.desk.is_some()).collect()
    })
}

fn tier(row: &Row, text: &str) -> Tier {
    let turn = |it: &'static Said| Turn {
        direction: if it.from == "user" { Direction::In } else { Direction::Out },
        text: &it.text,
        tier: None,
        model: it.model,
    };
    let row = rows().iter().find(|it| std::ptr::eq(*it, row)).expect("a row of ours");
    let history: Vec<Turn<'_>> = row.history.iter().map(turn).collect();
    router().decide(&Input { desk: row.desk, history: &history, ..Input::new(text) }).tier
}

#[track_caller]
fn same(change: &str, share_max: f64, rows: &[&Row], changed: impl Fn(&str) -> String) {
    let moved: Vec<&str> = rows
        .iter()
        .filter(|it| tier(it, &it.text) != tier(it, &changed(&it.text)))
        .map(|it| it.text.as_str())
        .collect();
    let share = moved.len() as f64 / rows.len() as f64;
    assert!(share <= share_max, "{change} moved {} of {}: {moved:#?}", moved.len(), rows.len());
}

#[test]
fn case_and_blanks_never_matter_at_a_desk() {
    let all: Vec<&Row> = rows().iter().collect();
    same("upper case", 0.01, &all, str::to_uppercase);
    same("capitals", 0.01, &all, capitals);
    same("two blanks", 0.01, &all, |it| it.replace(' ', "  "));
    same("blanks around", 0.01, &all, |it| format!("  {it} \n"));
    same("no-break spaces", 0.01, &all, |it| it.replace(' ', "\u{a0}"));
}

/// With a capital at the beginning of each word, as some keyboards write.
fn capitals(text: &str) -> String {
    let word = |it: &str| {
        let mut chars = it.chars();
        chars.next().map_or_else(String::new, |first| {
            first.to_uppercase().collect::<String>() + chars.as_str()
        })
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn politeness_never_matters() {
    for (lang, word) in
        [("en", "please"), ("de", "bitte"), ("fr", "s'il te plaît"), ("es", "por favor")]
    {
        let rows: Vec<&Row> = rows().iter().filter(|it| it.lang == lang).collect();
        assert!(rows.len() > 10, "{} rows in {lang}", rows.len());
        same("in front", 0.0, &rows, |it| format!("{word} {it}"));
        same("behind", 0.0, &rows, |it| format!("{}, {word}", it.trim_end_matches('.')));
        same("behind, and a stop", 0.0, &rows, |it| format!("{it} {word}!"));
    }
}

#[test]
fn the_language_of_an_order_changes_nothing() {
    let said = [
        (
            Tier::Medium,
            [
                "deploy to production",
                "auf Produktion ausrollen",
                "déploie en production",
                "despliega a producción",
                "выкати на прод",
                "本番にデプロイして",
            ],
        ),
        (
            Tier::Medium,
            [
                "add a dark mode",
                "füge einen Dark Mode hinzu",
                "ajoute un mode sombre",
                "agrega un modo oscuro",
                "добавь тёмную тему",
                "ダークモードを追加して",
            ],
        ),
        (Tier::Simple, ["thanks", "danke", "merci", "gracias", "спасибо", "ありがとう"]),
        (
            Tier::Simple,
            [
                "which branch is this?",
                "welcher Branch ist das?",
                "quelle branche est-ce ?",
                "¿qué rama es esta?",
                "какая это ветка?",
                "これはどのブランチ？",
            ],
        ),
    ];
    for (expected, texts) in said {
        for text in texts {
            let it = router().decide(&Input { desk: Some(DeskKind::Repo), ..Input::new(text) });
            assert_eq!(it.tier, expected, "{text}: {} of ±{}", it.raw_score, it.boundaries.complex);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_paste_below_an_order_lifts_nothing(
        at in any::<prop::sample::Index>(),
        words in prop::collection::vec("[a-z]{3,9}|prove|design|deadlock|redesign|migrate|race|deploy", 20..60),
    ) {
        let row = at.get(rows());
        prop_assume!(!row.text.contains('\n'));
        let neutral: String = words.iter().map(|it| "x".repeat(it.len()) + " ").collect();
        // Between an order and a last line a paste is a paste, whatever it says.
        let with = |paste: &str| tier(row, &format!("{}\n\n{paste}\n\n", row.text));
        prop_assert_eq!(with(&words.join(" ")), with(neutral.trim_end()), "{}", row.text);
    }
}
