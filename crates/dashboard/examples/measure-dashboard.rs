//! Measures the dashboard on a history of one gigabyte and prints one JSON object.
//!
//! The server runs as a process of its own, so that its memory is its own. `truncate` and `move` events wait until the
//! reader has everything, because what nobody read before it was destroyed, nobody can read; all other events do not.
#![allow(clippy::print_stdout, reason = "an example talks to whoever started it")]
#![allow(clippy::disallowed_methods, reason = "it starts itself a second time, as the server")]

#[path = "../tests/it/big.rs"]
mod big;
#[path = "../tests/it/client.rs"]
mod client;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use big::Mishap;
use client::{Events, get};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tinyclaw_dashboard::{Config, Server};
use tinyclaw_service::{Shutdown, Vitals, now_ms};

const GIGABYTE: u64 = 1_000_000_000;
const CLIENTS: usize = 1_000;
const APPENDS: usize = 1_000;
const MISHAPS: usize = 200;

fn main() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most.min(65_536), most);
    }
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (Some("serve"), Some(state)) => serve(Path::new(&state)),
        // The gigabyte alone, to look at in a browser.
        (Some("fill"), Some(state)) => {
            println!("{:?}", big::fill(Path::new(&state), GIGABYTE, now_ms()))
        }
        // One campaign of mishaps by its seed.
        (Some("mishaps"), Some(seed)) => println!("{:?}", mishaps(seed.parse().unwrap())),
        _ => measure(),
    }
}

#[tokio::main(worker_threads = 2)]
async fn serve(state: &Path) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = Config {
        state: state.to_owned(),
        listen: address,
        hosts: Vec::new(),
        proc: None,
        catalogue: tinyclaw_domain::Catalogue::default(),
        access: None,
    };
    let server = Server::start(&config, address.port(), Vitals::new("dashboard", "measured"));
    println!("{address}");
    server.serve(listener, Shutdown::default()).await.unwrap();
}

/// A server in a process of its own, ended when dropped.
struct Running {
    process: Child,
    address: SocketAddr,
}

