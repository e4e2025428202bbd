//! The settings as the engine and the logs take them, read again whenever they change. Opens nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tinyclaw_domain::{CacheTtl, Catalogue, Effort, Efforts, Model, StateDir};
use tinyclaw_engine::link::Lease;
use tinyclaw_engine::{
    Auth, Engine, EngineConfig, EnvLauncher, Landlock, Mode, Users, find_sibling,
};
use tinyclaw_ledger::Keep;
use tinyclaw_service::conceal_from_now_on;
use tinyclaw_service::settings::{self, EngineKind, EngineMode, Settings, Store};

use crate::desks::capability;
use crate::desks::host_of;
use crate::devboxes::Fleet;

/// The time of day where the office is.
pub(crate) fn now(settings: &Store<Settings>) -> jiff::Zoned {
    jiff::Timestamp::now().to_zoned(settings.current().office.timezone.clone())
}

/// The engine that the settings ask for, with desks that are users of their own where there can be any.
pub(crate) fn engine(
    state: &StateDir,
    settings: &Settings,
    users: Option<&Users>,
    fleet: &Arc<Fleet>,
    envs: Option<Arc<EnvLauncher>>,
) -> anyhow::Result<Engine> {
    let mut config = engine_config(state, settings)?;
    config.users = users.cloned();
    Ok(Engine::reaching(config, settings.engine.link, fleet.launcher(), envs))
}

/// Who starts Claude in environments that are containers: through the porter, which need not be there yet.
pub(crate) fn envs(state: &StateDir, settings: &Settings) -> Arc<EnvLauncher> {
    let (socket, landlock) = (settings.porter.socket.clone(), landlock(settings));
    // A new processor is there within seconds, as on this machine.
    Arc::new(EnvLauncher::new(socket, landlock, Lease::HERE, state.env_runs()))
}

fn landlock(settings: &Settings) -> Landlock {
    match settings.engine.landlock {
        settings::Landlock::Auto => Landlock::Auto,
        settings::Landlock::On => Landlock::On,
        settings::Landlock::Off => Landlock::Off,
    }
}

/// What an engine is told, by the settings. The demo engine needs nothing but itself.
pub(crate) fn engine_config(state: &StateDir, settings: &Settings) -> anyhow::Result<EngineConfig> {
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
    config.prompt_cache = prompt_cache(&settings.models);
    config.compact_window = settings.engine.compact_window;
    config.landlock = landlock(settings);
    (config.catalogue, _) = catalogue(settings);
    config.fallback_model = fallback(settings, &config.catalogue).unwrap_or_default();
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
        let host = host_of(&settings.github.url).to_owned();
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
        config.capability = Some(capability::FILE.to_owned());
    }
    Ok(config)
}

/// The models that the office knows. With a mistake in these settings it is what every office knows, and the mistake.
pub(crate) fn catalogue(settings: &Settings) -> (Catalogue, Option<String>) {
    match Catalogue::read(&settings.models.families, &settings.models.tiers) {
        Ok(it) => {
            let trouble = fallback(settings, &it).err();
            (it, trouble)
        }
        Err(err) => (Catalogue::default(), Some(err.to_string())),
    }
}

/// How hard each tier's messages are thought about.
pub(crate) fn efforts(settings: &Settings) -> Efforts {
    let words = settings.models.effort.iter();
    let words = words.filter_map(|(tier, it)| Some((tier.parse().ok()?, effort(*it))));
    words.fold(Efforts::default(), |all, (tier, it)| all.with(tier, it))
}

fn effort(word: settings::Effort) -> Effort {
    match word {
        settings::Effort::Low => Effort::Low,
        settings::Effort::Medium => Effort::Medium,
        settings::Effort::High => Effort::High,
        settings::Effort::XHigh => Effort::XHigh,
        settings::Effort::Max => Effort::Max,
    }
}

fn prompt_cache(models: &settings::Models) -> Option<CacheTtl> {
    models.prompt_cache.and_then(|it| CacheTtl::named(&it.to_string()))
}

/// How long the API keeps what it has read of a conversation.
pub(crate) fn cache_ttl(settings: &Settings) -> CacheTtl {
    CacheTtl::in_use(prompt_cache(&settings.models), settings.claude.api_key.is_some())
}

fn fallback(settings: &Settings, catalogue: &Catalogue) -> Result<Option<Model>, String> {
    let word = settings.models.fallback_model.as_ref();
    let found = word.map(|it| catalogue.find(it)).transpose();
    found.map_err(|err| format!("engine.fallbackModel: {err}"))
}

/// Whatever is secret is taken out of every line from now on.
pub(crate) fn conceal_secrets(settings: &Settings) {
    let (claude, github) = (&settings.claude, &settings.github);
    let secrets = [&claude.oauth_token, &claude.api_key, &github.capability_secret];
    for secret in secrets.into_iter().flatten() {
        conceal_from_now_on(secrecy::ExposeSecret::expose_secret(secret));
    }
}

/// How long the logs are kept.
pub(crate) fn keep(settings: &Settings) -> Keep {
    Keep {
        history: settings.retention.history,
        routing: settings.retention.routing,
        prompts: settings.retention.prompts,
    }
}
