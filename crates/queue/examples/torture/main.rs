//! Real processes that publish, work and send, and one of them killed at random, over and over.
//!
//! `torture --kills 10000` ends with one JSON line of what was accepted and what became of it, and with exit code 1
//! when an invariant fails. With `--engine postgres` the queue stands in a private server, whose sessions are ended
//! (`--terminate N`) and which is crashed and started again (`--restart N`) meanwhile. Producers, workers and senders are this program again, with a role as first argument.
//!
//! What proves what: a producer notes a key after `publish` returned, so a noted key that is not in `done/` at the end
//! is lost. A worker notes each question before it asks and each answer after `answer` returned, so a question after
//! its answer is a repetition. Beside the lane's lock it takes a lock of the test's own, so two owners of a lane meet.
//! Questions within a lane must come in the order of publication. A sender notes every part it sends; a second time
//! must carry the mark.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it reports to whoever runs it")]
#![expect(clippy::disallowed_methods, reason = "it starts and kills itself")]

mod stand;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::Rng;
use tinyclaw_disk::Lock;
use tinyclaw_domain::{Channel, Checkpoint, FollowUp, Message, Reply, Source, ThreadId};
use tinyclaw_queue::{
    ClaimError, Durability, Lease, LeaseError, Options, Place, Queue, Side, Which,
};

use crate::stand::{Stand, Wanted};

const LANES: u64 = 12;
const ROLES: [&str; 7] = ["producer", "producer", "worker", "worker", "worker", "sender", "sender"];
const PARTS: u32 = 2;
/// A producer asks again for a key within this time after its death, so `done/` must remember it that long.
const MEMORY: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let arg = |at: usize| args.get(at).map(String::as_str).unwrap_or_default();
    match arg(0) {
        "producer" => produce(Path::new(arg(1)), arg(2).parse().unwrap_or(0), arg(3)),
        "worker" => work(Path::new(arg(1)), arg(3)),
        "sender" => send(Path::new(arg(1)), arg(3)),
        _ => match Wanted::of(&args) {
            Some(wanted) => torture(&wanted),
            None => {
                eprintln!(
                    "usage: torture --kills N [--notes FOLDER] [--engine postgres [--terminate N] [--restart N]]"
                );
                ExitCode::from(2)
            }
        },
    }
}

fn options() -> Options {
    Options {
        incoming_max: 60,
        lane_max: 20,
        outgoing_max: 60,
        reserve_bytes: 0,
        free_share_min: 0.0,
        ..Options::default()
    }
}

/// Opens the queue as one of the crew. Its server may be down just now.
fn open(dir: &Path, service: &str) -> Queue {
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        match Queue::open(stand::place(dir, service), options()) {
            Ok(queue) => return queue,
            Err(_) if stand::is_server(dir) && Instant::now() < patience => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(err) => panic!("open: {err:?}"),
        }
    }
}

/// What a claim brings; nothing while the queue is out of reach, as a server may be and no folder is.
fn claimed(queue: &Queue, side: Side, which: &Which) -> Option<Lease> {
    match queue.try_claim(side, which) {
        Ok(lease) => lease,
        Err(ClaimError::Away { .. }) => {
            std::thread::sleep(Duration::from_millis(5));
            None
        }
        Err(err) => panic!("claim: {err:?}"),
    }
}

/// Whether a step was kept. One that is not, because the queue is out of reach or the message is somebody else's now, ends
/// the work on it as a death would.
fn is_kept(step: Result<(), LeaseError>) -> bool {
    match step {
        Ok(()) => true,
        Err(LeaseError::Away { .. } | LeaseError::Lost { .. }) => false,
        Err(err) => panic!("a step: {err:?}"),
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_millis() as u64)
}

/// A log that several processes append to, a whole line at a time.
struct Notes(File);

impl Notes {
    fn open(dir: &Path, name: &str) -> Notes {
        Notes(OpenOptions::new().create(true).append(true).open(dir.join(name)).expect("notes"))
    }

    fn add(&mut self, line: &str) {
        self.0.write_all(format!("{line}\n").as_bytes()).expect("note");
    }
}

