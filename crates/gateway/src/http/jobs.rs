//! `/api/jobs`: which there are, how one stands, stopping it, and answering its questions.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::Uri;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use tinyclaw_domain::approval::Chosen;
use tinyclaw_domain::{PermissionAnswer, Scope};

use super::admit::{Admitted, Orders, Reads};
use super::query::pairs;
use super::{App, body};
use crate::event::Invalid;
use crate::jobs::{Answered, Given, Job, JobState, Listing};
use crate::problem::Problem;

/// So many jobs when nothing is said, and at most.
const LIMIT: usize = 50;
const LIMIT_MAX: usize = 200;
/// So long a long poll waits at most.
const WAIT_SECONDS_MAX: u64 = 60;
/// So long somebody who stops a job waits for its end, when they do not say.
const STOP_WAIT: Duration = Duration::from_secs(5);
/// An answer may be so long.
const BODY_BYTES_MAX: usize = 64 << 10;
const EXPECTED: &str = "{ \"answer\": \"allow\" | \"always\" | \"deny\", \"note\"?, \"shown\"? } or { \"answers\", \"shown\"? }";

/// Which jobs there are.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    by: Admitted<Reads>,
    uri: Uri,
) -> Result<Response, Problem> {
    let envs = app.envs.current();
    let mut listing = Listing { limit: LIMIT, ..Listing::default() };
    for (name, value) in pairs(&uri)? {
        match name.as_str() {
            "env" => listing.env = Some(app.known_env(&by.caller, &envs, &value)?),
            "state" => {
                let words = || format!("expected one of {}", JobState::words());
                let state = JobState::named(&value);
                listing.state = Some(state.ok_or_else(|| Problem::query("state", words()))?);
            }
            "after" => {
                let after = value.parse();
                listing.after =
                    Some(after.map_err(|_| Problem::query("after", "expected the id of a job"))?);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|it| (1..=LIMIT_MAX).contains(it));
                let expected = || format!("expected a number from 1 to {LIMIT_MAX}");
                listing.limit = limit.ok_or_else(|| Problem::query("limit", expected()))?;
            }
            _ => {
                let known = "is not known here; use env, state, limit, after";
                return Err(Problem::query(&name, known));
            }
        }
    }
    let (jobs, has_more) = app.jobs.list(&by.caller, &envs, &listing).await?;
    let next = jobs.last().filter(|_| has_more).map(|it| it["id"].clone());
    let told = json!({ "success": true, "jobs": jobs, "next": next });
    Ok(by.tell(told))
}

/// How one stands; with `wait` when something has come of it, or when the time is over.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    by: Admitted<Reads>,
    uri: Uri,
) -> Result<Response, Problem> {
    let patience = waiting(&uri)?.unwrap_or_default();
    let envs = app.envs.current();
    let mut job = app.jobs.find(&by.caller, &envs, &id).await?;
    if !job.state.is_over() && !patience.is_zero() {
        wait(&app, &job, patience).await?;
        job = app.jobs.find(&by.caller, &envs, &id).await?;
    }
    let told = app.jobs.told(job).await?;
    Ok(by.tell(told))
}

/// Stops one, and tells how it stands then.
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    by: Admitted<Orders>,
    uri: Uri,
) -> Result<Response, Problem> {
    let patience = waiting(&uri)?.unwrap_or(STOP_WAIT);
    let envs = app.envs.current();
    let mut job = app.jobs.find(&by.caller, &envs, &id).await?;
    if !job.state.is_over() {
        app.jobs.cancel(&by.caller, &job).await?;
        wait(&app, &job, patience).await?;
        job = app.jobs.find(&by.caller, &envs, &id).await?;
    }
    let told = app.jobs.told(job).await?;
    Ok(by.tell(told))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    answer: Option<PermissionAnswer>,
    note: Option<String>,
    answers: Option<Vec<Chosen>>,
    shown: Option<String>,
}

/// Answers a question of one.
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    Path((id, request_id)): Path<(String, String)>,
    by: Admitted<Orders>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let told: Answer = body::json(&parts.headers, body, BODY_BYTES_MAX, EXPECTED).await?;
    let invalid = |pointer, detail| Err(Problem::invalid(Invalid::at(pointer, detail)));
    let answer = match (told.answer, told.note, told.answers) {
        (Some(PermissionAnswer::Deny), Some(note), None) if !note.trim().is_empty() => {
            Answered::Change(note)
        }
        (Some(answer), None, None) => Answered::Permission(answer),
        (None, None, Some(answers)) => Answered::Chosen(answers),
        (Some(_), Some(_), _) => return invalid("/note", "goes with \"deny\", and is not empty"),
        _ => return invalid("", "expected either answer or answers"),
    };
    let envs = app.envs.current();
    let job = app.jobs.find(&by.caller, &envs, &id).await?;
    let is_admin = by.caller.scopes.contains(&Scope::Admin);
    let given = Given { request_id, answer, shown: told.shown, is_admin };
    app.jobs.answer(&by.caller, &job, given).await?;
    Ok(by.tell(json!({ "success": true })))
}

/// Waits until something has come of a job, the time is over, or the gateway stops.
async fn wait(app: &App, job: &Job, patience: Duration) -> Result<(), Problem> {
    let envs = app.envs.current();
    tokio::select! {
        waited = app.jobs.wait(&envs, &job.thread, &job.key, patience) => waited.map(|_| ()),
        () = app.shutdown.begun() => Ok(()),
    }
}

/// `?wait=`, in seconds: all that can be asked for of one job.
fn waiting(uri: &Uri) -> Result<Option<Duration>, Problem> {
    let mut wait = None;
    for (name, value) in pairs(uri)? {
        if name != "wait" {
            return Err(Problem::query(&name, "is not known here; use wait"));
        }
        let seconds = value.parse().ok().filter(|it| *it <= WAIT_SECONDS_MAX);
        let expected = || format!("expected seconds, at most {WAIT_SECONDS_MAX}");
        wait =
            Some(Duration::from_secs(seconds.ok_or_else(|| Problem::query("wait", expected()))?));
    }
    Ok(wait)
}
