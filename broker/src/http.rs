//! The broker over HTTP: paths and methods in, JSON out.
//!
//! One function looks at the method and the path itself, because the details matter: a HEAD of
//! `/token` must not mint, and every refusal, 404 and 405 included, has the same shape. A token
//! to be revoked comes in a body, never in a URL that somebody may log.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::broker::Broker;
use crate::connections::{Connections, Counted};
use crate::door;
use crate::policy::Caller;
use crate::process::file_limit;
use crate::refusal::Refusal;

const BODY_BYTES_MAX: usize = 16 * 1024;
/// From a request's head to the end of its body.
const BODY_WITHIN: Duration = Duration::from_secs(5);
/// Five hundred repositories of sixty letters. Times all connections it still fits into the container.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// When the system has no connection to give: soon enough not to be noticed.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often, in looks, tokens are renewed.
const RENEW_EVERY: u32 = 15;
/// What is under way at the end gets this long.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct TokenAnswer<'a> {
    token: &'a str,
    expires_at: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenToRevoke {
    token: SecretString,
}

/// Serves until told to stop, with the broker's housekeeping beside it.
pub async fn serve(
    broker: Arc<Broker>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> anyhow::Result<()> {
    let housekeeping = tokio::spawn(keep_house(broker.clone()));
    let connections = Connections::among(file_limit());
    let mut http = http1::Builder::new();
    http.max_buf_size(HEAD_BYTES_MAX);
    let (stopping, stopped) = watch::channel(());
    let mut sweeps = interval(LOOK_EVERY);
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            _ = sweeps.tick() => {
                connections.sweep();
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (connection, peer) = match accepted {
            Ok(it) => it,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                continue;
            }
        };
        // A small answer that waits for company is late.
        let _ = connection.set_nodelay(true);
        if let Some(counted) = connections.take(peer.ip()) {
            let (broker, http, stopped) = (broker.clone(), http.clone(), stopped.clone());
            tokio::spawn(attend(broker, http, connection, peer.ip(), counted, stopped));
        }
        // Who was dismissed closes before the next one comes in.
        tokio::task::yield_now().await;
    }
    drop((listener, stopped));
    let _ = stopping.send(());
    // A connection that is kept open by a client must not keep the broker from ending.
    if timeout(LAST_ANSWERS, stopping.closed()).await.is_err() {
        tracing::warn!(connections = connections.count(), "some connections were still open");
    }
    housekeeping.abort();
    broker.write_repeats(true);
    Ok(())
}

/// One connection, until it is closed by either side.
async fn attend(
    broker: Arc<Broker>,
    http: http1::Builder,
    connection: TcpStream,
    peer: IpAddr,
    counted: Counted,
    mut stopped: watch::Receiver<()>,
) {
    let counted = &counted;
    let service = service_fn(move |request: Request<Incoming>| {
        let broker = broker.clone();
        async move {
            let answer = match whole(request, counted).await {
                Ok(request) => {
                    counted.asks();
                    respond(&broker, peer, request).await
                }
                Err(refusal) => refused(&refusal),
            };
            counted.has_its_answer();
            Ok::<_, Infallible>(answer)
        }
    });
    let mut connection = pin!(http.serve_connection(TokioIo::new(connection), service));
    let mut leaving = false;
    loop {
        tokio::select! {
            // Closed by the other side, or not HTTP: nobody is left to tell.
            _ = connection.as_mut() => return,
            () = counted.dismissed() => {
                if !counted.is_busy() {
                    return;
                }
            }
            _ = stopped.changed(), if !leaving => {}
        }
        leaving = true;
        connection.as_mut().graceful_shutdown();
    }
}

/// The request with all of its body: before that nobody waits for an answer.
async fn whole(request: Request<Incoming>, counted: &Counted) -> Result<Request<Body>, Refusal> {
    let (head, body) = request.into_parts();
    if body.is_end_stream() {
        return Ok(Request::from_parts(head, Body::empty()));
    }
    counted.begins();
    let bad = |error: &'static str| {
        let hint = "a token to revoke is all that is ever sent here, in one go";
        Refusal::malformed("bad_body", error, hint)
    };
    let body = axum::body::to_bytes(Body::new(body), BODY_BYTES_MAX);
    let body = timeout(BODY_WITHIN, body).await.map_err(|_| bad("the body did not come"))?;
    let body = body.map_err(|_| bad("the body is too long or broke off"))?;
    Ok(Request::from_parts(head, Body::from(body)))
}

