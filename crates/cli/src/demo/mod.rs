//! The demo: a whole office in one terminal, out of nothing, with nothing configured.
//!
//! It starts the services beside this binary over a state folder of its own, puts a few messages into their queue, and
//! opens a chat. Whatever ends the chat ends the services. It never touches a folder that is not a demo's.

mod join;
mod seeds;
mod services;
mod web;

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tinyclaw_disk::{Flush, Lock, replace};
use tinyclaw_domain::ThreadId;
use tinyclaw_engine::find_sibling;
use tinyclaw_ledger::{StateDir, health};
use tinyclaw_service::healthcheck::probe;
use tinyclaw_service::now_ms;
use tinyclaw_service::settings::{Devboxes, Environment, edited, groups};

use self::services::LOOK_EVERY;
pub(crate) use self::services::Services;
use crate::chat::Chat;
use crate::place;
use crate::setup::standing::find_program;
use crate::signals::Signals;
use crate::terminal::Style;
use crate::verbs::sibling;

/// In this file the demo says that the folder is its own, and may be made anew.
const MARK: &str = "demo.txt";
const MARK_SAYS: &str =
    "Made by `tinyclaw demo`, which removes this folder when it starts again.\n";
/// The dashboard takes the first free port from the usual one on.
const PORTS: Range<u16> = 3100..3200;
/// And the gateway.
const GATEWAY_PORTS: Range<u16> = 3200..3300;
/// So often another port is tried.
const PORTS_TRIED: u32 = 3;
/// A service that has not come up by now will not.
const PATIENCE: Duration = Duration::from_secs(20);
/// A pause between the words of the demo engine, so that one sees them come.
const WORD_MS: &str = "25";

/// Whoever sets this wants devboxes, and says with its like how they are reached.
const ENABLE_DEVBOX: &str = "ENABLE_DEVBOX";

/// What a demo is to be.
#[derive(Debug)]
pub(crate) struct Demo {
    /// Its state folder.
    pub(crate) dir: PathBuf,
    /// Ask the real Claude; without, only when it is installed and logged in.
    pub(crate) claude: bool,
    /// Ask the demo engine in any case.
    pub(crate) no_claude: bool,
    /// Start the gateway, too.
    pub(crate) web: bool,
    /// Where the dashboard and the gateway listen.
    pub(crate) listen: IpAddr,
}

