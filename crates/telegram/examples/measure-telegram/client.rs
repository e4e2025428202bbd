//! The client as a process that can be killed.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use tinyclaw_ledger::StateDir;
use tinyclaw_service::settings::{Environment, state_dir};
use tinyclaw_service::{Shutdown, Vitals};
use tinyclaw_telegram::{Options, Timing, bot::rate_limit::Limits};
use tinyclaw_testkit::telegram::{FORUM, FakeTelegram, TOKEN};

/// A state folder and the way to the fake.
pub(crate) struct Ground {
    pub(crate) state: StateDir,
    url: String,
    _dir: TempDir,
}

impl Ground {
    pub(crate) fn new(fake: &FakeTelegram) -> anyhow::Result<Ground> {
        let dir = tempfile::tempdir()?;
        let state = StateDir::new(dir.path().join(".tinyclaw"));
        tinyclaw_ledger::create_folders(&state)?;
        Ok(Ground { state, url: fake.url(), _dir: dir })
    }
}

/// A running client, killed when dropped.
pub(crate) struct Client {
    child: Child,
}

impl Client {
    /// `hurried`: without a budget and with a status at once; otherwise as it is for everybody.
    pub(crate) fn start(ground: &Ground, hurried: bool) -> anyhow::Result<Client> {
        let own = std::env::current_exe()?;
        let beside = own.parent().and_then(|it| Some(it.parent()?.join("tinyclaw-telegram")));
        let (program, arguments): (PathBuf, &[&str]) =
            match beside.filter(|it| !hurried && it.exists()) {
                Some(it) => (it, &[]),
                None => (own, &["--client"]),
            };
        #[expect(clippy::disallowed_methods, reason = "the client that is measured and killed")]
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("HURRIED", if hurried { "yes" } else { "" })
            .env("TINYCLAW_DIR", ground.state.root())
            .env("TELEGRAM_API_URL", &ground.url)
            .env("TELEGRAM_BOT_TOKEN", TOKEN)
            .env("TELEGRAM_CHAT_ID", FORUM.to_string())
            .env("TELEGRAM_ALLOWED_USERS", "101,102")
            // Every message is a turn, so that turns can be counted.
            .env("TINYCLAW_TELEGRAM_BURST_MS", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start the client")?;
        Ok(Client { child })
    }

    pub(crate) fn rss_mb(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kb: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kb / 1024.0)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the child does.
pub(crate) fn serve() -> anyhow::Result<()> {
    let environment: Environment = std::env::vars().collect();
    let hurried = environment.get("HURRIED").is_some_and(|it| !it.is_empty());
    let options = if hurried {
        let timing = Timing { status_after: Duration::from_millis(20), ..Timing::default() };
        let limits = Limits {
            group_per_minute: 1_000_000,
            gap_ms: 0,
            overall_per_second: 1_000_000,
            preview_gap_ms: 0,
            reactions_per_second: 100_000,
        };
        Options { timing, limits }
    } else {
        Options::default()
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let state = StateDir::new(state_dir(&environment)?);
        let vitals = Vitals::new("telegram", "measure");
        tinyclaw_telegram::run(state, environment, options, vitals, Shutdown::on_signals()?).await
    })
}
