//! What the office works with: the engine's programs, the kernel's Landlock, git and gh.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tinyclaw_devbox::Helper;
use tinyclaw_engine::leash::{Promise, missing_promises};
use tinyclaw_engine::{PINNED_VERSION, find_helper, find_sibling};
use tinyclaw_ledger::{health, plan};
use tinyclaw_service::now_ms;
use tinyclaw_service::settings::{EngineKind, Landlock, Settings};
use tinyclaw_service::words::span;

use super::{Finding, Patient};
use crate::setup::standing::find_program;
use crate::terminal::one_line;

/// A CLI that does not say its version by then hangs. It starts a whole runtime, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: u64 = 1_000_000;

/// Every tool that is wanted.
pub(super) fn look(patient: &Patient, settings: Option<&Settings>) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Some(settings) = settings {
        found.extend(engine(patient, settings));
        found.push(landlock(settings));
        // The way out is one for containers, and so is the question.
        found.extend(patient.in_container.then(|| metadata(METADATA)).flatten());
    }
    let has = |name: &str| find_program(Path::new(name), &patient.environment);
    found.push(match has("git") {
        Some(path) => Finding::ok("git", path.display().to_string()),
        None => Finding::warning(
            "git",
            "is not on PATH: no repository can be cloned",
            "sudo apt-get install git",
        ),
    });
    found.push(github_tools(patient, settings));
    found
}

fn engine(patient: &Patient, settings: &Settings) -> Vec<Finding> {
    const NAME: &str = "engine";
    let together = "install all of TinyClaw's binaries together: cargo build --release";
    let is_demo = settings.engine.kind == EngineKind::Demo;
    let missing = ["tinyclaw-leash", "tinyclaw-demo-engine"]
        .into_iter()
        .find(|it| find_sibling(it).is_none() && (is_demo || *it == "tinyclaw-leash"));
    if let Some(name) = missing {
        let why = format!("{name} is not beside this program, and no turn can run");
        return vec![Finding::broken(NAME, why, together)];
    }
    // Whatever it is that lies there, it holds every Claude, and is what devboxes are given.
    if let Some(Err(err)) = find_helper().map(|it| Helper::new(it).check()) {
        return vec![Finding::broken(NAME, err.to_string(), together)];
    }
    if is_demo {
        return vec![Finding::ok(NAME, "the demo engine, which needs no account")];
    }
    // That it is not there at all, the line about claude says.
    let Some(program) = find_program(&settings.engine.claude, &patient.environment) else {
        return Vec::new();
    };
    let shown = program.display();
    let age = installed(&program);
    let mut found = vec![match version(&program) {
        Ok(version) if version == PINNED_VERSION => {
            Finding::ok(NAME, format!("claude {version}, as tested{age}"))
        }
        Ok(version) => Finding::warning(
            NAME,
            format!("claude {version}{age}; {PINNED_VERSION} was tested"),
            format!(
                "should something be odd: npm install -g @anthropic-ai/claude-code@{PINNED_VERSION}"
            ),
        ),
        Err(why) => {
            Finding::broken(NAME, format!("{shown} {why}"), format!("try it: {shown} --version"))
        }
    }];
    let sources: Vec<String> =
        settings.engine.setting_sources.iter().map(ToString::to_string).collect();
    if !sources.is_empty() {
        let why = format!(
            "engine.settingSources is {}: what such files name runs unasked, with Claude's login at hand",
            sources.join(",")
        );
        found.push(Finding::warning(
            NAME,
            why,
            "tinyclaw settings unset engine.settingSources, unless every repository is your own",
        ));
    }
    found.extend(unknown_lines(patient));
    found.extend(plan(patient, settings));
    found
}

/// How far the plan's limits are used, where Claude has told.
fn plan(patient: &Patient, settings: &Settings) -> Option<Finding> {
    let plan = match plan::read(&patient.state) {
        Ok(plan) => plan,
        Err(err) => {
            let cure = "remove plan.json; Claude tells it again with its next answer";
            return Some(Finding::warning("plan", format!("{err}"), cure));
        }
    };
    let told = plan::sentence(&plan, &settings.office.timezone, now_ms())?;
    let open = plan.open(now_ms());
    Some(match open.iter().any(|(_, it)| it.used >= plan::WARN_AT) {
        true => {
            let cure = "wait for the time that is told, or give easy work to a smaller model: engine.tiers";
            Finding::warning("plan", told, cure)
        }
        false => Finding::ok("plan", told),
    })
}

/// What Claude says and this version does not understand: worth a line, and nothing to fear.
fn unknown_lines(patient: &Patient) -> Option<Finding> {
    let seen = health::read(&patient.state, "processor", now_ms()).ok()??;
    let lines = seen.health.numbers.get("claudeUnknownLines")?.as_object()?;
    let told: Vec<String> =
        lines.iter().map(|(kind, times)| format!("{} ({times}×)", one_line(kind))).collect();
    let why = format!("claude says what this version ignores: {}", told.join(", "));
    (!told.is_empty()).then(|| Finding::ok("engine", why))
}

