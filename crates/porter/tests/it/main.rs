//! The porter against a Docker daemon that speaks the real protocol.
#![expect(clippy::disallowed_methods, reason = "a test plays the operator")]

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tinyclaw_porter::{Config, Porter};
use tinyclaw_service::Shutdown;
use tinyclaw_testkit::docker::FakeDocker;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Stands for the helper: says that it is there, says back what it hears, and leaves with its input.
const HELPER: &str = "#!/bin/sh\necho \"here $1 $2 $HOME\"\necho oh >&2\nexec cat\n";

/// A porter, its daemon, and the operator's file.
struct House {
    docker: FakeDocker,
    dir: tempfile::TempDir,
    shutdown: Shutdown,
    porter: tokio::task::JoinHandle<()>,
}

impl House {
    async fn with(envs: Value, change: impl FnOnce(&mut Config)) -> House {
        let dir = tempfile::tempdir().unwrap();
        let docker = FakeDocker::start(dir.path()).unwrap();
        docker.tag("claude-agent", "sha256:1");
        std::fs::write(dir.path().join("envs.json"), envs.to_string()).unwrap();
        std::fs::write(dir.path().join("helper"), HELPER).unwrap();
        let us: BTreeSet<u32> = [nix_uid()].into();
        let mut config = Config {
            socket: dir.path().join("porter/porter.sock"),
            exec_uids: us,
            status_uids: BTreeSet::new(),
            envs: dir.path().join("envs.json"),
            docker: docker.socket(),
            helper: dir.path().join("helper"),
            // Only what is asked for happens.
            look_every: Duration::from_secs(600),
        };
        change(&mut config);
        let (shutdown, porter) = start(config);
        House { docker, dir, shutdown, porter }
    }

    async fn new() -> House {
        let dev = json!({ "isolation": "container", "image": "claude-agent" });
        House::with(json!({ "dev": dev, "dev2": dev, "here": { "isolation": "none" } }), |_| {})
            .await
    }

    /// One that looks after what rests.
    async fn attentive(envs: Value) -> House {
        House::with(envs, |it| it.look_every = Duration::from_millis(20)).await
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("porter/porter.sock")
    }

    async fn ask(&self, request: &str) -> (u16, Value) {
        ask(&self.socket(), request, "").await
    }

    /// A link into an environment, up to its helper's first line.
    async fn link(&self, env: &str) -> (UnixStream, String) {
        let mut stream = UnixStream::connect(self.socket()).await.unwrap();
        stream.write_all(link_request(env).as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let line = read_line(&mut stream).await;
        (stream, line)
    }

    fn state_of(&self, name: &str) -> Option<&'static str> {
        self.docker.containers().into_iter().find(|it| it.name == name).map(|it| it.state)
    }

