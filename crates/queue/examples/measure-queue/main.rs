//! Measures the queue on a real disk and prints one JSON object. `measure [--peers] [FOLDER]`; the default is the temporary
//! folder. `measure cycle [--peers] [FOLDER]` prints what one message after the other costs, and nothing else. `measure --engine
//! postgres [FOLDER]` measures the queue in a private PostgreSQL whose data lies there.
//!
//! Read ratios from one run: a disk is twice as slow a minute later. So the floor, which is the disk's own append and flush,
//! the queue and its peers take turns of a moment each (`cycleOfFloor`). Wake-ups are taken between two openings of the queue, so
//! they go through the kernel as between processes.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "it reports, and starts itself to be killed"
)]

mod peers;
mod server;

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tinyclaw_disk::testing::{Step, steps_of};
use tinyclaw_domain::{Channel, Checkpoint, Lane, Message, Reply};
use tinyclaw_queue::{Durability, Options, Queue, Side, Which};

fn main() {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let with_peers = args.iter().any(|it| it == "--peers");
    args.retain(|it| it != "--peers");
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["hold", dir] => hold(Path::new(dir)),
        ["memory", dir] => memory(Path::new(dir)),
        ["office", dir] => office(Path::new(dir)),
        ["--engine", "postgres"] => server::measure(&std::env::temp_dir()),
        ["--engine", "postgres", dir] => server::measure(Path::new(dir)),
        ["cycle"] => println!("{{{}}}", cycles(&std::env::temp_dir(), with_peers)),
        ["cycle", dir] => println!("{{{}}}", cycles(Path::new(dir), with_peers)),
        [] => measure(&std::env::temp_dir(), with_peers),
        [dir] => measure(Path::new(dir), with_peers),
        _ => println!(
            "usage: measure [cycle] [--peers] [FOLDER] | measure --engine postgres [FOLDER]"
        ),
    }
}

fn open(dir: &Path) -> Queue {
    let vast = usize::MAX;
    let options = Options {
        incoming_max: vast,
        lane_max: vast,
        outgoing_max: vast,
        reserve_bytes: 0,
        ..Options::default()
    };
    Queue::open(dir, options).expect("open")
}

fn message(lane: usize, key: &str) -> Message {
    let text = "x".repeat(600);
    Message::new(
        key.parse().expect("key"),
        Channel::Cli,
        format!("t{lane}").parse().expect("thread"),
        text,
        1,
    )
}

fn fill(dir: &Path, count: usize, lanes: usize) -> Queue {
    let queue = open(dir);
    for at in 0..count {
        queue
            .publish(Side::Run, message(at % lanes, &format!("tg-8123{at:06}")), Durability::None)
            .expect("publish");
    }
    queue
}

fn fresh(base: &Path) -> tempfile::TempDir {
    tempfile::Builder::new().prefix("tinyclaw-measure-").tempdir_in(base).expect("folder")
}

fn measure(base: &Path, with_peers: bool) {
    let (wakeup_p50, wakeup_p99) = wakeups(base);
    let claims: Vec<String> = [10, 1_000, 100_000]
        .iter()
        .map(|it| format!("\"{it}\":{:.1}", claim_p50(base, *it)))
        .collect();
    let flushes = flushes(base);
    let (life, checksum) = (flushes_per_life(base), checksum_us());
    let cycles = cycles(base, with_peers);
    let (publish, group) =
        (publishes(base, Durability::Strict, 1), publishes(base, Durability::Group, 32));
    let takeover = takeover_p50_ms(base);
    let bytes = bytes_per_100k(base);
    let offices: Vec<String> = [(100, 100), (100_000, 1), (100_000, 10_000)]
        .iter()
        .map(|(queued, lanes)| {
            let told = child_of_backlog(base, *queued, *lanes);
            format!("\"{queued} in {lanes}\":{told}")
        })
        .collect();
    println!(
        "{{\"wakeupP50Us\":{wakeup_p50:.0},\"wakeupP99Us\":{wakeup_p99:.0},\"claimP50Us\":{{{}}},\
         \"flushesPerPublish\":{flushes},\"flushesPerLife\":{life},\"checksumUsPer2k\":{checksum:.1},\
         {cycles},\"publishPerS\":{publish:.0},\"groupPublishPerS\":{group:.0},\
         \"takeoverP50Ms\":{takeover:.2},\"bytesPer100k\":{bytes},\
         \"office\":{{{}}}}}",
        claims.join(","),
        offices.join(",")
    );
}

