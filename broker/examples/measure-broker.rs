//! Measures the broker against a fake GitHub that takes 50 ms a mint, and prints one JSON object.
//!
//! `warmPerS` and `warmP99Ms` are `GET /token` at 32 connections, `mints` what that cost at
//! GitHub, `rssMb` the broker's memory after it, `startMs` the time from its start to its first
//! answer. `coldHerdMints` is what 1,000 simultaneous callers on one cold key cost at GitHub;
//! `rssAfterHerdMb` includes the buffers of their 1,000 connections, which the allocator keeps.
//! `freeze100Ms` is what it takes to revoke them and a hundred more. `widerRequests` and `panics`
//! are counted over 1,000,000 fuzzed query strings. With npm at hand a Node broker with one
//! shared auth client is measured in the same run (`nodePerS`), else it is skipped by name.
//!
//! `warmCpuUs` and `nodeCpuUs` are the broker's own processor time for one request: unlike the
//! rates they do not depend on what else the machine does.

#![allow(clippy::disallowed_methods, reason = "it starts the processes it measures")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use serde_json::json;
use tinyclaw_broker::errand::{self, Address};
use tinyclaw_broker::policy::USUAL;
use tinyclaw_broker::{Broker, Clock, Config, daemon, process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use support::github::{APP_ID, GitHub, Scope};
use support::rsa_key;

const MINT_MS: u64 = 50;
const CONNECTIONS: usize = 32;
const HERD: usize = 1000;
const QUERIES: u64 = 1_000_000;
const WARM_FOR: Duration = Duration::from_secs(6);
const SEED: &str = "/token?installation_id=12345&repositories=my-repo&permissions=contents:write,pull_requests:write";

fn main() -> anyhow::Result<()> {
    if std::env::args().nth(1).as_deref() == Some("the-broker-itself") {
        process::harden()?;
        process::init_log(None);
        return daemon::run(Config::from_env(|name| std::env::var(name).ok())?);
    }
    process::set_file_limit();
    let folder = tempfile::tempdir()?;
    let (key, public) = rsa_key(folder.path());
    let github = GitHub::start(&public);
    github.set_mint_ms(MINT_MS);

    let began = Instant::now();
    let (mut broker, address) = start_broker(folder.path(), &key, &github)?;
    let start_ms = began.elapsed().as_secs_f64() * 1000.0;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let warm = runtime.block_on(warm(&broker, address, SEED));
    let mints = github.mints();
    let rss_after_warm = rss_mb(&broker);
    runtime.block_on(herd(address, "/token?installation_id=12345&repositories=docs"));
    let cold_herd_mints = github.mints() - mints;
    let rss_after_herd = rss_mb(&broker);
    let freeze_ms = freeze(address, &github)?;
    let _ = broker.kill();
    let _ = broker.wait();

    let node = node(folder.path(), &key, &github, &runtime);
    let (wider, panics, granted) = fuzz(folder.path(), &key, &github);
    let mut numbers = json!({
        "warmPerS": warm.per_s.round(),
        "warmP50Ms": warm.p50_ms,
        "warmP99Ms": warm.p99_ms,
        "warmCpuUs": warm.cpu_us,
        "mints": mints,
        "coldHerdMints": cold_herd_mints,
        "rssMb": rss_after_warm,
        "rssAfterHerdMb": rss_after_herd,
        "freeze100Ms": freeze_ms,
        "startMs": (start_ms * 10.0).round() / 10.0,
        "fuzzed": QUERIES,
        "fuzzGranted": granted,
        "widerRequests": wider,
        "panics": panics,
    });
    match node {
        Ok(node) => {
            numbers["nodePerS"] = json!(node.per_s.round());
            numbers["nodeP99Ms"] = json!(node.p99_ms);
            numbers["nodeCpuUs"] = json!(node.cpu_us);
            numbers["timesNodeCpu"] = json!((node.cpu_us / warm.cpu_us * 10.0).round() / 10.0);
            numbers["timesNode"] = json!((warm.per_s / node.per_s * 10.0).round() / 10.0);
        }
        Err(reason) => numbers["nodeSkipped"] = json!(format!("{reason:#}")),
    }
    writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&numbers)?)?;
    Ok(())
}

