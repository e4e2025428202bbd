//! A database of ten million events: how soon a gateway is up on it, and how fast it answers.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tinyclaw_domain::StateDir;
use tinyclaw_gateway::event::{Draft, NewEvent};
use tinyclaw_gateway::store::{Durability, Keep, Store};
use tinyclaw_service::Vitals;

use crate::percentile;
use crate::program::{Gateway, prepare};
use crate::wire::Connection;

const ROWS: u64 = 10_000_000;
const BATCH: u64 = 10_000;
const QUESTIONS: u64 = 600;

pub(crate) async fn run(base: &Path) -> Value {
    let dir = tempfile::Builder::new().prefix("tinyclaw-measure-").tempdir_in(base);
    let dir = dir.expect("folder");
    prepare(dir.path());
    let path = StateDir::new(dir.path()).events();
    let keep = Keep { age: Duration::from_secs(1 << 30), rows: u64::MAX >> 2, bytes: 64 << 30 };
    let store = Store::open(&path, keep, Vitals::new("measure", "1")).expect("a database");
    for batch in 0..ROWS / BATCH {
        let events = (batch * BATCH..(batch + 1) * BATCH).map(one).collect();
        store.append(events, Durability::Flushed).await.expect("events");
    }
    let head = store.head();
    drop(store);
    // The writer's thread ends a moment after its last handle.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut starts = Vec::new();
    for _ in 0..5 {
        let (gateway, ms) = Gateway::start(dir.path()).await;
        starts.push(ms);
        gateway.kill();
    }
    let (gateway, _) = Gateway::start(dir.path()).await;
    let mut connection = Connection::open(gateway.address).await.expect("a connection");
    let mut times = Vec::new();
    for at in 0..QUESTIONS {
        // Spread over the whole table, without a pattern that the disk could guess.
        let place = (at * 7_368_787) % ROWS;
        let query = match at % 3 {
            0 => format!("after={}-{place}&limit=100", head.epoch),
            1 => format!("after={}-{place}&type=measure.kind-{}&limit=100", head.epoch, at % 20),
            _ => format!("after={}-{place}&session=s{}&limit=100", head.epoch, place % 5_000),
        };
        let began = Instant::now();
        let (status, said) = connection.get(&format!("/events?{query}")).await.expect("an answer");
        times.push(began.elapsed().as_secs_f64() * 1e3);
        assert_eq!(status, 200, "{said}");
    }
    json!({
        "rows": ROWS, "restart_ms": percentile(&mut starts, 0.5),
        "query_p50_ms": percentile(&mut times, 0.5), "query_p99_ms": percentile(&mut times, 0.99),
    })
}

fn one(number: u64) -> NewEvent {
    let metadata = serde_json::Map::from_iter([("n".to_owned(), number.into())]);
    let draft = Draft {
        kind: format!("measure.kind-{}", number % 20),
        source: "measure".to_owned(),
        session: Some(format!("s{}", number % 5_000)),
        metadata,
        ..Draft::default()
    };
    NewEvent::checked(draft).expect("an event")
}
