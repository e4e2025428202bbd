//! The families of models that an office knows: how people call them, what Claude Code is asked for, what they cost, and
//! how they are shown. Read from the settings by the caller; what a setting may say is decided here.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::{Model, Tier, Tiers};

/// Emoji that Telegram takes as reactions. No other can be a family's mark.
const REACTIONS: &str = "👍 👎 ❤ 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 🙏 👌 🕊 🤡 🥱 🥴 😍 🐳 ❤‍🔥 🌚 🌭 💯 🤣 ⚡ 🍌 🏆 \
    💔 🤨 😐 🍓 🍾 💋 🖕 😈 😴 😭 🤓 👻 👨‍💻 👀 🎃 🙈 😇 😨 🤝 ✍ 🤗 🫡 🎅 🎄 ☃ 💅 🤪 🗿 🆒 💘 🙉 🦄 😘 💊 🙊 😎 👾 🤷‍♂ 🤷 🤷‍♀ 😡";
/// A family's name is a command, too, and Telegram's are no longer.
const NAME_BYTES_MAX: usize = 32;

/// One family of models.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// What people type.
    pub name: Model,
    /// What Claude Code is asked for, when it is not the name.
    pub id: Option<String>,
    /// Dollars a million tokens of input and of output, where the operator says them.
    pub price: Option<(f64, f64)>,
    /// The emoji under a message that it answered, one that Telegram takes as a reaction.
    pub mark: Option<&'static str>,
    /// Its colour, as `#rrggbb`, where the operator says one.
    pub colour: Option<String>,
}

/// What an office knows of models.
#[derive(Debug, Clone, PartialEq)]
pub struct Catalogue {
    families: Vec<Family>,
    tiers: Tiers,
}

impl Default for Catalogue {
    /// What every office knows.
    fn default() -> Catalogue {
        let family =
            |name, mark| Family { name, id: None, price: None, mark: Some(mark), colour: None };
        Catalogue {
            families: vec![
                family(Model::HAIKU, "⚡"),
                family(Model::SONNET, "✍"),
                family(Model::OPUS, "🔥"),
                family(Model::FABLE, "🦄"),
            ],
            tiers: Tiers::default(),
        }
    }
}

/// What is wrong with a setting about models.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {why}")]
pub struct BadCatalogue {
    setting: &'static str,
    why: String,
}

impl BadCatalogue {
    fn new(setting: &'static str, why: impl Into<String>) -> BadCatalogue {
        BadCatalogue { setting, why: why.into() }
    }
}

/// A word that names no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is no model: use {known}, or a full id such as claude-opus-5-5")]
pub struct UnknownModel {
    word: String,
    known: String,
}

impl Model {
    /// The family of a full name such as `claude-opus-4-8[1m]` among those that every office has, else the name itself;
    /// nothing when it is no name at all.
    pub fn of_name(name: &str) -> Option<Model> {
        Catalogue::default().of_name(name)
    }
}

impl FromStr for Model {
    type Err = UnknownModel;

    /// A model of the families that every office has, or a full id. What an office adds, its catalogue finds.
    fn from_str(text: &str) -> Result<Model, UnknownModel> {
        Catalogue::default().find(text)
    }
}

impl Catalogue {
    /// What every office knows, and what its settings say: `engine.models` by family and `engine.tiers` by tier.
    ///
    /// ```
    /// use tinyclaw_domain::{Catalogue, Model};
    ///
    /// let families = [("saga".to_owned(), "claude-saga-7 12/60 👾 #a05000".to_owned())];
    /// let tiers = [("COMPLEX".to_owned(), "saga".to_owned())];
    /// let it = Catalogue::read(&families.into(), &tiers.into()).unwrap();
    /// assert_eq!(it.find("Saga").unwrap(), it.tiers().complex);
    /// assert_eq!(it.tiers().medium, Model::SONNET);
    /// ```
    pub fn read(
        families: &BTreeMap<String, String>,
        tiers: &BTreeMap<String, String>,
    ) -> Result<Catalogue, BadCatalogue> {
        let mut all = Catalogue::default();
        for (name, text) in families {
            all.add(name, text).map_err(|why| BadCatalogue::new("engine.models", why))?;
        }
        for (tier, word) in tiers {
            let wrong = |why: String| BadCatalogue::new("engine.tiers", why);
            let tier: Tier = tier.parse().map_err(|err| wrong(format!("{err}")))?;
            let model = all.find(word).map_err(|err| wrong(format!("{err}")))?;
            *match tier {
                Tier::Simple => &mut all.tiers.simple,
                Tier::Medium => &mut all.tiers.medium,
                Tier::Complex => &mut all.tiers.complex,
            } = model;
        }
        Ok(all)
    }

