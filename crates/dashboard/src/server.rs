//! The server: the dashboard behind its door, on a listener that the caller brings.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tinyclaw_service::{Shutdown, Vitals, http};
use tokio::net::TcpListener;

use crate::access::Access;
use crate::config::Config;
use crate::dashboard::Dashboard;
use crate::guard::{Guard, guard};
use crate::{api, host, page, streams};

/// Answers that are still under way so long after the shutdown began are cut.
const DRAIN_TIME: Duration = Duration::from_secs(5);

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
        let dashboard = Dashboard::new(&config.state, proc, vitals.clone());
        dashboard.start();
        let access = config
            .access
            .as_ref()
            .map(|it| Access::new(&it.team, it.audience.clone(), it.keys.clone()));
        let door = Arc::new(Guard {
            hosts: config.known_hosts(port).into_iter().collect(),
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
        let begun = {
            let shutdown = shutdown.clone();
            async move { shutdown.begun().await }
        };
        let serving = axum::serve(others, self.router).with_graceful_shutdown(begun);
        let served = tokio::select! {
            served = async { serving.await } => served,
            () = async { shutdown.begun().await; self.dashboard.end(); tokio::time::sleep(DRAIN_TIME).await } => Ok(()),
        };
        accepting.abort();
        self.dashboard.end();
        served
    }
}