/// Takes the test's own lock of a lane, with our number in it. `None`: somebody alive holds it, so the lane has two owners.
///
/// A dying process lets go of its locks in no order to rely on: the lane's may be free while this one is still held by
/// somebody who does nothing any more. That is waited for.
fn guard(dir: &Path, side: &str, thread: &ThreadId) -> Option<Lock> {
    let path = dir.join(format!("guard/{side}-{thread}"));
    loop {
        if let Some(lock) = Lock::try_take(&path).expect("guard") {
            lock.leave_note(&std::process::id().to_string()).expect("guard");
            return Some(lock);
        }
        let holder = fs::read_to_string(&path).unwrap_or_default();
        let holder = holder.lines().next().and_then(|it| it.parse::<u32>().ok());
        // Without a number yet: its holder has just taken it.
        if holder.is_some_and(|it| !is_dying(it)) {
            return None;
        }
        std::thread::yield_now();
    }
}

/// Whether a process is dead or on the way there.
fn is_dying(pid: u32) -> bool {
    const PF_EXITING: u64 = 4;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Behind the program's name, which may hold anything: state, five numbers, flags.
    let flags = stat.rsplit(')').next().and_then(|it| it.split_whitespace().nth(6)?.parse().ok());
    flags.is_none_or(|it: u64| it & PF_EXITING != 0)
}

