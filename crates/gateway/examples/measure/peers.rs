//! The same questions to others, in turns with ours: redis with a flush for every command, and disler's server for Claude's
//! hooks, which runs on bun. Of five rounds the median counts. Who cannot be had is left out, and said so.
//!
//! `redis-server` and `bun` are looked for in PATH. Disler's server is where `DISLER_SERVER` says: the folder `apps/server` of
//! its repository.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::percentile;
use crate::program::Gateway;
use crate::wire::{Connection, Listener, Way, event, filler};

const ROUNDS: usize = 5;
const CONNECTIONS: u64 = 64;
const TIME: Duration = Duration::from_secs(3);
const LISTENERS: usize = 1_000;
/// Events at a hundred a second.
const PACED: u64 = 300;
const PACE: Duration = Duration::from_millis(10);
const BYTES: usize = 600;
/// The stream and the channel in redis.
const NAME: &str = "events";

/// Who is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Ours,
    Redis,
    Disler,
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Who::Ours => "tinyclaw",
            Who::Redis => "redis",
            Who::Disler => "disler",
        }
    }
}

/// A server that runs. It is killed when dropped.
enum Server {
    Ours(Gateway),
    Other(Child, SocketAddr, #[expect(dead_code, reason = "removed at its end")] tempfile::TempDir),
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Server::Other(child, ..) = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) async fn run(base: &Path) -> Value {
    let (mut all, mut left_out) = (vec![Who::Ours], Map::new());
    for (who, is_there, needs) in [
        (Who::Redis, in_path("redis-server").is_some(), "redis-server in PATH"),
        (Who::Disler, disler().is_some(), "bun in PATH, and DISLER_SERVER"),
    ] {
        if is_there {
            all.push(who);
        } else {
            left_out.insert(who.name().to_owned(), format!("is not here: needs {needs}").into());
        }
    }
    let mut told: Map<String, Value> = Map::new();
    let mut rows = vec![[const { Vec::new() }; 4]; all.len()];
    for round in 0..ROUNDS {
        for (who, row) in all.iter().zip(&mut rows) {
            let server = start(*who, base).await;
            let (evs, p99) = ingest(&server, *who).await;
            drop(server);
            let server = start(*who, base).await;
            let (fan_p50, fan_p99) = fan(&server, *who).await;
            for (values, it) in row.iter_mut().zip([evs, p99, fan_p50, fan_p99]) {
                values.push(it);
            }
            eprintln!(
                "round {round}, {}: {evs:.0} events/s, p99 {p99} ms; fan {fan_p50}/{fan_p99} ms",
                who.name()
            );
        }
    }
    for (who, mut row) in all.iter().zip(rows) {
        let [evs, p99, fan_p50, fan_p99] = row.each_mut().map(|it| percentile(it, 0.5));
        told.insert(
            who.name().to_owned(),
            json!({
                "ingest_evs": evs.round(), "ingest_p99_ms": p99, "fan_p50_ms": fan_p50, "fan_p99_ms": fan_p99,
            }),
        );
    }
    json!({ "peers": told, "left_out": left_out })
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|it| it.join(name)).find(|it| it.is_file())
}

fn disler() -> Option<(PathBuf, PathBuf)> {
    let folder = PathBuf::from(std::env::var_os("DISLER_SERVER")?);
    Some((in_path("bun")?, folder)).filter(|it| it.1.join("src/index.ts").is_file())
}

