//! A Docker daemon that speaks the real protocol over a unix socket, as far as containers of environments need it. Its containers
//! are folders of this machine, and what is started in one is a process beside the test.
//!
//! It is strict where the real one is: names are taken once, what is paused starts nothing, a volume that is mounted read-only
//! is not filled, and its streams are pieces behind eight bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::process::Command;
use tokio::task::JoinSet;

/// The daemon. Dropped, it and all it started are gone.
#[derive(Debug)]
pub struct FakeDocker {
    dir: TempDir,
    daemon: Arc<Daemon>,
    serving: tokio::task::JoinHandle<()>,
}

/// A container, as a test looks at it.
#[derive(Debug, Clone)]
pub struct FakeContainer {
    /// Without a slash.
    pub name: String,
    /// `created`, `running`, `paused` or `exited`.
    pub state: &'static str,
    /// What it was made of.
    pub body: Value,
    id: String,
    groups: Vec<i32>,
}

#[derive(Debug)]
struct Daemon {
    volumes: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    images: BTreeMap<String, String>,
    containers: Vec<FakeContainer>,
    networks: BTreeMap<String, Value>,
    execs: BTreeMap<String, (String, Value)>,
    asked: Vec<String>,
    breaks: Option<String>,
    count: u32,
}

impl FakeDocker {
    /// One that listens, below this folder.
    pub fn start(below: &Path) -> io::Result<FakeDocker> {
        let dir = tempfile::tempdir_in(below)?;
        let volumes = dir.path().join("volumes");
        std::fs::create_dir(&volumes)?;
        let daemon = Arc::new(Daemon { volumes, state: Mutex::default() });
        let serving = serve(UnixListener::bind(dir.path().join("docker.sock"))?, daemon.clone());
        Ok(FakeDocker { dir, daemon, serving: tokio::spawn(serving) })
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    /// From now on this name stands for this image.
    pub fn tag(&self, name: &str, id: &str) {
        self.daemon.state().images.insert(name.to_owned(), id.to_owned());
    }

    /// Every container there is.
    pub fn containers(&self) -> Vec<FakeContainer> {
        self.daemon.state().containers.clone()
    }

    /// Every network there is, by its name.
    pub fn networks(&self) -> BTreeMap<String, Value> {
        self.daemon.state().networks.clone()
    }

    /// Makes a container that somebody else made.
    pub fn make(&self, name: &str, labels: &Value) {
        let mut state = self.daemon.state();
        let id = state.next("c");
        let body = json!({ "Labels": labels });
        let (name, groups) = (name.to_owned(), Vec::new());
        state.containers.push(FakeContainer { name, state: "running", body, id, groups });
    }

    /// How many processes run in a container of this name, beside its first one.
    pub fn running(&self, name: &str) -> usize {
        let state = self.daemon.state();
        let found = state.containers.iter().find(|it| it.name == name);
        found.map_or(0, |it| it.processes(&self.daemon.volumes).len())
    }

    /// Where what is in a volume lies.
    pub fn volume(&self, name: &str) -> PathBuf {
        self.daemon.volumes.join(name)
    }

    /// What it was asked for, in order: `POST /containers/create`, without queries.
    pub fn asked(&self) -> Vec<String> {
        self.daemon.state().asked.clone()
    }

    /// The next answer to a request whose path ends so breaks off in its middle.
    pub fn break_next(&self, path_end: &str) {
        self.daemon.state().breaks = Some(path_end.to_owned());
    }

    /// Kills the daemon: every connection is cut, and nobody listens. What it started goes on, as under the real one.
    pub async fn kill(&mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
        let _ = std::fs::remove_file(self.socket());
    }

    /// It is there again, and knows what it knew.
    pub fn restart(&mut self) -> io::Result<()> {
        let serving = serve(UnixListener::bind(self.socket())?, self.daemon.clone());
        self.serving = tokio::spawn(serving);
        Ok(())
    }
}

impl Drop for FakeDocker {
    fn drop(&mut self) {
        self.serving.abort();
        for it in &self.daemon.state().containers {
            it.end(&self.daemon.volumes);
        }
    }
}

impl FakeContainer {
    /// Whatever runs in it: what was started, and all that has its HOME. A process that left its group is still in its container.
    fn signal(&self, volumes: &Path, signal: Signal) -> usize {
        for group in &self.groups {
            let _ = killpg(Pid::from_raw(*group), signal);
        }
        let inside = self.processes(volumes);
        for pid in &inside {
            let _ = kill(*pid, signal);
        }
        inside.len()
    }

