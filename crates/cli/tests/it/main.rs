//! The command line as a person or a script uses it: the real binary, over a real processor with the demo engine.
#![allow(clippy::disallowed_methods, reason = "tests start programs and lay files down")]

mod browser;
mod chat;
mod demo;
mod doctor;
#[path = "../../../dashboard/tests/it/driver.rs"]
mod driver;
mod help;
mod hook;
mod import;
mod queue;
mod route;
mod script;
mod send;
mod settings;
mod setup;
mod watch;
mod web;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tinyclaw_testkit::state::Place;

/// A loaded machine is slow, and a broken product never answers: this tells the two apart.
const PATIENCE: Duration = Duration::from_secs(40);

/// A state folder, perhaps with a processor over it, and the command line beside.
struct Office {
    place: Place,
    env: BTreeMap<String, String>,
    processor: Option<Child>,
}

/// What the command line said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn of(output: Output) -> Said {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    #[track_caller]
    fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).expect("JSON")
    }
}

impl Office {
    /// A folder in which nobody works.
    fn closed() -> Office {
        let place = Place::new().expect("place");
        let path = |it: PathBuf| it.display().to_string();
        let env = BTreeMap::from([
            ("TINYCLAW_DIR".to_owned(), path(place.state())),
            ("HOME".to_owned(), path(place.home())),
            ("WORKSPACE_ROOT".to_owned(), path(place.work())),
            ("TINYCLAW_ENGINE_KIND".to_owned(), "demo".to_owned()),
            ("USER".to_owned(), "Ada".to_owned()),
            ("PATH".to_owned(), std::env::var("PATH").unwrap_or_default()),
        ]);
        Office { place, env, processor: None }
    }

    /// The same with a processor that has said it is ready.
    fn open() -> Office {
        Office::closed().staffed()
    }

    /// The same office with a processor that has said it is ready.
    fn staffed(self) -> Office {
        let mut office = self;
        let log = File::create(office.place.path("processor.out")).expect("log");
        let child = Command::new(beside("tinyclaw-processor"))
            .env_clear()
            .envs(&office.env)
            .current_dir(office.place.home())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("the processor starts");
        office.processor = Some(child);
        let health = office.place.path("state/health/processor.json");
        office.wait_for("the processor", || {
            fs::read_to_string(&health).ok().filter(|it| it.contains("\"ready\": true"))
        });
        office
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tinyclaw"));
        command.env_clear().envs(&self.env).current_dir(self.place.home()).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Said {
        Said::of(self.command(arguments).output().expect("tinyclaw runs"))
    }

    fn run_with(&self, arguments: &[&str], stdin: &str) -> Said {
        let mut child =
            self.command(arguments).stdin(Stdio::piped()).spawn().expect("tinyclaw runs");
        child.stdin.take().expect("stdin").write_all(stdin.as_bytes()).expect("write");
        Said::of(child.wait_with_output().expect("tinyclaw ends"))
    }

    fn settings(&self, json: &str) {
        fs::write(self.place.path("state/settings.json"), json).expect("settings");
    }

    #[track_caller]
    fn wait_for<T>(&self, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return found;
            }
            if Instant::now() > until {
                let log = fs::read_to_string(self.place.path("processor.out")).unwrap_or_default();
                panic!("{what} does not come\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        if let Some(mut child) = self.processor.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// One of our programs, as it was built.
fn beside(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_tinyclaw")).with_file_name(name);
    assert!(path.is_file(), "{name} is not built: run `cargo build --workspace --bins` first");
    path
}

/// A file, or a folder with what is in it.
fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::copy(from, to).expect("a copy");
        return;
    }
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}
