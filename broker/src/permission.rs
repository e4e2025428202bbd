//! Permissions of a GitHub App: which names exist, at which levels, and which are dangerous.
//!
//! The table is GitHub's published `app-permissions` schema. A name that is not in it is refused
//! at the door (a typo must not turn into "everything"), and counts as too wide when GitHub
//! returns it unasked.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use Levels::{ReadOnly, ReadWrite, ReadWriteAdmin, WriteOnly};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Levels {
    ReadOnly,
    ReadWrite,
    ReadWriteAdmin,
    WriteOnly,
}

/// Sorted by name: a permission is its place in here.
const TABLE: &[(&str, Levels)] = &[
    ("actions", ReadWrite),
    ("administration", ReadWrite),
    ("artifact_metadata", ReadWrite),
    ("attestations", ReadWrite),
    ("checks", ReadWrite),
    ("code_quality", ReadWrite),
    ("codespaces", ReadWrite),
    ("contents", ReadWrite),
    ("custom_properties_for_organizations", ReadWrite),
    ("dependabot_secrets", ReadWrite),
    ("deployments", ReadWrite),
    ("discussions", ReadWrite),
    ("email_addresses", ReadWrite),
    ("enterprise_custom_properties_for_organizations", ReadWriteAdmin),
    ("environments", ReadWrite),
    ("followers", ReadWrite),
    ("git_ssh_keys", ReadWrite),
    ("gpg_keys", ReadWrite),
    ("interaction_limits", ReadWrite),
    ("issues", ReadWrite),
    ("members", ReadWrite),
    ("merge_queues", ReadWrite),
    ("metadata", ReadWrite),
    ("organization_administration", ReadWrite),
    ("organization_announcement_banners", ReadWrite),
    ("organization_copilot_agent_settings", ReadWrite),
    ("organization_copilot_seat_management", ReadWrite),
    ("organization_custom_org_roles", ReadWrite),
    ("organization_custom_properties", ReadWriteAdmin),
    ("organization_custom_roles", ReadWrite),
    ("organization_events", ReadOnly),
    ("organization_hooks", ReadWrite),
    ("organization_packages", ReadWrite),
    ("organization_personal_access_token_requests", ReadWrite),
    ("organization_personal_access_tokens", ReadWrite),
    ("organization_plan", ReadOnly),
    ("organization_projects", ReadWriteAdmin),
    ("organization_secrets", ReadWrite),
    ("organization_self_hosted_runners", ReadWrite),
    ("organization_user_blocking", ReadWrite),
    ("packages", ReadWrite),
    ("pages", ReadWrite),
    ("profile", WriteOnly),
    ("pull_requests", ReadWrite),
    ("repository_custom_properties", ReadWrite),
    ("repository_hooks", ReadWrite),
    ("repository_projects", ReadWriteAdmin),
    ("secret_scanning_alerts", ReadWrite),
    ("secrets", ReadWrite),
    ("security_events", ReadWrite),
    ("single_file", ReadWrite),
    ("starring", ReadWrite),
    ("statuses", ReadWrite),
    ("team_discussions", ReadWrite),
    ("vulnerability_alerts", ReadWrite),
    ("workflows", WriteOnly),
];

/// One permission, for example `contents`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission(u8);

/// How much of it. Each level includes the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// `read`
    Read,
    /// `write`
    Write,
    /// `admin`
    Admin,
}

/// A text that names no permission, or no level of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPermission {
    /// There is no such permission.
    #[error("{0:?} is not a permission of a GitHub App")]
    Unknown(String),
    /// There is no such level.
    #[error("{0:?} is not a level: it is read, write or admin")]
    UnknownLevel(String),
    /// It exists, but not at this level.
    #[error("permission {0} does not exist at level {1}")]
    NoSuchLevel(Permission, Level),
    /// An entry without `name:level`.
    #[error("{0:?} is not name:level")]
    NotAPair(String),
    /// The same name twice.
    #[error("permission {0} is named twice")]
    Twice(Permission),
    /// Nothing at all.
    #[error("the list of permissions is empty")]
    Empty,
}

/// A set of permissions, sorted, each name once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Permissions(Vec<(Permission, Level)>);

impl Permission {
    /// The permission that GitHub adds to every token by itself.
    pub fn is_metadata(self) -> bool {
        self.name() == "metadata"
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        TABLE[usize::from(self.0)].0
    }

    /// Whether a wildcard must not include it: with it an agent could widen its own rights,
    /// reach other people's secrets or change what runs in CI.
    pub fn is_sensitive(self) -> bool {
        let name = self.name();
        matches!(name, "administration" | "members" | "workflows")
            || name.starts_with("organization_")
            || name.starts_with("enterprise_")
            || name.ends_with("_for_organizations")
            || name.ends_with("secrets")
    }