    /// Ends all of it: nothing forks away.
    fn end(&self, volumes: &Path) {
        while self.signal(volumes, Signal::SIGKILL) > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What runs with a folder of its volumes in its environment.
    fn processes(&self, volumes: &Path) -> Vec<Pid> {
        let mounts = self.body["HostConfig"]["Mounts"].as_array().into_iter().flatten();
        let folders: Vec<String> = mounts
            .filter_map(|it| Some(format!("{}/", volumes.join(it["Source"].as_str()?).display())))
            .collect();
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let inside = all.filter_map(|it| {
            let pid = it.file_name().to_str()?.parse().ok().filter(|it| *it > 1)?;
            let env = std::fs::read(it.path().join("environ")).ok()?;
            let env = String::from_utf8_lossy(&env);
            folders.iter().any(|it| env.contains(it.as_str())).then_some(pid)
        });
        let mut inside: BTreeSet<i32> = inside.collect();
        // And whoever holds those: helpers that took nothing of the environment along.
        for mut pid in inside.clone() {
            while let Some(parent) = helper_above(pid) {
                inside.insert(parent);
                pid = parent;
            }
        }
        inside.into_iter().map(Pid::from_raw).collect()
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.body["Labels"][name].as_str()
    }

    /// Where a path of it lies on this machine, and whether it may be written. `None`: in no volume.
    fn outside(&self, volumes: &Path, path: &Path) -> Option<(PathBuf, bool)> {
        let mounts = self.body["HostConfig"]["Mounts"].as_array()?;
        let mount = mounts
            .iter()
            .filter(|it| path.starts_with(it["Target"].as_str().unwrap_or("\0")))
            .max_by_key(|it| it["Target"].as_str().map_or(0, str::len))?;
        let rest = path.strip_prefix(mount["Target"].as_str()?).ok()?;
        let volume = volumes.join(mount["Source"].as_str()?);
        let outside = if rest.as_os_str().is_empty() { volume } else { volume.join(rest) };
        Some((outside, mount["ReadOnly"] != true))
    }
}

impl State {
    fn next(&mut self, kind: &str) -> String {
        self.count += 1;
        format!("{kind}{:08}", self.count)
    }

