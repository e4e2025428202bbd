//! `/api/sessions`: conversations of an environment, in which each message knows those before.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tinyclaw_domain::{EnvName, EnvSession, Thread, ThreadId, Threads};

use super::admit::{Admitted, Orders, Reads};
use super::{App, body};
use crate::event::Invalid;
use crate::jobs::SessionRow;
use crate::problem::Problem;

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
    by: Admitted<Orders>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let asked: Begin =
        body::json(&parts.headers, body, BODY_BYTES_MAX, "{ \"env\", \"name\"? }").await?;
    let env = app.env(&by.caller, &app.envs.current(), &asked.env).await?;
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
    Ok(by.tell_with(StatusCode::CREATED, shown(&env, &row, None)))
}

/// Those of an environment, the newest first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    by: Admitted<Reads>,
) -> Result<Response, Problem> {
    let env = app.known_env(&by.caller, &app.envs.current(), &name)?;
    let rows = app.jobs.sessions(&env).await?;
    let threads = app.jobs.threads().await?;
    let mut told: Vec<Value> =
        rows.iter().map(|it| shown(&env, it, thread(&threads, &env, &it.id))).collect();
    if let Some(standing) = thread(&threads, &env, &EnvSession::Standing) {
        let (id, created) = (EnvSession::Standing, standing.last_active);
        told.push(shown(
            &env,
            &SessionRow { id, name: None, created, removed: None, is_begun: true },
            Some(standing),
        ));
    }
    Ok(by.tell(json!({ "success": true, "sessions": told })))
}

/// Ends one.
pub(super) async fn end(
    State(app): State<Arc<App>>,
    Path((name, id)): Path<(String, String)>,
    by: Admitted<Orders>,
) -> Result<Response, Problem> {
    let env = app.known_env(&by.caller, &app.envs.current(), &name)?;
    app.jobs.end_session(&by.caller, &env, &id).await?;
    Ok(by.tell(json!({ "ok": true })))
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
