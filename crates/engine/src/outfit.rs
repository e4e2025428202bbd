//! What a Claude is started with besides its arguments: its environment, and what it may touch. It starts nothing.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use tinyclaw_domain::{Effort, PermissionMode, StateDir, Trust};

use crate::arguments::{Purpose, arguments};
use crate::config::{EngineConfig, QUIET};
use crate::home::{CLAUDE_DIR, Home, HomeError};
use crate::launch::{Access, LaunchError};
use crate::turn::SessionSpec;

/// The variable that names the thread's capability for the credential broker.
pub(crate) const CAPABILITY: &str = "TINYCLAW_CAPABILITY_FILE";

/// What a Claude is started with, besides its arguments.
pub(crate) struct Outfit {
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) access: Access,
    /// Equal where one that was started so serves as well, by whichever process of the office.
    pub(crate) digest: String,
}

impl Outfit {
    pub(crate) fn digest(
        config: &EngineConfig,
        spec: &SessionSpec,
        env: &BTreeMap<String, String>,
        access: &Access,
    ) -> String {
        // The model is changed on the way, and the effort but for the highest.
        let effort = if spec.effort == Effort::Max { Effort::Max } else { Effort::Low };
        let spec = SessionSpec { model: config.catalogue.tiers().simple, effort, ..spec.clone() };
        let tools = spec.tools.iter().map(|it| (&it.name, &it.description, &it.input_schema));
        let all = serde_json::json!([
            arguments(config, &spec, false, Purpose::Turns),
            spec.cwd,
            spec.system_prompt,
            tools.collect::<Vec<_>>(),
            env,
            access.writable,
            access.readable,
        ]);
        Sha256::digest(all.to_string()).iter().map(|it| format!("{it:02x}")).collect()
    }
}

/// The environment and the reach of a thread's Claude. Makes the folders that have to be there, on this machine.
pub(crate) fn surroundings(
    config: &EngineConfig,
    spec: &SessionSpec,
    purpose: Purpose,
) -> Result<(BTreeMap<String, String>, Access), LaunchError> {
    if !spec.place.is_here() {
        // There Claude has a home and a login of its own. Nothing of ours goes along.
        let mut env = BTreeMap::new();
        config.behave(&mut env, spec.trust);
        return Ok((env, Access::default()));
    }
    let home = Home::of(config, &spec.thread);
    let fail = |err| home_failed(&home, &err);
    home.make().map_err(fail)?;
    let mut access = config.access.clone();
    access.readable.extend(spec.skills.as_ref().map(|it| it.dir.clone()));
    let mut env = match purpose {
        Purpose::Turns => {
            home.hand_over_login(config).map_err(fail)?;
            access.writable.push(home.root().to_owned());
            let mut env = config.environment(home.root(), spec.trust);
            home.add_committer(&mut env);
            env
        }
        // The office's own: there the login is renewed. It has no tools, and no agent's word in it.
        Purpose::Probe | Purpose::PlanWindows => {
            let claude_dir = config.claude_home.join(CLAUDE_DIR);
            std::fs::create_dir_all(&claude_dir).map_err(|source| LaunchError::Step {
                step: "make",
                path: claude_dir.clone(),
                source,
            })?;
            access.writable.push(claude_dir);
            config.environment(&config.claude_home, spec.trust)
        }
    };
    if purpose == Purpose::PlanWindows && !config.env.contains_key(QUIET) {
        // To the CLI the plan's windows are something that nobody needs.
        env.remove(QUIET);
    }
    if spec.permission_mode == PermissionMode::Bypass && nix::unistd::geteuid().is_root() {
        // Claude does not work unasked as root unless told that it sits in a sandbox. It does: the leash's.
        env.insert("IS_SANDBOX".to_owned(), "1".to_owned());
    }
    home.add_temporary(config, &mut env, &mut access).map_err(fail)?;
    if let Some(name) = &config.capability {
        let file = StateDir::new(&config.state).files(&spec.thread).join(name);
        // A thread without one has no use for a name that leads nowhere.
        if file.is_file() {
            env.insert(CAPABILITY.to_owned(), file.display().to_string());
        }
    }
    access.readable.extend(config.path_prefix.iter().cloned());
    Ok((env, access))
}

/// Whether a process that was started with one configuration serves a session as well under the other.
pub(crate) fn alike(one: &EngineConfig, other: &EngineConfig, spec: &SessionSpec) -> bool {
    let line = |it| arguments(it, spec, false, Purpose::Turns);
    line(one) == line(other)
        && (!spec.place.is_here() || are_surroundings_alike(one, other, spec.trust))
        && (one.times, one.mode) == (other.times, other.mode)
}

/// Whether a process of this machine has the same environment and reach under both.
fn are_surroundings_alike(one: &EngineConfig, other: &EngineConfig, trust: Trust) -> bool {
    one.environment(&one.claude_home, trust) == other.environment(&one.claude_home, trust)
        && (&one.access, &one.capability) == (&other.access, &other.capability)
}

pub(crate) fn home_failed(home: &Home, err: &HomeError) -> LaunchError {
    LaunchError::Step {
        step: "make ready",
        path: home.root().to_owned(),
        source: std::io::Error::other(with_source(err)),
    }
}

pub(crate) fn with_source(err: &dyn std::error::Error) -> String {
    let source = err.source().map(|it| format!(": {it}"));
    format!("{err}{}", source.unwrap_or_default())
}
