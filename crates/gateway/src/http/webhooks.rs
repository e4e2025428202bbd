//! `/api/webhooks`: where events are posted to, what did not arrive, and posting it again. Only for administrators.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tinyclaw_domain::Scope;
use tinyclaw_service::now_ms;

use super::{App, Asking, body};
use crate::access::Kind;
use crate::event::{Cursor, Invalid};
use crate::filter::{Pattern, TYPES_MAX, too_many_types};
use crate::problem::Problem;
use crate::webhooks::{BadTarget, Webhook, new_secret, table};

/// What a webhook is told with.
const BODY_BYTES_MAX: usize = 16 << 10;
/// So many webhooks.
const WEBHOOKS_MAX: usize = 100;
/// So long an address may be.
const URL_BYTES_MAX: usize = 2_048;
/// So long the secret before signs, too.
const ROTATION_MS: u64 = 24 * 3600 * 1000;

type Answer = Result<Response, Problem>;

/// A new webhook: it is told what comes from now on.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    url: String,
    #[serde(default)]
    types: Vec<String>,
}

/// What is to change.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    url: Option<String>,
    types: Option<Vec<String>>,
    enabled: Option<bool>,
    #[serde(default)]
    rotate: bool,
}

/// Which event to post again; without one, all that were given up.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Again {
    event_id: Option<String>,
}

/// Lets an administrator's request in, and takes it apart.
async fn admitted(app: &App, request: Request) -> Result<(Parts, Body), Problem> {
    let (parts, body) = request.into_parts();
    let caller = app.admit(&Asking::of(&parts), Some(Scope::Admin)).await?;
    app.ask(Kind::Read, &caller, 1)?;
    Ok((parts, body))
}

/// The same, where the request is about one webhook.
async fn about(app: &App, id: &str, request: Request) -> Result<(Webhook, Parts, Body), Problem> {
    let (parts, body) = admitted(app, request).await?;
    Ok((known(app, id).await?, parts, body))
}

async fn known(app: &App, id: &str) -> Result<Webhook, Problem> {
    table::find(&app.store, id).await?.ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "unknown_webhook", "there is no webhook of that id")
    })
}

/// Whether this address may be posted to; `pointer` is where it was named.
pub(super) fn checked_url(app: &App, url: &str, pointer: &str) -> Result<(), Problem> {
    if url.len() > URL_BYTES_MAX {
        let detail = format!("is longer than {URL_BYTES_MAX} bytes");
        return Err(Problem::invalid(Invalid::at(pointer, detail)));
    }
    app.webhooks.allows(url).map_err(|why| match why {
        BadTarget::Malformed => Problem::invalid(Invalid::at(pointer, why.to_string())),
        BadTarget::Forbidden(_) | BadTarget::Unnamed(_) => {
            Problem::new(StatusCode::FORBIDDEN, "webhook_host", why.to_string())
        }
    })
}

fn checked_types(types: &[String]) -> Result<(), Problem> {
    if types.len() > TYPES_MAX {
        return Err(Problem::invalid(Invalid::at("/types", too_many_types())));
    }
    for (at, it) in types.iter().enumerate() {
        let pointer = format!("/types/{at}");
        Pattern::parse(it).map_err(|why| Problem::invalid(Invalid::at(pointer, why)))?;
    }
    Ok(())
}

fn told(app: &App, webhook: &Webhook, secret: Option<&str>) -> Value {
    let mut told = json!({ "success": true, "webhook": webhook.shown(app.store.head().epoch) });
    if let Some(secret) = secret {
        told["secret"] = secret.into();
    }
    told
}

/// All webhooks.
pub(super) async fn list(State(app): State<Arc<App>>, request: Request) -> Answer {
    drop(admitted(&app, request).await?);
    let epoch = app.store.head().epoch;
    let all: Vec<Value> = table::all(&app.store).await?.iter().map(|it| it.shown(epoch)).collect();
    Ok(axum::Json(json!({ "success": true, "webhooks": all })).into_response())
}

