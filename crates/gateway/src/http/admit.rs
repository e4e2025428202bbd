//! Whoever asks, let in and counted before a handler sees the request: an extractor, so that no handler can leave it out.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use tinyclaw_domain::Scope;

use super::{App, Asking};
use crate::access::{Allowance, Caller, Kind};
use crate::problem::{Problem, with_allowance};

/// What a handler asks of whoever comes: a scope, and as what it is counted.
pub(super) trait Needs {
    const SCOPE: Scope;
    const KIND: Kind = Kind::Read;
}

/// Looking.
pub(super) struct Reads;
/// Beginning a job.
pub(super) struct Executes;
/// Orders about jobs and sessions, which begin none.
pub(super) struct Orders;
/// Starting and stopping environments.
pub(super) struct Starts;
/// Words to sessions.
pub(super) struct Notifies;

impl Needs for Reads {
    const SCOPE: Scope = Scope::Read;
}
impl Needs for Executes {
    const SCOPE: Scope = Scope::Execute;
    const KIND: Kind = Kind::Execute;
}
impl Needs for Orders {
    const SCOPE: Scope = Scope::Execute;
}
impl Needs for Starts {
    const SCOPE: Scope = Scope::Envs;
}
impl Needs for Notifies {
    const SCOPE: Scope = Scope::Notify;
}

/// Whoever was let in.
pub(super) struct Admitted<N> {
    pub(super) caller: Caller,
    allowance: Allowance,
    needs: PhantomData<N>,
}

impl<N: Needs> FromRequestParts<Arc<App>> for Admitted<N> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let caller = app.admit(&Asking::of(parts), Some(N::SCOPE)).await?;
        let allowance = app.ask(N::KIND, &caller, 1)?;
        Ok(Admitted { caller, allowance, needs: PhantomData })
    }
}

impl<N> Admitted<N> {
    /// An answer to them, which says how often they may ask yet.
    pub(super) fn tell(&self, told: Value) -> Response {
        self.tell_with(StatusCode::OK, told)
    }

    /// The same with another status.
    pub(super) fn tell_with(&self, status: StatusCode, told: Value) -> Response {
        let mut response = (status, axum::Json(told)).into_response();
        self.stamp(&mut response);
        response
    }

    /// Says on an answer how often they may ask yet.
    pub(super) fn stamp(&self, response: &mut Response) {
        with_allowance(response, &self.allowance);
    }
}