    async fn until(&self, what: &str, is_so: impl Fn(&House) -> bool) {
        for _ in 0..3000 {
            if is_so(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}: {:?}", self.docker.containers());
    }
}

fn start(config: Config) -> (Shutdown, tokio::task::JoinHandle<()>) {
    let shutdown = Shutdown::on_signals().unwrap();
    let porter = Porter::listen(config).unwrap();
    let serving = porter.serve(shutdown.clone());
    (shutdown, tokio::spawn(async move { serving.await.unwrap() }))
}

fn nix_uid() -> u32 {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").unwrap().uid()
}

fn link_request(env: &str) -> String {
    format!(
        "POST /v1/envs/{env}/exec HTTP/1.1\r\nHost: porter\r\nConnection: Upgrade\r\nUpgrade: tinyclaw-link\r\n\r\n"
    )
}

async fn ask(socket: &Path, request: &str, more: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let text = format!("{request} HTTP/1.1\r\nHost: porter\r\nConnection: close\r\n{more}\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut all = String::new();
    let _ = stream.read_to_string(&mut all).await;
    let status = all.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0);
    let body = all.split_once("\r\n\r\n").map_or("", |it| it.1);
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

async fn read_head(stream: &mut UnixStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn read_line(stream: &mut UnixStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(line).unwrap()
}

#[tokio::test]
async fn a_link_leads_to_a_hub_in_a_container_that_is_made_for_it() {
    let house = House::new().await;
    let none = json!({
        "env": "dev", "name": "claude-agent-dev", "exists": false, "running": false, "paused": false, "links": 0,
    });
    assert_eq!(house.ask("GET /v1/envs/dev").await, (200, none));
    let (mut link, line) = house.link("dev").await;
    let home = house.docker.volume("tinyclaw-dev-home").join("agent");
    assert_eq!(line, format!("here hub --container {}\n", home.display()));
    link.write_all(b"\x00\xff any bytes\n").await.unwrap();
    assert_eq!(read_line_bytes(&mut link).await, b"\x00\xff any bytes\n");
    let (_, status) = house.ask("GET /v1/envs/dev").await;
    assert_eq!((&status["running"], &status["links"]), (&json!(true), &json!(1)));
    let made = house.docker.containers();
    assert_eq!(made.len(), 1, "what filled the volumes is gone: {made:?}");
    let helper = house.docker.volume("tinyclaw-dev-helper").join("tinyclaw-leash");
    assert_eq!(std::fs::metadata(&helper).unwrap().permissions().mode() & 0o777, 0o755);
    assert!(house.docker.volume("tinyclaw-dev-work").is_dir());
    assert_eq!(house.docker.networks()["tinyclaw-dev-in"]["Internal"], true);
    // Another link makes nothing anew.
    let (_second, _) = house.link("dev").await;
    assert_eq!(house.docker.containers().len(), 1);
    // An end of the input is the hub's to answer to: it leaves, and so does the link.
    link.shutdown().await.unwrap();
    assert_eq!(link.read(&mut [0; 8]).await.unwrap(), 0);
}

async fn read_line_bytes(stream: &mut UnixStream) -> Vec<u8> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.push(stream.read_u8().await.unwrap());
    }
    line
}

#[tokio::test]
async fn no_request_names_anything_but_an_environment_and_what_is_to_become_of_it() {
    let house = House::new().await;
    let socket = house.socket();
    let body = "Content-Type: application/json\r\nContent-Length: 23\r\n";
    let (status, told) = ask(&socket, "POST /v1/envs/dev/start", body).await;
    assert_eq!((status, &told["code"]), (400, &json!("body")));
    let chunked = "Transfer-Encoding: chunked\r\n";
    assert_eq!(ask(&socket, "POST /v1/envs/dev/start", chunked).await.0, 400);
    for (request, status) in [
        ("POST /v1/envs/dev/start?image=root", 400),
        ("POST /v1/envs/..%2fdev/start", 404),
        ("POST /v1/envs/dev%20x/start", 404),
        ("POST /v1/envs/DEV/start", 404),
        ("POST /v1/envs/nobody/start", 404),
        ("POST /v1/envs/here/start", 409),
        ("POST /v1/envs/dev/exec", 426),
        ("POST /v1/envs/dev/attach", 426),
        ("POST /v1/envs/dev/remove", 404),
        ("POST /containers/create", 404),
        ("GET /v1/envs/dev/start", 405),
        ("DELETE /v1/envs/dev", 405),
    ] {
        assert_eq!(house.ask(request).await.0, status, "{request}");
    }
    assert!(house.docker.asked().is_empty(), "{:?}", house.docker.asked());
}

#[tokio::test]
async fn a_user_who_is_not_named_may_ask_for_nothing_and_one_of_the_gateways_for_no_link() {
    let dev = json!({ "isolation": "container", "image": "claude-agent" });
    let us = nix_uid();
    let stranger = House::with(json!({ "dev": dev }), |it| it.exec_uids = [us + 1].into()).await;
    for request in [
        "GET /v1/envs/dev",
        "POST /v1/envs/dev/start",
        "POST /v1/envs/dev/exec",
        "POST /v1/envs/dev/attach",
    ] {
        let (status, told) = stranger.ask(request).await;
        assert_eq!((status, &told["code"]), (403, &json!("not_yours")), "{request}");
    }
    assert!(stranger.docker.asked().is_empty());
    let gateway = House::with(json!({ "dev": dev }), |it| {
        (it.exec_uids, it.status_uids) = ([us + 1].into(), [us].into());
    })
    .await;
    let mut stream = UnixStream::connect(gateway.socket()).await.unwrap();
    stream.write_all(link_request("dev").as_bytes()).await.unwrap();
    assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 403 "));
    assert!(gateway.docker.asked().is_empty());
    assert_eq!(gateway.ask("POST /v1/envs/dev/start").await.0, 200);
    assert_eq!(gateway.state_of("claude-agent-dev"), Some("running"));
}

#[tokio::test]
async fn an_environment_is_known_by_its_label_and_exact_name() {
    let house = House::new().await;
    house.docker.make("claude-agent-dev", &json!({}));
    house.docker.make("x-claude-agent-dev2", &json!({ "tinyclaw.env": "dev2" }));
    let (status, told) = house.ask("POST /v1/envs/dev/start").await;
    assert_eq!((status, &told["code"]), (409, &json!("name_taken")), "{told}");
    let (status, told) = house.ask("POST /v1/envs/dev2/start").await;
    assert_eq!((status, &told["name"]), (200, &json!("claude-agent-dev2")), "{told}");
    assert_eq!(house.ask("POST /v1/envs/dev2/stop").await.0, 200);
    assert_eq!(house.state_of("claude-agent-dev2"), Some("exited"));
    assert_eq!(house.state_of("claude-agent-dev"), Some("running"), "somebody else's");
    assert_eq!(house.state_of("x-claude-agent-dev2"), Some("running"), "nor that one");
}

#[tokio::test]
async fn what_nobody_uses_is_paused_and_stopped_and_is_there_again_when_asked_for() {
    let rests = |pause: &str, stop: &str| {
        json!({
            "isolation": "container", "image": "claude-agent", "pauseAfter": pause, "stopAfter": stop,
        })
    };
    let envs =
        json!({ "dev": rests("1s", "1h"), "dev2": rests("1h", "1s"), "used": rests("1s", "1s") });
    let house = House::attentive(envs).await;
    let (_used, _) = house.link("used").await;
    for (env, state) in [("dev", "paused"), ("dev2", "exited")] {
        let name = format!("claude-agent-{env}");
        drop(house.link(env).await);
        house.until(state, |it| it.state_of(&name) == Some(state)).await;
        let (_link, line) = house.link(env).await;
        assert!(line.starts_with("here hub"), "{line}");
    }
    assert_eq!(house.state_of("claude-agent-used"), Some("running"), "a link leads into it");
    assert_eq!(house.docker.containers().len(), 3);
}

#[tokio::test]
async fn whoever_comes_back_to_a_container_that_was_stopped_does_not_start_it() {
    let dev = json!({ "isolation": "container", "image": "claude-agent", "pauseAfter": "1s" });
    let house = House::attentive(json!({ "dev": dev })).await;
    let attach = async || {
        let mut stream = UnixStream::connect(house.socket()).await.unwrap();
        let request = link_request("dev").replace("/exec", "/attach");
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await;
        (stream, head)
    };
    assert!(attach().await.1.starts_with("HTTP/1.1 410 "), "there is none");
    assert!(house.docker.containers().is_empty());
    drop(house.link("dev").await);
    house.until("paused", |it| it.state_of("claude-agent-dev") == Some("paused")).await;
    let (mut link, head) = attach().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "one that is paused is woken: {head}");
    assert!(read_line(&mut link).await.starts_with("here hub"));
    assert_eq!(house.state_of("claude-agent-dev"), Some("running"));
    assert_eq!(house.ask("POST /v1/envs/dev/stop").await.0, 200);
    assert!(attach().await.1.starts_with("HTTP/1.1 410 "));
    assert_eq!(house.state_of("claude-agent-dev"), Some("exited"));
}