async fn start(who: Who, base: &Path) -> Server {
    if who == Who::Ours {
        return Server::Ours(Gateway::fresh(base).await);
    }
    let dir = tempfile::Builder::new().prefix("tinyclaw-measure-").tempdir_in(base);
    let dir = dir.expect("folder");
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let address = free.expect("a port");
    let port = address.port().to_string();
    let mut command = match disler().filter(|_| who == Who::Disler) {
        Some((bun, folder)) => {
            let mut command = Command::new(bun);
            // Its database is where it is started.
            command.arg(folder.join("src/index.ts")).env("SERVER_PORT", &port);
            command.env("SERVER_HOST", "127.0.0.1");
            command
        }
        None => {
            let mut command = Command::new("redis-server");
            command.args(["--port", &port, "--bind", "127.0.0.1", "--save", ""]);
            command.args(["--appendonly", "yes", "--appendfsync", "always"]);
            command
        }
    };
    command.current_dir(dir.path()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().expect("a server");
    let server = Server::Other(child, address, dir);
    let until = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(address).await.is_err() {
        assert!(Instant::now() < until, "{} does not come up", who.name());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server
}

impl Server {
    fn address(&self) -> SocketAddr {
        match self {
            Server::Ours(it) => it.address,
            Server::Other(_, address, _) => *address,
        }
    }
}

/// Whoever tells a server events, one after the other.
enum Teller {
    Http(Connection, Who),
    Redis(TcpStream),
}

impl Teller {
    async fn new(server: &Server, who: Who) -> Teller {
        let address = server.address();
        match who {
            Who::Redis => {
                let stream = TcpStream::connect(address).await.expect("a connection");
                stream.set_nodelay(true).expect("a socket");
                Teller::Redis(stream)
            }
            _ => Teller::Http(Connection::open(address).await.expect("a connection"), who),
        }
    }

    /// Tells one, and waits until it is acknowledged.
    async fn tell(&mut self, number: u64, clock: Instant, is_heard: bool) {
        let own = event(number, clock, BYTES);
        match self {
            Teller::Http(connection, who) => {
                let body = if *who == Who::Disler { for_disler(number, clock) } else { own };
                let (status, said) = connection.post("/events", &body).await.expect("an answer");
                assert_eq!(status, 200, "{said}");
            }
            Teller::Redis(stream) => {
                let mut commands = command(&["XADD", NAME, "*", "e", &own]);
                let mut lines = 2;
                if is_heard {
                    commands.extend(command(&["PUBLISH", NAME, &own]));
                    lines += 1;
                }
                stream.write_all(&commands).await.expect("redis");
                read_lines(stream, lines).await.expect("an answer of redis");
            }
        }
    }
}

/// The shape that disler's hooks send.
fn for_disler(number: u64, clock: Instant) -> String {
    let sent = clock.elapsed().as_micros();
    let (session, x) = (number % 50, filler(BYTES));
    format!(
        r#"{{"source_app":"measure","session_id":"s{session}","hook_event_type":"PreToolUse","payload":{{"~":[{number},{sent}],"x":"{x}"}}}}"#
    )
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len());
    for it in words {
        out.push_str(&format!("${}\r\n{it}\r\n", it.len()));
    }
    out.into_bytes()
}

/// Reads so many lines, of which none is an error.
async fn read_lines(stream: &mut TcpStream, lines: usize) -> io::Result<()> {
    let mut read = Vec::new();
    while read.iter().filter(|it| **it == b'\n').count() < lines {
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    match read.first() {
        Some(b'-') => Err(io::Error::other(String::from_utf8_lossy(&read).into_owned())),
        _ => Ok(()),
    }
}

/// Events a second, and the 99th percentile of how long each took, in ms.
async fn ingest(server: &Server, who: Who) -> (f64, f64) {
    let clock = Instant::now();
    let mut senders = Vec::new();
    for sender in 0..CONNECTIONS {
        let mut teller = Teller::new(server, who).await;
        senders.push(tokio::spawn(async move {
            let (mut times, mut number) = (Vec::new(), sender << 32);
            while clock.elapsed() < TIME {
                let began = Instant::now();
                teller.tell(number, clock, false).await;
                times.push(began.elapsed().as_secs_f64() * 1e3);
                number += 1;
            }
            times
        }));
    }
    let mut times = Vec::new();
    for it in senders {
        times.extend(it.await.expect("a sender"));
    }
    let seconds = clock.elapsed().as_secs_f64();
    (times.len() as f64 / seconds, percentile(&mut times, 0.99))
}

/// How late a thousand listeners hear of each event, in ms: the median and the 99th percentile.
async fn fan(server: &Server, who: Who) -> (f64, f64) {
    let clock = Instant::now();
    let mut listeners = Vec::new();
    for _ in 0..LISTENERS {
        let listener = listener(server, who).await.expect("a listener");
        listeners.push(crate::fan::listen(listener, 0, PACED, PACED - 1, clock));
    }
    let mut teller = Teller::new(server, who).await;
    let mut ticks = tokio::time::interval(PACE);
    for number in 0..PACED {
        ticks.tick().await;
        teller.tell(number, clock, true).await;
    }
    let mut times = Vec::new();
    for it in listeners {
        times.extend(it.await.expect("a listener").0);
    }
    assert_eq!(
        times.len() as u64,
        LISTENERS as u64 * PACED,
        "{}: everybody got everything",
        who.name()
    );
    (percentile(&mut times, 0.5), percentile(&mut times, 0.99))
}

async fn listener(server: &Server, who: Who) -> io::Result<Listener> {
    let address = server.address();
    match who {
        Who::Ours => Connection::open(address).await?.listen(Way::WebSocket, "").await,
        Who::Disler => Connection::open(address).await?.listen_at(Way::WebSocket, "/stream").await,
        Who::Redis => {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(&command(&["SUBSCRIBE", NAME])).await?;
            read_lines(&mut stream, 6).await?;
            Ok(Listener::of(stream))
        }
    }
}
