//! What the router decided for one message, and everything needed to see why.

use serde::{Deserialize, Serialize};

use crate::{Model, Tier};

/// One decision. `Σ dims.contribution + learned + bias == rawScore`, so the tier can be added up by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The 14 dimensions, always all of them, in the order of the table in the router's README.
    pub dims: Vec<Dimension>,
    /// What every message starts from.
    pub bias: f64,
    /// The learned term's contribution, when it is switched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<f64>,
    /// The sum that is held against the boundaries.
    pub raw_score: f64,
    /// Where one tier ends and the next begins.
    pub boundaries: Boundaries,
    /// How sure the router is of each tier; they add up to 1.
    pub probabilities: Probabilities,
    /// The probability of the tier that the score alone gives.
    pub confidence: f64,
    /// The tier decided on.
    pub tier: Tier,
    /// The model of that tier.
    pub model: Model,
    /// What decided: the score, or a rule that is stronger.
    pub cause: Cause,
    /// Whether a rule lifted the message above what its score gives.
    pub upgraded: bool,
    /// The model that will be asked (differs from `model` when the thread or the user chose one).
    pub effective_model: Model,
    /// Length of what was read, in estimated tokens.
    pub estimated_tokens: u64,
    /// Whether the text was too long to be read whole and was read in windows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// The router that decided.
    pub router_version: String,
    /// Fingerprint of the lists, weights and boundaries in force.
    pub config_hash: String,
}

/// One of the 14 dimensions of a decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dimension {
    /// Its name, such as `codePresence`.
    pub name: String,
    /// How strongly it was seen, from -1 to 1.
    pub score: f64,
    /// How much it counts.
    pub weight: f64,
    /// `score × weight`: what it adds to the raw score.
    pub contribution: f64,
    /// Up to three places in the text that made the score.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hits: Vec<Hit>,
}

/// A place in the message's text, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// The phrase of the list that was met.
    pub phrase: String,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// Raw scores at which the next tier begins.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Boundaries {
    /// From here on a message is MEDIUM.
    pub medium: f64,
    /// From here on a message is COMPLEX.
    pub complex: f64,
}

/// How sure the router is of each tier.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub struct Probabilities {
    /// P(SIMPLE).
    pub simple: f64,
    /// P(MEDIUM).
    pub medium: f64,
    /// P(COMPLEX).
    pub complex: f64,
}

/// What decided the tier, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The score.
    Scored,
    /// The score was too near a boundary, or too far off on both sides, to be believed: MEDIUM.
    LowConfidence,
    /// Nothing to score: an empty message, an emoji, an attachment alone.
    NoSignal,
    /// A follow-up ("yes, do option 2") that continues what came before.
    FollowUp,
    /// A reply to the bot gets at least the tier of what it replies to.
    ReplyFloor,
    /// The context is too large for anything smaller.
    LargeContext,
    /// The thread is pinned to a model.
    Pinned,
    /// The user asked for a model in this message.
    UserHint,
    /// A heartbeat: it skips the router.
    Heartbeat,
}
