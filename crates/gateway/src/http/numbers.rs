//! `/metrics`, `/version` and `/stats`: how the gateway fares.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tinyclaw_service::now_ms;

use super::admit::{Admitted, Reads};
use super::{App, STREAMS_MAX};
use crate::event::Cursor;
use crate::filter::Filter;
use crate::problem::Problem;

/// Prometheus' text format.
pub(super) async fn metrics(
    State(app): State<Arc<App>>,
    _: Admitted<Reads>,
) -> Result<Response, Problem> {
    app.vitals.set("subscribers", STREAMS_MAX - app.streams.available_permits());
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], app.vitals.metrics()).into_response())
}

/// What runs.
pub(super) async fn version(_: Admitted<Reads>) -> Result<Response, Problem> {
    let told = json!({ "name": "tinyclaw-gateway", "version": env!("CARGO_PKG_VERSION") });
    Ok(axum::Json(told).into_response())
}

/// What is kept, and who listens.
pub(super) async fn stats(
    State(app): State<Arc<App>>,
    _: Admitted<Reads>,
) -> Result<Response, Problem> {
    let page = app.store.last(&Filter::default(), 1).await?;
    let types = app.store.types().await?;
    let started = app.vitals.snapshot().started_at;
    let told = json!({
        "ok": true,
        "events": page.head.seq + 1 - page.first,
        "first": Cursor { seq: page.first, ..page.head }.to_string(),
        "head": page.head.to_string(),
        "types": types,
        "following": app.store.followed().await?,
        "clients": STREAMS_MAX - app.streams.available_permits(),
        "uptimeMs": now_ms().saturating_sub(started),
    });
    Ok(axum::Json(told).into_response())
}
