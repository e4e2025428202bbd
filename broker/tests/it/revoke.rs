//! Taking back: one token, or all of them at once.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::github::Fault;
use crate::support::process::{CAPABILITY_SECRET, CLIENT_SECRET, Office, Running};
use crate::{BROKER, start};

const SITE: &str = "installation_id=12345&repositories=site&permissions=contents:read";

#[test]
fn a_revoked_token_is_dropped_and_a_new_one_is_minted() {
    let office = Office::new();
    let broker = start(&office);
    let token = broker.token(SITE);
    let body = json!({ "token": token }).to_string();
    for _ in 0..2 {
        // The second time it is gone already, which is what was wanted.
        let (status, answer) = broker.ask("DELETE", "/token", None, Some(&body));
        assert_eq!((status, answer), (200, json!({ "revoked": true })));
    }
    assert!(office.github.scope(&token).unwrap().revoked);
    assert_ne!(broker.token(SITE), token);
}

#[test]
fn what_is_no_token_is_not_sent_to_github() {
    let office = Office::new();
    let broker = start(&office);
    for body in ["", "{}", r#"{"token":"abc"}"#, r#"{"token":"ghs_\r\nX: y"}"#, r#"{"token":1}"#] {
        let (status, answer) = broker.ask("DELETE", "/token", None, Some(body));
        assert_eq!((status, &answer["code"]), (400, &json!("bad_token")), "{body}");
    }
    let (status, _) =
        broker.ask("DELETE", "/token?token=ghs_x", None, Some(r#"{"token":"ghs_x"}"#));
    assert_eq!(status, 400);
    assert_eq!(office.github.requests("DELETE"), 0);
}

#[test]
fn a_freeze_revokes_a_hundred_and_outlives_a_restart() {
    let office = Office::new();
    let names: Vec<String> = (0..100).map(|it| format!("r{it}")).collect();
    office.github.install(100, "bob", &names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut broker = start(&office);
    for name in &names {
        broker.token(&format!("installation_id=100&repositories={name}"));
    }
    let (status, body) = broker.ask("POST", "/freeze", None, None);
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        (&body["revoked"], &body["failed"], &body["persisted"]),
        (&json!(100), &json!(0), &json!(true))
    );
    assert!(office.github.world().tokens.values().all(|it| it.revoked));
    assert_eq!(broker.refused(SITE), (503, "frozen".into()));
    let lines = broker.audit().lines().count();
    let again = broker.ask("POST", "/freeze", None, None);
    assert_eq!((again.0, &again.1["persisted"]), (200, &json!(true)));
    assert_eq!(broker.audit().lines().count(), lines, "said once, however often it is asked for");
    broker.stop();

    let broker = start(&office);
    assert_eq!(broker.refused(SITE), (503, "frozen".into()));
    assert_eq!(broker.get("/ready").0, 503);
    assert!(beside(&office, &broker, "thaw"));
    broker.token(SITE);
}

/// `docker compose exec broker /tinyclaw-broker WORD`, with the environment of the broker.
fn beside(office: &Office, broker: &Running<'_>, word: &str) -> bool {
    let mut command = office.command(BROKER);
    let listen = format!("127.0.0.1:{}", broker.port);
    command.arg(word).env("BROKER_LISTEN", listen).output().unwrap().status.success()
}

#[test]
fn the_kill_switch_works_where_only_capabilities_are_taken() {
    let mut office = Office::new();
    office.set("BROKER_CAPABILITY_SECRET", CAPABILITY_SECRET);
    let broker = start(&office);
    assert_eq!(broker.refused(SITE), (401, "bearer_required".into()));
    assert!(beside(&office, &broker, "freeze"));
    assert_eq!(broker.get("/health").1["numbers"]["frozen"], true);
    assert!(beside(&office, &broker, "thaw"));
    assert_eq!(broker.get("/health").1["numbers"]["frozen"], false);
    // Only for want of a secret: a bearer that is shown is looked at.
    assert_eq!(broker.ask("POST", "/freeze", Some("somebody"), None).0, 401);
}

#[test]
fn a_client_with_a_secret_is_asked_for_it_beside_the_broker_too() {
    let mut office = Office::new();
    office.set("BROKER_CAPABILITY_SECRET", CAPABILITY_SECRET).set("BROKER_SECRET", CLIENT_SECRET);
    let broker = start(&office);
    for path in ["/freeze", "/thaw"] {
        assert_eq!(broker.ask("POST", path, None, None).0, 401, "{path}");
    }
    assert!(beside(&office, &broker, "freeze") && beside(&office, &broker, "thaw"));
}

#[test]
fn a_freeze_is_found_in_a_log_that_was_taken_at_the_start() {
    let office = Office::new();
    let mut first = start(&office);
    first.token(SITE);
    assert_eq!(first.ask("POST", "/freeze", None, None).0, 200);
    // It cannot read the log yet, and so cannot know.
    let second = start(&office);
    assert_eq!(second.refused(SITE), (503, "audit_unwritable".into()));
    first.stop();
    for _ in 0..2 {
        assert_eq!(second.refused(SITE), (503, "frozen".into()));
    }
    assert!(office.github.world().tokens.values().all(|it| it.revoked));
}

#[test]
fn a_mint_under_way_does_not_slip_through_a_freeze() {
    let office = Office::new();
    office.github.set_mint_ms(800);
    let broker = start(&office);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| broker.refused(SITE));
        broker.until("the mint", |_| office.github.requests("access_tokens") == 1);
        assert_eq!(broker.ask("POST", "/freeze", None, None).0, 200);
        assert_eq!(asking.join().unwrap(), (503, "frozen".into()));
    });
    let world = office.github.world();
    assert!(world.tokens.len() == 1 && world.tokens.values().all(|it| it.revoked));
}