/// Starts this program again as the broker, and waits for its first answer.
fn start_broker(folder: &Path, key: &Path, github: &GitHub) -> anyhow::Result<(Child, SocketAddr)> {
    // A port that was free a moment ago; reading it from the log would measure the log.
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let child = Command::new(std::env::current_exe()?)
        .arg("the-broker-itself")
        .env_clear()
        .env("BROKER_LISTEN", address.to_string())
        .env("GITHUB_APP_ID", APP_ID)
        .env("GITHUB_APP_PEM", key)
        .env("GITHUB_API_URL", github.url())
        .env("BROKER_AUDIT", folder.join("audit.jsonl"))
        .env("BROKER_FREEZE_FILE", folder.join("freeze"))
        .stderr(Stdio::null())
        .spawn()?;
    wait_for(address, "/health")?;
    Ok((child, address))
}

fn wait_for(address: SocketAddr, path: &str) -> anyhow::Result<()> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Ok(mut stream) = TcpStream::connect(address) {
            let _ = write!(
                stream,
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            );
            let mut text = String::new();
            if stream.read_to_string(&mut text).is_ok() && text.starts_with("HTTP/1.1 ") {
                return Ok(());
            }
        }
        anyhow::ensure!(Instant::now() < end, "{address} did not come up");
        std::thread::sleep(Duration::from_micros(300));
    }
}

fn rss_mb(child: &Child) -> f64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).unwrap_or("0");
    let kb: f64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0);
    (kb / 1024.0 * 100.0).round() / 100.0
}

/// Everybody connects first, then all ask at once.
async fn herd(address: SocketAddr, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n");
    let mut connections = Vec::new();
    for _ in 0..HERD {
        connections.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    let mut callers = tokio::task::JoinSet::new();
    for mut connection in connections {
        let request = request.clone();
        callers.spawn(async move {
            connection.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        });
    }
    callers.join_all().await;
}

/// How long it takes to revoke a hundred tokens, each of them a request to GitHub.
fn freeze(address: SocketAddr, github: &GitHub) -> anyhow::Result<u64> {
    let names: Vec<String> = (0..100).map(|it| format!("r{it}")).collect();
    github.install(100, "bob", &names.iter().map(String::as_str).collect::<Vec<_>>());
    let broker = Address::new(&address.ip().to_string(), address.port());
    for name in &names {
        let path = format!("/token?installation_id=100&repositories={name}");
        anyhow::ensure!(errand::ask(&broker, "GET", &path, None, None)?.0 == 200, "no token");
    }
    let began = Instant::now();
    let (status, body) = errand::ask(&broker, "POST", "/freeze", None, None)?;
    anyhow::ensure!(status == 200, "the freeze failed: {body}");
    Ok(began.elapsed().as_millis() as u64)
}

/// Seconds of processor that a process has used, all its threads together.
fn cpu_s(child: &Child) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').skip(11).take(2);
    let ticks: f64 = fields.filter_map(|it| it.parse::<f64>().ok()).sum();
    // Linux counts a hundred a second, whatever the machine.
    ticks / 100.0
}

