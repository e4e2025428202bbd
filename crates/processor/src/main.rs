//! The processor as a process: settings, one lock for the state folder, then work until it is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use tinyclaw_disk::Lock;
use tinyclaw_engine::Users;
use tinyclaw_ledger::{StateDir, text_log};
use tinyclaw_service::settings::{Environment, Settings, Store, state_dir};
use tinyclaw_service::{Shutdown, Vitals, logs, not_dumpable, was_asked};
use tinyclaw_warden::{Client, VARIABLE, inherited};

/// The folder that has one of each desk, where desks are users of their own.
const DESKS: &str = "TINYCLAW_DESKS";

/// How often a second processor looks whether the first one is still there, when the kernel does not say.
const TAKE_OVER_EVERY: Duration = Duration::from_millis(250);

const USAGE: &str = "\
tinyclaw-processor: takes messages from the queue, asks Claude, and hands the answers on

  tinyclaw-processor    works until it is told to stop; settings are in docs/SETTINGS.md
";

/// `health/processor.json` is written at least so often, and at once when something changed, but not more often than this.
const HEALTH_EVERY: Duration = Duration::from_secs(2);
const HEALTH_AT_MOST_EVERY: Duration = Duration::from_millis(20);

fn main() -> anyhow::Result<()> {
    if was_asked(USAGE, env!("CARGO_PKG_VERSION")) {
        return Ok(());
    }
    if let Some(word) = std::env::args().nth(1) {
        bail!("{word:?} is no command; tinyclaw-processor takes none");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Turns wait, they do not compute; flushes block a worker for a moment.
        .worker_threads(4)
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(serve())
}

async fn serve() -> anyhow::Result<()> {
    let environment: Environment = std::env::vars().collect();
    let users = users(&environment)?;
    let state = StateDir::new(state_dir(&environment).context("cannot find the state folder")?);
    tinyclaw_ledger::create_folders(&state)
        .with_context(|| format!("cannot make {}", state.root().display()))?;
    logs::init("info", Some(text_log(&state, "queue")))?;
    not_dumpable().context("cannot keep the process's memory to itself")?;
    let shutdown = Shutdown::on_signals().context("cannot hear signals")?;
    let is_alone = users.as_ref().map(|it| end_with_the_warden(it, &shutdown)).transpose()?;
    let vitals = Vitals::new("processor", env!("CARGO_PKG_VERSION"));
    let Some(_lock) = take_over(&state, &vitals, &shutdown).await? else { return Ok(()) };
    let health = tinyclaw_processor_health(&state, &vitals, &shutdown);
    let store = Store::<Settings>::open_when_good(state.root(), &environment, &vitals, &shutdown);
    let Some(settings) = store.await else { return Ok(()) };
    logs::follow(settings.subscribe(), |it| &it.office.log_level);
    tinyclaw_processor::run(state, settings, vitals, shutdown, users).await?;
    health.abort();
    tracing::info!("processor is down");
    if is_alone.is_some_and(|it| it.load(Ordering::Relaxed)) {
        bail!("the warden is gone: whoever started this process starts both again");
    }
    Ok(())
}

/// Without the warden no desk can be asked anything, and only whoever started both can start it again: then this process stops, as
/// if it were told to. Says whether it was so.
fn end_with_the_warden(users: &Users, shutdown: &Shutdown) -> anyhow::Result<Arc<AtomicBool>> {
    let (users, shutdown) = (users.clone(), shutdown.clone());
    let is_alone = Arc::new(AtomicBool::new(false));
    let told = is_alone.clone();
    let waits = move || {
        users.wait_until_warden_is_gone();
        if !shutdown.has_begun() {
            tracing::error!("the warden is gone, and no desk can be asked anything");
            told.store(true, Ordering::Relaxed);
            shutdown.begin();
        }
    };
    std::thread::Builder::new().name("no warden".to_owned()).spawn(waits).context("a thread")?;
    Ok(is_alone)
}

/// The way to the warden, if this process was given one, and where its desks are.
fn users(environment: &Environment) -> anyhow::Result<Option<Users>> {
    let Some(number) = environment.get(VARIABLE) else { return Ok(None) };
    let number = number.parse().with_context(|| format!("{VARIABLE}={number:?}"))?;
    let folder = environment.get(DESKS).with_context(|| format!("{DESKS} is not set"))?;
    let warden = inherited(number).and_then(Client::over).context("cannot ask the warden")?;
    Ok(Some(Users::new(warden, folder.into())))
}

/// The state folder's own lock. A second processor waits here, unready, and takes over when the first one is gone.
async fn take_over(
    state: &StateDir,
    vitals: &Vitals,
    shutdown: &Shutdown,
) -> anyhow::Result<Option<Lock>> {
    let path = state.processor_lock();
    loop {
        if let Some(lock) = Lock::try_take(&path)? {
            lock.leave_note(&format!("pid {}", std::process::id()))?;
            vitals.unblock("lock");
            return Ok(Some(lock));
        }
        vitals.block(
            "lock",
            "another processor works on this state folder; this one takes over when it ends",
        );
        tokio::select! {
            () = tokio::time::sleep(TAKE_OVER_EVERY) => {}
            () = shutdown.begun() => return Ok(None),
        }
    }
}

/// Says how it is from the first moment on, also while the settings are wrong.
fn tinyclaw_processor_health(
    state: &StateDir,
    vitals: &Vitals,
    shutdown: &Shutdown,
) -> tokio::task::JoinHandle<()> {
    let (state, vitals, shutdown) = (state.clone(), vitals.clone(), shutdown.clone());
    tokio::spawn(async move {
        let mut turns = vitals.turns();
        while !shutdown.has_begun() {
            turns.mark_unchanged();
            if let Err(err) =
                tinyclaw_ledger::health::write(&state, "processor", &vitals.snapshot())
            {
                tracing::warn!("cannot write how the processor is: {err}");
            }
            tokio::time::sleep(HEALTH_AT_MOST_EVERY).await;
            let _ = tokio::time::timeout(HEALTH_EVERY, turns.changed()).await;
        }
    })
}
