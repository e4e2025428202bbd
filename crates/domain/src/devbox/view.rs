//! `devboxes.json`: what everybody may know of the devboxes. No path of a key and no token is in it.

use serde::{Deserialize, Serialize};

use super::{DevboxDir, Fingerprint};
use crate::{DevboxName, ThreadId};

/// How a devbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DevboxStatus {
    /// A person has to say whether its key is its own.
    #[default]
    New,
    /// It answered when it was asked last.
    Active,
    /// It did not.
    Unreachable,
    /// It shows another key than the one that was approved: nothing runs there.
    KeyChanged,
    /// It is none of ours any more.
    Removed,
}

/// One devbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DevboxView {
    /// Its name.
    pub name: DevboxName,
    /// `deploy@api.example.org:22`, or that it is a child of the office itself.
    pub at: String,
    /// Where Claude works there, when a thread begins.
    pub dir: DevboxDir,
    /// Its thread.
    pub thread: ThreadId,
    /// How it is.
    pub status: DevboxStatus,
    /// The key that a person approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_key: Option<Fingerprint>,
    /// How long a word took there and back, in ms, when one did last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ping_ms: Option<u64>,
    /// Claude's version there, as the devbox says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claude: Option<String>,
    /// What was wrong last, and when, in ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error_at: Option<u64>,
    /// The same of the last words, one a minute at most, oldest first; null where it did not answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pings: Vec<Option<u64>>,
    /// When it answered last, in ms since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<u64>,
}

/// All of them, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DevboxViews {
    /// The devboxes.
    pub devboxes: Vec<DevboxView>,
}