struct Warm {
    per_s: f64,
    cpu_us: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// 32 connections, each asking again as soon as it has its answer.
async fn warm(child: &Child, address: SocketAddr, path: &str) -> Warm {
    let request = format!("GET {path} HTTP/1.1\r\nHost: broker\r\n\r\n");
    let mut callers = tokio::task::JoinSet::new();
    let begin = Instant::now() + Duration::from_millis(500);
    let cpu_before = cpu_s(child);
    let asked = Arc::new(AtomicU64::new(0));
    for _ in 0..CONNECTIONS {
        let (request, counted) = (request.clone(), asked.clone());
        callers.spawn(async move {
            let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
            connection.set_nodelay(true).unwrap();
            let mut buffer = vec![0; 8192];
            let mut times = Vec::with_capacity(200_000);
            loop {
                let asked = Instant::now();
                connection.write_all(request.as_bytes()).await.unwrap();
                let mut length = 0;
                loop {
                    let read = connection.read(&mut buffer[length..]).await.unwrap();
                    assert!(read > 0, "the connection was closed");
                    length += read;
                    if is_whole(&buffer[..length]) {
                        break;
                    }
                }
                assert!(buffer.starts_with(b"HTTP/1.1 200"));
                counted.fetch_add(1, Ordering::Relaxed);
                // The first half second warms up.
                if asked >= begin {
                    times.push(asked.elapsed());
                    if begin.elapsed() >= WARM_FOR {
                        return times;
                    }
                }
            }
        });
    }
    let mut times: Vec<Duration> = callers.join_all().await.into_iter().flatten().collect();
    let per_s = times.len() as f64 / begin.elapsed().as_secs_f64();
    let cpu_us = (cpu_s(child) - cpu_before) * 1e6 / asked.load(Ordering::Relaxed) as f64;
    times.sort_unstable();
    let ms = |share: f64| {
        let it = times[((times.len() - 1) as f64 * share) as usize];
        (it.as_secs_f64() * 1_000_000.0).round() / 1000.0
    };
    Warm { per_s, cpu_us: (cpu_us * 10.0).round() / 10.0, p50_ms: ms(0.5), p99_ms: ms(0.99) }
}

/// Head and as many bytes as it promises.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|it| it == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
    let length =
        text.split("content-length: ").nth(1).and_then(|it| it.lines().next()?.parse().ok());
    answer.len() >= head + 4 + length.unwrap_or(0_usize)
}

