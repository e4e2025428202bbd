//! Making an office from its settings: the engine's configuration, the router's, and everything that lies on disk.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use anyhow::Context;
use tinyclaw_domain::Model;
use tinyclaw_engine::leash::{Promise, missing_promises};
use tinyclaw_engine::{Auth, Effort, Engine, EngineConfig, Landlock, Mode, find_sibling};
use tinyclaw_ledger::{Costs, Journal, Keep, Progresses, StateDir, ThreadBook};
use tinyclaw_memory::Memory;
use tinyclaw_queue::{Options, Queue};
use tinyclaw_router::{Config, Router};
use tinyclaw_service::settings::{self, EngineKind, EngineMode, Settings, Store};
use tinyclaw_service::{Shutdown, Vitals, conceal_from_now_on, now_ms};
use tokio::sync::watch;

use crate::office::{Office, Slots, lock};

/// After a start that did not work, until it is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(5);
const DAY_S: u64 = 86_400;

/// What an engine is told, by the settings. The demo engine needs nothing but itself.
pub fn engine_config(state: &StateDir, settings: &Settings) -> anyhow::Result<EngineConfig> {
    let sibling = |name: &str| {
        find_sibling(name).with_context(|| {
            format!(
                "{name} is not beside this program; install all of TinyClaw's binaries together"
            )
        })
    };
    let program = match settings.engine.kind {
        EngineKind::Claude => settings.engine.claude.clone(),
        EngineKind::Demo => sibling("tinyclaw-demo-engine")?,
    };
    let home = match &settings.engine.home {
        Some(home) => home.clone(),
        None => std::env::var_os("HOME")
            .map(PathBuf::from)
            .context("HOME is not set; set engine.home")?,
    };
    let mut config = EngineConfig::new(program, sibling("tinyclaw-leash")?, state.root(), home);
    config.auth = match (&settings.claude.oauth_token, &settings.claude.api_key) {
        (Some(token), _) => Auth::OAuthToken(token.clone()),
        (None, Some(key)) => Auth::ApiKey(key.clone()),
        (None, None) => Auth::Login,
    };
    config.base_url = settings.claude.base_url.clone();
    config.turns_max = settings.engine.steps_max.map(|it| it as u32);
    let sources: Vec<String> =
        settings.engine.setting_sources.iter().map(ToString::to_string).collect();
    config.setting_sources = sources.join(",");
    config.effort = match settings.engine.effort {
        settings::Effort::Low => Effort::Low,
        settings::Effort::Medium => Effort::Medium,
        settings::Effort::High => Effort::High,
        settings::Effort::XHigh => Effort::XHigh,
        settings::Effort::Max => Effort::Max,
    };
    config.compact_window = settings.engine.compact_window;
    config.landlock = match settings.engine.landlock {
        settings::Landlock::Auto => Landlock::Auto,
        settings::Landlock::On => Landlock::On,
        settings::Landlock::Off => Landlock::Off,
    };
    config.fallback_model = settings.engine.fallback_model.map(|it| match it {
        settings::ModelName::Haiku => Model::Haiku,
        settings::ModelName::Sonnet => Model::Sonnet,
        settings::ModelName::Opus => Model::Opus,
    });
    for (alias, name) in &settings.engine.models {
        let model =
            alias.parse::<Model>().map_err(|err| anyhow::anyhow!("engine.models: {err}"))?;
        config.models.insert(model, name.clone());
    }
    config.access.readable.extend(settings.engine.readable.iter().cloned());
    config.access.writable.extend(settings.engine.writable.iter().cloned());
    config.path_prefix.extend(settings.engine.tool_path.iter().cloned());
    config.mode = match settings.engine.mode {
        EngineMode::Warm => Mode::Warm,
        EngineMode::Spawn => Mode::Spawn,
    };
    config.warm_max = settings.engine.warm_max as usize;
    config.idle_ttl = settings.engine.idle;
    config.times.silence = settings.engine.silence;
    config.times.tool = settings.engine.tool_time;
    config.times.turn = settings.engine.turn_time;
    config.times.ask = settings.engine.ask_time;
    if let Some(path) = std::env::var("PATH").ok().filter(|it| !it.is_empty()) {
        config.path = path;
    }
    // The credential helpers lie beside us; in the container they are on PATH already.
    if let Some(dir) =
        find_sibling("git-credential-tinyclaw").and_then(|it| it.parent().map(Path::to_owned))
    {
        config.path_prefix.push(dir.clone());
        config.access.readable.push(dir);
    }
    for name in ["TINYCLAW_DEMO_RECORD", "TINYCLAW_DEMO_WORD_MS"] {
        // The demo engine's own; Claude does not know them.
        if settings.engine.kind == EngineKind::Demo
            && let Ok(value) = std::env::var(name)
        {
            if name == "TINYCLAW_DEMO_RECORD" {
                config.access.writable.push(PathBuf::from(&value));
            }
            config.env.insert(name.to_owned(), value);
        }
    }
    if let Some(url) = &settings.github.broker_url {
        config.env.insert("CREDENTIAL_BROKER_URL".to_owned(), url.clone());
        // An Enterprise server's host, when that is where repositories come from.
        let host = crate::desks::checkout::host_of(&settings.github.url).to_owned();
        config.env.insert("TINYCLAW_GIT_HOST".to_owned(), host);
        // Git asks the broker's helper, and tells it the repository, wherever TinyClaw is installed.
        for (name, value) in [
            ("GIT_CONFIG_COUNT", "2"),
            ("GIT_CONFIG_KEY_0", "credential.helper"),
            ("GIT_CONFIG_VALUE_0", "tinyclaw"),
            ("GIT_CONFIG_KEY_1", "credential.useHttpPath"),
            ("GIT_CONFIG_VALUE_1", "true"),
        ] {
            config.env.insert(name.to_owned(), value.to_owned());
        }
    }
    // The operator's word on whose certificates git believes, for desks as for mirrors.
    if let Ok(path) = std::env::var("GIT_SSL_CAINFO") {
        config.access.readable.push(PathBuf::from(&path));
        config.env.insert("GIT_SSL_CAINFO".to_owned(), path);
    }
    if settings.github.capability_secret.is_some() {
        config.capability = Some(crate::desks::capability::FILE.to_owned());
    }
    Ok(config)
}

