//! Jobs over HTTP: how late a line of a turn is heard, what cuts cost, whether a gateway that is killed loses a job or begins one
//! twice, what a thousand readers of one job weigh, and how soon a turn is stopped, with everything below it.
//!
//! The office is played here, on the real queue and the real logs, but for stopping: that needs `tinyclaw-processor` and
//! `tinyclaw-demo-engine` beside the gateway.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tinyclaw_disk::Flush;
use tinyclaw_domain::{JobEvent, Key, Outcome, Reply, StateDir};
use tinyclaw_ledger::JobLog;
use tinyclaw_queue::{Lease, Options, Queue, Side, Which};
use tinyclaw_service::now_ms;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::percentile;
use crate::program::{Gateway, prepare, sibling, token};
use crate::wire::Connection;

/// So many jobs are told at once, and so many lines each.
const STORIES: usize = 20;
const LINES: u64 = 200;
/// So often a reader is cut.
const CUTS: usize = 1_000;
/// So many jobs are begun while the gateway is killed so often.
const JOBS: usize = 1_000;
const KILLS: usize = 20;
const CALLERS: usize = 8;
/// So many read one job.
const READERS: usize = 1_000;
/// So many turns are stopped.
const STOPS: usize = 40;
/// How long what a turn leaves behind would live: a number that no other process has.
const ORPHAN_SECONDS: u64 = 86_399;

pub(crate) async fn run(base: &Path) -> Value {
    let mut told = serde_json::Map::new();
    for part in [stories(base).await, kills(base).await, stops(base).await] {
        if let Value::Object(values) = part {
            told.extend(values);
        }
    }
    Value::Object(told)
}

/// A folder for a gateway with one environment, and the queue in it.
fn office(base: &Path) -> (tempfile::TempDir, Queue, StateDir) {
    let dir = tempfile::Builder::new().prefix("tinyclaw-measure-").tempdir_in(base);
    let dir = dir.expect("folder");
    prepare(dir.path());
    let state = StateDir::new(dir.path());
    let envs = json!({ "dev": { "isolation": "none", "permission": "bypass" } }).to_string();
    tinyclaw_disk::replace(&state.envs(), envs.as_bytes(), Flush::None).expect("envs.json");
    let options = Options { reserve_bytes: 0, free_share_min: 0.0, ..Options::default() };
    let queue = Queue::open(dir.path(), options).expect("queue");
    (dir, queue, state)
}

fn body(prompt: &str) -> String {
    json!({ "env": "dev", "prompt": prompt }).to_string()
}

/// Begins a job; its id. The connection is a new one: the gateway closes one that idled.
async fn begin(gateway: &Gateway, prompt: &str) -> String {
    let mut connection = Connection::open(gateway.address).await.expect("a connection");
    let (status, said) = connection.execute(&body(prompt), None).await.expect("an answer");
    assert_eq!(status, 202, "{said}");
    id_of(&said)
}

fn id_of(said: &str) -> String {
    let said: Value = serde_json::from_str(said).expect("an answer");
    said["jobId"].as_str().expect("a job").to_owned()
}

fn story(state: &StateDir, lease: &Lease) -> JobLog {
    let mut log = JobLog::begin(state, &lease.message().key, now_ms());
    let begun = JobEvent::Begun { attempt: lease.attempt(), model: None, tier: None, warm: true };
    log.write(now_ms(), begun).expect("the story");
    log
}

fn answer(mut lease: Lease, mut log: JobLog) {
    log.write(now_ms(), JobEvent::End { outcome: Outcome::Answered }).expect("the story");
    let reply = Reply { text: "Done.".to_owned(), ..Reply::default() };
    lease.answer(reply, vec![]).expect("an answer");
    lease.finish().expect("its end");
}

/// A reader of a job's story, frame by frame.
struct Reader {
    stream: TcpStream,
    rest: Vec<u8>,
}

