//! How far the plan is used, asked of the real CLI, which asks the API at its own address only: a proxy stands between, with a
//! certificate for that name, and leads to the fake.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use tinyclaw_engine::{Auth, RateWindow};
use tinyclaw_testkit::messages_api::MessagesApi;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::claude::real;

/// Where the CLI asks.
const HOST: &str = "api.anthropic.com";

/// A proxy in whose place every host is the fake API; gives its address.
async fn proxy(api: &MessagesApi, certificate: &Path, key: &Path) -> SocketAddr {
    let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let tls = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let (tls, api) = (TlsAcceptor::from(Arc::new(tls)), api.address());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            // One that breaks off is asked again by whoever needs it.
            tokio::spawn(async move { lead(stream, &tls, api).await });
        }
    });
    address
}

async fn lead(stream: TcpStream, tls: &TlsAcceptor, api: SocketAddr) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let mut inner = tls.accept(stream).await?;
    let mut api = TcpStream::connect(api).await?;
    tokio::io::copy_bidirectional(&mut inner, &mut api).await.map(drop)
}

/// A certificate for the API's own name, signed by itself, and its key.
fn certificate(certificate: &Path, key: &Path) {
    let name = format!("subjectAltName=DNS:{HOST}");
    let made = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=test", "-addext", &name])
        .arg("-keyout")
        .arg(key)
        .arg("-out")
        .arg(certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

#[tokio::test]
async fn real_claude_tells_how_far_its_plan_is_used_and_asks_the_model_nothing() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (pem, key) = (folder.path().join("api.pem"), folder.path().join("api.key"));
    certificate(&pem, &key);
    let (desk, api) = real!(|it| {
        it.auth = Auth::Login;
        it.access.readable.push(pem.clone());
        let pem = pem.display().to_string();
        it.env.insert("NODE_EXTRA_CA_CERTS".to_owned(), pem);
    });
    api.has_plan(json!({
        "five_hour": { "utilization": 31.0, "resets_at": "2026-12-01T02:00:00+00:00" },
        "seven_day": { "utilization": 82.0, "resets_at": "2026-12-04T02:00:00+00:00" },
        "seven_day_opus": null,
    }));
    let proxy = proxy(&api, &pem, &key).await;
    let mut config = desk.config.clone();
    config.base_url = None;
    config.env.insert("HTTPS_PROXY".to_owned(), format!("http://{proxy}"));
    desk.engine.reconfigure(config);
    assert_eq!(desk.engine.plan_windows().await, Ok(Vec::new()), "nobody logged in");

    let login = json!({ "claudeAiOauth": {
        "accessToken": "sk-ant-oat01-short", "refreshToken": "sk-ant-ort01-long",
        "expiresAt": u64::MAX / 4_096, "scopes": ["user:inference", "user:profile"],
        "subscriptionType": "max" } });
    std::fs::create_dir_all(desk.path("home/.claude")).unwrap();
    std::fs::write(desk.path("home/.claude/.credentials.json"), login.to_string()).unwrap();
    let window =
        |name: &str, used, resets_at| RateWindow { name: name.to_owned(), used, resets_at };
    let told = desk.engine.plan_windows().await.unwrap();
    let wanted =
        [window("five_hour", 0.31, 1_796_090_400), window("seven_day", 0.82, 1_796_349_600)];
    assert_eq!(told, wanted);
    assert!(api.asked().is_empty(), "no message was sent");
}
