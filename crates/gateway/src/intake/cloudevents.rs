//! CloudEvents 1.0.2 over HTTP: structured (one object, or a batch of them), and binary, where the parts are headers.

use axum::http::HeaderMap;
use serde_json::{Map, Value};

use super::parts::text;
use crate::event::{Draft, Invalid, Timestamp};

/// One event as an object.
pub(super) fn structured(mut object: Map<String, Value>) -> Result<Draft, Invalid> {
    let mut attributes = Map::new();
    let data = object.shift_remove("data");
    let base64 = object.shift_remove("data_base64");
    for key in ["specversion", "type", "id", "source"] {
        let value = text(&mut object, key)?.filter(|it| !it.is_empty());
        let value = value.ok_or_else(|| Invalid::at(format!("/{key}"), "is required"))?;
        attributes.insert(key.to_owned(), value.into());
    }
    attributes.extend(object);
    if data.is_some() && base64.is_some() {
        return Err(Invalid::at("/data_base64", "stands beside data; keep one of them"));
    }
    let metadata = match (data, base64) {
        (Some(Value::Object(it)), _) => it,
        (Some(Value::Null) | None, None) => Map::new(),
        (Some(other), _) => Map::from_iter([("data".to_owned(), other)]),
        (None, Some(other)) => Map::from_iter([("data_base64".to_owned(), other)]),
    };
    draft(attributes, metadata)
}

/// One event whose attributes are headers and whose data is the body.
pub(super) fn binary(headers: &HeaderMap, kind: &str, body: &[u8]) -> Result<Draft, Invalid> {
    let mut attributes = Map::new();
    for (name, value) in headers {
        let Some(name) = name.as_str().strip_prefix("ce-") else { continue };
        let bad = || Invalid::at(format!("/ce-{name}"), "is no percent-encoded text");
        let value = percent_decoded(value.to_str().map_err(|_| bad())?).ok_or_else(bad)?;
        attributes.insert(name.to_owned(), value.into());
    }
    for key in ["type", "id", "source"] {
        let is_there = attributes.get(key).and_then(Value::as_str).is_some_and(|it| !it.is_empty());
        if !is_there {
            return Err(Invalid::at(format!("/ce-{key}"), "is required"));
        }
    }
    if !kind.is_empty() {
        attributes.insert("datacontenttype".to_owned(), kind.into());
    }
    let is_json = kind.is_empty() || kind == "application/json" || kind.ends_with("+json");
    let metadata = if body.is_empty() {
        Map::new()
    } else if is_json {
        match serde_json::from_slice(body) {
            Ok(Value::Object(it)) => it,
            Ok(other) => Map::from_iter([("data".to_owned(), other)]),
            Err(err) => return Err(Invalid::at("/data", format!("is not JSON: {err}"))),
        }
    } else {
        let text = std::str::from_utf8(body);
        let text = text.map_err(|_| Invalid::at("/data", "is neither JSON nor UTF-8 text"))?;
        Map::from_iter([("data".to_owned(), text.into())])
    };
    draft(attributes, metadata)
}

fn draft(
    mut attributes: Map<String, Value>,
    mut metadata: Map<String, Value>,
) -> Result<Draft, Invalid> {
    let version = text(&mut attributes, "specversion")?.unwrap_or_default();
    if version != "1.0" {
        return Err(Invalid::at("/specversion", format!("{version:?} is not 1.0")));
    }
    let time = text(&mut attributes, "time")?;
    let timestamp = time.map(|it| {
        let wrong = || Invalid::at("/time", "expected a time as RFC 3339 has it");
        Timestamp::of_text(&it).ok_or_else(wrong)
    });
    let mut get = |key| text(&mut attributes, key);
    let (kind, id, source) = (get("type")?, get("id")?, get("source")?);
    let subject = get("subject")?;
    let session = get("session")?.or(get("sessionid")?);
    if attributes.get("datacontenttype").is_some_and(|it| it == "application/json") {
        attributes.shift_remove("datacontenttype");
    }
    // What has no place of its own is not lost.
    if !attributes.is_empty() {
        metadata.entry("cloudevent").or_insert(Value::Object(attributes));
    }
    Ok(Draft {
        kind: kind.unwrap_or_default(),
        timestamp: timestamp.transpose()?,
        source: source.unwrap_or_default(),
        id,
        session,
        subject,
        metadata,
    })
}

/// Header values carry what is not ASCII as `%XX`.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        match first {
            b'%' => {
                let hex = std::str::from_utf8(after.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(hex, 16).ok()?);
                rest = &after[2..];
            }
            other => {
                bytes.push(*other);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}
