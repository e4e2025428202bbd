//! `/health`, `/ready` and `/metrics` as a router that any service serves or mounts.
//!
//! | path | answer |
//! |---|---|
//! | `/health` | 200 `{"status":"ok", …}` as long as the process answers |
//! | `/ready` | 200 `{"ready":true}`, or 503 `{"ready":false,"why":[…]}` |
//! | `/metrics` | Prometheus' text format |

use std::io;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::{Shutdown, Vitals};

/// Connections that are still busy so long after the shutdown began are cut.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// The three routes.
pub fn routes(vitals: Vitals) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(vitals)
}

/// Serves until the shutdown, then lets running answers end for a few seconds.
pub async fn serve(listener: TcpListener, app: Router, shutdown: Shutdown) -> io::Result<()> {
    let begun = {
        let shutdown = shutdown.clone();
        async move { shutdown.begun().await }
    };
    let serving = axum::serve(listener, app).with_graceful_shutdown(begun);
    tokio::select! {
        served = async { serving.await } => served,
        () = async { shutdown.begun().await; tokio::time::sleep(DRAIN_TIME).await } => {
            tracing::warn!("connections are still open: leaving them");
            Ok(())
        }
    }
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
