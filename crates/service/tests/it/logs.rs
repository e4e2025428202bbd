//! The one log of this process: no other test of this binary may begin it.

use std::fs;
use std::sync::{Arc, Mutex};

use tinyclaw_service::logs;
use tinyclaw_service::settings::{Environment, Office, Refreshed, Store};

#[tokio::test]
async fn the_level_follows_the_settings_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let save = |text: &str| fs::write(dir.path().join("settings.json"), text).unwrap();
    let seen = Arc::new(Mutex::new(Vec::<String>::new()));
    let kept = Arc::clone(&seen);
    let sink: logs::Sink = Box::new(move |line: &str| {
        kept.lock().unwrap().push(line[line.find(' ').unwrap() + 1..].to_owned());
        Ok(())
    });
    logs::init("info", Some(sink)).unwrap();
    save(r#"{ "log.level": "warn" }"#);
    let store = Store::<Office>::open(dir.path(), Environment::new()).unwrap();
    logs::follow(store.subscribe(), |it| &it.log_level);
    tracing::info!("too quiet");
    save(r#"{ "log.level": "off,it=debug" }"#);
    assert_eq!(store.refresh(), Refreshed::Changed);
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
        tracing::debug!("louder");
        if !seen.lock().unwrap().is_empty() {
            break;
        }
    }
    assert_eq!(*seen.lock().unwrap(), ["DEBUG louder"]);
}
