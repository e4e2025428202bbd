//! `/api/sessions`: conversations of an environment, in which each message knows those before.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tinyclaw_domain::{EnvName, EnvSession, Scope, Thread, ThreadId, Threads};

use super::{App, Asking, body};
use crate::access::Kind;
use crate::event::Invalid;
use crate::jobs::SessionRow;
use crate::problem::{Problem, with_allowance};

const BODY_BYTES_MAX: usize = 4 << 10;
/// So long a name may be.
const NAME_CHARS_MAX: usize = 64;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Begin {
    env: String,
    name: Option<String>,
}

/// Begins one.
pub(super) async fn begin(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = app.admit(&Asking::of(&parts), Some(Scope::Execute)).await?;
    let allowance = app.ask(Kind::Read, &caller, 1)?;
    let asked: Begin =
        body::json(&parts.headers, body, BODY_BYTES_MAX, "{ \"env\", \"name\"? }").await?;
    let env = app.env(&caller, &app.envs.current(), &asked.env)?;
    let is_name = |it: &String| {
        !it.trim().is_empty()
            && it.chars().count() <= NAME_CHARS_MAX
            && !it.chars().any(char::is_control)
    };
    if asked.name.as_ref().is_some_and(|it| !is_name(it)) {
        let detail = format!("has 1 to {NAME_CHARS_MAX} characters, on one line");
        return Err(Problem::invalid(Invalid::at("/name", detail)));
    }
    let row = app.jobs.begin_session(&env, asked.name).await?;
    let told = shown(&env, &row, None);
    let mut response = (StatusCode::CREATED, axum::Json(told)).into_response();
    with_allowance(&mut response, &allowance);
    Ok(response)
}

/// Those of an environment, the newest first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = app.admit(&Asking::of(&parts), Some(Scope::Read)).await?;
    let allowance = app.ask(Kind::Read, &caller, 1)?;
    let env = app.known_env(&caller, &app.envs.current(), &name)?;
    let rows = app.jobs.sessions(&env).await?;
    let threads = app.jobs.threads().await?;
    let mut told: Vec<Value> =
        rows.iter().map(|it| shown(&env, it, thread(&threads, &env, &it.id))).collect();
    if let Some(standing) = thread(&threads, &env, &EnvSession::Standing) {
        let (id, created) = (EnvSession::Standing, standing.last_active);
        told.push(shown(
            &env,
            &SessionRow { id, name: None, created, removed: None },
            Some(standing),
        ));
    }
    let told = json!({ "success": true, "sessions": told });
    let mut response = axum::Json(told).into_response();
    with_allowance(&mut response, &allowance);
    Ok(response)
}

/// Ends one.
pub(super) async fn end(
    State(app): State<Arc<App>>,
    Path((name, id)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    let caller = app.admit(&Asking::of(&parts), Some(Scope::Execute)).await?;
    let allowance = app.ask(Kind::Read, &caller, 1)?;
    let env = app.known_env(&caller, &app.envs.current(), &name)?;
    app.jobs.end_session(&caller, &env, &id).await?;
    let mut response = axum::Json(json!({ "ok": true })).into_response();
    with_allowance(&mut response, &allowance);
    Ok(response)
}

fn thread<'a>(threads: &'a Threads, env: &EnvName, id: &EnvSession) -> Option<&'a Thread> {
    threads.get(&ThreadId::of_env(env, id))
}

/// One, with what its thread says since its first message.
fn shown(env: &EnvName, row: &SessionRow, thread: Option<&Thread>) -> Value {
    json!({
        "id": row.id.to_string(), "env": env, "name": row.name, "createdAt": row.created,
        "lastActive": thread.map(|it| it.last_active), "status": thread.map(|it| it.status),
        "model": thread.and_then(|it| it.model), "claudeSessionId": thread.and_then(|it| it.session_id.as_ref()),
    })
}
