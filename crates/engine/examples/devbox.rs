//! What a devbox costs: this machine, over a private sshd, with the demo engine as its Claude.
//!
//! `cargo build --release -p tinyclaw-engine --bins && cargo run --release -p tinyclaw-engine --example devbox [CUTS [STOPS]]`
//! prints one JSON object, and ends with 1 where a goal is missed, which it names. The helper is the one that devboxes are given
//! when it lies beside the programs: `install -m 755 "$(scripts/helper.sh)" target/release/tinyclaw-helper`.
#![expect(clippy::print_stdout, reason = "an example that measures prints what it measured")]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tinyclaw_devbox::{HostKey, Route, Trouble};
use tinyclaw_domain::{DevboxName, Effort, Model, PermissionMode, Place, ThreadId, Trust};
use tinyclaw_engine::link::Lease;
use tinyclaw_engine::{
    Content, Desk, DevboxLauncher, DevboxWay, Devboxes, Engine, EngineConfig, Landlock, Launcher,
    SessionSpec, Turn, TurnEnd, TurnEvent, TurnOutcome, TurnRequest, find_helper, find_sibling,
};
use tinyclaw_testkit::sshd::Sshd;
use tinyclaw_testkit::state;
use uuid::Uuid;

type Error = Box<dyn std::error::Error>;

const CONNECTS: usize = 5;
const LONG: usize = 400_000;
/// Turns whose time is taken, here and there.
const TURNS: usize = 200;
/// Fuzzed prompts: so many a turn, and so many turns.
const FUZZED: (usize, usize) = (1_000, 100);
/// Connections that do nothing.
const IDLE: usize = 50;
/// What is carried there and back to see how fast that is.
const CARRIED: usize = 32 * 1024 * 1024;