/// Prepares an office, and stays unready with the reason while that is not possible: a restart loop helps nobody.
pub(crate) async fn prepare_when_possible(
    state: StateDir,
    settings: Store<Settings>,
    vitals: Vitals,
    shutdown: Shutdown,
) -> anyhow::Result<Option<Arc<Office>>> {
    let mut told = String::new();
    loop {
        match prepare(state.clone(), settings.clone(), vitals.clone(), shutdown.clone()) {
            Ok(office) => {
                vitals.unblock("prepare");
                return Ok(Some(Arc::new(office)));
            }
            Err(err) => {
                let why = format!("{err:#}");
                if why != told {
                    tracing::error!("cannot begin: {why}");
                    vitals.block("prepare", why.clone());
                    told = why;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(TRY_AGAIN) => settings.refresh(),
            () = shutdown.begun() => return Ok(None),
        };
    }
}

/// Makes an office over a state folder. Needs a Tokio runtime with several threads; starts no Claude yet.
pub fn prepare(
    state: StateDir,
    settings: Store<Settings>,
    vitals: Vitals,
    shutdown: Shutdown,
) -> anyhow::Result<Office> {
    let current = settings.current();
    conceal_secrets(&current);
    let engine = engine_config(&state, &current)?;
    prepare_with(engine, state, settings, vitals, shutdown)
}

/// [`prepare`] with an engine's configuration of the caller's choice.
pub(crate) fn prepare_with(
    engine: EngineConfig,
    state: StateDir,
    settings: Store<Settings>,
    vitals: Vitals,
    shutdown: Shutdown,
) -> anyhow::Result<Office> {
    let current = settings.current();
    for dir in [current.office.default_cwd(), &current.office.workspace, &state.mirrors()] {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let options = Options {
        done_days: (current.retention.done.as_secs() / DAY_S).clamp(1, 3_650) as u32,
        allow_network_disk: current.office.allow_network_disk,
        ..Options::default()
    };
    let queue = Queue::open(state.root(), options).context("cannot open the queue")?;
    let (book, trouble) = ThreadBook::open(&state).context("cannot read threads.json")?;
    if let Some(trouble) = trouble {
        tracing::error!("{trouble}");
        vitals.concern("threads", Some(trouble.to_string()));
    }
    let zone = current.office.timezone.clone();
    let (costs, trouble) = Costs::read_in_part(&state, zone, now_ms());
    vitals.concern("costs", trouble.map(|err| costs_trouble(&err)));
    let progresses = Progresses::new(&state);
    // Only what people see of running turns depends on it.
    let trouble = progresses.sweep().err();
    vitals.concern("progress", trouble.map(|err| format!("progress/ cannot be swept: {err}.")));
    let (router, trouble) = router(&state);
    vitals.concern("router", trouble);
    vitals.concern("leash", unkept(&current));
    Ok(Office {
        journal: Journal::new(&state, keep(&current)),
        memory: Memory::new(state.memory()),
        engine: Engine::new(engine),
        progresses,
        router: RwLock::new(Arc::new(router)),
        slots: Slots::new(),
        pause: Mutex::new(None),
        outage: Mutex::default(),
        checkouts: tokio::sync::Mutex::default(),
        told: Mutex::new(HashSet::new()),
        stopped: Mutex::new(HashSet::new()),
        leave: watch::Sender::new(false),
        book: Mutex::new(book),
        costs: Mutex::new(costs),
        running: Mutex::new(HashMap::new()),
        recent: Mutex::new(HashMap::new()),
        queue,
        state,
        settings,
        vitals,
        shutdown,
    })
}

/// What the leash cannot promise of any Claude here, by the settings and by this kernel.
fn unkept(settings: &Settings) -> Option<String> {
    if settings.engine.landlock == settings::Landlock::Off {
        return Some("engine.landlock is off: claude may touch whatever this user may".to_owned());
    }
    let missing = missing_promises();
    (!missing.is_empty()).then(|| format!("this kernel {}", Promise::told(&missing)))
}

/// Puts changed settings in force where they were taken over at the start. The rest is read when it is needed.
///
/// What cannot be changed under running processes stays until the next start, and the error says so.
pub(crate) fn apply(office: &Office) -> anyhow::Result<()> {
    let settings = office.settings();
    conceal_secrets(&settings);
    office.journal.keep(&office.state, keep(&settings));
    let zone = &settings.office.timezone;
    if lock(&office.costs).zone() != zone {
        // Another zone has another midnight. Locked meanwhile, so that no turn is counted into the old day.
        let mut costs = lock(&office.costs);
        let (read, trouble) = Costs::read_in_part(&office.state, zone.clone(), now_ms());
        *costs = read;
        office.vitals.concern("costs", trouble.map(|err| costs_trouble(&err)));
    }
    let left = office.engine.reconfigure(engine_config(&office.state, &settings)?);
    if !left.is_empty() {
        let names = left.join(", ");
        anyhow::bail!("settings.json changed the engine's {names}; that waits for the next start");
    }
    Ok(())
}

/// A history that cannot be read stops nobody, but whoever set a budget must know that the sums begin too late.
fn costs_trouble(err: &tinyclaw_disk::DiskError) -> String {
    tracing::error!("what today cost is counted in part only: {err}: {}", err.source);
    format!("What today cost is counted in part only: {err}: {}.", err.source)
}

/// Whatever is secret is taken out of every line from now on.
fn conceal_secrets(settings: &Settings) {
    let (claude, github) = (&settings.claude, &settings.github);
    let secrets = [&claude.oauth_token, &claude.api_key, &github.capability_secret];
    for secret in secrets.into_iter().flatten() {
        conceal_from_now_on(secrecy::ExposeSecret::expose_secret(secret));
    }
}

fn keep(settings: &Settings) -> Keep {
    Keep {
        history: settings.retention.history,
        routing: settings.retention.routing,
        prompts: settings.retention.prompts,
    }
}

/// The router with the operator's `router.toml`, or with its own lists when that one is wrong, and what is wrong.
pub(crate) fn router(state: &StateDir) -> (Router, Option<String>) {
    let text = match std::fs::read_to_string(state.router()) {
        Ok(text) => text,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
            return (Router::new(Config::default()), None);
        }
        Err(err) => {
            return (
                Router::new(Config::default()),
                Some(format!("router.toml cannot be read: {err}")),
            );
        }
    };
    match Config::parse(&text) {
        Ok(config) => (Router::new(config), None),
        Err(err) => {
            tracing::error!("router.toml is not taken, the built-in lists stay in force: {err}");
            (Router::new(Config::default()), Some(format!("router.toml is not taken: {err}")))
        }
    }
}