impl Demo {
    /// Starts everything, talks, and stops everything. Where a demo runs already, it is given a gateway instead.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let root = std::path::absolute(&self.dir).context("cannot tell which folder this is")?;
        if self.web && join::is_running(&root)? {
            return join::join(&StateDir::new(&root)).await;
        }
        // From here on a signal is an event, so that nobody is left behind.
        let signals = Signals::listen()?;
        let with_claude = !self.no_claude && (self.claude || is_claude_ready());
        let state = fresh(&root)?;
        let mut services = Services::new(&state, own(&root, with_claude)?, with_claude);
        for (name, value) in devboxes(&root, &place::environment())? {
            services.set(&name, value);
        }
        let talked = self.talk(&state, &mut services, signals, with_claude).await;
        services.stop().await;
        talked
    }

    /// Everything between the first service's start and the last word.
    async fn talk(
        &self,
        state: &StateDir,
        services: &mut Services,
        mut signals: Signals,
        with_claude: bool,
    ) -> anyhow::Result<()> {
        let token = self.web.then(|| web::prepare(state)).transpose()?;
        self.start(state, services)?;
        // The real Claude costs money: it is asked what somebody types here, and nothing else.
        if !with_claude {
            seeds::sow(state)?;
        }
        tokio::select! {
            up = self.up(state, services) => up?,
            _ = signals.next() => return Ok(()),
        }
        self.greet(state, services, with_claude, token)?;
        let chat = Chat::open(state, ThreadId::master())?;
        let mut ends = Vec::new();
        let talked = tokio::select! {
            talked = chat.run(signals) => talked,
            () = self.keep(state, services, &mut ends) => Ok(()),
        };
        // Not in the middle of the conversation, whose rows rewrite themselves.
        for end in ends {
            writeln!(std::io::stderr(), "while the demo ran, {end}")?;
        }
        talked
    }

    /// Sees that everything runs, and starts the gateway when somebody asks for it, for as long as this is awaited.
    async fn keep(&self, state: &StateDir, services: &mut Services, ends: &mut Vec<String>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            services.revive(|it| ends.push(format!("{it}; it was started again"))).await;
            if services.gateway.is_none() && join::is_wanted(state) {
                // The dashboard that was built without events is not the one that lies there now.
                let started = self
                    .start_gateway(state, services)
                    .and_then(|()| services.restart("dashboard"));
                if let Err(err) = started {
                    ends.push(format!("no gateway could be started: {err:#}"));
                    join::refuse(state);
                }
            }
        }
    }

    fn greet(
        &self,
        state: &StateDir,
        services: &Services,
        with_claude: bool,
        token: Option<String>,
    ) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        let style = Style::of(&out);
        let engine = if with_claude {
            "the real claude, as it is logged in here: what you say costs; --no-claude spends nothing"
        } else {
            "the demo engine, which needs no account; --claude asks the real one"
        };
        let dashboard = match services.dashboard {
            Some(port) => {
                let empty = if with_claude { ", empty until you say something" } else { "" };
                format!("http://{}{empty}", from_here(self.listen, port))
            }
            None => "not built; tinyclaw-dashboard is not beside this program".to_owned(),
        };
        let folder = format!("{}, made anew by every demo", self.dir.display());
        let tries = if with_claude {
            "hello · /new website · /threads · /status"
        } else {
            "hello · /threads · /thread 7 · [demo: ask] · [demo: slow 20s] and then Ctrl-C"
        };
        let has_devboxes = place::settings::<Devboxes>(state).is_ok_and(|it| it.enabled);
        let gateway = services.gateway.map(|it| format!("http://{}", from_here(self.listen, it)));
        let mut rows = vec![("engine", engine), ("dashboard", &dashboard)];
        let told = gateway
            .zip(token)
            .map(|(url, token)| web::Told::new(state, url, &token))
            .transpose()?;
        if let Some(told) = &told {
            rows.extend(told.rows());
        }
        if told.is_none() {
            let how = "the same command with --web, in another terminal: your own Claude Code's hooks in the dashboard";
            rows.push(("events", how));
        }
        if has_devboxes {
            rows.push((
                "devboxes",
                "/devbox add box local /tmp · /devbox lists them · docs/DEVBOX.md",
            ));
        }
        rows.extend([
            ("state", folder.as_str()),
            ("try", tries),
            ("leave", "Ctrl-C twice, or Ctrl-D: everything stops"),
        ]);
        for (name, what) in rows {
            writeln!(out, "{}{what}", style.dim(&format!("{name:<11}")))?;
        }
        writeln!(out)?;
        Ok(())
    }

    fn start(&self, state: &StateDir, services: &mut Services) -> anyhow::Result<()> {
        services.start("processor", &sibling("tinyclaw-processor")?)?;
        self.start_dashboard(state, services)?;
        if self.web { self.start_gateway(state, services) } else { Ok(()) }
    }

    fn start_dashboard(&self, state: &StateDir, services: &mut Services) -> anyhow::Result<()> {
        let Some(dashboard) = find_sibling("tinyclaw-dashboard") else { return Ok(()) };
        let port = free_port(self.listen, PORTS, "dashboard")?;
        let address = SocketAddr::from((self.listen, port)).to_string();
        set_down(state.root(), "dashboard.listen", &address)?;
        services.set("DASHBOARD_LISTEN", address);
        services.start("dashboard", &dashboard)?;
        services.dashboard = Some(port);
        Ok(())
    }

    fn start_gateway(&self, state: &StateDir, services: &mut Services) -> anyhow::Result<()> {
        let gateway = sibling("tinyclaw-gateway")?;
        let port = free_port(self.listen, GATEWAY_PORTS, "gateway")?;
        let address = SocketAddr::from((self.listen, port)).to_string();
        set_down(state.root(), "gateway.listen", &address)?;
        services.set("GATEWAY_LISTEN", address);
        services.start("gateway", &gateway)?;
        services.gateway = Some(port);
        Ok(())
    }

    /// Waits until every service has said that it is there.
    async fn up(&self, state: &StateDir, services: &mut Services) -> anyhow::Result<()> {
        let waits = async {
            let mut ports_left = PORTS_TRIED;
            loop {
                if let Err(ended) = services.check() {
                    // Somebody else may have taken the port between our look at it and the service's.
                    if ports_left == 0 {
                        return Err(ended);
                    }
                    ports_left -= 1;
                    if services.forget("dashboard") {
                        self.start_dashboard(state, services)?;
                    } else if services.forget("gateway") {
                        self.start_gateway(state, services)?;
                    } else {
                        return Err(ended);
                    }
                }
                let processor = health::read(state, "processor", now_ms()).ok().flatten();
                let is_ready = processor.is_some_and(|it| it.health.ready);
                let answers = |port: Option<u16>| {
                    port.is_none_or(|port| {
                        let address = from_here(self.listen, port).to_string();
                        probe(&address, "/health", Duration::from_millis(500)).is_ok()
                    })
                };
                if is_ready && answers(services.dashboard) && answers(services.gateway) {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waits).await;
        waited.unwrap_or_else(|_| {
            let (seconds, logs) = (PATIENCE.as_secs(), state.logs());
            bail!("a service did not come up within {seconds} s; see {}", logs.display())
        })
    }
}

/// What the services see of the demo in place of the caller's settings.
pub(crate) fn own(root: &Path, with_claude: bool) -> anyhow::Result<Vec<(&'static str, String)>> {
    let work = beside(root, "-work");
    let home = beside(root, "-home");
    for dir in [&work, &home] {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let text = |path: &Path| path.display().to_string();
    let kind = if with_claude { "claude" } else { "demo" };
    let mut own = vec![
        ("TINYCLAW_DIR", text(root)),
        ("WORKSPACE_ROOT", text(&work)),
        ("TINYCLAW_ENGINE_KIND", kind.to_owned()),
        ("TINYCLAW_DEMO_WORD_MS", WORD_MS.to_owned()),
        // The machine itself: there is no container between.
        ("DASHBOARD_PROC", "/proc".to_owned()),
    ];
    set_down(root, "engine.kind", kind)?;
    set_down(root, "workspace.root", &text(&work))?;
    if !with_claude {
        own.push(("TINYCLAW_ENGINE_HOME", text(&home)));
        set_down(root, "engine.home", &text(&home))?;
    }
    Ok(own)
}

/// The caller's settings of devboxes, where there is a word about them: of the caller's office the demo sees nothing else.
fn devboxes(root: &Path, caller: &Environment) -> anyhow::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    if !caller.contains_key(ENABLE_DEVBOX) {
        return Ok(found);
    }
    let groups = groups();
    let rows = groups.iter().flat_map(|it| &it.rows);
    for row in rows.filter(|it| it.key.starts_with("devbox.")) {
        for name in row.variables() {
            if let Some(value) = caller.get(&name) {
                set_down(root, row.key, value)?;
                found.push((name, value.clone()));
            }
        }
    }
    Ok(found)
}

/// Writes a setting of the services into the folder too, so that whoever looks at it later (`doctor`, `threads`, `send`)
/// sees the office they see.
fn set_down(root: &Path, key: &str, value: &str) -> anyhow::Result<()> {
    let path = StateDir::new(root).settings();
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let text = edited(&text, key, Some(value.into())).context("cannot set the demo up")?;
    Ok(replace(&path, text.as_bytes(), Flush::None)?)
}

/// A fresh state folder. What an earlier demo left there is removed; what anybody else did is not.
fn fresh(root: &Path) -> anyhow::Result<StateDir> {
    let state = StateDir::new(root);
    let shown = root.display();
    let is_empty = std::fs::read_dir(root).map_or(true, |mut it| it.next().is_none());
    if !is_empty {
        if !root.join(MARK).is_file() {
            bail!("{shown} is no demo's folder and is left alone; name another one with --dir");
        }
        let lock = state.processor_lock();
        if lock.is_file() && Lock::try_take(&lock)?.is_none() {
            bail!(
                "a demo runs in {shown} already; leave it first, or name another folder with --dir"
            );
        }
        std::fs::remove_dir_all(root).with_context(|| format!("cannot remove {shown}"))?;
    }
    std::fs::create_dir_all(root).with_context(|| format!("cannot make {shown}"))?;
    replace(&root.join(MARK), MARK_SAYS.as_bytes(), Flush::None)?;
    tinyclaw_ledger::create_folders(&state)
        .with_context(|| format!("cannot make the folders of {shown}"))?;
    Ok(state)
}

/// A folder beside the state folder, so that no thread works inside it.
fn beside(root: &Path, ending: &str) -> PathBuf {
    let mut name = root.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    root.with_file_name(name)
}

/// Whether `claude` is installed and somebody is logged in: told from files and variables, without asking it anything.
fn is_claude_ready() -> bool {
    let is_installed = find_program(Path::new("claude"), &place::environment()).is_some();
    let has_key = ["CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_OAUTH_TOKEN", "ANTHROPIC_API_KEY"]
        .iter()
        .any(|it| std::env::var_os(it).is_some_and(|it| !it.is_empty()));
    let has_login =
        std::env::home_dir().is_some_and(|it| it.join(".claude/.credentials.json").is_file());
    is_installed && (has_key || has_login)
}

fn free_port(listen: IpAddr, ports: Range<u16>, whose: &str) -> anyhow::Result<u16> {
    let is_free = |port: &u16| TcpListener::bind(SocketAddr::from((listen, *port))).is_ok();
    let (first, last) = (ports.start, ports.end - 1);
    let mut ports = ports;
    ports
        .find(is_free)
        .with_context(|| format!("no port from {first} to {last} is free for the {whose}"))
}

/// Where what listens there is reached from this machine.
fn from_here(listen: IpAddr, port: u16) -> SocketAddr {
    let ip = if listen.is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { listen };
    SocketAddr::from((ip, port))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test lays down what may not be touched")]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_no_demos_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("precious");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("thesis.txt"), "years").unwrap();
        assert!(fresh(&root).unwrap_err().to_string().contains("left alone"));
        assert_eq!(std::fs::read(root.join("thesis.txt")).unwrap(), b"years");
    }

    #[test]
    fn a_demo_is_fresh_and_two_do_not_share_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join(".tinyclaw-demo");
        let state = fresh(&root).unwrap();
        std::fs::write(root.join("old.txt"), "old").unwrap();
        fresh(&root).unwrap();
        assert!(!root.join("old.txt").exists());
        let _running = Lock::try_take(&state.processor_lock()).unwrap().unwrap();
        assert!(fresh(&root).unwrap_err().to_string().contains("runs in"));
    }
}