/// Adds one; its secret is told only now.
pub(super) async fn add(State(app): State<Arc<App>>, request: Request) -> Answer {
    let (parts, body) = admitted(&app, request).await?;
    let expected = "{ \"url\", \"types\"? }";
    let new: New = body::json(&parts.headers, body, BODY_BYTES_MAX, expected).await?;
    checked_url(&app, &new.url, "/url")?;
    checked_types(&new.types)?;
    if table::all(&app.store).await?.len() >= WEBHOOKS_MAX {
        let detail = format!("there are {WEBHOOKS_MAX} webhooks, which is all there may be");
        return Err(Problem::new(StatusCode::CONFLICT, "webhooks_full", detail));
    }
    let webhook = Webhook {
        id: format!("wh_{:016x}", rand::random::<u64>()),
        url: new.url,
        types: new.types,
        secret: new_secret(),
        before: None,
        cursor: app.store.head().seq,
        created: now_ms(),
        disabled: None,
    };
    table::keep(&app.store, webhook.clone()).await?;
    app.webhooks.changed();
    let told = told(&app, &webhook, Some(&webhook.secret));
    Ok((StatusCode::CREATED, axum::Json(told)).into_response())
}

/// One of them.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    let (webhook, _, _) = about(&app, &id, request).await?;
    Ok(axum::Json(told(&app, &webhook, None)).into_response())
}

/// Changes one: its address, its types, whether anything is posted, its secret.
pub(super) async fn change(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    let (mut webhook, parts, body) = about(&app, &id, request).await?;
    let expected = "{ \"url\"?, \"types\"?, \"enabled\"?, \"rotate\"? }";
    let change: Change = body::json(&parts.headers, body, BODY_BYTES_MAX, expected).await?;
    if let Some(url) = change.url {
        checked_url(&app, &url, "/url")?;
        webhook.url = url;
    }
    if let Some(types) = change.types {
        checked_types(&types)?;
        webhook.types = types;
    }
    match change.enabled {
        Some(true) => webhook.disabled = None,
        Some(false) => webhook.disabled = Some("it was switched off".to_owned()),
        None => {}
    }
    if change.rotate {
        let before = std::mem::replace(&mut webhook.secret, new_secret());
        webhook.before = Some((before, now_ms() + ROTATION_MS));
    }
    table::keep(&app.store, webhook.clone()).await?;
    app.webhooks.changed();
    let secret = change.rotate.then_some(webhook.secret.as_str());
    Ok(axum::Json(told(&app, &webhook, secret)).into_response())
}

/// Removes one, and what it waits for.
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    drop(about(&app, &id, request).await?);
    table::remove(&app.store, &id).await?;
    app.webhooks.changed();
    Ok(axum::Json(json!({ "success": true })).into_response())
}

/// What did not arrive: waiting for another try, or given up.
pub(super) async fn deliveries(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    drop(about(&app, &id, request).await?);
    let epoch = app.store.head().epoch;
    let all = table::failures(&app.store, &id).await?;
    let all: Vec<Value> = all.iter().map(|it| it.shown(epoch)).collect();
    Ok(axum::Json(json!({ "success": true, "deliveries": all })).into_response())
}

/// Posts one event again, or all that were given up.
pub(super) async fn redeliver(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    let (_, parts, body) = about(&app, &id, request).await?;
    let expected = "{ \"eventId\"? }";
    let again: Again = body::json(&parts.headers, body, BODY_BYTES_MAX, expected).await?;
    let place = again.event_id.map(|it| it.parse::<Cursor>()).transpose();
    let place = place.map_err(|err| Problem::invalid(Invalid::at("/eventId", err.to_string())))?;
    let count = match place {
        // An event of another database has another text here.
        Some(place) if place.epoch != app.store.head().epoch => 0,
        place => table::redeliver(&app.store, &id, place.map(|it| it.seq)).await?,
    };
    app.webhooks.changed();
    Ok(axum::Json(json!({ "success": true, "redelivered": count })).into_response())
}
