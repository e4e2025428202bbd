//! Two thousand listeners: how late each event comes to them, how many come in all, what one that does not read costs, how
//! soon a thousand that were away are up to date, and whether a client that is cut off misses or sees something twice.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinHandle;

use crate::percentile;
use crate::program::Gateway;
use crate::wire::{Connection, Listener, Way, event};

/// So many of each kind.
const LISTENERS: usize = 1_000;
const BYTES: usize = 600;
/// Events at a hundred a second.
const PACED: u64 = 1_000;
const PACE: Duration = Duration::from_millis(10);
/// Events as fast as they go.
const FLOOD: u64 = 1_500;
const STALL: u64 = 40_000;
const BEHIND: u64 = 10_000;
const CUTS: u64 = 1_000;

pub(crate) async fn run(base: &Path) -> Value {
    let mut told = fan_out(base).await;
    for it in [stall(base).await, catch_up(base).await, cuts(base).await] {
        if let (Value::Object(told), Value::Object(it)) = (&mut told, it) {
            told.extend(it);
        }
    }
    told
}

/// A listener that reads until it saw the event of number `last`. It gives how late the events up to `timed` came, in ms,
/// and how many came in their order.
pub(crate) fn listen(
    mut it: Listener,
    first: u64,
    timed: u64,
    last: u64,
    clock: Instant,
) -> JoinHandle<(Vec<f64>, u64)> {
    tokio::spawn(async move {
        let (mut times, mut next) = (Vec::new(), first);
        while next <= last {
            let read = it.read(|seen| {
                if seen.number == next {
                    next += 1;
                    if seen.number < timed {
                        let now = clock.elapsed().as_micros() as u64;
                        times.push(now.saturating_sub(seen.sent_us) as f64 / 1e3);
                    }
                }
            });
            // Who hears nothing for a minute has missed something.
            match tokio::time::timeout(Duration::from_secs(60), read).await {
                Ok(Ok(true)) => {}
                _ => break,
            }
        }
        (times, next - first)
    })
}

async fn fan_out(base: &Path) -> Value {
    let gateway = Gateway::fresh(base).await;
    let clock = Instant::now();
    let mut listeners = Vec::new();
    for at in 0..2 * LISTENERS {
        let way = if at % 2 == 0 { Way::WebSocket } else { Way::Sse };
        let connection = Connection::open(gateway.address).await.expect("a connection");
        let listener = connection.listen(way, "").await.expect("a stream");
        listeners.push(listen(listener, 0, PACED, PACED + FLOOD - 1, clock));
    }
    let mut connection = Connection::open(gateway.address).await.expect("a connection");
    let mut ticks = tokio::time::interval(PACE);
    for number in 0..PACED {
        ticks.tick().await;
        let (status, said) =
            connection.post("/events", &event(number, clock, BYTES)).await.expect("an answer");
        assert_eq!(status, 200, "{said}");
    }
    let rss = gateway.rss_kib();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let began = Instant::now();
    let mut number = PACED;
    while number < PACED + FLOOD {
        let events: Vec<String> = (number..number + 50).map(|it| event(it, clock, BYTES)).collect();
        let body = format!("[{}]", events.join(","));
        let (status, said) = connection.post("/events", &body).await.expect("an answer");
        assert_eq!(status, 200, "{said}");
        number += 50;
    }
    let (mut times, mut received) = (Vec::new(), 0);
    for it in listeners {
        let (own, count) = it.await.expect("a listener");
        times.extend(own);
        received += count;
    }
    let seconds = began.elapsed().as_secs_f64();
    let rss = rss.max(gateway.rss_kib());
    let expected = (2 * LISTENERS) as u64 * (PACED + FLOOD);
    let flooded = received.saturating_sub((2 * LISTENERS) as u64 * PACED);
    json!({
        "fan_p50_ms": percentile(&mut times, 0.5), "fan_p99_ms": percentile(&mut times, 0.99),
        "fan_deliveries_s": (flooded as f64 / seconds).round(),
        "fan_ratio": received as f64 / expected as f64,
        "rss_mib": (rss as f64 / 102.4).round() / 10.0,
    })
}

async fn flood(gateway: &Gateway, from: u64, count: u64, bytes: usize, clock: Instant) {
    let mut connection = Connection::open(gateway.address).await.expect("a connection");
    let mut number = from;
    while number < from + count {
        let events: Vec<String> =
            (number..number + 200).map(|it| event(it, clock, bytes)).collect();
        let body = format!("[{}]", events.join(","));
        let (status, said) = connection.post("/events", &body).await.expect("an answer");
        assert_eq!(status, 200, "{said}");
        number += 200;
    }
}

