//! Events that are posted: signed, in order, again where they were not taken, and never where nobody said so.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tinyclaw_domain::Scope;
use tokio::net::TcpListener;

use crate::rig::{Rig, entry, json_of, problem};

/// What came, and what is answered next; when nothing is said, 200.
#[derive(Clone, Default)]
struct Heard {
    came: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    answers: Arc<Mutex<VecDeque<StatusCode>>>,
}

impl Heard {
    /// The events that came, by their numbers.
    fn numbers(&self) -> Vec<u64> {
        let came = self.came.lock().unwrap();
        came.iter().map(|it| body(&it.1)["data"]["metadata"]["n"].as_u64().unwrap()).collect()
    }

    fn answer(&self, status: &[u16]) {
        let all = status.iter().map(|it| StatusCode::from_u16(*it).unwrap());
        self.answers.lock().unwrap().extend(all);
    }

    async fn until(&self, is_so: impl Fn(&[u64]) -> bool) -> Vec<u64> {
        loop {
            let numbers = self.numbers();
            if is_so(&numbers) {
                return numbers;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn body(bytes: &Bytes) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

async fn heard(heard: Heard, headers: HeaderMap, bytes: Bytes) -> Response {
    heard.came.lock().unwrap().push((headers, bytes));
    let status = heard.answers.lock().unwrap().pop_front().unwrap_or(StatusCode::OK);
    if status.is_redirection() {
        // To itself: a client that followed would be heard again.
        return (status, [("location", "/elsewhere")]).into_response();
    }
    status.into_response()
}

/// A receiver, and a gateway that may post to it, with one webhook of these types.
async fn receiver(types: &[&str]) -> (Heard, Rig, String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let all = Heard::default();
    let here = all.clone();
    let app = axum::Router::new()
        .fallback(move |headers: HeaderMap, bytes: Bytes| heard(here.clone(), headers, bytes));
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let dir = Rig::start().await.stop().await;
    let rig = Rig::posting(dir, vec![host.clone()]).await;
    let new = json!({ "url": format!("http://{host}/hook"), "types": types });
    let made = rig.post("/api/webhooks").json(&new).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let made = json_of(made).await;
    let text = |it: &Value| it.as_str().unwrap().to_owned();
    let (id, secret) = (text(&made["webhook"]["id"]), text(&made["secret"]));
    let shown = json_of(rig.get("/api/webhooks").send().await.unwrap()).await;
    assert!(!shown.to_string().contains(&secret), "a secret is told once: {shown}");
    (all, rig, id, secret)
}

fn signature(secret: &str, headers: &HeaderMap, bytes: &Bytes) -> String {
    let text = |name: &str| headers[name].to_str().unwrap();
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{}.{}.", text("webhook-id"), text("webhook-timestamp")).as_bytes());
    mac.update(bytes);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

async fn failures(rig: &Rig, id: &str) -> Vec<Value> {
    let path = format!("/api/webhooks/{id}/deliveries");
    let told = json_of(rig.get(&path).send().await.unwrap()).await;
    told["deliveries"].as_array().unwrap().clone()
}

#[tokio::test]
async fn events_are_posted_in_order_signed_by_the_secret_and_by_the_one_before_it() {
    let (heard, rig, id, secret) = receiver(&["test.*"]).await;
    let first = rig.tell(&json!({ "type": "test.number", "metadata": { "n": 0 } })).await;
    rig.tell(&json!({ "type": "other" })).await;
    rig.number(1, 99).await;
    let numbers = heard.until(|it| it.len() >= 100).await;
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    {
        let came = heard.came.lock().unwrap();
        for (headers, bytes) in came.iter() {
            let told = headers["webhook-signature"].to_str().unwrap();
            assert_eq!(told, signature(&secret, headers, bytes));
        }
        assert_eq!(came[0].0["webhook-id"].to_str().unwrap(), first[0]);
        let told = body(&came[0].1);
        assert_eq!((&told["type"], &told["data"]["id"]), (&json!("test.number"), &json!(first[0])));
    }
    let path = format!("/api/webhooks/{id}");
    let rotated = rig.post(&path).json(&json!({ "rotate": true })).send().await.unwrap();
    let new = json_of(rotated).await["secret"].as_str().unwrap().to_owned();
    assert_ne!(new, secret);
    rig.number(100, 1).await;
    heard.until(|it| it.contains(&100)).await;
    let came = heard.came.lock().unwrap();
    let (headers, bytes) = came.last().unwrap();
    let told = headers["webhook-signature"].to_str().unwrap();
    let both =
        format!("{} {}", signature(&new, headers, bytes), signature(&secret, headers, bytes));
    assert_eq!(told, both);
}

#[tokio::test]
async fn what_is_not_taken_is_tried_again_then_given_up_shown_and_posted_when_asked_for() {
    let (heard, rig, id, _) = receiver(&[]).await;
    // The first event three times: at once, and twice again. The redirect leads to the receiver itself.
    heard.answer(&[500, 302, 503]);
    rig.number(0, 1).await;
    let dead = loop {
        let all = failures(&rig, &id).await;
        if let [one] = &all[..]
            && one["dead"] == true
        {
            break one.clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!((&dead["attempts"], &dead["status"]), (&json!(3), &json!(503)), "{dead}");
    assert_eq!(heard.numbers(), [0, 0, 0], "no redirect was followed");
    rig.number(1, 2).await;
    assert_eq!(heard.until(|it| it.len() >= 5).await, [0, 0, 0, 1, 2], "the rest goes on");
    let again = rig.post(&format!("/api/webhooks/{id}/redeliver")).json(&json!({}));
    assert_eq!(json_of(again.send().await.unwrap()).await["redelivered"], 1);
    assert_eq!(heard.until(|it| it.len() >= 6).await[5], 0);
    while !failures(&rig, &id).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let one = json!({ "eventId": dead["eventId"] });
    let again = rig.post(&format!("/api/webhooks/{id}/redeliver")).json(&one);
    assert_eq!(json_of(again.send().await.unwrap()).await["redelivered"], 1);
    assert_eq!(heard.until(|it| it.len() >= 7).await[6], 0);
}

#[tokio::test]
async fn a_receiver_that_is_gone_for_good_gets_nothing_until_somebody_says_so() {
    let (heard, rig, id, _) = receiver(&[]).await;
    heard.answer(&[410]);
    rig.number(0, 1).await;
    let path = format!("/api/webhooks/{id}");
    loop {
        let shown = json_of(rig.get(&path).send().await.unwrap()).await;
        if shown["webhook"]["disabled"].as_str().is_some_and(|it| it.contains("410")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.number(1, 1).await;
    let on = rig.post(&path).json(&json!({ "enabled": true })).send().await.unwrap();
    assert_eq!(json_of(on).await["webhook"]["disabled"], Value::Null);
    // What came meanwhile comes now; what was refused for good does not.
    assert_eq!(heard.until(|it| it.len() >= 2).await, [0, 1]);
    assert_eq!(
        rig.client.delete(rig.url(&path)).bearer_auth(&rig.token).send().await.unwrap().status(),
        200
    );
    assert_eq!(problem(rig.get(&path)).await.1, "unknown_webhook");
}

#[tokio::test]
async fn over_a_restart_no_event_is_left_out() {
    let (heard, rig, _, _) = receiver(&[]).await;
    rig.number(0, 50).await;
    heard.until(|it| !it.is_empty()).await;
    let host = heard.came.lock().unwrap()[0].0["host"].to_str().unwrap().to_owned();
    let dir = rig.stop().await;
    let rig = Rig::posting(dir, vec![host]).await;
    rig.number(50, 10).await;
    let mut numbers = heard.until(|it| it.contains(&59)).await;
    // The last ones before the stop may come twice, under the same id.
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..60).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_receiver_is_told_a_gap_where_events_were_removed_before_their_turn() {
    let (heard, rig, id, secret) = receiver(&["test.*"]).await;
    rig.number(0, 1).await;
    heard.until(|it| it.len() == 1).await;
    let host = heard.came.lock().unwrap()[0].0["host"].to_str().unwrap().to_owned();
    // That it was posted is noted a moment later.
    let path = format!("/api/webhooks/{id}");
    while !json_of(rig.get(&path).send().await.unwrap()).await["webhook"]["place"]
        .as_str()
        .is_some_and(|it| it.ends_with("-1"))
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let off = rig.post(&path).json(&json!({ "enabled": false }));
    assert_eq!(off.send().await.unwrap().status(), 200);
    rig.number(1, 6).await;
    let dir = rig.stop().await;
    // As retention does: the oldest first. Nothing of the first five is left, and two of six that were not posted.
    let events = tinyclaw_domain::StateDir::new(dir.path()).events();
    let database = rusqlite::Connection::open(events).unwrap();
    database.execute("DELETE FROM events WHERE seq <= 5", []).unwrap();
    drop(database);
    let rig = Rig::posting(dir, vec![host]).await;
    // It does not take the gap at first: that is tried again like an event.
    heard.answer(&[500]);
    let on = rig.post(&path).json(&json!({ "enabled": true }));
    assert_eq!(on.send().await.unwrap().status(), 200);
    let gaps = || {
        let came = heard.came.lock().unwrap();
        let all = came.iter().filter(|it| body(&it.1)["type"] == "gap");
        all.cloned().collect::<Vec<_>>()
    };
    while gaps().len() < 2 || heard.came.lock().unwrap().len() < 5 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let gaps = gaps();
    for (headers, bytes) in &gaps {
        let told = headers["webhook-signature"].to_str().unwrap();
        assert_eq!(told, signature(&secret, headers, bytes));
        let (id, gap) = (headers["webhook-id"].to_str().unwrap(), &body(bytes)["data"]);
        assert!(id.starts_with("gap_") && id.ends_with("-2_5"), "{id}");
        assert_eq!((&gap["count"], &gap["reason"]), (&json!(4), &json!("retention")), "{gap}");
    }
    let came = heard.came.lock().unwrap().clone();
    let number = |it: &(HeaderMap, Bytes)| body(&it.1)["data"]["metadata"]["n"].as_u64();
    assert_eq!(came.iter().filter_map(number).collect::<Vec<_>>(), [0, 5, 6]);
    assert_eq!(number(&came[1]), None, "the gap comes before what follows it");
    while !failures(&rig, &id).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn only_an_administrator_names_an_address_and_only_at_a_host_of_the_settings() {
    let (_, rig, _, _) = receiver(&[]).await;
    for url in [
        "http://169.254.169.254/latest",
        "https://evil.example.com/",
        "http://a@127.0.0.1/",
        "http://[",
    ] {
        let refused = problem(rig.post("/api/webhooks").json(&json!({ "url": url }))).await;
        assert_eq!((refused.0, &*refused.1), (403, "webhook_host"), "{url}");
    }
    for url in ["ftp://127.0.0.1/", "x", "http://127.0.0.1/a b", "https://"] {
        let refused = problem(rig.post("/api/webhooks").json(&json!({ "url": url }))).await;
        assert_eq!((refused.0, &refused.2["errors"][0]["pointer"]), (422, &json!("/url")), "{url}");
    }
    let scopes = [Scope::Ingest, Scope::Read, Scope::Execute, Scope::Envs, Scope::Notify];
    rig.tokens(vec![entry(1, "ada", &scopes)]);
    loop {
        let response = rig.get("/api/webhooks").send().await.unwrap();
        if response.status() != 200 {
            assert_eq!(json_of(response).await["code"], "scope");
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
