//! What a link to where Claude runs costs, and what a cut of it costs: nothing but time.
//!
//! `cargo run --release -p tinyclaw-engine --example link [CUTS] [--helper FILE]` prints one JSON object, measured over the
//! carrier `child` with the demo engine, and beside it `LocalLauncher`, line by line in turns. The helper is the one that images
//! and packages have, built by `scripts/helper.sh` if none is named; `helper` says which it was. A goal that is missed is named,
//! and the exit code is 1.
#![expect(clippy::print_stdout, reason = "an example that measures prints what it measured")]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tinyclaw_devbox::Helper;
use tinyclaw_domain::{Model, PermissionAnswer, PermissionMode, Place, ThreadId};
use tinyclaw_engine::link::{
    Carrier, CarrierFuture, ChildCarrier, Connection, KnownRuns, Lease, LinkLauncher,
};
use tinyclaw_engine::{
    Access, Content, Desk, Engine, EngineConfig, LaunchSpec, Launcher, Leashed, LocalLauncher,
    SessionSpec, Trace, TurnEvent, TurnOutcome, TurnRequest, find_sibling,
};
use tinyclaw_testkit::state;
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, copy, duplex,
    split,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

type Error = Box<dyn std::error::Error>;

/// Says every line back, and says once that it began.
const PARROT: &str = "#!/bin/sh\necho begun >> started\nexec cat\n";
/// Sixty processes, each of which starts itself anew, in a session of its own, and leaves.
const FORKER: &str = r#"#!/bin/sh
if [ "$1" = one ]; then setsid "$0" one & exit; fi
n=0; while [ $n -lt 60 ]; do n=$((n+1)); setsid "$0" one & done
echo forked
exec sleep 600
"#;
const LINES: usize = 3000;
/// As many as the forker begins.
const FORKERS: usize = 60;
const STOPS: usize = 20;
const KILLS: usize = 200;

const CUTS: usize = 1000;
/// A connection that is not there again by then does not come.
const RECONNECT: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (mut cuts, mut helper) = (CUTS, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--helper" => helper = Some(PathBuf::from(args.next().ok_or("--helper FILE")?)),
            number => {
                cuts = number.parse().map_err(|_| format!("{number:?} is no number of cuts"))?
            }
        }
    }
    // A hub is started in no directory of ours.
    let helper = helper.map_or_else(build_helper, Ok)?.canonicalize()?;
    let demo = find_sibling("tinyclaw-demo-engine").map_or_else(build_demo_engine, Ok)?;
    let loaded = Helper::new(&helper);
    let loaded = loaded.load().await?;
    let overhead = overhead(&helper).await?;
    let cut = cut(&helper, cuts).await?;
    let stops = stops(&helper).await?;
    let of_adoption = helper.clone();
    // It makes and drops runtimes, which cannot be done within one.
    let adopted =
        std::thread::spawn(move || adopted(&of_adoption, &demo).map_err(|err| err.to_string()));
    let adopted = adopted.join().map_err(|_| "the part about adoption broke off")??;
    let mut numbers = json!({
        "helper": helper,
        "helperBytes": loaded.id.size,
        "helperSha256": loaded.id.sha256,
        "helperIsStatic": loaded.is_static(),
    });
    for part in [overhead, cut, stops, adopted] {
        if let (Some(all), Some(part)) = (numbers.as_object_mut(), part.as_object()) {
            all.extend(part.clone());
        }
    }
    println!("{numbers}");
    let missed = missed(&numbers, cuts);
    if !missed.is_empty() {
        return Err(format!("missed: {}", missed.join("; ")).into());
    }
    Ok(())
}

