//! `tinyclaw-bot`: log, settings, start both and whichever ends again, serve how they are, stop. `tinyclaw-bot healthcheck`
//! asks a running one; `tinyclaw-bot health` serves how they are where systemd starts them, and `tinyclaw-bot processor` is
//! processor's main process there.
//!
//! Started as root it is the warden first, and starts itself again as the office's user: as root it reads no setting, opens
//! no file of the office and listens to no network.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::unistd::geteuid;
use tinyclaw_bot::health::Container;
use tinyclaw_bot::house::{GRACE, House, Program, RESTARTS};
use tinyclaw_service::settings::{self, Environment, Row, Section, Store, state_dir};
use tinyclaw_service::{Shutdown, healthcheck, http, logs, not_dumpable, was_asked};
use tinyclaw_warden::{OfficeProgram, VARIABLE};
use tokio::net::TcpListener;

/// How long the health check waits for an answer.
const HEALTH_PATIENCE: Duration = Duration::from_secs(3);

/// The folder that has one of each desk, where desks are users of their own.
const DESKS: &str = "TINYCLAW_DESKS";
/// The word that makes this process processor.
const PROCESSOR: &str = "processor";
/// The office's user, as image and package have it.
const OFFICE: u32 = 10_001;

const USAGE: &str = "\
tinyclaw-bot: runs telegram and processor side by side, and starts either of them again when it ends

  tinyclaw-bot [--grace SECONDS] [--restarts TIMES]
                             runs them; told to stop, it gives them so long; one that ends so often in a row, without
                             staying for a minute, is not started again, and the bot leaves with an error
  tinyclaw-bot processor     becomes processor, with the warden beside it, where somebody else watches that, such as systemd
  tinyclaw-bot health        serves how they are where somebody else runs them, such as systemd
  tinyclaw-bot healthcheck   exit 0 when the one on this machine is well

With TINYCLAW_DESKS, a folder of root's with mode 711, root with CAP_SETUID, CAP_SETGID, CAP_CHOWN and CAP_KILL runs them
as user 10001 and gives every desk a user of its own. See docs/SECURITY.md.
";

fn main() -> anyhow::Result<()> {
    // The warden starts this program again, to become somebody.
    if let Some(code) = tinyclaw_warden::seat(std::env::args_os().skip(1)) {
        std::process::exit(code);
    }
    if was_asked(USAGE, env!("CARGO_PKG_VERSION")) {
        return Ok(());
    }
    // Both services' secrets stand in our environment, and an agent runs as our user.
    not_dumpable().context("cannot keep others from reading this process's memory")?;
    let is_check = std::env::args_os().nth(1).is_some_and(|it| it == "healthcheck");
    let here = std::env::current_exe().context("cannot find out where this program is")?;
    let desks = std::env::var_os(DESKS).map(PathBuf::from);
    let as_office = |desks: PathBuf, program: &Path, args| OfficeProgram {
        desks,
        hub: here.with_file_name("tinyclaw-leash"),
        user: OFFICE,
        program: program.into(),
        args,
    };
    if std::env::args_os().skip(1).eq([PROCESSOR]) {
        let desks = desks.with_context(|| format!("{DESKS} is not set"))?;
        let program = here.with_file_name("tinyclaw-processor");
        let never = tinyclaw_warden::run_beside(as_office(desks, &program, Vec::new()));
        match never.context("desks get no users of their own")? {}
    }
    if let Some(desks) = desks.filter(|_| geteuid().is_root() && !is_check) {
        let office = as_office(desks, &here, std::env::args_os().skip(1).collect());
        let code = tinyclaw_warden::run(office).context("desks get no users of their own")?;
        std::process::exit(code);
    }
    let environment: Environment = std::env::vars().collect();
    let state = state_dir(&environment).context("cannot find the state folder")?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["health"] => return serve_health(&state, &environment),
        ["healthcheck"] => {
            let address = healthcheck::local_address(office(&state, &environment).0).to_string();
            healthcheck::probe(&address, "/health", HEALTH_PATIENCE)?;
            return Ok(());
        }
        _ => {}
    }
    let (mut grace, mut restarts) = (GRACE, RESTARTS);
    for pair in words.chunks(2) {
        match pair {
            ["--grace", seconds] => {
                let seconds = seconds.parse().with_context(|| format!("--grace {seconds:?}"))?;
                grace = Duration::from_secs(seconds);
            }
            ["--restarts", times] => {
                restarts = times.parse().with_context(|| format!("--restarts {times:?}"))?;
            }
            _ => bail!(
                "{words:?} is no command: use [--grace SECONDS] [--restarts TIMES], processor, health or healthcheck"
            ),
        }
    }
    run(&state, &environment, grace, restarts)
}