    /// Whether it exists at this level.
    pub fn exists_at(self, level: Level) -> bool {
        match TABLE[usize::from(self.0)].1 {
            ReadOnly => level == Level::Read,
            ReadWrite => level != Level::Admin,
            ReadWriteAdmin => true,
            WriteOnly => level == Level::Write,
        }
    }
}

impl FromStr for Permission {
    type Err = BadPermission;

    fn from_str(text: &str) -> Result<Permission, BadPermission> {
        match TABLE.binary_search_by_key(&text, |(name, _)| name) {
            Ok(place) => Ok(Permission(place as u8)),
            Err(_) => Err(BadPermission::Unknown(text.chars().take(60).collect())),
        }
    }
}

impl FromStr for Level {
    type Err = BadPermission;

    fn from_str(text: &str) -> Result<Level, BadPermission> {
        match text {
            "read" => Ok(Level::Read),
            "write" => Ok(Level::Write),
            "admin" => Ok(Level::Admin),
            _ => Err(BadPermission::UnknownLevel(text.chars().take(60).collect())),
        }
    }
}

impl Permissions {
    /// Parses `contents:write,pull_requests:write`.
    pub fn parse(text: &str) -> Result<Permissions, BadPermission> {
        if text.is_empty() {
            return Err(BadPermission::Empty);
        }
        let pairs = text.split(',').map(|pair| {
            pair.split_once(':')
                .ok_or_else(|| BadPermission::NotAPair(pair.chars().take(60).collect()))
        });
        Permissions::collect(pairs)
    }

    /// From names and levels as they stand in a policy or an answer of GitHub's.
    pub fn from_map(map: &BTreeMap<String, String>) -> Result<Permissions, BadPermission> {
        Permissions::collect(map.iter().map(|(name, level)| Ok((name.as_str(), level.as_str()))))
    }

    fn collect<'a>(
        pairs: impl Iterator<Item = Result<(&'a str, &'a str), BadPermission>>,
    ) -> Result<Permissions, BadPermission> {
        let mut set = Vec::new();
        for pair in pairs {
            let (name, level) = pair?;
            let (permission, level): (Permission, Level) = (name.parse()?, level.parse()?);
            if !permission.exists_at(level) {
                return Err(BadPermission::NoSuchLevel(permission, level));
            }
            match set.binary_search_by_key(&permission, |(it, _)| *it) {
                Ok(_) => return Err(BadPermission::Twice(permission)),
                Err(place) => set.insert(place, (permission, level)),
            }
        }
        if set.is_empty() { Err(BadPermission::Empty) } else { Ok(Permissions(set)) }
    }

    /// The level of one permission.
    pub fn get(&self, permission: Permission) -> Option<Level> {
        let place = self.0.binary_search_by_key(&permission, |(it, _)| *it).ok()?;
        Some(self.0[place].1)
    }

    /// Name and level, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Permission, Level)> + '_ {
        self.0.iter().copied()
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is in here, each at no more than `limit` says; what it does not know is left out.
    pub fn clipped(&self, limit: impl Fn(Permission) -> Option<Level>) -> Permissions {
        let clip = |(permission, level): (Permission, Level)| {
            let level = level.min(limit(permission)?);
            permission.exists_at(level).then_some((permission, level))
        };
        Permissions(self.iter().filter_map(clip).collect())
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Level::Read => "read",
            Level::Write => "write",
            Level::Admin => "admin",
        })
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (permission, level)) in self.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(out, "{comma}{permission}:{level}")?;
        }
        Ok(())
    }
}

impl Serialize for Level {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Permissions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(permission, level)| (permission.name(), level)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    #[test]
    fn order_does_not_matter() {
        let one = Permissions::parse("contents:write,issues:read").unwrap();
        let two = Permissions::parse("issues:read,contents:write").unwrap();
        assert_eq!(one, two);
        assert_eq!(one.to_string(), "contents:write,issues:read");
    }

    #[test]
    fn what_is_no_permission_is_refused() {
        for text in [
            "",
            ",",
            "contents",
            "contents:",
            ":write",
            "contents:admin",
            "contents:none",
            "Contents:write",
            "contents:write,",
            "contents:write,contents:read",
            "contents:write:x",
            "workflows:read",
            "organization_plan:write",
            "everything:write",
            "contents :write",
        ] {
            assert!(Permissions::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_widens_rights_is_sensitive() {
        let sensitive =
            |it: &&str| it.parse::<Permission>().expect("a known permission").is_sensitive();
        let yes = [
            "administration",
            "members",
            "workflows",
            "secrets",
            "dependabot_secrets",
            "organization_secrets",
            "organization_administration",
            "enterprise_custom_properties_for_organizations",
        ];
        assert!(yes.iter().all(sensitive));
        assert!(
            !["contents", "issues", "metadata", "secret_scanning_alerts"].iter().any(sensitive)
        );
    }
}
