//! The queue in a private PostgreSQL, beside the disk on which its data lies. Each number is taken in a server of its own
//! office, with flushes; rates are of two seconds, and the floor is taken before and after them.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tinyclaw_domain::{Channel, Reply};
use tinyclaw_postgres::Database;
use tinyclaw_postgres::testing::Cluster;
use tinyclaw_queue::{Durability, Options, Queue, Side, Which};

use super::{message, percentile, sorted};

const FOR: Duration = Duration::from_secs(2);

pub(super) fn measure(base: &Path) {
    let Some(programs) = Cluster::programs() else {
        eprintln!("measure --engine postgres: skipped, PostgreSQL is not installed");
        return;
    };
    let settings = ["max_connections=300", "track_wal_io_timing=off"];
    let cluster = Cluster::start_in(base, programs, &settings).expect("a private server");
    let bench = Bench { cluster, base, offices: AtomicU64::new(0) };
    let before = bench.floor();
    let publishes: Vec<String> =
        [1, 8, 32].iter().map(|it| format!("\"{it}\":{:.0}", bench.publishes(*it, true))).collect();
    let one_lane = bench.publishes(8, false);
    let lives: Vec<String> =
        [1, 4, 16].iter().map(|it| format!("\"{it}\":{:.0}", bench.lives(*it))).collect();
    let flushes = bench.flushes_per_life();
    let after = bench.floor();
    let claims: Vec<String> = [(1_000, 500), (20_000, 500), (20_000, 10_000)]
        .iter()
        .map(|(queued, lanes)| {
            let p50 = bench.claim_p50_us(*queued, *lanes);
            format!("\"{queued} in {lanes}\":{p50:.0}")
        })
        .collect();
    let (wakeup_p50, wakeup_p99) = bench.wakeups();
    let version = bench.cluster.ask("show server_version").expect("version");
    let (connections, standbys) = (bench.connections(), 0);
    println!(
        "{{\"engine\":\"postgres\",\"server\":\"{version}\",\"standbys\":{standbys},\
         \"floorPerS\":[{before:.0},{after:.0}],\"publishPerSBy\":{{{}}},\"oneLanePerS\":{one_lane:.0},\
         \"lifePerS\":{{{}}},\"flushesPerLife\":{flushes:.1},\"claimP50Us\":{{{}}},\
         \"wakeupP50Us\":{wakeup_p50:.0},\"wakeupP99Us\":{wakeup_p99:.0},\"connections\":{connections}}}",
        publishes.join(","),
        lives.join(","),
        claims.join(","),
    );
}

struct Bench<'a> {
    cluster: Cluster,
    base: &'a Path,
    offices: AtomicU64,
}

fn open(database: &Database) -> Queue {
    let vast = usize::MAX;
    let options =
        Options { incoming_max: vast, lane_max: vast, outgoing_max: vast, ..Options::default() };
    Queue::open(database.clone(), options).expect("open")
}