#[tokio::main(flavor = "current_thread")]
async fn run(
    state: &Path,
    environment: &Environment,
    grace: Duration,
    restarts: u32,
) -> anyhow::Result<()> {
    let (listen, level) = office(state, environment);
    logs::init(&level, None)?;
    let shutdown = Shutdown::on_signals().context("cannot hear signals")?;
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let here = std::env::current_exe().context("cannot find out where this program is")?;
    let here = here.parent().context("this program lies in no folder")?;
    let house = House::start(&programs(here, warden()?))?;
    let container = Container::new(state, house.residents());
    tracing::info!(listen = %address, "bot is up");
    let serving = tokio::spawn(http::serve(
        listener,
        container.routes(),
        shutdown.clone(),
        http::Limits::default(),
    ));
    let kept = house.keep(&shutdown, grace, restarts).await;
    serving.abort();
    tracing::info!("bot is down");
    kept
}

/// Serves how the services are, and starts none.
#[tokio::main(flavor = "current_thread")]
async fn serve_health(state: &Path, environment: &Environment) -> anyhow::Result<()> {
    let (listen, level) = office(state, environment);
    logs::init(&level, None)?;
    let shutdown = Shutdown::on_signals().context("cannot hear signals")?;
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    tracing::info!(listen = %address, "health is up");
    let routes = Container::of_others(state).routes();
    http::serve(listener, routes, shutdown, http::Limits::default()).await?;
    tracing::info!("health is down");
    Ok(())
}

/// Where to listen and how much to log. The services name every mistake in the settings and wait until it is mended; until
/// then the environment alone has to do, so that a wrong file does not make the container look dead.
fn office(state: &Path, environment: &Environment) -> (SocketAddr, String) {
    let read = |root: &Path, environment: Environment| {
        let office = Store::<settings::Office>::open(root, environment).ok()?.current();
        Some((office.health_listen, office.log_level.clone()))
    };
    let nowhere = Path::new("/nonexistent");
    read(state, environment.clone())
        .or_else(|| read(nowhere, environment.clone()))
        .or_else(|| read(nowhere, Environment::new()))
        .unwrap_or_else(|| (SocketAddr::from(([127, 0, 0, 1], 7777)), "info".to_owned()))
}

/// The office's way to the warden, if there is one.
fn warden() -> anyhow::Result<Option<Arc<OwnedFd>>> {
    let Ok(number) = std::env::var(VARIABLE) else { return Ok(None) };
    let number = number.parse().with_context(|| format!("{VARIABLE}={number:?}"))?;
    let socket = tinyclaw_warden::inherited(number).context("cannot take the way to the warden")?;
    Ok(Some(Arc::new(socket)))
}

/// Both services, each without what only the other may know.
fn programs(here: &Path, warden: Option<Arc<OwnedFd>>) -> [Program; 2] {
    let of_processor = [settings::Claude::rows(), settings::GitHub::rows()].concat();
    [
        // First, so that it listens by the time telegram brings something.
        Program::beside(here, "processor", secrets(&settings::Telegram::rows()))
            .with_warden(warden),
        Program::beside(here, "telegram", secrets(&of_processor)),
    ]
}

/// The variables that hold the secrets among these settings, or name their files.
fn secrets(rows: &[Row]) -> BTreeSet<String> {
    let names = rows.iter().filter(|it| it.is_secret).flat_map(Row::variables);
    names.flat_map(|it| [format!("{it}_FILE"), it]).collect()
}
