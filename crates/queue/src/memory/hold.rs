//! A message in hand, in memory: its lane is held under the number of the claim, so that one that was taken away is known.

use tinyclaw_domain::{Key, Lane};

use super::{Memory, State};
use crate::clock::now_ms;
use crate::error::LeaseError;
use crate::work::{Ending, Hold, Safety};
use crate::{Place, Side};

pub(super) struct RowHold {
    pub(super) memory: Memory,
    pub(super) side: Side,
    pub(super) lane: Lane,
    pub(super) key: Key,
    pub(super) claim: u64,
}

impl RowHold {
    fn is_ours(&self, state: &State) -> bool {
        state.held.get(&(self.side, self.lane.clone())) == Some(&self.claim)
    }

    /// Does something to the queue while the message is surely ours.
    fn with<T>(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut State) -> T,
    ) -> Result<T, LeaseError> {
        let key = self.key.clone();
        let reach = self.memory.0.reach();
        let mut state =
            reach.map_err(|source| LeaseError::Away { what, key: key.clone(), source })?;
        if self.is_ours(&state) { Ok(work(&mut state)) } else { Err(LeaseError::Lost { key }) }
    }
}

impl Hold for RowHold {
    fn keep(&mut self, json: Vec<u8>, what: &'static str, _: Safety) -> Result<(), LeaseError> {
        self.with(what, |state| {
            if let Some(row) = state.row_mut(&self.key) {
                row.json = json;
            }
        })
    }

    fn confirm(&mut self, _: Vec<u8>, what: &'static str) -> Result<(), LeaseError> {
        self.with(what, |_| ())
    }

    fn end(&mut self, ending: Ending<'_>) -> Result<(), LeaseError> {
        let shared = &self.memory.0;
        self.with("the end", |state| match ending {
            Ending::On { to, follow_ups } => {
                for draft in follow_ups {
                    shared.add(state, draft);
                }
                shared.shift(state, &self.key, to, |_| ());
            }
            Ending::Back { delay } => {
                let epoch = delay.map_or(0, |it| now_ms() + it.as_millis() as u64);
                shared.shift(state, &self.key, self.side.waiting(), |row| {
                    row.name = row.name.at_epoch(epoch);
                });
            }
            Ending::Dead { reason } => {
                let reason = Some(reason.to_owned());
                shared.shift(state, &self.key, Place::Dead, |row| row.reason = reason);
            }
        })
    }

    fn still_ours(&self) -> bool {
        self.memory.0.reach().is_ok_and(|state| self.is_ours(&state))
    }
}

impl Drop for RowHold {
    fn drop(&mut self) {
        let mut state = self.memory.0.state();
        if self.is_ours(&state) {
            state.held.remove(&(self.side, self.lane.clone()));
        }
        drop(state);
        self.memory.0.changed.notify_waiters();
    }
}
