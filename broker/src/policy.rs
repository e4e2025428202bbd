//! Who may have what: the rules, and the decision about one request.
//!
//! Everything is denied that no rule allows. A decision is made in two steps, because the second
//! may need to know whose installation it is: [`Policy::plan`] looks only at the request, and
//! [`Plan::settle`] at the installation as well. A capability narrows both; nothing widens them.

mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ask::{Ask, Target};
use crate::capability::Verified;
use crate::names::{Owner, RepoName, RepoPattern};
use crate::permission::{Level, Permission, Permissions};
use crate::refusal::Refusal;
use crate::vault::Key;

pub use file::PolicyError;

/// What the setup asks the App for, and what is asked when nothing else is said.
pub const USUAL: &str = "contents:write,issues:write,metadata:read,pull_requests:write";
/// The name under which everybody is served when there are no clients.
pub const ANYBODY: &str = "anybody";
/// GitHub allows 5,000 requests an hour and installation; one client gets no more than this of it.
const MINTS_PER_HOUR: u32 = 2_000;

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// A configured client, `thread` for a capability, or [`ANYBODY`].
    pub client: Arc<str>,
    /// What the capability says.
    pub capability: Option<Arc<Verified>>,
    /// Whether it may thaw.
    pub admin: bool,
}

impl Caller {
    /// Who pays for what it uses up: each thread for itself, so that none starves the others.
    pub fn payer(&self) -> Arc<str> {
        match &self.capability {
            Some(it) => format!("thread:{}", it.thread).into(),
            None => self.client.clone(),
        }
    }
}

/// All the rules.
#[derive(Debug)]
pub struct Policy {
    default_permissions: Permissions,
    /// How many tokens one client, or one thread, may have minted in an hour.
    pub mints_per_hour: u32,
    rules: BTreeMap<String, Arc<Rule>>,
    grants: BTreeMap<String, Arc<Grant>>,
}

#[derive(Debug)]
struct Rule {
    name: String,
    installations: Option<BTreeSet<u64>>,
    owners: Option<BTreeSet<Owner>>,
    repositories: Vec<RepoPattern>,
    all_repositories: bool,
    allowance: Allowance,
    grants: BTreeSet<String>,
}

/// Levels by name, and one for every name that is not sensitive.
#[derive(Debug, Default)]
struct Allowance {
    named: Permissions,
    any: Option<Level>,
}

#[derive(Debug)]
struct Grant {
    permissions: Permissions,
    repositories: Option<Vec<RepoName>>,
    target: Option<Target>,
}

/// A request that the rules allow, as far as they can tell without asking GitHub.
#[derive(Debug)]
pub struct Plan {
    /// Whose installation.
    pub target: Target,
    /// The repositories, or none for all of the installation.
    pub repositories: Option<Vec<RepoName>>,
    /// Exactly what will be asked for.
    pub permissions: Permissions,
    /// Which rule decided.
    pub rule: String,
    rule_of: Arc<Rule>,
    /// Whose installation the grant is for, whatever the request names.
    granted_for: Option<Target>,
    capability: Option<Arc<Verified>>,
}

impl Policy {
    /// The policy without a file: the usual permissions, on named repositories, for everybody
    /// who may speak to the broker at all.
    pub fn built_in() -> Policy {
        let usual = Permissions::parse(USUAL).unwrap_or_default();
        let rule = Rule {
            name: "built-in".to_owned(),
            installations: None,
            owners: None,
            repositories: vec![RepoPattern::Any],
            all_repositories: false,
            allowance: Allowance { named: usual.clone(), any: None },
            grants: BTreeSet::new(),
        };
        Policy {
            default_permissions: usual,
            mints_per_hour: MINTS_PER_HOUR,
            rules: BTreeMap::from([("*".to_owned(), Arc::new(rule))]),
            grants: BTreeMap::new(),
        }
    }

