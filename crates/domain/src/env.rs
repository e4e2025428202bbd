//! Environments: where callers of the web API may have Claude work, and which thread a conversation there is.
//!
//! `envs.json` is the operator's. Nobody who asks over HTTP names a directory, an image or a permission: they name an
//! environment that stands in it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::container_env::dollars;
use crate::{BadId, ContainerEnv, EnvName, PermissionMode, ThreadId};

/// `envs.json`: every environment by its name.
pub type Envs = BTreeMap<EnvName, Env>;

/// One environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "isolation", rename_all = "lowercase")]
pub enum Env {
    /// Claude runs beside the office's other desks, under the same leash.
    None(LocalEnv),
    /// Claude runs in a container of its own.
    Container(ContainerEnv),
}

/// An environment on this machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LocalEnv {
    /// The directory that all its sessions work in. None: each session has a directory of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<PathBuf>,
    /// What Claude may do there without asking. None: what the office's settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission: Option<PermissionMode>,
    /// What all its sessions together may spend in a day of the office's, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "dollars")]
    pub budget_per_day: Option<f64>,
}

impl Env {
    /// What it may spend in a day, in US dollars.
    pub fn budget_per_day(&self) -> Option<f64> {
        match self {
            Env::None(it) => it.budget_per_day,
            Env::Container(it) => it.budget_per_day,
        }
    }

    /// What Claude may do there without asking. None: what the office's settings say.
    pub fn permission(&self) -> Option<PermissionMode> {
        match self {
            Env::None(it) => it.permission,
            Env::Container(it) => it.permission,
        }
    }

    /// How it is kept apart, as people write it.
    pub fn isolation(&self) -> &'static str {
        match self {
            Env::None(_) => "none",
            Env::Container(_) => "container",
        }
    }
}

/// A conversation in an environment: one after another, each message knows those before.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EnvSession {
    /// The one that everybody may share: written `default`.
    Standing,
    /// One of many: a ULID in small letters.
    Own(SessionUlid),
}

/// A ULID in small letters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionUlid(Box<str>);

/// How the standing conversation is written.
const STANDING: &str = "default";
/// A ULID has so many letters.
const ULID_BYTES: usize = 26;

impl fmt::Display for EnvSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EnvSession::Standing => f.pad(STANDING),
            EnvSession::Own(it) => f.pad(&it.0),
        }
    }
}

impl FromStr for EnvSession {
    type Err = BadId;

    fn from_str(text: &str) -> Result<EnvSession, BadId> {
        if text == STANDING {
            return Ok(EnvSession::Standing);
        }
        text.parse().map(EnvSession::Own)
    }
}

impl FromStr for SessionUlid {
    type Err = BadId;

    fn from_str(text: &str) -> Result<SessionUlid, BadId> {
        // Crockford's letters: without i, l, o and u. The first of 26 carries three bits.
        let is_letter = |it: u8| b"0123456789abcdefghjkmnpqrstvwxyz".contains(&it);
        if text.len() == ULID_BYTES && text.bytes().all(is_letter) && text < "8" {
            return Ok(SessionUlid(text.into()));
        }
        let (what, text) = ("session", text.chars().take(64).collect());
        Err(BadId {
            what,
            text,
            why: "it must be \"default\", or 26 letters as they were given out",
        })
    }
}

impl ThreadId {
    /// The thread of a conversation in an environment: `api.<env>`, or `api.<env>.<ulid>`.
    pub fn of_env(env: &EnvName, session: &EnvSession) -> ThreadId {
        let text = match session {
            EnvSession::Standing => format!("api.{env}"),
            EnvSession::Own(it) => format!("api.{env}.{}", it.0),
        };
        // Both have letters that a thread's id may have, and lengths that fit.
        text.parse().unwrap_or_else(|_| ThreadId::master())
    }

    /// The environment and the conversation that this thread is; `None` for one of a chat or a terminal.
    pub fn env(&self) -> Option<(EnvName, EnvSession)> {
        let rest = self.as_str().strip_prefix("api.")?;
        let (env, session) = match rest.split_once('.') {
            Some((env, session)) => (env, EnvSession::Own(session.parse().ok()?)),
            None => (rest, EnvSession::Standing),
        };
        Some((env.parse().ok()?, session))
    }
}

/// What was asked over the web API besides the words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApiJob {
    /// SHA-256 of all that was asked, in hex: under the same key nothing else can be asked.
    pub sum: String,
    /// Whether the result is wanted as the object that Claude's command line prints, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub json_output: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_a_thread_and_a_thread_says_which_it_is() {
        let env: EnvName = "an-env-of-17-byte".parse().unwrap();
        for session in ["default", "01kc8m4q2v7x3z9d5f1h6j0nps"] {
            let session: EnvSession = session.parse().unwrap();
            let thread = ThreadId::of_env(&env, &session);
            assert_eq!(thread.env(), Some((env.clone(), session)), "{thread}");
        }
        for other in ["7", "cli", "api.", "api..default", "api.dev.default", "api.dev.x", "g1.2"] {
            let thread = other.parse::<ThreadId>().unwrap();
            assert_eq!(thread.env(), None, "{other}");
        }
    }

    #[test]
    fn a_session_is_what_was_given_out_and_nothing_else() {
        for bad in [
            "",
            "Default",
            "01KC8M4Q2V7X3Z9D5F1H6J0NPS",
            "../prod",
            "81kc8m4q2v7x3z9d5f1h6j0nps",
            "u",
        ] {
            assert!(bad.parse::<EnvSession>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_an_environment_does_not_know_is_refused_by_its_name() {
        let read = |text: &str| serde_json::from_str::<Envs>(text);
        let envs = read(
            r#"{"here":{"isolation":"none","cwd":"/srv","permission":"ask","budgetPerDay":2.5}}"#,
        )
        .unwrap();
        let Env::None(here) = &envs[&"here".parse().unwrap()] else { panic!("{envs:?}") };
        assert_eq!((here.permission, here.budget_per_day), (Some(PermissionMode::Ask), Some(2.5)));
        for bad in [
            r#"{"here":{"isolation":"none","permision":"ask"}}"#,
            r#"{"here":{"isolation":"none","budgetPerDay":-5}}"#,
            r#"{"here":{"isolation":"none","budgetPerDay":"5"}}"#,
            r#"{"here":{"cwd":"/srv"}}"#,
            r#"{"here":{"isolation":"vm"}}"#,
            r#"{"../here":{"isolation":"none"}}"#,
            r#"{"here":{"isolation":"none","permission":"everything"}}"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
