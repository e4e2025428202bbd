//! Event streams and lines of JSON: live, resumed, and ended.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tinyclaw_domain::Scope;

use crate::rig::{Rig, entry, json_of, problem};

/// What an `EventSource` makes of a stream.
pub(crate) struct Events {
    chunks: futures_util::stream::BoxStream<'static, reqwest::Result<axum::body::Bytes>>,
    text: String,
    pub(crate) last_id: String,
    pub(crate) retry: Option<u64>,
}

impl Events {
    pub(crate) async fn open(request: reqwest::RequestBuilder) -> Events {
        Events::try_open(request).await.unwrap()
    }

    /// A stream, or the status of the refusal.
    async fn try_open(request: reqwest::RequestBuilder) -> Result<Events, u16> {
        let response = request.header("accept", "text/event-stream").send().await.unwrap();
        if response.status() != 200 {
            return Err(response.status().as_u16());
        }
        let kind = response.headers()["content-type"].to_str().unwrap();
        assert!(kind.starts_with("text/event-stream"), "{kind}");
        let chunks = response.bytes_stream().boxed();
        Ok(Events { chunks, text: String::new(), last_id: String::new(), retry: None })
    }

    /// The next event with data: its name and its data. `None` when the stream ends.
    pub(crate) async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let (mut name, mut data) = ("message".to_owned(), None);
                for line in block.lines().filter(|it| !it.starts_with(':')) {
                    let (field, value) = line.split_once(": ").unwrap_or((line, ""));
                    match field {
                        "id" => self.last_id = value.to_owned(),
                        "event" => name = value.to_owned(),
                        "data" if !value.is_empty() => data = Some(value.to_owned()),
                        "retry" => self.retry = value.parse().ok(),
                        _ => {}
                    }
                }
                if let Some(data) = data {
                    return Some((name, serde_json::from_str(&data).unwrap()));
                }
            }
            let chunk = self.chunks.next().await?.ok()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    async fn number(&mut self) -> u64 {
        let (name, data) = self.next().await.unwrap();
        assert_eq!(name, "message", "{data}");
        data["metadata"]["n"].as_u64().unwrap()
    }

    /// Waits until the stream has begun.
    pub(crate) async fn greeted(&mut self) {
        while self.last_id.is_empty() {
            let chunk = self.chunks.next().await.unwrap().unwrap();
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
            if let Some(at) = self.text.find("id: ") {
                self.last_id = self.text[at + 4..].lines().next().unwrap().to_owned();
            }
        }
    }
}