    /// Decides what can be decided without knowing the installation.
    pub fn plan(&self, caller: &Caller, ask: &Ask) -> Result<Plan, Refusal> {
        let rule = self.rule_for(caller)?;
        let grant = ask.grant.as_deref().map(|name| self.grant(&rule, name)).transpose()?;
        let target = ask.target.clone().or_else(|| grant.as_ref()?.target.clone());
        let target = target.ok_or_else(|| {
            // The seed's own words.
            let hint = "add installation_id=12345, owner=acme or repo=acme/site";
            Refusal::malformed("installation_required", "installation_id is required", hint)
        })?;
        let capability = caller.capability.clone();
        let permissions = match (&ask.permissions, &grant) {
            (Some(asked), _) => {
                rule.allows(asked)?;
                asked.clone()
            }
            (None, Some(grant)) => grant.permissions.clone(),
            (None, None) => self.default_for(&rule, capability.as_deref())?,
        };
        if let Some(capability) = &capability {
            check_levels(&permissions, |it| capability.permissions.get(it), "the capability")?;
        }
        let repositories =
            ask.repositories.clone().or_else(|| grant.as_ref()?.repositories.clone());
        if repositories.is_none() && (!rule.all_repositories || capability.is_some()) {
            return Err(Refusal::malformed(
                "repositories_required",
                "repositories is required",
                "add repositories=my-repo; a token for every repository needs a policy with \
                 all_repositories = true, and no capability",
            ));
        }
        if let (Some(asked), Some(Grant { repositories: Some(limit), .. })) =
            (&repositories, grant.as_deref())
            && let Some(other) = asked.iter().find(|it| !limit.contains(it))
        {
            let error = format!("the grant does not name repository {other}");
            return Err(Refusal::denied(
                "policy_denied",
                error,
                "ask for the grant's repositories",
            ));
        }
        let rule_name = match &ask.grant {
            Some(grant) => format!("{} grants.{grant}", rule.name),
            None => rule.name.clone(),
        };
        let granted_for = grant.and_then(|it| it.target.clone());
        Ok(Plan {
            target,
            repositories,
            permissions,
            rule: rule_name,
            rule_of: rule,
            granted_for,
            capability,
        })
    }

    /// A thread's own rule, then the one of all threads; a client's own; then everybody's.
    fn rule_for(&self, caller: &Caller) -> Result<Arc<Rule>, Refusal> {
        let own = match &caller.capability {
            Some(it) => self.rules.get(&format!("thread:{}", it.thread)),
            None => None,
        };
        let rule = own.or_else(|| self.rules.get(&*caller.client)).or_else(|| self.rules.get("*"));
        rule.cloned().ok_or_else(|| {
            let error = format!("the policy has no rule for client {}", caller.client);
            let hint = format!("add [clients.{}] or [clients.\"*\"] to the policy", caller.client);
            Refusal::denied("policy_denied", error, hint)
        })
    }

    fn grant(&self, rule: &Rule, name: &str) -> Result<Arc<Grant>, Refusal> {
        let grant = self.grants.get(name).filter(|_| rule.grants.contains(name));
        grant.cloned().ok_or_else(|| {
            let error = format!("there is no grant {name:?} for this client");
            let hint = format!("name it in grants of the policy's {}", rule.name);
            Refusal::denied("policy_denied", error, hint)
        })
    }

    /// The default set is a convenience, not a demand: it shrinks to what the caller may have.
    fn default_for(
        &self,
        rule: &Rule,
        capability: Option<&Verified>,
    ) -> Result<Permissions, Refusal> {
        let set = self.default_permissions.clipped(|it| rule.allowance.limit(it));
        let set = match capability {
            Some(capability) => set.clipped(|it| limit_with_metadata(&capability.permissions, it)),
            None => set,
        };
        // Metadata alone is what is left when nothing else is allowed.
        if set.iter().all(|(it, _)| it.is_metadata()) {
            let error = "none of the default permissions is allowed here";
            return Err(Refusal::denied("policy_denied", error, "name the permissions you need"));
        }
        Ok(set)
    }
}

impl Plan {
    /// Whether deciding needs to know whose installation it is.
    pub fn needs_owner(&self) -> bool {
        let capability = self.capability.iter().flat_map(|it| &it.repositories);
        self.rule_of.owners.is_some()
            || matches!(self.granted_for, Some(Target::Owner(_)))
            || self.rule_of.repositories.iter().chain(capability).any(RepoPattern::needs_owner)
    }

    /// Decides as far as possible before anything is looked up at GitHub, so that a caller
    /// without rights cannot even learn whether an installation exists.
    pub fn check_target(&self) -> Result<(), Refusal> {
        match &self.target {
            Target::Installation(id) => self.check_installation(*id),
            Target::Owner(owner) | Target::Repo(owner, _) => {
                self.check_owner(Some(owner))?;
                self.check_scope(Some(owner))
            }
        }
    }

