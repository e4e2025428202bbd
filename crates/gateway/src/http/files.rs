//! Files of sessions over HTTP: put there beside a prompt, and fetched from an answer.
//!
//! What is fetched is never shown in place: it is somebody's file, of whatever kind its name says, and a browser keeps it.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::admit::{Admitted, Executes, Reads};
use super::query::pairs;
use super::{App, body};
use crate::event::Invalid;
use crate::jobs::FILE_BYTES_MAX;
use crate::problem::Problem;

/// So long a file's name may be.
const NAME_CHARS_MAX: usize = 200;

/// Keeps a file in a session; the body is what is in it, and `?name=` what it is called.
pub(super) async fn put(
    State(app): State<Arc<App>>,
    Path((env, session)): Path<(String, String)>,
    by: Admitted<Executes>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let env = app.env(&by.caller, &app.envs.current(), &env).await?;
    let mut name = None;
    for (word, value) in pairs(&parts.uri)? {
        match word.as_str() {
            "name" => name = Some(value),
            _ => return Err(Problem::query(&word, "is not known here; use name")),
        }
    }
    let is_name = |it: &String| {
        (1..=NAME_CHARS_MAX).contains(&it.chars().count()) && !it.chars().any(char::is_control)
    };
    let expected = format!("expected 1 to {NAME_CHARS_MAX} characters, on one line");
    let name = name.filter(is_name).ok_or_else(|| Problem::query("name", expected))?;
    let bytes = body::read(&parts.headers, body, FILE_BYTES_MAX).await?;
    if bytes.is_empty() {
        return Err(Problem::invalid(Invalid::at("", "the file is empty")));
    }
    let size = bytes.len();
    let kept = app.jobs.put_file(&env, &session, name, bytes).await?;
    let file = kept.path.rsplit('/').next().unwrap_or_default();
    let told = json!({
        "success": true, "file": file, "name": kept.name, "mime": kept.mime, "bytes": size,
    });
    Ok(by.tell_with(StatusCode::CREATED, told))
}

/// A file that a job's answer sends, by its number.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Path((id, number)): Path<(String, String)>,
    by: Admitted<Reads>,
) -> Result<Response, Problem> {
    let job = app.jobs.find(&by.caller, &app.envs.current(), &id).await?;
    let sent = job.finished.as_ref().map(|it| it.files()).unwrap_or_default();
    let file = number.parse().ok().and_then(|it: usize| sent.get(it)).ok_or_else(|| {
        let detail = "the answer of this job sends no such file";
        Problem::new(StatusCode::NOT_FOUND, "unknown_file", detail)
    })?;
    let bytes = app.jobs.sent_file(file).await?;
    let name = file.name.as_deref().unwrap_or("file");
    let kept = format!("attachment; filename*=UTF-8''{}", percent_encoded(name));
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    let bare = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, bare);
    if let Ok(kept) = HeaderValue::from_str(&kept) {
        headers.insert(header::CONTENT_DISPOSITION, kept);
    }
    let nothing = HeaderValue::from_static("default-src 'none'; sandbox");
    headers.insert(header::CONTENT_SECURITY_POLICY, nothing);
    by.stamp(&mut response);
    Ok(response)
}

/// As RFC 8187 wants it: what is no letter and no digit by its bytes.
fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
