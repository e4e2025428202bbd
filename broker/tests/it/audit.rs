//! The audit log: written before the answer, whole, and the condition for every answer.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tinyclaw_broker::vault::digest_of;

use crate::support::process::Office;
use crate::{BROKER, start};

const SITE: &str = "installation_id=12345&repositories=site&permissions=contents:read";

/// Two thousand repositories, each of them good for a token of its own.
fn install_many(office: &Office) {
    let names: Vec<String> = (0..2000).map(|it| format!("r{it}")).collect();
    office.github.install(100, "bob", &names.iter().map(String::as_str).collect::<Vec<_>>());
}

fn verify(office: &Office) -> (bool, Value) {
    let mut command = office.command(BROKER);
    let output = command.args(["audit", "verify", "--json"]).output().unwrap();
    (output.status.success(), serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn every_token_is_on_record_by_its_hash() {
    let office = Office::new();
    let mut broker = start(&office);
    let token = broker.token(SITE);
    for _ in 0..3 {
        broker.token(SITE);
    }
    broker.refused("installation_id=12345&repositories=site&permissions=secrets:read");
    broker.stop();
    let lines: Vec<Value> =
        broker.audit().lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    let events: Vec<&str> = lines.iter().map(|it| it["event"].as_str().unwrap()).collect();
    // The times after the first are a number, written at the end at the latest.
    assert_eq!(events, ["start", "mint", "token", "denied", "token"]);
    let first = &lines[2];
    assert_eq!(first["token_sha256"], digest_of(&token));
    assert_eq!((&first["decision"], &first["cause"]), (&json!("granted"), &json!("minted")));
    assert_eq!(first["repositories"], json!(["site"]));
    assert_eq!(first["permissions"], json!({ "contents": "read" }));
    assert_eq!((&first["client"], &first["peer"]), (&json!("anybody"), &json!("127.0.0.1")));
    assert_eq!(lines[3]["code"], "policy_denied");
    assert!(lines[3]["asked"].as_str().unwrap().contains("secrets:read"));
    let again = &lines[4];
    assert_eq!((&again["cause"], &again["count"]), (&json!("again"), &json!(3)));
    assert_eq!(again["token_sha256"], first["token_sha256"]);
    assert_eq!((&again["client"], &again["peer"]), (&first["client"], &first["peer"]));
    let (whole, found) = verify(&office);
    assert!(whole && found["found"]["lines"] == 5, "{found}");
}

#[test]
fn a_changed_line_is_found_by_the_command() {
    let office = Office::new();
    start(&office).token(SITE);
    assert!(verify(&office).0);
    let text = std::fs::read_to_string(office.path("audit.jsonl")).unwrap();
    office.write("audit.jsonl", &text.replacen("anybody", "nobody1", 1));
    let (whole, found) = verify(&office);
    assert!(!whole && found["error"].as_str().unwrap().contains("was changed"), "{found}");
}

#[test]
fn what_cannot_be_written_down_is_not_handed_out() {
    let mut office = Office::new();
    office.set("BROKER_AUDIT", "/dev/full");
    let broker = start(&office);
    for _ in 0..2 {
        assert_eq!(broker.refused(SITE), (503, "audit_unwritable".into()));
    }
    let (status, body) = broker.get("/ready");
    assert!(status == 503 && body["why"].to_string().contains("/dev/full"), "{body}");
    let world = office.github.world();
    assert!(world.tokens.values().all(|it| it.revoked), "what was minted was taken back");
}

#[test]
fn a_disk_that_fills_up_stops_warm_tokens_too() {
    let mut office = Office::new();
    let folder = office.path("log");
    std::fs::create_dir(&folder).unwrap();
    office.set("BROKER_AUDIT", &folder.join("audit.jsonl").display().to_string());
    // A limit on file sizes is a disk that is full after three kilobytes, for this process alone.
    office.set("SHELL_BROKER", BROKER);
    let script = "ulimit -f 3; trap '' XFSZ; exec \"$SHELL_BROKER\" serve";
    let broker = office.start("/bin/bash", &["-c", script]);
    install_many(&office);
    broker.token(SITE);
    assert_eq!(broker.get(&format!("/token?{SITE}")).0, 200, "counted, not written");
    let mut names = (0..100).map(|it| format!("installation_id=100&repositories=r{it}"));
    let mut granted = 1;
    // New tokens until no line gets in any more; then the one at hand is not given either.
    let stopped = names.any(|query| {
        if broker.get(&format!("/token?{query}")).0 == 200 {
            granted += 1;
            return false;
        }
        broker.get(&format!("/token?{SITE}")).0 == 503
    });
    assert!(stopped && granted > 1, "{granted}");
    assert_eq!(broker.refused(SITE), (503, "audit_unwritable".into()));
    assert_eq!((broker.get("/health").0, broker.get("/ready").0), (200, 503));
    drop(broker);
    let whole = tinyclaw_broker::audit::verify(&folder.join("audit.jsonl")).unwrap();
    assert!(whole.lines as usize >= granted, "no half line stayed");
}

#[test]
fn a_second_broker_waits_for_the_log() {
    let office = Office::new();
    let mut first = start(&office);
    first.token(SITE);
    let second = start(&office);
    assert_eq!(second.refused(SITE), (503, "audit_unwritable".into()));
    first.stop();
    second.token(SITE);
    assert!(verify(&office).0);
}

#[test]
fn killed_at_any_moment_the_chain_goes_on() {
    let office = Office::new();
    install_many(&office);
    let mut granted = 0;
    for round in 0..5 {
        let mut broker = start(&office);
        std::thread::scope(|scope| {
            let broker = &broker;
            let asking = scope.spawn(move || {
                let address = tinyclaw_broker::errand::Address::new("127.0.0.1", broker.port);
                // Each another one: that is what has a line of its own.
                let mut paths =
                    (0..2000).map(|it| format!("/token?installation_id=100&repositories=r{it}"));
                let ask =
                    |path: &str| tinyclaw_broker::errand::ask(&address, "GET", path, None, None);
                let granted = |path: &String| ask(path).is_ok_and(|it| it.0 == 200);
                paths.by_ref().take_while(granted).count()
            });
            broker.until("some lines", |it| it.audit().lines().count() > round * 20 + 20);
            broker.signal(Signal::SIGKILL);
            granted += asking.join().unwrap();
        });
        broker.stop();
    }
    let (whole, found) = verify(&office);
    assert!(whole, "{found}");
    let text = std::fs::read_to_string(office.path("audit.jsonl")).unwrap();
    let written = text.matches(r#""event":"token""#).count();
    assert!(written >= granted, "{granted} answers, {written} lines");
}

#[test]
fn the_log_is_nobody_elses_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let office = Office::new();
    start(&office).token(SITE);
    let about = std::fs::metadata(office.path("audit.jsonl")).unwrap();
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
    let usage = Command::new(BROKER).args(["audit", "nonsense"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
}
