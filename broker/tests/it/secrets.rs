//! Nothing leaks: not into logs, errors or panics, not into /proc, not into a core.
//!
//! Every test of this binary that starts a broker searches all it said, all its refusals and its
//! audit log for every secret of that test, with the log at its loudest (`support::process`).
//! Here are the cases made to provoke a leak, and the proof that the search finds one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::start;
use crate::support::github::{Fault, Wider};
use crate::support::process::{CLIENT_SECRET, Office};

#[test]
fn all_that_can_go_wrong_says_no_secret() {
    let mut office = Office::new();
    office.set("BROKER_SECRET", CLIENT_SECRET);
    let broker = start(&office);
    let ask = |method: &str, path: &str, body: Option<&str>| {
        broker.ask(method, path, Some(CLIENT_SECRET), body).1
    };
    let site = "/token?repo=acme/site";
    let token = ask("GET", site, None)["token"].as_str().unwrap().to_owned();
    // Tokens and secrets where they do not belong.
    for path in [
        format!("/token?installation_id={token}"),
        format!("/token?repo=acme/{token}"),
        format!("/token?{token}"),
        format!("/token?{token}=1"),
        format!("/explain?owner={token}"),
        format!("/token?repositories={token}&owner=acme"),
        format!("/{token}"),
    ] {
        ask("GET", &path, None);
    }
    ask("DELETE", "/token", Some(&format!("{{\"token\":\"{token}\",\"x\":1}}")));
    ask("DELETE", "/token", Some(&format!("{{\"token\":\"{token}\"}}")));
    // GitHub repeating a secret in its own words.
    let said: &'static str = format!("bad token {token}").leak();
    for status in [401, 403, 404, 422, 400] {
        office.github.fail(Fault::Status(status, said));
        ask("GET", site, None);
    }
    for fault in [Fault::HalfBody, Fault::Html, Fault::HalfBody] {
        office.github.fail(fault);
    }
    ask("GET", site, None);
    office.github.world().wider = Wider::Permission;
    ask("GET", "/token?repo=acme/docs", None);
    ask("POST", "/freeze", None);
    ask("GET", "/metrics", None);
    ask("GET", "/ready", None);
    // The search happens when the broker goes out of sight.
}

#[test]
fn the_search_finds_a_secret_that_is_said() {
    let office = Office::new();
    let found = catch_unwind(AssertUnwindSafe(|| {
        let broker = start(&office);
        let token = broker.token("repo=acme/site");
        // As if it had been written by mistake.
        let text = broker.audit();
        office.write("audit.jsonl", &format!("{text}{token}\n"));
    }));
    assert!(found.is_err(), "a token in the audit log went unnoticed");
}

#[test]
fn the_process_cannot_be_looked_into() {
    let office = Office::new();
    let broker = start(&office);
    let proc = |name: &str| format!("/proc/{}/{name}", broker.pid());
    // The files of an undumpable process belong to root, whoever started it.
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(proc("environ")).unwrap().uid(), 0);
    let limits = std::fs::read_to_string(proc("limits")).unwrap();
    let core = limits.lines().find(|it| it.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let environment = std::fs::read(proc("environ")).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&environment).contains("PRIVATE KEY"));
    assert!(tinyclaw_broker::process::harden().is_ok() && tinyclaw_broker::process::is_hardened());
}

#[test]
fn a_key_in_the_environment_is_refused_unsaid() {
    let mut office = Office::new();
    let key = std::fs::read_to_string(&office.key).unwrap();
    office.set("GITHUB_APP_PEM", &key);
    let output = office.command(crate::BROKER).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("path of the key's file"), "{said}");
    assert!(key.lines().filter(|it| it.len() > 30).all(|it| !said.contains(it)));
}
