//! Settings, from the command line: shown with where they come from, changed only when they will do and will count.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::Office;

fn office(settings: &str) -> Office {
    let mut office = Office::closed();
    office.env.remove("TINYCLAW_ENGINE_KIND");
    if !settings.is_empty() {
        office.settings(settings);
    }
    office
}

fn file(office: &Office) -> Value {
    let text = fs::read_to_string(office.place.path("state/settings.json")).expect("settings");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn what_is_set_comes_with_where_it_comes_from_and_secrets_do_not() {
    let mut office = office(
        r#"{"timezone": "Europe/Berlin", "claude": {"apiKey": "sk-ant-api03-not-to-be-seen-wxyz"}}"#,
    );
    let secret = office.place.path("home/token");
    fs::write(&secret, "7000000001:AAsecret-of-a-file-1234\n").expect("a secret");
    office.env.insert("TELEGRAM_BOT_TOKEN_FILE".to_owned(), secret.display().to_string());
    let out = office.run(&["settings", "ls"]).ok();
    let lines: Vec<Vec<&str>> = out.lines().map(|it| it.split_whitespace().collect()).collect();
    assert!(lines.contains(&vec!["timezone", "Europe/Berlin", "settings.json"]), "{out}");
    assert!(
        lines.contains(&vec!["telegram.botToken", "…1234", "TELEGRAM_BOT_TOKEN_FILE"]),
        "{out}"
    );
    assert!(lines.contains(&vec!["claude.apiKey", "…wxyz", "settings.json"]), "{out}");
    assert!(
        !out.contains("not-to-be-seen")
            && !out.contains("AAsecret")
            && !out.contains("engine.warmMax")
    );
    let all = office.run(&["settings", "ls", "--all", "--json"]).ok();
    assert!(!all.contains("not-to-be-seen") && !all.contains("AAsecret"));
    let all: Vec<Value> = serde_json::from_str(&all).expect("JSON");
    let first_default = all.iter().position(|it| it["from"] == "default").expect("a default");
    assert!(all[..first_default].iter().all(|it| it["isSet"] == true), "what is set comes first");
    assert!(all[first_default..].iter().all(|it| it["isSet"] == false));
    assert_eq!(office.run(&["settings", "get", "engine.warmMax"]).ok(), "4\n");
    assert_eq!(office.run(&["settings", "get", "claude.apiKey"]).ok(), "…wxyz\n");
    assert_eq!(office.run(&["settings", "get", "telegram.chatId"]).code, Some(1));
}

#[test]
fn a_setting_is_written_as_a_person_would_write_it_and_taken_out_again() {
    let office = office(r#"{"admins":[7],"unused":null}"#);
    let set = |key: &str, value: &str| office.run(&["settings", "set", key, value]).ok();
    let out = set("engine.warmMax", "6");
    assert!(
        out.contains("engine.warmMax is 6 (was 4, the default)") && out.contains("at their start"),
        "{out}"
    );
    assert!(set("budget.officePerDay", "12.5").contains("within two seconds"));
    set("telegram.chatId", "-1001234567890");
    set("telegram.allowedUsers", "101, 102");
    set("admins", "[101]");
    set("github.appId", "4711");
    assert_eq!(
        file(&office),
        json!({
            "unused": null, "engine": {"warmMax": 6}, "budget": {"officePerDay": 12.5},
            "telegram": {"chatId": -1_001_234_567_890_i64, "allowedUsers": "101, 102"}, "admins": [101],
            "github": {"appId": "4711"}, "writtenBy": env!("CARGO_PKG_VERSION"),
        })
    );
    let path = office.place.path("state/settings.json");
    assert_eq!(fs::metadata(path).expect("settings").permissions().mode() & 0o007, 0);
    let done = office.run(&["settings", "unset", "engine.warmMax", "--json"]).json();
    assert_eq!(
        (&done["value"], &done["was"], &done["needsRestart"]),
        (&json!("4"), &json!("6"), &json!(true))
    );
    assert!(file(&office).get("engine").is_none());
}

#[test]
fn a_secret_comes_from_a_file_or_from_stdin_and_never_from_the_command() {
    let office = office("");
    let said = office.run(&["settings", "set", "telegram.botToken", "7000000001:AAsecret"]);
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("--file FILE") && !said.err.contains("AAsecret"), "{said:?}");
    let line = ["settings", "set", "telegram.botToken", "--file", "-"];
    let out = office.run_with(&line, "7000000001:AAsecret-of-the-bot-1234\n").ok();
    assert!(out.contains("…1234") && !out.contains("AAsecret"), "{out}");
    assert_eq!(file(&office)["telegram"]["botToken"], "7000000001:AAsecret-of-the-bot-1234");
}

#[test]
fn what_is_wrong_or_would_not_count_is_refused_with_the_way_out() {
    let mut office = office(r#"{"timezone": "UTC"}"#);
    office.env.insert("TINYCLAW_ENGINE_WARM_MAX".to_owned(), "3".to_owned());
    for (line, says) in [
        (&["set", "timezoen", "UTC"][..], "did you mean timezone?"),
        (&["set", "timezone", "Mars"], "a time zone, such as Europe/Berlin"),
        (&["set", "engine.warmMax", "6"], "TINYCLAW_ENGINE_WARM_MAX is set here, and wins"),
        (&["unset", "engine.warmMax"], "TINYCLAW_ENGINE_WARM_MAX is set here, and wins"),
        (&["set", "engine.mode", "hot"], "warm or spawn"),
        // What is right by itself and wrong beside the rest.
        (&["set", "engine.silence", "1h"], "engine.toolTime"),
        (&["set", "timezone"], "needs a value"),
        (&["get", "colour"], "settings ls --all"),
    ] {
        let said = office.run(&[&["settings"], line].concat());
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.err.contains(says), "{line:?}: {said:?}");
    }
    assert_eq!(file(&office), json!({"timezone": "UTC"}));
}

#[test]
fn mistakes_that_are_there_are_told_and_may_be_mended() {
    let office = office(r#"{"timezoen": "UTC", "engine": {"mode": "hot"}}"#);
    let out = office.run(&["settings", "ls"]).ok();
    assert!(out.contains("did you mean timezone?") && out.contains("warm or spawn"), "{out}");
    office.run(&["settings", "set", "engine.mode", "spawn"]).ok();
    assert_eq!(office.run(&["settings", "get", "engine.mode"]).ok(), "spawn\n");
}