/// The goals that these numbers miss, by name; so many cuts were asked for.
fn missed(numbers: &serde_json::Value, cuts: usize) -> Vec<String> {
    let number = |name: &str| numbers[name].as_f64().unwrap_or(f64::INFINITY);
    let exactly = [
        ("cuts", cuts as f64),
        ("lost", 0.0),
        ("doubled", 0.0),
        ("executions", 1.0),
        ("adoptedAfterKill", KILLS as f64),
        ("adoptedAnswered", 1.0),
        ("adoptedPrompts", 1.0),
        ("adoptedCostUsd", 0.25),
        ("orphans", 0.0),
    ];
    let below = [
        ("overheadP50Us", 500.0),
        ("overheadP99Us", 20_000.0),
        ("stopP99Ms", 500.0),
        ("forkersGoneMs", 1000.0),
        ("hubRssKb", 3000.0),
        ("holdRssKb", 3000.0),
        ("helperBytes", 2_500_000.0),
    ];
    // What is no number at all is missed, too.
    let unlike = exactly.into_iter().filter(|(name, goal)| number(name) != *goal);
    let unlike = unlike.map(|(name, goal)| format!("{name} is {}, not {goal}", numbers[name]));
    let above = below.into_iter().filter(|(name, goal)| number(name) >= *goal);
    unlike
        .chain(above.map(|(name, goal)| format!("{name} is {}, not below {goal}", numbers[name])))
        .collect()
}

/// Builds the helper as a release has it.
fn build_helper() -> Result<PathBuf, Error> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/helper.sh");
    #[expect(clippy::disallowed_methods, reason = "what is measured is built first")]
    let said = output(Command::new(script))?;
    Ok(PathBuf::from(said.trim()))
}

/// Builds the demo engine beside this program: cargo builds no program for an example.
fn build_demo_engine() -> Result<PathBuf, Error> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    #[expect(clippy::disallowed_methods, reason = "what is measured is built first")]
    let mut build = Command::new(cargo);
    build.args([
        "build",
        "--release",
        "--quiet",
        "-p",
        "tinyclaw-engine",
        "--bin",
        "tinyclaw-demo-engine",
    ]);
    output(build)?;
    Ok(find_sibling("tinyclaw-demo-engine").ok_or("no tinyclaw-demo-engine beside this program")?)
}

fn output(mut command: Command) -> Result<String, Error> {
    let said = command.stderr(Stdio::inherit()).output()?;
    if !said.status.success() {
        return Err(format!("{command:?} ended with {}", said.status).into());
    }
    Ok(String::from_utf8(said.stdout)?)
}

/// A state folder, a directory to work in, and a program in place of Claude.
struct Machine {
    place: state::Place,
    config: EngineConfig,
}

impl Machine {
    fn new(helper: &Path, program: &str) -> Result<Machine, Error> {
        let place = state::Place::new()?;
        let file = place.path("bin/program");
        std::fs::create_dir_all(place.path("bin"))?;
        tinyclaw_disk::write_new(&file, program.as_bytes())?;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755))?;
        let config = EngineConfig::new(file, helper, place.state(), place.home());
        Ok(Machine { place, config })
    }

    fn local(&self) -> Arc<dyn Launcher> {
        Arc::new(LocalLauncher::of(&self.config))
    }

    fn linked(&self, carrier: Arc<dyn Carrier>) -> Arc<dyn Launcher> {
        let look = Arc::new(LocalLauncher::of(&self.config));
        let known = Arc::new(KnownRuns::unkept());
        let lease = Lease { close: Duration::from_secs(60), end: Duration::from_secs(5) };
        Arc::new(LinkLauncher::new(Place::Here, "measure", carrier, look, lease, known))
    }

    fn spec(&self, thread: u32, below: &str) -> Result<LaunchSpec, Error> {
        let cwd = self.place.path(&format!("work/{below}"));
        std::fs::create_dir_all(&cwd)?;
        Ok(LaunchSpec {
            thread: ThreadId::topic(thread),
            place: Place::Here,
            cwd,
            args: Vec::new(),
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            access: Access { writable: vec![], readable: vec![self.place.path("bin")] },
        })
    }
}