impl Bench<'_> {
    fn office(&self) -> Database {
        let number = self.offices.fetch_add(1, Ordering::SeqCst);
        self.cluster.database(&format!("office-{number}"), "here", "measure")
    }

    /// Appends and flushes of a kilobyte a second, on the disk of the server's data.
    fn floor(&self) -> f64 {
        let dir = super::fresh(self.base);
        let path = dir.path().join("floor");
        let mut file = OpenOptions::new().create(true).append(true).open(path).expect("file");
        let (began, mut count) = (Instant::now(), 0);
        while began.elapsed() < FOR {
            file.write_all(&[b'x'; 1024]).expect("append");
            file.sync_data().expect("flush");
            count += 1;
        }
        f64::from(count) / began.elapsed().as_secs_f64()
    }

    /// Runs clients for a while, each a process's worth of queue, and tells how often a second they did it together.
    fn rate(&self, clients: usize, one: impl Fn(&Queue, usize, u64) + Sync) -> f64 {
        let office = self.office();
        let queues: Vec<Queue> = (0..clients)
            .map(|it| open(&office.clone().as_service(&format!("client-{it}"))))
            .collect();
        let began = Instant::now();
        let count: u64 = std::thread::scope(|scope| {
            let one = &one;
            let client = |(number, queue): (usize, &'_ Queue)| {
                let queue = queue.clone();
                scope.spawn(move || {
                    let mut count = 0;
                    while began.elapsed() < FOR {
                        one(&queue, number, count);
                        count += 1;
                    }
                    count
                })
            };
            let running: Vec<_> = queues.iter().enumerate().map(client).collect();
            running.into_iter().map(|it| it.join().expect("client")).sum()
        });
        count as f64 / began.elapsed().as_secs_f64()
    }

    fn publishes(&self, clients: usize, is_own_lane: bool) -> f64 {
        self.rate(clients, |queue, client, count| {
            let lane = if is_own_lane { client } else { 0 };
            let message = message(lane, &format!("k-{client}-{count}"));
            queue.publish(Side::Run, message, Durability::Strict).expect("publish");
        })
    }

    /// Whole lives: published, claimed, answered, finished, claimed to be sent, intended, sent, delivered.
    fn lives(&self, clients: usize) -> f64 {
        self.rate(clients, live)
    }

    fn flushes_per_life(&self) -> f64 {
        const LIVES: u64 = 100;
        // A session tells what it counted when it ends.
        let flushes = || {
            while self.sessions() > 0 {
                std::thread::sleep(Duration::from_millis(20));
            }
            let told = self.cluster.ask("select wal_sync from pg_stat_wal").expect("flushes");
            told.parse::<f64>().expect("a number")
        };
        let office = self.office();
        drop(open(&office));
        let before = flushes();
        let queue = open(&office);
        for count in 0..LIVES {
            live(&queue, 0, count);
        }
        drop(queue);
        (flushes() - before) / LIVES as f64
    }

    fn sessions(&self) -> i64 {
        let all = "select count(*) from pg_stat_activity where application_name = 'tinyclaw'";
        self.cluster.ask(all).expect("connections").parse().expect("a number")
    }

    fn claim_p50_us(&self, queued: usize, lanes: usize) -> f64 {
        let queue = open(&self.office());
        for at in 0..queued {
            let message = message(at % lanes, &format!("k-{at}"));
            queue.publish(Side::Run, message, Durability::None).expect("publish");
        }
        let mut times = Vec::new();
        for _ in 0..400 {
            let began = Instant::now();
            // A sender's claim is not flushed; a turn's is, which would measure the disk.
            let lease = queue.try_claim(Side::Run, &Which::Ordinary).expect("claim").expect("one");
            times.push(began.elapsed().as_secs_f64() * 1e6);
            lease.finish().expect("finish");
        }
        percentile(&sorted(times), 0.5)
    }

    fn wakeups(&self) -> (f64, f64) {
        let office = self.office();
        let (near, far) = (open(&office), open(&office.clone().as_service("far")));
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
        for at in 0..200 {
            near.publish(Side::Run, message(at % 7, &format!("w-{at}")), Durability::Strict)
                .expect("publish");
            let accepted = Instant::now();
            let claimed = receive.recv_timeout(Duration::from_secs(10)).expect("wake-up");
            times.push(claimed.saturating_duration_since(accepted).as_secs_f64() * 1e6);
            std::thread::sleep(Duration::from_millis(5));
        }
        let times = sorted(times);
        (percentile(&times, 0.5), percentile(&times, 0.99))
    }

    /// Connections of one process that claims and is idle.
    fn connections(&self) -> String {
        let queue = open(&self.office());
        let before = self.sessions();
        assert!(queue.try_claim(Side::Run, &Which::Ordinary).expect("claim").is_none());
        format!("{{\"toPublish\":1,\"toClaim\":{}}}", 1 + self.sessions() - before)
    }
}

fn live(queue: &Queue, client: usize, count: u64) {
    let mut asked = message(client, &format!("l-{client}-{count}"));
    asked.channel = Channel::Telegram;
    let lane = Which::Lane(asked.lane());
    queue.publish(Side::Run, asked, Durability::Strict).expect("publish");
    let mut lease = queue.try_claim(Side::Run, &lane).expect("claim").expect("one");
    lease.answer(Reply::default(), Vec::new()).expect("answer");
    lease.finish().expect("finish");
    let mut lease = queue.try_claim(Side::Send, &lane).expect("claim").expect("one");
    lease.intend(1, 1).expect("intent");
    lease.sent(1, 1, false).expect("sent");
    lease.delivered().expect("delivered");
}
