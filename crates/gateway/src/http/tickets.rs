//! `POST /tickets`: what a page shows where it cannot send its token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tinyclaw_domain::{Key, Scope};

use super::{App, Asking, body};
use crate::access::{Caller, Denied, Held, Kind, TICKET_TIME, TicketRefused, TicketUse};
use crate::event::Invalid;
use crate::problem::{Problem, with_allowance};

/// What a ticket is asked for with.
const BODY_BYTES_MAX: usize = 4 << 10;
/// The paths that take one; beside them the stream of every job.
const PATHS: [&str; 2] = ["/ws", "/events"];

fn takes_one(path: &str) -> bool {
    let job = path.strip_prefix("/api/jobs/").and_then(|it| it.strip_suffix("/stream"));
    PATHS.contains(&path) || job.is_some_and(|it| it.parse::<Key>().is_ok())
}

#[derive(Deserialize)]
struct Wanted {
    path: String,
}

/// Gives out a ticket.
pub(super) async fn issue(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let asking = Asking::of(&parts);
    let caller = app.admit(&asking, None).await?;
    let allowance = app.ask(Kind::Read, &caller, 1)?;
    let body = body::read(&parts.headers, body, BODY_BYTES_MAX).await?;
    let value: serde_json::Value =
        serde_json::from_slice(&body).map_err(|err| Problem::bad_json(err.to_string()))?;
    let wanted: Wanted = serde_json::from_value(value)
        .map_err(|_| Problem::invalid(Invalid::at("/path", "expected a path, such as /ws")))?;
    if !takes_one(&wanted.path) {
        let detail =
            format!("no ticket is taken there; use {}, or /api/jobs/ID/stream", PATHS.join(", "));
        return Err(Problem::invalid(Invalid::at("/path", detail)));
    }
    let origin = asking.origin().map(str::to_owned);
    let ticket = app.access.tickets.issue(caller, wanted.path, origin);
    let told = json!({ "ticket": ticket, "expiresIn": TICKET_TIME.as_secs() });
    let mut response = axum::Json(told).into_response();
    with_allowance(&mut response, &allowance);
    Ok(response)
}

/// A ticket in use. Dropped, it may be used to come back.
pub(super) struct TicketHeld {
    app: Arc<App>,
    text: String,
    _held: Held,
}

impl TicketHeld {
    /// Lets somebody in who shows a ticket in place of a token, for a stream at `path`.
    pub(super) fn take(
        app: &Arc<App>,
        asking: &Asking<'_>,
        ticket: &str,
        path: &str,
        is_return: bool,
    ) -> Result<(Caller, TicketHeld), Problem> {
        let how = TicketUse::Stream { is_return };
        let taken = app.access.tickets.take(ticket, path, asking.origin(), how);
        let (caller, held) = taken.map_err(|it| match it {
            TicketRefused::Unknown => app.denied(Denied::BadToken, asking),
            TicketRefused::Busy => {
                let detail = "this ticket serves another stream just now";
                Problem::new(StatusCode::CONFLICT, "ticket_busy", detail)
            }
        })?;
        let held = TicketHeld { app: Arc::clone(app), text: ticket.to_owned(), _held: held };
        Ok((app.permit(caller, asking, Some(Scope::Read))?, held))
    }
}

impl Drop for TicketHeld {
    fn drop(&mut self) {
        self.app.access.tickets.ended(&self.text);
    }
}