fn lines(dir: &Path, name: &str) -> Vec<String> {
    let text = fs::read_to_string(dir.join(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Publishes numbered messages into its own lanes. What it was about to publish when it died, it publishes again.
fn produce(dir: &Path, number: u64, service: &str) -> ExitCode {
    let queue = open(dir, service);
    let file = format!("accepted-{number}");
    let mut next = lines(dir, &file).len() as u64;
    let mut accepted = Notes::open(dir, &file);
    while !dir.join("stop").exists() {
        let lane = (next * 2 + number) % LANES + 1;
        let key = format!("p{number}-{next}");
        let channel = if lane.is_multiple_of(3) { Channel::Cli } else { Channel::Telegram };
        let thread = lane.to_string().parse().expect("thread");
        let mut message =
            Message::new(key.parse().expect("key"), channel, thread, next.to_string(), now_ms());
        message.source = Source::User;
        let durability = match next % 3 {
            0 => Durability::Strict,
            1 => Durability::Group,
            // What a crashed server may forget is not accepted.
            _ if stand::is_server(dir) => Durability::Strict,
            _ => Durability::None,
        };
        match queue.publish(Side::Run, message, durability) {
            Ok(_) => {
                accepted.add(&key);
                next += 1;
            }
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    ExitCode::SUCCESS
}

fn work(dir: &Path, service: &str) -> ExitCode {
    let queue = open(dir, service);
    let mut notes = Notes::open(dir, "work");
    loop {
        let Some(mut lease) = claimed(&queue, Side::Run, &Which::Ordinary) else {
            if dir.join("drained").exists() {
                return ExitCode::SUCCESS;
            }
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let (thread, key) = (lease.message().thread_id.clone(), lease.message().key.clone());
        let guard = guard(dir, "run", &thread);
        if guard.is_none() {
            notes.add(&format!("stolen {thread} {key}"));
        }
        let number: u64 = lease.message().message.parse().unwrap_or(1);
        if lease.message().reply.is_none() {
            if number % 23 == 7
                && lease.attempt() == 1
                && !lease.was_recovered()
                && number % 2 == now_ms() % 2
            {
                drop(guard);
                is_kept(lease.put_back());
                continue;
            }
            if number % 17 == 3 && lease.attempt() == 1 {
                drop(guard);
                is_kept(lease.retry_after(Duration::from_millis(3), "a try-out"));
                continue;
            }
            notes.add(&format!("ask {thread} {key}"));
            if number.is_multiple_of(5) {
                let checkpoint = Checkpoint {
                    used_tools: false,
                    session_id: "6f1d4c0e-8a2b-4d7e-9c3f-0a1b2c3d4e5f".parse().expect("session"),
                    turn_uuid: key.to_string(),
                    follow_ups: Vec::new(),
                    files: Vec::new(),
                    calls: Default::default(),
                };
                if !is_kept(lease.checkpoint(checkpoint)) {
                    drop(guard);
                    continue;
                }
            }
            let follow_ups = if number % 10 == 4 && key.as_str().starts_with('p') {
                let to = format!("f{}", number % 4);
                let follow_up = |text: &str| FollowUp {
                    thread_id: to.parse().expect("thread"),
                    channel: Channel::Cli,
                    sender: String::new(),
                    message: text.to_owned(),
                };
                vec![follow_up("sent on"), follow_up("and on")]
            } else {
                Vec::new()
            };
            for at in 0..follow_ups.len() {
                notes.add(&format!("owes {}", key.follow_up(at + 1)));
            }
            let reply = Reply { text: "done".to_owned(), ..Reply::default() };
            if !is_kept(lease.answer(reply, follow_ups)) {
                drop(guard);
                continue;
            }
            notes.add(&format!("answered {thread} {key}"));
        }
        // Before the lane's own lock is let go, or the next owner meets a guard of the one before.
        drop(guard);
        is_kept(lease.finish());
    }
}

/// Sends the parts of each answer to a file that stands for Telegram.
fn send(dir: &Path, service: &str) -> ExitCode {
    let queue = open(dir, service);
    let mut telegram = Notes::open(dir, "telegram");
    loop {
        let which = Which::Channel(Channel::Telegram);
        let Some(mut lease) = claimed(&queue, Side::Send, &which) else {
            if dir.join("drained").exists() {
                return ExitCode::SUCCESS;
            }
            std::thread::sleep(Duration::from_millis(1));
            continue;
        };
        let (thread, key) = (lease.message().thread_id.clone(), lease.message().key.clone());
        // A claim to send is not flushed, so that a server may forget it: the lane is surely ours after the first step that
        // was kept, and before that nothing is done.
        let mut is_guarded = None;
        let mut is_going_on = true;
        for part in 1..=PARTS {
            let known = lease.message().delivery.iter().find(|it| it.part == part).cloned();
            let mark = match known {
                Some(it) if it.telegram_message_id.is_some() => continue,
                // Perhaps sent: again, with the mark.
                Some(_) => "marked",
                None => "first",
            };
            is_going_on = is_kept(lease.intend(part, now_ms()));
            if !is_going_on {
                break;
            }
            if is_guarded.is_none() {
                is_guarded = guard(dir, "send", &thread);
                if is_guarded.is_none() {
                    telegram.add(&format!("stolen {thread} {key}"));
                }
            }
            telegram.add(&format!("part {thread} {key} {part} {mark}"));
            is_going_on = is_kept(lease.sent(part, 1, mark == "marked"));
            if !is_going_on {
                break;
            }
        }
        drop(is_guarded);
        if is_going_on {
            is_kept(lease.delivered());
        }
    }
}

struct Crew {
    dir: PathBuf,
    children: Vec<(usize, Child)>,
}

impl Crew {
    fn start(&self, at: usize) -> Child {
        let program = std::env::current_exe().expect("own program");
        Command::new(program)
            .args([ROLES[at], &self.dir.display().to_string(), &(at % 2).to_string()])
            // Each has one successor, who knows that it is dead.
            .arg(format!("{}-{at}", ROLES[at]))
            .stdin(Stdio::null())
            .spawn()
            .expect("start")
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for (_, child) in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn torture(wanted: &Wanted) -> ExitCode {
    let kills = wanted.kills;
    let base = if Path::new("/dev/shm").is_dir() {
        PathBuf::from("/dev/shm")
    } else {
        std::env::temp_dir()
    };
    let temporary =
        tempfile::Builder::new().prefix("tinyclaw-torture-").tempdir_in(base).expect("folder");
    // Whatever is to be read afterwards lies in a folder that stays.
    let dir = wanted.notes.clone().unwrap_or_else(|| temporary.path().to_owned());
    if lines(&dir, "work").len() + lines(&dir, "accepted-0").len() > 0 {
        eprintln!("{} holds the notes of another run", dir.display());
        return ExitCode::from(2);
    }
    fs::create_dir_all(dir.join("guard")).expect("guard");
    let Some(mut stand) = Stand::begin(wanted, &dir) else {
        eprintln!("torture --engine postgres: skipped, PostgreSQL is not installed");
        return ExitCode::SUCCESS;
    };
    drop(open(&dir, "torture"));
    let mut crew = Crew { dir: dir.clone(), children: Vec::new() };
    for at in 0..ROLES.len() {
        let child = crew.start(at);
        crew.children.push((at, child));
    }
    let mut rng = rand::rng();
    let mut done = Done::default();
    let began = Instant::now();
    for kill in 0..kills {
        // Whoever connects to a server takes longer to begin than whoever opens a folder.
        let slower = if stand.is_server() { 10 } else { 1 };
        std::thread::sleep(Duration::from_micros(slower * rng.random_range(200..6_000)));
        let victim = rng.random_range(0..ROLES.len());
        let role = crew.children[victim].0;
        let child = &mut crew.children[victim].1;
        match child.try_wait().expect("wait") {
            None => {
                child.kill().expect("kill");
                child.wait().expect("wait");
            }
            Some(status) => {
                eprintln!("a {} ended by itself: {status}", ROLES[role]);
                return ExitCode::from(1);
            }
        }
        crew.children[victim].1 = crew.start(role);
        stand.disturb(kill);
        if kill % 50 == 0 && !stand.is_server() {
            done.collect(&dir, MEMORY);
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    fs::write(dir.join("stop"), "").expect("stop");
    let accepted: Vec<String> =
        (0..2).flat_map(|it| lines(&dir, &format!("accepted-{it}"))).collect();
    // The producers may be in the middle of one: let them end by themselves.
    for (role, child) in &mut crew.children {
        if ROLES[*role] == "producer" {
            child.wait().expect("wait");
        }
    }
    let accepted_late: Vec<String> =
        (0..2).flat_map(|it| lines(&dir, &format!("accepted-{it}"))).collect();
    let view = tinyclaw_queue::View::new(stand::place(&dir, "torture"));
    let patience = Instant::now() + Duration::from_secs(60);
    let left = loop {
        let depth = view.depth().expect("depth");
        let left = depth.incoming
            + depth.processing
            + depth.outgoing
            + depth.sending
            + depth.quarantine
            + depth.dead;
        if left == 0 || Instant::now() > patience {
            break left;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    for place in [
        Place::Incoming,
        Place::Processing,
        Place::Outgoing,
        Place::Sending,
        Place::Dead,
        Place::Quarantine,
    ] {
        for entry in view.list(place, 5).expect("list") {
            let reason = view.reason(&entry).ok().flatten().unwrap_or_default();
            eprintln!("left in {place}: {entry:?} {reason}");
        }
    }
    fs::write(dir.join("drained"), "").expect("drained");
    drop(crew);
    match stand.done() {
        Some(keys) => done.keys = keys.into_iter().map(|it| (it, 1)).collect(),
        None => done.collect(&dir, Duration::ZERO),
    }
    // Whoever starts next takes away what those who died at their start left behind.
    drop(open(&dir, "torture"));
    let probes = if stand.is_server() { 0 } else { probes(&dir) };
    let dirty = stand.dirty();
    debug_assert!(accepted.len() <= accepted_late.len());
    let report = Report::of(&dir, &accepted_late, &done, left);
    println!(
        "{{\"kills\":{kills},\"accepted\":{},\"done\":{},\"lost\":{},\"stolen\":{},\"reordered\":{},\"repeated\":{},\
         \"duplicatesMarked\":{},\"duplicatesUnmarked\":{},\"leftOver\":{left},\"probes\":{probes},\"seconds\":{seconds:.1}{}}}",
        report.accepted,
        done.keys.len(),
        report.lost,
        report.stolen,
        report.reordered,
        report.repeated,
        report.marked,
        report.unmarked,
        stand.fields(dirty),
    );
    let broken = report.lost
        + report.stolen
        + report.reordered
        + report.repeated
        + report.unmarked
        + left
        + dirty
        + probes;
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Files of starts that are over, anywhere.
fn probes(dir: &Path) -> usize {
    let places = fs::read_dir(dir.join("state/queue")).expect("list").flatten();
    let files = places.flat_map(|it| fs::read_dir(it.path()).into_iter().flatten().flatten());
    files.filter(|it| it.file_name().to_string_lossy().starts_with(".probe-")).count()
}

/// What reached `done/`. Files older than the producers' memory are taken out, so that the folder stays small.
#[derive(Default)]
struct Done {
    keys: HashMap<String, u32>,
    files: HashSet<PathBuf>,
}

impl Done {
    fn collect(&mut self, dir: &Path, older_than: Duration) {
        for day in fs::read_dir(dir.join("state/queue").join(Place::Done.as_str()))
            .into_iter()
            .flatten()
            .flatten()
        {
            for file in fs::read_dir(day.path()).into_iter().flatten().flatten() {
                let path = file.path();
                let name = file.file_name().to_string_lossy().into_owned();
                if self.files.insert(path.clone())
                    && let Some(key) = name.trim_end_matches(".json").split('~').nth(2)
                {
                    *self.keys.entry(key.to_owned()).or_default() += 1;
                }
                let age = file
                    .metadata()
                    .and_then(|it| it.modified())
                    .ok()
                    .and_then(|it| it.elapsed().ok());
                if age.is_some_and(|it| it > older_than.max(MEMORY)) {
                    let _ = fs::remove_file(&path);
                }
            }
        }
    }
}

#[derive(Default)]
struct Report {
    accepted: usize,
    lost: usize,
    stolen: usize,
    reordered: usize,
    repeated: usize,
    marked: usize,
    unmarked: usize,
}

impl Report {
    fn of(dir: &Path, accepted: &[String], done: &Done, left: usize) -> Report {
        let mut report = Report::default();
        let mut owed: HashSet<&str> = accepted.iter().map(String::as_str).collect();
        let (work, telegram) = (lines(dir, "work"), lines(dir, "telegram"));
        let mut answered: HashSet<&str> = HashSet::new();
        let mut asked_last: BTreeMap<&str, u64> = BTreeMap::new();
        let mut owes: HashSet<&str> = HashSet::new();
        for line in &work {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["stolen", ..] => report.stolen += 1,
                ["owes", key] => {
                    owes.insert(key);
                }
                ["answered", _, key] => {
                    answered.insert(key);
                }
                ["ask", thread, key] => {
                    report.repeated += usize::from(answered.contains(key));
                    // Producers number their messages, and each lane has one producer.
                    if let Some(number) = key
                        .strip_prefix('p')
                        .and_then(|it| it.split('-').nth(1)?.parse::<u64>().ok())
                    {
                        let last = asked_last.entry(thread).or_default();
                        report.reordered += usize::from(number < *last);
                        *last = number.max(*last);
                    }
                }
                _ => {}
            }
        }
        // A follow-up is owed once its parent's answer is on disk, and every parent is done in the end.
        let parents_done = |key: &str| {
            key.strip_prefix("x-")
                .and_then(|it| it.rsplit_once('-'))
                .is_some_and(|it| done.keys.contains_key(it.0))
        };
        owed.extend(owes.into_iter().filter(|it| parents_done(it)));
        report.accepted = owed.len();
        report.lost =
            owed.iter().filter(|it| !done.keys.contains_key(**it)).count().saturating_sub(left);
        report.repeated += done.keys.values().filter(|it| **it > 1).count();
        let mut sent: HashSet<(&str, &str)> = HashSet::new();
        for line in &telegram {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["stolen", ..] => report.stolen += 1,
                ["part", _, key, part, mark] => {
                    let again = !sent.insert((key, part));
                    report.marked += usize::from(again && mark == "marked");
                    report.unmarked += usize::from(again && mark != "marked");
                }
                _ => {}
            }
        }
        report
    }
}
