//! `/api/envs` and `/api/containers/{env}`: where Claude may work, and whether it can.
//!
//! An environment without a container is there as long as the office is: starting it changes nothing, and stopping it ends
//! what runs in it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tinyclaw_domain::{Env, EnvName, Envs, Scope};

use super::{App, Asking};
use crate::access::Kind;
use crate::problem::{Problem, with_allowance};

/// So long is waited for the end of turns that are stopped.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// All that the caller may use.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = app.admit(&Asking::of(&parts), Some(Scope::Read)).await?;
    let allowance = app.ask(Kind::Read, &caller, 1)?;
    let envs = app.envs.current();
    let mut told = Vec::new();
    for (name, env) in envs.iter().filter(|it| caller.may_use(Some(it.0))) {
        let (running, waiting) = app.jobs.load(name).await?;
        told.push(json!({
            "env": name, "isolation": env.isolation(), "available": matches!(env, Env::None(_)),
            "turns": running.len(), "waiting": waiting,
        }));
    }
    let mut response = axum::Json(json!({ "success": true, "envs": told })).into_response();
    with_allowance(&mut response, &allowance);
    Ok(response)
}

/// How one is.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    at(&app, &name, request, Scope::Read, async |_, _| Ok(())).await
}

/// Sees to it that one is there.
pub(super) async fn start(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    at(&app, &name, request, Scope::Envs, async |_, _| Ok(())).await
}

/// Ends what runs in one; while turns run only with `force=1`.
pub(super) async fn stop(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let is_forced = is_forced(request.uri())?;
    at(&app, &name, request, Scope::Envs, async |env, caller| {
        let (running, _) = app.jobs.load(env).await?;
        if !running.is_empty() && !is_forced {
            let detail =
                format!("{} turns run in {env}; stop them first, or say ?force=1", running.len());
            return Err(Problem::new(StatusCode::CONFLICT, "env_busy", detail));
        }
        let envs = app.envs.current();
        for key in running {
            // One that has ended by now, or is an order to the office, needs no stop.
            let Ok(job) = app.jobs.find(caller, &envs, key.as_str()).await else { continue };
            app.jobs.cancel(caller, &job).await?;
            app.jobs.wait(&envs, &job.thread, &job.key, STOP_PATIENCE).await?;
        }
        Ok(())
    })
    .await
}

async fn at(
    app: &App,
    name: &str,
    request: Request,
    scope: Scope,
    act: impl AsyncFnOnce(&EnvName, &crate::access::Caller) -> Result<(), Problem>,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = app.admit(&Asking::of(&parts), Some(scope)).await?;
    let allowance = app.ask(Kind::Read, &caller, 1)?;
    let envs = app.envs.current();
    let env = match scope {
        Scope::Read => app.known_env(&caller, &envs, name)?,
        _ => app.env(&caller, &envs, name)?,
    };
    act(&env, &caller).await?;
    let mut response = axum::Json(status(app, &envs, &env).await?).into_response();
    with_allowance(&mut response, &allowance);
    Ok(response)
}

/// An environment as the seed's clients read it. What is no container is there, and runs, as long as it stands in the file.
async fn status(app: &App, envs: &Envs, env: &EnvName) -> Result<Value, Problem> {
    let (running, _) = app.jobs.load(env).await?;
    let is_here = matches!(envs.get(env), Some(Env::None(_)));
    Ok(json!({
        "exists": is_here, "running": is_here, "name": format!("claude-agent-{env}"), "paused": false,
        "isolation": envs.get(env).map_or("none", Env::isolation), "turns": running.len(),
    }))
}

fn is_forced(uri: &axum::http::Uri) -> Result<bool, Problem> {
    let pairs: axum::extract::Query<Vec<(String, String)>> =
        axum::extract::Query::try_from_uri(uri)
            .map_err(|_| Problem::query("", "the query is not well formed"))?;
    let mut is_forced = false;
    for (name, value) in pairs.0 {
        is_forced = match (name.as_str(), value.as_str()) {
            ("force", "1" | "true") => true,
            ("force", "0" | "false") => false,
            ("force", _) => return Err(Problem::query(&name, "expected 1 or 0")),
            _ => return Err(Problem::query(&name, "is not known here; use force")),
        };
    }
    Ok(is_forced)
}
