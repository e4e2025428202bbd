//! Power cuts of the whole office, on real file systems: `power ROUNDS [SEED] [ext4,xfs,btrfs]`, as root, on a machine with
//! FUSE and loop devices.
//!
//! Each round runs telegram, processor and demo engine on a file system that lies on a disk with a volatile cache
//! ([`volatile`]). At a random moment the disk answers nobody any more. What the kernel had not written is lost, and of what
//! it had written and not flushed chance keeps some, later writes without earlier ones and parts of sectors' rows too. Then the
//! office goes on from there as after a boot: what Telegram was told and shown is held against what is on the disk,
//! everything is answered, and the answers are counted.
//!
//! The file systems take turns; one that cannot be made here is named and left out.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it reports to whoever runs it")]
#![expect(clippy::disallowed_methods, reason = "it starts programs and lays files down")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tinyclaw_e2e::{processes_of, program, signal};
use tinyclaw_queue::View;
use tinyclaw_testkit::telegram::{ADA, FORUM, FakeTelegram, Limits, Options, TOKEN};
use tokio::runtime::Runtime;

use crate::served::Served;
use crate::volatile::{Counts, Volatile};

mod served;
mod volatile;

const SERVICES: [&str; 2] = ["tinyclaw-processor", "tinyclaw-telegram"];
/// Within the budget of a group's minute.
const MESSAGES: u64 = 8;
/// A loaded machine is slow, and a broken product never answers.
const PATIENCE: Duration = Duration::from_secs(90);
/// What is written without a flush, and by design may end in the middle after a cut.
const MAY_BE_TORN: &[&str] = &[
    "message-history.",
    "routing-log.",
    "routing-outcomes.",
    "logs/",
    "memory/conversations/",
    "progress/",
    "health/",
    "status/",
    "home/",
    // Touches are not flushed; its copy is.
    "threads.json",
];
/// A library that the services are started with: one whose `fsync` and `fdatasync` do nothing shows that this finds what it
/// looks for.
const SABOTAGE: &str = "TINYCLAW_POWER_PRELOAD";
/// The first update of a fresh fake.
const FIRST_UPDATE: u64 = 812_345_001;

/// Numbers that look random and come again with the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

