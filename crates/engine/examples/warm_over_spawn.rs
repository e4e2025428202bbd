//! What a warm process saves, with a link and without, and what it costs to keep: the real CLI against the fake API.
//!
//! `cargo run --release -p tinyclaw-engine --example warm_over_spawn [TURNS]` prints two JSON objects for each CLI: the oldest
//! supported and the one that is installed, as far as they are in the cache (`scripts/install-claude.sh`). `TINYCLAW_CLAUDE`
//! names another one instead. `countedAlike` says whether the tokens that we were billed are those that the API counted.
#![expect(clippy::print_stdout, reason = "an example that measures prints what it measured")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use procfs::process::{Process, all_processes};
use serde_json::{Value, json};
use tinyclaw_domain::{Model, PermissionMode, ThreadId};
use tinyclaw_engine::{
    Auth, Content, Engine, EngineConfig, Mode, PINNED_VERSION, SessionSpec, TurnOutcome,
    TurnRequest, find_sibling,
};
use tinyclaw_testkit::messages_api::MessagesApi;
use tinyclaw_testkit::state::Place;
use uuid::Uuid;

type Error = Box<dyn std::error::Error>;

/// The oldest CLI that is supported.
const OLDEST_VERSION: &str = "2.1.197";
/// What the fake API says each of its answers took in and gave out, in tokens.
const TOKENS: (u64, u64) = (1_000, 5);

#[tokio::main]
async fn main() -> Result<(), Error> {
    let turns: usize = std::env::args().nth(1).map_or(Ok(7), |it| it.parse())?;
    let all = match std::env::var("TINYCLAW_CLAUDE") {
        Ok(path) => vec![("other".to_owned(), PathBuf::from(path))],
        Err(_) => {
            let cache = std::env::var("TINYCLAW_TEST_CACHE").map(PathBuf::from);
            let home = PathBuf::from(std::env::var("HOME")?);
            let cache = cache.unwrap_or_else(|_| home.join(".cache/tinyclaw"));
            let at = |version: &str| cache.join("claude").join(version).join("claude");
            [OLDEST_VERSION, PINNED_VERSION].map(|it| (it.to_owned(), at(it))).to_vec()
        }
    };
    let all: Vec<_> = all.into_iter().filter(|(_, path)| path.is_file()).collect();
    if all.is_empty() {
        return Err("there is no claude: run scripts/install-claude.sh".into());
    }
    let makes: [fn(EngineConfig) -> Engine; 2] = [Engine::new, Engine::linked];
    let with_and_without = |it: (String, PathBuf)| makes.map(|make| (it.clone(), make));
    for (at, ((version, claude), make)) in all.into_iter().flat_map(with_and_without).enumerate() {
        let warm = measure(&claude, Mode::Warm, turns, make).await?;
        let spawn = measure(&claude, Mode::Spawn, turns, make).await?;
        let ms = |it: Duration| (it.as_secs_f64() * 10_000.0).round() / 10.0;
        let ratio = spawn.median.as_secs_f64() / warm.median.as_secs_f64();
        println!(
            "{}",
            json!({
                "claude": version,
                "link": at % 2 == 1,
                "turns": turns,
                "warmOverSpawn": (ratio * 10.0).round() / 10.0,
                "warmMs": ms(warm.median),
                "spawnMs": ms(spawn.median),
                "firstTurnMs": ms(warm.first),
                "warmRssMb": warm.rss_mb,
                "costUsd": (warm.cost_usd * 1e6).round() / 1e6,
                "countedAlike": warm.is_counted_alike && spawn.is_counted_alike,
                "tokens": warm.tokens,
            })
        );
    }
    Ok(())
}

/// What one mode came to.
struct Measured {
    /// Of the turns after the first one.
    median: Duration,
    /// With the start of the process.
    first: Duration,
    /// The memory of the process after its last turn; none where it has left.
    rss_mb: Option<u64>,
    cost_usd: f64,
    /// Whether we were billed for what the API counted.
    is_counted_alike: bool,
    /// What was billed, and what was counted.
    tokens: Value,
}

/// The memory of the processes that run this program below us, in MB.
fn rss_mb(claude: &Path) -> Option<u64> {
    let claude = claude.canonicalize().ok()?;
    let is_it = |it: &Process| it.exe().is_ok_and(|it| it == claude);
    let all = all_processes().ok()?.flatten().filter(is_it);
    let pages: u64 = all.filter_map(|it| Some(it.statm().ok()?.resident)).sum();
    (pages > 0).then(|| pages * procfs::page_size() / 1_000_000)
}

/// So many turns in this mode, after the first one.
async fn measure(
    claude: &Path,
    mode: Mode,
    turns: usize,
    make: fn(EngineConfig) -> Engine,
) -> Result<Measured, Error> {
    let api = MessagesApi::start().await?;
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
    let (mut times, mut first, mut cost_usd) = (Vec::new(), Duration::ZERO, 0.0);
    let mut billed = (0, 0);
    for turn in 0..=turns {
        let begun = Instant::now();
        let request = TurnRequest {
            session: session.clone(),
            key: "cli-measure".parse()?,
            uuid: Uuid::new_v4().to_string(),
            content: vec![Content::Text(format!("[api: counts 1 {}]", TOKENS.0))],
        };
        let end = engine.turn(request).end().await.ok_or("a turn without an end")?;
        if end.outcome != TurnOutcome::Answered {
            return Err(format!("the turn failed: {:?}", end.outcome).into());
        }
        match turn {
            0 => first = begun.elapsed(),
            _ => times.push(begun.elapsed()),
        }
        cost_usd += end.cost_usd;
        billed = (billed.0 + end.usage.context(), billed.1 + end.usage.output_tokens);
        // How long a process takes to leave is nobody's waiting time.
        while mode == Mode::Spawn && engine.processes() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let rss_mb = rss_mb(claude);
    engine.close().await;
    times.sort();
    let asked = api.asked().len() as u64;
    let counted = (asked * TOKENS.0, asked * TOKENS.1);
    Ok(Measured {
        median: times[times.len() / 2],
        first,
        rss_mb,
        cost_usd,
        is_counted_alike: billed == counted,
        tokens: json!({ "billed": billed, "counted": counted }),
    })
}
