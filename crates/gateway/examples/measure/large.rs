//! A database of ten million events: how soon a gateway is up on it, and how fast it answers.

use std::path::{Path, PathBuf};
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

/// Where the database is when it was filled for a later run.
fn kept(base: &Path) -> PathBuf {
    base.join("tinyclaw-measure-large")
}

/// Fills the database and leaves it, for a `large` that then measures and fills nothing.
pub(crate) async fn fill_and_keep(base: &Path) -> Value {
    let dir = kept(base);
    fill(&dir).await;
    json!({ "kept": dir.display().to_string(), "rows": ROWS })
}

async fn fill(dir: &Path) {
    prepare(dir);
    let path = StateDir::new(dir).events();
    let keep = Keep { age: Duration::from_secs(1 << 30), rows: u64::MAX >> 2, bytes: 64 << 30 };
    let store = Store::open(&path, keep, Vitals::new("measure", "1")).expect("a database");
    for batch in 0..ROWS / BATCH {
        let events = (batch * BATCH..(batch + 1) * BATCH).map(one).collect();
        store.append(events, Durability::Flushed).await.expect("events");
    }
    drop(store);
    // The writer's thread ends a moment after its last handle.
    tokio::time::sleep(Duration::from_secs(2)).await;
}

pub(crate) async fn run(base: &Path) -> Value {
    let own = tempfile::Builder::new().prefix("tinyclaw-measure-").tempdir_in(base);
    let own = own.expect("folder");
    let kept = kept(base);
    let dir = if kept.is_dir() {
        kept.as_path()
    } else {
        fill(own.path()).await;
        own.path()
    };
    let mut starts = Vec::new();
    for _ in 0..5 {
        starts.push(Gateway::start(dir).await.1);
    }
    let (gateway, _) = Gateway::start(dir).await;
    let mut connection = Connection::open(gateway.address).await.expect("a connection");
    let (_, stats) = connection.get("/events?limit=1").await.expect("an answer");
    let stats: Value = serde_json::from_str(&stats).expect("a page");
    let epoch = stats["head"].as_str().and_then(|it| it.split('-').next()).expect("a place");
    let mut times = Vec::new();
    // By what they ask for: a place, a type behind it, a session behind it.
    let mut by_kind = [const { Vec::new() }; 3];
    for at in 0..QUESTIONS {
        // Spread over the whole table, without a pattern that the disk could guess.
        let place = (at * 7_368_787) % ROWS;
        let query = match at % 3 {
            0 => format!("after={}-{place}&limit=100", epoch),
            1 => format!("after={}-{place}&type=measure.kind-{}&limit=100", epoch, at % 20),
            _ => format!("after={}-{place}&session=s{}&limit=100", epoch, place % 5_000),
        };
        let began = Instant::now();
        let (status, said) = connection.get(&format!("/events?{query}")).await.expect("an answer");
        let ms = began.elapsed().as_secs_f64() * 1e3;
        times.push(ms);
        by_kind[at as usize % 3].push(ms);
        assert_eq!(status, 200, "{said}");
    }
    json!({
        "rows": ROWS, "restart_ms": percentile(&mut starts, 0.5),
        "query_p50_ms": percentile(&mut times, 0.5), "query_p99_ms": percentile(&mut times, 0.99),
        "query_p99_by_kind_ms": by_kind.map(|mut it| percentile(&mut it, 0.99)),
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