#[tokio::test]
async fn a_container_is_made_anew_of_what_the_operator_says_now_and_removed_with_its_environment() {
    let dev = json!({ "isolation": "container", "image": "claude-agent" });
    let house = House::attentive(json!({ "dev": dev })).await;
    let write = |envs: Value| {
        let next = house.dir.path().join("next");
        std::fs::write(&next, envs.to_string()).unwrap();
        std::fs::rename(next, house.dir.path().join("envs.json")).unwrap();
    };
    let memory = || house.docker.containers()[0].body["HostConfig"]["Memory"].clone();
    house.ask("POST /v1/envs/dev/start").await;
    assert_eq!(memory(), 2_u64 << 30);
    write(json!({ "dev": { "isolation": "container", "image": "claude-agent", "memory": "1g" } }));
    house.ask("POST /v1/envs/dev/start").await;
    assert_eq!((memory(), house.docker.containers().len()), (json!(1_u64 << 30), 1));
    let (link, _) = house.link("dev").await;
    house.docker.tag("claude-agent", "sha256:2");
    let (_second, _) = house.link("dev").await;
    assert_eq!(house.docker.containers()[0].body["Image"], "sha256:1", "somebody works in it");
    drop((link, _second));
    write(json!({}));
    house.until("it is removed", |it| it.docker.containers().is_empty()).await;
    assert!(house.docker.volume("tinyclaw-dev-work").is_dir(), "what people made stays");
}

