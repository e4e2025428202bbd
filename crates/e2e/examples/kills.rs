//! A kill campaign over the whole loop: processor, leash, engine and a sender are killed at random, over and over.
//!
//! `kills 500` ends with one JSON line, and with exit code 1 when something was lost, asked again after its answer,
//! out of order, doubled unmarked, or left running. The demo engine writes down every prompt it was given.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it reports to whoever runs it")]
#![expect(clippy::disallowed_methods, reason = "it starts and kills processes")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use tinyclaw_domain::{Channel, Key};
use tinyclaw_e2e::{Office, processes_of, signal};
use tinyclaw_queue::{Options, Place, Queue, Side, Which};

const THREADS: u64 = 6;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["sender", state, out] => send(Path::new(state), Path::new(out)),
        [count] => campaign(count.parse().unwrap_or(500)),
        _ => campaign(500),
    }
}

/// A sender that writes what it sends into a file that stands for Telegram.
fn send(state: &Path, out: &Path) -> ExitCode {
    let options = Options { reserve_bytes: 0, free_share_min: 0.0, ..Options::default() };
    let queue = Queue::open(state, options).expect("queue");
    let mut telegram = OpenOptions::new().create(true).append(true).open(out).expect("out");
    loop {
        let Some(mut lease) =
            queue.try_claim(Side::Send, &Which::Channel(Channel::Telegram)).expect("claim")
        else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        let key = lease.message().key.clone();
        let known = lease.message().delivery.first().cloned();
        if known.as_ref().is_none_or(|it| it.telegram_message_id.is_none()) {
            let mark = if known.is_some() { "marked" } else { "first" };
            if known.is_none() {
                lease.intend(1, 1).expect("intent");
            }
            telegram.write_all(format!("{key} {mark}\n").as_bytes()).expect("send");
            lease.sent(1, 1, known.is_some()).expect("sent");
        }
        lease.delivered().expect("delivered");
    }
}

fn start_sender(office: &Office) -> Child {
    Command::new(std::env::current_exe().expect("own program"))
        .arg("sender")
        .args([office.path("state"), office.path("telegram")])
        .stdin(Stdio::null())
        .spawn()
        .expect("start the sender")
}

/// The pids of the office's processes of one kind.
fn pids(office: &Office, program: &str) -> Vec<u32> {
    let all = processes_of(&office.path("home"));
    let of = all.iter().filter(|it| it.contains(program));
    of.filter_map(|it| it.split(':').next()?.parse().ok()).collect()
}

/// A small random number, from the time and a step.
fn chance(seed: &mut u64, below: u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed % below
}