/// The seed's broker, mended to keep one auth client, measured by the same caller.
fn node(
    folder: &Path,
    key: &Path,
    github: &GitHub,
    runtime: &tokio::runtime::Runtime,
) -> anyhow::Result<Warm> {
    use anyhow::Context;
    let folder = folder.join("node");
    std::fs::create_dir(&folder)?;
    std::fs::write(folder.join("package.json"), r#"{"type":"module","private":true}"#)?;
    std::fs::write(folder.join("broker.js"), NODE_BROKER)?;
    let packages = ["express@5", "@octokit/auth-app@8", "@octokit/request@10"];
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund"])
        .args(packages)
        .current_dir(&folder);
    let status =
        npm.stdout(Stdio::null()).stderr(Stdio::null()).status().context("npm is not here")?;
    anyhow::ensure!(status.success(), "npm could not install express and @octokit/auth-app");
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut child = Command::new("node")
        .arg("broker.js")
        .current_dir(&folder)
        .env("PORT", address.port().to_string())
        .env("GITHUB_APP_ID", APP_ID)
        .env("PEM", key)
        .env("GITHUB_API_URL", github.url())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("node is not here")?;
    let measured = wait_for(address, SEED).map(|()| runtime.block_on(warm(&child, address, SEED)));
    let _ = child.kill();
    let _ = child.wait();
    measured
}

const NODE_BROKER: &str = r#"
import express from "express";
import fs from "node:fs";
import { createAppAuth } from "@octokit/auth-app";
import { request } from "@octokit/request";
const auth = createAppAuth({
  appId: process.env.GITHUB_APP_ID,
  privateKey: fs.readFileSync(process.env.PEM, "utf8"),
  // The fake wants the documented headers, which this library's own are not.
  request: request.defaults({
    baseUrl: process.env.GITHUB_API_URL,
    headers: { accept: "application/vnd.github+json", "x-github-api-version": "2022-11-28" },
  }),
});
const app = express();
app.get("/token", async (req, res) => {
  try {
    const permissions = Object.fromEntries(req.query.permissions.split(",").map((it) => it.split(":")));
    const { token, expiresAt } = await auth({
      type: "installation",
      installationId: Number(req.query.installation_id),
      repositoryNames: req.query.repositories.split(","),
      permissions,
    });
    res.json({ token, expires_at: expiresAt });
  } catch (error) {
    res.status(500).json({ error: "Failed to mint token" });
  }
});
app.listen(Number(process.env.PORT), "127.0.0.1");
"#;

/// Sends a million strange queries through the whole broker and looks at what each token it
/// handed out is really good for, in GitHub's own books.
fn fuzz(folder: &Path, key: &Path, github: &Arc<GitHub>) -> (u64, u64, u64) {
    github.set_mint_ms(0);
    {
        // An App that was granted far too much: nothing but the broker stands in the way.
        let mut world = github.world();
        let all = world.installations.get_mut(&12345).unwrap();
        for name in
            ["administration", "members", "secrets", "workflows", "actions", "organization_hooks"]
        {
            all.permissions.insert(name.to_owned(), "write".to_owned());
        }
    }
    let config = Config::from_env(|name| {
        let at = |name: &str| Some(folder.join(name).display().to_string());
        match name {
            "GITHUB_APP_ID" => Some(APP_ID.to_owned()),
            "GITHUB_APP_PEM" => Some(key.display().to_string()),
            "GITHUB_API_URL" => Some(github.url()),
            "BROKER_AUDIT" => at("fuzz.jsonl"),
            "BROKER_POLICY" => at("fuzz-policy.toml"),
            "BROKER_FREEZE_FILE" => at("fuzz-none"),
            _ => None,
        }
    });
    // The usual policy, without the limit that a million questions would meet at once.
    let policy = "mints_per_hour = 4000000000\n[clients.'*']\nrepositories = ['*']\n\
                  permissions = { contents = 'write', issues = 'write', pull_requests = 'write', metadata = 'read' }\n";
    std::fs::write(folder.join("fuzz-policy.toml"), policy).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let broker =
        runtime.block_on(async { Broker::open(config.unwrap(), Clock::system()) }).unwrap();
    let caller = broker.caller(None).unwrap();
    let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
    std::panic::set_hook(Box::new(|_| {}));
    let mut random = Random(0x5eed_0b0e_d00d_cafe);
    let (mut wider, mut panics, mut granted) = (0, 0, 0);
    for _ in 0..QUERIES {
        let query = random.query();
        let asked = || runtime.block_on(broker.token(&caller, &query, peer));
        match catch_unwind(AssertUnwindSafe(asked)) {
            Ok(Ok(issued)) => {
                granted += 1;
                let scope = github.scope(issued.token.expose_secret());
                if !scope.is_some_and(|it| is_within(&it, &query)) {
                    wider += 1;
                    let _ = writeln!(std::io::stderr(), "wider than asked: {query}");
                }
            }
            Ok(Err(_)) => {}
            Err(_) => panics += 1,
        }
    }
    // Whatever GitHub was asked for, handed out or not.
    let usual: Vec<&str> = USUAL.split(',').map(|it| it.split(':').next().unwrap()).collect();
    let world = github.world();
    let fuzzed = world.tokens.values();
    wider += fuzzed
        .filter(|it| {
            it.repositories.is_none()
                || !it.permissions.keys().all(|name| usual.contains(&name.as_str()))
        })
        .count() as u64;
    (wider, panics, granted)
}

/// An own, simple-minded reading of a query: every right of the token must stand in it, letter
/// by letter, or be one of the four that are asked for when none is named.
fn is_within(scope: &Scope, query: &str) -> bool {
    let query = plain(query).to_lowercase();
    let has = |key: &str| query.split('&').find_map(|it| it.strip_prefix(key)).map(str::to_owned);
    let words = |key: &str| -> Option<BTreeSet<String>> {
        Some(has(key)?.split(',').map(str::to_owned).collect())
    };
    let repositories = words("repositories=")
        .or_else(|| Some(BTreeSet::from([has("repo=")?.split('/').nth(1)?.to_owned()])));
    let permissions =
        words("permissions=").unwrap_or_else(|| USUAL.split(',').map(str::to_owned).collect());
    let names_match = scope.repositories.is_some() && scope.repositories == repositories;
    names_match
        && scope.permissions.iter().all(|(name, level)| {
            let pair = format!("{name}:{level}");
            pair == "metadata:read" || permissions.contains(&pair)
        })
}

fn plain(query: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = query.bytes();
    while let Some(byte) = rest.next() {
        let escaped = (byte == b'%').then(|| {
            let mut ahead = rest.clone();
            let digit = |it: Option<u8>| char::from(it?).to_digit(16);
            let value = digit(ahead.next())? * 16 + digit(ahead.next())?;
            rest = ahead;
            Some(value as u8)
        });
        bytes.push(escaped.flatten().unwrap_or(byte));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A small random generator (xorshift): the same million every time.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % below
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.next(of.len() as u64) as usize]
    }

    /// Half of them sensible, half of them random parts in any order; then some mutilated.
    fn query(&mut self) -> String {
        let mut parts = Vec::new();
        if self.next(2) == 0 {
            let list = |names: Vec<&str>| names.join(",");
            let repositories = ["site", "docs", "MY-REPO", "my-repo", "%73ite"];
            let rights = [
                "contents:read",
                "contents:write",
                "issues:write",
                "pull_requests:read",
                "metadata:read",
                "administration:read",
                "workflows:write",
            ];
            let names = (0..self.next(3) + 1).map(|_| self.pick(&repositories)).collect();
            parts.push(format!("repositories={}", list(names)));
            parts
                .push(self.pick(&["installation_id=12345", "owner=acme", "owner=Acme"]).to_owned());
            if self.next(3) > 0 {
                let mut names: Vec<&str> =
                    (0..self.next(3) + 1).map(|_| self.pick(&rights)).collect();
                names.dedup();
                parts.push(format!("permissions={}", list(names)));
            }
            let first = self.next(parts.len() as u64) as usize;
            parts.rotate_left(first);
        } else {
            for _ in 0..self.next(5) + 1 {
                parts.push(self.part());
            }
        }
        let mut query = parts.join("&");
        for _ in 0..self.next(6).saturating_sub(3) {
            self.mutilate(&mut query);
        }
        query
    }

    fn part(&mut self) -> String {
        let ids = [
            "12345",
            "0x3039",
            "012345",
            "12345.0",
            "+12345",
            "99",
            "",
            "0",
            "18446744073709551616",
        ];
        let names = [
            "site",
            "docs",
            "MY-REPO",
            "my-repo",
            "acme/site",
            "..",
            "",
            "*",
            "a%00",
            "other",
            "%73ite",
        ];
        let permissions = [
            "contents:read",
            "contents:write",
            "issues:write",
            "pull_requests:read",
            "metadata:read",
            "contents",
            "administration:write",
            "secrets:read",
            "workflows:write",
            "members:read",
            "contents:admin",
            "actions:write",
            "",
            ":",
            "organization_hooks:write",
            "Contents:write",
        ];
        match self.next(12) {
            0..=2 => format!("installation_id={}", self.pick(&ids)),
            3 => format!("owner={}", self.pick(&["acme", "ACME", "nobody", "", "acme/site"])),
            4 => format!(
                "repo={}",
                self.pick(&["acme/site", "Acme/Docs", "acme", "acme/none", "a/b/c"])
            ),
            5..=7 => {
                let list: Vec<&str> = (0..self.next(3) + 1).map(|_| self.pick(&names)).collect();
                format!("repositories={}", list.join(","))
            }
            8..=9 => {
                let list: Vec<&str> =
                    (0..self.next(3) + 1).map(|_| self.pick(&permissions)).collect();
                format!("permissions={}", list.join(","))
            }
            10 => format!("min_ttl={}", self.pick(&["0", "60", "3000", "3001", "-1", "x"])),
            _ => self
                .pick(&["grant=x", "x=y", "permission=contents:read", "repositories", "=", "all=1"])
                .to_owned(),
        }
    }

    fn mutilate(&mut self, query: &mut String) {
        let odd = [
            "%", "%2C", "%26", "&", "=", ",", ":", "%00", "é", "%ff", "+", " ", "\u{202e}", "#",
            "/", "*",
        ];
        let place = self.next(query.len() as u64 + 1) as usize;
        let place = (0..=place).rev().find(|it| query.is_char_boundary(*it)).unwrap_or(0);
        if self.next(3) == 0 && place < query.len() {
            query.remove(place);
        } else {
            query.insert_str(place, self.pick(&odd));
        }
    }
}
