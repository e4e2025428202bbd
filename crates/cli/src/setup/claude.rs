//! `tinyclaw setup claude`: the CLI, and an account that answers.
//!
//! The account is tried with one word to the smallest model, by the engine itself, with exactly the credential that was
//! given, in a home that is made for it and removed: no login of this machine can answer in its place.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use secrecy::ExposeSecret as _;
use serde_json::json;
use tinyclaw_domain::{Catalogue, Place};
use tinyclaw_engine::{Auth, Engine, EngineConfig, Landlock, PINNED_VERSION, Probe, TurnFailure};
use tinyclaw_service::settings::{self, Settings};
use uuid::Uuid;

use super::standing::{find_program, hint};
use super::{Done, SetupContext, Wrong, secret_of};
use crate::verbs::sibling;

/// Claude's own retries are over by then.
const PATIENCE: Duration = Duration::from_secs(90);
const OAUTH: &str = "claude.oauthToken";
const KEY: &str = "claude.apiKey";

/// Give Claude an account, and try it with one prompt.
#[derive(Debug, Default, Args)]
pub(crate) struct Claude {
    /// A file with the token that `claude setup-token` prints, or - for stdin.
    #[arg(long, value_name = "FILE")]
    oauth_token_file: Option<PathBuf>,

    /// A file with an API key, or - for stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "oauth_token_file")]
    api_key_file: Option<PathBuf>,

    /// Where the claude CLI is. [default: engine.claude, else PATH]
    #[arg(long, value_name = "PATH")]
    claude: Option<PathBuf>,
}

/// What Claude identifies itself with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Credential {
    OAuth(String),
    Key(String),
}

impl Credential {
    /// By how it begins, as far as that tells.
    fn of(text: &str) -> Option<Credential> {
        let text = text.trim().to_owned();
        if text.starts_with("sk-ant-oat") {
            Some(Credential::OAuth(text))
        } else if text.starts_with("sk-ant-") {
            Some(Credential::Key(text))
        } else {
            None
        }
    }

    fn auth(&self) -> Auth {
        match self {
            Credential::OAuth(it) => Auth::OAuthToken(it.as_str().into()),
            Credential::Key(it) => Auth::ApiKey(it.as_str().into()),
        }
    }

    fn shown(&self) -> String {
        match self {
            Credential::OAuth(it) => format!("subscription {}", hint(it)),
            Credential::Key(it) => format!("API key {}", hint(it)),
        }
    }
}

impl Claude {
    pub(crate) fn run(self, desk: &SetupContext) -> anyhow::Result<Done> {
        let (answers, person) = (&desk.answers, &desk.person);
        let is_moved = self.claude.is_some() && answers.checkout().is_none();
        answers.must_count(&[OAUTH, KEY, "engine.kind"])?;
        if is_moved {
            answers.must_count(&["engine.claude"])?;
        }
        let now = answers.current::<Settings>()?;
        let environment = answers.environment();
        let named = self.claude.clone().unwrap_or_else(|| now.engine.claude.clone());
        let Some(program) = find_program(&named, &environment) else {
            let says = format!("the claude CLI is not here: {}", named.display());
            let way_out = format!(
                "npm install -g @anthropic-ai/claude-code@{PINNED_VERSION}, or say where it is: --claude PATH"
            );
            return Err(Wrong::new(says, way_out).into());
        };
        let program = std::path::absolute(&program).context("cannot tell where the CLI is")?;
        person.ok(&format!("the claude CLI is {}", program.display()))?;

        let attempt = |credential: Credential| {
            person.say(
                &person
                    .style()
                    .dim(&format!("      asking haiku for one word, with {}", credential.shown())),
            )?;
            let took = try_out(&program, &credential, &now)?;
            Ok((credential, took))
        };
        let (credential, took) = match (&self.oauth_token_file, &self.api_key_file) {
            (Some(file), _) => attempt(Credential::OAuth(secret_of(file)?))?,
            (None, Some(file)) => attempt(Credential::Key(secret_of(file)?))?,
            (None, None) => {
                let kept = match (&now.claude.oauth_token, &now.claude.api_key) {
                    (Some(it), _) => Some(Credential::OAuth(it.expose_secret().to_owned())),
                    (None, Some(it)) => Some(Credential::Key(it.expose_secret().to_owned())),
                    (None, None) => None,
                };
                match kept {
                    Some(kept) if !person.is_terminal() => attempt(kept)?,
                    kept => person.thrice(|| ask(desk, kept.as_ref()), attempt)?,
                }
            }
        };
        let seconds = took.as_secs_f32();
        person.ok(&format!("Claude answered after {seconds:.1} s"))?;

        let (oauth, key) = match &credential {
            Credential::OAuth(it) => (Some(it.clone()), None),
            Credential::Key(it) => (None, Some(it.clone())),
        };
        // The demo engine has had its day.
        let mut changes = vec![(OAUTH, oauth), (KEY, key), ("engine.kind", None)];
        if is_moved {
            changes.push(("engine.claude", Some(program.display().to_string())));
        }
        let wrote = answers.write(&changes)?;
        let found = json!({
            "claude": program, "credential": credential.shown(), "answeredAfterMs": took.as_millis() as u64,
        });
        desk.done("claude", found, wrote, Vec::new())
    }
}

