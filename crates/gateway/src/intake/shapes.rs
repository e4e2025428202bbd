//! The shapes of events in JSON but for CloudEvents: what part of each is what.

use serde_json::{Map, Value};

use super::cloudevents;
use super::parts::text;
use crate::event::{Draft, Invalid, Timestamp};

/// One event, in whichever shape it is.
pub(super) fn draft(value: Value) -> Result<Draft, Invalid> {
    let Value::Object(object) = value else {
        return Err(Invalid::at("", "expected an object: { \"type\": … }"));
    };
    if object.contains_key("specversion") {
        cloudevents::structured(object)
    } else if object.contains_key("hook_event_name") {
        hook(Value::Object(object))
    } else if object.contains_key("hook_event_type") {
        pai(object)
    } else if object.contains_key("hook") && !object.contains_key("type") {
        kept(object)
    } else {
        ours(object)
    }
}

/// `{"type","timestamp"?,"metadata"?,"id"?,"source"?,"session"?,"subject"?}`. Whatever else stands beside them belongs to
/// the metadata.
fn ours(mut object: Map<String, Value>) -> Result<Draft, Invalid> {
    let mut draft = Draft {
        kind: text(&mut object, "type")?.ok_or_else(|| Invalid::at("/type", "is missing"))?,
        timestamp: timestamp(&mut object)?,
        source: text(&mut object, "source")?.unwrap_or_default(),
        id: text(&mut object, "id")?,
        session: text(&mut object, "session")?,
        subject: text(&mut object, "subject")?,
        metadata: match object.shift_remove("metadata") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(it)) => it,
            Some(_) => return Err(Invalid::at("/metadata", "expected an object")),
        },
    };
    for (key, value) in object {
        draft.metadata.entry(key).or_insert(value);
    }
    if draft.session.is_none() {
        draft.session = session_in(&draft.metadata);
    }
    Ok(draft)
}

/// A hook of Claude's: everything it says is the metadata.
pub(super) fn hook(value: Value) -> Result<Draft, Invalid> {
    let Value::Object(metadata) = value else {
        return Err(Invalid::at("", "expected an object: { \"hook_event_name\": … }"));
    };
    let name = metadata.get("hook_event_name").and_then(Value::as_str);
    let name = name.filter(|it| !it.is_empty());
    let name = name.ok_or_else(|| Invalid::at("/hook_event_name", "expected a name"))?;
    let of = |key: &str| metadata.get(key).and_then(Value::as_str).map(str::to_owned);
    Ok(Draft {
        kind: format!("claude.{name}"),
        session: of("session_id"),
        subject: of("tool_use_id"),
        metadata,
        ..Draft::default()
    })
}

/// `{"id","source"?,"timestamp"?,"hook":{…}}`: a hook, and when and as what `tinyclaw hook` kept it.
fn kept(mut object: Map<String, Value>) -> Result<Draft, Invalid> {
    let inner = object.shift_remove("hook").unwrap_or_default();
    let mut draft =
        hook(inner).map_err(|it| Invalid { pointer: format!("/hook{}", it.pointer), ..it })?;
    draft.id = text(&mut object, "id")?;
    draft.source = text(&mut object, "source")?.unwrap_or_default();
    draft.timestamp = timestamp(&mut object)?;
    Ok(draft)
}

/// pai-daemon's `{"source_app","session_id","hook_event_type","client_name"?,"payload","timestamp"}`.
fn pai(mut object: Map<String, Value>) -> Result<Draft, Invalid> {
    let name = text(&mut object, "hook_event_type")?.unwrap_or_default();
    let payload = object.shift_remove("payload").unwrap_or_default();
    let mut metadata = match payload {
        Value::Object(it) => it,
        Value::Null => Map::new(),
        other => Map::from_iter([("payload".to_owned(), other)]),
    };
    let session = text(&mut object, "session_id")?;
    let source = text(&mut object, "source_app")?.unwrap_or_default();
    let id = text(&mut object, "id")?;
    let timestamp = timestamp(&mut object)?;
    for (key, value) in object {
        metadata.entry(key).or_insert(value);
    }
    let subject = metadata.get("tool_use_id").and_then(Value::as_str).map(str::to_owned);
    Ok(Draft { kind: format!("claude.{name}"), timestamp, source, id, session, subject, metadata })
}

/// A session that the metadata names, if it could be one.
fn session_in(metadata: &Map<String, Value>) -> Option<String> {
    let named = ["sessionId", "session_id"].iter().find_map(|it| metadata.get(*it)?.as_str());
    let is_name = |it: &&str| it.len() <= 128 && !it.chars().any(char::is_control);
    named.filter(is_name).map(str::to_owned)
}

/// Numbers below this are seconds: as ms they would be of January 1970 to 1973.
const MS_FROM: u64 = 100_000_000_000;

fn timestamp(object: &mut Map<String, Value>) -> Result<Option<Timestamp>, Invalid> {
    let wrong = || {
        Invalid::at(
            "/timestamp",
            "expected ISO 8601 with a zone, such as 2026-01-16T19:30:00Z, or ms since 1970",
        )
    };
    match object.shift_remove("timestamp") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(it)) => Timestamp::of_text(&it).ok_or_else(wrong).map(Some),
        Some(Value::Number(it)) => {
            let whole =
                it.as_u64().or_else(|| it.as_f64().filter(|it| *it >= 0.0).map(|it| it as u64));
            let number = whole.ok_or_else(wrong)?;
            let ms = if number < MS_FROM { number.saturating_mul(1000) } else { number };
            Timestamp::of_ms(ms).ok_or_else(wrong).map(Some)
        }
        Some(_) => Err(wrong()),
    }
}
