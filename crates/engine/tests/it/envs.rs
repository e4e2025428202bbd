//! An environment to test against: a porter's socket, and behind it a hub as it is started in a container, with another HOME. The
//! porter itself is tested beside it, and with all of it together from outside.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tinyclaw_domain::Place;
use tinyclaw_engine::link::Lease;
use tinyclaw_engine::testing::looks::Ground;
use tinyclaw_engine::{Engine, EngineConfig, EnvLauncher, Landlock, TurnFailure, TurnOutcome};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;

use crate::desk::Desk;

/// Answers every request for a link as the porter does, until the test is over.
fn serve(socket: &Path, config: &EngineConfig) {
    let listener = UnixListener::bind(socket).unwrap();
    let (leash, home) = (config.leash.clone(), config.claude_home.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(link(stream, leash.clone(), home.clone()));
        }
    });
}

async fn link(mut stream: UnixStream, leash: PathBuf, home: PathBuf) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let words =
        [&b"POST /v1/envs/dev/exec HTTP/1.1\r\n"[..], b"POST /v1/envs/dev/attach HTTP/1.1\r\n"];
    assert!(words.iter().any(|it| head.starts_with(it)));
    let mut hub = Command::new(leash)
        .args(["hub", "--container"])
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/bin:/bin")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: tinyclaw-link\r\n\r\n";
    let (mut from, mut to) = stream.into_split();
    let (mut stdin, mut stdout) = (hub.stdin.take().unwrap(), hub.stdout.take().unwrap());
    if to.write_all(answer).await.is_err() {
        return;
    }
    let inward = async {
        let _ = tokio::io::copy(&mut from, &mut stdin).await;
        drop(stdin);
    };
    let outward = async {
        let _ = tokio::io::copy(&mut stdout, &mut to).await;
        let _ = to.shutdown().await;
    };
    tokio::join!(inward, outward);
    let _ = hub.wait().await;
}

fn launcher(desk: &Desk) -> EnvLauncher {
    let socket = desk.path("porter.sock");
    if !socket.exists() {
        serve(&socket, &desk.config);
        let bin = desk.config.claude_home.join(".local/bin");
        std::fs::create_dir_all(&bin).unwrap();
        let claude = bin.join("claude");
        // Two engines may have one HOME.
        if claude.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(&desk.config.program, claude).unwrap();
        }
    }
    // What a failed test leaves behind ends by itself.
    let lease = Lease { close: Duration::from_secs(20), end: Duration::from_secs(5) };
    let known = desk.config.claude_home.with_file_name("env-runs.json");
    EnvLauncher::new(socket, desk.config.landlock, lease, known)
}

/// Has a desk work in an environment from now on: one launcher like any other.
pub(crate) fn move_there(desk: &mut Desk) {
    let there = Arc::new(launcher(desk));
    desk.engine = Engine::reaching(desk.config.clone(), false, None, Some(there));
    desk.spec.place = Place::Env("dev".parse().unwrap());
}

/// A look at one, for the cases of all looks.
pub(crate) fn ground() -> (Desk, Ground) {
    let mut desk = Desk::demo();
    move_there(&mut desk);
    let beside = desk.path("beside");
    std::fs::create_dir_all(&beside).unwrap();
    let (look, home) = (Arc::new(launcher(&desk)), desk.config.claude_home.clone());
    let ground = Ground { look, desk: desk.at(), home, beside, settle: Box::new(|| {}) };
    (desk, ground)
}

/// What becomes of a turn whose porter answers so; whether it waits for a person.
async fn answered(answer: String) -> (String, bool) {
    let mut desk = Desk::demo();
    let socket = desk.path("porter.sock");
    if !answer.is_empty() {
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
    }
    let known = desk.path("env-runs.json");
    let there = EnvLauncher::new(socket, Landlock::Off, Lease::HERE, known);
    desk.engine = Engine::reaching(desk.config.clone(), false, None, Some(Arc::new(there)));
    desk.spec.place = Place::Env("dev".parse().unwrap());
    let end = desk.say("hello").await;
    let TurnOutcome::Failed(TurnFailure::OutOfReach(why)) = end.outcome else { panic!("{end:?}") };
    (why.to_string(), why.is_held)
}

#[tokio::test]
async fn what_the_porter_refuses_waits_for_a_person_and_what_passes_does_not() {
    let told = |status: &str, detail: &str| {
        let body = serde_json::json!({ "code": "x", "detail": detail }).to_string();
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let (said, is_held) = answered(told("409 Conflict", "there is no image")).await;
    assert!(said.ends_with("dev is out of reach: there is no image") && is_held, "{said}");
    let (said, is_held) = answered(told("503 Service Unavailable", "docker is away")).await;
    assert!(said.ends_with("docker is away") && !is_held, "{said}");
    for noise in ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 101 x\r\n\r\nsh: no such thing\n"] {
        let (said, is_held) = answered(noise.to_owned()).await;
        assert!(said.starts_with("dev is out of reach: ") && !is_held, "{said}");
    }
}
