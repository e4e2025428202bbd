//! How fast events are taken in, each acknowledged when it is on disk.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::percentile;
use crate::program::Gateway;
use crate::wire::{Connection, event};

const CONNECTIONS: u64 = 64;
const TIME: Duration = Duration::from_secs(8);
/// Batches come from so many, of so many events.
const BATCH_CONNECTIONS: u64 = 8;
const BATCH: u64 = 100;
/// An event's size, as the peers were measured with.
const BYTES: usize = 600;

pub(crate) async fn run(base: &Path) -> Value {
    let gateway = Gateway::fresh(base).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mib = |kib: u64| (kib as f64 / 102.4).round() / 10.0;
    let (idle, idle_own) = (mib(gateway.rss_kib()), mib(gateway.own_kib()));
    let (single, mut times) = send(&gateway, CONNECTIONS, 1).await;
    let p50 = percentile(&mut times, 0.5);
    let p99 = percentile(&mut times, 0.99);
    drop(gateway);
    let gateway = Gateway::fresh(base).await;
    let (batched, _) = send(&gateway, BATCH_CONNECTIONS, BATCH).await;
    json!({
        "idle_rss_mib": idle, "idle_own_mib": idle_own,
        "ingest_evs": single.round(), "ingest_p50_ms": p50, "ingest_p99_ms": p99,
        "ingest_batch_evs": batched.round(),
    })
}

/// Events a second, and how long each answer took, in ms.
async fn send(gateway: &Gateway, connections: u64, batch: u64) -> (f64, Vec<f64>) {
    let clock = Instant::now();
    let senders: Vec<_> = (0..connections)
        .map(|sender| {
            let address = gateway.address;
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await.expect("a connection");
                let mut times = Vec::new();
                let mut number = sender << 32;
                while clock.elapsed() < TIME {
                    let events: Vec<String> =
                        (number..number + batch).map(|it| event(it, clock, BYTES)).collect();
                    number += batch;
                    let body = match batch {
                        1 => events.concat(),
                        _ => format!("[{}]", events.join(",")),
                    };
                    let began = Instant::now();
                    let (status, said) =
                        connection.post("/events", &body).await.expect("an answer");
                    assert_eq!(status, 200, "{said}");
                    times.push(began.elapsed().as_secs_f64() * 1e3);
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for it in senders {
        times.extend(it.await.expect("a sender"));
    }
    let seconds = clock.elapsed().as_secs_f64();
    (times.len() as f64 * batch as f64 / seconds, times)
}
