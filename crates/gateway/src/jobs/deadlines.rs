//! Jobs that are stopped when their time is over: one task for all of them, which sleeps until the next.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tinyclaw_domain::Key;
use tinyclaw_service::{Shutdown, now_ms};
use tokio::sync::Notify;

use super::{Jobs, table};

/// What could not be stopped is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// Without a deadline it is looked so often: an addition wakes at once.
const IDLE: Duration = Duration::from_secs(3_600);

#[derive(Debug, Default)]
pub(super) struct Deadlines {
    due: Mutex<BTreeSet<(u64, Key)>>,
    added: Notify,
}

impl Deadlines {
    pub(super) fn add(&self, at: u64, key: Key) {
        self.lock().insert((at, key));
        self.added.notify_one();
    }

    fn next(&self) -> Option<(u64, Key)> {
        self.lock().first().cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(u64, Key)>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Jobs {
    /// Stops jobs whose time is over, those of before a restart as well, until the shutdown.
    pub(crate) async fn keep_deadlines(self: Arc<Jobs>, shutdown: Shutdown) {
        match table::with_deadline(&self.store).await {
            Ok(known) => self.deadlines.lock().extend(known),
            Err(err) => tracing::warn!("the deadlines of earlier jobs are not known: {err}"),
        }
        while !shutdown.has_begun() {
            let next = self.deadlines.next();
            let wait = next
                .as_ref()
                .map_or(IDLE, |(at, _)| Duration::from_millis(at.saturating_sub(now_ms())));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.deadlines.added.notified() => continue,
                () = shutdown.begun() => return,
            }
            let Some((at, key)) = next.filter(|it| it.0 <= now_ms()) else { continue };
            match self.stop_overdue(&key).await {
                Ok(()) => drop(self.deadlines.lock().remove(&(at, key))),
                Err(why) => {
                    tracing::warn!(key = %key, "job {key} is over its time and cannot be stopped: {why:?}");
                    tokio::select! {
                        () = tokio::time::sleep(AGAIN) => {}
                        () = shutdown.begun() => return,
                    }
                }
            }
        }
    }
}
