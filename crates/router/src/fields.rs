//! Reads tables of a configuration file into fields. It refuses what it does not know, with the line.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::{ConfigError, DIMENSIONS, POLICY_LISTS};
use crate::lexicon::List;

pub(crate) type Value<'a> = Spanned<DeValue<'a>>;
pub(crate) type Key<'a> = Spanned<std::borrow::Cow<'a, str>>;

pub(crate) enum Field<'a> {
    Number(&'a mut f64),
    Share(&'a mut f64),
    Positive(&'a mut f64),
    Switch(&'a mut bool),
}

pub(crate) struct Reader<'a> {
    pub(crate) text: &'a str,
}

impl Reader<'_> {
    pub(crate) fn refuse(&self, at: usize, why: String) -> ConfigError {
        let at = at.min(self.text.len());
        ConfigError {
            line: 1 + self.text.as_bytes()[..at].iter().filter(|it| **it == b'\n').count(),
            why,
        }
    }

    pub(crate) fn unknown(&self, at: usize, key: &str, known: &str) -> ConfigError {
        self.refuse(at, format!("unknown key {key:?}; known here: {known}"))
    }

    pub(crate) fn wrong(&self, value: &Value<'_>, wanted: &str) -> ConfigError {
        let found = value.get_ref().type_str();
        self.refuse(value.span().start, format!("expected {wanted}, found {found}"))
    }

    pub(crate) fn number(&self, value: &Value<'_>) -> Result<f64, ConfigError> {
        let text = match value.get_ref() {
            DeValue::Integer(it) if it.radix() == 10 => it.as_str(),
            DeValue::Float(it) => it.as_str(),
            _ => return Err(self.wrong(value, "a number")),
        };
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() && number.abs() <= 1e6 => Ok(number),
            _ => Err(self.refuse(value.span().start, format!("{text} is no usable number"))),
        }
    }

    pub(crate) fn switch(&self, value: &Value<'_>) -> Result<bool, ConfigError> {
        value.get_ref().as_bool().ok_or_else(|| self.wrong(value, "true or false"))
    }

    pub(crate) fn table<'v, 'd>(
        &self,
        value: &'v Value<'d>,
    ) -> Result<&'v DeTable<'d>, ConfigError> {
        value.get_ref().as_table().ok_or_else(|| self.wrong(value, "a table"))
    }

    pub(crate) fn strings(&self, value: &Value<'_>) -> Result<Vec<String>, ConfigError> {
        let array =
            value.get_ref().as_array().ok_or_else(|| self.wrong(value, "a list of phrases"))?;
        let phrase = |it: &Value<'_>| {
            it.get_ref().as_str().map(str::to_owned).ok_or_else(|| self.wrong(it, "a phrase"))
        };
        array.iter().map(phrase).collect()
    }

    pub(crate) fn dimension(&self, key: &Key<'_>) -> Result<usize, ConfigError> {
        DIMENSIONS
            .iter()
            .position(|it| *it == &**key.get_ref())
            .ok_or_else(|| self.unknown(key.span().start, key.get_ref(), &DIMENSIONS.join(", ")))
    }

    pub(crate) fn fields(
        &self,
        value: &Value<'_>,
        section: &str,
        fields: &mut [(&str, Field<'_>)],
    ) -> Result<(), ConfigError> {
        for (key, value) in self.table(value)? {
            let Some((_, field)) = fields.iter_mut().find(|it| it.0 == &**key.get_ref()) else {
                let known: Vec<&str> = fields.iter().map(|it| it.0).collect();
                return Err(self.unknown(key.span().start, key.get_ref(), &known.join(", ")));
            };
            match field {
                Field::Number(it) => **it = self.number(value)?,
                Field::Switch(it) => **it = self.switch(value)?,
                Field::Share(it) => {
                    **it = self.number(value)?;
                    if !(0.0..=1.0).contains(*it) {
                        let why = format!("{section}.{} must lie between 0 and 1", key.get_ref());
                        return Err(self.refuse(value.span().start, why));
                    }
                }
                Field::Positive(it) => {
                    **it = self.number(value)?;
                    if **it <= 0.0 {
                        let why = format!("{section}.{} must be above 0", key.get_ref());
                        return Err(self.refuse(value.span().start, why));
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn weights(
        &self,
        value: &Value<'_>,
        weights: &mut [f64; 14],
    ) -> Result<(), ConfigError> {
        for (key, value) in self.table(value)? {
            let dimension = self.dimension(key)?;
            let weight = self.number(value)?;
            if weight < 0.0 {
                let why = format!(
                    "the weight of {} must not be negative: turn the shares of its parts instead",
                    key.get_ref()
                );
                return Err(self.refuse(value.span().start, why));
            }
            weights[dimension] = weight;
        }
        Ok(())
    }

    pub(crate) fn parts(
        &self,
        value: &Value<'_>,
        into: &mut BTreeMap<usize, BTreeMap<String, f64>>,
    ) -> Result<(), ConfigError> {
        for (key, value) in self.table(value)? {
            let dimension = self.dimension(key)?;
            for (part, value) in self.table(value)? {
                let share = self.number(value)?;
                into.entry(dimension).or_default().insert(part.get_ref().to_string(), share);
            }
        }
        Ok(())
    }

    /// The lists of one dimension. A list that is not there yet is only for the built-in file.
    pub(crate) fn lists(
        &self,
        value: &Value<'_>,
        dimension: usize,
        full: bool,
        into: &mut BTreeMap<(usize, String), List>,
    ) -> Result<(), ConfigError> {
        for (name, value) in self.table(value)? {
            let place = (dimension, name.get_ref().to_string());
            if !full && !into.contains_key(&place) {
                let known: Vec<&str> =
                    into.keys().filter(|it| it.0 == dimension).map(|it| it.1.as_str()).collect();
                return Err(self.unknown(name.span().start, &place.1, &known.join(", ")));
            }
            if dimension == 14 && !POLICY_LISTS.contains(&place.1.as_str()) {
                return Err(self.unknown(name.span().start, &place.1, &POLICY_LISTS.join(", ")));
            }
            let list = into.entry(place).or_default();
            for (key, value) in self.table(value)? {
                match &**key.get_ref() {
                    "atStart" => list.at_start = self.switch(value)?,
                    "negatable" => list.negatable = self.switch(value)?,
                    "extend" => {
                        let more = self.strings(value)?;
                        list.phrases.entry("extend".to_owned()).or_default().extend(more);
                    }
                    language if language.len() == 2 => {
                        list.phrases.insert(language.to_owned(), self.strings(value)?);
                    }
                    other => {
                        let known = "atStart, negatable, extend, or a language of two letters";
                        return Err(self.unknown(key.span().start, other, known));
                    }
                }
            }
        }
        Ok(())
    }
}
