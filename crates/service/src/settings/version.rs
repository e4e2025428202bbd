//! Which version of TinyClaw wrote `settings.json`: after going back to an earlier one, a key that it does not know is
//! told and forgiven, not a mistake that keeps the services down.

use std::fmt;

use serde_json::Value as Json;

/// The key of `settings.json` that names it.
pub(super) const WRITTEN_BY: &str = "writtenBy";

/// Year, month, and a number within the month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version([u32; 3]);

impl Version {
    /// This program's.
    pub(super) fn ours() -> Version {
        // The workspace's own version is one: a test says so.
        Version::parse(env!("CARGO_PKG_VERSION")).unwrap_or(Version([0; 3]))
    }

    /// The version in the file, or what is wrong with it.
    pub(super) fn of(value: &Json) -> Result<Version, String> {
        let version = value.as_str().and_then(Version::parse);
        version.ok_or_else(|| {
            format!("{value} is no version; expected one such as \"{}\"", Version::ours())
        })
    }

    fn parse(text: &str) -> Option<Version> {
        let mut parts = text.split('.').map(|it| it.parse().ok());
        let version = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(Version(version))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [year, month, number] = self.0;
        write!(f, "{year}.{month}.{number}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        let version = |text: &str| Version::of(&text.into());
        assert_eq!(Version::ours().to_string(), env!("CARGO_PKG_VERSION"));
        assert!(version("2026.9.0").unwrap() < version("2026.11.0").unwrap());
        assert!(version("2026.11.1").unwrap() > version("2026.11.0").unwrap());
        for odd in ["", "2026", "2026.11", "2026.11.0.1", "2026.11.x", "v2026.11.0"] {
            assert!(version(odd).unwrap_err().contains("is no version"), "{odd}");
        }
        assert!(Version::of(&Json::from(7)).is_err());
    }
}
