//! The three tiers of work and the three models that do it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How hard a message is, as the router sees it. Ordered: SIMPLE < MEDIUM < COMPLEX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Tier {
    /// Answered by haiku.
    Simple,
    /// Answered by sonnet.
    Medium,
    /// Answered by opus.
    Complex,
}

/// A family of Claude models, by the alias that the CLI takes. Ordered by strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// Small and quick.
    Haiku,
    /// The middle.
    Sonnet,
    /// The strongest.
    Opus,
}

impl Tier {
    /// All tiers, weakest first.
    pub const ALL: [Tier; 3] = [Tier::Simple, Tier::Medium, Tier::Complex];

    /// The model that answers this tier.
    pub fn model(self) -> Model {
        match self {
            Tier::Simple => Model::Haiku,
            Tier::Medium => Model::Sonnet,
            Tier::Complex => Model::Opus,
        }
    }

    /// The tier as it is written in logs and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Tier::Simple => "SIMPLE",
            Tier::Medium => "MEDIUM",
            Tier::Complex => "COMPLEX",
        }
    }
}

impl Model {
    /// All models, weakest first.
    pub const ALL: [Model; 3] = [Model::Haiku, Model::Sonnet, Model::Opus];

    /// The tier this model answers.
    pub fn tier(self) -> Tier {
        match self {
            Model::Haiku => Tier::Simple,
            Model::Sonnet => Tier::Medium,
            Model::Opus => Tier::Complex,
        }
    }

    /// The alias that the CLI takes and people type.
    pub fn as_str(self) -> &'static str {
        match self {
            Model::Haiku => "haiku",
            Model::Sonnet => "sonnet",
            Model::Opus => "opus",
        }
    }

    /// The family of a full model name such as `claude-opus-4-8[1m]`, if it is one of ours.
    pub fn of_name(name: &str) -> Option<Model> {
        Model::ALL.into_iter().find(|it| name.contains(it.as_str()))
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no model: use haiku, sonnet or opus")]
pub struct UnknownModel(pub String);

impl FromStr for Model {
    type Err = UnknownModel;

    fn from_str(text: &str) -> Result<Model, UnknownModel> {
        Model::ALL
            .into_iter()
            .find(|it| it.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownModel(text.chars().take(40).collect()))
    }
}

/// A word that names no tier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no tier: use SIMPLE, MEDIUM or COMPLEX")]
pub struct UnknownTier(pub String);

impl FromStr for Tier {
    type Err = UnknownTier;

    fn from_str(text: &str) -> Result<Tier, UnknownTier> {
        Tier::ALL
            .into_iter()
            .find(|it| it.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownTier(text.chars().take(40).collect()))
    }
}