impl Reader {
    async fn open(address: SocketAddr, id: &str, last: &str) -> io::Result<Reader> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let token = token();
        let last =
            if last.is_empty() { String::new() } else { format!("Last-Event-ID: {last}\r\n") };
        let head = format!(
            "GET /api/jobs/{id}/stream HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Accept: text/event-stream\r\n{last}\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        Ok(Reader { stream, rest: Vec::new() })
    }

    /// What came with the next bytes: each line's id, and when it was written. False at the end.
    async fn read(&mut self, mut see: impl FnMut(&str, Option<u64>)) -> io::Result<bool> {
        let mut buffer = [0; 32 << 10];
        let count = self.stream.read(&mut buffer).await?;
        self.rest.extend_from_slice(&buffer[..count]);
        let mut end = 0;
        while let Some(at) = self.rest[end..].windows(2).position(|it| it == b"\n\n") {
            let frame = String::from_utf8_lossy(&self.rest[end..end + at]).into_owned();
            end += at + 2;
            let id = frame.lines().find_map(|it| it.strip_prefix("id: "));
            let is_line = frame.contains("\"seq\":") || frame.contains("\"type\":\"result\"");
            if let Some(id) = id.filter(|_| is_line) {
                let sent =
                    frame.split("T#").nth(1).and_then(|it| it.split('#').next()?.parse().ok());
                see(id, sent);
            }
        }
        self.rest.drain(..end);
        Ok(count > 0)
    }
}

/// What lines cost: lateness, cuts, readers.
async fn stories(base: &Path) -> Value {
    let (dir, queue, state) = office(base);
    let (gateway, _) = Gateway::start(dir.path()).await;
    let clock = Instant::now();
    let late = Arc::new(Mutex::new(Vec::new()));
    let (mut readers, mut writers) = (Vec::new(), Vec::new());
    for _ in 0..STORIES {
        let id = begin(&gateway, "tell").await;
        let lease = queue.claim(Side::Run, &Which::Ordinary).await.expect("a message");
        let mut log = story(&state, &lease);
        let (late, address) = (Arc::clone(&late), gateway.address);
        let mut reader = Reader::open(address, &id, "").await.expect("a stream");
        readers.push(tokio::spawn(async move {
            let see = |_: &str, sent: Option<u64>| {
                if let Some(sent) = sent {
                    let ms = (clock.elapsed().as_micros() as u64).saturating_sub(sent) as f64 / 1e3;
                    late.lock().expect("the times").push(ms);
                }
            };
            while reader.read(see).await.expect("the stream") {}
        }));
        writers.push(tokio::spawn(async move {
            for _ in 0..LINES {
                // As often as processor writes at most.
                tokio::time::sleep(Duration::from_millis(20)).await;
                let text = format!("T#{}#", clock.elapsed().as_micros());
                log.write(now_ms(), JobEvent::Text { text }).expect("the story");
            }
            answer(lease, log);
        }));
    }
    for it in writers.into_iter().chain(readers) {
        it.await.expect("a story");
    }
    let mut late = late.lock().expect("the times").clone();
    let lines = late.len();
    let (p50, p99) = (percentile(&mut late, 0.5), percentile(&mut late, 0.99));
    let (missing, twice) = cuts(&gateway, &queue, &state).await;
    let rss = readers_of_one(&gateway, &queue, &state).await;
    json!({
        "stream_p50_ms": p50, "stream_p99_ms": p99, "stream_lines": lines, "cuts": CUTS, "cuts_missing": missing,
        "cuts_twice": twice, "job_clients_rss_mib": rss,
    })
}