    fn container(&mut self, id: &str) -> Option<&mut FakeContainer> {
        self.containers.iter_mut().find(|it| it.id == id || it.name == id)
    }
}

async fn serve(listener: UnixListener, daemon: Arc<Daemon>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        while connections.try_join_next().is_some() {}
        let daemon = daemon.clone();
        connections.spawn(async move {
            // Whatever a connection becomes ends with the daemon, too.
            let streams = Arc::new(tokio::sync::Mutex::new(JoinSet::new()));
            let started = streams.clone();
            let service = service_fn(move |request| {
                let (daemon, streams) = (daemon.clone(), started.clone());
                async move { Ok::<_, io::Error>(daemon.answer(request, &streams).await) }
            });
            let served = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            let _ = served.await;
            while streams.lock().await.join_next().await.is_some() {}
        });
    }
}

type Streams = Arc<tokio::sync::Mutex<JoinSet<()>>>;

fn told(status: u16, body: &Value) -> Response<Body> {
    let answer =
        Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    answer.body(Body::from(body.to_string())).unwrap_or_default()
}

fn message(status: u16, text: &str) -> Response<Body> {
    told(status, &json!({ "message": text }))
}

fn done() -> Response<Body> {
    Response::builder().status(StatusCode::NO_CONTENT).body(Body::empty()).unwrap_or_default()
}

/// An answer that stops before its end.
fn broken() -> Response<Body> {
    let pieces = [Ok(Bytes::from_static(b"{\"Id\":")), Err(io::Error::other("killed"))];
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    Response::builder().status(200).body(body).unwrap_or_default()
}

fn query(uri: &axum::http::Uri, name: &str) -> Option<String> {
    let pairs = uri.query()?.split('&').filter_map(|it| it.split_once('='));
    let value = pairs.filter(|it| it.0 == name).map(|it| it.1).next()?;
    let (mut bytes, mut rest) = (Vec::new(), value.bytes());
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let hex = [rest.next()?, rest.next()?];
        bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

impl Daemon {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>, streams: &Streams) -> Response<Body> {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let path = uri.path().to_owned();
        {
            let mut state = self.state();
            state.asked.push(format!("{method} {path}"));
            if state.breaks.take_if(|it| path.ends_with(it.as_str())).is_some() {
                return broken();
            }
        }
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        if let ["exec", id, "start"] = parts[..] {
            return self.start_exec(id, request, streams).await;
        }
        let body = to_bytes(Body::new(request.into_body()), 64 << 20).await.unwrap_or_default();
        let said = serde_json::from_slice::<Value>(&body).unwrap_or(Value::Null);
        let mut state = self.state();
        match (method, &parts[..]) {
            (Method::GET, ["images", name @ .., "json"]) => match state.images.get(&name.join("/"))
            {
                Some(id) => told(200, &json!({ "Id": id })),
                None => message(404, "No such image"),
            },
            (Method::GET, ["networks", name]) => match state.networks.get(*name) {
                Some(it) => told(200, it),
                None => message(404, "network not found"),
            },
            (Method::POST, ["networks", "create"]) => {
                let name = said["Name"].as_str().unwrap_or_default().to_owned();
                state.networks.insert(name.clone(), said);
                told(201, &json!({ "Id": name }))
            }
            (Method::GET, ["containers", "json"]) => told(200, &state.list(&uri)),
            (Method::POST, ["containers", "create"]) => {
                self.create(&mut state, query(&uri, "name").unwrap_or_default(), said)
            }
            (Method::PUT, ["containers", id, "archive"]) => {
                let dir = query(&uri, "path").unwrap_or_default();
                match state.container(id) {
                    Some(it) => self.unpack(it, Path::new(&dir), &body),
                    None => message(404, "No such container"),
                }
            }
            (Method::DELETE, ["containers", id]) => match state.container(id) {
                Some(it) => {
                    it.end(&self.volumes);
                    let id = it.id.clone();
                    state.containers.retain(|it| it.id != id);
                    done()
                }
                None => message(404, "No such container"),
            },
            (Method::POST, ["containers", id, "exec"]) => {
                let exec = state.next("e");
                match state.container(id) {
                    Some(it) if it.state == "running" => {
                        let id = it.id.clone();
                        state.execs.insert(exec.clone(), (id, said));
                        told(201, &json!({ "Id": exec }))
                    }
                    Some(it) => message(409, &format!("container {} is {}", it.name, it.state)),
                    None => message(404, "No such container"),
                }
            }
            (Method::POST, ["containers", id, order]) => match state.container(id) {
                Some(it) => it.obey(order, &self.volumes),
                None => message(404, "No such container"),
            },
            _ => message(404, "page not found"),
        }
    }

    fn create(&self, state: &mut State, name: String, body: Value) -> Response<Body> {
        if state.containers.iter().any(|it| it.name == name) {
            return message(409, &format!("Conflict. The container name \"/{name}\" is in use"));
        }
        let image = body["Image"].as_str().unwrap_or_default();
        if !state.images.iter().any(|(name, id)| name == image || id == image) {
            return message(404, &format!("No such image: {image}"));
        }
        let network = body["HostConfig"]["NetworkMode"].as_str().unwrap_or("default");
        if !state.networks.contains_key(network) && network != "none" {
            return message(404, &format!("network {network} not found"));
        }
        for mount in body["HostConfig"]["Mounts"].as_array().into_iter().flatten() {
            let source = mount["Source"].as_str().unwrap_or_default();
            if std::fs::create_dir_all(self.volumes.join(source)).is_err() {
                return message(500, "no space");
            }
        }
        let id = state.next("c");
        let made =
            FakeContainer { name, state: "created", body, id: id.clone(), groups: Vec::new() };
        state.containers.push(made);
        told(201, &json!({ "Id": id, "Warnings": [] }))
    }

    #[expect(clippy::disallowed_methods, reason = "tests only: what a daemon unpacks")]
    fn unpack(&self, container: &FakeContainer, dir: &Path, tar: &[u8]) -> Response<Body> {
        let octal = |from: &[u8]| {
            let text = std::str::from_utf8(from).unwrap_or_default();
            usize::from_str_radix(text.trim_matches(['\0', ' ']), 8).unwrap_or(usize::MAX)
        };
        let Some(head) = tar.get(..512).filter(|it| &it[257..262] == b"ustar") else {
            return message(400, "no archive");
        };
        let sum: usize = head.iter().map(|it| usize::from(*it)).sum();
        let of_sum: usize = head[148..156].iter().map(|it| usize::from(*it)).sum();
        if octal(&head[148..156]) != sum - of_sum + 8 * usize::from(b' ') {
            return message(400, "the archive is damaged");
        }
        let end = head[..100].iter().position(|it| *it == 0).unwrap_or(100);
        let name = String::from_utf8_lossy(&head[..end]).into_owned();
        let Some((path, may_write)) = container.outside(&self.volumes, &dir.join(name)) else {
            return message(403, "container rootfs is marked read-only");
        };
        if !may_write {
            return message(403, "mounted volume is marked read-only");
        }
        let size = octal(&head[124..136]);
        let put = if head[156] == b'5' {
            std::fs::create_dir_all(&path)
        } else {
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, tar.get(512..512 + size).unwrap_or_default())
        };
        let mode = u32::try_from(octal(&head[100..108])).unwrap_or(0);
        let put =
            put.and_then(|()| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)));
        match put {
            Ok(()) => Response::new(Body::empty()),
            Err(err) => message(500, &err.to_string()),
        }
    }

    async fn start_exec(
        &self,
        id: &str,
        mut request: Request<Incoming>,
        streams: &Streams,
    ) -> Response<Body> {
        let upgraded = hyper::upgrade::on(&mut request);
        let _ = to_bytes(Body::new(request.into_body()), 64 << 10).await;
        let mut child = {
            let mut state = self.state();
            let Some((container, said)) = state.execs.remove(id) else {
                return message(404, "No such exec instance");
            };
            let Some(container) = state.container(&container) else {
                return message(409, "the container is gone");
            };
            let inside = |path: &str| container.outside(&self.volumes, Path::new(path));
            let words = said["Cmd"].as_array().cloned().unwrap_or_default();
            let mut words = words.iter().filter_map(Value::as_str);
            let Some((program, _)) = words.next().and_then(inside) else {
                return message(400, "no such program in the container");
            };
            #[expect(clippy::disallowed_methods, reason = "tests only: what a container runs")]
            let mut command = Command::new(program);
            command.args(words).env_clear().env("PATH", "/usr/bin:/bin").current_dir("/");
            for (name, value) in said["Env"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|it| it.as_str()?.split_once('='))
            {
                let outside = inside(value).map(|it| it.0);
                command.env(name, outside.unwrap_or_else(|| PathBuf::from(value)));
            }
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let child = match command.process_group(0).spawn() {
                Ok(it) => it,
                Err(err) => return message(400, &format!("exec: {err}")),
            };
            container.groups.extend(child.id().and_then(|it| i32::try_from(it).ok()));
            child
        };
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else {
            return message(500, "no pipes");
        };
        streams.lock().await.spawn(async move {
            let Ok(stream) = upgraded.await else { return };
            let (mut from, to) = tokio::io::split(TokioIo::new(stream));
            let to = tokio::sync::Mutex::new(to);
            let input = async {
                let _ = tokio::io::copy(&mut from, &mut stdin).await;
                drop(stdin);
            };
            let output = async {
                tokio::join!(pass(1, stdout, &to), pass(2, stderr, &to));
                let _ = to.lock().await.shutdown().await;
            };
            // As the real one: an end of the input ends nothing but the input.
            tokio::join!(input, output);
            let _ = child.wait().await;
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "tcp")
            .body(Body::empty())
            .unwrap_or_default()
    }
}