fn percentile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

fn sorted(mut times: Vec<f64>) -> Vec<f64> {
    times.sort_by(f64::total_cmp);
    times
}

fn wakeups(base: &Path) -> (f64, f64) {
    let dir = fresh(base);
    let (near, far) = (open(dir.path()), open(dir.path()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("runtime");
    let (send, receive) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        loop {
            let lease = far.claim(Side::Run, &Which::Ordinary).await.expect("claim");
            let _ = send.send(Instant::now());
            lease.finish().expect("finish");
        }
    });
    let mut times = Vec::new();
    for at in 0..2_000 {
        let message = message(at % 7, &format!("w-{at}"));
        let began = Instant::now();
        near.publish(Side::Run, message, Durability::None).expect("publish");
        let read = receive.recv_timeout(Duration::from_secs(10)).expect("wake-up");
        times.push((read - began).as_secs_f64() * 1e6);
        std::thread::sleep(Duration::from_millis(1));
    }
    let times = sorted(times);
    (percentile(&times, 0.5), percentile(&times, 0.99))
}

fn claim_p50(base: &Path, queued: usize) -> f64 {
    let dir = fresh(base);
    let queue = fill(dir.path(), queued, 500);
    let mut times = Vec::new();
    for at in 0..2_000 {
        let began = Instant::now();
        let lease =
            queue.try_claim(Side::Run, &Which::Ordinary).expect("claim").expect("a message");
        times.push(began.elapsed().as_secs_f64() * 1e6);
        lease.finish().expect("finish");
        queue
            .publish(Side::Run, message(at % 500, &format!("again-{at}")), Durability::None)
            .expect("publish");
    }
    percentile(&sorted(times), 0.5)
}

fn flushes(base: &Path) -> f64 {
    let dir = fresh(base);
    let queue = open(dir.path());
    let ((), steps) = steps_of(|| {
        for at in 0..10 {
            queue
                .publish(Side::Run, message(1, &format!("f-{at}")), Durability::Strict)
                .expect("publish");
        }
    });
    let flushes = steps
        .iter()
        .filter(|it| matches!(it, Step::SyncFile { .. } | Step::SyncDir { .. }))
        .count();
    flushes as f64 / 10.0
}

/// A telegram message from its publication to `done/`, with a checkpoint, an answer, and one part sent.
fn flushes_per_life(base: &Path) -> usize {
    let dir = fresh(base);
    let queue = open(dir.path());
    let ((), steps) = steps_of(|| {
        let mut asked = message(1, "life-1");
        asked.channel = Channel::Telegram;
        queue.publish(Side::Run, asked, Durability::Strict).expect("publish");
        let claim = |side| queue.try_claim(side, &Which::Ordinary).expect("claim").expect("one");
        let mut lease = claim(Side::Run);
        lease
            .checkpoint(Checkpoint {
                session_id: "6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f".parse().expect("session"),
                turn_uuid: "6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f".to_owned(),
                used_tools: false,
                follow_ups: Vec::new(),
                files: Vec::new(),
                calls: Default::default(),
            })
            .expect("checkpoint");
        lease.answer(Reply::default(), Vec::new()).expect("answer");
        lease.finish().expect("finish");
        let mut lease = claim(Side::Send);
        lease.intend(1, 1).expect("intent");
        lease.sent(1, 1, false).expect("sent");
        lease.delivered().expect("delivered");
    });
    let is_flush = |it: &&Step| matches!(it, Step::SyncFile { .. } | Step::SyncDir { .. });
    steps.iter().filter(is_flush).count()
}

