//! `tinyclaw-porter`: serves environments that are containers, for whom its environment names, until it is told to stop.

use anyhow::{Context as _, bail};
use tinyclaw_porter::{Config, Porter};
use tinyclaw_service::{Shutdown, logs, was_asked};

const USAGE: &str = "\
tinyclaw-porter: the only holder of the Docker socket; makes, starts, pauses and stops the containers of envs.json

  tinyclaw-porter [serve]    serves on TINYCLAW_PORTER_SOCKET (default /run/tinyclaw-porter/porter.sock)

Who may ask is said by TINYCLAW_PORTER_EXEC_UIDS (the processor's user id) and TINYCLAW_PORTER_STATUS_UIDS (the gateway's).
";

#[tokio::main(worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    if was_asked(USAGE, env!("CARGO_PKG_VERSION")) {
        return Ok(());
    }
    match std::env::args().nth(1).as_deref() {
        None | Some("serve") => {}
        Some(it) => bail!("{it:?} is no command: use serve"),
    }
    let beside = |name: &str| {
        let path = std::env::current_exe().ok()?.with_file_name(name);
        path.is_file().then_some(path)
    };
    let config = Config::from_env(|name| std::env::var(name).ok(), beside)?;
    logs::init("info", None)?;
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let socket = config.socket.clone();
    let porter = Porter::listen(config)?;
    tracing::info!("porter is up, at {}", socket.display());
    porter.serve(shutdown).await?;
    tracing::info!("porter is down");
    Ok(())
}
