//! `/ws`: frames, words of clients, and how it ends.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tinyclaw_domain::{Outcome, Scope};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::desk::Desk;
use crate::rig::{Rig, entry, json_of};

pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    pub(crate) async fn open(rig: &Rig, path: &str) -> Socket {
        let bearer = format!("Bearer {}", rig.token);
        Socket::with(rig, path, &[("authorization", &bearer)]).await.unwrap()
    }

    async fn with(
        rig: &Rig,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Socket, Error> {
        let mut request = format!("ws://{}{path}", rig.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        connect_async(request).await.map(|(it, _)| Socket(it))
    }

    pub(crate) async fn next(&mut self) -> Value {
        loop {
            match self.0.next().await.unwrap().unwrap() {
                Message::Text(it) => return serde_json::from_str(&it).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn say(&mut self, it: &Value) {
        self.0.send(Message::Text(it.to_string().into())).await.unwrap();
    }

    /// How it ends.
    async fn closed(&mut self) -> Option<u16> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Close(frame))) => return frame.map(|it| it.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}

#[tokio::test]
async fn a_client_gets_the_last_events_and_then_each_as_it_comes() {
    let rig = Rig::start().await;
    rig.number(0, 60).await;
    let mut socket = Socket::open(&rig, "/ws").await;
    let init = socket.next().await;
    assert_eq!(init["type"], "init");
    assert_eq!(init["data"]["events"].as_array().unwrap().len(), 50);
    assert_eq!(init["data"]["events"][49]["metadata"]["n"], 59);
    rig.tell(&json!({ "type": "session.start", "metadata": { "sessionId": "s1" } })).await;
    let event = socket.next().await;
    assert_eq!(event["type"], "event");
    assert_eq!(event["data"]["type"], "session.start");
    assert!(event["data"]["id"].as_str().unwrap().starts_with("evt_"));
}

#[tokio::test]
async fn a_client_may_ask_for_a_place_and_a_filter_and_is_told_what_is_not_understood() {
    let rig = Rig::start().await;
    rig.number(0, 300).await;
    let mut socket = Socket::open(&rig, "/ws").await;
    let head = socket.next().await["data"]["head"].as_str().unwrap().to_owned();
    let (epoch, _) = head.split_once('-').unwrap();
    socket.say(&json!({ "type": "ping" })).await;
    assert_eq!(socket.next().await["type"], "pong");
    // A misspelt filter would show everything, and one with a control character nothing.
    let misspelt = r#"{"type":"subscribe","sesion":"s1"}"#;
    let never = r#"{"type":"subscribe","source":"a\nb"}"#;
    let place = r#"{"type":"subscribe","after":"x"}"#;
    for wrong in ["not json", "{}", r#"{"type":"dance"}"#, place, misspelt, never] {
        socket.0.send(Message::Text(wrong.into())).await.unwrap();
        assert_eq!(socket.next().await["type"], "error", "{wrong}");
    }
    socket.say(&json!({ "type": "subscribe", "after": format!("{epoch}-290") })).await;
    assert_eq!(socket.next().await["type"], "subscribed");
    for n in 290..300 {
        assert_eq!(socket.next().await["data"]["metadata"]["n"], n);
    }
    socket.say(&json!({ "type": "subscribe", "types": ["wanted.*"] })).await;
    assert_eq!(socket.next().await["type"], "subscribed");
    rig.number(300, 1).await;
    rig.tell(&json!({ "type": "wanted.one" })).await;
    assert_eq!(socket.next().await["data"]["type"], "wanted.one");
    socket.say(&json!({ "type": "subscribe", "after": "zzzz-1" })).await;
    assert_eq!(socket.next().await["type"], "subscribed");
    assert_eq!(socket.next().await["type"], "gap");
    assert_eq!(socket.next().await["data"]["metadata"]["n"], 0);
}

#[tokio::test]
async fn a_frame_of_ten_megabytes_ends_the_connection_by_its_number() {
    let rig = Rig::start().await;
    let mut socket = Socket::open(&rig, "/ws").await;
    socket.next().await;
    // The server may have closed before all of it is out.
    let _ = socket.0.send(Message::Text("x".repeat(10 << 20).into())).await;
    assert!(matches!(socket.closed().await, Some(1009) | None));
    let mut socket = Socket::open(&rig, "/ws").await;
    socket.next().await;
    socket.0.send(Message::Text("x".repeat((64 << 10) + 1).into())).await.unwrap();
    assert_eq!(socket.closed().await, Some(1009));
}

#[tokio::test]
async fn a_revoked_token_and_a_shutdown_close_with_their_numbers() {
    let rig = Rig::start().await;
    let mut socket = Socket::open(&rig, "/ws").await;
    socket.next().await;
    let mut revoked = entry(1, "ada", &Scope::ALL);
    revoked.revoked_at = Some(1);
    rig.tokens(vec![revoked, entry(2, "bob", &Scope::ALL)]);
    assert_eq!(socket.closed().await, Some(4401));
    let bearer = format!("Bearer {}", crate::rig::token(2));
    let mut socket = Socket::with(&rig, "/ws", &[("authorization", &bearer)]).await.unwrap();
    socket.next().await;
    rig.begin_stop();
    assert_eq!(socket.closed().await, Some(u16::from(CloseCode::Away)));
    rig.stop().await;
}

#[tokio::test]
async fn a_ticket_opens_one_socket_by_its_address_or_its_protocol() {
    let rig = Rig::start().await;
    let ticket = async || {
        let request = rig.post("/tickets").json(&json!({ "path": "/ws" }));
        json_of(request.send().await.unwrap()).await["ticket"].as_str().unwrap().to_owned()
    };
    let path = format!("/ws?ticket={}", ticket().await);
    let mut socket = Socket::with(&rig, &path, &[]).await.unwrap();
    assert_eq!(socket.next().await["type"], "init");
    let again = Socket::with(&rig, &path, &[]).await;
    assert!(matches!(again, Err(Error::Http(it)) if it.status() == 401));
    let protocol = format!("json, ticket.{}", ticket().await);
    let mut socket =
        Socket::with(&rig, "/ws", &[("sec-websocket-protocol", &protocol)]).await.unwrap();
    assert_eq!(socket.next().await["type"], "init");
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_up_nobody_and_gets_everything() {
    let rig = Rig::with(json!({ "ingestPerSecond": 1_000_000 })).await;
    let mut deaf = Socket::open(&rig, "/ws").await;
    let mut other = Socket::open(&rig, "/ws").await;
    assert_eq!(other.next().await["type"], "init");
    let filler = "x".repeat(4_000);
    for at in 0..20u64 {
        let one = |n| json!({ "type": "test.number", "metadata": { "n": n, "x": filler } });
        rig.tell(&(at * 250..at * 250 + 250).map(one).collect()).await;
        for n in at * 250..at * 250 + 250 {
            assert_eq!(other.next().await["data"]["metadata"]["n"], n);
        }
    }
    assert_eq!(deaf.next().await["type"], "init");
    for n in 0..5_000 {
        let told = tokio::time::timeout(Duration::from_secs(30), deaf.next()).await.unwrap();
        assert_eq!(told["data"]["metadata"]["n"], n);
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_for_too_long_is_let_go_and_comes_back_where_it_was() {
    let rig = Rig::impatient(Duration::from_secs(1)).await;
    let mut deaf = Socket::open(&rig, "/ws").await;
    let head = deaf.next().await["data"]["head"].as_str().unwrap().to_owned();
    let clients =
        async || json_of(rig.get("/stats").send().await.unwrap()).await["clients"].clone();
    assert_eq!(clients().await, 1);
    // As much as no kernel keeps for it.
    let filler = "x".repeat(100_000);
    let mut told = 0;
    while clients().await != 0 {
        let one = |n| json!({ "type": "test.number", "metadata": { "n": n, "x": filler } });
        rig.tell(&(told..told + 20).map(one).collect()).await;
        told += 20;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut again = Socket::open(&rig, &format!("/ws?after={head}")).await;
    assert_eq!(again.next().await["type"], "init");
    for n in 0..told {
        assert_eq!(again.next().await["data"]["metadata"]["n"], n);
    }
}

/// A subscription to a job was once taken for one to every event, and nothing was told of the job.
#[tokio::test]
async fn a_socket_tells_the_story_of_a_job_from_any_line_on_and_its_result() {
    let rig = crate::jobs::office(json!({})).await;
    let desk = Desk::at(&rig);
    let mut socket = Socket::open(&rig, "/ws").await;
    socket.next().await;
    socket.say(&json!({ "type": "subscribe", "types": ["none.*"] })).await;
    assert_eq!(socket.next().await["type"], "subscribed");
    let unknown = json!({ "type": "subscribe", "job": "api-nobody" });
    let both = json!({ "type": "subscribe", "job": "api-nobody", "types": ["a"] });
    for wrong in [unknown, both] {
        socket.say(&wrong).await;
        assert_eq!(socket.next().await["type"], "error", "{wrong}");
    }
    let id = crate::jobs::begin(&rig, &json!({ "env": "dev", "prompt": "hello" })).await;
    socket.say(&json!({ "type": "subscribe", "job": id })).await;
    let said = socket.next().await;
    assert_eq!((&said["type"], &said["data"]["job"]), (&json!("subscribed"), &json!(id)));
    let lease = desk.take().await;
    let log = desk.begin(&lease);
    desk.answer(lease, log, Outcome::Answered);
    let mut story = Vec::new();
    while story.last().is_none_or(|it: &Value| it["data"]["type"] != "result") {
        story.push(socket.next().await);
    }
    assert!(
        story.iter().all(|it| it["type"] == "job" && it["data"]["job"] == json!(id)),
        "{story:?}"
    );
    let kinds: Vec<&str> = story.iter().filter_map(|it| it["data"]["type"].as_str()).collect();
    assert_eq!(kinds, ["begun", "text.done", "end", "result"]);
    assert_eq!(story[3]["data"]["result"]["output"], "You said: hello");
    // Another comes behind the second line.
    let mut again = Socket::open(&rig, "/ws?type=none.*").await;
    again.next().await;
    again.say(&json!({ "type": "subscribe", "job": id, "after": story[1]["data"]["id"] })).await;
    assert_eq!(again.next().await["type"], "subscribed");
    assert_eq!([again.next().await, again.next().await], story[2..]);
}