/// What the sum over a message of 2,000 bytes costs.
fn checksum_us() -> f64 {
    use sha2::{Digest, Sha256};
    let text = [b'x'; 2_000];
    let began = Instant::now();
    let mut ones = 0;
    for _ in 0..2_000 {
        ones += Sha256::digest(std::hint::black_box(text))[0].count_ones();
    }
    began.elapsed().as_secs_f64() * 1e6 / 2_000.0 + f64::from(ones) * 0.0
}

/// One client that publishes, claims, answers and finishes, one message after the other, in turns with the disk's floor and
/// the peers.
fn cycles(base: &Path, with_peers: bool) -> String {
    const TURN: Duration = Duration::from_millis(100);
    const TURNS: u32 = 25;
    let (floor_dir, dir) = (fresh(base), fresh(base));
    let path = floor_dir.path().join("floor");
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("file");
    let floor = move |_| {
        file.write_all(&[b'x'; 1024]).expect("append");
        file.sync_data().expect("flush");
    };
    let queue = open(dir.path());
    let cycle = move |at| {
        let message = message(1, &format!("c-{at}"));
        queue.publish(Side::Run, message, Durability::Strict).expect("publish");
        let mut lease =
            queue.try_claim(Side::Run, &Which::Ordinary).expect("claim").expect("a message");
        lease.answer(Reply::default(), Vec::new()).expect("answer");
        lease.finish().expect("finish");
    };
    let mut peers = if with_peers { peers::start(base) } else { Vec::new() };
    let mut floor: Box<dyn FnMut(u64)> = Box::new(floor);
    let mut cycle: Box<dyn FnMut(u64)> = Box::new(cycle);
    let names: Vec<&str> = peers.iter().map(|it| it.name).collect();
    let mut all = vec![&mut floor, &mut cycle];
    all.extend(peers.iter_mut().map(|it| &mut it.cycle));
    let mut sums = vec![(0_u64, Duration::ZERO); all.len()];
    for _ in 0..TURNS {
        for (one, (count, time)) in all.iter_mut().zip(&mut sums) {
            let began = Instant::now();
            while began.elapsed() < TURN {
                one(*count);
                *count += 1;
            }
            *time += began.elapsed();
        }
    }
    let per_s: Vec<f64> =
        sums.iter().map(|(count, time)| *count as f64 / time.as_secs_f64()).collect();
    let (floor, cycle) = (per_s[0], per_s[1]);
    let peers: String = names
        .iter()
        .zip(&per_s[2..])
        .map(|(name, it)| format!(",\"{name}PerS\":{it:.0},\"{name}OfFloor\":{:.2}", it / floor))
        .collect();
    format!(
        "\"floorPerS\":{floor:.0},\"cyclePerS\":{cycle:.0},\"cycleOfFloor\":{:.2}{peers}",
        cycle / floor
    )
}

fn publishes(base: &Path, durability: Durability, threads: usize) -> f64 {
    let dir = fresh(base);
    let queue = open(dir.path());
    let began = Instant::now();
    let until = began + Duration::from_secs(2);
    let count: usize = std::thread::scope(|scope| {
        let publisher = |thread: usize| {
            let queue = &queue;
            move || {
                let mut count = 0;
                while Instant::now() < until {
                    queue
                        .publish(
                            Side::Run,
                            message(thread, &format!("k-{thread}-{count}")),
                            durability,
                        )
                        .expect("publish");
                    count += 1;
                }
                count
            }
        };
        let running: Vec<_> = (0..threads).map(|it| scope.spawn(publisher(it))).collect();
        running.into_iter().map(|it| it.join().expect("publisher")).sum()
    });
    count as f64 / began.elapsed().as_secs_f64()
}

