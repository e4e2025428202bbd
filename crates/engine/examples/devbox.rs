//! What a devbox costs: this machine, over a private sshd, with the demo engine as its Claude.
//!
//! `cargo build --release -p tinyclaw-engine --bins && cargo run --release -p tinyclaw-engine --example devbox [CUTS [STOPS]]`
//! prints one JSON object.
#![expect(clippy::print_stdout, reason = "an example that measures prints what it measured")]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tinyclaw_devbox::{HostKey, Route, Trouble};
use tinyclaw_domain::{DevboxName, Effort, Model, PermissionMode, Place, ThreadId, Trust};
use tinyclaw_engine::link::Lease;
use tinyclaw_engine::{
    Content, Desk, DevboxLauncher, DevboxWay, Devboxes, Engine, EngineConfig, Landlock, Launcher,
    SessionSpec, Turn, TurnEnd, TurnEvent, TurnOutcome, TurnRequest, find_sibling,
};
use tinyclaw_testkit::sshd::Sshd;
use tinyclaw_testkit::state;
use uuid::Uuid;

type Error = Box<dyn std::error::Error>;

const CONNECTS: usize = 5;
const LONG: usize = 400_000;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let mut number = |usual: usize| args.next().map_or(Ok(usual), |it| it.parse());
    let (cuts, stops) = (number(100)?, number(20)?);
    let place = state::Place::new()?;
    let Some(sshd) = Sshd::start("the measurement", &place.home()) else {
        return Err("there is no sshd here".into());
    };
    let devbox = Arc::new(Machine::new(&place, sshd)?);
    let leash = find_sibling("tinyclaw-leash").ok_or("no tinyclaw-leash beside this program")?;
    let helper_bytes = std::fs::metadata(&leash)?.len();

    // From `/devbox add` to the first word: the key, the helper, Claude.
    let begun = Instant::now();
    let route = devbox.route.clone();
    let key = HostKey::learn(&route).await?;
    tinyclaw_disk::write_new(&route.known_hosts, key.known_hosts(&route.name).as_bytes())
        .map_err(|err| err.to_string())?;
    let there = Arc::new(launcher(&place, &devbox, &leash));
    let config = EngineConfig::new("/nowhere", &leash, place.state(), place.home());
    let engine = Engine::reaching(config, false, Some(there));
    let spec = spec(&place)?;
    let mut turn = ask(&engine, &spec, "[demo: say ready]");
    until_text(&mut turn).await?;
    let add_to_first_word = begun.elapsed();
    end(turn).await?;

    // A connection of its own, with the helper there.
    let mut cold = Vec::new();
    for _ in 0..CONNECTS {
        let fresh = launcher(&place, &devbox, &leash);
        let desk =
            Desk { thread: spec.thread.clone(), place: spec.place.clone(), dir: spec.cwd.clone() };
        let begun = Instant::now();
        fresh.look().real_dir(&desk).await?;
        cold.push(begun.elapsed());
    }

    // Cut in a turn, and what comes of it.
    let whole = end(ask(&engine, &spec, &format!("[demo: long {LONG}]"))).await?.text;
    let dials = devbox.sshd.accepted();
    let seconds = (cuts / 2).max(4);
    let mut turn = ask(&engine, &spec, &format!("[demo: long {LONG}] [demo: slow {seconds}s]"));
    let (mut made, mut ended, mut back) = (0, None, Vec::new());
    let mut cut_at = None::<Instant>;
    let mut clock = tokio::time::interval(Duration::from_millis(500));
    while ended.is_none() {
        tokio::select! {
            event = turn.next() => match event {
                Some(TurnEvent::Ended(it)) => ended = Some(it),
                Some(_) => back.extend(cut_at.take().map(|it| it.elapsed())),
                None => return Err("the turn has no end".into()),
            },
            _ = clock.tick(), if made < cuts => {
                devbox.sshd.cut();
                made += 1;
                cut_at = Some(Instant::now());
            }
        }
    }
    let text = ended.map(|it| it.text).unwrap_or_default();
    let redials = devbox.sshd.accepted() - dials;

    // Stops.
    let mut stopped = Vec::new();
    for _ in 0..stops {
        let mut turn = ask(&engine, &spec, "[demo: say well] [demo: hang]");
        until_text(&mut turn).await?;
        let begun = Instant::now();
        turn.control().interrupt();
        if end(turn).await?.outcome != TurnOutcome::Interrupted {
            return Err("a stop was not heard".into());
        }
        stopped.push(begun.elapsed());
    }
    let (hub, hold) = (rss_kb(&place, " hub"), rss_kb(&place, " hold"));
    engine.close().await;
    println!(
        "{}",
        json!({
            "addToFirstWordMs": ms(add_to_first_word),
            "coldConnectMs": ms(percentile(&mut cold, 50)),
            "cuts": made,
            "redials": redials,
            "backP50Ms": ms(percentile(&mut back, 50)),
            "backMaxMs": ms(percentile(&mut back, 100)),
            "lost": whole.len().saturating_sub(text.len()),
            "doubled": text.len().saturating_sub(whole.len()),
            "changed": usize::from(text != whole),
            "stopP99Ms": ms(percentile(&mut stopped, 99)),
            "hubRssKb": hub,
            "holdRssKb": hold,
            "helperBytes": helper_bytes,
        })
    );
    Ok(())
}

/// The one devbox.
#[derive(Debug)]
struct Machine {
    sshd: Sshd,
    route: Route,
    failed: Mutex<Vec<String>>,
}

impl Machine {
    fn new(place: &state::Place, sshd: Sshd) -> Result<Machine, Error> {
        let home = place.home();
        std::fs::create_dir_all(home.join(".local/bin"))?;
        let claude =
            find_sibling("tinyclaw-demo-engine").ok_or("no demo engine beside this program")?;
        std::os::unix::fs::symlink(claude, home.join(".local/bin/claude"))?;
        tinyclaw_disk::write_new(&home.join(".profile"), b"PATH=\"$HOME/.local/bin:$PATH\"\n")
            .map_err(|err| err.to_string())?;
        let route = Route {
            name: "box".parse()?,
            host: format!("127.0.0.1:{}", sshd.port()).parse()?,
            user: sshd.user().parse()?,
            key: sshd.key(),
            config: None,
            known_hosts: place.path("known_hosts"),
        };
        Ok(Machine { sshd, route, failed: Mutex::default() })
    }
}

impl Devboxes for Machine {
    fn way(&self, _: &DevboxName) -> Result<DevboxWay, String> {
        Ok(DevboxWay::Ssh(Box::new(self.route.clone())))
    }

    fn of_thread(&self, _: &ThreadId) -> Option<DevboxName> {
        Some(self.route.name.clone())
    }

    fn note_dial(&self, _: &DevboxName, dialled: Result<Duration, &Trouble>) {
        if let (Err(trouble), Ok(mut failed)) = (dialled, self.failed.lock()) {
            failed.push(trouble.text.clone());
        }
    }
}

fn launcher(
    place: &state::Place,
    devbox: &Arc<Machine>,
    leash: &std::path::Path,
) -> DevboxLauncher {
    let lease = Lease { close: Duration::from_secs(60), end: Duration::from_secs(5) };
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
    loop {
        match turn.next().await {
            Some(TurnEvent::TextDelta(_) | TurnEvent::TextDone(_)) => return Ok(()),
            Some(TurnEvent::Ended(end)) => return Err(format!("no word: {:?}", end.outcome).into()),
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
