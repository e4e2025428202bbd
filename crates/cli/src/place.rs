//! Where things are: the state folder and what of it the verbs read. It creates nothing.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tinyclaw_domain::{CacheTtl, Catalogue};
use tinyclaw_ledger::StateDir;
use tinyclaw_router::Config;
use tinyclaw_service::settings::{self, Environment, Section, Store, state_dir};

/// The environment, as far as it is text.
pub(crate) fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The state folder, which need not exist: `TINYCLAW_DIR`, or `.tinyclaw` in the folder one stands in.
pub(crate) fn state() -> anyhow::Result<StateDir> {
    Ok(StateDir::new(state_dir(&environment()).context("cannot tell which folder this is")?))
}

/// The state folder that a verb works in. A verb in the wrong folder must not make a second office there.
pub(crate) fn office() -> anyhow::Result<StateDir> {
    let state = state()?;
    if !state.root().is_dir() {
        bail!(
            "there is no state folder {}; set TINYCLAW_DIR to it, or begin with `tinyclaw demo`",
            state.root().display()
        );
    }
    Ok(state)
}

/// A section of the settings in force.
pub(crate) fn settings<S: Section>(state: &StateDir) -> anyhow::Result<Arc<S>> {
    Ok(Store::<S>::open(state.root(), environment()).context("the settings are wrong")?.current())
}

/// The models that the office of this state folder knows.
pub(crate) fn catalogue(state: &StateDir) -> anyhow::Result<Catalogue> {
    let models = self::settings::<settings::Models>(state)?;
    Catalogue::read(&models.families, &models.tiers).context("the settings are wrong")
}

/// How long the API keeps what it has read of a conversation.
pub(crate) fn cache_ttl(state: &StateDir) -> anyhow::Result<CacheTtl> {
    let models = self::settings::<settings::Models>(state)?;
    let has_api_key = self::settings::<settings::Claude>(state)?.api_key.is_some();
    let set = models.prompt_cache.and_then(|it| CacheTtl::named(&it.to_string()));
    Ok(CacheTtl::in_use(set, has_api_key))
}

/// The router's configuration: what is built in, what it has learned here, and the operator's `router.toml`.
pub(crate) fn router_config() -> anyhow::Result<Config> {
    router_config_of(&state()?)
}

/// The same for a state folder.
pub(crate) fn router_config_of(state: &StateDir) -> anyhow::Result<Config> {
    with_own_router(state, learned_router(state)?)
}

/// What is built in, with what the router has learned in this office.
pub(crate) fn learned_router(state: &StateDir) -> anyhow::Result<Config> {
    with_file(Config::default(), &state.learned_router())
}

/// A configuration with the operator's `router.toml` on top.
pub(crate) fn with_own_router(state: &StateDir, config: Config) -> anyhow::Result<Config> {
    with_file(config, &state.router())
}

fn with_file(config: Config, path: &Path) -> anyhow::Result<Config> {
    match std::fs::read_to_string(path) {
        Ok(text) => config.with(&text).with_context(|| format!("cannot use {}", path.display())),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(config),
        Err(err) => Err(err).with_context(|| format!("cannot read {}", path.display())),
    }
}