#[tokio::test]
async fn a_daemon_that_dies_in_mid_answer_is_told_of_and_asked_again() {
    let mut house = House::new().await;
    for end in ["/containers/json", "/containers/create", "/claude-agent/json"] {
        house.docker.break_next(end);
        let (status, told) = house.ask("POST /v1/envs/dev2/start").await;
        assert_eq!((status, &told["code"]), (503, &json!("docker_away")), "{end}: {told}");
    }
    assert_eq!(house.ask("POST /v1/envs/dev2/start").await.0, 200);
    let (mut link, _) = house.link("dev").await;
    house.docker.kill().await;
    assert_eq!(link.read(&mut [0; 8]).await.unwrap_or(0), 0, "the link ends with it");
    let (status, told) = house.ask("GET /v1/envs/dev").await;
    assert_eq!((status, &told["code"]), (503, &json!("docker_away")), "{told}");
    house.docker.restart().unwrap();
    let (_link, line) = house.link("dev").await;
    assert!(line.starts_with("here hub"), "{line}");
}

#[tokio::test]
async fn a_porter_that_was_killed_finds_what_it_made() {
    let mut house = House::new().await;
    let (mut link, _) = house.link("dev").await;
    house.shutdown.begin();
    (&mut house.porter).await.unwrap();
    // Its process would be gone with the link; here whoever serves it may live on, which a peer need not.
    let _ = link.shutdown().await;
    // Half a filler, of one that was killed in its work.
    house.docker.make("claude-agent-dev2.filler", &json!({ "tinyclaw.env": "dev2" }));
    let config = Config {
        socket: house.socket(),
        exec_uids: [nix_uid()].into(),
        status_uids: BTreeSet::new(),
        envs: house.dir.path().join("envs.json"),
        docker: house.docker.socket(),
        helper: house.dir.path().join("helper"),
        look_every: Duration::from_secs(60),
    };
    let (_shutdown, _porter) = start(config.clone());
    assert!(Porter::listen(config).is_err(), "two of them are one too many");
    let (_link, line) = house.link("dev").await;
    assert!(line.starts_with("here hub"), "{line}");
    assert_eq!(house.ask("POST /v1/envs/dev2/start").await.0, 200);
    let mut names: Vec<_> = house.docker.containers().into_iter().map(|it| it.name).collect();
    names.sort();
    assert_eq!(names, ["claude-agent-dev", "claude-agent-dev2"]);
}

#[tokio::test]
async fn what_a_person_has_to_mend_is_said_to_them() {
    let envs = json!({ "dev": { "isolation": "container", "image": "not/here:1" } });
    let house = House::with(envs, |_| {}).await;
    let (status, told) = house.ask("POST /v1/envs/dev/start").await;
    assert_eq!((status, &told["code"]), (409, &json!("image_missing")));
    assert!(told["detail"].as_str().unwrap().contains("not/here:1"), "{told}");
    std::fs::write(house.dir.path().join("envs.json"), "{").unwrap();
    assert_eq!(house.ask("GET /v1/envs/dev").await.1["code"], "envs_unreadable");
    let dev = json!({ "isolation": "container", "image": "claude-agent" });
    let house = House::with(json!({ "dev": dev }), |it| {
        // A program that has to be loaded by another one, as far as can be seen.
        std::fs::write(&it.helper, b"\x7fELF").unwrap();
    })
    .await;
    let (status, told) = house.ask("POST /v1/envs/dev/start").await;
    assert_eq!((status, &told["code"]), (409, &json!("helper")), "{told}");
}
