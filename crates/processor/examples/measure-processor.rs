//! Measures the processor with the demo engine and prints one JSON object. `measure [FOLDER]`.
//!
//! The processor runs as the process it is; messages go in through the queue, and the demo engine writes down when it
//! got each prompt. Build the binaries first: `cargo build --release --workspace --bins`.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "it reports, and starts the processor"
)]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tinyclaw_domain::{Channel, Key, Message};
use tinyclaw_queue::{Durability, Options, Place, Queue, Side};
use tinyclaw_testkit::messages_api::MessagesApi;

const MESSAGES: usize = 300;
const THREADS: usize = 50;

struct Office {
    dir: tempfile::TempDir,
    processor: Child,
    queue: Queue,
}

impl Office {
    fn open(base: &Path, env: &[(&str, &str)]) -> Office {
        let dir =
            tempfile::Builder::new().prefix("tinyclaw-measure-").tempdir_in(base).expect("folder");
        for name in ["state", "home", "work"] {
            fs::create_dir_all(dir.path().join(name)).expect("folder");
        }
        drop(tinyclaw_disk::write_new(&dir.path().join("prompts"), b"").expect("prompts"));
        let queue = Queue::open(&dir.path().join("state"), Options::default()).expect("queue");
        let path = |name: &str| dir.path().join(name);
        let program = sibling("tinyclaw-processor");
        let processor = Command::new(program)
            .env_clear()
            .env("TINYCLAW_DIR", path("state"))
            .env("HOME", path("home"))
            .env("WORKSPACE_ROOT", path("work"))
            .env("TINYCLAW_ENGINE_KIND", "demo")
            .env("TINYCLAW_ENGINE_WARM_MAX", "64")
            .env("TINYCLAW_ENGINE_PARALLEL_MAX", "8")
            .env("TINYCLAW_DEMO_RECORD", path("prompts"))
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the processor");
        Office { dir, processor, queue }
    }

    fn publish(&self, thread: usize, key: &str, text: &str) -> Key {
        let key: Key = key.parse().expect("key");
        let thread = format!("{}", thread + 1).parse().expect("thread");
        let message = Message::new(key.clone(), Channel::Telegram, thread, text, now_us() / 1_000);
        self.queue.publish(Side::Run, message, Durability::Strict).expect("publish");
        key
    }

