//! The bot with two services of its own kind: what it starts, says, hands on, collects, and how it leaves.
//!
//! The real services need floors that the bot may not import; `crates/e2e` and the container test run them below it.
#![allow(clippy::disallowed_methods, reason = "tests start the bot and make folders by hand")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tinyclaw_domain::Health;
use tinyclaw_service::healthcheck::probe;

/// Longer than any test may take: what has not happened by then will not.
const PATIENCE: Duration = Duration::from_secs(30);

struct Bot {
    dir: tempfile::TempDir,
    child: Child,
    address: String,
}

/// A folder with the bot and stand-ins for the services in `bin/`, and an empty state folder.
fn house() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("bin")).unwrap();
    std::fs::create_dir_all(dir.path().join("state/health")).unwrap();
    // A copy, not a link: the bot looks for its siblings where it really lies.
    std::fs::copy(env!("CARGO_BIN_EXE_tinyclaw-bot"), dir.path().join("bin/tinyclaw-bot")).unwrap();
    let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stand-in.sh");
    for service in ["processor", "telegram"] {
        symlink(&stand_in, dir.path().join(format!("bin/tinyclaw-{service}"))).unwrap();
    }
    dir
}

fn command(dir: &Path, variables: &[(&str, &str)], words: &[&str]) -> Command {
    let mut command = Command::new(dir.join("bin/tinyclaw-bot"));
    command
        .args(words)
        .env("TINYCLAW_DIR", dir.join("state"))
        .env("TINYCLAW_HEALTH_LISTEN", "127.0.0.1:0")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

impl Bot {
    fn start(variables: &[(&str, &str)], words: &[&str]) -> Bot {
        Bot::start_in(house(), variables, words)
    }

    fn start_in(dir: tempfile::TempDir, variables: &[(&str, &str)], words: &[&str]) -> Bot {
        let mut child = command(dir.path(), variables, words).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .find_map(|it| it.unwrap().split_once(" is up listen=").map(|it| it.1.to_owned()))
            .expect("it says where it listens");
        std::thread::spawn(move || lines.for_each(drop));
        Bot { dir, child, address }
    }

    /// What `path` answers: the body of a 200, or the whole story of anything else.
    fn get(&self, path: &str) -> Result<String, String> {
        probe(&self.address, path, PATIENCE).map_err(|err| err.to_string())
    }

    /// The process of a service that has said how it is.
    fn pid(&self, service: &str) -> i32 {
        let path = self.state(&format!("health/{service}.json"));
        let health: Health = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        health.pid.cast_signed()
    }

    fn state(&self, path: &str) -> PathBuf {
        self.dir.path().join("state").join(path)
    }

    fn tell(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn end(&mut self) -> ExitStatus {
        eventually("the bot ends", || self.child.try_wait().unwrap())
    }
}

impl Drop for Bot {
    fn drop(&mut self) {
        // The stand-ins end by themselves when their folder is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(it) = look() {
            return it;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn both_services_run_and_their_word_is_served() {
    let bot = Bot::start(&[], &[]);
    let ready = eventually("both are ready", || bot.get("/ready").ok());
    assert_eq!(ready, r#"{"ready":true}"#);
    let health = bot.get("/health").unwrap();
    assert!(health.starts_with(r#"{"status":"ok","service":"bot""#), "{health}");
    assert!(health.contains(r#""processor":{"alive":true,"ready":true"#), "{health}");
    let metrics = bot.get("/metrics").unwrap();
    for service in ["processor", "telegram"] {
        assert!(metrics.contains(&format!("tinyclaw_turns_total{{service=\"{service}\"}} 5\n")));
    }
}

#[test]
fn a_service_that_idles_is_alive_and_says_why() {
    let bot = Bot::start(&[("STAND_IN_TELEGRAM", "idle")], &[]);
    let not_ready = format!(
        r#"{}/ready answered 503: {{"ready":false,"why":["telegram: set TELEGRAM_BOT_TOKEN"]}}"#,
        bot.address
    );
    eventually("only telegram is not ready", || {
        (bot.get("/ready") == Err(not_ready.clone())).then_some(())
    });
    assert!(bot.get("/health").is_ok());
}

#[test]
fn the_word_of_an_earlier_process_does_not_count() {
    let bot = Bot::start(&[("STAND_IN_PROCESSOR", "late")], &[]);
    eventually("the old word is there", || {
        bot.state("health/processor.json").exists().then_some(())
    });
    eventually("telegram is ready", || {
        let said = bot.get("/ready").unwrap_err();
        said.ends_with(r#"{"ready":false,"why":["processor: it is starting"]}"#).then_some(())
    });
}

/// Under systemd each service is a unit of its own, and this one tells how they are.
#[test]
fn health_of_services_that_somebody_else_runs_is_served_as_long_as_they_run() {
    let dir = house();
    let mut services = ["processor", "telegram"].map(|it| {
        let mut service = Command::new(dir.path().join(format!("bin/tinyclaw-{it}")));
        service.env("TINYCLAW_DIR", dir.path().join("state")).spawn().unwrap()
    });
    let bot = Bot::start_in(dir, &[], &["health"]);
    eventually("both are ready", || bot.get("/ready").ok());
    assert!(bot.get("/health").is_ok());
    services[1].kill().unwrap();
    services[1].wait().unwrap();
    let said = bot.get("/health").unwrap_err();
    assert!(said.contains("it does not run: systemctl status tinyclaw-telegram"), "{said}");
    assert!(said.contains(r#""processor":{"alive":true,"ready":true"#), "{said}");
    services[0].kill().unwrap();
    services[0].wait().unwrap();
}

#[test]
fn a_service_that_dies_is_started_again_alone() {
    for (one, other) in [("telegram", "processor"), ("processor", "telegram")] {
        let mut bot = Bot::start(&[], &[]);
        eventually("both are ready", || bot.get("/ready").ok());
        let (died, stays) = (bot.pid(one), bot.pid(other));
        kill(Pid::from_raw(died), Signal::SIGKILL).unwrap();
        eventually("it is another process", || (bot.pid(one) != died).then_some(()));
        eventually("both are ready again", || bot.get("/ready").ok());
        assert_eq!(bot.pid(other), stays, "{other} goes on");
        assert!(!bot.state(&format!("{other}.stopped")).exists(), "{other}");
        let health: serde_json::Value = serde_json::from_str(&bot.get("/health").unwrap()).unwrap();
        let seen = &health["services"][one];
        assert_eq!((&seen["restarts"], &seen["ended"]), (&1.into(), &"killed by SIGKILL".into()));
        assert_eq!(health["services"][other]["restarts"], 0);
        let counted = format!("tinyclaw_restarts_total{{service=\"{one}\"}} 1\n");
        assert!(bot.get("/metrics").unwrap().contains(&counted));
        bot.tell(Signal::SIGTERM);
        assert_eq!(bot.end().code(), Some(0));
        assert!(bot.state(&format!("{one}.stopped")).exists(), "the new process is told to stop");
    }
}

#[test]
fn a_service_that_does_not_stay_is_not_started_for_ever_and_the_bot_leaves_with_an_error() {
    for (one, other) in [("telegram", "processor"), ("processor", "telegram")] {
        let mut bot = Bot::start(&[], &["--restarts", "2"]);
        for _ in 0..3 {
            let ready = || bot.get("/ready").ok();
            eventually("both are ready", ready);
            let died = bot.pid(one);
            kill(Pid::from_raw(died), Signal::SIGKILL).unwrap();
            // What it said stays until its successor speaks, and is not taken for it.
            eventually("its end is noticed", || {
                (bot.get("/ready").is_err() || bot.pid(one) != died).then_some(())
            });
        }
        assert_eq!(bot.end().code(), Some(1));
        assert!(bot.state(&format!("{other}.stopped")).exists(), "{other}");
    }
}

#[test]
fn a_service_that_ends_at_once_is_noticed() {
    let mut bot = Bot::start(&[("STAND_IN_PROCESSOR", "dies")], &["--restarts", "1"]);
    assert_eq!(bot.end().code(), Some(1));
}

#[test]
fn who_is_told_to_stop_while_a_service_is_away_stops() {
    let mut bot = Bot::start(&[("STAND_IN_PROCESSOR", "dies")], &["--restarts", "30"]);
    eventually("it is away", || {
        let said = bot.get("/ready").unwrap_err();
        said.contains("processor: it is started again").then_some(())
    });
    assert!(bot.get("/health").is_ok(), "the container is well for as long as that may take");
    bot.tell(Signal::SIGTERM);
    assert_eq!(bot.end().code(), Some(0));
}

#[test]
fn a_wrong_word_is_named() {
    for words in [&["--restarts", "often"][..], &["--restarts"], &["start"]] {
        let output = command(house().path(), &[], words).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(words[0]), "{said}");
    }
}

#[test]
fn sigterm_and_sigint_stop_both_and_leave_without_an_error() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut bot = Bot::start(&[], &[]);
        eventually("both are ready", || bot.get("/ready").ok());
        bot.tell(signal);
        assert_eq!(bot.end().code(), Some(0), "{signal}");
        assert!(bot.state("telegram.stopped").exists());
        assert!(bot.state("processor.stopped").exists());
    }
}

#[test]
fn a_service_that_does_not_stop_is_killed_when_its_time_is_over() {
    let mut bot = Bot::start(&[("STAND_IN_PROCESSOR", "deaf")], &["--grace", "1"]);
    eventually("both are ready", || bot.get("/ready").ok());
    let deaf = bot.pid("processor");
    bot.tell(Signal::SIGTERM);
    assert_eq!(bot.end().code(), Some(1));
    assert!(bot.state("telegram.stopped").exists());
    assert!(!Path::new(&format!("/proc/{deaf}")).exists());
}

#[test]
fn an_orphan_is_collected() {
    let bot = Bot::start(&[("STAND_IN_TELEGRAM", "parent")], &[]);
    let pid = eventually("the orphan is born", || {
        std::fs::read_to_string(bot.state("orphan.pid")).ok()?.trim().parse::<u32>().ok()
    });
    let parent = format!("PPid:\t{}\n", bot.child.id());
    eventually("it is the bot's", || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.contains(&parent).then_some(())
    });
    std::fs::remove_file(bot.state("hold")).unwrap();
    // A zombie still has its folder there.
    eventually("nothing is left of it", || {
        (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
    assert!(bot.get("/health").is_ok());
}

#[test]
fn a_service_does_not_get_the_others_secrets() {
    let secrets = [
        ("TELEGRAM_BOT_TOKEN", "a"),
        ("CLAUDE_OAUTH_TOKEN", "b"),
        ("ANTHROPIC_API_KEY_FILE", "/nowhere"),
        ("BROKER_CAPABILITY_SECRET", "c"),
        ("TELEGRAM_CHAT_ID", "-1001"),
    ];
    let bot = Bot::start(&secrets, &[]);
    eventually("both are ready", || bot.get("/ready").ok());
    let names = |service: &str| -> Vec<String> {
        let text = std::fs::read_to_string(bot.state(&format!("{service}.variables"))).unwrap();
        let is_ours = |it: &&str| secrets.iter().any(|(name, _)| name == it);
        text.lines().filter(is_ours).map(str::to_owned).collect()
    };
    assert_eq!(names("telegram"), ["TELEGRAM_BOT_TOKEN", "TELEGRAM_CHAT_ID"]);
    assert_eq!(
        names("processor"),
        [
            "ANTHROPIC_API_KEY_FILE",
            "BROKER_CAPABILITY_SECRET",
            "CLAUDE_OAUTH_TOKEN",
            "TELEGRAM_CHAT_ID"
        ]
    );
}

#[test]
fn a_program_that_is_missing_is_named() {
    let dir = house();
    std::fs::remove_file(dir.path().join("bin/tinyclaw-telegram")).unwrap();
    let output = command(dir.path(), &[], &[]).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("cannot start telegram (") && said.contains("bin/tinyclaw-telegram)"),
        "{said}"
    );
}

#[test]
fn wrong_settings_do_not_make_the_container_look_dead() {
    let dir = house();
    let wrong = r#"{"timezone": "Nowhere/At-All"}"#;
    std::fs::write(dir.path().join("state/settings.json"), wrong).unwrap();
    let bot = Bot::start_in(dir, &[], &[]);
    let check = |address: &str| {
        let listen = [("TINYCLAW_HEALTH_LISTEN", address)];
        command(bot.dir.path(), &listen, &["healthcheck"]).stderr(Stdio::piped()).output().unwrap()
    };
    assert!(check(&bot.address).status.success());
    // Port 1 is nobody's.
    let nobody = check("127.0.0.1:1");
    assert_eq!(nobody.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("cannot reach 127.0.0.1:1"));
}
