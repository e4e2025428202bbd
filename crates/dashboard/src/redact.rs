//! Takes secrets out of whatever leaves the server.
//!
//! It works on finished text (JSON or a log line), so no field is forgotten. The dashboard holds no secrets: it knows what
//! they look like, and something that only looks like one is hidden as well. What is hidden says so where it stood, and
//! the page counts that; the server does not, because it shows the same secret as often as it is asked.

use std::borrow::Cow;

use serde::Serialize;
use tinyclaw_service::conceal;

/// `it` as JSON without secrets. The shapes are ours: strings, numbers and maps with string keys always become JSON.
pub(crate) fn redacted_json(it: &impl Serialize) -> String {
    redacted(serde_json::to_string(it).unwrap_or_default())
}

/// `text` without secrets: each is replaced by `[hidden: …]`.
pub(crate) fn redacted(text: String) -> String {
    match conceal(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(it) => it,
    }
}
