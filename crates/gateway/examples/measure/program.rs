//! A gateway of its own process, with one token and limits that let a campaign through.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tinyclaw_disk::Flush;
use tinyclaw_domain::{Scope, StateDir, Token, Tokens, token_sum, token_text};

use crate::wire::Connection;

/// The token's text.
pub(crate) fn token() -> String {
    token_text("measure", &[7; 32])
}

/// A program that was built beside this one.
pub(crate) fn sibling(name: &str) -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    Some(own.parent()?.parent()?.join(name)).filter(|it| it.exists())
}

pub(crate) fn more_descriptors() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("limits");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("more open files");
}

/// A folder that a gateway can be started on.
pub(crate) fn prepare(dir: &Path) {
    let state = StateDir::new(dir);
    tinyclaw_ledger::create_folders(&state).expect("folders");
    let settings = json!({ "gateway": {
        "ingestPerSecond": 1_000_000, "readPerSecond": 100_000, "connectionsPerAddress": 4_096,
        "keepRows": 100_000_000, "keepBytes": 64u64 << 30,
    } });
    tinyclaw_disk::replace(&state.settings(), settings.to_string().as_bytes(), Flush::None)
        .expect("settings");
    let token = Token {
        id: "measure".to_owned(),
        name: "measure".to_owned(),
        sum: token_sum(&token()),
        scopes: BTreeSet::from(Scope::ALL),
        envs: Vec::new(),
        origins: Vec::new(),
        budget_per_day: None,
        created_at: 1,
        expires_at: None,
        revoked_at: None,
        before: None,
    };
    let tokens = serde_json::to_string(&Tokens { tokens: vec![token] }).expect("tokens");
    tinyclaw_disk::replace(&state.tokens(), tokens.as_bytes(), Flush::None).expect("tokens");
}

/// A running gateway. It is killed when dropped.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
    _dir: Option<tempfile::TempDir>,
}

impl Gateway {
    /// On a folder of its own.
    pub(crate) async fn fresh(base: &Path) -> Gateway {
        let dir = tempfile::Builder::new().prefix("tinyclaw-measure-").tempdir_in(base);
        let dir = dir.expect("folder");
        prepare(dir.path());
        let mut gateway = Gateway::start(dir.path()).await.0;
        gateway._dir = Some(dir);
        gateway
    }

    /// On a folder that was prepared; also how many ms went by until it was ready.
    pub(crate) async fn start(dir: &Path) -> (Gateway, f64) {
        let program = sibling("tinyclaw-gateway").expect(
            "tinyclaw-gateway is not built: cargo build --release -p tinyclaw-gateway --bins",
        );
        let began = Instant::now();
        let mut child = Command::new(program)
            .env_clear()
            .env("TINYCLAW_DIR", dir)
            .env("GATEWAY_LISTEN", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the gateway");
        let mut lines = BufReader::new(child.stdout.take().expect("its lines")).lines();
        let up = lines.by_ref().map_while(Result::ok).find(|it| it.contains("gateway is up"));
        let up = up.expect("the gateway said that it is up");
        // Whoever writes to a pipe that nobody reads would stop.
        std::thread::spawn(move || lines.for_each(drop));
        let address = up.split("listen=").nth(1).and_then(|it| it.split(' ').next());
        let address = address.and_then(|it| it.parse().ok()).expect("an address");
        let mut connection = Connection::open(address).await.expect("a connection");
        while connection.get("/ready").await.expect("an answer").0 != 200 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (Gateway { child, address, _dir: None }, began.elapsed().as_secs_f64() * 1e3)
    }

    /// The memory it has now, in KiB.
    pub(crate) fn rss_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("its status");
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().split(' ').next().and_then(|it| it.parse().ok()).expect("a number")
    }

    /// Ends it without a word.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("its end");
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