fn ask(desk: &SetupContext, kept: Option<&Credential>) -> anyhow::Result<Credential> {
    let person = &desk.person;
    let question = match kept {
        Some(it) => format!("Token or API key, or Enter to keep {}", it.shown()),
        None => {
            person.say_to_a_person(
                "A subscription: run `claude setup-token` on a machine with a browser; it prints a token (sk-ant-oat…).\n\
                 Or an API key from console.anthropic.com (sk-ant-api…).",
            )?;
            "Token or API key".to_owned()
        }
    };
    let typed =
        person.secret(&question, "--oauth-token-file FILE or --api-key-file FILE, - for stdin")?;
    if typed.is_empty()
        && let Some(kept) = kept
    {
        return Ok(kept.clone());
    }
    if let Some(credential) = Credential::of(&typed) {
        return Ok(credential);
    }
    if typed.is_empty() {
        bail!("nothing was entered; nothing is changed");
    }
    // A gateway may give out keys of its own making.
    let is_key = person
        .agrees("It begins with neither sk-ant-oat nor sk-ant-api. Is it an API key?", true)?;
    Ok(if is_key { Credential::Key(typed) } else { Credential::OAuth(typed) })
}

/// A folder that is gone afterwards, with whatever Claude left there.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> anyhow::Result<Scratch> {
        let path = std::env::temp_dir().join(format!("tinyclaw-setup-{}", Uuid::new_v4()));
        for dir in ["", "state", "home"] {
            let dir = path.join(dir);
            std::fs::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        Ok(Scratch(path.canonicalize().unwrap_or(path)))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Asks for one word, and tells how long it took.
fn try_out(program: &Path, credential: &Credential, now: &Settings) -> anyhow::Result<Duration> {
    let scratch = Scratch::new()?;
    let (state, home) = (scratch.0.join("state"), scratch.0.join("home"));
    let mut config = EngineConfig::new(program, sibling("tinyclaw-leash")?, state, home);
    config.auth = credential.auth();
    config.base_url = now.claude.base_url.clone();
    config.landlock = match now.engine.landlock {
        settings::Landlock::Auto => Landlock::Auto,
        settings::Landlock::On => Landlock::On,
        settings::Landlock::Off => Landlock::Off,
    };
    config.catalogue = Catalogue::read(&now.models.families, &now.models.tiers)?;
    config.access.readable.extend(now.engine.readable.iter().cloned());
    config.path_prefix.extend(now.engine.tool_path.iter().cloned());
    if let Some(path) = std::env::var("PATH").ok().filter(|it| !it.is_empty()) {
        config.path = path;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start a runtime")?;
    let began = Instant::now();
    let probe = runtime.block_on(async {
        let engine = Engine::new(config);
        let probe = tokio::time::timeout(PATIENCE, engine.probe(&Place::Here)).await;
        engine.close().await;
        probe
    });
    match probe {
        Ok(Probe::Ready) => Ok(began.elapsed()),
        Ok(Probe::NotReady(failure)) => Err(wrong(&failure, credential).into()),
        Err(_) => {
            let says = format!("Claude did not answer within {} s", PATIENCE.as_secs());
            Err(Wrong::new(says, "check this machine's way to api.anthropic.com, then try again")
                .into())
        }
    }
}

fn wrong(failure: &TurnFailure, credential: &Credential) -> Wrong {
    let shown = credential.shown();
    match failure {
        TurnFailure::NotLoggedIn { .. } => {
            let way_out = match credential {
                Credential::OAuth(_) => {
                    "run `claude setup-token` again, and copy all that it prints as one line"
                }
                Credential::Key(_) => {
                    "console.anthropic.com, API keys: make one, and copy it whole"
                }
            };
            Wrong::new(format!("Anthropic does not take this: {shown}"), way_out)
        }
        TurnFailure::PlanLimit { .. } | TurnFailure::RateLimited { .. } => Wrong::new(
            format!("{failure}, with {shown}"),
            "try again when it is lifted, or use another account",
        ),
        TurnFailure::Unavailable { .. } => Wrong::new(
            failure.to_string(),
            "check this machine's way to api.anthropic.com (or ANTHROPIC_BASE_URL), then try again",
        ),
        TurnFailure::NotStarted { .. } | TurnFailure::Crashed { .. } => {
            let detail = match failure {
                TurnFailure::Crashed { detail, .. } if !detail.is_empty() => format!(": {detail}"),
                _ => String::new(),
            };
            Wrong::new(
                format!("{failure}{detail}"),
                "run `claude --version`; it has to start for this user",
            )
        }
        TurnFailure::Refused { detail, .. } if !detail.is_empty() => {
            Wrong::new(format!("{failure}: {detail}"), "what it says; then try again")
        }
        other => Wrong::new(other.to_string(), "try again, or use another account"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_and_a_key_are_told_apart_and_not_shown() {
        let token = Credential::of(" sk-ant-oat01-abcdefghijklmnop-wxyz\n").unwrap();
        assert_eq!(token.shown(), "subscription …wxyz");
        let key = Credential::of("sk-ant-api03-abcdefghijklmnop-1234").unwrap();
        assert_eq!(key.shown(), "API key …1234");
        assert_eq!(Credential::of("hello"), None);
    }
}