/// A line there and back, here and over the link, one after the other.
async fn overhead(helper: &Path) -> Result<serde_json::Value, Error> {
    let machine = Machine::new(helper, PARROT)?;
    let link = machine.linked(Arc::new(ChildCarrier::of(&machine.config)));
    let mut local = Echo::new(machine.local().launch(machine.spec(1, "local")?).await?);
    let mut linked = Echo::new(link.launch(machine.spec(2, "linked")?).await?);
    let line = "x".repeat(500);
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for round in 0..LINES + 100 {
        let first = local.say(&line).await?;
        let second = linked.say(&line).await?;
        if round >= 100 {
            here.push(first);
            there.push(second);
        }
    }
    let mut over: Vec<f64> = there.iter().zip(&here).map(|(it, base)| it - base).collect();
    let (hub, hold) = (rss(helper, "hub"), rss(helper, "hold"));
    Ok(json!({
        "lines": LINES,
        "localP50Us": percentile(&mut here, 50),
        "linkP50Us": percentile(&mut there, 50),
        "overheadP50Us": percentile(&mut over, 50),
        "overheadP99Us": percentile(&mut over, 99),
        "hubRssKb": hub,
        "holdRssKb": hold,
    }))
}

/// A launched program that says lines back.
struct Echo {
    stdin: Box<dyn tokio::io::AsyncWrite + Send + Unpin>,
    lines: tokio::io::Lines<BufReader<Box<dyn tokio::io::AsyncRead + Send + Unpin>>>,
    _leash: tinyclaw_engine::Leash,
}

impl Echo {
    fn new(leashed: Leashed) -> Echo {
        let Leashed { stdin, stdout, leash, .. } = leashed;
        Echo { stdin, lines: BufReader::new(stdout).lines(), _leash: leash }
    }

    /// Microseconds.
    async fn say(&mut self, line: &str) -> Result<f64, Error> {
        let begun = Instant::now();
        self.stdin.write_all(format!("{line}\n").as_bytes()).await?;
        let heard = self.lines.next_line().await?.ok_or("it ended")?;
        if heard != line {
            return Err(format!("said {line:?}, heard {heard:?}").into());
        }
        Ok(begun.elapsed().as_secs_f64() * 1e6)
    }
}

