//! A page of somebody else's in Chromium: what it may, what it may not, and that it goes on where it was cut off.
#![allow(clippy::print_stderr, reason = "a test that is skipped says so by name")]

use std::path::Path;
use std::process::Stdio;

use axum::response::Html;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::desk::Desk;
use crate::driver::driver;
use crate::rig::Rig;

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_in_a_browser_hears_events_by_a_ticket_and_another_page_hears_nothing() {
    let cache = match tokio::task::spawn_blocking(driver).await.unwrap() {
        Ok(it) => it,
        Err(why) => {
            eprintln!("skipped: {why}");
            return;
        }
    };
    // One server of pages under two names, which are two origins: one is known to the gateway.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let pages =
        axum::Router::new().fallback(|| async { Html("<!doctype html><title>page</title>") });
    tokio::spawn(async move { axum::serve(listener, pages).await.unwrap() });
    let (known, foreign) = (format!("http://127.0.0.1:{port}"), format!("http://localhost:{port}"));
    let app = free_port();
    let origins = [&known, &format!("http://127.0.0.1:{app}")];
    let rig = Rig::with(json!({ "origins": origins, "readPerSecond": 100_000 })).await;
    let envs = json!({ "dev": { "isolation": "none" } });
    std::fs::write(rig.dir.path().join("envs.json"), envs.to_string()).unwrap();
    let desk = Desk::at(&rig);
    let _office = desk.serve();
    let example =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/web-app/server.mjs");
    let mut web_app = Command::new("node")
        .arg(example)
        .env("TINYCLAW_URL", rig.url(""))
        .env("TINYCLAW_TOKEN", &rig.token)
        .env("PORT", app.to_string())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(web_app.stdout.take().unwrap()).lines();
    let web_app_url = lines.next_line().await.unwrap().expect("the example starts");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/page.mjs");
    let run = Command::new("node")
        .arg(script)
        .args([&known, &foreign, &rig.url(""), &rig.token, &web_app_url])
        .env("DRIVER", cache)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.contains("the page heard everything"), "{said}");
    assert!(said.contains("the front end was answered"), "{said}");
    assert!(said.contains("the web app was answered"), "{said}");
    assert!(said.contains("the API was described"), "{said}");
    let prompts: Vec<String> = desk.prompts();
    assert_eq!(prompts.len(), 3, "of the front end once, of the web app twice: {prompts:?}");
}
