//! The door: the name it is asked under, the page that asks, the request's number, and what every answer carries.
//!
//! Only known names and known pages; whatever is refused, here or behind it, is written out here.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use crate::problem::Problem;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const ALLOWED_METHODS: &str = "GET, POST, DELETE";
const ALLOWED_HEADERS: &str =
    "authorization, content-type, idempotency-key, last-event-id, prefer, x-session-id";
const SHOWN_HEADERS: &str = "x-bus-head, x-request-id, x-session-id, x-job-id, retry-after, ratelimit, ratelimit-policy, location";
/// So long a browser remembers what it may.
const PREFLIGHT_SECONDS: &str = "600";

/// Lets a request in, or says why not.
pub(super) async fn door(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let request_id = request_id(&request);
    let path = request.uri().path().to_owned();
    let origin = request.headers().get(header::ORIGIN).cloned();
    // Also where everybody is answered, and where the name is refused: a page of elsewhere reads none of it.
    let known_origin = origin.clone().filter(|it| is_known(&app, &request, it));
    let is_preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match refusal(&app, &request) {
        Some(problem) => problem.into_response(),
        None if is_preflight && origin.is_some() => StatusCode::NO_CONTENT.into_response(),
        None => next.run(request).await,
    };
    let status = response.status();
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = problem.answer(&request_id, &path);
    } else if status.is_client_error() && !is_json(&response) {
        let (code, detail) = match status {
            StatusCode::NOT_FOUND => ("not_found", "there is nothing at this path".to_owned()),
            StatusCode::METHOD_NOT_ALLOWED => {
                ("method_not_allowed", "this path does not know that method".to_owned())
            }
            other => ("refused", other.canonical_reason().unwrap_or("refused").to_owned()),
        };
        let allow = response.headers().get(header::ALLOW).cloned();
        response = Problem::new(status, code, detail).answer(&request_id, &path);
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = known_origin {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        let mut say = |name, value| headers.insert(name, HeaderValue::from_static(value));
        say(header::ACCESS_CONTROL_EXPOSE_HEADERS, SHOWN_HEADERS);
        if is_preflight {
            say(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
            say(header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
            say(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS);
        }
    }
    response
}

fn is_json(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    kind.is_some_and(|it| it.contains("json"))
}

/// The request's own number, if it is one, or another.
fn request_id(request: &Request) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|it| it.to_str().ok());
    let is_word = |it: &&str| {
        (1..=64).contains(&it.len())
            && it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-')
    };
    given.filter(is_word).map_or_else(|| format!("{:016x}", rand::random::<u64>()), str::to_owned)
}

fn refusal(app: &App, request: &Request) -> Option<Problem> {
    // Whoever watches over a container asks for its address, and hears nothing that is a secret.
    if matches!(request.uri().path(), "/health" | "/ready") {
        return None;
    }
    if let Err(host) = app.hosts.asked(request.headers(), request.uri()) {
        let detail = format!(
            "this gateway is not known as {host:?}; if it should be, add the name to GATEWAY_HOSTS"
        );
        return Some(Problem::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", detail));
    }
    let origin = request.headers().get(header::ORIGIN).filter(|it| !is_known(app, request, it))?;
    let origin = origin.to_str().unwrap_or("?");
    let detail = format!(
        "pages of {origin:?} may not use this gateway; if they should, add it to ALLOWED_ORIGINS"
    );
    Some(Problem::new(StatusCode::FORBIDDEN, "origin", detail))
}

/// Whether pages of this origin may use the gateway: its own, and those that are named.
fn is_known(app: &App, request: &Request, origin: &HeaderValue) -> bool {
    let Ok(origin) = origin.to_str() else { return false };
    let host = app.hosts.asked(request.headers(), request.uri()).ok();
    let is_own =
        host.is_some_and(|host| origin.split_once("://").is_some_and(|(_, it)| it == host));
    is_own || app.origins.contains(origin) || app.access.knows_origin(origin)
}
