//! How much longer a turn takes that starts a process than one on a warm process, with a link and without: the real CLI
//! against the fake API.
//!
//! `cargo run --release -p tinyclaw-engine --example warm_over_spawn [TURNS]` prints one JSON object. Needs the CLI
//! (`scripts/install-claude.sh`); `TINYCLAW_CLAUDE` names another one.
#![expect(clippy::print_stdout, reason = "an example that measures prints what it measured")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tinyclaw_domain::{Model, PermissionMode, ThreadId};
use tinyclaw_engine::{
    Auth, Content, Engine, EngineConfig, Mode, PINNED_VERSION, SessionSpec, TurnOutcome,
    TurnRequest, find_sibling,
};
use tinyclaw_testkit::messages_api::MessagesApi;
use tinyclaw_testkit::state::Place;
use uuid::Uuid;

type Error = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let turns: usize = std::env::args().nth(1).map_or(Ok(7), |it| it.parse())?;
    let claude = match std::env::var("TINYCLAW_CLAUDE") {
        Ok(path) => PathBuf::from(path),
        Err(_) => {
            let cache = std::env::var("TINYCLAW_TEST_CACHE").map(PathBuf::from);
            let home = PathBuf::from(std::env::var("HOME")?);
            let cache = cache.unwrap_or_else(|_| home.join(".cache/tinyclaw"));
            cache.join("claude").join(PINNED_VERSION).join("claude")
        }
    };
    if !claude.is_file() {
        return Err(
            format!("no claude at {}: run scripts/install-claude.sh", claude.display()).into()
        );
    }
    let api = MessagesApi::start().await?;
    let mut times = Vec::new();
    for make in [Engine::new, Engine::linked] {
        let warm = measure(&claude, &api, Mode::Warm, turns, make).await?;
        let spawn = measure(&claude, &api, Mode::Spawn, turns, make).await?;
        times.push((warm, spawn));
    }
    let ms = |it: Duration| (it.as_secs_f64() * 10_000.0).round() / 10.0;
    let ratio = |(warm, spawn): (Duration, Duration)| {
        (spawn.as_secs_f64() / warm.as_secs_f64() * 10.0).round() / 10.0
    };
    let numbers = json!({
        "warmOverSpawn": ratio(times[0]),
        "warmMs": ms(times[0].0),
        "spawnMs": ms(times[0].1),
        "linkWarmOverSpawn": ratio(times[1]),
        "linkWarmMs": ms(times[1].0),
        "linkSpawnMs": ms(times[1].1),
        "turns": turns,
        "claude": PINNED_VERSION,
    });
    println!("{numbers}");
    Ok(())
}

/// The median time of a turn in this mode; the first one, which pays for the start in either mode, is left out.
async fn measure(
    claude: &std::path::Path,
    api: &MessagesApi,
    mode: Mode,
    turns: usize,
    make: fn(EngineConfig) -> Engine,
) -> Result<Duration, Error> {
    let place = Place::new()?;
    let leash = find_sibling("tinyclaw-leash")
        .ok_or("tinyclaw-leash is not built: cargo build --release -p tinyclaw-engine")?;
    let mut config = EngineConfig::new(claude, leash, place.state(), place.home());
    config.auth = Auth::ApiKey("dummy".into());
    config.base_url = Some(api.url());
    config.mode = mode;
    let engine = make(config);
    let session = SessionSpec {
        thread: ThreadId::topic(7),
        id: Uuid::new_v4().to_string().parse()?,
        place: tinyclaw_domain::Place::Here,
        cwd: place.work(),
        permission_mode: PermissionMode::Ask,
        system_prompt: String::new(),
        tools: Arc::new([]),
        servers: Arc::default(),
        model: Model::SONNET,
        effort: tinyclaw_domain::Effort::High,
        trust: tinyclaw_domain::Trust::Text,
        skills: None,
        is_attended: true,
    };
    let mut times = Vec::new();
    for turn in 0..=turns {
        let begun = Instant::now();
        let request = TurnRequest {
            session: session.clone(),
            key: "cli-measure".parse()?,
            uuid: Uuid::new_v4().to_string(),
            content: vec![Content::Text("[api: say ready]".to_owned())],
        };
        let end = engine.turn(request).end().await.ok_or("a turn without an end")?;
        if end.outcome != TurnOutcome::Answered {
            return Err(format!("the turn failed: {:?}", end.outcome).into());
        }
        if turn > 0 {
            times.push(begun.elapsed());
        }
        // How long a process takes to leave is nobody's waiting time.
        while mode == Mode::Spawn && engine.processes() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    engine.close().await;
    times.sort();
    Ok(times[times.len() / 2])
}