fn main() -> ExitCode {
    // Nobody else sees the mounts of the rounds: whoever copied them for itself would keep a disk busy for as long as it lives.
    let private = unshare(CloneFlags::CLONE_NEWNS).and_then(|()| {
        let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
    });
    if let Err(err) = private {
        eprintln!("cannot have mounts of its own, which takes root: {err}");
        return ExitCode::FAILURE;
    }
    let mut args = std::env::args().skip(1).filter_map(|it| it.parse::<u64>().ok());
    let rounds = args.next().unwrap_or(20);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("time");
    let seed = args.next().unwrap_or(now.as_secs()).max(1);
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let wanted = std::env::args().skip(1).find(|it| it.parse::<u64>().is_err());
    let on: Vec<FileSystem> = FileSystem::ALL
        .into_iter()
        .filter(|it| wanted.as_ref().is_none_or(|wanted| wanted.split(',').any(|w| w == it.name())))
        .filter(FileSystem::can_be_had)
        .collect();
    if on.is_empty() {
        eprintln!("no file system is left to try");
        return ExitCode::FAILURE;
    }
    let mut sums = vec![Sum::default(); on.len()];
    let mut wrong = Vec::new();
    for round in 1..=rounds {
        let at = (round % on.len() as u64) as usize;
        let (kind, sum) = (on[at], &mut sums[at]);
        let mut it = Round::open(kind);
        it.run(&mut dice);
        let cut = it.cut(&mut dice);
        it.check(&cut);
        it.go_on();
        sum.add(&it, &cut);
        for what in it.wrong.drain(..) {
            let what = format!("round {round} on {}: {what}", kind.name());
            eprintln!("{what}");
            wrong.push(what);
        }
        if round % 10 == 0 {
            eprintln!("{round} of {rounds} rounds, {} wrong", wrong.len());
        }
    }
    let sums: serde_json::Map<String, Value> =
        on.iter().zip(&sums).map(|(it, sum)| (it.name().to_owned(), sum.json())).collect();
    println!("{}", json!({ "rounds": rounds, "seed": seed, "on": sums, "wrong": wrong }));
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What was said, told and kept in all rounds on one file system.
#[derive(Debug, Default, Clone, Copy)]
struct Sum {
    rounds: u64,
    said: u64,
    confirmed: u64,
    shown: u64,
    marked: u64,
    disk: Counts,
}

impl Sum {
    fn add(&mut self, round: &Round, cut: &Cut) {
        self.rounds += 1;
        self.said += round.said;
        self.confirmed += cut.confirmed;
        self.shown += cut.shown;
        self.marked += round.marked;
        self.disk.add(&cut.disk);
    }

    fn json(&self) -> Value {
        let Counts { writes, flushes, unflushed, dropped, torn, overtaking } = self.disk;
        json!({
            "rounds": self.rounds, "said": self.said, "confirmedBeforeTheCut": self.confirmed,
            "answeredBeforeTheCut": self.shown, "markedAsSentAgain": self.marked,
            "disk": {
                "writes": writes, "flushes": flushes, "unflushedAtTheCut": unflushed, "dropped": dropped,
                "torn": torn, "keptWithoutAnEarlierOne": overtaking,
            },
        })
    }
}

/// A file system that a state folder may lie on.
#[derive(Debug, Clone, Copy)]
enum FileSystem {
    Ext4,
    Xfs,
    Btrfs,
}

impl FileSystem {
    const ALL: [FileSystem; 3] = [FileSystem::Ext4, FileSystem::Xfs, FileSystem::Btrfs];

    fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "xfs",
            FileSystem::Btrfs => "btrfs",
        }
    }

    /// Room for the queue's reserve and a day of this size, and no less than the file system's own tool asks for.
    fn bytes(self) -> u64 {
        match self {
            FileSystem::Ext4 => 96 << 20,
            FileSystem::Xfs => 320 << 20,
            FileSystem::Btrfs => 256 << 20,
        }
    }

    /// About how many writes and flushes the messages of a round cost.
    fn steps_max(self) -> u64 {
        match self {
            FileSystem::Ext4 => 420,
            FileSystem::Xfs => 300,
            FileSystem::Btrfs => 800,
        }
    }

    fn can_be_had(&self) -> bool {
        let name = self.name();
        let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let is_known = known.lines().any(|it| it.trim() == name);
        let tool = format!("mkfs.{name}");
        let has_tool = Command::new(&tool).arg("-V").output().is_ok();
        if !is_known || !has_tool {
            let lacks = if is_known { tool.as_str() } else { "the kernel's part" };
            eprintln!("skipped: {name}: {lacks} is missing");
        }
        is_known && has_tool
    }

    fn make(self, image: &Path) {
        let force = if let FileSystem::Ext4 = self { "-F" } else { "-f" };
        let tool = format!("mkfs.{}", self.name());
        run(&tool, &["-q", force, &image.display().to_string()]);
    }

    /// What helps nobody who forgets a flush.
    fn options(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "loop,noauto_da_alloc",
            FileSystem::Xfs | FileSystem::Btrfs => "loop",
        }
    }
}

/// What the outside had been told when the power went.
struct Cut {
    /// So many updates, from the first on, were confirmed to Telegram.
    confirmed: u64,
    /// So many answers were shown.
    shown: u64,
    /// What became of the disk.
    disk: Counts,
}

struct Round {
    dir: tempfile::TempDir,
    kind: FileSystem,
    disk: Option<Served>,
    fake: FakeTelegram,
    runtime: Runtime,
    services: Vec<Child>,
    said: u64,
    /// So many answers were shown when the power went.
    shown: u64,
    marked: u64,
    /// What lay in the state folder then.
    left: Vec<String>,
    wrong: Vec<String>,
}

#[track_caller]
fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().expect("the program runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {told}");
}

impl Round {
    fn open(kind: FileSystem) -> Round {
        let shared = Path::new("/dev/shm");
        let dir = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
        let dir = dir.expect("folder");
        let runtime = Runtime::new().expect("runtime");
        let options = Options { limits: Limits::none(), ..Options::default() };
        let fake = runtime.block_on(FakeTelegram::start_with(options)).expect("fake");
        let mut round = Round {
            dir,
            kind,
            disk: None,
            fake,
            runtime,
            services: Vec::new(),
            said: 0,
            shown: 0,
            marked: 0,
            left: Vec::new(),
            wrong: Vec::new(),
        };
        File::create(round.sure()).and_then(|it| it.set_len(kind.bytes())).expect("image");
        File::create(round.image()).expect("file");
        fs::create_dir(round.mounted()).expect("folder");
        kind.make(&round.sure());
        round.mount();
        for name in ["state", "home", "work"] {
            fs::create_dir(round.mounted().join(name)).expect("folder");
        }
        // What was there before counts from here on.
        run("sync", &["--file-system", &round.mounted().display().to_string()]);
        round
    }

