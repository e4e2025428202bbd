//! Senders that are slow, endless, or not what they say.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::{Rig, problem};

async fn raw(rig: &Rig, request: &str) -> String {
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_by_what_it_says_or_by_what_comes() {
    let rig = Rig::start().await;
    let large = "x".repeat((4 << 20) + 1);
    let (status, code, _) = problem(rig.post("/events").body(large)).await;
    assert_eq!((status, &*code), (413, "too_large"));
    // It says nothing, and goes on and on.
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    let head = format!(
        "POST /events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n",
        rig.address, rig.token
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(1 << 16));
    let mut sent = 0;
    while sent < 16 << 20 && stream.write_all(chunk.as_bytes()).await.is_ok() {
        sent += 1 << 16;
    }
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.unwrap_or(0);
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    // A reset may come before the answer is read.
    assert!(read == 0 || answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(sent < 16 << 20, "somebody read it all");
    assert_eq!(rig.get("/version").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn nobody_without_a_token_gets_to_send_a_body() {
    let rig = Rig::start().await;
    let request = format!(
        "POST /events HTTP/1.1\r\nhost: {}\r\ncontent-length: 4000000\r\nconnection: close\r\n\r\n",
        rig.address
    );
    let answer = raw(&rig, &request).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn what_is_compressed_is_not_read() {
    let rig = Rig::start().await;
    let request = rig.post("/events").header("content-encoding", "gzip").body("{}");
    assert_eq!(problem(request).await.0, 415);
}

#[tokio::test]
async fn two_hosts_or_none_are_refused() {
    let rig = Rig::start().await;
    let with = |hosts: &str| {
        format!(
            "GET /events HTTP/1.1\r\n{hosts}connection: close\r\nauthorization: Bearer {}\r\n\r\n",
            rig.token
        )
    };
    let two = with(&format!("host: {}\r\nhost: evil.example.org\r\n", rig.address));
    assert!(raw(&rig, &two).await.starts_with("HTTP/1.1 421"));
    assert!(raw(&rig, &with("")).await.starts_with("HTTP/1.1 421"));
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_gets_them_back() {
    let rig = Rig::with(json!({ "connectionsPerAddress": 3 })).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(TcpStream::connect(rig.address).await.unwrap());
    }
    let request =
        format!("GET /health HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", rig.address);
    // The three are counted once they are accepted.
    while !raw(&rig, &request).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(open);
    while raw(&rig, &request).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut() {
    let rig = Rig::start().await;
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nx-slow: ").await.unwrap();
    let mut answer = Vec::new();
    // The server's patience is ten seconds; the test's is its own.
    let cut = tokio::time::timeout(Duration::from_secs(40), stream.read_to_end(&mut answer)).await;
    assert!(cut.is_ok(), "it is still open");
}

#[tokio::test]
async fn every_refusal_of_a_path_is_a_problem_with_the_requests_number() {
    let rig = Rig::start().await;
    let (status, code, body) = problem(rig.get("/nowhere").header("x-request-id", "abc-1")).await;
    assert_eq!((status, &*code, &body["requestId"]), (404, "not_found", &json!("abc-1")));
    let (status, code, _) = problem(rig.client.delete(rig.url("/events"))).await;
    assert_eq!((status, &*code), (405, "method_not_allowed"));
    let (status, code, _) = problem(rig.get("/ws")).await;
    assert_eq!((status, &*code), (426, "upgrade_required"));
}
