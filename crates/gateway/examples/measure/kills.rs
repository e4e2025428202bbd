//! A gateway that is killed while events come in, again and again: what was acknowledged is there, once, and the numbers
//! have no hole.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::program::{Gateway, prepare};
use crate::wire::Connection;

const SENDERS: usize = 16;

pub(crate) async fn run(count: usize, base: &Path) -> Value {
    let dir = tempfile::Builder::new().prefix("tinyclaw-kills-").tempdir_in(base).expect("folder");
    prepare(dir.path());
    let mut acknowledged: HashMap<String, String> = HashMap::new();
    let mut sent = 0u64;
    for round in 0..count {
        let (gateway, _) = Gateway::start(dir.path()).await;
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let address = gateway.address;
                tokio::spawn(async move {
                    let (mut acknowledged, mut sent) = (Vec::new(), 0u64);
                    let Ok(mut connection) = Connection::open(address).await else {
                        return (acknowledged, sent);
                    };
                    loop {
                        let id = format!("{round}-{sender}-{sent}");
                        let body = json!({ "type": "a.b", "source": "kills", "id": id });
                        sent += 1;
                        match connection.post("/events", &body.to_string()).await {
                            Ok((200, said)) => {
                                let said: Value = serde_json::from_str(&said).expect("an answer");
                                let place = said["eventId"].as_str().expect("a place").to_owned();
                                acknowledged.push((id, place));
                            }
                            // Killed in the middle of it.
                            _ => return (acknowledged, sent),
                        }
                    }
                })
            })
            .collect();
        // Anywhere in the first tenth of a second, by chance: also before the first commit.
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..100_000))).await;
        drop(gateway);
        for it in senders {
            let (own, count) = it.await.expect("a sender");
            acknowledged.extend(own);
            sent += count;
        }
    }
    let (gateway, _) = Gateway::start(dir.path()).await;
    let mut connection = Connection::open(gateway.address).await.expect("a connection");
    let (mut place, mut holes, mut kept) = ("since=earliest".to_owned(), 0u64, 0u64);
    loop {
        let path = format!("/events?limit=1000&{place}");
        let (status, page) = connection.get(&path).await.expect("a page");
        assert_eq!(status, 200, "{page}");
        let page: Value = serde_json::from_str(&page).expect("a page");
        let events = page["events"].as_array().expect("events");
        if events.is_empty() {
            break;
        }
        for it in events {
            let seq: u64 = it["id"]
                .as_str()
                .and_then(|it| it.rsplit('-').next()?.parse().ok())
                .expect("a number");
            holes += seq - kept - 1;
            kept = seq;
        }
        place = format!("after={}", page["next"].as_str().expect("a place"));
    }
    // Told again, each is the one that is there: under the place it was acknowledged with.
    let (mut lost, mut moved) = (0u64, 0u64);
    for (id, place) in &acknowledged {
        let body = json!({ "type": "a.b", "source": "kills", "id": id });
        let (_, said) = connection.post("/events", &body.to_string()).await.expect("an answer");
        let said: Value = serde_json::from_str(&said).expect("an answer");
        if said["duplicate"] != true {
            lost += 1;
        } else if said["eventId"] != place.as_str() {
            moved += 1;
        }
    }
    // More than were sent would be some that are there twice.
    let twice = kept.saturating_sub(sent);
    json!({
        "kills": count, "sent": sent, "acknowledged": acknowledged.len(), "kept": kept,
        "lost": lost, "twice": twice, "moved": moved, "holes": holes,
    })
}
