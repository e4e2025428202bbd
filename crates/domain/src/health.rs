//! How a service is: `health/<service>.json`, and the bodies of `/health` and `/ready`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One service's word on itself. A file older than a minute means that nobody is there to say it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// `telegram`, `processor`, `broker`, `dashboard`.
    pub service: String,
    /// The version that runs.
    pub version: String,
    /// Its process id, in its own namespace.
    pub pid: u32,
    /// When it started, in ms since 1970.
    pub started_at: u64,
    /// When this was written, in ms since 1970.
    pub at: u64,
    /// The process works.
    pub alive: bool,
    /// It can do its job.
    pub ready: bool,
    /// Why it is not ready, for a person; empty when it is.
    #[serde(default)]
    pub why: Vec<String>,
    /// Whatever else it counts.
    #[serde(default)]
    pub numbers: BTreeMap<String, Value>,
}
