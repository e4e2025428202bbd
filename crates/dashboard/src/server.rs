//! The server: the dashboard behind its door, on a listener that the caller brings.

use std::sync::Arc;

use axum::Router;
use tinyclaw_service::{Shutdown, Vitals, http};
use tokio::net::TcpListener;

use crate::access::Access;
use crate::config::Config;
use crate::dashboard::Dashboard;
use crate::guard::{Guard, guard};
use crate::{api, host, page, streams};

/// A dashboard that is ready to serve.
#[derive(Debug)]
pub struct Server {
    dashboard: Arc<Dashboard>,
    router: Router,
}

impl Server {
    /// Starts following the state folder; `port` is where the dashboard will listen.
    pub fn start(config: &Config, port: u16, vitals: Vitals) -> Server {
        let proc = host::find_proc(config.proc.clone());
        let dashboard =
            Dashboard::new(&config.state, proc, config.catalogue.clone(), vitals.clone());
        dashboard.start();
        let access = config
            .access
            .as_ref()
            .map(|it| Access::new(&it.team, it.audience.clone(), it.keys.clone()));
        let door = Arc::new(Guard {
            hosts: http::Hosts::new(&config.hosts, port),
            policy: page::policy(),
            access,
        });
        let router = api::router(Arc::clone(&dashboard)).merge(http::routes(vitals.clone()));
        let router = router.layer(axum::middleware::from_fn_with_state(door, guard));
        vitals.started();
        Server { dashboard, router }
    }

    /// Serves until the shutdown; then every stream ends.
    pub async fn serve(self, listener: TcpListener, shutdown: Shutdown) -> std::io::Result<()> {
        let (accepting, others) = streams::divide(listener, self.router.clone())?;
        let accepting = tokio::spawn(accepting);
        let serving = http::serve(others, self.router, shutdown.clone(), http::Limits::default());
        let streams_end = async {
            shutdown.begun().await;
            self.dashboard.end();
            std::future::pending().await
        };
        let served = tokio::select! {
            served = serving => served,
            () = streams_end => Ok(()),
        };
        accepting.abort();
        self.dashboard.end();
        served
    }
}
