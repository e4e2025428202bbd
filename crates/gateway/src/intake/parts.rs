//! Taking parts out of an event's object, for all shapes.

use serde_json::{Map, Value};

use crate::event::Invalid;

/// Takes a member that must be text where it is there.
pub(super) fn text(object: &mut Map<String, Value>, key: &str) -> Result<Option<String>, Invalid> {
    match object.shift_remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(it)) => Ok(Some(it)),
        Some(_) => Err(Invalid::at(format!("/{key}"), "expected text")),
    }
}
