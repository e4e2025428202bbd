//! `POST /events` and `POST /hooks/claude`: what comes in is on disk before it is acknowledged.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};
use tinyclaw_domain::Scope;

use super::{App, Asking, body, notify};
use crate::access::Kind;
use crate::event::{Invalid, NewEvent, WORD_BYTES_MAX};
use crate::intake::{self, BATCH_BYTES_MAX};
use crate::problem::{Problem, with_allowance};
use crate::store::{Durability, Receipt};

/// Events in any shape.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = app.admit(&Asking::of(&parts), Some(Scope::Ingest)).await?;
    let body = body::read(&parts.headers, body, BATCH_BYTES_MAX).await?;
    let mut intake = intake::read(&parts.headers, &body, &source_of(&caller.name))?;
    let allowance = app.ask(Kind::Ingest, &caller, intake.events.len())?;
    name_by_key(&parts.headers, &mut intake.events, intake.is_batch)?;
    let receipts = app.store.append(intake.events, durability(&parts.headers)).await?;
    let mut response = told(&receipts, intake.is_batch).into_response();
    with_allowance(&mut response, &allowance);
    Ok(response)
}

/// A hook of Claude's, as the CLI posts it. The answer is one that lets Claude go on as it would have.
pub(super) async fn hook(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = app.admit(&Asking::of(&parts), Some(Scope::Ingest)).await?;
    let body = body::read(&parts.headers, body, BATCH_BYTES_MAX).await?;
    let event = intake::read_hook(&body, &source_of(&caller.name))?;
    app.ask(Kind::Ingest, &caller, 1)?;
    let (kind, session) = (event.kind.clone(), event.session.clone());
    app.store.append(vec![event], Durability::Flushed).await?;
    Ok(axum::Json(notify::answer_to(&app, &kind, session.as_deref()).await?).into_response())
}

/// A caller's name as the source of what it tells.
fn source_of(name: &str) -> String {
    name.to_owned()
}

/// `Prefer: durability=none`: the sender would rather not wait for the disk.
fn durability(headers: &HeaderMap) -> Durability {
    let words = headers.get_all("prefer").iter().filter_map(|it| it.to_str().ok());
    let mut words = words.flat_map(|it| it.split([',', ';'])).map(str::trim);
    if words.any(|it| it.eq_ignore_ascii_case("durability=none")) {
        Durability::None
    } else {
        Durability::Flushed
    }
}

/// `Idempotency-Key` is the id of what has none.
fn name_by_key(
    headers: &HeaderMap,
    events: &mut [NewEvent],
    is_batch: bool,
) -> Result<(), Problem> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(()) };
    let wrong = || {
        let detail = format!("expected 1 to {} of A-Z a-z 0-9 . _ : / -", WORD_BYTES_MAX - 5);
        Problem::invalid(Invalid::at("Idempotency-Key", detail))
    };
    // The header's own grammar has it in quotation marks.
    let key = key.to_str().map_err(|_| wrong())?.trim_matches('"');
    let is_letter = |it: u8| it.is_ascii_alphanumeric() || b"._:/-".contains(&it);
    if key.is_empty() || key.len() > WORD_BYTES_MAX - 5 || !key.bytes().all(is_letter) {
        return Err(wrong());
    }
    for (at, it) in events.iter_mut().enumerate().filter(|(_, it)| it.id.is_none()) {
        it.id = Some(if is_batch { format!("{key}.{at}") } else { key.to_owned() });
    }
    Ok(())
}

fn told(receipts: &[Receipt], is_batch: bool) -> axum::Json<Value> {
    let one = |it: &Receipt| {
        let mut told = Map::new();
        told.insert("eventId".into(), format!("evt_{}", it.cursor).into());
        if it.is_duplicate {
            told.insert("duplicate".into(), true.into());
        }
        told
    };
    let mut told = Map::new();
    told.insert("ok".into(), true.into());
    if let Some(last) = receipts.last() {
        told.extend(one(last));
    }
    if is_batch {
        let all = receipts.iter().map(|it| one(it).into()).collect();
        told.insert("events".into(), Value::Array(all));
    }
    axum::Json(told.into())
}
