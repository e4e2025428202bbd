//! The routes, and what stands before each of them: who asks, and how often.

mod admit;
mod body;
mod door;
mod envs;
mod execute;
mod files;
mod ingest;
mod job_stream;
mod jobs;
pub(crate) mod listener;
mod live;
mod login;
mod notify;
mod numbers;
mod openai;
mod openapi;
mod page;
mod prefer;
mod query;
mod reading;
mod sessions;
mod stream;
mod tickets;
mod tie;
mod timeline;
mod webhooks;
mod ws;
mod ws_jobs;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, post};
use tinyclaw_domain::{Scope, StateDir};
use tinyclaw_service::http::{Hosts, Peer};
use tinyclaw_service::{Shutdown, Vitals};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::access::{Access, Allowance, Caller, Denied, Kind};
use crate::envs::EnvBook;
use crate::feed::Told;
use crate::jobs::{Callbacks, Jobs};
use crate::porter::Porter;
use crate::problem::Problem;
use crate::store::Store;
use crate::webhooks::Webhooks;

/// So many streams and sockets are open at once.
pub(crate) const STREAMS_MAX: usize = 2_000;

/// What every route works with.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) state: StateDir,
    pub(crate) store: Store,
    pub(crate) webhooks: Arc<Webhooks>,
    pub(crate) envs: Arc<EnvBook>,
    pub(crate) porter: Porter,
    pub(crate) jobs: Arc<Jobs>,
    pub(crate) callbacks: Arc<Callbacks>,
    /// Whether notes may wait for Claude Code sessions that are not of this office.
    pub(crate) notes_allowed: bool,
    /// Whether the office has a forum, so that its threads are topics there.
    pub(crate) has_forum: bool,
    pub(crate) access: Arc<Access>,
    pub(crate) hosts: Hosts,
    pub(crate) origins: HashSet<String>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) vitals: Vitals,
    pub(crate) shutdown: Shutdown,
}

/// Every route, behind the door.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let own = routes().into_iter().fold(Router::new(), |all, (path, it)| all.route(path, it));
    let own = own.with_state(Arc::clone(app));
    tinyclaw_service::http::probes(app.vitals.clone())
        .merge(own)
        .layer(from_fn_with_state(Arc::clone(app), door::door))
}

/// Each path, and what is done there. `docs/openapi.json` says of each what it takes and tells.
fn routes() -> Vec<(&'static str, MethodRouter<Arc<App>>)> {
    vec![
        ("/", get(page::chat)),
        ("/docs", get(page::docs)),
        ("/events", get(reading::events).post(ingest::events)),
        ("/hooks/claude", post(ingest::hook)),
        ("/ws", get(ws::upgrade)),
        ("/sessions/{id}/notify", post(notify::notify)),
        ("/api/threads/{id}/messages", post(notify::message)),
        ("/api/messages/{key}/timeline", get(timeline::timeline)),
        ("/api/execute", post(execute::execute)),
        ("/api/jobs", get(jobs::list)),
        ("/api/jobs/{id}", get(jobs::show)),
        ("/api/jobs/{id}/stream", get(job_stream::stream)),
        ("/api/jobs/{id}/cancel", post(jobs::cancel)),
        ("/api/jobs/{id}/permissions/{request}", post(jobs::answer)),
        ("/api/jobs/{id}/files/{number}", get(files::get)),
        ("/api/sessions", post(sessions::begin)),
        ("/api/sessions/{env}", get(sessions::list)),
        ("/api/sessions/{env}/{id}", delete(sessions::end)),
        ("/api/sessions/{env}/{id}/files", post(files::put)),
        ("/api/envs", get(envs::list)),
        ("/api/containers/{env}", get(envs::show)),
        ("/api/containers/{env}/start", post(envs::start)),
        ("/api/containers/{env}/stop", post(envs::stop)),
        ("/v1/chat/completions", post(openai::complete)),
        ("/v1/models", get(openai::models)),
        ("/api/webhooks", get(webhooks::list).post(webhooks::add)),
        ("/api/webhooks/{id}", get(webhooks::show).post(webhooks::change).delete(webhooks::remove)),
        ("/api/webhooks/{id}/deliveries", get(webhooks::deliveries)),
        ("/api/webhooks/{id}/redeliver", post(webhooks::redeliver)),
        ("/tickets", post(tickets::issue)),
        ("/login", post(login::login)),
        ("/metrics", get(numbers::metrics)),
        ("/version", get(numbers::version)),
        ("/stats", get(numbers::stats)),
        ("/openapi.json", get(openapi::document)),
    ]
}

