//! Threads whose directory another office has, each with what it was told of that. Tells nobody.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tinyclaw_domain::ThreadId;
use tinyclaw_engine::Taken;

use crate::blocking::lock;

/// So often it is tried whether the other office is done.
const LOOK: Duration = Duration::from_secs(60);

/// Every thread that waits for another office.
#[derive(Debug, Default)]
pub(crate) struct TakenDirectories {
    /// Guards what each waits for. Held for a look or a change, and nothing is locked within it.
    all: Mutex<BTreeMap<ThreadId, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    by: Taken,
    told: String,
    next_look: Instant,
}

impl TakenDirectories {
    /// A thread cannot have its directory, and was told so.
    pub(crate) fn note(&self, thread: &ThreadId, by: Taken, told: &str) {
        let waiting = Waiting { by, told: told.to_owned(), next_look: Instant::now() + LOOK };
        lock(&self.all).insert(thread.clone(), waiting);
    }

    /// What a thread was told, while it is not tried again.
    pub(crate) fn told(&self, thread: &ThreadId) -> Option<String> {
        let all = lock(&self.all);
        all.get(thread).filter(|it| Instant::now() < it.next_look).map(|it| it.told.clone())
    }

    /// A thread waits for nobody any more. For whom it did.
    pub(crate) fn forget(&self, thread: &ThreadId) -> Option<Taken> {
        lock(&self.all).remove(thread).map(|it| it.by)
    }
}
