//! What the office knows of its threads, as `threads.json` has it. Where a thread lives in Telegram is in
//! [`crate::bot::addresses`].

use tinyclaw_domain::{ThreadId, Threads};
use tinyclaw_ledger::{StateDir, read_threads};

use crate::bot::addresses::AddressBook;

/// All threads; none while there is no list that can be read.
pub(crate) fn listed(state: &StateDir) -> Threads {
    read_threads(state).unwrap_or_else(|err| {
        tracing::warn!("{:#}", anyhow::Error::from(err));
        Threads::new()
    })
}

/// What people call a thread.
pub(crate) fn name_of(state: &StateDir, addresses: &AddressBook, thread: &ThreadId) -> String {
    let listed = listed(state).remove(thread).map(|it| it.name);
    listed.filter(|it| !it.is_empty()).or_else(|| addresses.name(thread)).unwrap_or_else(|| {
        if *thread == ThreadId::master() {
            "General".to_owned()
        } else if thread.as_str().starts_with('u') {
            "Private chat".to_owned()
        } else {
            format!("Thread {thread}")
        }
    })
}
