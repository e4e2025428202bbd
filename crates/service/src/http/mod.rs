//! `/health`, `/ready` and `/metrics` as a router that any service serves or mounts.
//!
//! | path | answer |
//! |---|---|
//! | `/health` | 200 `{"status":"ok", …}` as long as the process answers |
//! | `/ready` | 200 `{"ready":true}`, or 503 `{"ready":false,"why":[…]}` |
//! | `/metrics` | Prometheus' text format |

mod connections;
mod hosts;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

pub use self::connections::{Limits, Patient, Peer, serve};
pub use self::hosts::Hosts;
use crate::Vitals;

/// The three routes.
pub fn routes(vitals: Vitals) -> Router {
    probes(vitals.clone()).route("/metrics", get(metrics).with_state(vitals))
}

/// `/health` and `/ready` alone, for a service that does not tell its numbers to everybody.
pub fn probes(vitals: Vitals) -> Router {
    Router::new().route("/health", get(health)).route("/ready", get(ready)).with_state(vitals)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HealthBody {
    status: &'static str,
    service: String,
    version: String,
    started_at: u64,
}

async fn health(State(vitals): State<Vitals>) -> Json<HealthBody> {
    let now = vitals.snapshot();
    Json(HealthBody {
        status: "ok",
        service: now.service,
        version: now.version,
        started_at: now.started_at,
    })
}

#[derive(Serialize)]
struct ReadyBody {
    ready: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    why: Vec<String>,
}

async fn ready(State(vitals): State<Vitals>) -> impl IntoResponse {
    let now = vitals.snapshot();
    let status = if now.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(ReadyBody { ready: now.ready, why: now.why }))
}

async fn metrics(State(vitals): State<Vitals>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], vitals.metrics())
}
