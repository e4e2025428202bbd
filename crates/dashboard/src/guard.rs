//! The door: who may ask, how, and what every answer carries.
//!
//! Only GET and HEAD, only under a known host name (a page elsewhere that resolves its own name to this address reads
//! nothing), only from the page itself. Whatever is refused says why and what to change.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tinyclaw_service::http::Hosts;

use crate::access::Access;

/// What the door knows.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Host names, with port, that are this dashboard.
    pub(crate) hosts: Hosts,
    /// The page's policy.
    pub(crate) policy: HeaderValue,
    /// The check of Cloudflare Access, if it is switched on.
    pub(crate) access: Option<Access>,
}

/// Lets a request in, or says why not.
pub(crate) async fn guard(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let token = request.headers().get("cf-access-jwt-assertion").cloned();
    let mut refused = refusal(&guard, &request);
    if refused.is_none()
        && let Some(access) = &guard.access
        && let Err(why) = access.check(token.as_ref()).await
    {
        refused = Some((StatusCode::FORBIDDEN, why));
    }
    let mut response = match refused {
        Some((status, why)) => (status, why).into_response(),
        None => next.run(request).await,
    };
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, guard.policy.clone());
    for (name, value) in FIXED {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

const FIXED: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), microphone=(), geolocation=()"),
];

fn refusal(guard: &Guard, request: &Request) -> Option<(StatusCode, String)> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let why = "the dashboard only reads: GET and HEAD are all it knows";
        return Some((StatusCode::METHOD_NOT_ALLOWED, why.into()));
    }
    if let Err(host) = guard.hosts.asked(request.headers(), request.uri()) {
        let why = format!(
            "this dashboard is not known as {host:?}; if it should be, add the name to DASHBOARD_HOSTS"
        );
        return Some((StatusCode::MISDIRECTED_REQUEST, why));
    }
    foreign(guard, request).map(|why| (StatusCode::FORBIDDEN, why))
}

/// Why a request looks like one that another site made, if it does.
fn foreign(guard: &Guard, request: &Request) -> Option<String> {
    let headers = request.headers();
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or("?");
        let host = origin.split_once("://").map_or(origin, |(_, it)| it);
        if !guard.hosts.knows(host) {
            return Some(format!("pages of {origin:?} may not read this dashboard"));
        }
    }
    let text = |name: &str| headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or("");
    let site = text("sec-fetch-site");
    // A person may follow a link to the page from anywhere; anything else comes from the page itself.
    let is_visit = request.uri().path() == "/"
        && text("sec-fetch-mode") == "navigate"
        && matches!(text("sec-fetch-dest"), "document" | "");
    if matches!(site, "" | "same-origin" | "none") || is_visit {
        return None;
    }
    Some("another site may not read this dashboard".into())
}
