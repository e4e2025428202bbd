//! A gateway for a demo that runs in another terminal: what `tinyclaw demo --web` does where there is one.
//!
//! It starts nothing itself. It leaves a file in the demo's folder, and the demo starts the gateway, as one of its own
//! services. Whoever asks when there is a gateway is told of that one.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::bail;
use serde_json::Value;
use tinyclaw_disk::{Flush, Lock, remove, replace};
use tinyclaw_ledger::StateDir;
use tinyclaw_service::healthcheck::{local_address, probe};

use super::{MARK, PATIENCE, web};
use crate::terminal::Style;
use crate::verbs::sibling;

/// While this file is in a demo's folder, somebody wants a gateway there.
const WANTED: &str = "demo-gateway.txt";
const WANTED_SAYS: &str = "Somebody asked this demo for a gateway, by `tinyclaw demo --web`.\n";
/// So often it is looked whether it is there.
const LOOK_EVERY: Duration = Duration::from_millis(50);

fn wanted(state: &StateDir) -> PathBuf {
    state.root().join(WANTED)
}

/// Whether a demo runs in this folder.
pub(super) fn is_running(root: &Path) -> anyhow::Result<bool> {
    let lock = StateDir::new(root).processor_lock();
    Ok(root.join(MARK).is_file() && lock.is_file() && Lock::try_take(&lock)?.is_none())
}

/// Whether somebody asked for a gateway.
pub(super) fn is_wanted(state: &StateDir) -> bool {
    wanted(state).is_file()
}

/// Says that there will be none.
pub(super) fn refuse(state: &StateDir) {
    // Else whoever asked gives up by itself, only later.
    let _ = remove(&wanted(state));
}

/// Asks the demo for a gateway, waits for it, and says how it is reached.
pub(super) async fn join(state: &StateDir) -> anyhow::Result<()> {
    // Said here, where somebody reads it, and not only in the other terminal.
    sibling("tinyclaw-gateway")?;
    let token = web::prepare(state)?;
    replace(&wanted(state), WANTED_SAYS.as_bytes(), Flush::None)?;
    let comes = async {
        while is_wanted(state) {
            let up = address(state, "gateway").zip(address(state, "dashboard"));
            let is_up = |it: &str| probe(it, "/health", Duration::from_millis(500)).is_ok();
            if let Some((gateway, dashboard)) = up
                && is_up(&gateway)
                && is_up(&dashboard)
            {
                return Some((gateway, dashboard));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        None
    };
    let (gateway, dashboard) = match tokio::time::timeout(PATIENCE, comes).await {
        Ok(Some(it)) => it,
        Ok(None) => bail!("the demo could not start a gateway; it says why when it is left"),
        Err(_) => {
            let (seconds, logs) = (PATIENCE.as_secs(), state.logs());
            bail!("no gateway came up within {seconds} s; see {}", logs.display())
        }
    };
    let told = web::Told::new(state, format!("http://{gateway}"), &token)?;
    let events = format!("http://{dashboard}/#/events");
    let mut out = std::io::stdout().lock();
    let style = Style::of(&out);
    for (name, what) in told.rows().into_iter().chain([("events", events.as_str())]) {
        writeln!(out, "{}{what}", style.dim(&format!("{name:<11}")))?;
    }
    Ok(())
}

/// Where a service of the demo is reached from here, as its settings say.
fn address(state: &StateDir, service: &str) -> Option<String> {
    let text = std::fs::read_to_string(state.settings()).ok()?;
    let settings: Value = serde_json::from_str(&text).ok()?;
    let listen = settings[service]["listen"].as_str()?.parse().ok()?;
    Some(local_address(listen).to_string())
}