/// One run, cut again and again while lines go both ways. A cut is one of a connection over which the run was heard.
async fn cut(helper: &Path, cuts: usize) -> Result<serde_json::Value, Error> {
    let machine = Machine::new(helper, PARROT)?;
    let inner = ChildCarrier::of(&machine.config);
    let carrier =
        Arc::new(Cuttable { inner, pumps: Mutex::default(), heard: watch::Sender::default() });
    let link = machine.linked(carrier.clone());
    let leashed = link.launch(machine.spec(3, "cut")?).await?;
    let Leashed { mut stdin, stdout, leash, .. } = leashed;
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_done = done.clone();
    let writer = tokio::spawn(async move {
        let mut said = 0_u64;
        while !is_done.load(std::sync::atomic::Ordering::Relaxed) {
            let line = format!("{said} {}\n", "y".repeat((said % 700) as usize));
            if stdin.write_all(line.as_bytes()).await.is_err() {
                break;
            }
            said += 1;
            if said.is_multiple_of(50) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        said
    });
    let reader = tokio::spawn(async move {
        let mut lines = BufReader::new(stdout).lines();
        let (mut next, mut lost, mut doubled) = (0_u64, 0_u64, 0_u64);
        while let Ok(Some(line)) = lines.next_line().await {
            let number: u64 =
                line.split(' ').next().and_then(|it| it.parse().ok()).unwrap_or(u64::MAX);
            lost += number.saturating_sub(next).min(1);
            doubled += u64::from(number < next);
            next = number + 1;
        }
        (next, lost, doubled)
    });
    let begun = Instant::now();
    let (mut heard, mut was_cut, mut connections) = (carrier.heard.subscribe(), 0, 0);
    for round in 0..cuts {
        let next = heard.wait_for(|it| *it > connections);
        let Ok(next) = tokio::time::timeout(RECONNECT, next).await else { break };
        connections = *next?;
        tokio::time::sleep(Duration::from_millis(5 + (round as u64 * 7) % 23)).await;
        was_cut += usize::from(carrier.cut());
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    // Its stdin closes, so it says what it has and ends.
    let said = writer.await?;
    let (heard, mut lost, doubled) = reader.await?;
    lost += said.saturating_sub(heard);
    let seconds = begun.elapsed().as_secs_f64();
    drop(leash);
    let executions =
        std::fs::read_to_string(machine.place.path("work/cut/started"))?.lines().count();
    Ok(json!({
        "cuts": was_cut, "said": said, "lost": lost, "doubled": doubled, "executions": executions,
        "cutSeconds": (seconds * 10.0).round() / 10.0,
    }))
}

/// One turn that outlives its office again and again: a runtime that is dropped says nothing more, as a process that is
/// killed.
fn adopted(helper: &Path, demo: &Path) -> Result<serde_json::Value, Error> {
    let place = state::Place::new()?;
    let mut config = EngineConfig::new(demo, helper, place.state(), place.home());
    let record = place.work().join("record");
    config.env.insert("TINYCLAW_DEMO_RECORD".to_owned(), record.display().to_string());
    let spec = SessionSpec {
        thread: ThreadId::topic(6),
        id: "6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f".parse()?,
        place: Place::Here,
        cwd: place.work(),
        permission_mode: PermissionMode::Ask,
        system_prompt: String::new(),
        tools: Arc::new([]),
        servers: Arc::default(),
        model: Model::HAIKU,
        effort: tinyclaw_domain::Effort::Low,
        trust: tinyclaw_domain::Trust::Text,
        skills: None,
        is_attended: true,
    };
    let desk = Desk::here(&spec.thread, &spec.cwd);
    let request = TurnRequest {
        session: spec.clone(),
        key: "cli-1".parse()?,
        uuid: "0b0e7f4e-5d3a-5c0c-9a55-3f1f6f0a4b11".to_owned(),
        content: vec![Content::Text("[demo: tool] [demo: ask] [demo: cost 0.25]".to_owned())],
    };
    let (mut adopted, mut took) = (0, Vec::new());
    for kill in 0..=KILLS {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (engine, turn, ask) = runtime.block_on(async {
            let begun = Instant::now();
            let engine = Engine::linked(config.clone());
            if kill > 0 {
                let trace = engine.trace(&desk, &spec.id, &request.uuid).await?;
                adopted += usize::from(trace == Trace::Running);
            }
            let mut turn = engine.turn(request.clone());
            let ask = loop {
                match turn.next().await.ok_or("the turn broke off")? {
                    TurnEvent::Asking { ask } => break ask,
                    TurnEvent::Ended(end) => return Err(format!("it ended: {end:?}").into()),
                    _ => {}
                }
            };
            if kill > 0 {
                took.push(begun.elapsed().as_secs_f64() * 1e3);
            }
            Ok::<_, Error>((engine, turn, ask))
        })?;
        if kill < KILLS {
            drop(runtime);
            drop((engine, turn));
            continue;
        }
        turn.control().answer_permission(&ask.request_id, PermissionAnswer::Allow);
        let end = runtime.block_on(turn.end()).ok_or("the turn broke off")?;
        let prompts = std::fs::read_to_string(&record)?.lines().count();
        runtime.block_on(engine.close());
        return Ok(json!({
            "kills": KILLS,
            "adoptedAfterKill": adopted,
            "adoptedAnswered": usize::from(end.outcome == TurnOutcome::Answered),
            "adoptedPrompts": prompts,
            "adoptedCostUsd": end.cost_usd,
            "adoptP50Ms": percentile(&mut took, 50),
            "adoptP99Ms": percentile(&mut took, 99),
        }));
    }
    Err("nothing was killed".into())
}

/// How long the end of everything takes, against processes that fork as fast as they can too.
async fn stops(helper: &Path) -> Result<serde_json::Value, Error> {
    let mut took = Vec::new();
    let mut orphans = 0;
    let machine = Machine::new(helper, PARROT)?;
    let link = machine.linked(Arc::new(ChildCarrier::of(&machine.config)));
    for _ in 0..STOPS {
        let leashed = link.launch(machine.spec(4, "stop")?).await?;
        let mut echo = Echo::new(leashed);
        echo.say("hello").await?;
        let lock = machine.place.path("state/locks/session-4");
        let begun = Instant::now();
        drop(echo);
        until_gone(&lock).await;
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        orphans += alive(&lock);
    }
    let machine = Machine::new(helper, FORKER)?;
    let link = machine.linked(Arc::new(ChildCarrier::of(&machine.config)));
    let Leashed { stdout, leash, .. } = link.launch(machine.spec(5, "fork")?).await?;
    let mut lines = BufReader::new(stdout).lines();
    lines.next_line().await?;
    let lock = machine.place.path("state/locks/session-5");
    let forked = alive(&lock);
    let begun = Instant::now();
    drop(leash);
    until_gone(&lock).await;
    let forkers = begun.elapsed().as_secs_f64() * 1e3;
    orphans += alive(&lock);
    Ok(json!({
        "stopP50Ms": percentile(&mut took, 50),
        "stopP99Ms": percentile(&mut took, 99),
        "forkers": FORKERS,
        // Of those that fork and leave as fast as they can a look sees some.
        "forkersSeen": forked,
        "forkersGoneMs": forkers.round(),
        "orphans": orphans,
    }))
}

async fn until_gone(lock: &Path) {
    let begun = Instant::now();
    while alive(lock) > 0 && begun.elapsed() < Duration::from_secs(30) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// How many processes belong to a session: by its lock, which each of them has in its environment.
fn alive(lock: &Path) -> usize {
    let needle = lock.as_os_str().as_encoded_bytes();
    let names = |path: PathBuf| {
        std::fs::read(path).is_ok_and(|it| it.windows(needle.len()).any(|it| it == needle))
    };
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok())
        .filter(|it| *it != std::process::id())
        .filter(|it| {
            let process = PathBuf::from(format!("/proc/{it}"));
            names(process.join("environ")) || names(process.join("cmdline"))
        })
        .count()
}

/// The memory of a hub or a hold of this helper, in KiB: of no other that runs on this machine.
fn rss(helper: &Path, word: &str) -> Option<u64> {
    let all = std::fs::read_dir("/proc").ok()?.flatten();
    let pids = all.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
    let of = |pid: u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let is_it = line.split(|it| *it == 0).nth(1) == Some(word.as_bytes())
            && std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|it| it == helper);
        let status =
            is_it.then(|| std::fs::read_to_string(format!("/proc/{pid}/status")).ok())??;
        let line = status.lines().find(|it| it.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    pids.filter_map(of).max()
}

fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() * percent / 100).min(values.len().saturating_sub(1));
    (values[at] * 10.0).round() / 10.0
}

