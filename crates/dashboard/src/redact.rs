//! Takes secrets out of whatever leaves the server, and counts them.
//!
//! It works on finished text (JSON or a log line), so no field is forgotten. The dashboard holds no secrets: it knows what
//! they look like, and something that only looks like one is hidden as well.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};

use tinyclaw_service::conceal_and_tell;

/// How many secrets were taken out since the start.
static TAKEN_OUT: AtomicU64 = AtomicU64::new(0);

/// `text` without secrets: each is replaced by `[hidden: …]`.
pub(crate) fn redacted(text: String) -> String {
    let count = || {
        TAKEN_OUT.fetch_add(1, Ordering::Relaxed);
    };
    match conceal_and_tell(&text, count) {
        Cow::Borrowed(_) => text,
        Cow::Owned(it) => it,
    }
}

/// How many secrets were taken out since the start.
pub(crate) fn taken_out() -> u64 {
    TAKEN_OUT.load(Ordering::Relaxed)
}