#[tokio::main]
async fn main() -> Result<ExitCode, Error> {
    let mut args = std::env::args().skip(1);
    let mut number = |usual: usize| args.next().map_or(Ok(usual), |it| it.parse());
    let (cuts, stops) = (number(100)?, number(20)?);
    let place = state::Place::new()?;
    let Some(sshd) = Sshd::start("the measurement", &place.home()) else {
        return Err("there is no sshd here".into());
    };
    let devbox = Arc::new(Machine::new(&place, sshd)?);
    let leash = find_helper().ok_or("no tinyclaw-leash beside this program")?;
    let helper_bytes = std::fs::metadata(&leash)?.len();

    step("the first word");
    // From `/devbox add` to the first word: the key, the helper, Claude.
    let begun = Instant::now();
    let route = devbox.route.clone();
    let key = HostKey::learn(&route).await?;
    tinyclaw_disk::write_new(&route.known_hosts, key.known_hosts(&route.name).as_bytes())
        .map_err(|err| err.to_string())?;
    let there = Arc::new(launcher(&place, &devbox, &leash, LEASE));
    let engine = Engine::reaching(config(&place, &leash), false, Some(there.clone()), None);
    let spec = spec(&place)?;
    let mut turn = ask(&engine, &spec, "[demo: say ready]");
    until_text(&mut turn).await?;
    let add_to_first_word = begun.elapsed();
    end(turn).await?;

    step("connections");
    // A connection of its own, with the helper there.
    let mut cold = Vec::new();
    let desk =
        Desk { thread: spec.thread.clone(), place: spec.place.clone(), dir: spec.cwd.clone() };
    for _ in 0..CONNECTS {
        let fresh = launcher(&place, &devbox, &leash, LEASE);
        let begun = Instant::now();
        fresh.look().real_dir(&desk).await?;
        cold.push(begun.elapsed());
    }

    step("turns, there and here");
    // What the way there and back adds to a turn of a Claude that is there already.
    let here = Engine::new(EngineConfig {
        program: find_sibling("tinyclaw-demo-engine").ok_or("no demo engine")?,
        ..config(&place, &leash)
    });
    let beside = SessionSpec { thread: ThreadId::topic(8), place: Place::Here, ..another(&spec)? };
    let (mut of_there, mut of_here) = (Vec::new(), Vec::new());
    for (engine, spec, times) in [(&engine, &spec, &mut of_there), (&here, &beside, &mut of_here)] {
        end(ask(engine, spec, "[demo: say ready]")).await?;
        for _ in 0..TURNS {
            let mut turn = ask(engine, spec, "[demo: say x]");
            let begun = Instant::now();
            until_text(&mut turn).await?;
            times.push(begun.elapsed());
            end(turn).await?;
        }
    }
    here.close().await;
    let overhead = |percent, there: &mut [Duration], here: &mut [Duration]| {
        percentile(there, percent).saturating_sub(percentile(here, percent)).as_micros()
    };
    let overhead_p50 = overhead(50, &mut of_there, &mut of_here);
    let overhead_p99 = overhead(99, &mut of_there, &mut of_here);

    step("fuzzed prompts");
    // What is asked is what is heard.
    let (a_turn, turns) = FUZZED;
    let mut changed = 0;
    for seed in 0..turns {
        let prompts: Vec<String> = (0..a_turn).map(|it| fuzz(seed * a_turn + it)).collect();
        let text = prompts.join("\u{1}");
        let before = devbox.heard().len();
        end(ask(&engine, &spec, &format!("{text}[demo: say x]"))).await?;
        let heard = devbox.heard().into_iter().nth(before).unwrap_or_default();
        let heard = heard.strip_suffix("[demo: say x]").unwrap_or_default();
        let heard: Vec<&str> = heard.split('\u{1}').collect();
        changed += match heard.len() == prompts.len() {
            true => prompts.iter().zip(heard).filter(|(said, heard)| said != heard).count(),
            false => prompts.len(),
        };
    }

    step("a file, there and back");
    // There and back.
    let carried = place.path("carried");
    tinyclaw_disk::write_new(&carried, &vec![7; CARRIED]).map_err(|err| err.to_string())?;
    let folder = carried.parent().ok_or("no folder")?.to_owned();
    let begun = Instant::now();
    let brought = there.look().put(&desk, &folder, std::path::Path::new("carried")).await?;
    let to = mb_per_s(begun.elapsed());
    let own = Desk { dir: brought.parent().ok_or("no folder")?.to_owned(), ..desk.clone() };
    let begun = Instant::now();
    let bytes = there.look().get(&own, std::path::Path::new("carried"), CARRIED as u64).await?;
    let back_again = mb_per_s(begun.elapsed());
    if bytes.len() != CARRIED {
        return Err("a file came back in part".into());
    }

    step("cuts");
    // Cut in a turn, and what comes of it.
    let whole = end(ask(&engine, &spec, &format!("[demo: long {LONG}]"))).await?.text;
    let dials = devbox.sshd.accepted();
    let seconds = cuts.max(4);
    let before = devbox.heard().len();
    let mut turn = ask(&engine, &spec, &format!("[demo: long {LONG}] [demo: slow {seconds}s]"));
    let (mut made, mut ended, mut back) = (0, None, Vec::new());
    let mut cut_at = None::<Instant>;
    let mut clock = tokio::time::interval(Duration::from_millis(500));
    while ended.is_none() {
        tokio::select! {
            event = turn.next() => match event {
                Some(TurnEvent::Ended(it)) => ended = Some(it),
                // What was on its way may still come after the cut; the link says when it is lost and back.
                Some(TurnEvent::LinkBack) => back.extend(cut_at.take().map(|it| it.elapsed())),
                Some(_) => {}
                None => return Err("the turn has no end".into()),
            },
            // The next one when this one is mended.
            _ = clock.tick(), if made < cuts && cut_at.is_none_or(|it| it.elapsed() > MENDED) => {
                devbox.sshd.cut();
                made += 1;
                cut_at = Some(Instant::now());
            }
        }
    }
    let text = ended.map(|it| it.text).unwrap_or_default();
    let redials = devbox.sshd.accepted() - dials;
    let executions = devbox.heard().len() - before;

    step("silence");
    // A machine that falls silent without a word.
    let mut turn = ask(&engine, &spec, "[demo: tool] [demo: hang]");
    until(&mut turn, is_at_work).await?;
    devbox.sshd.stall(true);
    let begun = Instant::now();
    let is_lost = |it: &TurnEvent| matches!(it, TurnEvent::LinkLost { .. });
    let noticed = tokio::time::timeout(UNNOTICED, until(&mut turn, is_lost)).await;
    let noticed = noticed.ok().transpose()?.map(|()| begun.elapsed());
    devbox.sshd.stall(false);
    turn.control().interrupt();
    end(turn).await?;

    step("stops");
    // Stops.
    let mut stopped = Vec::new();
    for _ in 0..stops {
        let mut turn = ask(&engine, &spec, "[demo: tool] [demo: hang]");
        until(&mut turn, is_at_work).await?;
        let begun = Instant::now();
        turn.control().interrupt();
        if end(turn).await?.outcome != TurnOutcome::Interrupted {
            return Err("a stop was not heard".into());
        }
        stopped.push(begun.elapsed());
    }
    let (hub, hold) = (rss_kb(&place, " hub"), rss_kb(&place, " hold"));
    step("idle connections");
    let idle = idle_links(&place, &devbox, &leash).await?;
    engine.close().await;
    step("an office that is killed");
    let orphans = orphans_after_a_kill(&place, &devbox, &leash)?;
    let measured = json!({
        "addToFirstWordMs": ms(add_to_first_word),
        "coldConnectMs": ms(percentile(&mut cold, 50)),
        "backP50Ms": ms(percentile(&mut back, 50)),
        "backMaxMs": ms(percentile(&mut back, 100)),
        "overheadP50Us": overhead_p50,
        "overheadP99Us": overhead_p99,
        "cuts": made,
        "redials": redials,
        "lost": whole.len().saturating_sub(text.len()),
        "doubled": text.len().saturating_sub(whole.len()),
        "isTheSame": text == whole,
        "executions": executions,
        "stopP99Ms": ms(percentile(&mut stopped, 99)),
        "orphansAfterKill": orphans,
        "noticedSilentS": noticed.map(|it| (it.as_millis() as f64 / 100.0).round() / 10.0),
        "idle50Mb": idle,
        "hubRssKb": hub,
        "holdRssKb": hold,
        "helperBytes": helper_bytes,
        "mbPerS": [to, back_again],
        "fuzzedPrompts": a_turn * turns,
        "changed": changed,
    });
    println!("{measured}");
    let missed = missed(&measured, cuts);
    for it in &missed {
        writeln!(std::io::stderr(), "{it}")?;
    }
    Ok(if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is being measured, for whoever waits.
fn step(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// The goals that were missed, each in a sentence.
fn missed(measured: &Value, cuts: usize) -> Vec<String> {
    // At most this much, and at least.
    let most = [
        ("addToFirstWordMs", 10_000.0),
        ("coldConnectMs", 800.0),
        ("backP50Ms", 600.0),
        ("backMaxMs", 1_500.0),
        ("overheadP50Us", 500.0),
        ("overheadP99Us", 20_000.0),
        ("lost", 0.0),
        ("doubled", 0.0),
        ("executions", 1.0),
        ("stopP99Ms", 500.0),
        ("orphansAfterKill", 0.0),
        ("noticedSilentS", 16.0),
        ("idle50Mb", 100.0),
        ("hubRssKb", 3_000.0),
        ("holdRssKb", 3_000.0),
        ("helperBytes", 2_500_000.0),
        ("changed", 0.0),
    ];
    let least = [("cuts", cuts as f64), ("executions", 1.0), ("hubRssKb", 1.0), ("holdRssKb", 1.0)];
    let mut missed = Vec::new();
    for (name, goal) in most {
        if measured[name].as_f64().is_none_or(|it| it > goal) {
            missed.push(format!("{name} is {}, and {goal} at most was wanted", measured[name]));
        }
    }
    for (name, goal) in least {
        if measured[name].as_f64().is_none_or(|it| it < goal) {
            missed.push(format!("{name} is {}, and {goal} at least was wanted", measured[name]));
        }
    }
    let carried = measured["mbPerS"].as_array().map_or(&[][..], |it| it);
    if carried.len() != 2 || carried.iter().any(|it| it.as_f64().is_none_or(|it| it < 20.0)) {
        missed.push(format!("mbPerS is {}, and 20 each way was wanted", measured["mbPerS"]));
    }
    if measured["isTheSame"] != true {
        missed.push("the answer over the cuts is not the one without".to_owned());
    }
    missed
}

/// A cut is mended by then; one that nobody noticed is not waited for.
const MENDED: Duration = Duration::from_secs(10);
/// Silence that is not noticed by then is told as that.
const UNNOTICED: Duration = Duration::from_secs(40);
const LEASE: Lease = Lease { close: Duration::from_secs(60), end: Duration::from_secs(5) };

fn config(place: &state::Place, leash: &std::path::Path) -> EngineConfig {
    let mut config = EngineConfig::new("/nowhere", leash, place.state(), place.home());
    // Whoever measures wants to hear of a lost link at once.
    config.times.lost = Duration::ZERO;
    config.warm_max = IDLE;
    config
}

/// What the connections of so many devboxes take, in MB: their ssh, and what this process grew by.
async fn idle_links(
    place: &state::Place,
    devbox: &Arc<Machine>,
    leash: &std::path::Path,
) -> Result<f64, Error> {
    let there = Arc::new(launcher(place, devbox, leash, LEASE));
    let engine = Engine::reaching(config(place, leash), false, Some(there), None);
    let before = pss_kb(std::process::id());
    let known = of_ssh();
    for number in 0..IDLE {
        let cwd = place.path(&format!("idle-{number}"));
        std::fs::create_dir_all(&cwd)?;
        let thread = ThreadId::topic(1_000 + u32::try_from(number)?);
        let at = Place::Devbox(format!("box{number}").parse()?);
        let spec = SessionSpec { thread, place: at, cwd, ..another(&spec(place)?)? };
        tinyclaw_disk::replace(
            &devbox.route.known_hosts,
            devbox.known_hosts(IDLE)?.as_bytes(),
            tinyclaw_disk::Flush::None,
        )
        .map_err(|err| err.to_string())?;
        end(ask(&engine, &spec, "[demo: say x]")).await?;
    }
    // The connections of looks are let go of after a while.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let ssh: u64 = of_ssh().into_iter().filter(|it| !known.contains(it)).map(pss_kb).sum();
    let grown = pss_kb(std::process::id()).saturating_sub(before);
    engine.close().await;
    Ok(((ssh + grown) as f64 / 102.4).round() / 10.0)
}

/// An office is killed in a turn, and nobody comes: what of it is there after its lease.
fn orphans_after_a_kill(
    place: &state::Place,
    devbox: &Arc<Machine>,
    leash: &std::path::Path,
) -> Result<usize, Error> {
    let lease = Lease { close: Duration::from_secs(1), end: Duration::from_secs(1) };
    // A process of its own, as far as its tasks are one.
    let (place_of, devbox, leash) = (place.work().join("orphan"), devbox.clone(), leash.to_owned());
    std::fs::create_dir_all(&place_of)?;
    let (state, home, known) = (place.state(), place.home(), place.path("orphan-runs.json"));
    let spec =
        SessionSpec { thread: ThreadId::topic(99), cwd: place_of, ..another(&spec(place)?)? };
    let killed = std::thread::spawn(move || -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|err| err.to_string())?;
        let made = runtime.block_on(async {
            let there = DevboxLauncher::new(devbox, leash.clone(), Landlock::Auto, lease, known);
            let config = EngineConfig::new("/nowhere", &leash, state, home);
            let engine = Engine::reaching(config, false, Some(Arc::new(there)), None);
            let mut turn = ask(&engine, &spec, "[demo: spawn 600s] [demo: hang]");
            until(&mut turn, is_at_work).await.map_err(|err| err.to_string())?;
            Ok::<_, String>((engine, turn))
        })?;
        // No task says anything any more, and only then is let go of what they followed.
        drop(runtime);
        drop(made);
        Ok(())
    });
    killed.join().map_err(|_| "the office that was to be killed died by itself")??;
    std::thread::sleep(lease.close + lease.end + Duration::from_secs(8));
    let dir = place.work().join("orphan").display().to_string();
    let all = std::fs::read_dir("/proc")?.flatten().map(|it| it.path());
    let is_of_it =
        |it: &PathBuf| std::fs::read_link(it.join("cwd")).is_ok_and(|it| it.starts_with(&dir));
    Ok(all.filter(is_of_it).count())
}

/// The same session for somebody else.
fn another(spec: &SessionSpec) -> Result<SessionSpec, Error> {
    Ok(SessionSpec { id: Uuid::new_v4().to_string().parse()?, ..spec.clone() })
}

/// A prompt of anything but what the demo engine takes for an order, and the letter that keeps two of them apart.
fn fuzz(seed: usize) -> String {
    const ODD: [&str; 16] = [
        "'",
        "\"",
        "\\",
        "`id`",
        "$(id)",
        "\n",
        "\r\n",
        "\t",
        "\u{0}",
        "\u{7f}",
        "\u{202e}",
        "ü",
        "🦀",
        "; rm -rf ~",
        "\u{1b}[31m",
        "%s",
    ];
    let mut state = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let mut text = format!("{seed}:");
    for _ in 0..next() % 24 {
        match next() % 3 {
            0 => text.push_str(ODD[next() % ODD.len()]),
            1 => text.extend(char::from_u32(32 + (next() % 90) as u32)),
            _ => text.extend(char::from_u32(0xa0 + (next() % 0x2000) as u32)),
        }
    }
    text.replace(['[', ']'], "(")
}

fn mb_per_s(time: Duration) -> f64 {
    (CARRIED as f64 / 1_048_576.0 / time.as_secs_f64() * 10.0).round() / 10.0
}

/// The ssh that this process has started.
fn of_ssh() -> Vec<u32> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = all.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
    let is_ours = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let parent = format!("PPid:\t{}\n", std::process::id());
        status.starts_with("Name:\tssh\n") && status.contains(&parent)
    };
    pids.filter(is_ours).collect()
}

