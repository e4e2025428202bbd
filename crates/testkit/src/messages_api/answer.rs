//! The API's answers, in its own shapes.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::marks::Plan;

type Events = mpsc::Sender<io::Result<String>>;

pub(super) async fn respond(plan: Plan, model: &str, is_stream: bool) -> Response {
    match plan {
        Plan::Status(status) => error(status),
        Plan::Limit(seconds) => limit(seconds),
        Plan::Hang => std::future::pending().await,
        Plan::Garbage => ([(header::CONTENT_TYPE, "application/json")], "<html>not the API</html>")
            .into_response(),
        plan if is_stream => stream(plan, model.to_owned()),
        Plan::Stall(_) => std::future::pending().await,
        Plan::Truncate(_) => {
            ([(header::CONTENT_TYPE, "application/json")], "{\"id\":\"msg_").into_response()
        }
        plan => whole(&plan, model),
    }
}

fn id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("msg_fake{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn error(status: u16) -> Response {
    let kind = match status {
        400 | 413 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body =
        json!({ "type": "error", "error": { "type": kind, "message": format!("fake {status}") } });
    (code, Json(body)).into_response()
}

/// What a subscription hears when its limit is reached.
fn limit(seconds: u64) -> Response {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut response = error(429);
    let headers = response.headers_mut();
    for (name, value) in [
        ("anthropic-ratelimit-unified-status", "rejected".to_owned()),
        ("anthropic-ratelimit-unified-reset", (now + seconds).to_string()),
        ("anthropic-ratelimit-unified-representative-claim", "five_hour".to_owned()),
        ("anthropic-ratelimit-unified-overage-status", "rejected".to_owned()),
    ] {
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    }
    response
}

fn parts(plan: &Plan) -> (Value, &'static str) {
    match plan {
        Plan::Tool { name, input } => {
            let tool = id().replace("msg", "toolu");
            (json!({ "type": "tool_use", "id": tool, "name": name, "input": input }), "tool_use")
        }
        Plan::Say { text, .. } | Plan::Cut(text) | Plan::Truncate(text) | Plan::Stall(text) => {
            (json!({ "type": "text", "text": text }), "end_turn")
        }
        Plan::TooLong(text) => (json!({ "type": "text", "text": text }), "max_tokens"),
        Plan::Counts { .. } => (json!({ "type": "text", "text": "counted" }), "end_turn"),
        _ => (json!({ "type": "text", "text": "I would rather not." }), "refusal"),
    }
}

fn message(model: &str, content: Value, stop: Value) -> Value {
    json!({
        "id": id(), "type": "message", "role": "assistant", "model": model, "content": content,
        "stop_reason": stop, "stop_sequence": null,
        "usage": { "input_tokens": 10, "output_tokens": 1,
            "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0 },
    })
}

fn whole(plan: &Plan, model: &str) -> Response {
    let (block, stop) = parts(plan);
    Json(message(model, json!([block]), json!(stop))).into_response()
}

fn stream(plan: Plan, model: String) -> Response {
    let (to, from) = mpsc::channel(16);
    tokio::spawn(async move {
        // An error is a broken connection; a receiver that is gone is a client that left.
        let _ = tell(plan, &model, &to).await;
    });
    let body = Body::from_stream(ReceiverStream::new(from));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

async fn send(to: &Events, event: Value) -> Result<(), ()> {
    let kind = event["type"].as_str().unwrap_or_default();
    to.send(Ok(format!("event: {kind}\ndata: {event}\n\n"))).await.map_err(|_| ())
}

async fn tell(plan: Plan, model: &str, to: &Events) -> Result<(), ()> {
    let (block, stop) = parts(&plan);
    let mut start = message(model, json!([]), Value::Null);
    if let Plan::Counts { given, .. } = plan {
        start["usage"]["input_tokens"] = json!(given);
    }
    send(to, json!({ "type": "message_start", "message": start })).await?;
    if block["type"] == "text" {
        let empty = json!({ "type": "text", "text": "" });
        send(to, json!({ "type": "content_block_start", "index": 0, "content_block": empty }))
            .await?;
        let pause = match plan {
            Plan::Say { pause, .. } => pause,
            _ => Duration::ZERO,
        };
        for word in block["text"].as_str().unwrap_or_default().split_inclusive(' ') {
            let delta = json!({ "type": "text_delta", "text": word });
            send(to, json!({ "type": "content_block_delta", "index": 0, "delta": delta })).await?;
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    } else {
        let mut empty = block.clone();
        empty["input"] = json!({});
        send(to, json!({ "type": "content_block_start", "index": 0, "content_block": empty }))
            .await?;
        let delta =
            json!({ "type": "input_json_delta", "partial_json": block["input"].to_string() });
        send(to, json!({ "type": "content_block_delta", "index": 0, "delta": delta })).await?;
    }
    match plan {
        Plan::Cut(_) => {
            // What was said arrives before the connection breaks.
            tokio::time::sleep(Duration::from_millis(50)).await;
            return to.send(Err(io::ErrorKind::ConnectionReset.into())).await.map_err(|_| ());
        }
        Plan::Truncate(_) => return Ok(()),
        Plan::Stall(_) => {
            to.closed().await;
            return Err(());
        }
        _ => {}
    }
    send(to, json!({ "type": "content_block_stop", "index": 0 })).await?;
    // Each frame says all that was used so far, as the real API's do.
    let frames = if let Plan::Counts { frames, .. } = plan { frames.max(1) } else { 1 };
    for frame in 1..=frames {
        let stop = if frame == frames { json!(stop) } else { Value::Null };
        let delta = json!({ "stop_reason": stop, "stop_sequence": null });
        let usage = json!({ "output_tokens": 5 });
        send(to, json!({ "type": "message_delta", "delta": delta, "usage": usage })).await?;
    }
    send(to, json!({ "type": "message_stop" })).await
}