    /// The file that holds what is sure.
    fn sure(&self) -> PathBuf {
        self.dir.path().join("sure")
    }

    /// The disk, as the loop device sees it.
    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn mounted(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    fn state(&self) -> PathBuf {
        self.mounted().join("state")
    }

    fn mount(&mut self) {
        let sure = File::options().read(true).write(true).open(self.sure()).expect("image");
        let disk = Volatile::new(sure).expect("disk");
        self.disk = Some(Served::start(disk, &self.image()).expect("a disk of our own"));
        let (image, at) =
            (self.image().display().to_string(), self.mounted().display().to_string());
        run("mount", &["-t", self.kind.name(), "-o", self.kind.options(), &image, &at]);
    }

    fn unmount(&mut self) -> Volatile {
        let at = self.mounted();
        let until = Instant::now() + PATIENCE;
        while let Err(err) = umount2(&at, MntFlags::empty()) {
            assert!(Instant::now() < until, "{} cannot be unmounted: {err}", at.display());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.disk.take().expect("a disk").end().expect("nothing lies on the disk any more")
    }

    fn start(&mut self) {
        for name in SERVICES {
            let path = self.dir.path().join(format!("{name}.out"));
            // That of the time before the cut is kept.
            let _ = fs::rename(&path, path.with_extension("before.out"));
            let log = File::create(&path).expect("log");
            let mut command = Command::new(program(name));
            command.env_clear().env("TINYCLAW_DIR", self.state());
            command.env("PATH", std::env::var("PATH").unwrap_or_default());
            if name == "tinyclaw-processor" {
                command.env("HOME", self.mounted().join("home"));
                command.env("WORKSPACE_ROOT", self.mounted().join("work"));
                command.env("TINYCLAW_ENGINE_KIND", "demo");
            } else {
                command.env("TELEGRAM_API_URL", self.fake.url()).env("TELEGRAM_BOT_TOKEN", TOKEN);
                command.env("TELEGRAM_CHAT_ID", FORUM.to_string());
                command.env("TELEGRAM_ALLOWED_USERS", ADA.to_string());
                command.env("TINYCLAW_TELEGRAM_BURST_MS", "0");
            }
            if let Ok(library) = std::env::var(SABOTAGE) {
                command.env("LD_PRELOAD", library);
            }
            command.current_dir(self.dir.path()).stdin(Stdio::null());
            command.stdout(log.try_clone().expect("log")).stderr(log);
            self.services.push(command.spawn().expect("it starts"));
        }
    }

    fn say(&mut self) {
        self.said += 1;
        let text = format!("[demo: say answer {}.] Well?", self.said);
        self.fake.say(FORUM, None, ADA, &text);
    }

    /// A part of a day, up to the moment of the cut.
    fn run(&mut self, dice: &mut Dice) {
        self.start();
        let length = 300 + dice.below(4_000);
        let end = Instant::now() + Duration::from_millis(length);
        let disk = self.disk.as_ref().expect("a disk");
        // A disk that is idle when the power goes has nothing to lose, so most cuts come in the middle of work.
        if dice.below(4) > 0 {
            disk.freeze_after(1 + dice.below(self.kind.steps_max()));
        }
        let mut next = Instant::now();
        while Instant::now() < end && !self.disk.as_ref().is_some_and(Served::is_frozen) {
            if self.said < MESSAGES && Instant::now() >= next {
                self.say();
                next = Instant::now() + Duration::from_millis(dice.below(2 * length / MESSAGES));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The power goes: the disk answers nobody any more, and everybody stands still.
    fn cut(&mut self, dice: &mut Dice) -> Cut {
        self.disk.as_ref().expect("a disk").freeze();
        let pids = || -> Vec<Pid> {
            let all = processes_of(self.dir.path());
            let numbers = all.iter().filter_map(|it| it.split(':').next()?.parse().ok());
            numbers.map(Pid::from_raw).collect()
        };
        // Whoever was being started when we looked is seen by the next look.
        for _ in 0..2 {
            for pid in pids() {
                let _ = kill(pid, Signal::SIGSTOP);
            }
        }
        let confirmed = self.said - self.fake.unconfirmed() as u64;
        let shown = self.answers().len() as u64;
        for pid in pids() {
            let _ = kill(pid, Signal::SIGKILL);
        }
        self.disk.as_ref().expect("a disk").thaw();
        for mut child in self.services.drain(..) {
            let _ = child.wait();
        }
        let disk = self.unmount().settle(dice).expect("the image is written");
        self.mount();
        // The queue settles once a boot, and this is one.
        let _ = fs::remove_file(self.state().join("queue/BOOT"));
        self.shown = shown;
        let mut command = Command::new("find");
        let found = command.arg(self.state()).args(["-type", "f", "-printf", "%P %s\n"]).output();
        let found = String::from_utf8_lossy(&found.expect("find runs").stdout).into_owned();
        self.left = found.lines().map(str::to_owned).collect();
        self.left.sort();
        Cut { confirmed, shown, disk }
    }

    /// The answers that stand in the forum, by number, in their order; with what is marked taken out and counted.
    fn answers(&self) -> Vec<u64> {
        let texts = self.fake.texts(FORUM);
        let plain = texts.iter().filter(|it| !it.contains("(may stand here twice)"));
        let number = |text: &String| text.split("answer ").nth(1)?.split('.').next()?.parse().ok();
        plain.filter_map(number).collect()
    }

    fn check(&mut self, cut: &Cut) {
        let output = Command::new(program("tinyclaw"))
            .args(["doctor", "--deep", "--json"])
            .env_clear()
            .env("TINYCLAW_DIR", self.state())
            .output()
            .expect("tinyclaw runs");
        let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        for it in found["wrong"].as_array().into_iter().flatten() {
            let path = it["path"].as_str().unwrap_or_default();
            let is_allowed = MAY_BE_TORN.iter().any(|may| path.starts_with(may))
                && path != "threads.json.last"
                || path.ends_with(".tmp");
            if !is_allowed {
                self.wrong.push(format!("after the cut: {it}"));
            }
        }
        let view = View::new(&self.state());
        for id in FIRST_UPDATE..FIRST_UPDATE + cut.confirmed {
            let updates = self.state().join("updates");
            let is_kept =
                ["json", "done"].iter().any(|it| updates.join(format!("{id}.{it}")).exists());
            let key = format!("tg-{id}").parse().expect("key");
            if !is_kept && !view.find(&key).is_ok_and(|it| it.is_some()) {
                self.wrong.push(format!("update {id} was confirmed and is gone"));
            }
        }
    }

    /// What a person needs who wants to know why: what was shown, what lay on the disk after the cut, what the services said.
    fn story(&self, texts: &[String]) -> String {
        let log = |it| fs::read_to_string(self.dir.path().join(format!("{it}.out")));
        let logs: Vec<String> = SERVICES
            .iter()
            .flat_map(|it| [log(format!("{it}.before")), log((*it).to_owned())])
            .map(Result::unwrap_or_default)
            .collect();
        format!(
            "{} answers stood there before the cut, of {texts:#?}\nafter it: {:#?}\n{}",
            self.shown,
            self.left,
            logs.join("-- \n")
        )
    }

    /// The office after the boot: everything said is answered, once or marked, in its order.
    fn go_on(&mut self) {
        self.start();
        while self.said < MESSAGES {
            self.say();
        }
        let wanted: Vec<u64> = (1..=self.said).collect();
        let all = |it: &FakeTelegram| {
            let texts = it.texts(FORUM);
            wanted
                .iter()
                .all(|n| texts.iter().any(|it| it.contains(&format!("answer {n}."))))
                .then_some(())
        };
        let answered = self.runtime.block_on(self.fake.wait_for(PATIENCE, all));
        let texts = self.fake.texts(FORUM);
        if answered.is_none() {
            self.wrong.push(format!("not all of {} is answered", self.said));
        }
        self.marked =
            texts.iter().filter(|it| it.contains("(may stand here twice)")).count() as u64;
        let answers = self.answers();
        for n in wanted {
            if answers.iter().filter(|it| **it == n).count() > 1 {
                self.wrong.push(format!("answer {n} stands twice unmarked"));
            }
        }
        let mut first: Vec<u64> = Vec::new();
        answers.iter().for_each(|it| {
            if !first.contains(it) {
                first.push(*it);
            }
        });
        if !first.is_sorted() {
            self.wrong.push(format!("out of order: {answers:?}"));
        }
        if !self.wrong.is_empty() {
            let told = self.story(&texts);
            self.wrong.push(told);
        }
        for child in &self.services {
            signal(child.id(), "TERM");
        }
        for mut child in self.services.drain(..) {
            let _ = child.wait();
        }
        self.unmount();
    }
}

impl Drop for Round {
    /// Leaves no mount behind, whatever went wrong.
    fn drop(&mut self) {
        for mut child in self.services.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if self.disk.is_some() {
            let _ = umount2(&self.mounted(), MntFlags::MNT_DETACH);
        }
    }
}
