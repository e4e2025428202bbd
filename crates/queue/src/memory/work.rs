//! What a queue does, in memory.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::{Key, Message};
use tokio::sync::Notify;

use super::hold::RowHold;
use super::{Memory, Row, State};
use crate::clock::now_ms;
use crate::error::{ClaimError, Fault, MoveError, OpenError, PublishError};
use crate::work::{Draft, Look, Taken, Work};
use crate::{Durability, Keep, Place, Published, Side, Swept, Trouble, Which};

impl Work for Memory {
    fn put(&self, draft: Draft, _: Durability) -> Result<Published, PublishError> {
        let away = |source| PublishError::Away { key: draft.key.clone(), source };
        let mut state = self.0.reach().map_err(away)?;
        Ok(self.0.add(&mut state, draft))
    }

    fn take(self: Arc<Memory>, side: Side, which: &Which) -> Result<Option<Taken>, ClaimError> {
        let mut state = self.0.reach().map_err(|source| ClaimError::Away { source })?;
        let Some(key) = state.choose(side, which, now_ms()) else { return Ok(None) };
        let Some(row) = state.row(&key).cloned() else { return Ok(None) };
        let message = row.message().map_err(|err| ClaimError::Read {
            name: row.name.to_string(),
            source: Fault::of(err),
        })?;
        let recovered = row.place == side.working();
        if !recovered {
            self.0.shift(&mut state, &key, side.working(), |_| ());
        }
        state.claims += 1;
        let claim = state.claims;
        let lane = row.name.lane;
        state.held.insert((side, lane.clone()), claim);
        drop(state);
        let hold = RowHold { memory: (*self).clone(), side, lane, key: key.clone(), claim };
        Ok(Some(Taken { hold: Box::new(hold), key, message, recovered }))
    }

    fn catch_up(&self) -> Result<(), ClaimError> {
        Ok(())
    }

    fn sweep(&self) -> Result<bool, ClaimError> {
        Ok(false)
    }

    fn edit(&self, key: &Key, change: &mut dyn FnMut(&mut Message)) -> Result<bool, MoveError> {
        let found = {
            let state = self.0.reach().map_err(away(key))?;
            state.row(key).filter(|it| it.place == Place::Incoming).cloned()
        };
        let Some(row) = found else { return Ok(false) };
        let json = |source| MoveError::Json { key: key.clone(), source };
        // Without the lock, as elsewhere: somebody may claim it while it is changed.
        let mut message = row.message().map_err(json)?;
        change(&mut message);
        let changed = serde_json::to_vec(&message).map_err(json)?;
        let mut state = self.0.reach().map_err(away(key))?;
        match state.row_mut(key) {
            Some(row) if row.place == Place::Incoming => {
                row.json = changed;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn requeue(
        &self,
        key: &Key,
        renew: &mut dyn FnMut(&mut Message) -> Place,
    ) -> Result<Place, MoveError> {
        let mut state = self.0.reach().map_err(away(key))?;
        let row = given_up(&state, key)?;
        let json = |source| MoveError::Json { key: key.clone(), source };
        let mut message = row.message().map_err(json)?;
        let place = renew(&mut message);
        let renewed = serde_json::to_vec(&message).map_err(json)?;
        self.0.shift(&mut state, key, place, |row| {
            row.json = renewed;
            row.reason = None;
            row.name = row.name.at_epoch(0);
        });
        Ok(place)
    }

    fn bury(&self, key: &Key, reason: &str) -> Result<(), MoveError> {
        let mut state = self.0.reach().map_err(away(key))?;
        let wanted = "incoming/ or outgoing/";
        let not_there = || MoveError::NotThere { key: key.clone(), wanted };
        let row = state.row(key).ok_or_else(not_there)?;
        let of = |side: Side| [side.waiting(), side.working()].contains(&row.place);
        let sides = [Side::Run, Side::Send];
        let side = sides.into_iter().find(|it| of(*it)).ok_or_else(not_there)?;
        let is_held = state.held.contains_key(&(side, row.name.lane.clone()));
        if row.place == side.working() && is_held {
            return Err(MoveError::Busy { key: key.clone() });
        }
        self.0.shift(&mut state, key, Place::Dead, |it| it.reason = Some(reason.to_owned()));
        Ok(())
    }

    fn purge(&self, key: &Key) -> Result<(), MoveError> {
        let mut state = self.0.reach().map_err(away(key))?;
        given_up(&state, key)?;
        if let Some(row) = state.remove(key) {
            self.0.tell(&row, Some(row.place), None);
        }
        Ok(())
    }

    fn housekeep(&self) -> Result<Swept, OpenError> {
        drop(self.0.reach().map_err(|source| OpenError::Away { source })?);
        Ok(Swept::default())
    }

    fn retire(&self, keep: &Keep) -> Result<usize, OpenError> {
        let mut state = self.0.reach().map_err(|source| OpenError::Away { source })?;
        let now = now_ms();
        let is_old = |row: &&Row| {
            let age = Duration::from_millis(now.saturating_sub(row.since));
            match row.place {
                Place::Dead => age > keep.dead,
                Place::Quarantine => age > keep.quarantine,
                _ => false,
            }
        };
        let old: Vec<Key> =
            state.rows.values().filter(is_old).map(|it| it.name.key.clone()).collect();
        for key in &old {
            if let Some(row) = state.remove(key) {
                self.0.tell(&row, Some(row.place), None);
            }
        }
        Ok(old.len())
    }

    fn waiting(&self, side: Side, lane: &str) -> (usize, usize) {
        let state = self.0.state();
        let waits = |it: &&Row| it.place == side.waiting();
        let in_lane = |it: &&Row| waits(it) && it.name.lane.to_string() == lane;
        (state.rows.values().filter(waits).count(), state.rows.values().filter(in_lane).count())
    }

    fn has_work(&self, side: Side, lane: &str) -> bool {
        self.0.state().rows.values().any(|it| {
            [side.waiting(), side.working()].contains(&it.place) && it.name.lane.to_string() == lane
        })
    }

    fn has_room(&self) -> bool {
        true
    }

    fn troubles(&self) -> Vec<Trouble> {
        Vec::new()
    }

    fn changed(&self) -> Arc<Notify> {
        self.0.changed.clone()
    }

    fn next_due(&self, side: Side) -> Option<u64> {
        let (state, now) = (self.0.state(), now_ms());
        let waits = state.rows.values().filter(|it| it.place == side.waiting());
        waits.map(|it| it.due(now)).filter(|it| *it > now).min()
    }

    fn lost(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let shared = self.0.clone();
        Box::pin(async move {
            loop {
                // Registered before the look, so that nothing between is missed.
                let mut changed = std::pin::pin!(shared.changed.notified());
                changed.as_mut().enable();
                if shared.state().is_lost {
                    return;
                }
                changed.await;
            }
        })
    }

    fn look(&self) -> Arc<dyn Look> {
        Arc::new(self.clone())
    }
}

fn given_up<'a>(state: &'a State, key: &Key) -> Result<&'a Row, MoveError> {
    let row = state.row(key).filter(|it| matches!(it.place, Place::Dead | Place::Quarantine));
    row.ok_or_else(|| MoveError::NotThere { key: key.clone(), wanted: "dead/ or quarantine/" })
}

fn away(key: &Key) -> impl Fn(Fault) -> MoveError {
    move |source| MoveError::Away { key: key.clone(), source }
}
