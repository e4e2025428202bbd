//! `POST /api/execute`: a prompt for Claude in an environment. Answered when the turn is over, or at once, or as a stream.
//!
//! Whoever leaves stops nothing: the job goes on, and is found under its id.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value};
use tinyclaw_domain::{Catalogue, Env, EnvName, Envs, JobId, Model};

use super::admit::{Admitted, Executes};
use super::job_stream::{self, Telling};
use super::live::Format;
use super::prefer::Preferences;
use super::query::pairs;
use super::tie::Tie;
use super::webhooks::checked_url;
use super::{App, Asking, body};
use crate::access::Caller;
use crate::event::Invalid;
use crate::jobs::{Accepted, Finished, JobState, Wanted, identify};
use crate::porter::PorterError;
use crate::problem::Problem;

/// A prompt is a message of the queue, which has a limit of its own.
const BODY_BYTES_MAX: usize = 1 << 20;
/// So long a key of a caller's own choosing may be.
const KEY_BYTES_MAX: usize = 255;
/// A job may have so much time, in seconds.
const DEADLINE_S_MAX: u64 = 24 * 3_600;
/// Whoever is told that a job goes on asks again then.
const AGAIN_S: u64 = 1;
const EXPECTED: &str = "{ \"env\", \"prompt\", \"jsonOutput\"?, \"sessionId\"?, \"model\"?, \"deadlineS\"?, \"callbackUrl\"?, \"files\"? }";

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Execute {
    env: String,
    prompt: String,
    #[serde(default)]
    json_output: Option<bool>,
    session_id: Option<String>,
    model: Option<String>,
    deadline_s: Option<u64>,
    callback_url: Option<String>,
    files: Option<Vec<String>>,
}

/// Lets Claude work.
pub(super) async fn execute(
    State(app): State<Arc<App>>,
    by: Admitted<Executes>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let asking = Asking::of(&parts);
    let caller = by.caller.clone();
    let preferences = Preferences::of(asking.header("prefer"));
    let format = Format::of(asking.header(header::ACCEPT).unwrap_or_default());
    let is_tied = is_tied(asking.uri)?;
    let again = idempotency_key(&asking)?.map(str::to_owned);
    let asked: Execute = body::json(&parts.headers, body, BODY_BYTES_MAX, EXPECTED).await?;
    let envs = app.envs.current();
    let env = app.env(&caller, &envs, &asked.env).await?;
    let wanted = wanted(asked, env)?;
    if let Some(url) = &wanted.callback_url {
        checked_url(&app, url, "/callbackUrl")?;
    }
    if app.shutdown.has_begun() {
        let detail = "this gateway stops; ask again";
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining", detail);
        return Err(problem.retry_after(5));
    }
    let mut tie = Tie::accepting(&app, &caller, &envs, wanted, again, is_tied);
    let accepted = tie.accepted().await?;
    let mut response = match format {
        Some(format) => {
            let telling = Telling { format, last: JobId::default(), tie: Some(tie), ticket: None };
            job_stream::answer(&app, caller, &accepted.key, &accepted.thread, telling).await?
        }
        None => {
            let told = match preferences.is_async {
                true => Ok(goes_on(&envs, &accepted, true)),
                false => wait(&app, &envs, &accepted, preferences).await,
            };
            tie.let_go();
            told?
        }
    };
    if preferences.is_async && format.is_none() {
        let applied = HeaderValue::from_static("respond-async");
        response.headers_mut().insert("preference-applied", applied);
    }
    let headers = response.headers_mut();
    if let Ok(place) = HeaderValue::from_str(&format!("/api/jobs/{}", accepted.key)) {
        headers.insert(header::LOCATION, place);
    }
    if accepted.is_replay {
        headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    by.stamp(&mut response);
    Ok(response)
}

/// The key under which the caller may ask again.
pub(super) fn idempotency_key<'a>(asking: &Asking<'a>) -> Result<Option<&'a str>, Problem> {
    let Some(key) = asking.headers.get("idempotency-key") else { return Ok(None) };
    match key.to_str() {
        Ok(it) if (1..=KEY_BYTES_MAX).contains(&it.len()) => Ok(Some(it)),
        _ => {
            let detail = format!("has 1 to {KEY_BYTES_MAX} readable characters");
            Err(Problem::invalid(Invalid::at("Idempotency-Key", detail)))
        }
    }
}

/// `?cancelOnDisconnect=1`, the one thing that can be asked for in the address.
fn is_tied(uri: &axum::http::Uri) -> Result<bool, Problem> {
    let mut is_tied = false;
    for (name, value) in pairs(uri)? {
        is_tied = match (name.as_str(), value.as_str()) {
            ("cancelOnDisconnect", "1" | "true") => true,
            ("cancelOnDisconnect", "0" | "false") => false,
            ("cancelOnDisconnect", _) => return Err(Problem::query(&name, "expected 1 or 0")),
            _ => return Err(Problem::query(&name, "is not known here; use cancelOnDisconnect")),
        };
    }
    Ok(is_tied)
}

