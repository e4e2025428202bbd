#![doc = include_str!("../README.md")]
#![expect(clippy::disallowed_methods, reason = "a harness starts the programs under test")]
#![expect(clippy::print_stderr, reason = "a failed test shows what the services said")]

pub mod github;
pub mod recorded;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tinyclaw_domain::{Channel, Key, Message, Progress, Reply, Threads};
use tinyclaw_ledger::{StateDir, read_threads};
use tinyclaw_queue::{Durability, Options, Place, Queue, Seen, Side};

mod forum;

pub use forum::Forum;

/// The office's user, as the image has it.
const IMAGE_USER: u32 = 10_001;
/// What the services say, below the office's folder.
const LOG: &str = "services.out";
/// A loaded machine is slow, and a broken product never answers: this tells the two apart.
const PATIENCE: Duration = Duration::from_secs(40);

/// One of our programs, as it was built.
///
/// # Panics
/// When it was not built.
pub fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("own program");
    let dirs = own.ancestors().skip(1).take(2);
    let found = dirs.map(|it| it.join(name)).find(|it| it.is_file());
    found.unwrap_or_else(|| {
        panic!("{name} is not built: run `cargo build --workspace --bins` first")
    })
}

/// An example of another package, as it was built.
///
/// # Panics
/// When it was not built.
pub fn example(package: &str, name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("own program");
    let dir = own.parent().and_then(Path::parent).expect("folder");
    let found = dir.join("examples").join(name);
    assert!(
        found.is_file(),
        "{name} is not built: run `cargo build -p {package} --example {name}` first"
    );
    found
}

/// An office in a temporary folder, with the demo engine.
pub struct Office {
    dir: TempDir,
    /// What runs it: the processor alone, or the bot with both services below it, as in the image.
    service: PathBuf,
    /// What starts that, with the arguments before its name; nothing where it is started as it is.
    starter: &'static [&'static str],
    env: BTreeMap<String, String>,
    running: Option<Child>,
    queue: Queue,
    next: u32,
}

impl Office {
    /// A fresh office with a running processor.
    pub fn open() -> Office {
        Office::open_with(&[])
    }

    /// A fresh office with these variables set.
    pub fn open_with(env: &[(&str, &str)]) -> Office {
        let mut office = Office::prepare(env);
        office.start();
        office
    }

    /// An office over a folder that was recorded ([`recorded`]), with everything in it as it was. Nobody runs yet.
    pub fn over(fixture: &Path) -> Office {
        let office = Office::prepare(&[]);
        let work = office.path("work").display().to_string();
        copy(fixture, &office.path("state"), &|text| text.replace(recorded::WORK, &work));
        recorded::seal(&office.path("state"));
        // What agents worked in stays where it is when a release follows another.
        let known = fs::read_to_string(office.path("state/threads.json")).expect("threads");
        for thread in office.threads().keys() {
            let own = office.path("work").join(thread.as_str());
            if known.contains(&format!("\"{}\"", own.display())) {
                fs::create_dir_all(own).expect("folder");
            }
        }
        office
    }

    /// A fresh office in which nobody runs.
    pub fn closed() -> Office {
        Office::prepare(&[])
    }

    /// A fresh office in this folder, with this processor, and these variables set.
    pub fn open_in(dir: TempDir, processor: PathBuf, env: &[(&str, &str)]) -> Office {
        let mut office = Office::prepare_in(dir, processor, env);
        office.start();
        office
    }

    fn prepare(env: &[(&str, &str)]) -> Office {
        let dir = tempfile::Builder::new().prefix("tinyclaw-e2e-").tempdir().expect("folder");
        Office::prepare_in(dir, program("tinyclaw-processor"), env)
    }

