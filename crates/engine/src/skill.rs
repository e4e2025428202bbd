//! Where a skill is from. Says nothing about what it may do.

use serde::{Deserialize, Serialize};

/// Where a skill is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SkillSource {
    /// The office's folder.
    Office,
    /// The repository that Claude works in.
    Repository,
    /// The desk's home.
    Home,
    /// Claude Code itself.
    Claude,
}
