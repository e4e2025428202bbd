//! The service, told in order: open, bind, say what is, serve, stop.

use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::broker::Broker;
use crate::clock::Clock;
use crate::config::Config;
use crate::http::serve;
use crate::process::set_file_limit;

/// Serves until SIGTERM or SIGINT.
pub fn run(config: Config) -> anyhow::Result<()> {
    set_file_limit();
    runtime()?.block_on(serve_until_told(config))
}

/// One thread is enough: a warm token is a look into a table and a line in a file.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // Blocking threads wait for the disk; each costs memory.
    runtime.enable_all().max_blocking_threads(4);
    runtime.build().context("cannot start the runtime")
}

async fn serve_until_told(config: Config) -> anyhow::Result<()> {
    let listen = config.listen;
    let broker = Broker::open(config, Clock::system())?;
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("BROKER_LISTEN: cannot listen on {listen}"))?;
    say_what_is(&broker);
    broker.record_start();
    let mut ended = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let told = async move {
        tokio::select! {
            _ = ended.recv() => {}
            _ = interrupted.recv() => {}
        }
    };
    tracing::info!(listen = %listener.local_addr()?, "broker is up");
    serve(broker, listener, told).await?;
    tracing::info!("broker is down");
    Ok(())
}

fn say_what_is(broker: &Arc<Broker>) {
    let listen = broker.config().listen;
    if !broker.is_guarded() {
        tracing::warn!(
            %listen,
            "no clients are configured: whoever reaches this port from a private network is served"
        );
    }
    if let Some(reason) = broker.unready() {
        tracing::warn!(%reason, "idle until it is configured");
    }
    if broker.is_frozen() {
        tracing::error!("frozen: nothing is minted until it is thawed");
    }
    if !broker.config().api_url.starts_with("https://") {
        tracing::warn!("GitHub is asked over plain HTTP");
    }
}