    fn prepare_in(dir: TempDir, service: PathBuf, env: &[(&str, &str)]) -> Office {
        let base = dir.path().to_owned();
        for name in ["state", "home", "work"] {
            fs::create_dir_all(base.join(name)).expect("folder");
        }
        let path = |name: &str| base.join(name).display().to_string();
        let mut all: BTreeMap<String, String> = BTreeMap::from([
            ("TINYCLAW_DIR".to_owned(), path("state")),
            ("HOME".to_owned(), path("home")),
            ("WORKSPACE_ROOT".to_owned(), path("work")),
            ("TINYCLAW_ENGINE_KIND".to_owned(), "demo".to_owned()),
            ("TINYCLAW_DEMO_RECORD".to_owned(), path("prompts")),
            ("PATH".to_owned(), std::env::var("PATH").unwrap_or_default()),
        ]);
        all.extend(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        fs::File::create(base.join("prompts")).expect("prompts");
        let options = Options { reserve_bytes: 0, free_share_min: 0.0, ..Options::default() };
        let queue = Queue::open(&base.join("state"), options).expect("queue");
        Office { dir, env: all, service, starter: &[], running: None, queue, next: 0 }
    }

    /// An office in which every desk is a user of its own, in a folder that everybody may come to: the bot, which lies
    /// beside those programs, starts as root with the four rights of root's that the container gives it. Desks get numbers
    /// above this one, which are the whole machine's. Nobody runs yet. Needs root and `setpriv`.
    pub fn of_users(dir: TempDir, programs: &Path, above: u32, env: &[(&str, &str)]) -> Office {
        let mut office = Office::prepare_in(dir, programs.join("tinyclaw-bot"), env);
        office.starter =
            &["setpriv", "--bounding-set=-all,+setuid,+setgid,+chown,+kill", "--inh-caps=-all"];
        let first = serde_json::json!({ "900": { "name": "first", "cwd": "/nonexistent",
            "deskNumber": above } });
        fs::write(office.state().threads(), first.to_string()).expect("threads");
        fs::create_dir(office.path("desks")).expect("folder");
        give(&office.path("state"), IMAGE_USER);
        let folders = [("", 0o755), ("desks", 0o711), ("state", 0o2770), ("home", 0o750)];
        for (below, mode) in folders.into_iter().chain([("work", 0o750), ("prompts", 0o666)]) {
            let path = office.path(below);
            if ["home", "work"].contains(&below) {
                give(&path, IMAGE_USER);
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
        }
        let desks = office.path("desks").display().to_string();
        office.env.insert("TINYCLAW_DESKS".to_owned(), desks);
        office
    }

    /// The office's folder: `state/`, `home/`, `work/`.
    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// The layout of the state folder.
    pub fn state(&self) -> StateDir {
        StateDir::new(self.path("state"))
    }

    /// The queue, as another process sees it.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Starts the processor, or the bot that runs it.
    pub fn start(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.path(LOG));
        let log = log.expect("log");
        let mut command = match self.starter {
            [] => Command::new(&self.service),
            [starter, args @ ..] => {
                let mut command = Command::new(starter);
                command.args(args).arg(&self.service);
                command
            }
        };
        let child = command
            .env_clear()
            .envs(&self.env)
            .current_dir(if self.starter.is_empty() { self.path("home") } else { "/".into() })
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("start the service");
        self.running = Some(child);
    }

    /// From its next start on it is run by this program of ours, with these variables besides.
    fn run_below(&mut self, service: &str, env: &[(&str, &str)]) {
        if self.starter.is_empty() {
            self.service = program(service);
        }
        let more = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.env.extend(more);
    }

    /// From its next start on it has this variable.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    /// Writes `settings.json`, as an operator does with an editor.
    pub fn set(&self, settings: &serde_json::Value) {
        fs::write(self.path("state/settings.json"), settings.to_string()).expect("settings");
    }

    /// Changes `threads.json` while no processor runs, and starts one.
    pub fn restart_with(&mut self, change: impl FnOnce(&mut serde_json::Value)) {
        self.stop();
        let path = self.state().threads();
        let text = fs::read(&path).expect("threads");
        let mut threads = serde_json::from_slice(&text).expect("threads");
        change(&mut threads);
        fs::write(&path, threads.to_string()).expect("threads");
        self.start();
    }

    /// Kills the processor as a crash would; the bot with both services, as a container is killed.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.running.take() {
            let services = if self.service.ends_with("tinyclaw-bot") {
                children_of(child.id())
            } else {
                Vec::new()
            };
            child.kill().expect("kill");
            child.wait().expect("wait");
            for pid in services {
                // One that has ended by itself is as good.
                let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
                self.wait_for("the end of a service", || {
                    (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
                });
            }
        }
    }

