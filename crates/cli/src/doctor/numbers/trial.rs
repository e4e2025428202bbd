//! A fresh office with the demo engine in a temporary folder, of the services beside this program: started, asked one
//! thing, measured, stopped. Nothing of the caller's office is seen or touched.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tinyclaw_client::Ending;
use tinyclaw_domain::ThreadId;
use tinyclaw_engine::find_sibling;
use tinyclaw_ledger::{StateDir, health};
use tinyclaw_service::healthcheck::probe;
use tinyclaw_service::now_ms;

use super::memory::{self, Memory, SERVICES};
use crate::client;
use crate::demo::Services;
use crate::signals::Signals;

/// An office that is not up by then will not be. A machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// After the answer, so that what was read for it is let go of.
const REST: Duration = Duration::from_secs(2);

/// What was measured.
#[derive(Debug)]
pub(super) struct Trial {
    /// Who took part.
    pub(super) services: Vec<&'static str>,
    /// From the first start until all said they are well.
    pub(super) start_s: f64,
    /// From the first start until the first answer could be read.
    pub(super) first_answer_s: f64,
    /// From being told to leave until the last was gone.
    pub(super) stop_s: f64,
    /// What they took before that.
    pub(super) memory: Memory,
}

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Trial {
    /// Tries. Whatever happens, nobody and nothing is left behind.
    pub(super) fn run() -> anyhow::Result<Trial> {
        let name = format!("tinyclaw-doctor-{}", uuid::Uuid::new_v4().simple());
        let folder = Folder(std::env::temp_dir().join(name));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start")?;
        runtime.block_on(trial(&folder.0))
    }
}

async fn trial(root: &Path) -> anyhow::Result<Trial> {
    // From here on a signal is an event, so that nobody is left behind.
    let mut signals = Signals::listen()?;
    let state = StateDir::new(root.join("state"));
    let text = |below: &str| root.join(below).display().to_string();
    for it in ["work", "home"] {
        let dir = root.join(it);
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    tinyclaw_ledger::create_folders(&state)
        .with_context(|| format!("cannot make {}", state.root().display()))?;
    let ports = [free_port()?, free_port()?];
    let own = vec![
        ("TINYCLAW_DIR", text("state")),
        ("WORKSPACE_ROOT", text("work")),
        ("TINYCLAW_ENGINE_KIND", "demo".to_owned()),
        ("TINYCLAW_ENGINE_HOME", text("home")),
        ("DASHBOARD_LISTEN", format!("127.0.0.1:{}", ports[0])),
        ("BROKER_LISTEN", format!("127.0.0.1:{}", ports[1])),
        ("BROKER_AUDIT", text("audit.jsonl")),
        // As the container has it.
        ("MALLOC_TRIM_THRESHOLD_", "4096".to_owned()),
    ];
    let mut office = Services::new(&state, own, false);
    for it in
        ["GITHUB_APP_ID", "GITHUB_APP_PEM", "BROKER_POLICY", "BROKER_CLIENTS_FILE", "BROKER_SECRET"]
    {
        office.hide(it);
    }
    let began = Instant::now();
    let mut services = Vec::new();
    for name in SERVICES {
        if let Some(program) = find_sibling(&format!("tinyclaw-{name}")) {
            office.start(name, &program)?;
            services.push(name);
        }
    }
    if !services.contains(&"processor") {
        bail!("tinyclaw-processor is not beside this program");
    }
    let measured = async {
        // It may be sent before anybody is there: the queue keeps it.
        let client = client::open(&state)?;
        let key = client::send(&client, client::message(&ThreadId::master(), "[demo: say here]"))?;
        let answered = async {
            match client.wait(&key).await? {
                Ending::Answered(_) => Ok(began.elapsed().as_secs_f64()),
                Ending::GivenUp(why) => bail!("the first message was not answered: {why}"),
            }
        };
        let healthy = async {
            up(&state, &mut office, &services, ports).await?;
            anyhow::Ok(began.elapsed().as_secs_f64())
        };
        let (start_s, first_answer_s) = tokio::try_join!(healthy, answered)?;
        tokio::time::sleep(REST).await;
        let memory = memory::of(&office.processes(), "a fresh office")
            .context("a service ended while it was measured")?;
        Ok((start_s, first_answer_s, memory))
    };
    let measured = tokio::select! {
        it = tokio::time::timeout(PATIENCE, measured) => it.unwrap_or_else(|_| {
            bail!("a service did not come up within {} s", PATIENCE.as_secs())
        }),
        _ = signals.next() => Err(anyhow::anyhow!("it was interrupted")),
    };
    let told = Instant::now();
    office.stop().await;
    let stop_s = told.elapsed().as_secs_f64();
    let (start_s, first_answer_s, memory) = measured?;
    let [start_s, first_answer_s, stop_s] =
        [start_s, first_answer_s, stop_s].map(|it| (it * 100.0).round() / 100.0);
    Ok(Trial { services, start_s, first_answer_s, stop_s, memory })
}

/// A port that nobody listens on at this moment.
fn free_port() -> anyhow::Result<u16> {
    let found = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|it| it.local_addr());
    Ok(found.context("no port is free")?.port())
}

/// Waits until each has said that it is well, as its container's health check would have it.
async fn up(
    state: &StateDir,
    office: &mut Services,
    services: &[&str],
    ports: [u16; 2],
) -> anyhow::Result<()> {
    let patience = Duration::from_millis(500);
    let answers = |port: u16| probe(&format!("127.0.0.1:{port}"), "/health", patience).is_ok();
    let says = |name: &str| health::read(state, name, now_ms()).ok().flatten();
    loop {
        office.check()?;
        let is_up = |name: &&str| match *name {
            "dashboard" => answers(ports[0]),
            "broker" => answers(ports[1]),
            // As the bot's own health has it: telegram has no token here, and says so.
            _ => says(name).is_some_and(|it| it.health.alive),
        };
        if services.iter().all(is_up) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
