//! What comes in at `POST /events`, in any of the shapes that senders have, made into drafts of events.
//!
//! | shape | known by |
//! |---|---|
//! | ours, and the seed's | `type` |
//! | pai-daemon's | `hook_event_type` |
//! | a hook of Claude's, as the CLI gives it | `hook_event_name` |
//! | a hook that `tinyclaw hook` kept | `hook` |
//! | CloudEvents 1.0, structured or in a batch | `specversion` |
//! | CloudEvents 1.0, binary | the header `ce-specversion` |
//!
//! One JSON object is one event, an array or lines are several. Nothing is checked here beyond what is needed to find the
//! parts; `event` refuses what cannot be kept.

mod cloudevents;
mod parts;
mod shapes;

use axum::http::{HeaderMap, header};
use serde_json::Value;

use crate::event::{Draft, Invalid, NewEvent};
use crate::problem::Problem;

/// So many events in one request.
pub const BATCH_EVENTS_MAX: usize = 1_000;
/// So many bytes in one request.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// A request's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intake {
    /// In the order in which they came.
    pub events: Vec<NewEvent>,
    /// Whether they came as several: then each is answered.
    pub is_batch: bool,
}

/// Reads a request. `source` is who sends, where an event does not say.
pub fn read(headers: &HeaderMap, body: &[u8], source: &str) -> Result<Intake, Problem> {
    let kind = media_type(headers)?;
    if headers.contains_key("ce-specversion") {
        let draft = cloudevents::binary(headers, &kind, body);
        return Ok(Intake { events: vec![checked(draft, source, None)?], is_batch: false });
    }
    let lines = |source| {
        let lines = body.split(|it| *it == b'\n').filter(|it| !it.trim_ascii().is_empty());
        let values = lines.enumerate().map(|(at, line)| {
            serde_json::from_slice(line)
                .map_err(|err| Problem::bad_json(format!("line {at}: {err}")))
        });
        several(values.collect::<Result<_, _>>()?, source)
    };
    match kind.as_str() {
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => lines(source),
        "" | "application/json" => match json(body)? {
            Value::Array(all) => several(all, source),
            one => {
                let event = checked(shapes::draft(one), source, None)?;
                Ok(Intake { events: vec![event], is_batch: false })
            }
        },
        "application/cloudevents+json" => {
            let event = checked(cloudevent(json(body)?), source, None)?;
            Ok(Intake { events: vec![event], is_batch: false })
        }
        "application/cloudevents-batch+json" => match json(body)? {
            Value::Array(all) => several_of(cloudevent, all, source),
            _ => Err(Problem::invalid(Invalid::at("", "expected an array of CloudEvents"))),
        },
        other => {
            let detail = format!(
                "{other:?} is not read here; send application/json, application/x-ndjson or CloudEvents"
            );
            let status = axum::http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
            Err(Problem::new(status, "unsupported_media_type", detail))
        }
    }
}

/// Reads a hook of Claude's, as the CLI posts it.
pub fn read_hook(body: &[u8], source: &str) -> Result<NewEvent, Problem> {
    checked(shapes::hook(json(body)?), source, None)
}

fn json(body: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(body).map_err(|err| Problem::bad_json(err.to_string()))
}

/// Whatever is sent as a `CloudEvent` has to be one.
fn cloudevent(value: Value) -> Result<Draft, Invalid> {
    match value {
        Value::Object(object) => cloudevents::structured(object),
        _ => Err(Invalid::at("", "expected a CloudEvent: { \"specversion\": \"1.0\", … }")),
    }
}

fn several(values: Vec<Value>, source: &str) -> Result<Intake, Problem> {
    several_of(shapes::draft, values, source)
}

fn several_of(
    draft: fn(Value) -> Result<Draft, Invalid>,
    values: Vec<Value>,
    source: &str,
) -> Result<Intake, Problem> {
    if values.len() > BATCH_EVENTS_MAX {
        let detail = format!("{} events are more than {BATCH_EVENTS_MAX}", values.len());
        return Err(Problem::invalid(Invalid::at("", detail)));
    }
    if values.is_empty() {
        return Err(Problem::invalid(Invalid::at("", "there is no event in it")));
    }
    let events = values.into_iter().enumerate();
    let events = events.map(|(at, it)| checked(draft(it), source, Some(at)));
    Ok(Intake { events: events.collect::<Result<_, _>>()?, is_batch: true })
}

fn checked(
    draft: Result<Draft, Invalid>,
    source: &str,
    index: Option<usize>,
) -> Result<NewEvent, Problem> {
    let event = draft.and_then(|mut draft| {
        if draft.source.is_empty() {
            draft.source = source.to_owned();
        }
        NewEvent::checked(draft)
    });
    event.map_err(|it| {
        let prefix = index.map(|it| format!("/{it}")).unwrap_or_default();
        Problem::invalid(Invalid { pointer: format!("{prefix}{}", it.pointer), ..it })
    })
}

/// The media type without its parameters, in small letters; empty when none is said.
fn media_type(headers: &HeaderMap) -> Result<String, Problem> {
    let unsupported = |detail: &str| {
        let status = axum::http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Problem::new(status, "unsupported_media_type", detail)
    };
    if headers.get(header::CONTENT_ENCODING).is_some_and(|it| it != "identity") {
        return Err(unsupported("nothing compressed is read here"));
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(String::new()) };
    let value = value.to_str().map_err(|_| unsupported("its Content-Type is no text"))?;
    Ok(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

#[cfg(test)]
mod tests;
