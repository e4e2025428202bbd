//! A look at a queue in memory.

use std::sync::Arc;

use tinyclaw_domain::Message;

use super::Memory;
use crate::entry::{At, Shelf};
use crate::error::{Fault, LookError};
use crate::name::{self, Parts};
use crate::work::Look;
use crate::{Place, Watch};

impl Look for Memory {
    fn shelves(&self, place: Place) -> Result<Vec<Shelf>, LookError> {
        Ok(vec![Shelf { place, day: None }])
    }

    fn scan(&self, shelf: &Shelf, each: &mut dyn FnMut(&str, Parts<'_>)) -> Result<(), LookError> {
        let state = self.0.reach().map_err(away)?;
        let rows = state.rows.values().filter(|it| it.place == shelf.place);
        let names: Vec<String> = rows.map(|it| it.name.to_string()).collect();
        // `each` may come back to the queue.
        drop(state);
        for name in &names {
            if let Some(parts) = name::parts(name) {
                each(name, parts);
            }
        }
        Ok(())
    }

    fn at(&self, shelf: &Shelf, name: &str) -> At {
        At::Row(shelf.place, name.to_owned())
    }

    fn read(&self, at: &At) -> Result<Option<Message>, LookError> {
        let At::Row(place, name) = at else { return Ok(None) };
        let state = self.0.reach().map_err(away)?;
        let row = state.rows.values().find(|it| it.place == *place && it.name.to_string() == *name);
        Ok(row.and_then(|it| it.message().ok()))
    }

    fn reason(&self, at: &At) -> Result<Option<String>, LookError> {
        let At::Row(place, name) = at else { return Ok(None) };
        let state = self.0.reach().map_err(away)?;
        let row = state.rows.values().find(|it| it.place == *place && it.name.to_string() == *name);
        Ok(row.and_then(|it| it.reason.clone()))
    }

    fn put_aside(&self) -> Result<usize, LookError> {
        let state = self.0.reach().map_err(away)?;
        Ok(state.rows.values().filter(|it| it.place == Place::Quarantine).count())
    }

    fn watch(&self) -> Watch {
        Watch::new(self.0.changed.clone(), self.0.news.clone(), Arc::new(()))
    }
}

fn away(why: Fault) -> LookError {
    LookError::Away { why }
}
