//! A gateway of its own process, with one token and limits that let a campaign through.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tinyclaw_disk::Flush;
use tinyclaw_domain::{Scope, StateDir};

use crate::started::{self, Program};
use crate::wire::Connection;

/// The id and the name of its one token, and the byte of its secret.
const TOKEN: (&str, u8) = ("measure", 7);

/// The token's text.
pub(crate) fn token() -> String {
    started::text(TOKEN.0, TOKEN.1)
}

/// Builds a program beside this one, where cargo runs this one: it is the program of the same sources then.
pub(crate) fn build(package: &str, name: &str) {
    let Some(cargo) = std::env::var_os("CARGO") else { return };
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", package, "--bin", name]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    assert!(command.status().expect("cargo").success(), "{name} cannot be built");
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
        "ingestPerSecond": 1_000_000, "readPerSecond": 100_000, "executePerSecond": 10_000, "connectionsPerAddress": 4_096,
        "keepRows": 100_000_000, "keepBytes": 64u64 << 30,
    } });
    tinyclaw_disk::replace(&state.settings(), settings.to_string().as_bytes(), Flush::None)
        .expect("settings");
    let (id, byte) = TOKEN;
    started::save(&state, vec![started::token(id, byte, id, &Scope::ALL)]);
}

/// A running gateway. It is killed when dropped.
pub(crate) struct Gateway {
    running: Program,
    pub(crate) address: std::net::SocketAddr,
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
        let running = Program::start(&program, dir, &[]);
        let address = running.address;
        let mut connection = Connection::open(address).await.expect("a connection");
        while connection.get("/ready").await.expect("an answer").0 != 200 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        (Gateway { running, address, _dir: None }, began.elapsed().as_secs_f64() * 1e3)
    }

    /// The memory it has now, in KiB, with what it has of its program's file.
    pub(crate) fn rss_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    /// The memory that is its own: the rest is the file's, which the kernel takes back when it needs room.
    pub(crate) fn own_kib(&self) -> u64 {
        self.memory_kib("RssAnon:")
    }

    fn memory_kib(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.running.child.id());
        let status = std::fs::read_to_string(path).expect("its status");
        let line = status.lines().find_map(|it| it.strip_prefix(name)).expect("its memory");
        line.trim().split(' ').next().and_then(|it| it.parse().ok()).expect("a number")
    }
}