fn campaign(kills: u64) -> ExitCode {
    let mut office = Office::open();
    let mut sender = start_sender(&office);
    let mut seed = 0x9E37_79B9_7F4A_7C15 ^ u64::from(std::process::id());
    let mut accepted: Vec<Key> = Vec::new();
    let mut numbers: BTreeMap<u64, u64> = BTreeMap::new();
    let began = Instant::now();
    for _ in 0..kills {
        let waiting = office.queue().view().depth().expect("depth").incoming;
        for _ in 0..if waiting < 12 { 2 } else { 0 } {
            let thread = chance(&mut seed, THREADS) + 1;
            let number = numbers.entry(thread).or_default();
            *number += 1;
            let text = match chance(&mut seed, 4) {
                0 => format!("[demo: tool] no {number} of {thread}"),
                1 => format!("[demo: slow 100ms] no {number} of {thread}"),
                _ => format!("no {number} of {thread}"),
            };
            let mut message = office.message(&thread.to_string(), &text);
            message.channel = Channel::Telegram;
            accepted.push(office.publish(message));
        }
        std::thread::sleep(Duration::from_millis(20 + chance(&mut seed, 180)));
        match chance(&mut seed, 4) {
            0 => {
                office.kill();
                office.start();
            }
            1 => {
                let _ = sender.kill();
                let _ = sender.wait();
                sender = start_sender(&office);
            }
            which => {
                let program = if which == 2 { "tinyclaw-leash" } else { "tinyclaw-demo-engine" };
                let running = pids(&office, program);
                if !running.is_empty() {
                    let victim = running[chance(&mut seed, running.len() as u64) as usize];
                    // It may end by itself this moment.
                    let _ = std::panic::catch_unwind(|| signal(victim, "KILL"));
                }
            }
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let until = Instant::now() + Duration::from_secs(180);
    let left = loop {
        let depth = office.queue().view().depth().expect("depth");
        let left =
            depth.incoming + depth.processing + depth.outgoing + depth.sending + depth.quarantine;
        if left == 0 || Instant::now() > until {
            break left;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let report = judge(&office, &accepted);
    office.stop();
    let _ = sender.kill();
    let _ = sender.wait();
    std::thread::sleep(Duration::from_millis(500));
    let running = processes_of(&office.path("home"));
    for it in &running {
        eprintln!("left running: {it}");
    }
    println!(
        "{{\"kills\":{kills},\"accepted\":{},\"done\":{},\"givenUp\":{},\"lost\":{},\"askedAgain\":{},\"reordered\":{},\
         \"duplicatesUnmarked\":{},\"leftOver\":{left},\"leftRunning\":{},\"prompts\":{},\"seconds\":{seconds:.1}}}",
        accepted.len(),
        report.done,
        report.given_up,
        report.lost,
        report.asked_again,
        report.reordered,
        report.unmarked,
        running.len(),
        report.prompts,
    );
    let broken = report.lost
        + report.asked_again
        + report.reordered
        + report.unmarked
        + left
        + running.len();
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

#[derive(Default)]
struct Report {
    done: usize,
    given_up: usize,
    lost: usize,
    asked_again: usize,
    reordered: usize,
    unmarked: usize,
    prompts: usize,
}

fn judge(office: &Office, accepted: &[Key]) -> Report {
    let mut report = Report::default();
    let mut text_of: HashMap<String, String> = HashMap::new();
    for key in accepted {
        match office.seen(key) {
            Some(seen) if seen.place == Place::Done && seen.message.reply.is_some() => {
                report.done += 1;
                text_of.insert(seen.message.message.clone(), key.to_string());
            }
            // Whoever worked on it was killed three times: kept, and its thread was told.
            Some(seen) if seen.place == Place::Dead => report.given_up += 1,
            other => {
                eprintln!("lost: {key} {:?}", other.map(|it| it.place));
                report.lost += 1;
            }
        }
    }
    // When each answer was first written down: after that no prompt of its message may follow.
    let mut answered: HashMap<String, u64> = HashMap::new();
    for line in office.lines("message-history.jsonl") {
        if line["direction"] == "out" {
            let at = line["timestamp"].as_u64().unwrap_or(u64::MAX);
            answered.entry(line["key"].as_str().unwrap_or_default().to_owned()).or_insert(at);
        }
    }
    let mut last: HashMap<String, u64> = HashMap::new();
    let mut seen: HashSet<String> = HashSet::new();
    for prompt in office.prompts() {
        let text = prompt["text"].as_str().unwrap_or_default();
        let Some(at) = text.rfind("]: ") else { continue };
        let said = &text[at + 3..];
        report.prompts += 1;
        if let Some(key) = text_of.get(said)
            && answered
                .get(key)
                .is_some_and(|it| prompt["atUs"].as_u64().unwrap_or(0) / 1_000 > *it)
        {
            eprintln!("asked again after its answer: {key}");
            report.asked_again += 1;
        }
        // "no 3 of 5": the first time each is asked must be in order within its thread.
        let words: Vec<&str> =
            said.rsplit("no ").next().unwrap_or_default().split(" of ").collect();
        if let [number, thread] = words[..]
            && let Ok(number) = number.parse::<u64>()
            && seen.insert(said.to_owned())
        {
            let last = last.entry(thread.to_owned()).or_default();
            if number < *last {
                eprintln!("out of order in thread {thread}: {number} after {last}");
                report.reordered += 1;
            }
            *last = number.max(*last);
        }
    }
    let mut sent: HashSet<String> = HashSet::new();
    for line in fs::read_to_string(office.path("telegram")).unwrap_or_default().lines() {
        let (key, mark) = line.split_once(' ').unwrap_or((line, ""));
        if !sent.insert(key.to_owned()) && mark != "marked" {
            report.unmarked += 1;
        }
    }
    report
}
