//! What rooms that may not know each other promise each other.

use tinyclaw_domain::Health;
use tinyclaw_ledger::{StateDir, health, text_log};
use tinyclaw_service::{Vitals, logs};

/// `service` may not know `ledger`, nor `ledger` `service`; every service's main puts the one into the other.
#[test]
fn a_log_line_reaches_its_file_without_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(dir.path());
    tinyclaw_ledger::create_folders(&state).unwrap();
    let logs = logs::init("info", Some(text_log(&state, "queue"))).unwrap();
    tinyclaw_service::conceal_from_now_on("correct horse battery");
    tracing::info!(thread.id = 7, "thread 7 said: correct horse battery");
    tracing::debug!("too quiet");
    logs.set_level("debug").unwrap();
    tracing::debug!("louder");
    let text = std::fs::read_to_string(state.text_log("queue")).unwrap();
    let lines: Vec<&str> = text.lines().map(|it| &it[it.find(' ').unwrap() + 1..]).collect();
    assert_eq!(lines, ["INFO  thread 7 said: [hidden] thread.id=7", "DEBUG louder"]);
}

/// `Vitals` cannot be told in `domain`'s words by a crate that may not import it; the shape is the same all the same.
#[test]
fn a_services_vitals_are_its_health_file() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(dir.path());
    tinyclaw_ledger::create_folders(&state).unwrap();
    let vitals = Vitals::new("telegram", "2026.11.0");
    vitals.block("token", "set TELEGRAM_BOT_TOKEN");
    vitals.count("updatesTotal", 3);
    let said = vitals.snapshot();
    health::write(&state, "telegram", &said).unwrap();
    let seen = health::read(&state, "telegram", said.at + 1000).unwrap().unwrap();
    assert!(seen.is_fresh() && seen.age.as_secs() == 1);
    assert_eq!(serde_json::to_value(&seen.health).unwrap(), serde_json::to_value(&said).unwrap());
    let Health { service, ready, why, numbers, .. } = seen.health;
    assert_eq!((service.as_str(), ready, why.len()), ("telegram", false, 2));
    assert_eq!(numbers["updatesTotal"], 3);
}
