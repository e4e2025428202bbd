//! `tinyclaw-bot`: log, settings, start both, serve how they are, stop. `tinyclaw-bot healthcheck` asks a running one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use tinyclaw_bot::health::Container;
use tinyclaw_bot::house::{GRACE, House, Program};
use tinyclaw_service::settings::{self, Environment, Row, Section, Store, state_dir};
use tinyclaw_service::{Shutdown, healthcheck, http, logs, not_dumpable, was_asked};
use tokio::net::TcpListener;

/// How long the health check waits for an answer.
const HEALTH_PATIENCE: Duration = Duration::from_secs(3);

const USAGE: &str = "\
tinyclaw-bot: runs telegram and processor side by side, and leaves when either of them does

  tinyclaw-bot [--grace SECONDS]    runs them; told to stop, it gives them so long
  tinyclaw-bot healthcheck          exit 0 when the one on this machine is well
";

fn main() -> anyhow::Result<()> {
    if was_asked(USAGE, env!("CARGO_PKG_VERSION")) {
        return Ok(());
    }
    // Both services' secrets stand in our environment, and an agent runs as our user.
    not_dumpable().context("cannot keep others from reading this process's memory")?;
    let environment: Environment = std::env::vars().collect();
    let state = state_dir(&environment).context("cannot find the state folder")?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [] => run(&state, &environment, GRACE),
        ["--grace", seconds] => {
            let seconds = seconds.parse().with_context(|| format!("--grace {seconds:?}"))?;
            run(&state, &environment, Duration::from_secs(seconds))
        }
        ["healthcheck"] => {
            let address = healthcheck::local_address(office(&state, &environment).0).to_string();
            healthcheck::probe(&address, "/health", HEALTH_PATIENCE)?;
            Ok(())
        }
        _ => bail!("{words:?} is no command: use [--grace SECONDS], or healthcheck"),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn run(state: &Path, environment: &Environment, grace: Duration) -> anyhow::Result<()> {
    let (listen, level) = office(state, environment);
    logs::init(&level, None)?;
    let shutdown = Shutdown::on_signals().context("cannot hear signals")?;
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr()?;
    let here = std::env::current_exe().context("cannot find out where this program is")?;
    let here = here.parent().context("this program lies in no folder")?;
    let house = House::start(&programs(here))?;
    let container = Container::new(state, house.residents());
    tracing::info!(listen = %address, "bot is up");
    let serving = tokio::spawn(http::serve(
        listener,
        container.routes(),
        shutdown.clone(),
        http::Limits::default(),
    ));
    let kept = house.keep(&shutdown, grace).await;
    serving.abort();
    tracing::info!("bot is down");
    kept
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

/// Both services, each without what only the other may know.
fn programs(here: &Path) -> [Program; 2] {
    let of_processor = [settings::Claude::rows(), settings::GitHub::rows()].concat();
    [
        // First, so that it listens by the time telegram brings something.
        Program::beside(here, "processor", secrets(&settings::Telegram::rows())),
        Program::beside(here, "telegram", secrets(&of_processor)),
    ]
}

/// The variables that hold the secrets among these settings, or name their files.
fn secrets(rows: &[Row]) -> BTreeSet<String> {
    let names = rows.iter().filter(|it| it.is_secret).flat_map(Row::variables);
    names.flat_map(|it| [format!("{it}_FILE"), it]).collect()
}