impl Running {
    fn start(state: &Path) -> Running {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["serve", state.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Running { process, address: line.trim().parse().unwrap() }
    }

    fn rss_kb(&self) -> f64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|it| it.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn measure() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path();
    let (rows, of_thread) = big::fill(state, GIGABYTE, now_ms());
    let began = Instant::now();
    let server = Running::start(state);
    let listen_ms = ms(began.elapsed());
    let asked = Instant::now();
    let first = get(server.address, "/api/messages/recent?n=50").json();
    let first50_ms = ms(asked.elapsed());
    assert_eq!(first["rows"].as_array().unwrap().len(), 50);
    let index_ms = wait_for_index(&server, began, rows);
    let missing = of_thread as i64 - page_through(&server, big::THREAD);
    let latencies = append_and_wait(&server, state, rows);
    let page = get(server.address, "/");
    let rss_mb = server.rss_kb() / 1024.0;
    let per_client_kb = clients(&server, state, rows + APPENDS as u64);
    let search = search_ms(&server);
    drop(server);
    let (lost, doubled, gaps) = mishaps(3);
    let report = json!({
        "listenMs": round(listen_ms),
        "first50Ms": round(first50_ms),
        "threadRowsMissing": missing,
        "appendToClientP50Ms": round(share(&latencies, 0.50)),
        "appendToClientP95Ms": round(share(&latencies, 0.95)),
        "rssMb": round(rss_mb),
        "perClientKb": round(per_client_kb),
        "linesLost": lost,
        "linesDoubled": doubled,
        "pageBytes": page.body.len(),
        "rows": rows,
        "indexMs": round(index_ms),
        "gapsTold": gaps,
        "searchFirstHitMs": round(search.0),
        "searchAllMs": round(search.1),
    });
    println!("{report}");
}

fn ms(it: Duration) -> f64 {
    it.as_secs_f64() * 1e3
}

fn round(it: f64) -> f64 {
    (it * 100.0).round() / 100.0
}

fn share(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

fn wait_for_index(server: &Running, began: Instant, rows: u64) -> f64 {
    loop {
        let status = get(server.address, "/api/status").json();
        let log = &status["logs"]["messages"];
        if log["complete"] == true {
            assert_eq!(log["last"].as_i64().unwrap() - log["first"].as_i64().unwrap(), rows as i64);
            return ms(began.elapsed());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// How many different rows of a thread are reached page by page.
fn page_through(server: &Running, thread: u32) -> i64 {
    let mut seen = std::collections::HashSet::new();
    let page = |from: i64| {
        let path = format!("/api/threads/{thread}/messages?n=1000&chars=0&from={from}");
        get(server.address, &path).json()
    };
    let mut from = page(i64::from(i32::MIN))["first"].as_i64().unwrap();
    loop {
        let it = page(from);
        let rows = it["rows"].as_array().unwrap();
        for row in rows {
            assert_eq!(row["line"]["threadId"], thread);
            seen.insert(row["line"]["key"].as_str().unwrap().to_owned());
        }
        from += rows.len() as i64;
        if rows.is_empty() {
            return seen.len() as i64;
        }
    }
}

fn append_and_wait(server: &Running, state: &Path, first: u64) -> Vec<f64> {
    let mut events = Events::open(server.address, "/api/messages/feed", "").greeted();
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut latencies = Vec::new();
        let mut written: BTreeMap<String, Instant> = BTreeMap::new();
        for _ in 0..APPENDS {
            let event = events.next().expect("the stream goes on");
            let came = Instant::now();
            let key = event.json()["line"]["key"].as_str().unwrap().to_owned();
            while !written.contains_key(&key) {
                let (key, at) = receiver.recv().unwrap();
                written.insert(key, at);
            }
            latencies.push(ms(came - written[&key]));
        }
        latencies.sort_by(f64::total_cmp);
        latencies
    });
    let mut chance = StdRng::seed_from_u64(2);
    for at in 0..APPENDS as u64 {
        std::thread::sleep(Duration::from_millis(chance.random_range(1..9)));
        let line = big::line(first + at, 5, now_ms(), "a line that somebody waits for");
        let began = Instant::now();
        big::add(state, line.as_bytes());
        sender.send((format!("tg-{}", first + at), began)).unwrap();
    }
    reader.join().unwrap()
}

/// Memory of each of a thousand clients, all of which got every line.
fn clients(server: &Running, state: &Path, first: u64) -> f64 {
    let before = server.rss_kb();
    let mut clients: Vec<Events> = (0..CLIENTS)
        .map(|_| Events::open(server.address, "/api/messages/feed", "").greeted())
        .collect();
    for at in 0..5 {
        big::add(state, big::line(first + at, 5, now_ms(), "to everybody").as_bytes());
    }
    for client in &mut clients {
        for at in 0..5 {
            let event = client.next().expect("the stream goes on");
            assert_eq!(event.json()["line"]["key"], format!("tg-{}", first + at));
        }
    }
    (server.rss_kb() - before) / CLIENTS as f64
}

/// Until the first hit of a search for words that stand once, near the beginning; and until its end.
fn search_ms(server: &Running) -> (f64, f64) {
    let began = Instant::now();
    let mut events =
        Events::open(server.address, "/api/messages/search?q=somebody%20waits&hits=1", "");
    events.next_named("hit");
    let first = ms(began.elapsed());
    let began = Instant::now();
    let mut events =
        Events::open(server.address, "/api/messages/search?q=words%20nobody%20wrote", "");
    events.next_named("end");
    (first, ms(began.elapsed()))
}

/// Appends numbered lines through 200 mishaps, and counts which of them a reader missed or got twice.
fn mishaps(seed: u64) -> (usize, usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().to_owned();
    let server = Running::start(&state);
    let address = server.address;
    let (to_reader, orders) = mpsc::channel::<()>();
    let (sender, seen) = mpsc::channel::<Option<u64>>();
    let reader = std::thread::spawn(move || {
        let mut gaps = 0;
        let mut events = Events::open(address, "/api/messages/feed?last=1000", "").greeted();
        while let Some(event) = events.next() {
            if event.name == "gap" {
                gaps += 1;
            } else if event.name.is_empty() {
                let key = event.json()["line"]["key"].as_str().map(str::to_owned);
                let number: u64 = key.expect("a line")[3..].parse().unwrap();
                if number == u64::from(u32::MAX) {
                    break;
                }
                sender.send(Some(number)).unwrap();
            }
            if orders.try_recv().is_ok() {
                events = Events::open(address, "/api/messages/feed", &events.last_id);
            }
        }
        gaps
    });
    let mut chance = StdRng::seed_from_u64(seed);
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    let mut written = 0;
    let write = |number: u64| {
        big::add(&state, big::line(number, 5, now_ms(), "numbered").as_bytes());
    };
    for _ in 0..MISHAPS {
        for _ in 0..chance.random_range(1..40) {
            write(written);
            written += 1;
        }
        let mishap = Mishap::any(&mut chance);
        if mishap.destroys() {
            while !counts.contains_key(&(written - 1)) {
                if let Ok(Some(it)) = seen.recv_timeout(client::PATIENCE) {
                    *counts.entry(it).or_default() += 1;
                }
            }
        }
        if mishap == Mishap::Reconnect {
            to_reader.send(()).unwrap();
        }
        mishap.happen(&state, &big::line(written, 5, now_ms(), "numbered"));
        written += u64::from(mishap.writes());
        std::thread::sleep(Duration::from_millis(chance.random_range(0..12)));
    }
    write(u64::from(u32::MAX));
    let gaps = reader.join().unwrap();
    for it in seen.try_iter().flatten() {
        *counts.entry(it).or_default() += 1;
    }
    let lost = (0..written).filter(|it| !counts.contains_key(it)).count();
    (lost, counts.values().filter(|it| **it > 1).count(), gaps)
}
