//! What the router promises, shown on the project's own prompts (`data/own.jsonl`).

mod configs;
mod desk;
mod desk_hold;
mod desk_unseen;
mod follow;
mod hold;
mod pastes;
mod replay;
mod rules;
mod sums;

use std::sync::OnceLock;

use serde::Deserialize;
use tinyclaw_domain::{Decision, Tier};
use tinyclaw_router::{Input, Router};

/// A prompt written for this project.
#[derive(Debug, Deserialize)]
pub(crate) struct Prompt {
    pub(crate) text: String,
    pub(crate) label: Tier,
    pub(crate) lang: String,
}

/// All of them.
pub(crate) fn prompts() -> &'static [Prompt] {
    static READ: OnceLock<Vec<Prompt>> = OnceLock::new();
    READ.get_or_init(|| {
        let lines = include_str!("../../data/own.jsonl").lines();
        lines.map(|it| serde_json::from_str(it).expect("a row of own.jsonl")).collect()
    })
}

/// One router for all tests: building it is the slow part.
pub(crate) fn router() -> &'static Router {
    static MADE: OnceLock<Router> = OnceLock::new();
    MADE.get_or_init(Router::default)
}

/// The decision for a text with nothing around it.
pub(crate) fn decide(text: &str) -> Decision {
    router().decide(&Input::new(text))
}

/// The tier of a text with nothing around it.
pub(crate) fn tier(text: &str) -> Tier {
    decide(text).tier
}
