//! Which events somebody wants: by type, source, session, subject, and from when on.
//!
//! The same filter is asked of a frame in memory and written as a condition for the database; a test holds the two
//! against each other.

use crate::store::Frame;

/// So many types a filter may name: each is looked up by itself.
pub const TYPES_MAX: usize = 50;

/// What is told of more.
pub fn too_many_types() -> String {
    format!("names more than {TYPES_MAX} types")
}

/// One type, or all that begin so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// This type.
    Exactly(String),
    /// `session.*`: every type that begins with `session.`.
    Beginning(String),
}

impl Pattern {
    /// From what stands in a query. A `*` counts at the end only; `*` alone is every type.
    pub fn parse(text: &str) -> Result<Pattern, &'static str> {
        let (plain, is_open) = match text.strip_suffix('*') {
            Some(plain) => (plain, true),
            None => (text, false),
        };
        let is_letter = |it: u8| it.is_ascii_alphanumeric() || b"._:/-".contains(&it);
        if !plain.bytes().all(is_letter) || (plain.is_empty() && !is_open) {
            return Err(
                "expected a type such as session.start, or its beginning and a *: session.*",
            );
        }
        let plain = plain.to_owned();
        Ok(if is_open { Pattern::Beginning(plain) } else { Pattern::Exactly(plain) })
    }

    fn admits(&self, kind: &str) -> bool {
        match self {
            Pattern::Exactly(it) => it == kind,
            Pattern::Beginning(it) => kind.starts_with(it.as_str()),
        }
    }
}

/// What all of must hold. Empty: every event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of these types; none: any.
    pub types: Vec<Pattern>,
    /// From this source.
    pub source: Option<String>,
    /// Of this session.
    pub session: Option<String>,
    /// About this subject.
    pub subject: Option<String>,
    /// That happened then or later, in ms since 1970. What is said to happen in the future counts from when it came.
    pub since: Option<u64>,
}

impl Filter {
    /// Whether every event passes.
    pub fn is_open(&self) -> bool {
        *self == Filter::default()
    }

    /// Whether this event passes.
    pub fn admits(&self, it: &Frame) -> bool {
        let is_it = |wanted: &Option<String>, given: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| given == Some(wanted))
        };
        (self.types.is_empty() || self.types.iter().any(|pattern| pattern.admits(&it.kind)))
            && is_it(&self.source, Some(&it.source))
            && is_it(&self.session, it.session.as_deref())
            && is_it(&self.subject, it.subject.as_deref())
            && self.since.is_none_or(|since| it.time >= since)
    }

    /// The filter as a condition on columns, but for the types, with what stands for each `?`.
    pub(crate) fn condition(&self) -> (String, Vec<rusqlite::types::Value>) {
        let mut condition = String::new();
        let mut values = Vec::new();
        let wanted =
            [("source", &self.source), ("session", &self.session), ("subject", &self.subject)];
        for (column, value) in wanted {
            if let Some(value) = value {
                condition.push_str(&format!(" AND {column} = ?"));
                values.push(value.clone().into());
            }
        }
        if let Some(since) = self.since {
            condition.push_str(" AND time >= ?");
            values.push(i64::try_from(since).unwrap_or(i64::MAX).into());
        }
        (condition, values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_type_or_the_beginning_of_one() {
        let admits = |pattern: &str, kind: &str| Pattern::parse(pattern).unwrap().admits(kind);
        assert!(admits("session.*", "session.start"));
        assert!(!admits("session.*", "session"));
        assert!(admits("*", "anything"));
        assert!(admits("a.b", "a.b") && !admits("a.b", "a.bc"));
        for bad in ["", "a*b", "a b", "*.start", "ä*"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }
}
