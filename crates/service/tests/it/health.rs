use std::time::Duration;

use tinyclaw_service::healthcheck::{local_address, probe};
use tinyclaw_service::{Shutdown, Vitals, http};
use tokio::net::TcpListener;

/// Longer than any test may take: a probe that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

struct Served {
    address: String,
    vitals: Vitals,
    shutdown: Shutdown,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

async fn serve() -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (vitals, shutdown) = (Vitals::new("telegram", "2026.11.0"), Shutdown::default());
    let serving =
        tokio::spawn(http::serve(listener, http::routes(vitals.clone()), shutdown.clone()));
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
