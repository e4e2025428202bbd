//! The server: the dashboard behind its door, on a listener that the caller brings.

use std::sync::Arc;

use axum::Router;
use tinyclaw_domain::Catalogue;
use tinyclaw_service::{Shutdown, Vitals, http};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::access::Access;
use crate::config::Config;
use crate::dashboard::Dashboard;
use crate::guard::{Guard, guard};
use crate::models::Models;
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
        let models = Models::new(config.catalogue.clone());
        let dashboard = Dashboard::new(&config.state, proc, models, vitals.clone());
        dashboard.start();
        let access = config.access.as_ref().map(Access::new);
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

    /// Goes on with the models of each change of the settings. One with a mistake changes nothing: whoever asks the models
    /// says what is wrong.
    pub fn follow_models<S: Send + Sync + 'static>(
        &self,
        mut settings: watch::Receiver<Arc<S>>,
        of: fn(&S) -> Option<Catalogue>,
    ) {
        let models = self.dashboard.models.clone();
        tokio::spawn(async move {
            while settings.changed().await.is_ok() {
                let catalogue = of(&settings.borrow_and_update());
                if let Some(it) = catalogue {
                    models.change(it);
                }
            }
        });
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
