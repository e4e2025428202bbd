//! Power cuts of the whole office, on a real file system: `power ROUNDS [SEED]`, as root, on a machine with loop devices.
//!
//! Each round runs telegram, processor and demo engine on an ext4 image below a loop device, stops them all at a random moment,
//! takes the image as the device has it then, and goes on from there as after a boot: what the kernel had not written is
//! lost, files of zero bytes and undone renames included (`noauto_da_alloc`: ext4 helps nobody who forgets a flush).
//! Then it holds what Telegram was told and shown against what is on the disk, has everything answered, and counts.
//!
//! It does not reorder or tear what the device had taken: this is a disk that keeps its word, below a kernel that lost its
//! memory.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it reports to whoever runs it")]
#![expect(clippy::disallowed_methods, reason = "it starts programs and lays files down")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use tinyclaw_e2e::{processes_of, program, signal};
use tinyclaw_queue::View;
use tinyclaw_testkit::telegram::{ADA, FORUM, FakeTelegram, Limits, Options, TOKEN};
use tokio::runtime::Runtime;

/// Room for the queue's reserve and a day of this size.
const IMAGE_BYTES: u64 = 96 << 20;
/// Within the budget of a group's minute.
const MESSAGES: u64 = 8;
/// A loaded machine is slow, and a broken product never answers.
const PATIENCE: Duration = Duration::from_secs(90);
/// What is written without a flush, and by design may end in the middle after a cut.
const MAY_BE_TORN: &[&str] = &[
    "message-history.",
    "routing-log.",
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
    let mut args = std::env::args().skip(1).filter_map(|it| it.parse::<u64>().ok());
    let rounds = args.next().unwrap_or(20);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("time");
    let seed = args.next().unwrap_or(now.as_secs()).max(1);
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let (mut wrong, mut said, mut confirmed, mut shown, mut marked) = (Vec::new(), 0, 0, 0, 0);
    for round in 1..=rounds {
        let mut it = Round::open();
        it.run(&mut dice);
        let cut = it.cut();
        it.check(&cut);
        it.go_on();
        said += it.said;
        confirmed += cut.confirmed;
        shown += cut.shown;
        marked += it.marked;
        for what in it.wrong.drain(..) {
            eprintln!("round {round}: {what}");
            wrong.push(format!("round {round}: {what}"));
        }
    }
    println!(
        "{}",
        json!({
            "rounds": rounds, "seed": seed, "said": said, "confirmedBeforeTheCut": confirmed,
            "answeredBeforeTheCut": shown, "markedAsSentAgain": marked, "wrong": wrong,
        })
    );
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the outside had been told when the power went.
struct Cut {
    /// So many updates, from the first on, were confirmed to Telegram.
    confirmed: u64,
    /// So many answers were shown.
    shown: u64,
}

struct Round {
    dir: tempfile::TempDir,
    fake: FakeTelegram,
    runtime: Runtime,
    services: Vec<Child>,
    said: u64,
    marked: u64,
    wrong: Vec<String>,
}

#[track_caller]
fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().expect("the program runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {told}");
}

impl Round {
    fn open() -> Round {
        let shared = Path::new("/dev/shm");
        let dir = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
        let dir = dir.expect("folder");
        let runtime = Runtime::new().expect("runtime");
        let options = Options { limits: Limits::none(), ..Options::default() };
        let fake = runtime.block_on(FakeTelegram::start_with(options)).expect("fake");
        let round = Round {
            dir,
            fake,
            runtime,
            services: Vec::new(),
            said: 0,
            marked: 0,
            wrong: Vec::new(),
        };
        File::create(round.image()).and_then(|it| it.set_len(IMAGE_BYTES)).expect("image");
        fs::create_dir(round.mounted()).expect("folder");
        run("mkfs.ext4", &["-q", "-F", &round.image().display().to_string()]);
        round.mount();
        for name in ["state", "home", "work"] {
            fs::create_dir(round.mounted().join(name)).expect("folder");
        }
        // What was there before counts from here on.
        run("sync", &["--file-system", &round.mounted().display().to_string()]);
        round
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn mounted(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    fn state(&self) -> PathBuf {
        self.mounted().join("state")
    }

    fn mount(&self) {
        let (image, at) =
            (self.image().display().to_string(), self.mounted().display().to_string());
        run("mount", &["-t", "ext4", "-o", "loop,noauto_da_alloc", &image, &at]);
    }

    fn unmount(&self) {
        let at = self.mounted().display().to_string();
        let until = Instant::now() + Duration::from_secs(10);
        while !Command::new("umount")
            .arg(&at)
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|it| it.success())
        {
            assert!(Instant::now() < until, "{at} cannot be unmounted");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn start(&mut self) {
        for name in ["tinyclaw-processor", "tinyclaw-telegram"] {
            let log = File::create(self.dir.path().join(format!("{name}.out"))).expect("log");
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
        while Instant::now() < end {
            if self.said < MESSAGES {
                self.say();
            }
            std::thread::sleep(Duration::from_millis(dice.below(2 * length / MESSAGES)));
        }
    }

    /// The power goes: everybody stands still, and what the device has is what is left.
    fn cut(&mut self) -> Cut {
        let pids = || -> Vec<u32> {
            let all = processes_of(self.dir.path());
            all.iter().filter_map(|it| it.split(':').next()?.parse().ok()).collect()
        };
        // Whoever was being started when we looked is seen by the next look.
        for _ in 0..2 {
            for pid in pids() {
                let _ = Command::new("kill")
                    .args(["-STOP", &pid.to_string()])
                    .stderr(Stdio::null())
                    .status();
            }
        }
        let confirmed = self.said - self.fake.unconfirmed() as u64;
        let shown = self.answers().len() as u64;
        // The journal may still be writing: the image is taken when it has not changed while it was read.
        let mut image = fs::read(self.image()).expect("image");
        loop {
            let again = fs::read(self.image()).expect("image");
            if again == image {
                break;
            }
            image = again;
        }
        for pid in pids() {
            let _ = Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .stderr(Stdio::null())
                .status();
        }
        for mut child in self.services.drain(..) {
            let _ = child.wait();
        }
        self.unmount();
        fs::write(self.image(), image).expect("image");
        self.mount();
        // The queue settles once a boot, and this is one.
        let _ = fs::remove_file(self.state().join("queue/BOOT"));
        Cut { confirmed, shown }
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
            let logs = ["tinyclaw-processor", "tinyclaw-telegram"].map(|it| {
                fs::read_to_string(self.dir.path().join(format!("{it}.out"))).unwrap_or_default()
            });
            self.wrong.push(format!(
                "not all of {} is answered: {texts:#?}\n{}",
                self.said,
                logs.concat()
            ));
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
        for child in &self.services {
            signal(child.id(), "TERM");
        }
        for mut child in self.services.drain(..) {
            let _ = child.wait();
        }
        self.unmount();
    }
}