async fn keep_house(broker: Arc<Broker>) {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for look in 0_u32.. {
        looks.tick().await;
        broker.reload();
        broker.watch_break_glass().await;
        if look % RENEW_EVERY == 0 {
            broker.refresh_due();
            broker.write_repeats(false);
            broker.revoke_again().await;
        }
    }
}

/// The answer to one request from `peer`.
pub async fn respond(broker: &Arc<Broker>, peer: IpAddr, request: Request<Body>) -> Response<Body> {
    if let Err(refusal) = may_enter(broker, peer, &request) {
        broker.record_denial(None, None, peer, &refusal);
        return refused(&refusal);
    }
    let path = request.uri().path();
    let allowed = match path {
        "/token" => "GET, DELETE",
        "/explain" | "/health" | "/ready" | "/metrics" => "GET",
        "/freeze" | "/thaw" => "POST",
        _ => {
            let hint = "there are /token, /explain, /freeze, /thaw, /health, /ready and /metrics";
            return refused(&Refusal::new(404, "not_found", "there is nothing here", hint));
        }
    };
    let method = request.method().clone();
    if !allowed.split(", ").any(|it| method.as_str() == it) {
        let error = format!("{path} does not know {}", method.as_str());
        let refusal = Refusal::new(405, "method_not_allowed", error, format!("use {allowed}"));
        let mut response = refused(&refusal);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        return response;
    }
    match path {
        "/health" => {
            let why: Vec<String> = broker.unready().into_iter().collect();
            json_answer(200, &how_it_is(broker, why.is_empty(), &why, &[]))
        }
        "/ready" => {
            let it = broker.readiness().await;
            let status = if it.why.is_empty() { 200 } else { 503 };
            json_answer(status, &how_it_is(broker, it.why.is_empty(), &it.why, &it.warnings))
        }
        "/metrics" => metrics(broker),
        _ => {
            let answer = guarded(broker, peer, &method, request).await;
            answer.unwrap_or_else(|refusal| refused(&refusal))
        }
    }
}

/// Without clients a request must come from next door. A guarded broker asks for a bearer
/// instead, but at its kill switch, where there may be none to show.
fn may_enter(broker: &Broker, peer: IpAddr, request: &Request<Body>) -> Result<(), Refusal> {
    door::no_browser(request.headers())?;
    if !broker.is_guarded() || works_kill_switch(request, peer) {
        door::neighbour(peer, request.headers(), request.uri())?;
    }
    Ok(())
}

/// Whether somebody on the broker's own loopback freezes or thaws without a bearer.
fn works_kill_switch(request: &Request<Body>, peer: IpAddr) -> bool {
    matches!(request.uri().path(), "/freeze" | "/thaw")
        && peer.is_loopback()
        && bearer(request).is_none()
}

async fn guarded(
    broker: &Arc<Broker>,
    peer: IpAddr,
    method: &Method,
    request: Request<Body>,
) -> Result<Response<Body>, Refusal> {
    let caller = if works_kill_switch(&request, peer) {
        broker.caller_beside()
    } else {
        broker.caller(bearer(&request))
    };
    let caller = caller.inspect_err(|refusal| {
        broker.record_denial(None, None, peer, refusal);
    })?;
    let query = request.uri().query().unwrap_or_default();
    match (method, request.uri().path()) {
        (&Method::GET, "/token") => {
            let issued = broker.token(&caller, query, peer).await?;
            let token = issued.token.expose_secret();
            let expires_at = issued.expires_at.as_str();
            Ok(json_answer(200, &TokenAnswer { token, expires_at }))
        }
        (&Method::GET, _) => Ok(json_answer(200, &broker.explain(&caller, query).await?)),
        (&Method::DELETE, _) => {
            let token = token_to_revoke(request).await?;
            broker.revoke(&caller, token, peer).await?;
            Ok(json_answer(200, &json!({ "revoked": true })))
        }
        (_, "/freeze") => {
            if caller.capability.is_some() {
                let hint = "only a client freezes: one thread must not stop the others";
                return Err(Refusal::denied("not_a_client", "a capability cannot freeze", hint));
            }
            let frozen = broker.freeze(&caller.client, Some(peer)).await;
            let status = if frozen.failed == 0 && frozen.persisted { 200 } else { 207 };
            Ok(json_answer(status, &frozen))
        }
        _ => {
            may_thaw(broker, &caller, peer)?;
            broker.thaw(&caller.client, peer).await?;
            Ok(json_answer(200, &json!({ "frozen": false })))
        }
    }
}