    /// The decision: the key of the token that may be handed out.
    pub fn settle(&self, installation: u64, owner: Option<&Owner>) -> Result<Key, Refusal> {
        self.check_installation(installation)?;
        self.check_owner(owner)?;
        self.check_scope(owner)?;
        Ok(Key {
            installation,
            repositories: self.repositories.clone(),
            permissions: self.permissions.clone(),
        })
    }

    fn check_installation(&self, id: u64) -> Result<(), Refusal> {
        if let Some(Target::Installation(only)) = &self.granted_for
            && *only != id
        {
            return Err(self.not_granted(format!("the grant is not for installation {id}")));
        }
        match &self.rule_of.installations {
            Some(allowed) if !allowed.contains(&id) => {
                Err(self.denied(format!("installation {id} is not allowed"), "installations"))
            }
            _ => Ok(()),
        }
    }

    fn check_owner(&self, owner: Option<&Owner>) -> Result<(), Refusal> {
        match &self.granted_for {
            Some(Target::Owner(only)) if owner != Some(only) => {
                let owner = owner.map_or("this installation's owner", Owner::as_str);
                Err(self.not_granted(format!("the grant is not for {owner}")))
            }
            _ => Ok(()),
        }
    }

    fn not_granted(&self, error: String) -> Refusal {
        let hint = format!("leave the installation out: {} names it", self.rule);
        Refusal::denied("policy_denied", error, hint)
    }

    fn check_scope(&self, owner: Option<&Owner>) -> Result<(), Refusal> {
        if let Some(allowed) = &self.rule_of.owners
            && !owner.is_some_and(|it| allowed.contains(it))
        {
            let owner = owner.map_or("this installation's owner", Owner::as_str);
            return Err(self.denied(format!("{owner} is not allowed"), "owners"));
        }
        let Some(repositories) = &self.repositories else {
            // `plan` has seen to it that the rule allows all of them and no capability is there.
            let all = self.rule_of.repositories.iter().any(|it| it.matches_all_of(owner));
            let error = "not every repository of this owner is allowed";
            return if all { Ok(()) } else { Err(self.denied(error.to_owned(), "repositories")) };
        };
        for repo in repositories {
            if !self.rule_of.repositories.iter().any(|it| it.matches(owner, repo)) {
                let error = format!("repository {repo} is not allowed");
                return Err(self.denied(error, "repositories"));
            }
            if let Some(capability) = &self.capability
                && !capability.repositories.iter().any(|it| it.matches(owner, repo))
            {
                let error = format!("the capability does not name repository {repo}");
                let hint = "ask in the thread that works on it, or have it added there";
                return Err(Refusal::denied("capability_denied", error, hint));
            }
        }
        Ok(())
    }

    fn denied(&self, error: String, field: &str) -> Refusal {
        let hint = format!("it is {field} of the policy's {} that decides", self.rule_of.name);
        Refusal::denied("policy_denied", error, hint)
    }
}

impl Rule {
    fn allows(&self, asked: &Permissions) -> Result<(), Refusal> {
        check_levels(asked, |it| self.allowance.limit(it), &format!("the policy's {}", self.name))
    }
}

impl Allowance {
    fn limit(&self, permission: Permission) -> Option<Level> {
        let any = self.any.filter(|_| !permission.is_sensitive());
        // GitHub adds metadata:read to every token anyway.
        let implied = permission.is_metadata().then_some(Level::Read);
        self.named.get(permission).or(any).max(implied)
    }
}

fn limit_with_metadata(set: &Permissions, permission: Permission) -> Option<Level> {
    set.get(permission).max(permission.is_metadata().then_some(Level::Read))
}

fn check_levels(
    asked: &Permissions,
    limit: impl Fn(Permission) -> Option<Level>,
    who: &str,
) -> Result<(), Refusal> {
    for (permission, level) in asked.iter() {
        let limit = limit(permission).max(permission.is_metadata().then_some(Level::Read));
        if limit.is_none_or(|limit| level > limit) {
            let code = if who == "the capability" { "capability_denied" } else { "policy_denied" };
            let error = format!("{who} does not allow {permission}:{level}");
            let hint = match limit {
                Some(limit) => format!("{permission}:{limit} is the most"),
                None if permission.is_sensitive() => format!(
                    "{permission} is dangerous in an agent's hands: only a policy that names it allows it"
                ),
                None => format!("add {permission} to the permissions there"),
            };
            return Err(Refusal::denied(code, error, hint));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