    /// Kills one service below the bot, and waits until the bot has started another one in its place.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill_service(&self, name: &str) {
        let bot = self.running.as_ref().expect("a running bot").id();
        let found = || {
            let is_it = |pid: &u32| {
                let path = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
                path.file_name().is_some_and(|it| it == name)
            };
            children_of(bot).into_iter().find(is_it)
        };
        let died = found().unwrap_or_else(|| panic!("{name} does not run"));
        signal(died, "KILL");
        self.wait_for("another one in its place", || found().filter(|it| *it != died).map(drop));
    }

    /// Asks the processor, or the bot, to stop and waits; how long it took.
    pub fn stop(&mut self) -> Duration {
        let began = Instant::now();
        if let Some(mut child) = self.running.take() {
            signal(child.id(), "TERM");
            let status = child.wait().expect("wait");
            assert!(status.success(), "{} ended with {status}", self.service.display());
        }
        began.elapsed()
    }

    /// The pid of the processor, or of the bot that runs it.
    pub fn pid(&self) -> u32 {
        self.running.as_ref().map_or(0, Child::id)
    }

    /// A message of Ada's in a thread, not yet published; change it as you like.
    pub fn message(&mut self, thread: &str, text: &str) -> Message {
        self.next += 1;
        let key: Key = format!("cli-{}", self.next).parse().expect("key");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("time");
        let thread = thread.parse().expect("thread");
        let mut message = Message::new(key, Channel::Cli, thread, text, now.as_millis() as u64);
        message.sender = "Ada".to_owned();
        message
    }

    /// Publishes a message.
    pub fn publish(&self, message: Message) -> Key {
        let key = message.key.clone();
        self.queue.publish(Side::Run, message, Durability::Strict).expect("publish");
        key
    }

    /// Says something in a thread.
    pub fn say(&mut self, thread: &str, text: &str) -> Key {
        let message = self.message(thread, text);
        self.publish(message)
    }

    /// Says something and waits for the answer.
    pub fn ask(&mut self, thread: &str, text: &str) -> Reply {
        let key = self.say(thread, text);
        self.answer(&key)
    }

    /// Waits until a message is answered.
    pub fn answer(&self, key: &Key) -> Reply {
        let seen =
            self.wait_for("an answer", || self.seen(key).filter(|it| it.place == Place::Done));
        seen.message.reply.expect("a reply")
    }

    /// A message as it is now.
    pub fn seen(&self, key: &Key) -> Option<Seen> {
        self.queue.view().find(key).expect("view")
    }

    /// A turn's progress as it is now.
    pub fn progress(&self, key: &Key) -> Option<Progress> {
        let text = fs::read(self.state().progress(key)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// The threads as they are now.
    pub fn threads(&self) -> Threads {
        read_threads(&self.state()).expect("threads")
    }

    /// The prompts that the demo engine was given, as recorded.
    pub fn prompts(&self) -> Vec<serde_json::Value> {
        lines(&self.path("prompts"))
    }

    /// The lines of a JSONL file of the state folder.
    pub fn lines(&self, file: &str) -> Vec<serde_json::Value> {
        lines(&self.path("state").join(file))
    }

    /// What the services have said since the office was opened; nothing when none was started.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path(LOG)).unwrap_or_default()
    }

    /// Waits until `look` finds something.
    ///
    /// # Panics
    /// When it does not come; the log is in the message.
    pub fn wait_for<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            if Instant::now() > until {
                panic!("{what} does not come\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log:\n{}", self.log());
        }
        self.kill();
    }
}

/// Makes a folder and what is in it a user's.
fn give(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).expect("owner");
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        give(&entry.path(), user);
    }
}

/// Copies a folder, changing the text of its files.
pub fn copy(from: &Path, to: &Path, change: &dyn Fn(String) -> String) {
    fs::create_dir_all(to).expect("folder");
    for entry in fs::read_dir(from).expect("folder").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to, change);
        } else {
            let text = fs::read_to_string(&from).expect("text");
            fs::write(&to, change(text)).expect("write");
        }
    }
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|it| serde_json::from_str(it).ok()).collect()
}

/// Sends a signal to a process of ours.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.is_ok_and(|it| it.success()), "cannot signal {pid}");
}

/// The processes that a process has started and that have not ended.
fn children_of(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse().ok()) else { continue };
        let status = fs::read_to_string(entry.path().join("status")).unwrap_or_default();
        if status.contains(&format!("PPid:\t{parent}\n")) {
            found.push(pid);
        }
    }
    found
}

/// Processes whose environment or arguments mention a folder: what an office started and may have left behind.
pub fn processes_of(dir: &Path) -> Vec<String> {
    let needle = dir.display().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse::<u32>().ok()) else {
            continue;
        };
        let read = |name: &str| {
            let bytes = fs::read(entry.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let (command, environment) = (read("cmdline"), read("environ"));
        if pid != std::process::id() && (command.contains(&needle) || environment.contains(&needle))
        {
            found.push(format!("{pid}: {command}"));
        }
    }
    found
}
