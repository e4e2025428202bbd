//! What the leash promises of a Claude, as far as this kernel can keep it: asked of the kernel, one promise at a time.
//!
//! "This kernel has Landlock" says little: what an older one leaves open is named, so that a person can decide whether
//! to live with it.

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    Scope,
};

/// One thing that keeps an agent at its desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Files beyond its own are neither read nor changed. Without it nothing else holds.
    Files,
    /// Files that it may only read are not emptied.
    Truncating,
    /// Devices that it may only read are not controlled.
    Devices,
    /// Processes of others are not signalled.
    Signals,
    /// Abstract sockets of others are not connected to.
    AbstractSockets,
}

impl Promise {
    pub(super) const ALL: [Promise; 5] = [
        Promise::Files,
        Promise::Truncating,
        Promise::Devices,
        Promise::Signals,
        Promise::AbstractSockets,
    ];

    /// What an agent can do without it.
    pub fn without(self) -> &'static str {
        match self {
            Promise::Files => "claude may touch whatever this user may",
            Promise::Truncating => "an agent can empty files that it may only read",
            Promise::Devices => "an agent can control devices that it may only read",
            Promise::Signals => "an agent can signal processes of the office and of other desks",
            Promise::AbstractSockets => {
                "an agent can connect to abstract sockets of other programs"
            }
        }
    }

    /// What is missing, after the words "this kernel".
    pub fn told(missing: &[Promise]) -> String {
        match missing {
            [] => "keeps every promise of the leash".to_owned(),
            [Promise::Files, ..] => format!("has no Landlock: {}", Promise::Files.without()),
            _ => {
                let all: Vec<&str> = missing.iter().map(|it| it.without()).collect();
                format!("has an older Landlock: {}", all.join("; "))
            }
        }
    }

    fn asked(self) -> Result<Ruleset, RulesetError> {
        let asked = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        match self {
            Promise::Files => asked.handle_access(AccessFs::from_all(ABI::V1)),
            Promise::Truncating => asked.handle_access(AccessFs::Truncate),
            Promise::Devices => asked.handle_access(AccessFs::IoctlDev),
            Promise::Signals => asked.scope(Scope::Signal),
            Promise::AbstractSockets => asked.scope(Scope::AbstractUnixSocket),
        }
    }
}

/// What this kernel cannot promise, for whoever wants to know before a Claude starts. Confines nothing.
pub fn missing_promises() -> Vec<Promise> {
    let is_kept = |it: &Promise| it.asked().and_then(Ruleset::create).is_ok();
    Promise::ALL.into_iter().filter(|it| !is_kept(it)).collect()
}

/// Those of these rights that this kernel knows.
pub(super) fn known_rights(all: BitFlags<AccessFs>) -> BitFlags<AccessFs> {
    let is_known = |it: &AccessFs| {
        let asked = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        asked.handle_access(*it).and_then(Ruleset::create).is_ok()
    };
    all.iter().filter(is_known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_in_words() {
        let told = Promise::told(&[Promise::Signals, Promise::AbstractSockets]);
        assert!(told.starts_with("has an older Landlock: an agent can signal processes"), "{told}");
        assert!(Promise::told(&Promise::ALL).starts_with("has no Landlock"));
        assert_eq!(Promise::told(&[]), "keeps every promise of the leash");
    }
}