/// What of a request says who asks.
pub(crate) struct Asking<'a> {
    pub(crate) headers: &'a HeaderMap,
    pub(crate) uri: &'a Uri,
    pub(crate) peer: Option<Peer>,
}

impl<'a> Asking<'a> {
    /// Of a request without its body.
    pub(crate) fn of(parts: &'a axum::http::request::Parts) -> Asking<'a> {
        let peer = parts.extensions.get().copied();
        Asking { headers: &parts.headers, uri: &parts.uri, peer }
    }

    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> Option<&'a str> {
        self.headers.get(name).and_then(|it| it.to_str().ok())
    }

    pub(crate) fn origin(&self) -> Option<&'a str> {
        self.header(header::ORIGIN)
    }

    fn bearer(&self) -> Option<&'a str> {
        let (scheme, token) = self.header(header::AUTHORIZATION)?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }
}

impl App {
    /// Who asks, if they may do it at all.
    pub(crate) async fn admit(
        &self,
        asking: &Asking<'_>,
        scope: Option<Scope>,
    ) -> Result<Caller, Problem> {
        match self.access.caller(asking.bearer()).await {
            Ok(caller) => self.permit(caller, asking, scope),
            Err(denied) => Err(self.denied(denied, asking)),
        }
    }

    /// Whether a known caller may do it, from this page.
    pub(crate) fn permit(
        &self,
        caller: Caller,
        asking: &Asking<'_>,
        scope: Option<Scope>,
    ) -> Result<Caller, Problem> {
        if let Some(scope) = scope
            && !caller.scopes.contains(&scope)
        {
            let detail = format!("this token may not {}; it lacks that scope", scope.as_str());
            return Err(Problem::new(StatusCode::FORBIDDEN, "scope", detail));
        }
        if let Some(origin) = asking.origin()
            && !caller.origins.is_empty()
            && !caller.origins.iter().any(|it| it == origin)
        {
            let detail = format!("this token is not for pages of {origin:?}");
            return Err(Problem::new(StatusCode::FORBIDDEN, "origin", detail));
        }
        Ok(caller)
    }

    /// What is told to somebody who is not let in.
    pub(crate) fn denied(&self, denied: Denied, asking: &Asking<'_>) -> Problem {
        let unauthorized = |code, detail| Problem::new(StatusCode::UNAUTHORIZED, code, detail);
        match denied {
            Denied::NoToken => unauthorized("no_token", "send a token: Authorization: Bearer tc_…"),
            Denied::NoneConfigured => unauthorized(
                "no_token",
                "no token is configured here, so nobody is let in; the operator makes one: tinyclaw token new",
            ),
            Denied::BadToken => {
                let nobody = IpAddr::from(Ipv4Addr::UNSPECIFIED);
                let from = asking.peer.map_or(nobody, |it| it.0.ip());
                let allowance = self.access.may_fail(from);
                match allowance.wait_seconds {
                    None => unauthorized("bad_token", "the token is unknown, expired or revoked"),
                    Some(_) => self.limited(allowance),
                }
            }
        }
    }

    /// Whether a caller may ask for so much now.
    pub(crate) fn ask(
        &self,
        kind: Kind,
        caller: &Caller,
        count: usize,
    ) -> Result<Allowance, Problem> {
        let allowance = self.access.rates.ask(kind, &caller.name, count);
        match allowance.wait_seconds {
            None => Ok(allowance),
            Some(_) => Err(self.limited(allowance)),
        }
    }

    fn limited(&self, allowance: Allowance) -> Problem {
        self.vitals.count("rateLimitedTotal", 1);
        Problem::rate_limited(allowance)
    }

    /// Counts the gaps that a subscriber is told.
    pub(crate) fn count_gaps(&self, told: &[Told]) {
        let gaps = told.iter().filter(|it| matches!(it, Told::Gap(_))).count();
        if gaps > 0 {
            self.vitals.count("gapsTotal", gaps as u64);
        }
    }

    /// A place for a stream.
    pub(crate) fn stream_place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            let detail = format!("{STREAMS_MAX} streams are open, which is all there may be");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "streams_full", detail).retry_after(5)
        })
    }
}
