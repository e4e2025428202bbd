//! `POST /sessions/{id}/notify` and `/api/threads/{id}/messages`: a word to a session. To one of ours it is a message in that
//! thread's lane, shown and answered where the thread is. To a Claude Code session elsewhere the first makes it a note that
//! rides on the answer to its next hook, where the operator allows that; the second knows threads only.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use tinyclaw_domain::{Channel, Key, Message, Source, StateDir, ThreadId};
use tinyclaw_ledger::read_threads;
use tinyclaw_service::now_ms;

use super::admit::{Admitted, Notifies};
use super::{App, body};
use crate::access::Caller;
use crate::event::{Draft, Invalid, NewEvent};
use crate::notes::{self, Note};
use crate::office::SOURCE;
use crate::problem::Problem;
use crate::store;

/// A message of the queue has less.
const BODY_BYTES_MAX: usize = 256 << 10;
/// So long a sender's name may be.
const NAME_CHARS_MAX: usize = 64;
/// So long an id of a session elsewhere may be.
const SESSION_BYTES_MAX: usize = 128;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Notice {
    message: String,
    from: Option<String>,
}

/// Tells a session something: a thread of this office, or one elsewhere.
pub(super) async fn notify(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    by: Admitted<Notifies>,
    request: Request,
) -> Result<Response, Problem> {
    tell(&app, id, &by, request, app.notes_allowed).await
}

/// Tells a thread something.
pub(super) async fn message(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    by: Admitted<Notifies>,
    request: Request,
) -> Result<Response, Problem> {
    tell(&app, id, &by, request, false).await
}

async fn tell(
    app: &App,
    id: String,
    by: &Admitted<Notifies>,
    request: Request,
    may_be_elsewhere: bool,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let caller = &by.caller;
    let notice: Notice =
        body::json(&parts.headers, body, BODY_BYTES_MAX, "{ \"message\", \"from\"? }").await?;
    if notice.message.trim().is_empty() {
        return Err(Problem::invalid(Invalid::at("/message", "is empty")));
    }
    let sender = match &notice.from {
        Some(from) if is_name(from) => format!("{} ({})", from.trim(), caller.name),
        Some(_) => {
            let detail = format!("has 1 to {NAME_CHARS_MAX} characters, on one line");
            return Err(Problem::invalid(Invalid::at("/from", detail)));
        }
        None => caller.name.clone(),
    };
    let state = app.state.clone();
    let wanted = id.clone();
    let thread = tokio::task::spawn_blocking(move || thread_of(&state, &wanted)).await;
    let thread = thread.map_err(|err| unavailable(err.to_string()))??;
    let told = match thread {
        Some(thread) if !caller.may_use(thread.env().map(|it| it.0).as_ref()) => {
            let detail = format!("this token may not have Claude work in thread {thread}");
            return Err(Problem::new(StatusCode::FORBIDDEN, "env_forbidden", detail));
        }
        Some(thread) => to_thread(app, thread, sender, caller, notice, &parts.headers).await?,
        None if may_be_elsewhere && is_session(&id) => note(app, id, sender, notice).await?,
        None => {
            let detail = "no thread and no session of this office has that id; to Claude Code sessions elsewhere \
                nothing is told unless gateway.notifyForeign is true (TINYCLAW_GATEWAY_NOTIFY_FOREIGN)";
            return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_session", detail));
        }
    };
    Ok(by.tell_with(StatusCode::ACCEPTED, told))
}

fn is_name(text: &str) -> bool {
    let text = text.trim();
    !text.is_empty()
        && text.chars().count() <= NAME_CHARS_MAX
        && !text.chars().any(char::is_control)
}

fn is_session(id: &str) -> bool {
    let is_letter = |it: u8| it.is_ascii_alphanumeric() || b"._-".contains(&it);
    (1..=SESSION_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_letter)
}

fn unavailable(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "queue_unavailable", detail).retry_after(2)
}

