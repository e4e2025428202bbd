//! `tinyclaw-gateway`: serves the event bus; `tinyclaw-gateway healthcheck` asks a running one whether it is well.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tinyclaw_disk::Lock;
use tinyclaw_domain::StateDir;
use tinyclaw_gateway::store::Store as Events;
use tinyclaw_gateway::{Config, Server};
use tinyclaw_ledger::{create_folders, health};
use tinyclaw_service::settings::{self, Store};
use tinyclaw_service::{Shutdown, Vitals, healthcheck, logs, was_asked};
use tokio::net::TcpListener;

/// How long the health check waits for an answer.
const HEALTH_PATIENCE: Duration = Duration::from_secs(3);
/// How often it is tried again what cannot be done yet.
const AGAIN: Duration = Duration::from_secs(2);

const USAGE: &str = "\
tinyclaw-gateway: the event bus over HTTP

  tinyclaw-gateway [serve]        serves on GATEWAY_LISTEN (default 127.0.0.1:3200)
  tinyclaw-gateway healthcheck    exit 0 when the one on this machine is well
  tinyclaw-gateway backup FILE    copies events.db into a new file, also while a gateway runs; put in the place of
                                  events.db, it tells those who know the old one a gap
  tinyclaw-gateway new-epoch      after a copy of events.db was put back, while no gateway runs: old cursors are
                                  told a gap from then on, where they would meet other events under their numbers
";

type Sections = (settings::Gateway, settings::Office, settings::Porter);

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    if was_asked(USAGE, env!("CARGO_PKG_VERSION")) {
        return Ok(());
    }
    tinyclaw_service::not_dumpable().context("cannot keep others from reading the memory")?;
    let environment: settings::Environment = std::env::vars().collect();
    let root = settings::state_dir(&environment).context("cannot find the state folder")?;
    let state = StateDir::new(&root);
    match std::env::args().nth(1).as_deref() {
        None | Some("serve") => {}
        Some("healthcheck") => {
            let settings = Store::<Sections>::open(&root, environment)?.current();
            let listen = Config::new(&state, &settings.0).listen;
            let address = healthcheck::local_address(listen).to_string();
            healthcheck::probe(&address, "/health", HEALTH_PATIENCE)?;
            return Ok(());
        }
        Some("new-epoch") => {
            let Some(_lock) = Lock::try_take(&state.gateway_lock())? else {
                bail!("a gateway runs on {}; stop it first", root.display());
            };
            let epoch = Events::renew_epoch(&state.events())?;
            logs::init("info", None)?;
            tracing::info!("events.db begins epoch {epoch}");
            return Ok(());
        }
        Some("backup") => {
            let Some(file) = std::env::args_os().nth(2) else {
                bail!("name the file: tinyclaw-gateway backup FILE");
            };
            let copied = Events::back_up(&state.events(), file.as_ref())?;
            logs::init("info", None)?;
            tracing::info!("{copied} events are in {}", file.display());
            return Ok(());
        }
        Some(it) => bail!("{it:?} is no command: use serve, healthcheck, backup or new-epoch"),
    }
    logs::init("info", None)?;
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let vitals = Vitals::new("gateway", env!("CARGO_PKG_VERSION"));
    create_folders(&state).with_context(|| format!("cannot make folders in {}", root.display()))?;
    // The health file has one writer, too.
    let Some(_lock) = lock(&state, &shutdown).await? else { return Ok(()) };
    tokio::spawn(tell_health(state.clone(), vitals.clone(), shutdown.clone()));
    let Some(store) =
        Store::<Sections>::open_when_good(&root, &environment, &vitals, &shutdown).await
    else {
        return Ok(());
    };
    let settings = store.current();
    logs::follow(store.subscribe(), |it| &it.1.log_level);
    tokio::spawn(store.follow(vitals.clone(), shutdown.clone()));
    let config = Config {
        has_forum: has_forum(&root, &environment),
        zone: settings.1.timezone.clone(),
        porter: Some(settings.2.socket.clone()),
        ..Config::new(&state, &settings.0)
    };
    more_descriptors();
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))?;
    let address = listener.local_addr()?;
    let server = Server::start(config, address.port(), vitals, shutdown)?;
    tracing::info!(listen = %address, state = %root.display(), "gateway is up");
    server.serve(listener).await?;
    tracing::info!("gateway is down");
    Ok(())
}

/// Whether the office has a forum: its threads are topics there then. Nothing else of Telegram's settings is kept.
fn has_forum(root: &Path, environment: &settings::Environment) -> bool {
    let telegram = Store::<settings::Telegram>::open(root, environment.clone());
    telegram.is_ok_and(|it| it.current().chat_id.is_some())
}

/// Waits until no other gateway serves this state folder.
async fn lock(state: &StateDir, shutdown: &Shutdown) -> anyhow::Result<Option<Lock>> {
    let mut is_told = false;
    loop {
        if let Some(lock) = Lock::try_take(&state.gateway_lock())? {
            return Ok(Some(lock));
        }
        if !is_told {
            tracing::warn!("another gateway serves {}: waiting for it", state.root().display());
            is_told = true;
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = shutdown.begun() => return Ok(None),
        }
    }
}

/// Thousands of connections need descriptors. What the system gives is taken; less is no reason not to serve.
fn more_descriptors() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
        && let Err(err) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!("cannot have more than {soft} open files: {err}");
    }
}

/// Says how the gateway is, for the dashboard and the doctor.
async fn tell_health(state: StateDir, vitals: Vitals, shutdown: Shutdown) {
    let mut turns = vitals.turns();
    loop {
        if let Err(err) = health::write(&state, "gateway", &vitals.snapshot()) {
            tracing::debug!("cannot write health: {err:#}");
        }
        tokio::select! {
            () = tokio::time::sleep(health::EVERY) => {}
            _ = turns.changed() => {}
            () = shutdown.begun() => return,
        }
    }
}