/// How long ago a program was put where it is, to be said after its version.
fn installed(program: &Path) -> String {
    let age = std::fs::metadata(program)
        .and_then(|it| it.modified())
        .ok()
        .and_then(|it| it.elapsed().ok());
    age.map_or_else(String::new, |it| format!(", installed {} ago", span(it.as_millis() as u64)))
}

/// The version a CLI says, the first word of its answer.
fn version(program: &Path) -> Result<String, String> {
    #[expect(clippy::disallowed_methods, reason = "doctor asks programs who they are")]
    let mut command = Command::new(program);
    command.arg("--version").env("DISABLE_AUTOUPDATER", "1");
    let said = said(command, PATIENCE)?;
    let first = said.text.split_whitespace().next();
    match first.filter(|it| it.starts_with(|it: char| it.is_ascii_digit())) {
        Some(version) if said.status.success() => Ok(version.chars().take(40).collect()),
        _ => Err(format!("is no claude CLI: --version ended with {}", said.status)),
    }
}

/// What a program said on stdout before it ended.
pub(super) struct ToolOutput {
    pub(super) status: ExitStatus,
    pub(super) text: String,
}

/// Runs a program to its end, with everything it starts; one that does not end in time is ended.
pub(super) fn said(mut command: Command, patience: Duration) -> Result<ToolOutput, String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().map_err(|err| format!("does not start: {err}"))?;
    // Read beside waiting, for it may say more than a pipe holds.
    let out = child.stdout.take();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(out) = out {
            let _ = out.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes);
        }
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    let until = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                // Somebody it left behind may hold the pipe open.
                let text = receiver.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
                return Ok(ToolOutput { status, text });
            }
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            _ => {
                if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
                    let _ = kill_process_group(group, Signal::KILL);
                }
                let _ = child.wait();
                return Err(format!("does not end within {} s", patience.as_secs()));
            }
        }
    }
}

/// Where clouds tell a machine about itself, and often hand out its rights.
const METADATA: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);
/// It is one hop away, if it is there at all.
const METADATA_TIME: Duration = Duration::from_millis(300);

/// That agents reach the cloud's metadata, if they do. Connects and says nothing.
fn metadata(address: SocketAddr) -> Option<Finding> {
    TcpStream::connect_timeout(&address, METADATA_TIME).ok()?;
    Some(Finding::warning(
        "metadata",
        format!("{address} answers: an agent can ask this machine's cloud for its rights"),
        "on the host: sudo iptables -I DOCKER-USER -d 169.254.0.0/16 -j DROP",
    ))
}

fn landlock(settings: &Settings) -> Finding {
    const NAME: &str = "landlock";
    let missing = missing_promises();
    let kernel = match missing.first() {
        Some(Promise::Files) => "boot a kernel of 6.12 or later with landlock in its lsm= list",
        _ => "boot a kernel of 6.12 or later",
    };
    let told = format!("this kernel {}", Promise::told(&missing));
    match settings.engine.landlock {
        Landlock::Off => Finding::warning(
            NAME,
            "engine.landlock is off: Claude may touch whatever this user may",
            "tinyclaw settings set engine.landlock auto",
        ),
        _ if missing.is_empty() => Finding::ok(NAME, told),
        Landlock::Auto => Finding::warning(NAME, told, kernel),
        Landlock::On => {
            Finding::broken(NAME, format!("{told}; engine.landlock is on: no turn can run"), kernel)
        }
    }
}

/// `git push` and `gh` as agents use them: without a broker they are whatever the machine has.
fn github_tools(patient: &Patient, settings: Option<&Settings>) -> Finding {
    const NAME: &str = "gh";
    let path = |name: &str| {
        find_program(Path::new(name), &patient.environment).or_else(|| find_sibling(name))
    };
    if settings.is_none_or(|it| it.github.broker_url.is_none()) {
        return match path("gh") {
            Some(path) => {
                Finding::ok(NAME, format!("{}, with its own login; no broker", path.display()))
            }
            None => Finding::ok(NAME, "is not on PATH, and no broker is set"),
        };
    }
    let together = "install all of TinyClaw's binaries together: cargo build --release";
    if path("git-credential-tinyclaw").is_none() {
        let why = "git-credential-tinyclaw is missing: git push cannot ask the broker";
        return Finding::broken(NAME, why, together);
    }
    match path("gh") {
        Some(path) => Finding::ok(NAME, format!("{}, and git's helper", path.display())),
        None => Finding::warning(
            NAME,
            "is not on PATH: agents open no pull requests",
            "sudo apt-get install gh",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_metadata_service_is_told_only_where_it_is_reached() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let found = metadata(address).unwrap();
        assert!(found.why.contains("answers"), "{}", found.why);
        drop(listener);
        assert!(metadata(address).is_none());
    }
}