#[tokio::test]
async fn a_client_that_is_cut_anywhere_comes_back_and_misses_nothing() {
    let rig = Rig::with(json!({ "readPerSecond": 100_000 })).await;
    // Cut before its first event: it comes back from there.
    let mut events = Events::open(rig.get("/events")).await;
    events.greeted().await;
    let mut last_id = events.last_id.clone();
    drop(events);
    let telling = {
        let client = rig.client.clone();
        let (url, token) = (rig.url("/events"), rig.token.clone());
        tokio::spawn(async move {
            for n in 0..300u64 {
                let event = json!({ "type": "test.number", "metadata": { "n": n } });
                let sent = client.post(&url).bearer_auth(&token).json(&event).send().await.unwrap();
                assert_eq!(sent.status(), 200);
            }
        })
    };
    let mut numbers = Vec::new();
    while numbers.len() < 300 {
        let mut events = Events::open(rig.get("/events").header("last-event-id", &last_id)).await;
        let stay = numbers.len() % 5 + 1;
        for _ in 0..stay.min(300 - numbers.len()) {
            numbers.push(events.number().await);
        }
        last_id = events.last_id.clone();
    }
    telling.await.unwrap();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_stream_has_what_was_asked_for_and_gaps_have_a_name() {
    let rig = Rig::start().await;
    rig.number(0, 2).await;
    let mut events = Events::open(rig.get("/events?after=zzzz-1")).await;
    let (name, gap) = events.next().await.unwrap();
    assert_eq!((&*name, &gap["reason"]), ("gap", &json!("epoch")));
    assert_eq!((events.number().await, events.number().await), (0, 1));
    let mut wanted = Events::open(rig.get("/events?type=wanted&since=earliest")).await;
    rig.number(2, 2).await;
    rig.tell(&json!({ "type": "wanted", "metadata": { "n": 7 } })).await;
    assert_eq!(wanted.number().await, 7);
    assert_eq!(wanted.retry, Some(2_000));
}

#[tokio::test]
async fn lines_of_json_are_the_same_story() {
    let rig = Rig::start().await;
    rig.number(0, 3).await;
    let request = rig.get("/events?since=earliest").header("accept", "application/x-ndjson");
    let mut chunks = request.send().await.unwrap().bytes_stream();
    let mut text = String::new();
    while text.lines().count() < 3 || !text.ends_with('\n') {
        text.push_str(std::str::from_utf8(&chunks.next().await.unwrap().unwrap()).unwrap());
    }
    let lines: Vec<Value> = text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!(lines[2]["type"], "event");
    assert_eq!(lines[2]["data"]["metadata"]["n"], 2);
}

#[tokio::test]
async fn a_revoked_token_ends_its_streams() {
    let rig = Rig::start().await;
    let mut events = Events::open(rig.get("/events")).await;
    rig.number(0, 1).await;
    assert_eq!(events.number().await, 0);
    let mut revoked = entry(1, "ada", &Scope::ALL);
    revoked.revoked_at = Some(1);
    rig.tokens(vec![revoked, entry(2, "bob", &Scope::ALL)]);
    let ended = tokio::time::timeout(Duration::from_secs(30), events.next()).await.unwrap();
    assert!(ended.is_none(), "{ended:?}");
    assert_eq!(problem(rig.get("/events")).await.0, 401);
}

#[tokio::test]
async fn a_stream_says_at_a_shutdown_when_to_come_back() {
    let rig = Rig::start().await;
    let mut events = Events::open(rig.get("/events")).await;
    events.greeted().await;
    let waiting = tokio::spawn(rig.get("/events?wait=60&type=never").send());
    rig.number(0, 1).await;
    assert_eq!(events.number().await, 0);
    rig.begin_stop();
    assert!(events.next().await.is_none());
    assert!((2_000..7_000).contains(&events.retry.unwrap()), "{:?}", events.retry);
    // A long poll is answered, and not cut.
    let page = json_of(waiting.await.unwrap().unwrap()).await;
    assert_eq!(page["events"], json!([]));
    rig.stop().await;
}

#[tokio::test]
async fn a_ticket_opens_a_stream_for_a_page_and_again_where_it_was_cut() {
    let origin = "https://app.example.org";
    let rig = Rig::with(json!({ "origins": [origin] })).await;
    let wanted = rig.post("/tickets").header("origin", origin).json(&json!({ "path": "/events" }));
    let told = json_of(wanted.send().await.unwrap()).await;
    assert_eq!(told["expiresIn"], 60);
    let path = format!("/events?ticket={}", told["ticket"].as_str().unwrap());
    let open = || rig.client.get(rig.url(&path)).header("origin", origin);
    let mut events = Events::open(open()).await;
    rig.number(0, 1).await;
    assert_eq!(events.number().await, 0);
    let busy = open().header("accept", "text/event-stream");
    assert_eq!(problem(busy).await.1, "ticket_busy");
    let last_id = events.last_id.clone();
    drop(events);
    rig.number(1, 1).await;
    // The server notices that the first stream is gone when it writes, or is told so by the kernel.
    let mut again = loop {
        let request = open().header("last-event-id", &last_id);
        match Events::try_open(request).await {
            Ok(it) => break it,
            Err(409) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(again.number().await, 1);
    let elsewhere = rig.client.get(rig.url(&path)).header("accept", "text/event-stream");
    assert_eq!(problem(elsewhere).await.0, 401, "another page's");
    let wrong = rig.post("/tickets").json(&json!({ "path": "/metrics" }));
    assert_eq!(problem(wrong).await.0, 422);
}