/// The process above another one, when it is a helper.
fn helper_above(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let parent: i32 = stat.rsplit_once(')')?.1.split(' ').nth(2)?.parse().ok()?;
    let name = std::fs::read_to_string(format!("/proc/{parent}/comm")).ok()?;
    name.starts_with("tinyclaw-leash").then_some(parent)
}

/// One of a command's streams, in pieces.
async fn pass(
    kind: u8,
    mut from: impl AsyncRead + Unpin,
    to: &tokio::sync::Mutex<impl AsyncWriteExt + Unpin>,
) {
    let mut chunk = [0; 8192];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        let length = u32::try_from(read).unwrap_or(0).to_be_bytes();
        let piece = [&[kind, 0, 0, 0][..], &length, &chunk[..read]].concat();
        let mut to = to.lock().await;
        if to.write_all(&piece).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}

impl State {
    fn list(&self, uri: &axum::http::Uri) -> Value {
        let filters = query(uri, "filters").and_then(|it| serde_json::from_str::<Value>(&it).ok());
        let labels = filters.map(|it| it["label"].clone()).unwrap_or_default();
        let labels: Vec<&str> =
            labels.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let has = |it: &FakeContainer, label: &str| match label.split_once('=') {
            Some((name, value)) => it.label(name) == Some(value),
            None => it.label(label).is_some(),
        };
        let found = self.containers.iter().filter(|it| labels.iter().all(|label| has(it, label)));
        let listed = found.map(|it| {
            json!({
                "Id": it.id, "Names": [format!("/{}", it.name)], "Labels": it.body["Labels"],
                "State": it.state, "Status": "Up",
            })
        });
        listed.collect()
    }
}

impl FakeContainer {
    fn obey(&mut self, order: &str, volumes: &Path) -> Response<Body> {
        let (next, signal) = match (order, self.state) {
            ("start", "created" | "exited") => ("running", None),
            ("start", "running") | ("stop", "created" | "exited") => return not_modified(),
            ("stop", "running") => ("exited", Some(Signal::SIGKILL)),
            ("pause", "running") => ("paused", Some(Signal::SIGSTOP)),
            ("unpause", "paused") => ("running", Some(Signal::SIGCONT)),
            _ => return message(409, &format!("container {} is {}", self.name, self.state)),
        };
        match signal {
            Some(Signal::SIGKILL) => self.end(volumes),
            Some(signal) => {
                self.signal(volumes, signal);
            }
            None => {}
        }
        self.state = next;
        done()
    }
}

fn not_modified() -> Response<Body> {
    Response::builder().status(StatusCode::NOT_MODIFIED).body(Body::empty()).unwrap_or_default()
}
