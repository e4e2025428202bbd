//! Messages of a desk that no fit has seen: `data/desk-unseen.jsonl`, written without a look at the public rows or at what the
//! router made of them. What it gets right here is what it gets right elsewhere, and a change may not make it less.

use std::collections::HashSet;

use serde::Deserialize;
use tinyclaw_domain::{DeskKind, Direction, Model, Tier};
use tinyclaw_router::{Input, Turn};

use crate::router;

/// The share that is decided as labelled; 0.701 were when these rows were written.
const RIGHT_MIN: f64 = 0.69;
/// The share that gets too small a model; 0.082 did.
const UNDER_MAX: f64 = 0.09;

#[derive(Debug, Deserialize)]
struct Row {
    text: String,
    label: Tier,
    desk: DeskKind,
    #[serde(default)]
    history: Vec<Said>,
    #[serde(default)]
    attachments: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Said {
    text: String,
    model: Option<Model>,
}

fn rows(text: &str) -> Vec<Row> {
    text.lines().map(|it| serde_json::from_str(it).expect("a row")).collect()
}

fn decided(row: &Row) -> Tier {
    let history: Vec<Turn<'_>> = row
        .history
        .iter()
        .map(|it| Turn { direction: Direction::Out, text: &it.text, tier: None, model: it.model })
        .collect();
    let attachments: Vec<&str> = row.attachments.iter().map(String::as_str).collect();
    let input = Input {
        desk: Some(row.desk),
        history: &history,
        attachments: &attachments,
        ..Input::new(&row.text)
    };
    router().decide(&input).tier
}

#[test]
fn messages_that_no_fit_has_seen_are_decided_as_well_as_before() {
    let rows = rows(include_str!("../../data/desk-unseen.jsonl"));
    let share = |wanted: &dyn Fn(Tier, Tier) -> bool| {
        let found = rows.iter().filter(|it| wanted(decided(it), it.label)).count();
        found as f64 / rows.len() as f64
    };
    let (right, under) = (share(&|is, label| is == label), share(&|is, label| is < label));
    assert!(right >= RIGHT_MIN, "{right} of {} are right", rows.len());
    assert!(under <= UNDER_MAX, "{under} of {} get too small a model", rows.len());
}

#[test]
fn no_fit_has_seen_them() {
    #[derive(Deserialize)]
    struct Seen {
        text: String,
        #[serde(default)]
        history: Vec<serde_json::Value>,
    }
    let plain = |text: &str| -> String {
        text.to_lowercase().chars().filter(|it| it.is_alphanumeric()).collect()
    };
    let lines = include_str!("../../data/desk.jsonl").lines();
    let taught: HashSet<String> = lines
        .map(|it| serde_json::from_str::<Seen>(it).expect("a row of desk.jsonl"))
        .filter(|it| it.history.is_empty())
        .map(|it| plain(&it.text))
        .collect();
    let unseen = rows(include_str!("../../data/desk-unseen.jsonl"));
    let told: Vec<&str> = unseen
        .iter()
        .filter(|it| it.history.is_empty() && taught.contains(&plain(&it.text)))
        .map(|it| it.text.as_str())
        .collect();
    assert_eq!(told, [""; 0], "these were taught");
}
