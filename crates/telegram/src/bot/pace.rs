//! `telegram-pace.json`: what was asked of each chat in the last minute, and how long Telegram wants it left alone.
//!
//! It is written before a request goes out, so that a process that dies takes nothing with it that Telegram remembers.
//! There is no flush: only a machine that stops loses it, and takes longer to start than the limits last. Nothing here
//! decides what may be sent.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tinyclaw_disk::{DiskError, Flush};

/// More requests than this of one chat are not kept: no limit counts so many.
const SPENT_MAX: usize = 64;

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Pace {
    v: u32,
    pub(crate) chats: BTreeMap<i64, ChatPace>,
}

/// One chat's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ChatPace {
    /// When it was written to in the last minute, in ms since 1970.
    pub(crate) spent: Vec<u64>,
    /// It is left alone until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frozen: Option<Rest>,
    /// Its reactions are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reactions: Option<Rest>,
}

/// How long Telegram wants something left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rest {
    /// In ms since 1970.
    until: u64,
    /// `retry_after`: whatever the clock says, it is no longer than this.
    wait_ms: u64,
}

impl Rest {
    pub(crate) fn new(left: Duration, now_ms: u64) -> Rest {
        let wait_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        Rest { until: now_ms.saturating_add(wait_ms), wait_ms }
    }

    /// What is left of it.
    pub(crate) fn left(self, now_ms: u64) -> Duration {
        Duration::from_millis(self.until.saturating_sub(now_ms).min(self.wait_ms))
    }
}

impl ChatPace {
    pub(crate) fn is_empty(&self) -> bool {
        self.spent.is_empty() && self.frozen.is_none() && self.reactions.is_none()
    }
}

impl Pace {
    pub(crate) fn new(chats: BTreeMap<i64, ChatPace>) -> Pace {
        let mut pace = Pace { v: 1, chats };
        for chat in pace.chats.values_mut() {
            let old = chat.spent.len().saturating_sub(SPENT_MAX);
            chat.spent.drain(..old);
        }
        pace
    }

    /// What an earlier process left. One that cannot be read is as good as none: it is about a minute.
    pub(crate) fn read(path: &Path) -> Pace {
        let Ok(bytes) = std::fs::read(path) else { return Pace::default() };
        serde_json::from_slice(&bytes).unwrap_or_else(|err| {
            tracing::warn!("{} cannot be read ({err}) and is begun anew", path.display());
            Pace::default()
        })
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), DiskError> {
        let bytes = serde_json::to_vec(self).map_err(|it| DiskError {
            step: "write",
            path: path.to_owned(),
            source: it.into(),
        })?;
        tinyclaw_disk::replace(path, &bytes, Flush::None)
    }
}