/// A listener that does not read while events come, and then does.
async fn stall(base: &Path) -> Value {
    let gateway = Gateway::fresh(base).await;
    let clock = Instant::now();
    // What every gateway has in memory after so many events is no cost of the listener.
    flood(&gateway, 0, STALL, BYTES, clock).await;
    let connection = Connection::open(gateway.address).await.expect("a connection");
    let deaf = connection.listen(Way::WebSocket, "").await.expect("a stream");
    let before = gateway.rss_kib();
    flood(&gateway, STALL, STALL, BYTES, clock).await;
    let cost = gateway.rss_kib() as i64 - before as i64;
    // Its greeting has the last events of before; they are not counted.
    let (_, received) = listen(deaf, STALL, 0, 2 * STALL - 1, clock).await.expect("a listener");
    json!({ "stall_received": received, "stall_rss_kib": cost })
}

/// A thousand listeners that were away for ten thousand events.
async fn catch_up(base: &Path) -> Value {
    let gateway = Gateway::fresh(base).await;
    let clock = Instant::now();
    flood(&gateway, 0, BEHIND, 220, clock).await;
    let began = Instant::now();
    let mut listeners = Vec::new();
    for _ in 0..LISTENERS {
        let connection = Connection::open(gateway.address).await.expect("a connection");
        let listener = connection.listen(Way::Sse, "since=earliest").await.expect("a stream");
        listeners.push(listen(listener, 0, 0, BEHIND - 1, clock));
    }
    let mut received = 0;
    for it in listeners {
        received += it.await.expect("a listener").1;
    }
    assert_eq!(received, LISTENERS as u64 * BEHIND, "everybody got everything");
    json!({ "catchup_s": (began.elapsed().as_secs_f64() * 1e3).round() / 1e3 })
}

/// Clients that are cut off again and again while events come, and come back where they were.
async fn cuts(base: &Path) -> Value {
    const CLIENTS: u64 = 10;
    let gateway = Gateway::fresh(base).await;
    let clock = Instant::now();
    let last = Arc::new(AtomicU64::new(u64::MAX));
    let ready = Arc::new(Barrier::new(CLIENTS as usize + 1));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (address, last, ready) = (gateway.address, Arc::clone(&last), Arc::clone(&ready));
            tokio::spawn(async move {
                ready.wait().await;
                let (mut next, mut missing, mut twice, mut cuts) = (0, 0, 0, 0);
                let mut place = String::from("since=earliest");
                while next <= last.load(Ordering::Relaxed) {
                    let connection = Connection::open(address).await.expect("a connection");
                    let mut stream = connection.listen(Way::Sse, &place).await.expect("a stream");
                    let stay = next + 1 + (client + cuts) % 7;
                    while next < stay && next <= last.load(Ordering::Relaxed) {
                        let read = stream.read(|seen| {
                            // Cut in the middle of what came: the rest comes again after the place.
                            if next >= stay {
                                return;
                            }
                            missing += seen.number.saturating_sub(next);
                            twice += u64::from(seen.number < next);
                            next = next.max(seen.number + 1);
                        });
                        match tokio::time::timeout(Duration::from_secs(2), read).await {
                            Ok(Ok(true)) => {}
                            // Nothing more comes, or the stream ended: that is a cut, too.
                            _ => break,
                        }
                    }
                    drop(stream);
                    cuts += 1;
                    let epoch = epoch(address).await;
                    place = format!("after={epoch}-{next}");
                }
                (missing, twice, cuts)
            })
        })
        .collect();
    ready.wait().await;
    let mut connection = Connection::open(gateway.address).await.expect("a connection");
    let mut number = 0;
    let per_client = CUTS / CLIENTS * 4;
    while number < per_client {
        let (status, said) =
            connection.post("/events", &event(number, clock, BYTES)).await.expect("an answer");
        assert_eq!(status, 200, "{said}");
        number += 1;
    }
    last.store(number - 1, Ordering::Relaxed);
    let (mut missing, mut twice, mut cuts) = (0, 0, 0);
    for it in clients {
        let (own_missing, own_twice, own_cuts) = it.await.expect("a client");
        missing += own_missing;
        twice += own_twice;
        cuts += own_cuts;
    }
    json!({ "cuts": cuts, "cuts_missing": missing, "cuts_twice": twice })
}

async fn epoch(address: std::net::SocketAddr) -> String {
    let mut connection = Connection::open(address).await.expect("a connection");
    let (_, stats) = connection.get("/stats").await.expect("an answer");
    let stats: Value = serde_json::from_str(&stats).expect("numbers");
    stats["head"].as_str().and_then(|it| it.split('-').next()).unwrap_or_default().to_owned()
}