/// A carrier whose connections can be cut.
#[derive(Debug)]
struct Cuttable {
    inner: ChildCarrier,
    pumps: Mutex<JoinSet<()>>,
    /// The connections over which more came than a greeting.
    heard: watch::Sender<usize>,
}

impl Cuttable {
    /// Whether there was anything to cut.
    fn cut(&self) -> bool {
        let Ok(mut pumps) = self.pumps.lock() else { return false };
        while pumps.try_join_next().is_some() {}
        let is_connected = !pumps.is_empty();
        // The hub goes with its pumps.
        pumps.abort_all();
        is_connected
    }
}

/// Passes on what a hub says, and tells when that is more than its greeting.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    heard: watch::Sender<usize>,
) -> std::io::Result<()> {
    loop {
        let byte = from.read_u8().await?;
        to.write_u8(byte).await?;
        if byte == b'\n' {
            break;
        }
    }
    let first = from.read_u8().await?;
    heard.send_modify(|it| *it += 1);
    to.write_u8(first).await?;
    copy(&mut from, &mut to).await.map(drop)
}

impl Carrier for Cuttable {
    fn connect(&self) -> CarrierFuture<'_> {
        Box::pin(async move {
            let Connection { mut to, from, guard } = self.inner.connect().await?;
            let (ours, theirs) = duplex(1024);
            let (mut read, write) = split(ours);
            let heard = self.heard.clone();
            let mut pumps = self.pumps.lock().map_err(|err| err.to_string())?;
            pumps.spawn(async move {
                let _guard = guard;
                tokio::select! {
                    _ = copy(&mut read, &mut to) => {}
                    _ = pass(from, write, heard) => {}
                }
            });
            let (from, to) = split(theirs);
            Ok(Connection { to: Box::new(to), from: Box::new(from), guard: Box::new(()) })
        })
    }
}
