//! What was said in a topic and is not in the queue yet: it waits for more, or its files are being fetched. Who said it
//! can still stop it.
//!
//! What is stopped is finished at once, and never goes into the queue. One lock decides: whoever is later, the stop or
//! the message, sees the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::Notify;

/// One topic's, by update.
#[derive(Debug, Default)]
pub(crate) struct Unpublished {
    /// Guards who said what and what is stopped. The updates are finished and grouped under it, which takes their lock.
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Who said it, by update.
    said: BTreeMap<i64, i64>,
    stopped: BTreeSet<i64>,
}

impl State {
    fn take_stopped(&mut self, ids: &[i64]) -> BTreeSet<i64> {
        let gone: BTreeSet<i64> =
            ids.iter().copied().filter(|it| self.stopped.remove(it)).collect();
        self.said.retain(|it, _| !gone.contains(it));
        gone
    }
}

impl Unpublished {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|it| it.into_inner())
    }

    /// Somebody said something.
    pub(crate) fn put(&self, update: i64, from: i64) {
        self.state().said.insert(update, from);
    }

    /// Stops whatever a person said so far; gives the updates. `finish` marks them as dealt with.
    pub(crate) fn stop(&self, from: i64, finish: impl FnOnce(&[i64])) -> Vec<i64> {
        let mut state = self.state();
        let State { said, stopped } = &mut *state;
        let new = said.iter().filter(|(id, by)| **by == from && !stopped.contains(*id));
        let ids: Vec<i64> = new.map(|(id, _)| *id).collect();
        if !ids.is_empty() {
            finish(&ids);
            stopped.extend(&ids);
            // Kept for a line that is not waiting at the moment.
            self.changed.notify_one();
        }
        ids
    }

    /// Waits until one of these is stopped.
    pub(crate) async fn stopped(&self, ids: &[i64]) {
        loop {
            let changed = self.changed.notified();
            if self.is_stopped(ids) {
                return;
            }
            changed.await;
        }
    }

    /// Whether one of these is stopped.
    pub(crate) fn is_stopped(&self, ids: &[i64]) -> bool {
        let state = self.state();
        ids.iter().any(|it| state.stopped.contains(it))
    }

    /// Does something that must not happen to what is stopped, unless one of these is: then those are given, and
    /// forgotten here.
    pub(crate) fn unless_stopped(&self, ids: &[i64], what: impl FnOnce()) -> BTreeSet<i64> {
        let mut state = self.state();
        let gone = state.take_stopped(ids);
        if gone.is_empty() {
            what();
        }
        gone
    }

    /// These go into the queue now and cannot be stopped here any more, unless one of them is stopped.
    pub(crate) fn release(&self, ids: &[i64]) -> BTreeSet<i64> {
        let mut state = self.state();
        let gone = state.take_stopped(ids);
        if gone.is_empty() {
            state.said.retain(|it, _| !ids.contains(it));
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stopped_is_not_released_and_what_is_released_is_not_stopped() {
        let unpublished = Unpublished::default();
        for (update, from) in [(1, 101), (2, 102), (3, 101), (4, 101)] {
            unpublished.put(update, from);
        }
        assert_eq!(unpublished.release(&[1]), BTreeSet::new());
        let mut finished = Vec::new();
        assert_eq!(unpublished.stop(101, |it| finished.extend_from_slice(it)), [3, 4]);
        assert_eq!(finished, [3, 4]);
        assert_eq!(unpublished.stop(101, |_| panic!("stopped twice")), [0; 0]);
        assert_eq!(unpublished.release(&[2]), BTreeSet::new());
        unpublished.put(5, 101);
        // What came after the stop stays.
        assert_eq!(unpublished.release(&[3, 4, 5]), BTreeSet::from([3, 4]));
        assert_eq!(unpublished.release(&[5]), BTreeSet::new());
    }
}