/// A reader that is cut again and again while a story is told; lines that it missed, and lines that it had twice.
async fn cuts(gateway: &Gateway, queue: &Queue, state: &StateDir) -> (usize, usize) {
    let id = begin(gateway, "tell").await;
    let lease = queue.claim(Side::Run, &Which::Ordinary).await.expect("a message");
    let mut log = story(state, &lease);
    let is_over = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let writer = tokio::spawn(async move {
        let mut written = 0usize;
        while !over.load(std::sync::atomic::Ordering::Relaxed) {
            log.write(now_ms(), JobEvent::Text { text: "x".repeat(40) }).expect("the story");
            written += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        answer(lease, log);
        written
    });
    let (mut seen, mut last, mut twice) = (BTreeSet::new(), String::new(), 0);
    for cut in 0..=CUTS {
        if cut == CUTS {
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        let mut reader = Reader::open(gateway.address, &id, &last).await.expect("a stream");
        let until = Instant::now() + Duration::from_micros(rand::random_range(500..30_000));
        loop {
            let see = |line: &str, _: Option<u64>| {
                if line != "end" {
                    twice += usize::from(!seen.insert(line.to_owned()));
                    last = line.to_owned();
                }
            };
            let left = until.saturating_duration_since(Instant::now());
            let patience = if cut == CUTS { Duration::from_secs(60) } else { left };
            match tokio::time::timeout(patience, reader.read(see)).await {
                Ok(Ok(true)) if cut == CUTS || !left.is_zero() => {}
                _ => break,
            }
        }
    }
    // Beside the texts the beginning and the end are lines.
    let written = writer.await.expect("the story") + 2;
    (written.saturating_sub(seen.len()), twice)
}

/// What a thousand readers of one job weigh, in MiB.
async fn readers_of_one(gateway: &Gateway, queue: &Queue, state: &StateDir) -> f64 {
    let id = begin(gateway, "tell").await;
    let lease = queue.claim(Side::Run, &Which::Ordinary).await.expect("a message");
    let mut log = story(state, &lease);
    let before = gateway.rss_kib();
    let mut readers = Vec::new();
    for _ in 0..READERS {
        readers.push(Reader::open(gateway.address, &id, "").await.expect("a stream"));
    }
    for _ in 0..50 {
        log.write(now_ms(), JobEvent::Text { text: "x".repeat(400) }).expect("the story");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Each has the beginning by then.
    for reader in &mut readers {
        let mut has_any = false;
        while !has_any {
            assert!(reader.read(|_, _| has_any = true).await.expect("the stream"), "it ended");
        }
    }
    let grown = gateway.rss_kib().saturating_sub(before);
    answer(lease, log);
    (grown as f64 / 1024.0 * 10.0).round() / 10.0
}

/// Jobs that callers begin under keys of their own, and again when they hear nothing, while the gateway is killed.
async fn kills(base: &Path) -> Value {
    let (dir, queue, state) = office(base);
    let runs: Arc<Mutex<HashMap<Key, usize>>> = Arc::default();
    let counted = Arc::clone(&runs);
    let works = tokio::spawn(async move {
        loop {
            let lease = queue.claim(Side::Run, &Which::Ordinary).await.expect("a message");
            *counted.lock().expect("the runs").entry(lease.message().key.clone()).or_default() += 1;
            let log = story(&state, &lease);
            answer(lease, log);
        }
    });
    let address: Arc<Mutex<SocketAddr>> = Arc::new(Mutex::new(([127, 0, 0, 1], 1).into()));
    let accepted: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (address, accepted) = (Arc::clone(&address), Arc::clone(&accepted));
            tokio::spawn(async move {
                for job in (0..JOBS).filter(|it| it % CALLERS == caller) {
                    let key = format!("job-{job}");
                    loop {
                        let there = *address.lock().expect("the address");
                        let asked = async {
                            let mut connection = Connection::open(there).await?;
                            connection.execute(&body("do it"), Some(&key)).await
                        };
                        match tokio::time::timeout(Duration::from_secs(5), asked).await {
                            Ok(Ok((202, said))) => {
                                accepted.lock().expect("the jobs").insert(id_of(&said));
                                break;
                            }
                            // Killed in the middle of it, or too much at once.
                            _ => tokio::time::sleep(Duration::from_millis(5)).await,
                        }
                    }
                    // So that the kills are spread over all of them.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            })
        })
        .collect();
    for _ in 0..KILLS {
        let (gateway, _) = Gateway::start(dir.path()).await;
        *address.lock().expect("the address") = gateway.address;
        tokio::time::sleep(Duration::from_micros(rand::random_range(1_000..150_000))).await;
        drop(gateway);
    }
    let (gateway, _) = Gateway::start(dir.path()).await;
    *address.lock().expect("the address") = gateway.address;
    for it in callers {
        it.await.expect("a caller");
    }
    let accepted = accepted.lock().expect("the jobs").clone();
    let mut connection = Connection::open(gateway.address).await.expect("a connection");
    let mut lost = JOBS - accepted.len();
    for id in &accepted {
        let path = format!("/api/jobs/{id}?wait=30");
        let (status, said) = connection.get(&path).await.expect("an answer");
        lost += usize::from(status != 200 || !said.contains("\"state\":\"done\""));
    }
    works.abort();
    let runs = runs.lock().expect("the runs");
    let twice = runs.values().filter(|it| **it > 1).count() + runs.len().saturating_sub(JOBS);
    json!({ "jobs": JOBS, "job_kills": KILLS, "accept_lost": lost, "run_twice": twice })
}

/// A processor with the demo engine; it is killed when dropped.
struct Processor(Child);

impl Drop for Processor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Turns that left a process of their own behind are stopped.
async fn stops(base: &Path) -> Value {
    let none = json!({ "cancel_p50_ms": null, "cancel_p99_ms": null, "orphans": null });
    let (Some(program), Some(_)) = (sibling("tinyclaw-processor"), sibling("tinyclaw-demo-engine"))
    else {
        eprintln!(
            "tinyclaw-processor and tinyclaw-demo-engine are not built: cancel_p99_ms and orphans are left out"
        );
        return none;
    };
    let (dir, _, _) = office(base);
    let (home, work) = (tempfile::tempdir_in(base), tempfile::tempdir_in(base));
    let (home, work) = (home.expect("folder"), work.expect("folder"));
    let child = Command::new(program)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("TINYCLAW_DIR", dir.path())
        .env("HOME", home.path())
        .env("WORKSPACE_ROOT", work.path())
        .env("TINYCLAW_ENGINE_KIND", "demo")
        .stdout(Stdio::null())
        .spawn()
        .expect("the processor");
    let processor = Processor(child);
    let (gateway, _) = Gateway::start(dir.path()).await;
    let mut times = Vec::new();
    for _ in 0..STOPS {
        let prompt = format!("[demo: spawn {ORPHAN_SECONDS}s] [demo: hang]");
        let id = begin(&gateway, &prompt).await;
        // Until its process is there.
        while orphans() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let mut connection = Connection::open(gateway.address).await.expect("a connection");
        let began = Instant::now();
        let path = format!("/api/jobs/{id}/cancel?wait=60");
        let (status, said) = connection.post(&path, "").await.expect("an answer");
        assert!(status == 200 && said.contains("\"state\":\"stopped\""), "{said}");
        times.push(began.elapsed().as_secs_f64() * 1e3);
        // What was below the turn ends with it or never.
        let until = Instant::now() + Duration::from_secs(5);
        while orphans() > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let left = orphans();
    drop(processor);
    json!({
        "cancel_p50_ms": percentile(&mut times, 0.5), "cancel_p99_ms": percentile(&mut times, 0.99), "orphans": left,
    })
}

/// How many processes are there that turns left behind.
fn orphans() -> usize {
    let wanted = format!("sleep\0{ORPHAN_SECONDS}\0");
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    let is_one = |it: &std::fs::DirEntry| {
        std::fs::read(it.path().join("cmdline")).is_ok_and(|it| it == wanted.as_bytes())
    };
    all.filter(is_one).count()
}
