//! How the services are: `health/<service>.json`, each written by its own service every few seconds.

use std::time::Duration;

use serde::Serialize;
use tinyclaw_disk::Flush;
use tinyclaw_domain::Health;

use crate::{JsonError, StateDir, load, save};

/// How often a service says how it is.
pub const EVERY: Duration = Duration::from_secs(5);
/// A word older than this is nobody's.
pub const STALE_AFTER: Duration = Duration::from_secs(60);

/// What a service last said, and how long ago.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthSeen {
    /// What it said.
    pub health: Health,
    /// How long ago, by the clock of whoever asks.
    pub age: Duration,
}

impl HealthSeen {
    /// Whether the service is still there to say it.
    pub fn is_fresh(&self) -> bool {
        self.age <= STALE_AFTER
    }
}

/// Says how a service is: a [`Health`], or anything of its shape.
pub fn write(state: &StateDir, service: &str, health: &impl Serialize) -> Result<(), JsonError> {
    save(&state.health(service), health, Flush::None)
}

/// What a service said last, or `None` when it never did.
pub fn read(state: &StateDir, service: &str, now_ms: u64) -> Result<Option<HealthSeen>, JsonError> {
    let health: Option<Health> = load(&state.health(service))?;
    Ok(health.map(|health| {
        let age = Duration::from_millis(now_ms.saturating_sub(health.at));
        HealthSeen { health, age }
    }))
}

/// What every service said last, by name. A file that cannot be read says nothing.
pub fn read_all(state: &StateDir, now_ms: u64) -> Vec<HealthSeen> {
    let Ok(entries) = std::fs::read_dir(state.healths()) else { return Vec::new() };
    let name = |path: std::path::PathBuf| {
        let is_json = path.extension().is_some_and(|it| it == "json");
        path.file_stem().filter(|_| is_json).map(|it| it.to_string_lossy().into_owned())
    };
    let mut names: Vec<String> = entries.flatten().filter_map(|it| name(it.path())).collect();
    names.sort();
    names.iter().filter_map(|it| read(state, it, now_ms).ok().flatten()).collect()
}
