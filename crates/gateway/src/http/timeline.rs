//! `GET /api/messages/{key}/timeline`: what is known of one message, in the order in which it happened.
//!
//! It has what was decided and done, and what it took; what was said is the dashboard's to show.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tinyclaw_domain::{JobEvent, JobId, JobLine, Key, Scope};
use tinyclaw_ledger::JobReader;

use super::{App, Asking};
use crate::access::Kind;
use crate::filter::Filter;
use crate::problem::{Problem, with_allowance};

/// So many events, and so many steps of the turn.
const EVENTS_MAX: usize = 1_000;
const STEPS_MAX: usize = 2_000;

/// The story of a message.
pub(super) async fn timeline(
    State(app): State<Arc<App>>,
    Path(key): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = app.admit(&Asking::of(&parts), Some(Scope::Read)).await?;
    let allowance = app.ask(Kind::Read, &caller, 1)?;
    let unknown = || {
        Problem::new(StatusCode::NOT_FOUND, "unknown_message", "nothing is known of that message")
    };
    let key: Key = key.parse().map_err(|_| unknown())?;
    let filter = Filter { subject: Some(key.to_string()), ..Filter::default() };
    let page = app.store.page(&filter, 0, EVENTS_MAX).await?;
    let mut events: Vec<serde_json::Value> =
        page.frames.iter().filter_map(|it| serde_json::from_str(it.body()).ok()).collect();
    events.sort_by_key(|it| it["timestamp"].as_str().map(str::to_owned));
    let (state, of) = (app.state.clone(), key.clone());
    let steps = tokio::task::spawn_blocking(move || steps(&state, &of)).await.unwrap_or_default();
    if events.is_empty() && steps.is_empty() {
        return Err(unknown());
    }
    let told = json!({ "success": true, "key": key, "events": events, "steps": steps });
    let mut response = axum::Json(told).into_response();
    with_allowance(&mut response, &allowance);
    Ok(response)
}

/// The turn's own log, without its texts.
fn steps(state: &tinyclaw_domain::StateDir, key: &Key) -> Vec<JobLine> {
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
