//! What is told when a request is refused: RFC 9457's `application/problem+json`, with the fields that older clients read.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tinyclaw_queue::PublishError;

use crate::access::Allowance;
use crate::event::Invalid;
use crate::store::StoreError;

/// A refusal, before it is written out: the door adds the request's id, and what the path's clients read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem(Box<Parts>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<Flaw>,
    allowance: Option<Allowance>,
    retry_after: Option<u64>,
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Flaw {
    pointer: String,
    detail: String,
}

impl Problem {
    /// A refusal for the reason `code`.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        let (detail, errors) = (detail.into(), Vec::new());
        Problem(Box::new(Parts {
            status,
            code,
            detail,
            errors,
            allowance: None,
            retry_after: None,
        }))
    }

    /// 422: a value is wrong.
    pub fn invalid(it: Invalid) -> Problem {
        let detail = it.to_string();
        let mut problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail);
        problem.0.errors.push(Flaw { pointer: it.pointer, detail: it.detail });
        problem
    }

    /// 422: something in the query is wrong.
    pub fn query(name: &str, detail: impl Into<String>) -> Problem {
        Problem::invalid(Invalid::at(format!("?{name}"), detail))
    }

    /// 400: that is no JSON.
    pub fn bad_json(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::BAD_REQUEST, "bad_json", detail)
    }

    /// 413.
    pub fn too_large(detail: impl Into<String>) -> Problem {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    /// 429.
    pub fn rate_limited(allowance: Allowance) -> Problem {
        let detail = "that is more than is allowed; Retry-After says how long to wait";
        let mut problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail);
        problem.0.retry_after = allowance.wait_seconds;
        problem.0.allowance = Some(allowance);
        problem
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Why, in words.
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Says when to come again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Problem {
        self.0.retry_after = Some(seconds);
        self
    }

    /// The answer to a request of this id on this path.
    pub(crate) fn answer(self, request_id: &str, path: &str) -> Response {
        let mut body = Map::new();
        body.insert("type".into(), format!("/problems/{}", self.0.code).into());
        let title = self.0.status.canonical_reason().unwrap_or("Refused");
        body.insert("title".into(), title.into());
        body.insert("status".into(), self.0.status.as_u16().into());
        body.insert("code".into(), self.0.code.into());
        body.insert("detail".into(), self.0.detail.clone().into());
        body.insert("requestId".into(), request_id.into());
        if !self.0.errors.is_empty() {
            body.insert("errors".into(), json!(self.0.errors));
        }
        if path.starts_with("/api") {
            body.insert("success".into(), false.into());
        } else {
            body.insert("ok".into(), false.into());
        }
        let error = match path.starts_with("/v1/") {
            // As OpenAI's clients read it.
            true => {
                json!({ "message": self.0.detail, "type": self.0.code, "code": self.0.code, "param": null })
            }
            false => self.0.detail.into(),
        };
        body.insert("error".into(), error);
        let mut response = (self.0.status, Value::Object(body).to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.0.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(it) = &self.0.allowance {
            with_allowance(&mut response, it);
        }
        if self.0.status == StatusCode::UNAUTHORIZED {
            let value = HeaderValue::from_static("Bearer realm=\"tinyclaw\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        response
    }
}

/// Says how much is left.
pub(crate) fn with_allowance(response: &mut Response, allowance: &Allowance) {
    for (name, value) in [("ratelimit-policy", &allowance.policy), ("ratelimit", &allowance.left)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
}

/// What the queue does not take.
impl From<PublishError> for Problem {
    fn from(err: PublishError) -> Problem {
        let detail = err.to_string();
        let refused = |status, code| Problem::new(status, code, detail.clone());
        match err {
            PublishError::Full { .. } => {
                refused(StatusCode::SERVICE_UNAVAILABLE, "queue_full").retry_after(5)
            }
            PublishError::LaneFull { .. } => {
                refused(StatusCode::TOO_MANY_REQUESTS, "lane_full").retry_after(5)
            }
            PublishError::TooLarge { .. } => Problem::too_large(detail),
            PublishError::NoSpace { .. } => {
                refused(StatusCode::INSUFFICIENT_STORAGE, "disk_full").retry_after(30)
            }
            _ => refused(StatusCode::SERVICE_UNAVAILABLE, "queue_unavailable").retry_after(2),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(err: StoreError) -> Problem {
        let detail = err.to_string();
        match err {
            StoreError::Conflict { index, .. } => {
                let mut it = Problem::new(StatusCode::CONFLICT, "event_conflict", detail.clone());
                it.0.errors.push(Flaw { pointer: format!("/{index}"), detail });
                it
            }
            StoreError::DiskFull => {
                Problem::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", detail).retry_after(30)
            }
            StoreError::Unavailable(_) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                Problem::new(status, "store_unavailable", detail).retry_after(2)
            }
        }
    }
}

impl IntoResponse for Problem {
    /// Written out by the door, which knows the request.
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