fn pss_kb(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|it| it.strip_prefix("Pss:"));
    line.and_then(|it| it.trim().trim_end_matches("kB").trim().parse().ok()).unwrap_or(0)
}

/// The one devbox.
#[derive(Debug)]
struct Machine {
    sshd: Sshd,
    route: Route,
    record: PathBuf,
    failed: Mutex<Vec<String>>,
}

impl Machine {
    fn new(place: &state::Place, sshd: Sshd) -> Result<Machine, Error> {
        let home = place.home();
        std::fs::create_dir_all(home.join(".local/bin"))?;
        let claude =
            find_sibling("tinyclaw-demo-engine").ok_or("no demo engine beside this program")?;
        std::os::unix::fs::symlink(claude, home.join(".local/bin/claude"))?;
        let record = place.work().join("record.jsonl");
        let profile = format!(
            "PATH=\"$HOME/.local/bin:$PATH\"\nexport TINYCLAW_DEMO_RECORD='{}'\n",
            record.display()
        );
        tinyclaw_disk::write_new(&home.join(".profile"), profile.as_bytes())
            .map_err(|err| err.to_string())?;
        let route = Route {
            name: "box".parse()?,
            host: format!("127.0.0.1:{}", sshd.port()).parse()?,
            user: sshd.user().parse()?,
            key: sshd.key(),
            config: None,
            known_hosts: place.path("known_hosts"),
            cert_command: None,
        };
        Ok(Machine { sshd, route, record, failed: Mutex::default() })
    }

