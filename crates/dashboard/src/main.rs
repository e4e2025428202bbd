//! `tinyclaw-dashboard`: serves the page; `tinyclaw-dashboard healthcheck` asks a running one whether it is well.

use std::time::Duration;

use anyhow::{Context, bail};
use tinyclaw_dashboard::{Config, Server};
use tinyclaw_domain::Catalogue;
use tinyclaw_service::settings::{self, Store};
use tinyclaw_service::{Shutdown, Vitals, healthcheck, logs, was_asked};
use tokio::net::TcpListener;

/// How long the health check waits for an answer.
const HEALTH_PATIENCE: Duration = Duration::from_secs(3);

const USAGE: &str = "\
tinyclaw-dashboard: shows everything that happened, and changes nothing

  tinyclaw-dashboard [serve]        serves the page on DASHBOARD_LISTEN (default 127.0.0.1:3100)
  tinyclaw-dashboard healthcheck    exit 0 when the one on this machine is well
";

type Sections = (settings::Dashboard, settings::Office, settings::Models);

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    if was_asked(USAGE, env!("CARGO_PKG_VERSION")) {
        return Ok(());
    }
    let environment: settings::Environment = std::env::vars().collect();
    let state = settings::state_dir(&environment).context("cannot find the state folder")?;
    match std::env::args().nth(1).as_deref() {
        None | Some("serve") => {}
        Some("healthcheck") => {
            let settings = Store::<Sections>::open(&state, environment)?.current();
            let address = healthcheck::local_address(settings.0.listen).to_string();
            healthcheck::probe(&address, "/health", HEALTH_PATIENCE)?;
            return Ok(());
        }
        Some(it) => bail!("{it:?} is no command: use serve or healthcheck"),
    }
    logs::init("info", None)?;
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let vitals = Vitals::new("dashboard", env!("CARGO_PKG_VERSION"));
    let Some(store) =
        Store::<Sections>::open_when_good(&state, &environment, &vitals, &shutdown).await
    else {
        return Ok(());
    };
    let settings = store.current();
    logs::follow(store.subscribe(), |it| &it.1.log_level);
    let changes = store.subscribe();
    tokio::spawn(store.follow(vitals.clone(), shutdown.clone()));
    let config = Config::new(state, &settings.0, &settings.2);
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr()?;
    let server = Server::start(&config, address.port(), vitals);
    server.follow_models(changes, |it| Catalogue::read(&it.2.families, &it.2.tiers).ok());
    tracing::info!(listen = %address, state = %config.state.display(), "dashboard is up");
    server.serve(listener, shutdown).await?;
    tracing::info!("dashboard is down");
    Ok(())
}
