//! How hard Claude thinks before it answers, and so what an answer costs and how long it takes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Tier;

/// How hard Claude thinks. In their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// Hardly.
    Low,
    /// Somewhat.
    Medium,
    /// As hard as most work wants.
    High,
    /// Harder.
    XHigh,
    /// As hard as it can.
    Max,
}

impl Effort {
    /// All of them, least first.
    pub const ALL: [Effort; 5] =
        [Effort::Low, Effort::Medium, Effort::High, Effort::XHigh, Effort::Max];

    /// The word that people type and Claude Code takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Effort::Low => "low",
            Effort::Medium => "medium",
            Effort::High => "high",
            Effort::XHigh => "xhigh",
            Effort::Max => "max",
        }
    }
}

impl fmt::Display for Effort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no effort.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no effort: use low, medium, high, xhigh or max")]
pub struct UnknownEffort(pub String);

impl FromStr for Effort {
    type Err = UnknownEffort;

    fn from_str(text: &str) -> Result<Effort, UnknownEffort> {
        let text = text.trim();
        Effort::ALL
            .into_iter()
            .find(|it| it.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownEffort(text.chars().take(40).collect()))
    }
}

/// How hard Claude thinks about each tier's messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Efforts {
    /// About SIMPLE ones.
    pub simple: Effort,
    /// About MEDIUM ones.
    pub medium: Effort,
    /// About COMPLEX ones.
    pub complex: Effort,
}

impl Default for Efforts {
    fn default() -> Efforts {
        Efforts { simple: Effort::Low, medium: Effort::High, complex: Effort::High }
    }
}

impl Efforts {
    /// The effort for a tier.
    pub fn of(self, tier: Tier) -> Effort {
        match tier {
            Tier::Simple => self.simple,
            Tier::Medium => self.medium,
            Tier::Complex => self.complex,
        }
    }

    /// The same with another effort for one tier.
    pub fn with(mut self, tier: Tier, effort: Effort) -> Efforts {
        *match tier {
            Tier::Simple => &mut self.simple,
            Tier::Medium => &mut self.medium,
            Tier::Complex => &mut self.complex,
        } = effort;
        self
    }
}

/// An effort, and who chose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenEffort {
    /// How hard.
    pub level: Effort,
    /// By whom.
    pub from: EffortFrom,
}

/// Who chose an effort, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EffortFrom {
    /// The table, by the message's tier.
    Tier,
    /// The thread, by `/effort`.
    Thread,
    /// The message itself, by `[effort:high]`.
    Message,
}