fn wanted(asked: Execute, env: EnvName) -> Result<Wanted, Problem> {
    let invalid = |pointer: &str, detail: String| Problem::invalid(Invalid::at(pointer, detail));
    if asked.prompt.trim().is_empty() {
        return Err(invalid("/prompt", "is empty".to_owned()));
    }
    let model = match asked.model.as_deref() {
        None | Some("auto") => None,
        Some(name) => Some(model(name).map_err(|why| invalid("/model", why))?),
    };
    if asked.deadline_s.is_some_and(|it| !(1..=DEADLINE_S_MAX).contains(&it)) {
        return Err(invalid("/deadlineS", format!("is 1 to {DEADLINE_S_MAX}")));
    }
    Ok(Wanted {
        env,
        session: asked.session_id,
        prompt: asked.prompt,
        model,
        json_output: asked.json_output.unwrap_or(false),
        deadline_s: asked.deadline_s,
        callback_url: asked.callback_url,
        files: asked.files.unwrap_or_default(),
    })
}

/// The model of this name: one that every office has.
pub(super) fn model(name: &str) -> Result<Model, String> {
    name.parse().map_err(|_| {
        format!("is auto, {}, or a model's full name", Catalogue::default().names().join(", "))
    })
}

async fn wait(
    app: &App,
    envs: &Envs,
    accepted: &Accepted,
    preferences: Preferences,
) -> Result<Response, Problem> {
    let finished = tokio::select! {
        finished = app.jobs.wait(envs, &accepted.thread, &accepted.key, preferences.wait) => finished?,
        // The job goes on without this gateway.
        () = app.shutdown.begun() => None,
    };
    let Some(finished) = finished else { return Ok(goes_on(envs, accepted, false)) };
    let status = if preferences.is_strict { strict(&finished) } else { StatusCode::OK };
    let mut told = finished.to_json();
    if let Some(secret) = &accepted.callback_secret {
        told["callbackSecret"] = secret.as_str().into();
    }
    Ok((status, axum::Json(told)).into_response())
}

/// The status for who wants a turn that failed to be no success.
fn strict(finished: &Finished) -> StatusCode {
    match finished.state {
        JobState::Done => StatusCode::OK,
        JobState::Stopped | JobState::Cancelled => StatusCode::CONFLICT,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// 202: it is accepted, and goes on.
fn goes_on(envs: &Envs, accepted: &Accepted, is_wanted: bool) -> Response {
    let mut told = Map::new();
    told.insert("success".into(), is_wanted.into());
    if !is_wanted {
        let error = "the job goes on; ask for it under its id";
        told.insert("error".into(), error.into());
        told.insert("code".into(), "still_running".into());
    }
    identify(&mut told, envs, &accepted.thread, &accepted.key, JobState::Queued);
    // How it stands by now, its address says.
    told.shift_remove("state");
    if let Some(secret) = &accepted.callback_secret {
        told.insert("callbackSecret".into(), secret.as_str().into());
    }
    let mut response = (StatusCode::ACCEPTED, axum::Json(Value::Object(told))).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, AGAIN_S.into());
    response
}

impl App {
    /// The environment of this name, which the caller may use and which can be used now: where it is a container, the porter
    /// answers for it.
    pub(super) async fn env(
        &self,
        caller: &Caller,
        envs: &Envs,
        name: &str,
    ) -> Result<EnvName, Problem> {
        let env = self.known_env(caller, envs, name)?;
        if let Some(Env::Container(_)) = envs.get(&env) {
            self.porter.status(&env).await?;
        }
        Ok(env)
    }

    /// Those that the caller may use, and whether each can be used now. A porter that is away is asked once.
    pub(super) async fn available<'a>(
        &self,
        caller: &Caller,
        envs: &'a Envs,
    ) -> Vec<(&'a EnvName, bool)> {
        let (mut all, mut is_away) = (Vec::new(), false);
        for (name, env) in envs.iter().filter(|it| caller.may_use(Some(it.0))) {
            let is_available = match env {
                Env::None(_) => true,
                Env::Container(_) if is_away => false,
                Env::Container(_) => {
                    let status = self.porter.status(name).await;
                    is_away = matches!(status, Err(PorterError::Away(_)));
                    status.is_ok()
                }
            };
            all.push((name, is_available));
        }
        all
    }

    /// The environment of this name, if the caller may know of it.
    pub(super) fn known_env(
        &self,
        caller: &Caller,
        envs: &Envs,
        name: &str,
    ) -> Result<EnvName, Problem> {
        let unknown = || {
            let name: String = name.chars().take(64).collect();
            let detail =
                format!("there is no environment {name:?}; the operator names them in envs.json");
            Problem::new(StatusCode::NOT_FOUND, "unknown_env", detail)
        };
        let env: EnvName = name.parse().map_err(|_| unknown())?;
        if !caller.may_use(Some(&env)) {
            let detail = format!("this token may not use environment {env}");
            return Err(Problem::new(StatusCode::FORBIDDEN, "env_forbidden", detail));
        }
        if envs.contains_key(&env) { Ok(env) } else { Err(unknown()) }
    }
}
