//! Group commit: publishers that come at the same time share the flush of the folder.
//!
//! Whoever comes while a flush is running was too late for it, and waits for the next one together with all others who come
//! until then. Whoever is alone waits for nobody, unless it gives the others time to come.
//!
//! Each flushes its own file, side by side, and the file system makes one commit of those. Flushing the whole file
//! system at once was tried: beside a compiler it waits for the compiler's files.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tinyclaw_disk::{DiskError, rename_no_replace, sync_dir};

/// So long a publisher that does not mind may wait for others to come.
pub(super) const WINDOW: Duration = Duration::from_millis(2);
/// A group is closed when it is full.
const GROUP_MAX: usize = 32;

/// A flushed file on its way to its place.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) tmp: PathBuf,
    pub(super) target: PathBuf,
}

#[derive(Debug)]
pub(super) struct Group {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<(u64, Job)>,
    next: u64,
    has_leader: bool,
    results: Vec<(u64, Result<(), DiskError>)>,
}

impl Group {
    pub(super) fn new() -> Group {
        Group { state: Mutex::default(), changed: Condvar::new() }
    }

    /// Brings a file to its place durably, together with those who wait for the same, and with others that come within the window.
    /// Blocks until it is there.
    pub(super) fn commit(&self, job: Job, window: Duration) -> Result<(), DiskError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = state.next;
        state.next += 1;
        state.waiting.push((ticket, job));
        if state.waiting.len() >= GROUP_MAX {
            self.changed.notify_all();
        }
        loop {
            if let Some(at) = state.results.iter().position(|it| it.0 == ticket) {
                return state.results.swap_remove(at).1;
            }
            if state.has_leader {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.has_leader = true;
            let until = Instant::now() + window;
            while state.waiting.len() < GROUP_MAX {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                state = self
                    .changed
                    .wait_timeout(state, left)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            }
            let take = state.waiting.len().min(GROUP_MAX);
            let group: Vec<(u64, Job)> = state.waiting.drain(..take).collect();
            drop(state);
            let results = commit_all(group);
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.results.extend(results);
            state.has_leader = false;
            self.changed.notify_all();
        }
    }
}

fn commit_all(group: Vec<(u64, Job)>) -> Vec<(u64, Result<(), DiskError>)> {
    let mut results: Vec<(u64, Result<(), DiskError>)> = Vec::with_capacity(group.len());
    let mut dirs: Vec<PathBuf> = Vec::new();
    for (ticket, job) in group {
        let moved = rename_no_replace(&job.tmp, &job.target);
        if moved.is_ok()
            && let Some(dir) = job.target.parent()
            && !dirs.iter().any(|it| it == dir)
        {
            dirs.push(dir.to_owned());
        }
        results.push((ticket, moved));
    }
    for dir in dirs {
        if let Err(err) = sync_dir(&dir) {
            // Nobody of this group may be told that its message is safe.
            for (_, result) in results.iter_mut().filter(|it| it.1.is_ok()) {
                *result = Err(DiskError {
                    step: err.step,
                    path: err.path.clone(),
                    source: std::io::Error::new(err.source.kind(), err.source.to_string()),
                });
            }
        }
    }
    results
}