/// To freeze is safe and anybody's; to thaw takes an admin, or somebody inside the container.
fn may_thaw(broker: &Broker, caller: &Caller, peer: IpAddr) -> Result<(), Refusal> {
    let by_hand =
        peer.is_loopback() && caller.capability.is_none() && !broker.clients().has_admin();
    if caller.admin || by_hand {
        return Ok(());
    }
    let hint = "run tinyclaw-broker thaw beside the broker, or with an admin client's secret";
    Err(Refusal::denied("admin_required", "only an admin may thaw", hint))
}

async fn token_to_revoke(request: Request<Body>) -> Result<SecretString, Refusal> {
    let hint = r#"send {"token":"ghs_…"} as the body"#;
    if request.uri().query().is_some() {
        let error = "a token in a URL ends up in logs";
        return Err(Refusal::malformed("bad_token", error, hint));
    }
    let bad = |error: &'static str| Refusal::malformed("bad_token", error, hint);
    let body = axum::body::to_bytes(request.into_body(), BODY_BYTES_MAX).await;
    let body = body.map_err(|_| bad("the body is too long or broke off"))?;
    let TokenToRevoke { token } =
        serde_json::from_slice(&body).map_err(|_| bad("the body names no token"))?;
    let text = token.expose_secret();
    let clean = text.bytes().all(|it| it.is_ascii_alphanumeric() || b"._-".contains(&it));
    if !text.starts_with("ghs_") || !clean {
        return Err(bad("this is not an installation token"));
    }
    Ok(token)
}

/// What stands after `Bearer`; two such headers are none.
fn bearer(request: &Request<Body>) -> Option<&str> {
    let mut headers = request.headers().get_all(AUTHORIZATION).iter();
    let (header, None) = (headers.next()?, headers.next()) else { return None };
    let (scheme, bearer) = header.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| bearer.trim())
}

/// The shape that every service of the house answers with.
fn how_it_is(
    broker: &Broker,
    ready: bool,
    why: &[String],
    warnings: &[String],
) -> serde_json::Value {
    json!({
        "service": "broker",
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "startedAt": broker.started_at_ms(),
        "at": broker.clock.wall_ms(),
        "alive": true,
        "ready": ready,
        "why": why,
        "numbers": {
            "granted": broker.counters.granted.get(),
            "denied": broker.counters.denied.get(),
            "mints": broker.counters.mints.get(),
            "livingTokens": broker.vault.count(broker.clock.now()),
            "frozen": broker.is_frozen(),
            "warnings": warnings,
        },
    })
}

fn metrics(broker: &Broker) -> Response<Body> {
    let mut text = String::with_capacity(4096);
    broker.counters.render(&mut text);
    broker.gauges(&mut text);
    let mut response = Response::new(Body::from(text));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let mut response = json_answer(refusal.status, refusal);
    if let Some(seconds) = refusal.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if refusal.status == 401 {
        let challenge = HeaderValue::from_static("Bearer");
        response.headers_mut().insert("www-authenticate", challenge);
    }
    response
}

fn json_answer(status: u16, body: &impl Serialize) -> Response<Body> {
    let body = serde_json::to_vec(body).unwrap_or_else(|_| b"{}".to_vec());
    let mut response = Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
