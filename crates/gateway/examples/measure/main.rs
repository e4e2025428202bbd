//! Measures the gateway on a real disk and prints one JSON object: `measure [FOLDER [PART...]]`, of which the parts are ingest,
//! fan, large, hook and jobs; `fill` leaves the database of ten million events in FOLDER for a later `large`. `measure --peers
//! [FOLDER]` asks others the same beside ours. `measure kills [COUNT] [FOLDER]` kills it while events come in, and counts
//! what is lost, told twice or missing in the numbers.
//!
//! The gateway is a process of its own, as it is installed. Under `cargo run` what a part needs is built first (`hook` needs
//! `tinyclaw`, `jobs` the processor and the demo's engine); without cargo it has to be there. The clients share the machine
//! with it, so read ratios from one run: `ingest_evs` against `flush_p50_us`, which is the disk's own append and flush in
//! the same minute.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "it reports, and starts the programs that it measures"
)]

mod fan;
mod ingest;
mod jobs;
mod kills;
mod large;
mod peers;
mod program;
#[path = "../../tests/program/mod.rs"]
mod started;
mod wire;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Map, Value, json};

/// Kills, when no number is given.
const KILLS: usize = 500;

#[tokio::main(worker_threads = 2)]
async fn main() {
    program::more_descriptors();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let folder = |at: usize| args.get(at).map_or_else(std::env::temp_dir, PathBuf::from);
    if args.first().is_some_and(|it| it == "kills") {
        program::build("tinyclaw-gateway", "tinyclaw-gateway");
        let count = args.get(1).map_or(KILLS, |it| it.parse().expect("a number of kills"));
        println!("{}", kills::run(count, &folder(2)).await);
        return;
    }
    if args.first().is_some_and(|it| it == "--peers") {
        program::build("tinyclaw-gateway", "tinyclaw-gateway");
        println!("{}", peers::run(&folder(1)).await);
        return;
    }
    let base = folder(0);
    let is_wanted = |part: &str| args.len() < 2 || args[1..].iter().any(|it| it == part);
    let parts = if args.iter().skip(1).any(|it| it == "fill") {
        &["fill"][..]
    } else {
        &["ingest", "fan", "large", "hook", "jobs"]
    };
    let parts: Vec<&str> = parts.iter().copied().filter(|it| is_wanted(it)).collect();
    if let Some(unknown) = args.iter().skip(1).find(|it| !parts.contains(&it.as_str())) {
        eprintln!("{unknown:?} is no part; there are ingest, fan, large, hook, jobs and fill");
        std::process::exit(2);
    }
    program::build("tinyclaw-gateway", "tinyclaw-gateway");
    if parts.contains(&"hook") {
        program::build("tinyclaw-cli", "tinyclaw");
    }
    if parts.contains(&"jobs") {
        program::build("tinyclaw-processor", "tinyclaw-processor");
        program::build("tinyclaw-engine", "tinyclaw-demo-engine");
    }
    let mut told = Map::new();
    told.insert("load_before".to_owned(), load());
    told.insert("flush_p50_us".to_owned(), json!(flush_p50_us(&base)));
    for part in parts {
        let value = match part {
            "ingest" => ingest::run(&base).await,
            "fan" => fan::run(&base).await,
            "large" => large::run(&base).await,
            "fill" => large::fill_and_keep(&base).await,
            "jobs" => jobs::run(&base).await,
            _ => hook(&base).await,
        };
        eprintln!("{part}: {value}");
        if let Value::Object(values) = value {
            told.extend(values);
        }
    }
    told.insert("load_after".to_owned(), load());
    println!("{}", Value::Object(told));
}

/// How busy the machine is with other things.
fn load() -> Value {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|it| it.parse::<f64>().ok()).map_or(Value::Null, |it| json!(it))
}

/// The value below which this share of the sorted times lies.
pub(crate) fn percentile(times: &mut [f64], share: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    let at = (times.len().saturating_sub(1) as f64 * share) as usize;
    times.get(at).map_or(f64::NAN, |it| (it * 1e3).round() / 1e3)
}

fn flush_p50_us(base: &Path) -> f64 {
    let mut file = tempfile::tempfile_in(base).expect("a file");
    let mut times: Vec<f64> = (0..500)
        .map(|_| {
            let began = Instant::now();
            file.write_all(&[b'x'; 600]).expect("append");
            file.sync_data().expect("flush");
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    percentile(&mut times, 0.5)
}

/// `tinyclaw hook` as Claude starts it, with a gateway that is up, and with one that is not.
async fn hook(base: &Path) -> Value {
    let Some(cli) = program::sibling("tinyclaw") else {
        eprintln!("tinyclaw is not built: hook_ms_p50 is left out");
        return json!({ "hook_ms_p50": null });
    };
    let gateway = program::Gateway::fresh(base).await;
    let home = tempfile::tempdir_in(base).expect("folder");
    let token = home.path().join("token");
    tinyclaw_disk::replace(&token, program::token().as_bytes(), tinyclaw_disk::Flush::None)
        .expect("the token");
    let installed = std::process::Command::new(&cli)
        .args(["hook", "install", "--url", &format!("http://{}", gateway.address)])
        .arg("--token-file")
        .arg(&token)
        .arg("--settings")
        .arg(home.path().join("claude.json"))
        .env_clear()
        .env("HOME", home.path())
        .output()
        .expect("tinyclaw hook install");
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let mut times = hook_times(&cli, home.path());
    // And with the bus away: what is told waits on the disk.
    drop(gateway);
    let mut down = hook_times(&cli, home.path());
    json!({
        "hook_ms_p50": percentile(&mut times, 0.5), "hook_ms_p99": percentile(&mut times, 0.99),
        "hook_down_ms_p50": percentile(&mut down, 0.5), "hook_down_ms_p99": percentile(&mut down, 0.99),
    })
}

/// How long each of 200 hooks takes, in ms.
fn hook_times(cli: &Path, home: &Path) -> Vec<f64> {
    let one = |at: usize| {
        let payload = json!({
            "hook_event_name": "PreToolUse", "session_id": "s1", "tool_use_id": format!("toolu_{at}"),
            "tool_name": "Bash", "tool_input": { "command": "x".repeat(400) },
        });
        let began = Instant::now();
        let mut child = std::process::Command::new(cli)
            .arg("hook")
            .env_clear()
            .env("HOME", home)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("tinyclaw hook");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(payload.to_string().as_bytes()).expect("the hook");
        drop(stdin);
        let status = child.wait().expect("its end");
        assert!(status.success(), "the hook ended with {status}");
        began.elapsed().as_secs_f64() * 1e3
    };
    (0..200).map(one).collect()
}