    fn wait(&self, answered: usize) {
        let view = self.queue.view();
        let until = Instant::now() + Duration::from_secs(120);
        while view.depth().expect("depth").outgoing < answered {
            assert!(Instant::now() < until, "no answer");
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    fn rss_mb(&self) -> f64 {
        let statm =
            fs::read_to_string(format!("/proc/{}/statm", self.processor.id())).expect("statm");
        statm.split(' ').nth(1).and_then(|it| it.parse::<f64>().ok()).unwrap_or(0.0) * 4_096.0 / 1e6
    }

    /// When each key got to Claude, by the demo engine's own clock.
    fn prompts(&self) -> HashMap<String, u64> {
        let text = fs::read_to_string(self.dir.path().join("prompts")).unwrap_or_default();
        let lines =
            text.lines().filter_map(|it| serde_json::from_str::<serde_json::Value>(it).ok());
        let mark = |text: &str| text.rsplit("mark ").next().map(str::to_owned);
        lines.filter_map(|it| Some((mark(it["text"].as_str()?)?, it["atUs"].as_u64()?))).collect()
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        let _ = self.processor.kill();
        let _ = self.processor.wait();
    }
}

fn sibling(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("own program");
    let dir = own.parent().and_then(Path::parent).expect("folder");
    let program = dir.join(name);
    assert!(
        program.exists(),
        "{name} is not built: run `cargo build --release --workspace --bins` first"
    );
    program
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_micros() as u64)
}

fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(((values.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(f64::NAN)
}

fn main() {
    let base = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let (to_prompt, to_outgoing) = latencies(&base);
    let (per_s, idle, queued) = throughput(&base);
    let warm_over_spawn =
        warm_over_spawn(&base).map_or_else(|| "null".to_owned(), |it| format!("{it:.1}"));
    let joblog = joblog_us(&base);
    println!(
        "{{\"toPromptP50Ms\":{:.2},\"toPromptP99Ms\":{:.2},\"toOutgoingP50Ms\":{:.2},\"toOutgoingP99Ms\":{:.2},\
         \"messagesPerS\":{per_s:.0},\"idleRssMb\":{idle:.1},\"queuedRssMb\":{queued:.1},\
         \"joblogUsP50\":{joblog:.2},\"warmOverSpawn\":{warm_over_spawn}}}",
        percentile(to_prompt.clone(), 0.5),
        percentile(to_prompt, 0.99),
        percentile(to_outgoing.clone(), 0.5),
        percentile(to_outgoing, 0.99),
    );
}

/// What a line of a turn's story costs its turn.
fn joblog_us(base: &Path) -> f64 {
    let dir = tempfile::tempdir_in(base).expect("folder");
    let state = tinyclaw_ledger::StateDir::new(dir.path());
    tinyclaw_ledger::create_folders(&state).expect("folders");
    let key: Key = "joblog".parse().expect("key");
    let mut log = tinyclaw_ledger::JobLog::begin(&state, &key, 1);
    let times = (0..10_000).map(|at| {
        let text = "some words of an answer, as many as come in 20 ms".to_owned();
        let began = Instant::now();
        log.write(at, tinyclaw_domain::JobEvent::Text { text }).expect("a line");
        began.elapsed().as_nanos() as f64 / 1e3
    });
    percentile(times.collect(), 0.5)
}

/// One message at a time in one warm thread: from the file in `incoming/` to Claude's stdin, and from Claude's last
/// line to the file in `outgoing/`.
fn latencies(base: &Path) -> (Vec<f64>, Vec<f64>) {
    let office = Office::open(base, &[]);
    office.publish(0, "warm-up", "hello mark warm-up");
    office.wait(1);
    let (mut began, mut ended) = (HashMap::new(), HashMap::new());
    for at in 0..MESSAGES {
        let key = format!("m-{at}");
        // The file appears at the rename inside `publish`; its flush comes after, so this is the later moment of two.
        let before = now_us();
        office.publish(0, &key, &format!("hello mark {key}"));
        began.insert(key.clone(), before);
        office.wait(at + 2);
        ended.insert(key, now_us());
    }
    let prompts = office.prompts();
    let to_prompt = began
        .iter()
        .filter_map(|(key, at)| Some((prompts.get(key)?.saturating_sub(*at)) as f64 / 1e3));
    // The demo engine answers at once: its last line follows its prompt by the time it takes to write a page of words.
    let to_outgoing = ended
        .iter()
        .filter_map(|(key, at)| Some((at.saturating_sub(*prompts.get(key)?)) as f64 / 1e3));
    (to_prompt.collect(), to_outgoing.collect())
}

fn throughput(base: &Path) -> (f64, f64, f64) {
    let office = Office::open(base, &[]);
    let health = office.dir.path().join("state/health/processor.json");
    while !fs::read_to_string(&health)
        .is_ok_and(|it| it.contains("\"ready\":true") || it.contains("\"ready\": true"))
    {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(500));
    let idle = office.rss_mb();
    // A thousand that wait behind one that takes its time, for the memory; then all of them for the speed.
    for at in 0..1_000 {
        let text = if at < THREADS { "[demo: slow 4s] hello" } else { "hello" };
        office.publish(at % THREADS, &format!("q-{at}"), text);
    }
    let queued = office.rss_mb();
    let view = office.queue.view();
    // From the moment on when the slow ones are through.
    while view.depth().expect("depth").outgoing < THREADS {
        std::thread::sleep(Duration::from_millis(5));
    }
    let (start, from) = (Instant::now(), view.depth().expect("depth").outgoing);
    office.wait(1_000);
    let per_s = (1_000 - from) as f64 / start.elapsed().as_secs_f64();
    let left = view.list(Place::Dead, 1).map_or(0, |it| it.len());
    assert_eq!(left, 0, "messages were given up");
    (per_s, idle, queued)
}

/// A spawned turn's time over a warm one's, with the real CLI against the fake Messages API. `None` where the CLI is
/// not installed (`scripts/install-claude.sh`).
fn warm_over_spawn(base: &Path) -> Option<f64> {
    let home = std::env::var("HOME").ok()?;
    let cache =
        std::env::var("TINYCLAW_TEST_CACHE").unwrap_or_else(|_| format!("{home}/.cache/tinyclaw"));
    let versions = fs::read_dir(Path::new(&cache).join("claude")).ok()?;
    let claude = versions.flatten().map(|it| it.path().join("claude")).find(|it| it.is_file())?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().ok()?;
    let api = runtime.block_on(MessagesApi::start()).ok()?;
    let median = |mode: &str| {
        let office = Office::open(
            base,
            &[
                ("TINYCLAW_ENGINE_KIND", "claude"),
                ("TINYCLAW_ENGINE_CLAUDE", &claude.display().to_string()),
                ("TINYCLAW_ENGINE_MODE", mode),
                ("ANTHROPIC_API_KEY", "dummy"),
                ("ANTHROPIC_BASE_URL", &api.url()),
            ],
        );
        let mut times = Vec::new();
        for at in 0..8 {
            let key = office.publish(0, &format!("w-{at}"), "hello");
            office.wait(at + 1);
            let seen = office.queue.view().find(&key).expect("view").expect("the message");
            times.push(seen.message.reply.map_or(f64::NAN, |it| it.duration_ms as f64));
        }
        // The first one starts the process in either mode.
        percentile(times.split_off(1), 0.5)
    };
    Some(median("spawn") / median("warm").max(1.0))
}
