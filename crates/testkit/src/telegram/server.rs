//! The HTTP side: paths, encodings, faults, long polls. What a method does is in [`super::methods`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::Response;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use super::control::{Fault, What};
use super::methods::{self, ApiError};
use super::wire::{Request, percent_decode};
use super::world::Call;
use super::{Shared, TOKEN, media};

/// The most bytes of a request, a little above the largest upload.
const BODY_BYTES_MAX: usize = media::UPLOAD_BYTES_MAX + 1024 * 1024;
/// How long a poll may be asked to wait.
const POLL_SECONDS_MAX: u64 = 50;

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let app = Router::new()
        .fallback(answer)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared);
    let _ = axum::serve(listener, app).await;
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    verb: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = percent_decode(uri.path());
    if let Some(rest) = path.strip_prefix("/file/bot") {
        return file(&shared, rest);
    }
    let parts = path.strip_prefix("/bot").and_then(|it| it.split_once('/'));
    let Some((token, method)) = parts else {
        return refuse(&ApiError::new(404, "Not Found"));
    };
    if token != TOKEN {
        return refuse(&ApiError::new(401, "Unauthorized"));
    }
    if verb != Method::POST && verb != Method::GET {
        return refuse(&ApiError::new(405, "Method Not Allowed"));
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let read =
        Request::read(uri.query().unwrap_or_default(), content_type.unwrap_or_default(), &body);
    drop(body);
    match read {
        Ok(request) => call(&shared, method, request).await,
        Err(why) => refuse(&ApiError::bad(&why)),
    }
}

async fn call(shared: &Arc<Shared>, method: &str, mut request: Request) -> Response {
    request.settle();
    let chat = request.int("chat_id").unwrap_or_default();
    note(shared, method, chat, &request);
    let text = request.params.get("text").and_then(Value::as_str).unwrap_or_default();
    let fault = take_fault(shared, method, text);
    if let Some(fault) = &fault {
        match fault {
            What::TooMany { seconds } => return told(shared, refused(ApiError::flood(*seconds))),
            What::Refused { code, description } => {
                return told(shared, refused(ApiError::new(*code, description)));
            }
            What::BadGateway {} => {
                return page(StatusCode::BAD_GATEWAY, "<html><h1>502 Bad Gateway</h1></html>");
            }
            What::Body { text } => return page(StatusCode::OK, text),
            What::LostRequest {} => return broken(),
            What::Slow { ms } => tokio::time::sleep(Duration::from_millis(*ms)).await,
            What::LateAnswer { .. } | What::LostAnswer {} => {}
        }
    }
    let done = if method.eq_ignore_ascii_case("getUpdates") {
        get_updates(shared, &request).await
    } else {
        let done = methods::call(&mut shared.world(), method, &request);
        shared.moved.notify_waiters();
        done
    };
    match fault {
        Some(What::LostAnswer {}) => return broken(),
        Some(What::LateAnswer { ms }) => tokio::time::sleep(Duration::from_millis(ms)).await,
        _ => {}
    }
    told(shared, done)
}

fn refused(err: ApiError) -> Result<Value, ApiError> {
    Err(err)
}

/// Writes the call down, with what the schema says about it.
fn note(shared: &Shared, method: &str, chat: i64, request: &Request) {
    let wrong = shared.schema.as_ref().map(|it| it.check(method, &request.params, request.is_form));
    let mut world = shared.world();
    world.violations.extend(wrong.into_iter().flatten());
    world.calls.push(Call {
        at: Instant::now(),
        method: methods::spelled(method).to_owned(),
        chat,
        params: request.params.clone(),
        error: None,
    });
    drop(world);
    shared.moved.notify_waiters();
}

fn take_fault(shared: &Shared, method: &str, text: &str) -> Option<What> {
    let mut world = shared.world();
    let hits = |it: &Fault| {
        (it.method.is_empty() || it.method.eq_ignore_ascii_case(method)) && text.contains(&it.about)
    };
    let at = world.faults.iter().position(hits)?;
    let fault = &mut world.faults[at];
    fault.times = fault.times.saturating_sub(1);
    let what = fault.what.clone();
    if fault.times == 0 {
        world.faults.remove(at);
    }
    Some(what)
}

async fn get_updates(shared: &Arc<Shared>, request: &Request) -> Result<Value, ApiError> {
    let seconds = request.int("timeout").unwrap_or(0).clamp(0, POLL_SECONDS_MAX as i64) as u64;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let offset = request.int("offset").unwrap_or(0);
    let limit = request.int("limit").unwrap_or(100).clamp(1, 100) as usize;
    let turn = {
        let mut world = shared.world();
        if world.webhook.is_some() {
            return Err(ApiError::webhook());
        }
        if let Some(kinds) = request.params.get("allowed_updates").and_then(Value::as_array) {
            let kinds = kinds.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            world.allowed = Some(kinds).filter(|it: &std::collections::BTreeSet<_>| !it.is_empty());
        }
        world.poll += 1;
        world.poll
    };
    // The older of two polls ends with a conflict: it must notice that there is a newer one.
    shared.news.notify_waiters();
    loop {
        let news = shared.news.notified();
        tokio::pin!(news);
        news.as_mut().enable();
        {
            let mut world = shared.world();
            if world.webhook.is_some() {
                return Err(ApiError::webhook());
            }
            if world.poll != turn {
                return Err(ApiError::new(
                    409,
                    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running",
                ));
            }
            let waiting = world.updates.len();
            let updates = world.updates_from(offset, limit);
            if world.updates.len() != waiting {
                // Whoever waits for them to be confirmed can stop.
                shared.moved.notify_waiters();
            }
            if !updates.is_empty() || tokio::time::Instant::now() >= deadline {
                drop(world);
                shared.moved.notify_waiters();
                return Ok(updates.into());
            }
        }
        let _ = tokio::time::timeout_at(deadline, news).await;
    }
}

fn file(shared: &Shared, rest: &str) -> Response {
    let found = rest.split_once('/').filter(|(token, _)| *token == TOKEN).and_then(|(_, path)| {
        shared.world().files.values().find(|it| it.path == path).map(|it| it.bytes.clone())
    });
    match found {
        Some(bytes) => Response::new(Body::from(bytes)),
        None => refuse(&ApiError::new(404, "Not Found")),
    }
}

fn told(shared: &Shared, done: Result<Value, ApiError>) -> Response {
    match done {
        Ok(value) => json_response(200, json!({"ok": true, "result": value})),
        Err(err) => {
            if let Some(call) = shared.world().calls.last_mut() {
                call.error = Some(err.description.clone());
            }
            refuse(&err)
        }
    }
}

fn refuse(err: &ApiError) -> Response {
    let mut body = Map::new();
    body.insert("ok".to_owned(), false.into());
    body.insert("error_code".to_owned(), err.code.into());
    body.insert("description".to_owned(), err.description.as_str().into());
    if let Some(parameters) = &err.parameters {
        body.insert("parameters".to_owned(), parameters.clone());
    }
    json_response(err.code, Value::Object(body))
}

fn json_response(code: u16, value: Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_REQUEST);
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn page(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    response
}

/// A response whose body breaks off: the client learns nothing.
fn broken() -> Response {
    let cut = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    let body = futures_util::stream::iter([Err::<Bytes, _>(cut)]);
    Response::new(Body::from_stream(body))
}
