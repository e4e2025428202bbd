//! `GET /api/messages/{key}/timeline`: what is known of one message, in the order in which it happened.
//!
//! It has what was decided and done, and what it took: where the message is in the queue, its answer without the text, its
//! tools, what was sent of it, its events, the steps of its turn, and the hooks of the tools it used. What was said is the
//! dashboard's to show.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};
use tinyclaw_domain::{JobEvent, JobId, JobLine, Key, StateDir};
use tinyclaw_ledger::JobReader;
use tinyclaw_queue::View;

use super::App;
use super::admit::{Admitted, Reads};
use crate::problem::Problem;

/// So many events, so many steps of the turn, and the hooks of so many tools.
const EVENTS_MAX: usize = 1_000;
const STEPS_MAX: usize = 2_000;
const TOOLS_MAX: usize = 500;

/// The story of a message.
pub(super) async fn timeline(
    State(app): State<Arc<App>>,
    Path(key): Path<String>,
    by: Admitted<Reads>,
) -> Result<Response, Problem> {
    let unknown = || {
        Problem::new(StatusCode::NOT_FOUND, "unknown_message", "nothing is known of that message")
    };
    let key: Key = key.parse().map_err(|_| unknown())?;
    let (state, of) = (app.state.clone(), key.clone());
    let known = tokio::task::spawn_blocking(move || (steps(&state, &of), in_queue(&state, &of)));
    let (steps, mut told) = known.await.unwrap_or_default();
    let mut subjects = vec![key.to_string()];
    subjects.extend(tools(&steps).take(TOOLS_MAX).map(str::to_owned));
    let frames = app.store.about(subjects, EVENTS_MAX).await?;
    let mut events: Vec<Value> =
        frames.iter().filter_map(|it| serde_json::from_str(it.body()).ok()).collect();
    events.sort_by_key(|it| {
        it["timestamp"].as_str().and_then(|it| it.parse::<jiff::Timestamp>().ok())
    });
    if events.is_empty() && steps.is_empty() && told.is_empty() {
        return Err(unknown());
    }
    told.insert("success".to_owned(), true.into());
    told.insert("key".to_owned(), json!(key));
    told.insert("events".to_owned(), events.into());
    told.insert("steps".to_owned(), json!(steps));
    Ok(by.tell(told.into()))
}

/// What the queue has of it, without what was said. Empty when it is not there.
fn in_queue(state: &StateDir, key: &Key) -> Map<String, Value> {
    let found = View::new(state.root()).find(key).unwrap_or_else(|err| {
        tracing::warn!("a timeline lacks what the queue has: {err}");
        None
    });
    let Some(seen) = found else { return Map::new() };
    let message = &seen.message;
    let reply = message.reply.as_ref().map(|it| {
        json!({
            "outcome": it.outcome, "model": it.model, "tier": it.tier, "usage": it.usage,
            "contextTokens": it.context_tokens, "costUsd": it.cost_usd, "durationMs": it.duration_ms,
            "tools": it.tools,
        })
    });
    let told = json!({
        "place": seen.place.as_str(), "position": seen.position, "queuedAt": seen.queued_at,
        "threadId": message.thread_id, "channel": message.channel, "attempts": message.attempts,
        "reply": reply, "delivery": message.delivery,
    });
    told.as_object().cloned().unwrap_or_default()
}

/// The ids of the tools that were used: hooks tell of them under these.
fn tools(steps: &[JobLine]) -> impl Iterator<Item = &str> {
    steps.iter().filter_map(|it| match &it.event {
        JobEvent::Tool { id, .. } => Some(id.as_str()),
        _ => None,
    })
}

/// The turn's own log, without its texts.
fn steps(state: &StateDir, key: &Key) -> Vec<JobLine> {
    let mut reader = JobReader::open(state, key, JobId::default());
    let mut steps = Vec::new();
    while steps.len() < STEPS_MAX {
        // A log that is not there, or no longer, has no steps.
        let lines = reader.poll().unwrap_or_default();
        if lines.is_empty() {
            break;
        }
        steps.extend(lines.into_iter().filter(|it| {
            !matches!(it.event, JobEvent::Text { .. } | JobEvent::TextDone { .. } | JobEvent::Void)
        }));
    }
    steps.truncate(STEPS_MAX);
    steps
}
