//! What becomes of a topic with an answer: it is called otherwise, or closed. Whoever carries the answer out does that last.

use serde::{Deserialize, Serialize};

use crate::ThreadId;

/// A change of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopicChange {
    /// Whose topic, which need not be the one of the answer.
    pub thread: ThreadId,
    /// What it is called from now on.
    pub name: String,
    /// Whether it is closed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub close: bool,
}