/// The thread that is meant: by its own id, or by that of Claude's session in it.
fn thread_of(state: &StateDir, id: &str) -> Result<Option<ThreadId>, Problem> {
    let threads = read_threads(state).map_err(|err| unavailable(err.to_string()))?;
    let is_it = |thread: &ThreadId, session: Option<String>| {
        thread.to_string() == id || session.as_deref() == Some(id)
    };
    let mut found = threads
        .iter()
        .filter(|(thread, it)| is_it(thread, it.session_id.as_ref().map(ToString::to_string)));
    Ok(found.next().map(|(thread, _)| thread.clone()))
}

/// A message in the thread's lane, answered where the thread is.
async fn to_thread(
    app: &App,
    thread: ThreadId,
    sender: String,
    caller: &Caller,
    notice: Notice,
    headers: &HeaderMap,
) -> Result<Value, Problem> {
    let chance = format!("{:032x}", rand::random::<u128>());
    let key = match headers.get("idempotency-key").map(|it| it.to_str()) {
        None => Key::hashed("api", &chance),
        Some(Ok(it)) if !it.is_empty() => Key::hashed("api", &format!("{}-{it}", caller.name)),
        Some(_) => {
            return Err(Problem::invalid(Invalid::at("Idempotency-Key", "is no readable text")));
        }
    };
    let channel =
        if thread.is_in_telegram(app.has_forum) { Channel::Telegram } else { Channel::Api };
    let mut message = Message::new(key.clone(), channel, thread.clone(), notice.message, now_ms());
    message.source = Source::Api;
    message.sender = sender;
    message.sender_id = Some(format!("api-{}", caller.name));
    let is_known = app.jobs.tell(caller, &app.envs.current(), message).await?;
    Ok(json!({
        "ok": true, "key": key, "threadId": thread, "duplicate": is_known,
        "timeline": format!("/api/messages/{key}/timeline"),
    }))
}

/// A note that waits for the session's next hook.
async fn note(
    app: &App,
    session: String,
    sender: String,
    notice: Notice,
) -> Result<Value, Problem> {
    if notice.message.chars().count() > notes::CHARS_MAX {
        let detail = format!("has more than {} characters", notes::CHARS_MAX);
        return Err(Problem::invalid(Invalid::at("/message", detail)));
    }
    let now = now_ms();
    let id = format!("nt_{:016x}", rand::random::<u64>());
    let until = now + notes::WAIT_MS;
    let note =
        Note { id: id.clone(), session: session.clone(), sender, text: notice.message, until };
    if !notes::keep(&app.store, note, now).await? {
        let detail = "too many notes wait already, of this session or in all";
        return Err(Problem::new(StatusCode::CONFLICT, "notes_full", detail).retry_after(60));
    }
    Ok(json!({ "ok": true, "noteId": id, "sessionId": session, "waitsUntil": until }))
}

/// The answer to a hook of Claude's: with what waits for its session, else one that changes nothing.
pub(super) async fn answer_to(
    app: &App,
    kind: &str,
    session: Option<&str>,
) -> Result<Value, Problem> {
    let Some((session, hook)) = notes::listening(kind, session).filter(|_| app.notes_allowed)
    else {
        return Ok(json!({}));
    };
    let notes = notes::take(&app.store, session, now_ms()).await?;
    if notes.is_empty() {
        return Ok(json!({}));
    }
    let told = notes.iter().filter_map(|it| {
        let metadata = [("hook".to_owned(), Value::from(hook))].into_iter().collect();
        NewEvent::checked(Draft {
            kind: "tinyclaw.note.told".to_owned(),
            source: SOURCE.to_owned(),
            session: Some(session.to_owned()),
            subject: Some(it.id.clone()),
            metadata,
            ..Draft::default()
        })
        .ok()
    });
    app.store.append(told.collect(), store::Durability::None).await?;
    Ok(notes::answer(hook, &notes))
}
