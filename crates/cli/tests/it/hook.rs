//! Claude's hooks through the real program to a real gateway, which is away for a while.
#![allow(clippy::print_stdout, reason = "a test that is skipped says so by name")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};
use tinyclaw_testkit::messages_api::MessagesApi;

use crate::{Office, PATIENCE};

/// A gateway over an office's folder.
pub(crate) struct Gateway {
    child: Child,
    port: u16,
}

impl Gateway {
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn start(office: &Office, port: u16) -> Gateway {
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_tinyclaw"));
        let child = Command::new(program.with_file_name("tinyclaw-gateway"))
            .env_clear()
            .env("TINYCLAW_DIR", office.place.state())
            .env("GATEWAY_LISTEN", format!("127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .spawn()
            .expect("tinyclaw-gateway is built beside it");
        let gateway = Gateway { child, port };
        until(|| gateway.ask("GET", "/health", "", "").is_some_and(|it| it.0 == 200));
        gateway
    }

    fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> Option<(u16, String)> {
        ask(self.port, method, path, token, body)
    }

    fn events(&self, token: &str) -> Vec<Value> {
        events(self.port, token).expect("an answer")
    }
}

/// What the gateway at a port answers; `None` while it is away.
pub(crate) fn ask(
    port: u16,
    method: &str,
    path: &str,
    token: &str,
    body: &str,
) -> Option<(u16, String)> {
    let host = format!("127.0.0.1:{port}");
    let mut stream = TcpStream::connect(&host).ok()?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// All events of the gateway at a port; `None` while it is away.
pub(crate) fn events(port: u16, token: &str) -> Option<Vec<Value>> {
    let (status, body) = ask(port, "GET", "/events?since=earliest&limit=1000", token, "")?;
    assert_eq!(status, 200, "{body}");
    Some(serde_json::from_str::<Value>(&body).unwrap()["events"].as_array().unwrap().clone())
}

/// What Claude would run for a hook, as its settings in this home say.
pub(crate) fn installed(office: &Office) -> String {
    let settings = std::fs::read_to_string(office.place.home().join(".claude/settings.json"));
    let settings: Value = serde_json::from_str(&settings.unwrap()).unwrap();
    settings["hooks"]["PreToolUse"][0]["hooks"][0]["command"].as_str().unwrap().to_owned()
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it never came to be");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Runs the command that Claude would, as its settings name it.
pub(crate) fn fire(office: &Office, command: &str, input: &str) {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env_clear()
        .env("HOME", office.place.home())
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(0));
    assert!(done.stdout.is_empty() && done.stderr.is_empty(), "Claude would read it: {done:?}");
}

/// Claude's hooks of this office's person go to a gateway at `port`; a token that may also read.
fn install(office: &Office, port: u16) -> String {
    let token = office.run(&["token", "new", "laptop", "--scope", "ingest,read"]).ok();
    let file = office.place.path("token");
    std::fs::write(&file, &token).unwrap();
    let installed = Command::new(env!("CARGO_BIN_EXE_tinyclaw"))
        .args(["hook", "install", "--source", "claude@test", "--url"])
        .arg(format!("http://127.0.0.1:{port}"))
        .arg("--token-file")
        .arg(&file)
        .env_clear()
        .env("HOME", office.place.home())
        .output()
        .unwrap();
    assert!(installed.status.success(), "{installed:?}");
    token.trim().to_owned()
}

/// What waits for the bus.
fn waiting(office: &Office) -> usize {
    let spool = office.place.home().join(".local/state/tinyclaw/hook");
    let files = std::fs::read_dir(spool).unwrap().flatten();
    files.filter(|it| it.file_name().as_encoded_bytes()[0].is_ascii_digit()).count()
}

#[test]
fn hooks_that_fire_while_the_bus_is_away_come_later_in_order_and_once() {
    let office = Office::closed();
    let port = free_port();
    let token = install(&office, port);
    let token = token.as_str();
    let command = installed(&office);
    let command = command.as_str();
    let hook = |n: u64| {
        json!({ "hook_event_name": "PreToolUse", "session_id": "s1", "tool_use_id": format!("t{n}"), "n": n }).to_string()
    };
    // Nobody is there yet.
    for n in 0..6 {
        fire(&office, command, &hook(n));
    }
    fire(&office, command, "{ torn");
    let gateway = Gateway::start(&office, port);
    until(|| gateway.events(token).len() == 7);
    // It goes, and comes back where it was.
    drop(gateway);
    for n in 6..9 {
        fire(&office, command, &hook(n));
    }
    let gateway = Gateway::start(&office, port);
    fire(&office, command, &hook(9));
    until(|| gateway.events(token).len() == 11);
    let events = gateway.events(token);
    let numbers: Vec<u64> = events.iter().filter_map(|it| it["metadata"]["n"].as_u64()).collect();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    assert_eq!(events[0]["type"], "claude.PreToolUse");
    assert_eq!(events[0]["source"], "claude@test");
    assert_eq!(events[6]["type"], "claude.unreadable");
    // What is acknowledged is taken away a moment later.
    until(|| waiting(&office) == 0);
}

/// What `tinyclaw hook check` says, and whether it is content.
fn check(office: &Office, more: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tinyclaw"));
    command.args(["hook", "check"]).args(more).env_clear().env("HOME", office.place.home());
    let done = command.output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    (String::from_utf8(said).unwrap(), done.status.code())
}

#[test]
fn a_person_can_prove_that_no_hook_is_missing_and_is_told_which_one_is() {
    let office = Office::closed();
    let port = free_port();
    assert!(check(&office, &[]).0.contains("run tinyclaw hook install"));
    install(&office, port);
    let narrow = office.run(&["token", "new", "narrow", "--scope", "ingest"]).ok();
    let file = office.place.path("narrow");
    std::fs::write(&file, narrow).unwrap();
    let command = installed(&office);
    let hook = |n: u64| json!({ "hook_event_name": "PreToolUse", "n": n }).to_string();
    for n in 0..3 {
        fire(&office, &command, &hook(n));
    }
    let (said, code) = check(&office, &[]);
    for part in ["3 of 3 hooks that fired wait here", "cannot ask the bus"] {
        assert!(said.contains(part) && code == Some(1), "{said}");
    }
    let gateway = Gateway::start(&office, port);
    until(|| check(&office, &[]).1 == Some(0));
    let (said, _) = check(&office, &[]);
    for line in ["3 hooks of claude@test fired", "on the bus     3, evt_", "nothing is missing"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    // One is lost while the bus is away: somebody removed it.
    drop(gateway);
    fire(&office, &command, &hook(3));
    let spool = office.place.home().join(".local/state/tinyclaw/hook");
    let fourth = |it: &std::fs::DirEntry| {
        it.file_name().to_string_lossy().starts_with("00000000000000000004-")
    };
    let lost = std::fs::read_dir(spool).unwrap().flatten().find(fourth).unwrap().path();
    std::fs::remove_file(lost).unwrap();
    fire(&office, &command, &hook(4));
    let _gateway = Gateway::start(&office, port);
    until(|| waiting(&office) == 0);
    let (said, code) = check(&office, &[]);
    for line in [
        "5 hooks of",
        "on the bus     4, evt_",
        "missing        1: number 4\n",
        "hooks are missing",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(code, Some(1));
    // A token that only brings them is told what else is needed.
    let said = check(&office, &["--token-file", file.to_str().unwrap()]).0;
    assert!(said.contains("may not read them back"), "{said}");
}

/// What `tinyclaw hook remove` says.
fn remove(office: &Office, settings: &std::path::Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tinyclaw"));
    command.args(["hook", "remove", "--settings"]).arg(settings);
    let done = command.env_clear().env("HOME", office.place.home()).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn who_takes_the_hooks_out_leaves_no_token_behind_once_nothing_waits_for_the_bus() {
    let office = Office::closed();
    let port = free_port();
    let token = install(&office, port);
    let config = office.place.home().join(".config/tinyclaw/hook.json");
    let settings = office.place.home().join(".claude/settings.json");
    let command = installed(&office);
    fire(&office, &command, &json!({ "hook_event_name": "Stop" }).to_string());
    let said = remove(&office, &settings);
    assert!(said.contains("1 hook still to be brought"), "{said}");
    let _gateway = Gateway::start(&office, port);
    until(|| waiting(&office) == 0);
    // Another person's wish: the same hooks in a second file.
    let second = office.place.path("second.json");
    let file = office.place.path("token");
    let again = Command::new(env!("CARGO_BIN_EXE_tinyclaw"))
        .args(["hook", "install", "--url", &format!("http://127.0.0.1:{port}"), "--settings"])
        .args([&second, std::path::Path::new("--token-file"), &file])
        .env_clear()
        .env("HOME", office.place.home())
        .output()
        .unwrap();
    assert!(again.status.success(), "{again:?}");
    assert!(std::fs::read_to_string(&config).unwrap().contains(&token));
    let said = remove(&office, &settings);
    assert!(said.contains("still go to") && config.exists(), "{said}");
    let said = remove(&office, &second);
    assert!(said.contains("its token are forgotten") && !config.exists(), "{said}");
    // A session that began before goes on, and what it tells is kept for nobody.
    fire(&office, &command, &json!({ "hook_event_name": "Stop" }).to_string());
    assert_eq!(waiting(&office), 0);
}

/// The real CLI, with a turn that uses a tool: what it told while the bus was away comes behind what it told before.
#[test]
fn real_claude_brings_its_hooks_to_the_bus_also_those_of_a_turn_while_it_was_away() {
    let claude = match tinyclaw_testkit::claude::program() {
        Ok(it) => it,
        Err(why) => {
            println!("skipped real_claude_brings_its_hooks_to_the_bus: {why}");
            return;
        }
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("runtime");
    let api = runtime.block_on(MessagesApi::start()).expect("the fake API");
    let office = Office::closed();
    let port = free_port();
    let token = install(&office, port);
    let turn = || {
        let prompt = r#"hello [api: tool Bash {"command":"echo hi","description":"test"}]"#;
        let done = Command::new(&claude)
            .args(["-p", prompt, "--allowedTools", "Bash"])
            .env_clear()
            .env("HOME", office.place.home())
            .env("PATH", "/usr/bin:/bin")
            .env("ANTHROPIC_BASE_URL", api.url())
            .env("ANTHROPIC_API_KEY", "dummy")
            .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
            .current_dir(office.place.home())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        assert!(String::from_utf8_lossy(&done.stdout).contains("hi"), "{done:?}");
    };
    let expected = ["SessionStart", "UserPromptSubmit", "PreToolUse", "PostToolUse", "Stop"];
    let told = |gateway: &Gateway| -> Vec<String> {
        let events = gateway.events(&token);
        let names = events.iter().filter_map(|it| it["metadata"]["hook_event_name"].as_str());
        names.filter(|it| expected.contains(it)).map(str::to_owned).collect()
    };
    let gateway = Gateway::start(&office, port);
    turn();
    until(|| told(&gateway) == expected);
    drop(gateway);
    turn();
    assert!(waiting(&office) >= expected.len(), "{} hooks wait", waiting(&office));
    let gateway = Gateway::start(&office, port);
    until(|| told(&gateway) == [expected, expected].concat());
    // Nothing is missing between the first and the last.
    let seq = |it: &Value| it["id"].as_str().unwrap().rsplit('-').next().unwrap().parse::<usize>();
    let numbers: Vec<usize> = gateway.events(&token).iter().map(|it| seq(it).unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
    until(|| waiting(&office) == 0);
}

#[test]
fn a_token_is_shown_once_and_rotated_and_taken_back() {
    let office = Office::closed();
    let first = office.run(&["token", "new", "n8n", "--scope", "ingest"]).ok();
    let first = first.trim();
    assert!(first.starts_with("tc_") && !first.contains(' '), "{first}");
    let file = std::fs::read_to_string(office.place.state().join("tokens.json")).unwrap();
    assert!(!file.contains(first), "the file has its sum only");
    let again = office.run(&["token", "new", "n8n"]);
    assert!(again.err.contains("already"), "{again:?}");
    let gateway = Gateway::start(&office, free_port());
    let tell = |token: &str| gateway.ask("POST", "/events", token, r#"{"type":"a"}"#).unwrap().0;
    assert_eq!(tell(first), 200);
    let second = office.run(&["token", "rotate", "n8n"]).ok();
    let second = second.trim();
    until(|| tell(second) == 200);
    assert_eq!(tell(first), 200, "both are good for a day");
    let listed = office.run(&["token", "list", "--json"]).json();
    assert_eq!((&listed[0]["status"], &listed[0]["scopes"]), (&json!("good"), &json!(["ingest"])));
    assert!(listed[0].get("sum").is_none());
    office.run(&["token", "revoke", "n8n"]).ok();
    // Told to wait, once it was refused too often.
    until(|| matches!(tell(second), 401 | 429));
    assert!(matches!(tell(first), 401 | 429));
    assert!(office.run(&["token", "revoke", "n8n"]).err.contains("no token"));
    assert!(office.run(&["token", "new", "x", "--scope", "everything"]).err.contains("no scope"));
}
