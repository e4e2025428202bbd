//! `/api/envs` and `/api/containers/{env}`: where Claude may work, and whether it can.
//!
//! An environment without a container is there as long as the office is: starting it changes nothing, and stopping it ends
//! what runs in it. A container is the porter's, which is asked each time.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value, json};
use tinyclaw_domain::{Env, EnvName, Envs};

use super::App;
use super::admit::{Admitted, Reads, Starts};
use super::query::pairs;
use crate::problem::Problem;

/// So long is waited for the end of turns that are stopped.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// All that the caller may use.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    by: Admitted<Reads>,
) -> Result<Response, Problem> {
    let envs = app.envs.current();
    let mut told = Vec::new();
    for (name, is_available) in app.available(&by.caller, &envs).await {
        let (running, waiting) = app.jobs.load(name).await?;
        told.push(json!({
            "env": name, "isolation": envs[name].isolation(), "available": is_available,
            "turns": running.len(), "waiting": waiting,
        }));
    }
    Ok(by.tell(json!({ "success": true, "envs": told })))
}

/// How one is.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    by: Admitted<Reads>,
) -> Result<Response, Problem> {
    let envs = app.envs.current();
    let env = app.known_env(&by.caller, &envs, &name)?;
    Ok(by.tell(status(&app, &envs, &env).await?))
}

/// Sees to it that one is there.
pub(super) async fn start(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    by: Admitted<Starts>,
) -> Result<Response, Problem> {
    let envs = app.envs.current();
    let env = app.known_env(&by.caller, &envs, &name)?;
    if let Some(Env::Container(_)) = envs.get(&env) {
        app.porter.start(&env).await?;
    }
    Ok(by.tell(status(&app, &envs, &env).await?))
}

/// Ends what runs in one; while turns run only with `force=1`.
pub(super) async fn stop(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    by: Admitted<Starts>,
    uri: Uri,
) -> Result<Response, Problem> {
    let is_forced = is_forced(&uri)?;
    let envs = app.envs.current();
    let env = app.env(&by.caller, &envs, &name).await?;
    let (running, _) = app.jobs.load(&env).await?;
    if !running.is_empty() && !is_forced {
        let detail =
            format!("{} turns run in {env}; stop them first, or say ?force=1", running.len());
        return Err(Problem::new(StatusCode::CONFLICT, "env_busy", detail));
    }
    for key in running {
        // One that has ended by now, or is an order to the office, needs no stop.
        let Ok(job) = app.jobs.find(&by.caller, &envs, key.as_str()).await else { continue };
        app.jobs.cancel(&by.caller, &job).await?;
        app.jobs.wait(&envs, &job.thread, &job.key, STOP_PATIENCE).await?;
    }
    if let Some(Env::Container(_)) = envs.get(&env) {
        app.porter.stop(&env).await?;
    }
    Ok(by.tell(status(&app, &envs, &env).await?))
}

/// An environment as the seed's clients read it. What is no container is there, and runs, as long as it stands in the file.
async fn status(app: &App, envs: &Envs, env: &EnvName) -> Result<Value, Problem> {
    let (running, _) = app.jobs.load(env).await?;
    let (exists, is_running, is_paused) = match envs.get(env) {
        Some(Env::Container(_)) => {
            let it = app.porter.status(env).await?;
            (it.exists, it.running, it.paused)
        }
        it => (it.is_some(), it.is_some(), false),
    };
    Ok(json!({
        "exists": exists, "running": is_running, "name": format!("claude-agent-{env}"), "paused": is_paused,
        "isolation": envs.get(env).map_or("none", Env::isolation), "turns": running.len(),
    }))
}

fn is_forced(uri: &Uri) -> Result<bool, Problem> {
    let mut is_forced = false;
    for (name, value) in pairs(uri)? {
        is_forced = match (name.as_str(), value.as_str()) {
            ("force", "1" | "true") => true,
            ("force", "0" | "false") => false,
            ("force", _) => return Err(Problem::query(&name, "expected 1 or 0")),
            _ => return Err(Problem::query(&name, "is not known here; use force")),
        };
    }
    Ok(is_forced)
}
