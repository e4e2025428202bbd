//! `status/<key>.json`: which message is the status of a turn, so that a restart finds it again.
//!
//! Nothing here sends or looks for anything.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use tinyclaw_disk::Flush;
use tinyclaw_domain::Key;
use tinyclaw_ledger::{StateDir, load, save};

use crate::bot::addresses::Address;

/// `status/<key>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    pub(crate) address: Address,
    /// When the message was about to be sent, in ms since 1970.
    pub(crate) intent: u64,
    /// The newest message known in the chat then: the status comes after it.
    #[serde(default)]
    pub(crate) after: i64,
    /// The question that was asked with it, with a sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asked: Option<String>,
    /// It was sent with a Steer button, by which it is found again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) steers: bool,
    /// Its id. None after a crash means: perhaps sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<i64>,
}

/// The folder `status/`.
#[derive(Clone)]
pub(crate) struct StatusFiles {
    pub(crate) state: StateDir,
}

impl StatusFiles {
    pub(crate) fn read(&self, key: &Key) -> Option<Status> {
        tokio::task::block_in_place(|| load(&self.state.status(key))).ok().flatten()
    }

    pub(crate) fn write(&self, key: &Key, status: &Status) {
        let path = self.state.status(key);
        if let Err(err) = tokio::task::block_in_place(|| save(&path, status, Flush::None)) {
            tracing::warn!("{:#}", anyhow::Error::from(err));
        }
    }

    /// Forgets a status message, which has gone or has become the answer.
    pub(crate) fn forget(&self, key: &Key) {
        let path = self.state.status(key);
        if let Err(err) = tokio::task::block_in_place(|| tinyclaw_disk::remove(&path)) {
            tracing::warn!("{err}");
        }
    }

    /// The turns that have a status message.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> + use<> {
        let entries = std::fs::read_dir(self.state.statuses()).into_iter().flatten().flatten();
        entries.filter_map(|it| it.file_name().to_str()?.strip_suffix(".json")?.parse().ok())
    }

    /// The ids of status messages in a chat.
    pub(crate) fn messages_in(&self, chat: i64) -> HashSet<i64> {
        let statuses = self.keys().filter_map(|it| self.read(&it));
        statuses.filter(|it| it.address.chat == chat).filter_map(|it| it.message).collect()
    }
}
