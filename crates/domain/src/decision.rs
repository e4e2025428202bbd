//! What the router decided for one message, and everything needed to see why.

use serde::{Deserialize, Serialize};

use crate::{ChosenEffort, Model, Tier};

/// One decision. `Σ dims.contribution + learned + bias == rawScore`, so the tier can be added up by hand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// The 14 dimensions, always all of them, in the order of the table in the router's README.
    pub dims: Vec<Dimension>,
    /// What every message starts from; at a desk, what one at such a desk starts from.
    pub bias: f64,
    /// The learned term's contribution, when it is switched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<f64>,
    /// The sum that is held against the boundaries.
    pub raw_score: f64,
    /// Where one tier ends and the next begins. At a desk ordinary work widens the band between them: it is as wide as
    /// twice the sum of `dims.band` and `band`, to both sides of 0.
    pub boundaries: Boundaries,
    /// What widens MEDIUM's band besides the dimensions, at a desk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub band: Option<Band>,
    /// What the desk holds, when it is known: such messages are read as orders and not as chat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desk: Option<DeskKind>,
    /// Phrases of the earlier answer that a follow-up sets off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sets_off: Vec<String>,
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
    /// How hard it shall think; older logs do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<ChosenEffort>,
    /// Which models had the conversation cached when it was decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warm: Vec<WarmCache>,
    /// What staying with a warm model would cost, when there was one to stay with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stay: Option<Stay>,
    /// The answer it replies to, and which rule spoke about that answer's model; nothing where a person chose the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replied: Option<Replied>,
    /// What showed, while the turn ran, that the model it was begun with is too small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
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
    /// What it adds to MEDIUM's band, at a desk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub band: Option<f64>,
    /// Up to three places in the text that made the score.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hits: Vec<Hit>,
}

/// What widens the band of MEDIUM besides the dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Band {
    /// What every message at such a desk starts from.
    pub bias: f64,
    /// The learned term's share, when it is switched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<f64>,
}

/// What a desk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeskKind {
    /// A git repository.
    Repo,
    /// Other files.
    Files,
    /// Nothing.
    None,
}

/// A model's cache of the conversation that is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WarmCache {
    /// Whose cache.
    pub model: Model,
    /// How much of the conversation is in it.
    pub tokens: u64,
    /// When it is let go of unless it is read before, in ms since 1970.
    pub until: u64,
}

/// The price of staying with a model whose cache is alive, against the price of the one that was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stay {
    /// The model that is warm.
    pub model: Model,
    /// The model that the tier wants.
    pub instead_of: Model,
    /// Tokens of the conversation.
    pub context_tokens: u64,
    /// How many of them the warm model has cached.
    pub warm_tokens: u64,
    /// Dollars to answer with the warm model.
    pub stay_usd: f64,
    /// Dollars to answer with the other.
    pub switch_usd: f64,
    /// Dollars to come back to the warm model afterwards, times how likely that is.
    pub back_usd: f64,
    /// Dollars to ask again with the strongest model, times the probability that the warm model's tier is too small.
    #[serde(default)]
    pub stay_risk_usd: f64,
    /// The same for the other.
    #[serde(default)]
    pub switch_risk_usd: f64,
    /// Whether staying, with its risk, costs less than the switch with its risk and the way back.
    pub cheaper: bool,
}

/// How long a prompt's cache is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CacheTtl {
    /// Five minutes.
    #[default]
    #[serde(rename = "5m")]
    FiveMinutes,
    /// An hour, for a dearer write.
    #[serde(rename = "1h")]
    OneHour,
}

impl CacheTtl {
    /// What counts: what is set, or what Claude Code does of itself, which is five minutes with an API key and an hour with
    /// a plan.
    pub fn in_use(set: Option<CacheTtl>, has_api_key: bool) -> CacheTtl {
        set.unwrap_or(match has_api_key {
            true => CacheTtl::FiveMinutes,
            false => CacheTtl::OneHour,
        })
    }

    /// The time that is set by one of the words `5m` and `1h`.
    pub fn named(word: &str) -> Option<CacheTtl> {
        [CacheTtl::FiveMinutes, CacheTtl::OneHour].into_iter().find(|it| it.as_str() == word)
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            CacheTtl::FiveMinutes => "5m",
            CacheTtl::OneHour => "1h",
        }
    }

    /// The same in milliseconds.
    pub fn ms(self) -> u64 {
        match self {
            CacheTtl::FiveMinutes => 5 * 60 * 1000,
            CacheTtl::OneHour => 60 * 60 * 1000,
        }
    }
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

impl Probabilities {
    /// The probability that a message needs more than this tier.
    pub fn above(self, tier: Tier) -> f64 {
        Tier::ALL.into_iter().filter(|it| *it > tier).fold(0.0, |sum, it| sum + self.of(it))
    }

    /// The probability of one tier.
    pub fn of(self, tier: Tier) -> f64 {
        match tier {
            Tier::Simple => self.simple,
            Tier::Medium => self.medium,
            Tier::Complex => self.complex,
        }
    }
}

/// What came of it that a message replies to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replied {
    /// The model that wrote the answer.
    pub to: Model,
    /// The rule that spoke.
    pub rule: ReplyRule,
}

/// What a reply makes of the model that wrote the answer. That model is no floor: "thanks" for hard work is SIMPLE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplyRule {
    /// Nothing: what is to be done now decides.
    OwnWords,
    /// The work goes on, so the tier is that of what it continues.
    WorkGoesOn,
    /// The session's model stays, since its cache is warm and that is cheaper.
    StayCheaper,
}

impl ReplyRule {
    /// The rule in words, after "it replies to MODEL".
    pub fn words(self) -> &'static str {
        match self {
            ReplyRule::OwnWords => "no floor, what is to be done now decides",
            ReplyRule::WorkGoesOn => "the work goes on, so what it continues decides",
            ReplyRule::StayCheaper => "the session's model stays, since that is cheaper",
        }
    }
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
    /// Of older logs: a reply to the bot got at least the tier of what it replied to.
    ReplyFloor,
    /// The conversation is longer than a smaller model can hold.
    LargeContext,
    /// A stronger model that has the conversation cached costs less than the one that is enough.
    Stay,
    /// The thread is pinned to a model.
    Pinned,
    /// The user asked for a model in this message.
    UserHint,
    /// A heartbeat: it skips the router.
    Heartbeat,
    /// The turn had begun with a smaller model, and its tools showed that this is not enough; `evidence` says how.
    Raised,
}