    /// Adds a family, or says more of one that is there.
    fn add(&mut self, name: &str, text: &str) -> Result<(), String> {
        let is_word = name.len() <= NAME_BYTES_MAX
            && name.starts_with(|it: char| it.is_ascii_lowercase())
            && name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'_');
        let model = Model::named(name).filter(|_| is_word && name != "auto");
        let model = model.ok_or_else(|| {
            format!("{name:?} is no name of a family; use small letters, digits and _")
        })?;
        let at = match self.families.iter().position(|it| it.name == model) {
            Some(at) => at,
            None => {
                let family =
                    Family { name: model, id: None, price: None, mark: None, colour: None };
                self.families.push(family);
                self.families.len() - 1
            }
        };
        let family = &mut self.families[at];
        for word in text.split_whitespace() {
            let price = word.split_once('/').and_then(|(input, output)| {
                Some((input.parse::<f64>().ok()?, output.parse::<f64>().ok()?))
            });
            if let Some((input, output)) = price {
                if !(0.0..1e6).contains(&input) || !(0.0..1e6).contains(&output) {
                    return Err(format!("{name}: {word} is no price of a million tokens"));
                }
                family.price = Some((input, output));
            } else if let Some(digits) = word.strip_prefix('#') {
                if digits.len() != 6 || !digits.bytes().all(|it| it.is_ascii_hexdigit()) {
                    return Err(format!("{name}: {word} is no colour; one looks like #a05000"));
                }
                family.colour = Some(word.to_owned());
            } else if word.is_ascii() {
                family.id = Some(word.to_owned());
            } else if let Some(mark) = REACTIONS.split(' ').find(|it| *it == word) {
                family.mark = Some(mark);
            } else {
                return Err(format!(
                    "{name}: {word} is no emoji that Telegram takes as a reaction"
                ));
            }
        }
        Ok(())
    }

    /// The families, those that every office has first.
    pub fn families(&self) -> &[Family] {
        &self.families
    }

    /// The names of the families, as people type them.
    pub fn names(&self) -> Vec<&str> {
        self.families.iter().map(|it| it.name.as_str()).collect()
    }

    /// Which model does a tier's work, where a desk has no word of its own.
    pub fn tiers(&self) -> Tiers {
        self.tiers
    }

    /// The model that a person means: a family by its name in any case, or a full id of Claude's.
    pub fn find(&self, word: &str) -> Result<Model, UnknownModel> {
        let word = word.trim();
        let unknown = || UnknownModel {
            word: word.chars().take(40).collect(),
            known: self.names().join(", "),
        };
        if let Some(family) =
            self.families.iter().find(|it| it.name.as_str().eq_ignore_ascii_case(word))
        {
            return Ok(family.name);
        }
        let is_id = word.contains("claude-")
            || word.strip_suffix("[1m]").is_some_and(|it| self.names().contains(&it));
        Model::named(word).filter(|_| is_id).ok_or_else(unknown)
    }

    /// The family that a model is of.
    pub fn family(&self, model: Model) -> Option<&Family> {
        let name = model.as_str();
        let is = |it: &&Family| it.name == model || it.id.as_deref() == Some(name);
        self.families.iter().find(is).or_else(|| {
            // The longest name that occurs is the nearest.
            let within = self.families.iter().filter(|it| name.contains(it.name.as_str()));
            within.max_by_key(|it| it.name.as_str().len())
        })
    }

    /// The family of a full name as Claude Code tells it, else the name itself; nothing when it is no name at all.
    pub fn of_name(&self, name: &str) -> Option<Model> {
        if let Some(family) = self.families.iter().find(|it| it.id.as_deref() == Some(name)) {
            return Some(family.name);
        }
        let model = Model::named(name)?;
        Some(self.family(model).map_or(model, |it| it.name))
    }

    /// Which model answered, when `asked` was asked and Claude Code tells this full name: what was asked, unless it was one
    /// of another family.
    pub fn answered_by(&self, asked: Model, told: Option<&str>) -> Model {
        match told.and_then(|it| self.of_name(it)) {
            Some(told) if self.family(asked).is_none_or(|it| it.name != told) => told,
            _ => asked,
        }
    }

    /// What Claude Code is asked for.
    pub fn id_of(&self, model: Model) -> String {
        let family = self.families.iter().find(|it| it.name == model);
        family.and_then(|it| it.id.clone()).unwrap_or_else(|| model.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(families: &[(&str, &str)], tiers: &[(&str, &str)]) -> Result<Catalogue, BadCatalogue> {
        let map = |it: &[(&str, &str)]| {
            it.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
        };
        Catalogue::read(&map(families), &map(tiers))
    }

    #[test]
    fn people_type_families_and_full_ids_and_slips_are_refused() {
        let it = read(&[("saga", "claude-saga-7")], &[]).unwrap();
        let find = |word: &str| it.find(word).map(|it| it.to_string()).ok();
        assert_eq!(find("Fable").as_deref(), Some("fable"));
        assert_eq!(find("saga").as_deref(), Some("saga"));
        assert_eq!(find("claude-opus-4-8").as_deref(), Some("claude-opus-4-8"));
        assert_eq!(find("opus[1m]").as_deref(), Some("opus[1m]"));
        let said = "gpt".parse::<Model>().unwrap_err().to_string();
        assert!(said.starts_with("\"gpt\" is no model: use haiku, sonnet, opus, fable, or a full"));
        for slip in ["opsu", "opusculum", "auto", "", "saga 7"] {
            assert_eq!(find(slip), None, "{slip}");
        }
    }

    #[test]
    fn what_answered_is_told_by_the_word_that_was_asked_for() {
        let it = read(&[("saga", "eu.claude-saga-7:0")], &[]).unwrap();
        let old = it.find("claude-opus-4-8").unwrap();
        assert_eq!(it.answered_by(old, Some("claude-opus-4-8")), old);
        assert_eq!(it.answered_by(Model::OPUS, Some("claude-opus-5-5")), Model::OPUS);
        assert_eq!(it.answered_by(Model::OPUS, Some("claude-sonnet-5-5")), Model::SONNET);
        assert_eq!(it.answered_by(Model::OPUS, None), Model::OPUS);
        let saga = it.find("saga").unwrap();
        assert_eq!(it.answered_by(saga, Some("eu.claude-saga-7:0")), saga);
        assert_eq!(it.id_of(saga), "eu.claude-saga-7:0");
        assert_eq!(it.id_of(Model::FABLE), "fable");
        assert_eq!(it.of_name("claude-epic-1").unwrap().as_str(), "claude-epic-1");
        assert_eq!(it.of_name("<synthetic>"), None);
    }

    #[test]
    fn a_mistake_names_its_setting() {
        for (families, tiers, says) in [
            (&[("Saga", "x")][..], &[][..], "engine.models: \"Saga\" is no name of a family"),
            (&[("auto", "x")], &[], "engine.models: \"auto\" is no name of a family"),
            (&[("saga", "x #12")], &[], "engine.models: saga: #12 is no colour"),
            (&[("saga", "x -1/2")], &[], "engine.models: saga: -1/2 is no price"),
            (&[("saga", "x 🪿")], &[], "engine.models: saga: 🪿 is no emoji"),
            (&[], &[("HARD", "opus")], "engine.tiers: \"HARD\" is no tier"),
            (&[], &[("SIMPLE", "opsu")], "engine.tiers: \"opsu\" is no model"),
        ] {
            let err = read(families, tiers).unwrap_err().to_string();
            assert!(err.starts_with(says), "{err}");
        }
    }
}