#[test]
fn only_an_admin_thaws_when_there_is_one() {
    let office = Office::new();
    let (bot, admin) = (CLIENT_SECRET, "a secret of the operator's own");
    let secret = office.write("bot.secret", bot);
    let own = office.write("admin.secret", admin);
    office.write(
        "clients.toml",
        &format!(
            "[clients.bot]\nsecret_file='{}'\n[clients.operator]\nsecret_file='{}'\nadmin=true\n",
            secret.display(),
            own.display()
        ),
    );
    let broker = start(&office);
    assert_eq!(broker.ask("POST", "/freeze", Some(bot), None).0, 200);
    let (status, body) = broker.ask("POST", "/thaw", Some(bot), None);
    assert_eq!((status, &body["code"]), (403, &json!("admin_required")));
    assert_eq!(broker.ask("POST", "/thaw", Some(admin), None).0, 200);
}

#[test]
fn the_break_glass_file_freezes_while_it_is_there() {
    let office = Office::new();
    let broker = start(&office);
    let token = broker.token(SITE);
    office.write("freeze", "");
    let early = start(&office);
    assert_eq!(early.refused(SITE), (503, "frozen".into()), "from its first moment");
    drop(early);
    broker.until("the freeze", |_| office.github.scope(&token).unwrap().revoked);
    assert_eq!(broker.refused(SITE), (503, "frozen".into()));
    let (status, body) = broker.ask("POST", "/thaw", None, None);
    assert_eq!((status, &body["code"]), (409, &json!("break_glass")));
    std::fs::remove_file(office.path("freeze")).unwrap();
    broker.until("the thaw", |it| it.ask("POST", "/thaw", None, None).0 == 200);
    broker.token(SITE);
}

#[test]
fn a_break_glass_file_that_cannot_be_looked_at_stops_minting_and_revokes_nothing() {
    let mut office = Office::new();
    // Its folder is no folder at the moment.
    let folder = office.write("glass", "");
    office.set("BROKER_FREEZE_FILE", &folder.join("freeze").display().to_string());
    let broker = start(&office);
    assert_eq!(broker.refused(SITE), (503, "frozen".into()));
    assert!(broker.get("/ready").1["why"].to_string().contains("nobody can tell"));
    std::fs::remove_file(&folder).unwrap();
    broker.until("the end of it", |it| it.get(&format!("/token?{SITE}")).0 == 200);
    office.write("glass", "");
    broker.until("it again", |it| it.get(&format!("/token?{SITE}")).0 == 503);
    assert_eq!(office.github.requests("DELETE"), 0);
}

#[test]
fn a_token_that_github_cannot_revoke_is_still_not_handed_out_again() {
    let office = Office::new();
    let broker = start(&office);
    let token = broker.token(SITE);
    for _ in 0..3 {
        office.github.fail(Fault::Status(500, ""));
    }
    let body = json!({ "token": token }).to_string();
    assert_eq!(broker.ask("DELETE", "/token", None, Some(&body)).0, 502);
    assert_ne!(broker.token(SITE), token);
}

#[test]
fn sigterm_during_a_mint_still_answers_it() {
    let office = Office::new();
    office.github.set_mint_ms(700);
    let mut broker = start(&office);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| broker.token(SITE));
        broker.until("the mint", |_| office.github.requests("access_tokens") == 1);
        broker.signal(Signal::SIGTERM);
        assert!(asking.join().unwrap().starts_with("ghs_"));
    });
    assert_eq!(broker.stop(), Some(0));
}

#[test]
fn the_healthcheck_is_the_binary_itself() {
    let office = Office::new();
    let mut broker = start(&office);
    let healthcheck = |port: u16| {
        let mut command: Command = office.command(BROKER);
        let listen = format!("0.0.0.0:{port}");
        command.arg("healthcheck").env("BROKER_LISTEN", listen).output().unwrap().status.success()
    };
    assert!(healthcheck(broker.port));
    broker.stop();
    assert!(!healthcheck(broker.port));
}