/// Claims one message, says so, and waits to be killed.
fn hold(dir: &Path) {
    let queue = open(dir);
    let lease = queue.try_claim(Side::Run, &Which::Ordinary).expect("claim").expect("a message");
    println!("{}", lease.message().key);
    std::thread::sleep(Duration::from_secs(60));
}

fn takeover_p50_ms(base: &Path) -> f64 {
    let dir = fresh(base);
    let queue = open(dir.path());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("runtime");
    let mut times = Vec::new();
    for at in 0..21 {
        queue
            .publish(Side::Run, message(1, &format!("h-{at}")), Durability::None)
            .expect("publish");
        let mut child = Command::new(std::env::current_exe().expect("own program"))
            .args(["hold", &dir.path().display().to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("start");
        let mut byte = [0];
        child.stdout.as_mut().expect("stdout").read_exact(&mut byte).expect("a claim");
        let waiting = queue.clone();
        let claimed = runtime.spawn(async move {
            let lease = waiting.claim(Side::Run, &Which::Ordinary).await.expect("claim");
            let at = Instant::now();
            assert!(lease.was_recovered());
            lease.finish().expect("finish");
            at
        });
        std::thread::sleep(Duration::from_millis(30));
        let killed = Instant::now();
        child.kill().expect("kill");
        let at = runtime.block_on(claimed).expect("takeover");
        times.push((at - killed).as_secs_f64() * 1e3);
        child.wait().expect("wait");
    }
    percentile(&sorted(times), 0.5)
}

/// Prints what opening a full queue adds to the memory of a new process.
fn memory(dir: &Path) {
    let before = resident();
    let queue = open(dir);
    let depth = queue.view().list(tinyclaw_queue::Place::Dead, 1).map_or(0, |it| it.len());
    println!("{}", resident().saturating_sub(before) + depth);
}

/// What the processor asks of a queue for each message of a new session, over a backlog, in a process of its own.
fn child_of_backlog(base: &Path, queued: usize, lanes: usize) -> String {
    let dir = fresh(base);
    drop(fill(dir.path(), queued, lanes));
    let program = std::env::current_exe().expect("own program");
    let output = Command::new(program).args(["office", &dir.path().display().to_string()]).output();
    String::from_utf8_lossy(&output.expect("start").stdout).trim().to_owned()
}

/// Claims, asks whether a summary is being made, answers and finishes, and publishes another of the lane. Prints how
/// many a second, and the most memory the process ever had.
fn office(dir: &Path) {
    let queue = open(dir);
    let began = Instant::now();
    let mut answered = 0;
    while began.elapsed() < Duration::from_secs(3) {
        let mut lease =
            queue.try_claim(Side::Run, &Which::Ordinary).expect("claim").expect("a message");
        let thread = lease.message().thread_id.clone();
        assert!(!queue.has_work(Side::Run, &Lane::House(thread.clone())), "nobody made one");
        lease.answer(Reply::default(), Vec::new()).expect("answer");
        lease.finish().expect("finish");
        let again = Message::new(
            format!("again-{answered}").parse().expect("key"),
            Channel::Cli,
            thread,
            "again",
            1,
        );
        queue.publish(Side::Run, again, Durability::None).expect("publish");
        answered += 1;
    }
    let per_s = f64::from(answered) / began.elapsed().as_secs_f64();
    let status = fs::read_to_string("/proc/self/status").expect("status");
    let peak = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).expect("VmHWM");
    let peak_kb: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    println!("{{\"answersPerS\":{per_s:.0},\"peakMb\":{}}}", peak_kb / 1024);
}

fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("statm");
    statm.split(' ').nth(1).and_then(|it| it.parse::<usize>().ok()).unwrap_or(0) * 4096
}

fn bytes_per_100k(base: &Path) -> usize {
    let dir: tempfile::TempDir = fresh(base);
    drop(fill(dir.path(), 100_000, 500));
    let program: PathBuf = std::env::current_exe().expect("own program");
    let output = Command::new(program)
        .args(["memory", &dir.path().display().to_string()])
        .output()
        .expect("start");
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or(0)
}