    /// What Claude was asked there, in order.
    fn heard(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.record).unwrap_or_default();
        let line = |it: &str| -> Option<String> {
            let line: serde_json::Value = serde_json::from_str(it).ok()?;
            Some(line["text"].as_str()?.to_owned())
        };
        text.lines().filter_map(line).collect()
    }

    /// Its key under the names of many devboxes.
    fn known_hosts(&self, many: usize) -> Result<String, Error> {
        let key: HostKey = self.sshd.host_key().parse()?;
        let mut lines = key.known_hosts(&self.route.name);
        for number in 0..many {
            lines.push_str(&key.known_hosts(&format!("box{number}").parse()?));
        }
        Ok(lines)
    }
}

impl Devboxes for Machine {
    fn way(&self, name: &DevboxName) -> Result<DevboxWay, Trouble> {
        let route = Route { name: name.clone(), ..self.route.clone() };
        Ok(DevboxWay::Ssh(Box::new(route)))
    }

    fn of_thread(&self, _: &ThreadId) -> Option<DevboxName> {
        Some(self.route.name.clone())
    }

    fn note_dial(&self, _: &DevboxName, dialled: Result<(), &Trouble>) {
        if let (Err(trouble), Ok(mut failed)) = (dialled, self.failed.lock()) {
            failed.push(trouble.text.clone());
        }
    }
}

