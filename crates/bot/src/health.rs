//! How the container is, from what its services say of themselves in `health/<service>.json`.
//!
//! Nothing is asked of them and nothing is kept: every request reads the files anew. A word counts only when it comes from
//! the process that runs now, so a file that an earlier one left behind says nothing. Where systemd runs the services, nobody
//! here has started them: then it is the process that the file names, as long as there is one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::Serialize;
use tinyclaw_domain::{Health, StateDir};
use tinyclaw_service::{Counted, now_ms, prometheus};
use tokio::sync::watch;

use crate::house::Resident;

/// Services say how they are every few seconds; who is silent for so long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The container's health, as its routes know it.
#[derive(Debug)]
pub struct Container {
    state: PathBuf,
    /// Those that were started here; `None` where somebody else starts them.
    residents: Option<watch::Receiver<Vec<Resident>>>,
    started_at: u64,
}

/// The services of an office.
const SERVICES: [&str; 2] = ["processor", "telegram"];

/// One service, as its process and its own word tell.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ServiceSeen {
    alive: bool,
    ready: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    why: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    started_at: u64,
    /// How often it ended by itself and was started again,
    restarts: u32,
    /// and when and how it ended the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
    #[serde(skip)]
    numbers: BTreeMap<String, serde_json::Value>,
}

impl Container {
    /// The container whose services are `residents`, over the state folder `state`.
    pub fn new(state: &Path, residents: watch::Receiver<Vec<Resident>>) -> Container {
        Container { state: state.to_owned(), residents: Some(residents), started_at: now_ms() }
    }

    /// The office over the state folder `state`, whose services somebody else starts.
    pub fn of_others(state: &Path) -> Container {
        Container { state: state.to_owned(), residents: None, started_at: now_ms() }
    }

    /// `/health`, `/ready` and `/metrics`.
    pub fn routes(self) -> Router {
        Router::new()
            .route("/health", get(health))
            .route("/ready", get(ready))
            .route("/metrics", get(metrics))
            .with_state(Arc::new(self))
    }

    fn look(&self) -> BTreeMap<&'static str, ServiceSeen> {
        let now = now_ms();
        match &self.residents {
            Some(own) => {
                let own = own.borrow().clone();
                own.iter().map(|it| (it.service, self.look_at(it, now))).collect()
            }
            None => SERVICES.map(|it| (it, self.look_for(it, now))).into(),
        }
    }

    /// The service as its word tells, if the process that wrote it is there.
    fn look_for(&self, service: &'static str, now: u64) -> ServiceSeen {
        let running = self.word_of(service).filter(|it| is_there(it.pid));
        match running {
            Some(it) => {
                let (pid, started_at) = (Some(it.pid), it.started_at);
                // Whoever starts it knows how often.
                let (restarts, ended) = (0, None);
                self.look_at(&Resident { service, pid, started_at, restarts, ended }, now)
            }
            None => ServiceSeen {
                alive: false,
                ready: false,
                why: vec![format!("it does not run: systemctl status tinyclaw-{service}")],
                pid: None,
                started_at: now,
                restarts: 0,
                ended_at: None,
                ended: None,
                numbers: BTreeMap::new(),
            },
        }
    }

    fn look_at(&self, resident: &Resident, now: u64) -> ServiceSeen {
        let Resident { service, pid, started_at, restarts, .. } = *resident;
        let said = self.word_of(service).filter(|it| Some(it.pid) == pid);
        let heard_at = said.as_ref().map_or(started_at, |it| it.at.max(started_at));
        let silence = Duration::from_millis(now.saturating_sub(heard_at));
        let is_silent = pid.is_some() && silence > SILENCE_MAX;
        let (ready, why, mut numbers) = match said {
            // It comes back in a moment, or the bot leaves.
            _ if pid.is_none() => (false, vec!["it is started again".to_owned()], BTreeMap::new()),
            _ if is_silent => {
                let why = format!("it has said nothing for {} s", silence.as_secs());
                (false, vec![why], BTreeMap::new())
            }
            Some(it) => (it.ready, it.why, it.numbers),
            None => (false, vec!["it is starting".to_owned()], BTreeMap::new()),
        };
        numbers.insert("restartsTotal".to_owned(), restarts.into());
        let (ended_at, ended) = resident.ended.clone().map(|it| (it.at, it.how)).unzip();
        ServiceSeen {
            alive: !is_silent,
            ready,
            why,
            pid,
            started_at,
            restarts,
            ended_at,
            ended,
            numbers,
        }
    }

    fn word_of(&self, service: &str) -> Option<Health> {
        let path = StateDir::new(&self.state).health(service);
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
}

/// Whether there is such a process, whoever's it is.
fn is_there(pid: u32) -> bool {
    let pid = Pid::from_raw(pid.cast_signed());
    pid.as_raw() > 0 && matches!(kill(pid, None), Ok(()) | Err(Errno::EPERM))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HealthBody {
    status: &'static str,
    service: &'static str,
    version: &'static str,
    started_at: u64,
    services: BTreeMap<&'static str, ServiceSeen>,
}

async fn health(State(container): State<Arc<Container>>) -> impl IntoResponse {
    let services = container.look();
    let is_well = services.values().all(|it| it.alive);
    let (code, status) = match is_well {
        true => (StatusCode::OK, "ok"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "silent"),
    };
    let body = HealthBody {
        status,
        service: "bot",
        version: env!("CARGO_PKG_VERSION"),
        started_at: container.started_at,
        services,
    };
    (code, Json(body))
}

#[derive(Serialize)]
struct ReadyBody {
    ready: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    why: Vec<String>,
}

async fn ready(State(container): State<Arc<Container>>) -> impl IntoResponse {
    let services = container.look();
    let ready = services.values().all(|it| it.ready);
    let mut why = Vec::new();
    for (service, seen) in &services {
        why.extend(seen.why.iter().map(|it| format!("{service}: {it}")));
    }
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(ReadyBody { ready, why }))
}

async fn metrics(State(container): State<Arc<Container>>) -> impl IntoResponse {
    let (services, now) = (container.look(), now_ms());
    let counted = services.iter().map(|(service, seen)| Counted {
        service,
        ready: seen.ready,
        uptime_seconds: now.saturating_sub(seen.started_at) / 1000,
        numbers: &seen.numbers,
    });
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], prometheus(counted))
}
