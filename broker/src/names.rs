//! Owners, repositories and patterns over them: parsed at the door, lower-case from then on.
//!
//! GitHub compares these names without regard to case, so ours have one spelling. A name that
//! could climb out of a URL path (`..`, a slash, anything escaped) never becomes one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::redact::scrub;

/// GitHub's own limit is 100 for repositories and 39 for owners.
const NAME_BYTES_MAX: usize = 100;

/// A text that is no name, and what a name looks like.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {text:?} is not a name: {rule}")]
pub struct BadName {
    kind: &'static str,
    text: String,
    rule: &'static str,
}

/// A user or an organisation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Owner(String);

/// A repository without its owner.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoName(String);

/// Which repositories a rule speaks of: `*`, `acme/*`, `acme/site` or, of any owner, `site`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RepoPattern {
    /// Every repository.
    Any,
    /// Every repository of one owner.
    Of(Owner),
    /// One repository of one owner.
    One(Owner, RepoName),
    /// A repository of this name, whoever owns it.
    Named(RepoName),
}

impl Owner {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RepoName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RepoPattern {
    /// Whether this repository is meant; without an owner only patterns that need none match.
    pub fn matches(&self, owner: Option<&Owner>, repo: &RepoName) -> bool {
        match self {
            RepoPattern::Any => true,
            RepoPattern::Of(mine) => owner == Some(mine),
            RepoPattern::One(mine, name) => owner == Some(mine) && name == repo,
            RepoPattern::Named(name) => name == repo,
        }
    }

    /// Whether every repository of this owner is meant.
    pub fn matches_all_of(&self, owner: Option<&Owner>) -> bool {
        match self {
            RepoPattern::Any => true,
            RepoPattern::Of(mine) => owner == Some(mine),
            RepoPattern::One(..) | RepoPattern::Named(_) => false,
        }
    }

    /// Whether matching needs to know the owner.
    pub fn needs_owner(&self) -> bool {
        matches!(self, RepoPattern::Of(_) | RepoPattern::One(..))
    }
}

impl FromStr for Owner {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Owner, BadName> {
        let clean = !text.is_empty()
            && text.len() <= NAME_BYTES_MAX
            && text.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_'))
            && is_no_secret(text);
        if clean {
            Ok(Owner(text.to_ascii_lowercase()))
        } else {
            let rule = "1 to 100 letters, digits, '-' or '_'";
            Err(BadName { kind: "owner", text: shortened(text), rule })
        }
    }
}

impl FromStr for RepoName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<RepoName, BadName> {
        let clean = !text.is_empty()
            && text.len() <= NAME_BYTES_MAX
            && text != "."
            && text != ".."
            && text
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || matches!(it, b'-' | b'_' | b'.'))
            && is_no_secret(text);
        if clean {
            Ok(RepoName(text.to_ascii_lowercase()))
        } else {
            let rule = "1 to 100 letters, digits, '-', '_' or '.', without its owner";
            Err(BadName { kind: "repository", text: shortened(text), rule })
        }
    }
}

impl FromStr for RepoPattern {
    type Err = BadName;

    fn from_str(text: &str) -> Result<RepoPattern, BadName> {
        match text.split_once('/') {
            None if text == "*" => Ok(RepoPattern::Any),
            None => Ok(RepoPattern::Named(text.parse()?)),
            Some((owner, "*")) => Ok(RepoPattern::Of(owner.parse()?)),
            Some((owner, repo)) => Ok(RepoPattern::One(owner.parse()?, repo.parse()?)),
        }
    }
}

/// Parses `owner/name`.
pub fn full_name(text: &str) -> Result<(Owner, RepoName), BadName> {
    let rule = "owner and name with one '/' between them";
    let bad = || BadName { kind: "repository", text: shortened(text), rule };
    let (owner, repo) = text.split_once('/').ok_or_else(bad)?;
    Ok((owner.parse()?, repo.parse()?))
}

/// A token pasted in a name's place would be logged and sent on as a name.
fn is_no_secret(text: &str) -> bool {
    scrub(text) == text
}

fn shortened(text: &str) -> String {
    scrub(&text.chars().take(60).collect::<String>()).into_owned()
}

impl fmt::Display for Owner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Display for RepoPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RepoPattern::Any => out.write_str("*"),
            RepoPattern::Of(owner) => write!(out, "{owner}/*"),
            RepoPattern::One(owner, repo) => write!(out, "{owner}/{repo}"),
            RepoPattern::Named(repo) => write!(out, "{repo}"),
        }
    }
}

macro_rules! text_in_serde {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<$name, BadName> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(it: $name) -> String {
                it.to_string()
            }
        }
    )*};
}
text_in_serde!(Owner, RepoName, RepoPattern);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_a_path_is_refused() {
        for text in ["", ".", "..", "a/b", "a%2fb", "a b", "é", "a\0", &"a".repeat(101)] {
            assert!(text.parse::<RepoName>().is_err(), "{text:?}");
        }
        assert_eq!("My.Repo-1_x".parse::<RepoName>().unwrap().as_str(), "my.repo-1_x");
        assert!("acme/site/x".parse::<RepoPattern>().is_err());
    }

    #[test]
    fn a_pattern_of_an_owner_matches_nobody_elses() {
        let (acme, other): (Owner, Owner) = ("Acme".parse().unwrap(), "other".parse().unwrap());
        let site = "site".parse().unwrap();
        let pattern: RepoPattern = "ACME/site".parse().unwrap();
        assert!(pattern.matches(Some(&acme), &site));
        assert!(!pattern.matches(Some(&other), &site));
        assert!(!pattern.matches(None, &site));
    }
}
