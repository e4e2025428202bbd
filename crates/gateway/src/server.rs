//! The gateway as a whole: the store, whoever may use it, and the server they come through.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use jiff::tz::TimeZone;
use tinyclaw_domain::StateDir;
use tinyclaw_service::{Shutdown, Vitals, http, settings};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::access::{Access, AccessConfig, FAILURES_A_MINUTE, JwtConfig, KeySource, RateConfig};
use crate::envs::EnvBook;
use crate::http::{App, STREAMS_MAX, listener};
use crate::jobs::{Callbacks, Jobs, SessionKeep};
use crate::porter::Porter;
use crate::store::{Keep, Store, StoreError};
use crate::webhooks::{WebhookConfig, Webhooks};
use crate::{moves, office};

/// Who does not take a byte for so long is let go, and comes back where it was.
const STALL: Duration = Duration::from_secs(5 * 60);
/// A request's head takes no longer.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// So long streams have to say that it is over.
const STREAMS_END: Duration = Duration::from_secs(5);

/// What can be set.
#[derive(Debug)]
pub struct Config {
    /// The office's folder.
    pub state: StateDir,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Names, with port, under which this gateway may be asked for.
    pub hosts: Vec<String>,
    /// Pages that may use it.
    pub origins: Vec<String>,
    /// Who may.
    pub access: AccessConfig,
    /// What is kept.
    pub keep: Keep,
    /// Where events may be posted to.
    pub webhooks: WebhookConfig,
    /// Where the porter listens, for environments that are containers. None: there is none.
    pub porter: Option<PathBuf>,
    /// Whether notes may wait for Claude Code sessions that are not of this office.
    pub notify_foreign: bool,
    /// Whether the office has a forum.
    pub has_forum: bool,
    /// The time zone in which a day begins, for budgets.
    pub zone: TimeZone,
    /// How long sessions are kept that nobody goes on with.
    pub sessions: SessionKeep,
    /// How many connections an address may have.
    pub connections_per_address: usize,
    /// How long a client may not read what it is sent.
    pub stall: Duration,
}

impl Config {
    /// The settings of the gateway on a state folder.
    pub fn new(state: &StateDir, it: &settings::Gateway) -> Config {
        let listen = it.listening();
        let keys = it.jwks.as_ref().map(|it| match it.contains("://") {
            true => KeySource::Url(it.clone()),
            false => KeySource::File(it.into()),
        });
        let secret = it.jwt_secret.clone();
        // The table refuses one without the others.
        let names = it.jwt_issuer.clone().zip(it.jwt_audience.clone());
        let jwt = names.filter(|_| secret.is_some() || keys.is_some());
        let whole = |it: u64| u32::try_from(it).unwrap_or(u32::MAX);
        Config {
            state: state.clone(),
            listen,
            hosts: it.hosts.clone(),
            origins: it.origins.clone(),
            access: AccessConfig {
                tokens: state.tokens(),
                api_token: it.api_token.clone(),
                jwt: jwt.map(|(issuer, audience)| JwtConfig { secret, keys, issuer, audience }),
                rates: RateConfig {
                    ingest: whole(it.ingest_per_second),
                    execute: whole(it.execute_per_second),
                    read: whole(it.read_per_second),
                    failures: FAILURES_A_MINUTE,
                },
            },
            keep: Keep { age: it.keep, rows: it.keep_rows, bytes: it.keep_bytes },
            webhooks: WebhookConfig::to(it.webhook_hosts.clone()),
            porter: None,
            notify_foreign: it.notify_foreign,
            has_forum: false,
            zone: TimeZone::UTC,
            sessions: SessionKeep::default(),
            connections_per_address: whole(it.connections_per_address) as usize,
            stall: STALL,
        }
    }
}

/// A gateway that is ready to serve.
#[derive(Debug)]
pub struct Server {
    app: Arc<App>,
    router: Router,
    connections_per_address: usize,
    stall: Duration,
}

impl Server {
    /// Opens the store; `port` is where the gateway will listen.
    pub fn start(
        config: Config,
        port: u16,
        vitals: Vitals,
        shutdown: Shutdown,
    ) -> Result<Server, StoreError> {
        let store = Store::open(&config.state.events(), config.keep, vitals.clone())?;
        let access = Access::new(config.access, vitals.clone());
        office::follow(&config.state, &store, &shutdown);
        moves::follow(&config.state, &store, &shutdown);
        let webhooks = Webhooks::new(store.clone(), config.webhooks, vitals.clone());
        tokio::spawn(Arc::clone(&webhooks).run(shutdown.clone()));
        let jobs = Jobs::new(&config.state, &store, vitals.clone(), config.zone);
        tokio::spawn(Arc::clone(&jobs).keep_deadlines(shutdown.clone()));
        tokio::spawn(Arc::clone(&jobs).forget_idle(config.sessions, shutdown.clone()));
        let envs = Arc::new(EnvBook::new(&config.state, vitals.clone()));
        let callbacks =
            Callbacks::new(Arc::clone(&jobs), Arc::clone(&envs), webhooks.config().clone());
        tokio::spawn(Arc::clone(&callbacks).run(shutdown.clone()));
        let app = Arc::new(App {
            envs,
            porter: Porter::new(config.porter),
            callbacks,
            jobs,
            state: config.state,
            store,
            webhooks,
            notes_allowed: config.notify_foreign,
            has_forum: config.has_forum,
            access: Arc::clone(&access),
            hosts: http::Hosts::new(&config.hosts, port),
            origins: config.origins.into_iter().collect(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            vitals: vitals.clone(),
            shutdown: shutdown.clone(),
        });
        tokio::spawn(access.follow(shutdown));
        let router = crate::http::router(&app);
        vitals.started();
        let (connections_per_address, stall) = (config.connections_per_address, config.stall);
        Ok(Server { app, router, connections_per_address, stall })
    }

    /// The store, for whoever brings events from within.
    pub fn store(&self) -> &Store {
        &self.app.store
    }

    /// Everything that is answered, without a listener.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Serves until the shutdown, and lets streams say that it is over.
    pub async fn serve(self, listener: TcpListener) -> std::io::Result<()> {
        let limits = http::Limits {
            // Counted by the listener, which also counts those that became sockets.
            connections: listener::CONNECTIONS_MAX,
            head: HEAD_TIME,
            stall: self.stall,
        };
        let listener = listener::Counting::new(listener, self.connections_per_address);
        http::serve(listener, self.router, self.app.shutdown.clone(), limits).await?;
        let all = u32::try_from(STREAMS_MAX).unwrap_or(u32::MAX);
        if tokio::time::timeout(STREAMS_END, self.app.streams.acquire_many(all)).await.is_err() {
            tracing::warn!("streams are still open: leaving them");
        }
        Ok(())
    }
}
