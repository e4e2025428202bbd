//! `broker-policy.toml`: its shape, and every mistake in it by name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use super::{Allowance, Grant, MINTS_PER_HOUR, Policy, Rule, USUAL};
use crate::ask::Target;
use crate::names::{Owner, RepoName, RepoPattern};
use crate::permission::{Level, Permissions};

/// Why a policy file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not a policy.
    #[error("{} is not a policy: {reason}", path.display())]
    Form {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    default_permissions: Option<String>,
    mints_per_hour: Option<u32>,
    #[serde(default)]
    clients: BTreeMap<String, RuleEntry>,
    #[serde(default)]
    grants: BTreeMap<String, GrantEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleEntry {
    installations: Option<BTreeSet<u64>>,
    owners: Option<BTreeSet<Owner>>,
    repositories: Option<Vec<RepoPattern>>,
    #[serde(default)]
    all_repositories: bool,
    #[serde(default)]
    permissions: BTreeMap<String, String>,
    #[serde(default)]
    grants: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantEntry {
    permissions: BTreeMap<String, String>,
    repositories: Option<Vec<RepoName>>,
    installation: Option<u64>,
    owner: Option<Owner>,
}

impl Policy {
    /// Reads a policy file.
    pub fn read(path: &Path) -> Result<Policy, PolicyError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| PolicyError::Read { path: path.to_owned(), source })?;
        Policy::parse(&text).map_err(|reason| PolicyError::Form { path: path.to_owned(), reason })
    }

    /// Parses the text of one.
    pub fn parse(text: &str) -> Result<Policy, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let default_permissions = file.default_permissions.as_deref().unwrap_or(USUAL);
        let default_permissions = Permissions::parse(default_permissions)
            .map_err(|bad| format!("default_permissions: {bad}"))?;
        let mut grants = BTreeMap::new();
        for (name, entry) in file.grants {
            grants.insert(name.clone(), Arc::new(Grant::new(&name, entry)?));
        }
        let mut rules = BTreeMap::new();
        for (name, entry) in file.clients {
            let rule = Rule::new(&name, entry)?;
            if let Some(missing) = rule.grants.iter().find(|it| !grants.contains_key(*it)) {
                return Err(format!("clients.{name}: there is no [grants.{missing}]"));
            }
            rules.insert(name, Arc::new(rule));
        }
        let mints_per_hour = file.mints_per_hour.unwrap_or(MINTS_PER_HOUR);
        Ok(Policy { default_permissions, mints_per_hour, rules, grants })
    }
}

impl Rule {
    fn new(name: &str, entry: RuleEntry) -> Result<Rule, String> {
        let at = format!("clients.{name}");
        let repositories = entry.repositories.ok_or_else(|| {
            format!("{at}: repositories is missing; [\"*\"] means every repository by name")
        })?;
        let all = |it: &RepoPattern| matches!(it, RepoPattern::Any | RepoPattern::Of(_));
        if entry.all_repositories && !repositories.iter().any(all) {
            return Err(format!(
                "{at}: all_repositories needs \"*\" or \"owner/*\" in repositories"
            ));
        }
        if entry.permissions.is_empty() && entry.grants.is_empty() {
            return Err(format!("{at}: neither permissions nor grants: it could have nothing"));
        }
        let mut named = entry.permissions;
        let any = named.remove("*").map(|it| it.parse::<Level>());
        let any = any.transpose().map_err(|bad| format!("{at}.permissions: {bad}"))?;
        let named = if named.is_empty() {
            Permissions::default()
        } else {
            Permissions::from_map(&named).map_err(|bad| format!("{at}.permissions: {bad}"))?
        };
        Ok(Rule {
            name: at,
            installations: entry.installations,
            owners: entry.owners,
            repositories,
            all_repositories: entry.all_repositories,
            allowance: Allowance { named, any },
            grants: entry.grants,
        })
    }
}

impl Grant {
    fn new(name: &str, entry: GrantEntry) -> Result<Grant, String> {
        let permissions = Permissions::from_map(&entry.permissions)
            .map_err(|bad| format!("grants.{name}: {bad}"))?;
        let target = match (entry.installation, entry.owner) {
            (Some(_), Some(_)) => {
                return Err(format!("grants.{name}: give installation or owner, not both"));
            }
            (Some(id), None) => Some(Target::Installation(id)),
            (None, Some(owner)) => Some(Target::Owner(owner)),
            (None, None) => None,
        };
        let repositories = entry.repositories.map(|mut names| {
            names.sort_unstable();
            names.dedup();
            names
        });
        if repositories.as_ref().is_some_and(Vec::is_empty) {
            return Err(format!("grants.{name}: repositories is empty; leave it out"));
        }
        Ok(Grant { permissions, repositories, target })
    }
}
