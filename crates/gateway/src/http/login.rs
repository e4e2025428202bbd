//! `POST /login`: the ticket of `tinyclaw token login` for the token that it was made with. Once, and for minutes only.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use serde_json::json;

use super::{App, Asking, body};
use crate::access::Denied;
use crate::problem::Problem;

const BODY_BYTES_MAX: usize = 4 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    ticket: String,
}

/// Tells the token. Who shows what is no ticket is told to wait soon, as with tokens.
pub(super) async fn login(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let shown: Shown = body::json(&parts.headers, body, BODY_BYTES_MAX, "{ \"ticket\" }").await?;
    match app.access.log_in(&shown.ticket) {
        Some((token, until)) => {
            Ok(axum::Json(json!({ "token": token, "expiresAt": until })).into_response())
        }
        None => Err(app.denied(Denied::BadToken, &Asking::of(&parts))),
    }
}