fn launcher(
    place: &state::Place,
    devbox: &Arc<Machine>,
    leash: &std::path::Path,
    lease: Lease,
) -> DevboxLauncher {
    let known = place.path("known-runs.json");
    DevboxLauncher::new(devbox.clone(), leash.to_owned(), Landlock::Auto, lease, known)
}

fn spec(place: &state::Place) -> Result<SessionSpec, Error> {
    Ok(SessionSpec {
        thread: ThreadId::topic(7),
        id: Uuid::new_v4().to_string().parse()?,
        place: Place::Devbox("box".parse()?),
        cwd: place.work(),
        permission_mode: PermissionMode::Ask,
        system_prompt: String::new(),
        tools: Arc::new([]),
        servers: Arc::default(),
        model: Model::SONNET,
        effort: Effort::High,
        trust: Trust::Text,
        skills: None,
        is_attended: true,
    })
}

fn ask(engine: &Engine, spec: &SessionSpec, text: &str) -> Turn {
    let uuid = Uuid::new_v4().to_string();
    let key = tinyclaw_domain::Key::hashed("m", &uuid);
    let content = vec![Content::Text(text.to_owned())];
    engine.turn(TurnRequest { session: spec.clone(), key, uuid, content })
}

async fn until_text(turn: &mut Turn) -> Result<(), Error> {
    until(turn, |it| matches!(it, TurnEvent::TextDelta(_) | TurnEvent::TextDone(_))).await
}

