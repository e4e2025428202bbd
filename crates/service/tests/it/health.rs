use std::time::Duration;

use axum::routing::get as get_route;
use tinyclaw_service::healthcheck::{local_address, probe};
use tinyclaw_service::http::Limits;
use tinyclaw_service::{Shutdown, Vitals, http};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longer than any test may take: a probe that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

struct Served {
    address: String,
    vitals: Vitals,
    shutdown: Shutdown,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

async fn serve() -> Served {
    serve_with(Limits::default()).await
}

async fn serve_with(limits: Limits) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (vitals, shutdown) = (Vitals::new("telegram", "2026.11.0"), Shutdown::default());
    let large = axum::Router::new().route("/large", get_route(|| async { "x".repeat(32 << 20) }));
    let routes = http::routes(vitals.clone()).merge(large);
    let serving = tokio::spawn(http::serve(listener, routes, shutdown.clone(), limits));
    Served { address, vitals, shutdown, serving }
}

async fn get(served: &Served, path: &'static str) -> Result<String, String> {
    let address = served.address.clone();
    let probing = tokio::task::spawn_blocking(move || probe(&address, path, PATIENCE));
    probing.await.unwrap().map_err(|err| err.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_is_alive_before_it_is_ready_and_says_what_it_waits_for() {
    let served = serve().await;
    assert!(
        get(&served, "/health")
            .await
            .unwrap()
            .starts_with(r#"{"status":"ok","service":"telegram""#)
    );
    served.vitals.started();
    served.vitals.block("token", "set TELEGRAM_BOT_TOKEN");
    let address = &served.address;
    assert_eq!(
        get(&served, "/ready").await.unwrap_err(),
        format!(
            r#"{address}/ready answered 503: {{"ready":false,"why":["set TELEGRAM_BOT_TOKEN"]}}"#
        )
    );
    served.vitals.unblock("token");
    assert_eq!(get(&served, "/ready").await.unwrap(), r#"{"ready":true}"#);
    assert!(
        get(&served, "/metrics").await.unwrap().contains("tinyclaw_ready{service=\"telegram\"} 1")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serving_ends_with_the_shutdown() {
    let served = serve().await;
    get(&served, "/health").await.unwrap();
    served.shutdown.begin();
    served.serving.await.unwrap().unwrap();
    assert!(probe(&served.address, "/health", PATIENCE).is_err());
}

#[test]
fn nothing_that_listens_is_an_error_that_names_the_address() {
    let err = probe("127.0.0.1:1", "/health", PATIENCE).unwrap_err();
    assert_eq!(err.to_string(), "cannot reach 127.0.0.1:1");
    let everywhere = "0.0.0.0:7777".parse().unwrap();
    assert_eq!(local_address(everywhere).to_string(), "127.0.0.1:7777");
}

/// Reads until the other end closes, or for as long as anything may take.
async fn read_out(connection: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let read = tokio::time::timeout(PATIENCE, connection.read_to_end(&mut said)).await;
    let _ = read.expect("the server lets go of the connection");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_ends_a_request_or_says_nothing_is_let_go() {
    let limits = Limits { head: Duration::from_millis(300), ..Limits::default() };
    let served = serve_with(limits).await;
    for said in ["", "GET /hea", "GET /health HTTP/1.1\r\nHost: a\r\nX-Slow: "] {
        let mut connection = TcpStream::connect(&served.address).await.unwrap();
        connection.write_all(said.as_bytes()).await.unwrap();
        read_out(&mut connection).await;
    }
    // After an answer the same holds for the next request.
    let mut connection = TcpStream::connect(&served.address).await.unwrap();
    connection.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /he").await.unwrap();
    let said = String::from_utf8(read_out(&mut connection).await).unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_let_go_and_frees_a_place() {
    let stall = Duration::from_millis(300);
    let served = serve_with(Limits { connections: 1, stall, ..Limits::default() }).await;
    let mut deaf = TcpStream::connect(&served.address).await.unwrap();
    deaf.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    // The only place is taken until the deaf one is given up.
    get(&served, "/health").await.unwrap();
    assert!(read_out(&mut deaf).await.len() < 32 << 20, "the answer was cut");
}
