//! The three tiers of work, models by name, and which model does a tier's work.
//!
//! A model is a name that Claude Code takes. There is no list of them here: what an office knows of their families stands
//! in its [`Catalogue`](crate::Catalogue), and a name that is in no catalogue is kept as it is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How hard a message is, as the router sees it. Ordered: SIMPLE < MEDIUM < COMPLEX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Tier {
    /// Answered by haiku, where nothing else is set.
    Simple,
    /// Answered by sonnet, where nothing else is set.
    Medium,
    /// Answered by opus, where nothing else is set.
    Complex,
}

/// The most bytes that a model's name has.
pub const MODEL_BYTES_MAX: usize = 63;

/// A model, by a name that Claude Code takes: a family's alias such as `opus`, or a full id such as `claude-opus-4-8`.
///
/// The name is kept in place, so that a model is as light to hand on as a number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Model {
    bytes: [u8; MODEL_BYTES_MAX],
    len: u8,
}

impl Tier {
    /// All tiers, weakest first.
    pub const ALL: [Tier; 3] = [Tier::Simple, Tier::Medium, Tier::Complex];

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
    /// Small and quick.
    pub const HAIKU: Model = Model::known("haiku");
    /// The middle.
    pub const SONNET: Model = Model::known("sonnet");
    /// Strong.
    pub const OPUS: Model = Model::known("opus");
    /// The strongest.
    pub const FABLE: Model = Model::known("fable");

    const fn known(name: &str) -> Model {
        let mut bytes = [0; MODEL_BYTES_MAX];
        let from = name.as_bytes();
        let mut at = 0;
        while at < from.len() {
            bytes[at] = from[at];
            at += 1;
        }
        Model { bytes, len: from.len() as u8 }
    }

    /// The model of this name, whatever it is: letters, digits and `.-_:/@[]`, at most [`MODEL_BYTES_MAX`] of them. For
    /// what people type there is [`Catalogue::find`](crate::Catalogue::find), which refuses slips.
    pub fn named(name: &str) -> Option<Model> {
        let is_of_names = |it: u8| it.is_ascii_alphanumeric() || b".-_:/@[]".contains(&it);
        let fits = (1..=MODEL_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_of_names);
        fits.then(|| Model::known(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        // Only ASCII gets in.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
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

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Model {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Model {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Model, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let refused = || serde::de::Error::custom(format_args!("{name:?} is no model's name"));
        Model::named(&name).ok_or_else(refused)
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

/// Which model does the work of each tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiers {
    /// That of SIMPLE messages.
    pub simple: Model,
    /// That of MEDIUM messages.
    pub medium: Model,
    /// That of COMPLEX messages.
    pub complex: Model,
}

impl Default for Tiers {
    fn default() -> Tiers {
        Tiers { simple: Model::HAIKU, medium: Model::SONNET, complex: Model::OPUS }
    }
}

impl Tiers {
    /// The model of a tier.
    pub fn of(self, tier: Tier) -> Model {
        match tier {
            Tier::Simple => self.simple,
            Tier::Medium => self.medium,
            Tier::Complex => self.complex,
        }
    }

    /// The strongest tier whose work a model does; none when it does no tier's.
    pub fn tier_of(self, model: Model) -> Option<Tier> {
        Tier::ALL.into_iter().rev().find(|it| self.of(*it) == model)
    }

    /// The same, where a desk has models of its own.
    pub fn with(self, own: OwnTiers) -> Tiers {
        let of = |tier| own.get(tier).unwrap_or_else(|| self.of(tier));
        Tiers { simple: of(Tier::Simple), medium: of(Tier::Medium), complex: of(Tier::Complex) }
    }
}

/// The models that one desk has for tiers instead of the office's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub struct OwnTiers {
    /// Instead of the office's for SIMPLE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simple: Option<Model>,
    /// Instead of the office's for MEDIUM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium: Option<Model>,
    /// Instead of the office's for COMPLEX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complex: Option<Model>,
}

impl OwnTiers {
    /// Whether the desk has none of its own.
    pub fn is_empty(&self) -> bool {
        *self == OwnTiers::default()
    }

    /// The desk's own model for a tier.
    pub fn get(&self, tier: Tier) -> Option<Model> {
        match tier {
            Tier::Simple => self.simple,
            Tier::Medium => self.medium,
            Tier::Complex => self.complex,
        }
    }

    /// Gives a tier a model of the desk's own, or the office's again.
    pub fn set(&mut self, tier: Tier, model: Option<Model>) {
        *match tier {
            Tier::Simple => &mut self.simple,
            Tier::Medium => &mut self.medium,
            Tier::Complex => &mut self.complex,
        } = model;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_a_later_day_is_kept_as_it_is() {
        let it: Model = serde_json::from_str(r#""claude-saga-7[1m]""#).unwrap();
        assert_eq!(serde_json::to_string(&it).unwrap(), r#""claude-saga-7[1m]""#);
        for bad in ["", "two words", "--flag=\n", "<synthetic>", &"x".repeat(64), "ü"] {
            assert_eq!(Model::named(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_desk_has_models_of_its_own_for_some_tiers() {
        let mut own = OwnTiers::default();
        own.set(Tier::Complex, Some(Model::FABLE));
        let tiers = Tiers::default().with(own);
        assert_eq!(tiers.of(Tier::Complex), Model::FABLE);
        assert_eq!(tiers.of(Tier::Simple), Model::HAIKU);
        assert_eq!(tiers.tier_of(Model::FABLE), Some(Tier::Complex));
        assert_eq!(tiers.tier_of(Model::OPUS), None);
        assert_eq!(serde_json::to_string(&own).unwrap(), r#"{"COMPLEX":"fable"}"#);
        own.set(Tier::Complex, None);
        assert!(own.is_empty());
    }
}
