//! The same claims, held to the engine on PostgreSQL: all of them at one private server, each in an office of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use tinyclaw_postgres::Database;
use tinyclaw_postgres::testing::Cluster;

use super::*;

/// The server's database, while it is up.
static SERVER: Mutex<Option<Database>> = Mutex::new(None);

fn in_postgres() -> Open {
    static OFFICES: AtomicU32 = AtomicU32::new(0);
    let office = format!("office-{}", OFFICES.fetch_add(1, Ordering::SeqCst));
    let database = SERVER.lock().unwrap().clone().unwrap().as_office(&office);
    Box::new(move |options| Queue::open(database.clone(), options).unwrap())
}

const MODEL: &str = "every_interleaving_agrees_with_one_list_a_lane";

#[test]
fn postgres_keeps_every_claim() {
    let Some(cluster) = Cluster::start(&["fsync=off"]) else {
        eprintln!("postgres_keeps_every_claim: skipped, PostgreSQL is not installed");
        return;
    };
    *SERVER.lock().unwrap() = Some(cluster.database("home", "ada", "processor"));
    // It opens the queue hundreds of times, and a server takes longer for that than a folder.
    let few: (&str, fn(Make)) = (MODEL, |make| model::some_agree_with_one_list_a_lane(make, 12));
    let others = CLAIMS.iter().filter(|it| it.0 != MODEL);
    // One that fails is told, and the queue is held to the others all the same.
    let failed: Vec<&str> = others
        .chain([&few])
        .filter(|(name, claim)| {
            eprintln!("{name}");
            catch_unwind(AssertUnwindSafe(|| claim(in_postgres))).is_err()
        })
        .map(|it| it.0)
        .collect();
    drop(cluster);
    assert!(failed.is_empty(), "{failed:?}");
}
