use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::client::{Events, get};
use crate::demo::Demo;
use crate::running::Running;

/// Every file below a folder with its content and time of change.
fn volume(dir: &Path) -> BTreeMap<String, (Vec<u8>, std::time::SystemTime)> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let changed = path.metadata().unwrap().modified().unwrap();
        if path.is_dir() {
            files.extend(volume(&path));
            files.insert(path.display().to_string(), (Vec::new(), changed));
        } else {
            files.insert(path.display().to_string(), (std::fs::read(&path).unwrap(), changed));
        }
    }
    files
}

const ASKED: [&str; 13] = [
    "/",
    "/api/status",
    "/api/threads",
    "/api/threads/3/messages",
    "/api/messages/recent?n=1000",
    "/api/messages/search?q=lane",
    "/api/routing/recent",
    "/api/routing/costs?midnight=1771200000000",
    "/api/prompts/recent",
    "/api/prompts/lengths",
    "/api/metrics",
    "/api/story/tg-812345003",
    "/api/queue/recent?level=warn",
];

#[test]
fn the_volume_is_the_same_after_a_run() {
    let dir = tempfile::tempdir().unwrap();
    Demo::new(dir.path()).fill(tinyclaw_service::now_ms(), 40);
    let before = volume(dir.path());
    let server = Running::start(dir.path()).indexed();
    for path in ASKED {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    let _page = server.events("/api/live", "");
    drop(server);
    assert!(volume(dir.path()) == before);
}

#[test]
fn no_system_call_opens_anything_for_writing() {
    let Ok(strace) = Command::new("strace").arg("-V").stdout(Stdio::null()).status() else {
        eprintln!("skipped: strace is not installed");
        return;
    };
    assert!(strace.success());
    let dir = tempfile::tempdir().unwrap();
    Demo::new(dir.path()).fill(tinyclaw_service::now_ms(), 40);
    let trace = dir.path().with_extension("trace");
    let mut traced = Command::new("strace")
        .args(["-f", "-qq", "-e"])
        .arg("trace=openat,open,creat,openat2,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,truncate,ftruncate,chmod,fchmodat,link,linkat,symlink,symlinkat,utimensat")
        .arg("-o")
        .arg(&trace)
        .arg(env!("CARGO_BIN_EXE_tinyclaw-dashboard"))
        .env("TINYCLAW_DIR", dir.path())
        .env("DASHBOARD_LISTEN", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let address = listen_address(&mut traced);
    for path in ASKED {
        assert_eq!(get(address, path).status, 200, "{path}");
    }
    Events::open(address, "/api/live", "").next_named("state");
    let strace = traced.id();
    let children =
        std::fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).unwrap();
    let server = nix::unistd::Pid::from_raw(children.trim().parse().unwrap());
    nix::sys::signal::kill(server, nix::sys::signal::Signal::SIGTERM).unwrap();
    traced.wait().unwrap();
    let trace_text = std::fs::read_to_string(&trace).unwrap();
    std::fs::remove_file(&trace).unwrap();
    assert!(trace_text.contains("message-history.jsonl"), "the trace shows what was read");
    let reads =
        |line: &&str| line.contains("O_RDONLY") || line.contains("+++") || line.contains("---");
    let writes: Vec<&str> =
        trace_text.lines().filter(|it| !reads(it) && !it.contains("resumed>")).collect();
    assert!(writes.is_empty(), "{writes:#?}");
}

/// Reads what the server says it listens on.
fn listen_address(process: &mut std::process::Child) -> std::net::SocketAddr {
    use std::io::{BufRead, BufReader};
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let line = lines.find(|it| it.as_ref().unwrap().contains("listen=")).unwrap().unwrap();
    // Somebody must go on reading, or the server's next line has no reader.
    std::thread::spawn(move || lines.count());
    let (_, rest) = line.split_once("listen=").unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_health_check_asks_a_running_dashboard() {
    let dir = tempfile::tempdir().unwrap();
    let run = |listen: &str, args: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_tinyclaw-dashboard"))
            .args(args)
            .env("TINYCLAW_DIR", dir.path())
            .env("DASHBOARD_LISTEN", listen)
            .env("DASHBOARD_HOSTS", "somewhere.example")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let mut server = run("127.0.0.1:0", &[]);
    let address = listen_address(&mut server).to_string();
    assert!(run(&address, &["healthcheck"]).wait().unwrap().success());
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(!run(&address, &["healthcheck"]).wait().unwrap().success());
}