/// A tool was run: what comes next is that Claude says nothing and waits.
fn is_at_work(event: &TurnEvent) -> bool {
    matches!(event, TurnEvent::ToolFinished { .. })
}

async fn until(turn: &mut Turn, is_it: impl Fn(&TurnEvent) -> bool) -> Result<(), Error> {
    loop {
        match turn.next().await {
            Some(event) if is_it(&event) => return Ok(()),
            Some(TurnEvent::Ended(end)) => {
                return Err(format!("it ended: {:?}", end.outcome).into());
            }
            Some(_) => {}
            None => return Err("the turn has no end".into()),
        }
    }
}

async fn end(turn: Turn) -> Result<TurnEnd, Error> {
    turn.end().await.ok_or_else(|| "the turn has no end".into())
}

/// What the helper's process with this word takes, the largest of them.
fn rss_kb(place: &state::Place, word: &str) -> u64 {
    let helper: PathBuf = place.home().join(".local/share/tinyclaw/bin");
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|it| it.path());
    let of_it = all.filter(|it| {
        let exe = std::fs::read_link(it.join("exe")).unwrap_or_default();
        let line = std::fs::read(it.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        exe.starts_with(&helper) && format!(" {line}").contains(&format!("{word} "))
    });
    let rss = of_it.filter_map(|it| {
        let status = std::fs::read_to_string(format!("{}/status", it.display())).ok()?;
        let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?.trim().to_owned();
        line.trim_end_matches("kB").trim().parse::<u64>().ok()
    });
    rss.max().unwrap_or(0)
}

fn percentile(all: &mut [Duration], percent: usize) -> Duration {
    all.sort();
    let at = (all.len() * percent / 100).min(all.len().saturating_sub(1));
    all.get(at).copied().unwrap_or_default()
}

fn ms(time: Duration) -> u128 {
    time.as_millis()
}
